//! Contacts and conversations: sums, maxima and minima over the families of one external party.
//!
//! A family contributes its entry message, its *part*. Live, what a batch takes from a thread and what it
//! adds are known from the parts before and after, so that a thread's cost does not grow with its length; a
//! rebuild adds up all parts.

use std::collections::HashMap;

use domain::direction::Party;
use domain::phone::PhoneNumber;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::leg::Leg;
use super::message::Message;
use super::rows::{self, row};
use crate::generation::Generation;
use crate::ids::IdKey;

/// A row of `contacts`.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Contact {
    pub id: i64,
    pub phone_number: String,
    pub formatted_number: Option<String>,
    pub display_name: Option<String>,
    pub metadata: Json<ContactMetadata>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// `contacts.metadata`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContactMetadata {
    pub formatted_number: String,
    pub country_code: Option<String>,
}

row!(
    Contact,
    "contacts",
    id,
    [id, phone_number, formatted_number, display_name, metadata, created_at, updated_at,]
);

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
    pub metadata: Json<ConversationMetadata>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// `conversations.metadata`: seed 001's counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConversationMetadata {
    pub total_calls: i64,
    pub total_duration: i64,
    pub last_call_direction: String,
}

row!(
    Conversation,
    "conversations",
    id,
    [
        id,
        contact_id,
        external_id,
        subject,
        status,
        last_message_at,
        last_message_id,
        total_calls,
        total_duration,
        last_call_direction,
        metadata,
        created_at,
        updated_at,
    ]
);

/// The external party of a thread, as a leg has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartyOf {
    pub key: String,
    pub kind: String,
    pub display: String,
}

impl PartyOf {
    pub fn leg(leg: &Leg) -> Option<Self> {
        Some(Self {
            key: leg.party_key.clone()?,
            kind: leg.party_kind.clone()?,
            display: leg.party_display.clone()?,
        })
    }

    /// Of a number, where it tells. Asked once a thread, because it takes as long as everything else about a leg.
    fn country(&self) -> Option<String> {
        let number = (self.kind == "number").then(|| PhoneNumber::try_new(&self.key).ok()).flatten()?;
        number.country()
    }

    /// The rows of this party's thread.
    pub fn rows(&self, ids: &IdKey, sums: &Sums) -> (Conversation, Option<Contact>) {
        // Withheld callers cannot be told apart, so nobody can be named or called back.
        let contact = (self.kind != Party::Withheld.kind()).then(|| Contact {
            id: ids.contact(&self.key),
            phone_number: self.key.clone(),
            formatted_number: Some(self.display.clone()),
            display_name: Some(self.display.clone()),
            metadata: Json(ContactMetadata {
                formatted_number: self.display.clone(),
                country_code: self.country(),
            }),
            created_at: sums.created_at,
            updated_at: sums.created_at,
        });
        let conversation = Conversation {
            id: ids.conversation(&self.key),
            contact_id: contact.as_ref().map(|contact| contact.id),
            external_id: self.key.clone(),
            subject: Some(format!("Calls with {}", self.display)),
            status: "active".to_owned(),
            last_message_at: sums.newest.start_time,
            last_message_id: sums.newest.message_id,
            total_calls: sums.total_calls,
            total_duration: sums.total_duration,
            last_call_direction: sums.newest.direction.clone(),
            metadata: Json(sums.metadata()),
            created_at: sums.created_at,
            updated_at: sums.updated_at,
        };
        (conversation, contact)
    }
}

/// One family's part in a thread: its entry message.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Part {
    pub conversation_id: i64,
    message_id: i64,
    start_time: OffsetDateTime,
    direction: String,
    /// Seconds.
    total_duration: Option<i32>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Part {
    pub fn of(message: &Message) -> Option<Self> {
        Some(Self {
            conversation_id: message.conversation_id.filter(|_| message.entry)?,
            message_id: message.id,
            start_time: message.start_time,
            direction: message.direction.clone(),
            total_duration: message.total_duration,
            created_at: message.created_at,
            updated_at: message.updated_at,
        })
    }

    fn seconds(&self) -> i64 {
        self.total_duration.unwrap_or(0).into()
    }

    fn newest(&self) -> Newest {
        Newest { start_time: self.start_time, message_id: self.message_id, direction: self.direction.clone() }
    }
}

/// The parts that these messages have in threads as they are stored, by message.
pub(crate) async fn stored_parts(
    connection: &mut PgConnection,
    generation: Generation,
    messages: &[i64],
) -> sqlx::Result<Vec<Part>> {
    let query = format!(
        "select conversation_id, id as message_id, start_time, direction, total_duration, created_at, updated_at
           from {generation}.messages
          where id = any($1) and entry and conversation_id is not null"
    );
    sqlx::query_as(&query).bind(messages).fetch_all(connection).await
}

