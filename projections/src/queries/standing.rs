//! Where calls and threads stand: what the live stream says beside what happened, so that whoever listens need not ask.
//!
//! One lookup serves a batch of events. It finds the entry of a leg by its key alone, so that a family costs the same
//! however many legs it has.

use std::collections::HashMap;

use sqlx::FromRow;
use sqlx::types::time::OffsetDateTime;

use crate::generation::Snapshot;
use crate::log::StoredEvent;

/// Where everything stands that some events are about, in one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    /// The position of the log that this reflects.
    pub position: i64,
    calls: HashMap<String, CallStanding>,
    threads: HashMap<String, ThreadStanding>,
}

/// The entry that stands for a call, with its thread.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CallStanding {
    /// Of the leg that stands for the family: the root, or the leg itself while that is unseen.
    pub sid: String,
    /// Of the call at the top of the family, seen or not.
    pub root_sid: String,
    pub conversation_id: Option<i64>,
    pub direction: String,
    pub display_status: String,
    pub missed: bool,
    pub live: bool,
    pub line: Option<String>,
    pub start_time: OffsetDateTime,
    pub answered_at: Option<OffsetDateTime>,
    pub end_time: Option<OffsetDateTime>,
    /// Seconds.
    pub duration: Option<i32>,
    /// The contact's name, else its number; nothing where callers withhold who they are.
    pub name: Option<String>,
    /// The contact's natural key.
    pub handle: Option<String>,
    /// The contact's number as people read it.
    pub number: Option<String>,
    pub unread_count: Option<i64>,
    pub archived: Option<bool>,
}

/// The thread of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct ThreadStanding {
    pub conversation_id: i64,
    pub unread_count: i64,
    pub archived: bool,
}

/// A row with what it was asked for by.
#[derive(FromRow)]
struct Asked<T> {
    asked: String,
    #[sqlx(flatten)]
    standing: T,
}

impl Standings {
    /// Nothing while no list may show the call: it was not announced, or it is hidden.
    pub fn call(&self, call_sid: &str) -> Option<&CallStanding> {
        self.calls.get(call_sid)
    }

    /// Nothing while there is no call with the party.
    pub fn thread(&self, party: &str) -> Option<&ThreadStanding> {
        self.threads.get(party)
    }
}

impl Snapshot {
    /// Where the calls and the parties of these events stand.
    pub async fn standings(&mut self, events: &[StoredEvent]) -> sqlx::Result<Standings> {
        let (mut calls, mut parties) = (Vec::new(), Vec::new());
        for event in events {
            let keys = if event.aggregate_type == "call" { &mut calls } else { &mut parties };
            keys.push(event.aggregate_id.as_str());
        }
        Ok(Standings {
            position: self.position(),
            calls: self.call_standings(calls).await?,
            threads: self.thread_standings(parties).await?,
        })
    }

    async fn call_standings(&mut self, calls: Vec<&str>) -> sqlx::Result<HashMap<String, CallStanding>> {
        let query = format!(
            "select leg.twilio_sid as asked, m.twilio_sid as sid, m.root_call_sid as root_sid, m.conversation_id,
                    m.direction, m.display_status, m.missed, m.live, m.line, m.start_time, m.answered_at, m.end_time,
                    m.duration, t.display_name as name, t.phone_number as handle, t.formatted_number as number,
                    c.unread_count, c.status = 'archived' as archived
               from {g}.messages leg
               join {g}.messages m
                 on m.twilio_sid = case when leg.entry then leg.twilio_sid else leg.root_call_sid end
               left join {g}.conversations c on c.id = m.conversation_id
               left join {g}.contacts t on t.id = c.contact_id
              where leg.twilio_sid = any($1) and m.entry and m.hidden_reason is null",
            g = self.generation
        );
        self.standing(&query, calls).await
    }

    async fn thread_standings(
        &mut self,
        parties: Vec<&str>,
    ) -> sqlx::Result<HashMap<String, ThreadStanding>> {
        let query = format!(
            "select external_id as asked, id as conversation_id, unread_count, status = 'archived' as archived
               from {}.conversations where external_id = any($1)",
            self.generation
        );
        self.standing(&query, parties).await
    }

    async fn standing<T>(&mut self, query: &str, mut keys: Vec<&str>) -> sqlx::Result<HashMap<String, T>>
    where
        T: for<'r> FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        keys.sort_unstable();
        keys.dedup();
        let rows: Vec<Asked<T>> = sqlx::query_as(query).bind(keys).fetch_all(&mut *self.tx).await?;
        Ok(rows.into_iter().map(|Asked { asked, standing }| (asked, standing)).collect())
    }
}
