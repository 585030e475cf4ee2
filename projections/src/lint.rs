//! Whether everything in the log can be read, before a fold finds out.

use std::collections::BTreeMap;

use domain::call::{self, CallEvent};
use domain::contact::{self, ContactEvent};
use domain::conversation::{self, ConversationEvent};
use domain::upcast::DecodeError;
use sqlx::PgPool;

use crate::{chain, log};

/// Positions that are looked at in one query.
const STEP: i64 = 50_000;
/// Payloads that are held at a time.
const BATCH: i64 = 5_000;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LintProgress {
    pub position: i64,
    /// The end of the log when it began.
    pub head: i64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How many events were looked at.
    pub events: i64,
    pub head: i64,
    /// In the order of their first events.
    pub faults: Vec<Fault>,
}

/// Events of one type and version that cannot be read for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub aggregate_type: String,
    pub event_type: String,
    pub event_version: String,
    pub count: i64,
    pub first: i64,
    pub last: i64,
    /// The aggregate of the first.
    pub sample: String,
    pub reason: String,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// A kind of event as its columns name it, and why it is at fault.
type Kind = (String, String, String, String);

#[derive(Default)]
struct Tally {
    count: i64,
    first: i64,
    last: i64,
    sample: String,
}

/// Looks at every event up to the present end of the log: at its type and version, and, where it goes deep, at
/// its payload. `progress` is told after each query.
pub async fn lint(pool: &PgPool, deep: bool, progress: impl Fn(LintProgress)) -> sqlx::Result<Findings> {
    let head = log::last_position(&mut *pool.acquire().await?).await?;
    let mut faults: BTreeMap<Kind, Tally> = BTreeMap::new();
    let (mut events, mut position) = (0, 0);
    while position < head {
        let reached = if deep {
            read(pool, position, head, &mut events, &mut faults).await?
        } else {
            count(pool, position, head, &mut events, &mut faults).await?
        };
        position = reached;
        progress(LintProgress { position, head });
    }
    let mut faults: Vec<Fault> = faults.into_iter().map(fault).collect();
    faults.sort_by_key(|fault| fault.first);
    Ok(Findings { events, head, faults })
}

/// Counts types and versions in the next positions; says how far it came.
async fn count(
    pool: &PgPool,
    after: i64,
    head: i64,
    events: &mut i64,
    faults: &mut BTreeMap<Kind, Tally>,
) -> sqlx::Result<i64> {
    let reached = after.saturating_add(STEP).min(head);
    let kinds: Vec<(String, String, String, i64, i64, i64)> = sqlx::query_as(
        "select aggregate_type, event_type, event_version, count(*), min(id), max(id)
           from call_events where id > $1 and id <= $2 group by 1, 2, 3",
    )
    .bind(after)
    .bind(reached)
    .fetch_all(pool)
    .await?;
    for (aggregate_type, event_type, event_version, count, first, last) in kinds {
        *events += count;
        let Some(reason) = unknown(&aggregate_type, &event_type, &event_version) else { continue };
        let tally = faults.entry((aggregate_type, event_type, event_version, reason)).or_default();
        if tally.count == 0 {
            tally.first = first;
            tally.sample = sqlx::query_scalar("select aggregate_id from call_events where id = $1")
                .bind(first)
                .fetch_one(pool)
                .await?;
        }
        tally.count += count;
        tally.last = last;
    }
    Ok(reached)
}

/// Decodes the next events; says how far it came.
async fn read(
    pool: &PgPool,
    after: i64,
    head: i64,
    events: &mut i64,
    faults: &mut BTreeMap<Kind, Tally>,
) -> sqlx::Result<i64> {
    let batch = log::read_after(&mut *pool.acquire().await?, after, head, BATCH).await?;
    let reached = batch.last().map_or(head, |event| event.position);
    for event in batch {
        *events += 1;
        let (event_type, version) = (event.event_type, event.event_version);
        let reason = unknown(&event.aggregate_type, &event_type, &version).or_else(|| {
            let read = decode(&event.aggregate_type, &event_type, &version, &event.payload);
            read.err().map(|error| chain(&error))
        });
        let Some(reason) = reason else { continue };
        let tally = faults.entry((event.aggregate_type, event_type, version, reason)).or_default();
        if tally.count == 0 {
            (tally.first, tally.sample) = (event.position, event.aggregate_id);
        }
        tally.count += 1;
        tally.last = event.position;
    }
    Ok(reached)
}

/// Why nothing of that kind can be read, whatever its payload.
fn unknown(aggregate_type: &str, event_type: &str, version: &str) -> Option<String> {
    let (reads, today) = match aggregate_type {
        "call" => {
            let known = call::upcast::CURRENT;
            (known.reads(event_type, version), known.writes(event_type))
        }
        "contact" => {
            let known = contact::event::READABLE;
            (known.reads(event_type, version), known.writes(event_type))
        }
        "conversation" => {
            let known = conversation::event::READABLE;
            (known.reads(event_type, version), known.writes(event_type))
        }
        _ => {
            return Some(format!(
                "this callbook knows no {aggregate_type:?}, so it passes over what happens to one"
            ));
        }
    };
    match today {
        _ if reads => None,
        None => Some("this callbook knows no such event type".to_owned()),
        Some(today) => Some(format!("this callbook writes version {today} and has no step from that one")),
    }
}

fn decode(aggregate_type: &str, event_type: &str, version: &str, payload: &str) -> Result<(), DecodeError> {
    match aggregate_type {
        "contact" => ContactEvent::decode(event_type, version, payload).map(drop),
        "conversation" => ConversationEvent::decode(event_type, version, payload).map(drop),
        _ => CallEvent::decode(event_type, version, payload).map(drop),
    }
}

fn fault(((aggregate_type, event_type, event_version, reason), tally): (Kind, Tally)) -> Fault {
    let Tally { count, first, last, sample } = tally;
    Fault { aggregate_type, event_type, event_version, count, first, last, sample, reason }
}
