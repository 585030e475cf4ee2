//! What REST asks of the conversations read model.
//!
//! Every query goes through one [`Snapshot`], so that an answer is of one generation and one position. Lists
//! are by cursor, whose cost does not grow with depth, or by offset. No list counts its rows unless a filter makes it.

mod calls;
mod filter;
mod listed;
mod search;
mod standing;

use std::collections::{HashMap, HashSet};

use domain::call::facts::Recording;
use domain::sid::RecordingSid;
use sqlx::types::Json;
use sqlx::types::time::OffsetDateTime;
use sqlx::{Postgres, QueryBuilder};

use crate::conversations::family::topmost;
use crate::conversations::rows::Row;
use crate::conversations::{Contact, Conversation, Leg, Message, load_families};
use crate::generation::Snapshot;

pub use calls::ListedCall;
pub use filter::{Filter, Scope};
pub use listed::{State, Threads};
pub use search::{Search, SearchError};
pub use standing::{CallStanding, Standings, ThreadStanding};

/// Which part of a list is wanted. Lists are newest first, ties by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Offset {
        offset: i64,
        limit: i64,
    },
    /// The rows after the one with this time and id.
    After {
        at: OffsetDateTime,
        id: i64,
        limit: i64,
    },
}

impl Window {
    pub fn limit(&self) -> i64 {
        match self {
            Self::Offset { limit, .. } | Self::After { limit, .. } => *limit,
        }
    }

    /// Ends a query: what comes after its conditions.
    fn push(&self, query: &mut QueryBuilder<'_, Postgres>, at: &str, id: &str) {
        if let Self::After { at: after, id: last, .. } = *self {
            query.push(format!(" and ({at}, {id}) < (")).push_bind(after);
            query.push(", ").push_bind(last).push(")");
        }
        query.push(format!(" order by {at} desc, {id} desc limit ")).push_bind(self.limit());
        if let Self::Offset { offset, .. } = *self {
            query.push(" offset ").push_bind(offset);
        }
    }
}

/// A conversation as a list shows it.
#[derive(Clone, Debug)]
pub struct Thread {
    pub conversation: Conversation,
    pub contact: Option<Contact>,
    pub last: Option<Entry>,
    /// A call of it is quarantined, so it is as it was before an event that could not be folded.
    pub stale: bool,
}

/// One call of a thread: the message that stands for it, and those of all its legs, by start time.
#[derive(Clone, Debug)]
pub struct Entry {
    pub message: Message,
    pub legs: Vec<Message>,
}

/// A call in progress, with its thread once it has one.
#[derive(Clone, Debug)]
pub struct ActiveCall {
    pub entry: Entry,
    pub thread: Option<(Conversation, Option<Contact>)>,
}

/// A call with all legs of its family.
#[derive(Clone, Debug)]
pub struct CallFamily {
    /// The SID at the top, whether that call has been seen or not.
    pub root: String,
    /// The root first, then by SID.
    pub legs: Vec<Leg>,
    /// The entry of its thread; nothing while no leg has been announced.
    pub entry: Option<Entry>,
    pub contact: Option<Contact>,
}

impl CallFamily {
    pub(crate) fn new(
        root: String,
        mut legs: Vec<Leg>,
        entry: Option<Entry>,
        contact: Option<Contact>,
    ) -> Self {
        legs.sort_by(|a, b| (a.call_sid != root, &a.call_sid).cmp(&(b.call_sid != root, &b.call_sid)));
        Self { root, legs, entry, contact }
    }
}

impl Snapshot {
    /// The family of a call, if anything is recorded of it.
    pub async fn call(&mut self, call_sid: &str) -> sqlx::Result<Option<CallFamily>> {
        let legs = load_families(&mut self.tx, self.generation, [call_sid.to_owned()].into()).await?;
        let Some(leg) = legs.get(call_sid).or_else(|| legs.values().next()) else { return Ok(None) };
        let root = topmost(leg, &legs).to_owned();
        let query = format!(
            "select {} from {}.messages m where m.root_call_sid = $1 and m.entry
              order by m.twilio_sid = $2 desc, m.start_time, m.id limit 1",
            message_columns(),
            self.generation
        );
        let message: Vec<Message> =
            sqlx::query_as(&query).bind(&root).bind(call_sid).fetch_all(&mut *self.tx).await?;
        let entry = self.entries(message).await?.pop();
        let thread = match entry.as_ref().and_then(|entry| entry.message.conversation_id) {
            Some(id) => self.conversation(id).await?,
            None => None,
        };
        let contact = thread.and_then(|thread| thread.contact);
        Ok(Some(CallFamily::new(root, legs.into_values().collect(), entry, contact)))
    }

    /// What is known of a recording, whichever leg has it; of several reports the one that goes furthest.
    pub async fn recording(&mut self, sid: &RecordingSid) -> sqlx::Result<Option<Recording>> {
        // The second condition is the index's.
        let query = format!(
            "select recordings -> $1 from {}.call_legs where recordings ? $1 and recordings <> '{{}}'",
            self.generation
        );
        let found: Vec<Json<Recording>> =
            sqlx::query_scalar(&query).bind(sid.as_str()).fetch_all(&mut *self.tx).await?;
        Ok(found.into_iter().map(|Json(recording)| recording).max())
    }

    pub async fn conversation(&mut self, id: i64) -> sqlx::Result<Option<Thread>> {
        let query = format!(
            "select {} from {}.conversations c where c.id = $1",
            conversation_columns(),
            self.generation
        );
        let row: Option<Conversation> = sqlx::query_as(&query).bind(id).fetch_optional(&mut *self.tx).await?;
        Ok(self.threads(row.into_iter().collect()).await?.pop())
    }

