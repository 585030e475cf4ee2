//! What people see of what they have entered: the editable fields, and the versions that they are at.

use domain::direction::Party;
use sqlx::FromRow;
use time::OffsetDateTime;

use crate::conversations::rows::Row;
use crate::conversations::{Contact, Entered};
use crate::generation::Snapshot;
use crate::ids::IdKey;

/// A contact, and what an editor needs besides.
#[derive(Clone, Debug)]
pub struct EditableContact {
    pub contact: Contact,
    pub party: Party,
    /// How many events have shaped what was entered.
    pub version: i64,
}

/// What people have done with a thread, and what there is to be done with.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct EditableThread {
    /// The natural key of the party.
    pub party_key: String,
    pub archived_up_to: Option<OffsetDateTime>,
    pub read_up_to: Option<OffsetDateTime>,
    pub version: i64,
    /// When the newest inbound call began.
    pub last_inbound_at: Option<OffsetDateTime>,
    /// When the newest call began.
    pub newest_at: OffsetDateTime,
    /// The end of that call, where it is known.
    pub newest_ended_at: Option<OffsetDateTime>,
}

impl Snapshot {
    pub async fn editable_contact(&mut self, ids: &IdKey, id: i64) -> sqlx::Result<Option<EditableContact>> {
        let (g, columns) = (self.generation, Contact::TABLE.columns_of("t"));
        let query = format!("select {columns} from {g}.contacts t where t.id = $1");
        let contact: Option<Contact> = sqlx::query_as(&query).bind(id).fetch_optional(&mut *self.tx).await?;
        let Some(contact) = contact else { return Ok(None) };
        let query = format!(
            "select coalesce(e.party_kind, (select l.party_kind from {g}.call_legs l
                                             where l.party_key = p.key and l.party_kind is not null limit 1)),
                    coalesce(e.contact_version, 0)
               from (select $1::text as key) p
               left join {g}.entered e on e.conversation_id = $2"
        );
        let (kind, version): (Option<String>, i64) = sqlx::query_as(&query)
            .bind(&contact.phone_number)
            .bind(ids.conversation(&contact.phone_number))
            .fetch_one(&mut *self.tx)
            .await?;
        let party = kind.and_then(|kind| Party::of_kind(&kind, &contact.phone_number));
        Ok(party.map(|party| EditableContact { contact, party, version }))
    }

    pub async fn editable_thread(&mut self, conversation: i64) -> sqlx::Result<Option<EditableThread>> {
        let query = format!(
            "select c.external_id as party_key, e.archived_up_to, e.read_up_to,
                    coalesce(e.state_version, 0) as version,
                    c.last_inbound_at, c.last_message_at as newest_at, m.end_time as newest_ended_at
               from {g}.conversations c
               left join {g}.{entered} e on e.conversation_id = c.id
               left join {g}.messages m on m.id = c.last_message_id
              where c.id = $1",
            g = self.generation,
            entered = Entered::TABLE.name,
        );
        sqlx::query_as(&query).bind(conversation).fetch_optional(&mut *self.tx).await
    }
}
