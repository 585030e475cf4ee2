//! Contacts and conversations: sums, maxima and minima over the families of one external party.
//!
//! A family contributes its entry message. What a batch takes from a thread and what it adds are known from
//! the entries before and after, so that a thread's cost does not grow with its length.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::direction::Party;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::leg::Leg;
use super::message::Message;
use super::rows::{self, Table};
use crate::generation::Generation;
use crate::ids::IdKey;

/// A row of `contacts`.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Contact {
    pub id: i64,
    pub phone_number: String,
    pub formatted_number: Option<String>,
    pub display_name: Option<String>,
    pub metadata: Value,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

pub(crate) const CONTACTS: Table = Table {
    name: "contacts",
    key: "id",
    columns: &[
        "id",
        "phone_number",
        "formatted_number",
        "display_name",
        "metadata",
        "created_at",
        "updated_at",
    ],
};

/// A row of `conversations`. `total_duration` is in seconds and `total_calls` counts families.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Conversation {
    pub id: i64,
    pub contact_id: Option<i64>,
    pub external_id: String,
    pub subject: Option<String>,
    pub status: String,
    #[serde(with = "time::serde::rfc3339")]
    pub last_message_at: OffsetDateTime,
    pub last_message_id: i64,
    pub total_calls: i64,
    pub total_duration: i64,
    pub last_call_direction: String,
    pub metadata: Value,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

pub(crate) const CONVERSATIONS: Table = Table {
    name: "conversations",
    key: "id",
    columns: &[
        "id",
        "contact_id",
        "external_id",
        "subject",
        "status",
        "last_message_at",
        "last_message_id",
        "total_calls",
        "total_duration",
        "last_call_direction",
        "metadata",
        "created_at",
        "updated_at",
    ],
};

/// The external party of a thread, as a leg has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartyOf {
    pub key: String,
    pub kind: String,
    pub display: String,
    pub country: Option<String>,
}

impl PartyOf {
    pub fn leg(leg: &Leg) -> Option<Self> {
        Some(Self {
            key: leg.party_key.clone()?,
            kind: leg.party_kind.clone()?,
            display: leg.party_display.clone()?,
            country: leg.party_country.clone(),
        })
    }

    /// Withheld callers cannot be told apart, so nobody can be named or called back.
    fn can_be_a_contact(&self) -> bool {
        self.kind != Party::Withheld.kind()
    }
}

/// One family's part in a thread: its entry message.
#[derive(Clone, Debug)]
struct Part {
    conversation_id: i64,
    message_id: i64,
    start_time: OffsetDateTime,
    direction: String,
    seconds: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Part {
    fn of(message: &Message) -> Option<Self> {
        Some(Self {
            conversation_id: message.conversation_id.filter(|_| message.entry)?,
            message_id: message.id,
            start_time: message.start_time,
            direction: message.direction.clone(),
            seconds: message.total_duration.unwrap_or(0).into(),
            created_at: message.created_at,
            updated_at: message.updated_at,
        })
    }
}

/// What a batch makes of the threads it touches.
#[derive(Debug, Default)]
pub(super) struct Threads {
    contacts: Vec<Contact>,
    conversations: Vec<Conversation>,
    emptied: Vec<i64>,
    /// How many threads there are more (or fewer) than before.
    grown: i64,
}

/// The parts of a thread that the batch did not touch.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Untouched {
    conversation_id: i64,
    message_id: i64,
    start_time: OffsetDateTime,
    direction: String,
}

#[derive(Clone, Debug, sqlx::FromRow)]
struct Bounds {
    conversation_id: i64,
    created_at: Option<OffsetDateTime>,
    updated_at: Option<OffsetDateTime>,
}

