//! The past: what the rows were at any position, computed from the log and never stored.
//!
//! [`Replay`] folds events by the same pure functions as the live fold, so it gives what live showed.
//! [`Snapshot::refold`] is the one way to a replay: the events of some calls and of all their kin, up to a
//! position. The present rows only say which calls to look at.

mod call;
mod entered;
mod explain;
mod moments;
mod past;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::call::event::Told;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use call::PastCall;
pub use explain::{EventStep, FieldChange, History, RowChange};
pub use moments::ThreadEvent;
pub use past::{Asked, Moment, NotPast, PastThread};

use crate::chain;
use crate::conversations::family::topmost;
use crate::conversations::thread::PartyOf;
use crate::conversations::{Leg, Message, level_two, load_families};
use crate::generation::Snapshot;
use crate::ids::IdKey;
use crate::log::StoredEvent;

/// An event of a call, with what people ask of it besides.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct PastEvent {
    #[sqlx(flatten)]
    pub stored: StoredEvent,
    /// When it happened, by Twilio's clock where Twilio said so.
    pub event_time: Option<OffsetDateTime>,
    /// What appended it: `webhook`, `reclassify`, ….
    pub source: Option<String>,
    /// The row of the inbox that made it, which may be kept no longer.
    pub inbox_id: Option<String>,
}

/// Where the replay of a call ends, because an event cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub call_sid: String,
    pub position: i64,
    pub reason: String,
}

/// The legs of some calls as of a position. Give it events in log order.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    legs: HashMap<String, Leg>,
    /// Legs that stand still, and since which event: what follows it cannot be known.
    unreadable: BTreeMap<String, Unreadable>,
    /// Every parent that any event named, also one that a later event corrected.
    parents: BTreeSet<String>,
}

impl Replay {
    /// Folds the next event. It is left out if its leg stands still; says since when.
    pub fn apply(&mut self, stored: &StoredEvent) -> Result<(), &Unreadable> {
        let call_sid = stored.aggregate_id.as_str();
        if !self.unreadable.contains_key(call_sid) {
            match stored.told() {
                Ok(event) => self.fold(call_sid, event, stored.recorded_at),
                Err(error) => {
                    let unreadable = Unreadable {
                        call_sid: call_sid.to_owned(),
                        position: stored.position,
                        reason: chain(&error.source),
                    };
                    self.unreadable.insert(call_sid.to_owned(), unreadable);
                }
            }
        }
        self.unreadable.get(call_sid).map_or(Ok(()), Err)
    }

    fn fold(&mut self, call_sid: &str, event: Told, recorded_at: OffsetDateTime) {
        if let Some(parent) = &event.facts.parent_call_sid {
            self.parents.insert(parent.as_str().to_owned());
        }
        let leg = self.legs.entry(call_sid.to_owned());
        leg.or_insert_with(|| Leg::unknown(call_sid, recorded_at)).apply(event, recorded_at);
    }

    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.legs.values()
    }

    pub fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.unreadable.values()
    }

    /// The SID at the top of a call's family; of a call without events, its own.
    pub fn root<'a>(&'a self, call_sid: &'a str) -> &'a str {
        self.legs.get(call_sid).map_or(call_sid, |leg| topmost(leg, &self.legs))
    }

    /// What level two makes of the legs.
    pub(crate) fn messages(&self, ids: &IdKey) -> (Vec<Message>, HashMap<i64, PartyOf>) {
        level_two(&self.legs, ids)
    }
}

impl Snapshot {
    /// These calls and all their kin as of a position.
    pub(crate) async fn refold(&mut self, calls: BTreeSet<String>, up_to: i64) -> sqlx::Result<Replay> {
        Ok(self.history(calls, up_to).await?.1)
    }

    /// The events of these calls and of all their kin, in order, and what they come to.
    async fn history(
        &mut self,
        calls: BTreeSet<String>,
        up_to: i64,
    ) -> sqlx::Result<(Vec<PastEvent>, Replay)> {
        let mut kin = calls;
        loop {
            let present = load_families(&mut self.tx, self.generation, kin.clone()).await?;
            for leg in present.into_values() {
                kin.extend([leg.call_sid, leg.root_call_sid]);
            }
            let events = events_of(&mut self.tx, &kin, up_to).await?;
            let mut replay = Replay::default();
            for event in &events {
                // Where a leg stands still, the replay remembers it.
                let _ = replay.apply(&event.stored);
            }
            // The present rows know a leg's last parent; the events know those it had before.
            let known = kin.len();
            kin.extend(replay.parents.iter().cloned());
            if kin.len() == known {
                return Ok((events, replay));
            }
        }
    }

    /// For what others keep beside the log and its rows, as of the same snapshot.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// The events of a call and of all its kin after a position, in order.
    pub async fn events(&mut self, call_sid: &str, after: i64, limit: i64) -> sqlx::Result<Vec<PastEvent>> {
        let (mut events, _) = self.history([call_sid.to_owned()].into(), i64::MAX).await?;
        events.retain(|event| event.stored.position > after);
        events.truncate(usize::try_from(limit).unwrap_or(0));
        Ok(events)
    }
}

async fn events_of(
    connection: &mut PgConnection,
    calls: &BTreeSet<String>,
    up_to: i64,
) -> sqlx::Result<Vec<PastEvent>> {
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    sqlx::query_as(
        "select id as position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text as payload, created_at as recorded_at, event_time, source,
                metadata ->> 'inbox_id' as inbox_id
           from call_events
          where aggregate_type = 'call' and aggregate_id = any($1) and id <= $2
          order by id",
    )
    .bind(calls)
    .bind(up_to)
    .fetch_all(connection)
    .await
}

impl PastEvent {
    /// What an event says, as it is stored; null where that is not JSON that can be held.
    pub fn payload(&self) -> Value {
        serde_json::from_str(&self.stored.payload).unwrap_or_default()
    }
}