    /// The calls of a conversation, newest first, each with its legs.
    pub async fn thread(&mut self, conversation: i64, window: Window) -> sqlx::Result<Vec<Entry>> {
        let mut query = QueryBuilder::new(format!(
            "select {} from {}.messages m where m.entry and m.conversation_id = ",
            message_columns(),
            self.generation
        ));
        query.push_bind(conversation);
        window.push(&mut query, "m.start_time", "m.id");
        let entries: Vec<Message> = query.build_query_as().fetch_all(&mut *self.tx).await?;
        self.entries(entries).await
    }

    /// Calls in progress, newest first. What the sync filters hide is not among them.
    pub async fn active(&mut self) -> sqlx::Result<Vec<ActiveCall>> {
        let (g, columns) = (self.generation, message_columns());
        let query = format!(
            "select {columns} from {g}.messages m
              where m.entry and m.live and m.hidden_reason is null
              order by m.start_time desc, m.id desc"
        );
        let messages: Vec<Message> = sqlx::query_as(&query).fetch_all(&mut *self.tx).await?;
        let conversations: Vec<i64> = messages.iter().filter_map(|message| message.conversation_id).collect();
        let query =
            format!("select {} from {g}.conversations c where c.id = any($1)", conversation_columns());
        let rows: Vec<Conversation> =
            sqlx::query_as(&query).bind(&conversations).fetch_all(&mut *self.tx).await?;
        let contacts = self.contacts(&rows).await?;
        let threads: HashMap<i64, Conversation> = rows.into_iter().map(|row| (row.id, row)).collect();
        let calls = self.entries(messages).await?.into_iter().map(|entry| {
            let thread = entry
                .message
                .conversation_id
                .and_then(|id| threads.get(&id))
                .map(|row| (row.clone(), row.contact_id.and_then(|id| contacts.get(&id)).cloned()));
            ActiveCall { entry, thread }
        });
        Ok(calls.collect())
    }

    /// The messages of all legs that have not ended, hidden ones too.
    pub async fn unfinished(&mut self) -> sqlx::Result<Vec<Message>> {
        let query = format!(
            "select {} from {}.messages m where not m.is_final order by m.id",
            message_columns(),
            self.generation
        );
        sqlx::query_as(&query).fetch_all(&mut *self.tx).await
    }

    async fn threads(&mut self, rows: Vec<Conversation>) -> sqlx::Result<Vec<Thread>> {
        let contacts = self.contacts(&rows).await?;
        let last: Vec<i64> = rows.iter().map(|row| row.last_message_id).collect();
        let query =
            format!("select {} from {}.messages m where m.id = any($1)", message_columns(), self.generation);
        let messages: Vec<Message> = sqlx::query_as(&query).bind(&last).fetch_all(&mut *self.tx).await?;
        let mut entries: HashMap<i64, Entry> =
            self.entries(messages).await?.into_iter().map(|entry| (entry.message.id, entry)).collect();
        let stale = self.stale(&rows).await?;
        let threads = rows.into_iter().map(|conversation| Thread {
            stale: stale.contains(&conversation.id),
            contact: conversation.contact_id.and_then(|id| contacts.get(&id)).cloned(),
            last: entries.remove(&conversation.last_message_id),
            conversation,
        });
        Ok(threads.collect())
    }

    /// Which of these have a quarantined call, or are of a party whose entries are.
    async fn stale(&mut self, rows: &[Conversation]) -> sqlx::Result<HashSet<i64>> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        // A call may have come to its thread after it was set aside.
        let g = self.generation;
        let query = format!(
            "select distinct m.conversation_id
               from {g}.quarantine q join {g}.messages m on m.twilio_sid in (q.call_sid, q.root_call_sid)
              where m.conversation_id = any($1)
              union
             select q.conversation_id from {g}.quarantine q
              where q.aggregate_type <> 'call' and q.conversation_id = any($1)"
        );
        let stale: Vec<i64> = sqlx::query_scalar(&query).bind(ids).fetch_all(&mut *self.tx).await?;
        Ok(stale.into_iter().collect())
    }

    async fn contacts(&mut self, rows: &[Conversation]) -> sqlx::Result<HashMap<i64, Contact>> {
        let ids: Vec<i64> = rows.iter().filter_map(|row| row.contact_id).collect();
        let query = format!(
            "select {} from {}.contacts t where t.id = any($1)",
            Contact::TABLE.columns_of("t"),
            self.generation
        );
        let contacts: Vec<Contact> = sqlx::query_as(&query).bind(&ids).fetch_all(&mut *self.tx).await?;
        Ok(contacts.into_iter().map(|contact| (contact.id, contact)).collect())
    }

    async fn entries(&mut self, messages: Vec<Message>) -> sqlx::Result<Vec<Entry>> {
        let roots: Vec<&str> = messages.iter().map(|message| message.root_call_sid.as_str()).collect();
        let query = format!(
            "select {} from {}.messages m where m.root_call_sid = any($1)
              order by m.parent_call_sid is not null, m.start_time, m.id",
            message_columns(),
            self.generation
        );
        let legs: Vec<Message> = sqlx::query_as(&query).bind(&roots).fetch_all(&mut *self.tx).await?;
        let mut families: HashMap<String, Vec<Message>> = HashMap::new();
        for leg in legs {
            families.entry(leg.root_call_sid.clone()).or_default().push(leg);
        }
        let entries = messages.into_iter().map(|message| Entry {
            legs: families.get(&message.root_call_sid).cloned().unwrap_or_default(),
            message,
        });
        Ok(entries.collect())
    }
}

fn conversation_columns() -> String {
    Conversation::TABLE.columns_of("c")
}

fn message_columns() -> String {
    Message::TABLE.columns_of("m")
}