impl Threads {
    /// Works out the threads from the entries before and after a batch. `touched` are the ids of all
    /// messages in `before` and `after`; `parties` names the party of each conversation in `after`.
    pub async fn compute(
        connection: &mut PgConnection,
        generation: Generation,
        ids: &IdKey,
        before: &[Message],
        after: &[Message],
        parties: &HashMap<i64, PartyOf>,
    ) -> sqlx::Result<Self> {
        let old: Vec<Part> = before.iter().filter_map(Part::of).collect();
        let new: Vec<Part> = after.iter().filter_map(Part::of).collect();
        let touched: BTreeSet<i64> = old.iter().chain(&new).map(|part| part.conversation_id).collect();
        if touched.is_empty() {
            return Ok(Self::default());
        }
        let touched: Vec<i64> = touched.into_iter().collect();
        let messages: Vec<i64> = before.iter().chain(after).map(|message| message.id).collect();
        let stored: BTreeMap<i64, Conversation> =
            rows::load(connection, generation, &CONVERSATIONS, "id", &touched)
                .await?
                .into_iter()
                .map(|row: Conversation| (row.id, row))
                .collect();
        let last = last_untouched(connection, generation, &touched, &messages).await?;
        let left: Vec<i64> = old
            .iter()
            .filter(|part| {
                !new.iter().any(|now| {
                    now.conversation_id == part.conversation_id && now.message_id == part.message_id
                })
            })
            .map(|part| part.conversation_id)
            .collect();
        let bounds = bounds_untouched(connection, generation, &left, &messages).await?;

        let mut threads = Self::default();
        for id in touched {
            let ours = |part: &&Part| part.conversation_id == id;
            let (gone, come) = (old.iter().filter(ours), new.iter().filter(ours));
            let row = stored.get(&id);
            let total_calls = row.map_or(0, |row| row.total_calls) - gone.clone().count() as i64
                + come.clone().count() as i64;
            if total_calls == 0 {
                threads.emptied.push(id);
                threads.grown -= 1;
                continue;
            }
            let total_duration = row.map_or(0, |row| row.total_duration)
                - gone.map(|part| part.seconds).sum::<i64>()
                + come.clone().map(|part| part.seconds).sum::<i64>();
            let newest = come
                .clone()
                .map(|part| (part.start_time, part.message_id, part.direction.as_str()))
                .chain(last.get(&id).map(|part| (part.start_time, part.message_id, part.direction.as_str())))
                .max();
            let known = match bounds.get(&id) {
                Some(recomputed) => (recomputed.created_at, recomputed.updated_at),
                None => (row.map(|row| row.created_at), row.map(|row| row.updated_at)),
            };
            let created_at = come.clone().map(|part| part.created_at).chain(known.0).min();
            let updated_at = come.map(|part| part.updated_at).chain(known.1).max();
            let (Some((last_message_at, last_message_id, direction)), Some(created_at), Some(updated_at)) =
                (newest, created_at, updated_at)
            else {
                continue;
            };
            let party = parties.get(&id);
            let contact = party.filter(|party| party.can_be_a_contact()).map(|party| Contact {
                id: ids.contact(&party.key),
                phone_number: party.key.clone(),
                formatted_number: Some(party.display.clone()),
                display_name: Some(party.display.clone()),
                metadata: json!({ "formatted_number": party.display, "country_code": party.country }),
                created_at,
                updated_at: created_at,
            });
            threads.grown += i64::from(row.is_none());
            threads.conversations.push(Conversation {
                id,
                contact_id: contact.as_ref().map(|contact| contact.id).or(row.and_then(|row| row.contact_id)),
                external_id: party
                    .map(|party| party.key.clone())
                    .or(row.map(|row| row.external_id.clone()))
                    .unwrap_or_default(),
                subject: party
                    .map(|party| format!("Calls with {}", party.display))
                    .or(row.and_then(|row| row.subject.clone())),
                status: "active".to_owned(),
                last_message_at,
                last_message_id,
                total_calls,
                total_duration,
                last_call_direction: direction.to_owned(),
                metadata: json!({
                    "total_calls": total_calls,
                    "total_duration": total_duration,
                    "last_call_direction": direction,
                }),
                created_at,
                updated_at,
            });
            threads.contacts.extend(contact);
        }
        Ok(threads)
    }

    /// Stores what messages refer to; before the messages.
    pub async fn store(&self, connection: &mut PgConnection, generation: Generation) -> sqlx::Result<()> {
        rows::upsert(connection, generation, &CONTACTS, &self.contacts).await?;
        rows::upsert(connection, generation, &CONVERSATIONS, &self.conversations).await
    }

    /// Drops the threads that no family belongs to any more; after the messages.
    pub async fn prune(&self, connection: &mut PgConnection, generation: Generation) -> sqlx::Result<()> {
        if !self.emptied.is_empty() {
            let query = format!(
                "with gone as (delete from {generation}.conversations where id = any($1) returning contact_id)
                 delete from {generation}.contacts where id in (select contact_id from gone)"
            );
            sqlx::query(&query).bind(&self.emptied).execute(&mut *connection).await?;
        }
        if self.grown != 0 {
            let query =
                format!("update {generation}.totals set rows = rows + $1 where name = 'conversations'");
            sqlx::query(&query).bind(self.grown).execute(connection).await?;
        }
        Ok(())
    }
}

async fn last_untouched(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<HashMap<i64, Untouched>> {
    let query = format!(
        "select c.id as conversation_id, m.id as message_id, m.start_time, m.direction
           from unnest($1::bigint[]) as c(id)
          cross join lateral (
                select id, start_time, direction
                  from {generation}.messages
                 where conversation_id = c.id and entry and id <> all($2)
                 order by start_time desc, id desc
                 limit 1
          ) m"
    );
    let rows: Vec<Untouched> =
        sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.conversation_id, row)).collect())
}

/// Only where a family has left a thread: the thread's first and last event may have left with it.
async fn bounds_untouched(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<HashMap<i64, Bounds>> {
    if conversations.is_empty() {
        return Ok(HashMap::new());
    }
    let query = format!(
        "select c.id as conversation_id, min(m.created_at) as created_at, max(m.updated_at) as updated_at
           from unnest($1::bigint[]) as c(id)
           left join {generation}.messages m
             on m.conversation_id = c.id and m.entry and m.id <> all($2)
          group by c.id"
    );
    let rows: Vec<Bounds> =
        sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.conversation_id, row)).collect())
}