/// The newest call of a thread, by which threads are sorted; ties by id.
#[derive(Clone, Debug)]
struct Newest {
    start_time: OffsetDateTime,
    message_id: i64,
    direction: String,
}

impl Newest {
    /// Of the same call, the later version.
    fn or(self, later: Self) -> Self {
        let is_newer = (later.start_time, later.message_id) >= (self.start_time, self.message_id);
        if is_newer { later } else { self }
    }
}

/// What the parts of a thread come to.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    total_calls: i64,
    total_duration: i64,
    newest: Newest,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Sums {
    pub fn of(part: &Part) -> Self {
        Self {
            total_calls: 1,
            total_duration: part.seconds(),
            newest: part.newest(),
            created_at: part.created_at,
            updated_at: part.updated_at,
        }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            total_calls: self.total_calls + other.total_calls,
            total_duration: self.total_duration + other.total_duration,
            newest: self.newest.or(other.newest),
            created_at: self.created_at.min(other.created_at),
            updated_at: self.updated_at.max(other.updated_at),
        }
    }

    fn metadata(&self) -> ConversationMetadata {
        ConversationMetadata {
            total_calls: self.total_calls,
            total_duration: self.total_duration,
            last_call_direction: self.newest.direction.clone(),
        }
    }
}

impl From<&Conversation> for Sums {
    fn from(row: &Conversation) -> Self {
        Self {
            total_calls: row.total_calls,
            total_duration: row.total_duration,
            newest: Newest {
                start_time: row.last_message_at,
                message_id: row.last_message_id,
                direction: row.last_call_direction.clone(),
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What a batch makes of the threads it touches.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    contacts: Vec<Contact>,
    conversations: Vec<Conversation>,
    /// The rows that were there before, under these ids.
    old_contacts: Vec<i64>,
    old_conversations: Vec<i64>,
    /// How many threads there are more (or fewer) than before.
    grown: i64,
}

/// A touched thread: its parts before the batch and after it.
#[derive(Debug, Default)]
struct Touched<'p> {
    old: Vec<&'p Part>,
    new: Vec<&'p Part>,
}

impl<'p> Touched<'p> {
    fn now(&self, old: &Part) -> Option<&'p Part> {
        self.new.iter().copied().find(|new| new.message_id == old.message_id)
    }

    /// Whether the newest call of the thread was touched and is gone, or began earlier than was thought.
    fn may_lose_newest(&self, row: &Conversation) -> bool {
        let newest = self.old.iter().find(|old| old.message_id == row.last_message_id);
        newest.is_some_and(|old| self.now(old).is_none_or(|new| new.start_time < old.start_time))
    }

    /// Whether the thread's first or last change may have gone with a part.
    fn may_lose_bounds(&self) -> bool {
        self.old.iter().any(|old| {
            self.now(old).is_none_or(|new| new.created_at > old.created_at || new.updated_at < old.updated_at)
        })
    }
}

impl Threads {
    /// Works out the threads from the parts before and after a batch; `parties` names the party of each
    /// conversation in `new`.
    pub async fn compute(
        connection: &mut PgConnection,
        generation: Generation,
        ids: &IdKey,
        (old, new): (&[Part], &[Part]),
        parties: &HashMap<i64, PartyOf>,
    ) -> sqlx::Result<Self> {
        let mut touched: HashMap<i64, Touched<'_>> = HashMap::new();
        for part in old {
            touched.entry(part.conversation_id).or_default().old.push(part);
        }
        for part in new {
            touched.entry(part.conversation_id).or_default().new.push(part);
        }
        let keys: Vec<i64> = touched.keys().copied().collect();
        let stored: Vec<Conversation> = rows::load(connection, generation, "id", &keys).await?;
        let mut stored: HashMap<i64, Conversation> = stored.into_iter().map(|row| (row.id, row)).collect();
        let mut untouched = untouched_sums(connection, generation, &touched, &stored).await?;
        // A thread that has only lost parts is not named by the batch, but by its rows.
        let unnamed: Vec<i64> = keys
            .iter()
            .filter(|id| !parties.contains_key(id))
            .filter_map(|id| stored.get(id)?.contact_id)
            .collect();
        let contacts: Vec<Contact> = rows::load(connection, generation, "id", &unnamed).await?;
        let mut contacts: HashMap<i64, Contact> = contacts.into_iter().map(|row| (row.id, row)).collect();

        let mut threads = Self::default();
        for (id, parts) in &touched {
            let row = stored.remove(id);
            threads.grown -= i64::from(row.is_some());
            threads.old_conversations.extend(row.as_ref().map(|row| row.id));
            threads.old_contacts.extend(row.as_ref().and_then(|row| row.contact_id));
            let added = parts.new.iter().map(|part| Sums::of(part));
            let Some(sums) = untouched.remove(id).into_iter().chain(added).reduce(Sums::and) else {
                continue;
            };
            let (conversation, contact) = match (parties.get(id), row) {
                (Some(party), _) => party.rows(ids, &sums),
                (None, Some(row)) => {
                    let contact = row.contact_id.and_then(|id| contacts.remove(&id));
                    renewed(row, contact, &sums)
                }
                (None, None) => continue,
            };
            threads.grown += 1;
            threads.conversations.push(conversation);
            threads.contacts.extend(contact);
        }
        Ok(threads)
    }

    pub async fn store(self, connection: &mut PgConnection, generation: Generation) -> sqlx::Result<()> {
        rows::replace(connection, generation, &self.old_contacts, &self.contacts).await?;
        rows::replace(connection, generation, &self.old_conversations, &self.conversations).await?;
        if self.grown != 0 {
            let query =
                format!("update {generation}.totals set rows = rows + $1 where name = 'conversations'");
            sqlx::query(&query).bind(self.grown).execute(connection).await?;
        }
        Ok(())
    }
}

/// The rows of a thread whose party no family of the batch names.
fn renewed(row: Conversation, contact: Option<Contact>, sums: &Sums) -> (Conversation, Option<Contact>) {
    let contact = contact.map(|contact| Contact {
        created_at: sums.created_at,
        updated_at: sums.created_at,
        ..contact
    });
    let conversation = Conversation {
        last_message_at: sums.newest.start_time,
        last_message_id: sums.newest.message_id,
        total_calls: sums.total_calls,
        total_duration: sums.total_duration,
        last_call_direction: sums.newest.direction.clone(),
        metadata: Json(sums.metadata()),
        created_at: sums.created_at,
        updated_at: sums.updated_at,
        ..row
    };
    (conversation, contact)
}

/// What the parts come to that a batch leaves alone. Counters are subtracted; a maximum that may have gone is
/// looked up.
async fn untouched_sums(
    connection: &mut PgConnection,
    generation: Generation,
    touched: &HashMap<i64, Touched<'_>>,
    stored: &HashMap<i64, Conversation>,
) -> sqlx::Result<HashMap<i64, Sums>> {
    let (mut sums, mut of_newest, mut of_bounds) = (HashMap::new(), Vec::new(), Vec::new());
    for (id, row) in stored {
        let Some(parts) = touched.get(id) else { continue };
        let mut rest = Sums::from(row);
        for part in &parts.old {
            rest.total_calls -= 1;
            rest.total_duration -= part.seconds();
        }
        if rest.total_calls == 0 {
            continue;
        }
        if parts.may_lose_newest(row) {
            of_newest.push(*id);
        }
        if parts.may_lose_bounds() {
            of_bounds.push(*id);
        }
        sums.insert(*id, rest);
    }
    let messages = |conversations: &[i64]| -> Vec<i64> {
        let parts = conversations.iter().filter_map(|id| touched.get(id));
        parts.flat_map(|parts| &parts.old).map(|part| part.message_id).collect()
    };
    for (id, newest) in untouched_newest(connection, generation, &of_newest, &messages(&of_newest)).await? {
        if let Some(rest) = sums.get_mut(&id) {
            rest.newest = newest;
        }
    }
    for (id, created_at, updated_at) in
        untouched_bounds(connection, generation, &of_bounds, &messages(&of_bounds)).await?
    {
        if let Some(rest) = sums.get_mut(&id) {
            (rest.created_at, rest.updated_at) = (created_at, updated_at);
        }
    }
    Ok(sums)
}

async fn untouched_newest(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<Vec<(i64, Newest)>> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "select c.id, m.start_time, m.id, m.direction
           from unnest($1::bigint[]) as c(id)
          cross join lateral (
                select id, start_time, direction
                  from {generation}.messages
                 where conversation_id = c.id and entry and id <> all($2)
                 order by start_time desc, id desc
                 limit 1
          ) m"
    );
    let rows: Vec<(i64, OffsetDateTime, i64, String)> =
        sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await?;
    let newest = rows
        .into_iter()
        .map(|(id, start_time, message_id, direction)| (id, Newest { start_time, message_id, direction }));
    Ok(newest.collect())
}

async fn untouched_bounds(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<Vec<(i64, OffsetDateTime, OffsetDateTime)>> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "select conversation_id, min(created_at), max(updated_at)
           from {generation}.messages
          where conversation_id = any($1) and entry and id <> all($2)
          group by conversation_id"
    );
    sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await
}
