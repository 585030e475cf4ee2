//! The one writer of the log.
//!
//! Whoever wants to append hands the [`Committer`] a [`Unit`]: inbox rows that are done, events with the places in
//! their streams that they must get, and the key under which a request is answered. It writes whatever units have queued while its last
//! transaction ran in one, the append last, because the log's lock is held until the commit. A unit that
//! finds its place or its key taken is taken out and told so; its owner decides again.

mod calls;
pub mod idempotency;
mod lock;
mod streams;

use std::collections::{BTreeSet, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::lease::Epoch;
use crate::metrics::Commits;
pub use calls::CallStore;
use idempotency::Answered;
pub use lock::LockHolder;
pub use streams::{LoadError, StreamState, load_streams};

/// Units in one transaction at most.
const BATCH: usize = 1_000;
/// Units that may wait; whoever comes then waits for room.
const QUEUE: usize = 4_096;

const UNIQUE_VIOLATION: &str = "23505";
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Raised by `commit_units` (migration 0018).
const FENCED: &str = "CB001";

/// What is written together or not at all.
#[derive(Debug, Default)]
pub struct Unit {
    /// The worker's units are fenced by the epoch that they were decided under; nobody else's are.
    pub epoch: Option<Epoch>,
    pub done: Vec<Done>,
    pub events: Vec<NewEvent>,
    /// Where a caller has named its request.
    pub answered: Option<Answered>,
}

/// An inbox row that is done, and what came of it.
#[derive(Debug)]
pub struct Done {
    pub inbox_id: i64,
    pub status: DoneStatus,
    pub outcome: Value,
    pub error: Option<String>,
    pub at: OffsetDateTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneStatus {
    Completed,
    DeadLetter,
}

impl DoneStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// An event and the place in its stream that it must get. `payload` and `metadata` are JSON text.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub aggregate_type: &'static str,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
}

/// Why a unit was not written. Nothing of it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    #[error("somebody else appended to the same stream, or answered under the same key, first")]
    Conflict,
    #[error("the worker lease has passed on since this was decided")]
    Fenced,
    #[error("the log could not be written: {0}")]
    Locked(LockHolder),
    #[error("the log could not be written")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("callbook is stopping")]
    Stopping,
}

impl CommitError {
    /// Whether the unit is at fault, rather than the database or the way to it.
    pub fn is_about_a_unit(&self) -> bool {
        match self {
            Self::Conflict => true,
            Self::Database(error) => is_about_the_rows(error),
            Self::Fenced | Self::Locked(_) | Self::Stopping => false,
        }
    }
}

/// Whether the database refused what it was given: data exceptions (22), broken constraints (23), and what is
/// too large or too complex (54).
pub(crate) fn is_about_the_rows(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(database) = error else { return false };
    database.code().is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

type Queued = (Unit, oneshot::Sender<Result<(), CommitError>>);

/// Hands units to the task that writes them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Committer {
    queue: mpsc::Sender<Queued>,
}

impl Committer {
    /// Starts the writer. `committed` is called after each transaction that appended.
    pub fn start(pool: PgPool, committed: impl Fn() + Send + Sync + 'static) -> Self {
        Self::measured(pool, Commits::default(), committed)
    }

    /// The same, and counts what it does.
    pub fn measured(pool: PgPool, commits: Commits, committed: impl Fn() + Send + Sync + 'static) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(Log { pool, commits }, waiting, committed));
        Self { queue }
    }

    /// Writes the unit; returns when it is durable.
    pub async fn commit(&self, unit: Unit) -> Result<(), CommitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((unit, answer)).await.map_err(|_| CommitError::Stopping)?;
        answered.await.map_err(|_| CommitError::Stopping)?
    }
}

/// What is written, and what counts it.
struct Log {
    pool: PgPool,
    commits: Commits,
}

async fn write_all(log: Log, mut waiting: mpsc::Receiver<Queued>, committed: impl Fn()) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (units, rivals) = without_rivals(std::mem::take(&mut batch));
        let appended = units.iter().any(|(unit, _)| !unit.events.is_empty());
        write_together(&log, units).await;
        // Only now, so that whoever decides again finds what it lost to.
        log.answer(rivals, &Err(CommitError::Conflict));
        if appended {
            committed();
        }
        // Whoever was answered and has more comes first, or the next transaction would take a few and leave the rest.
        tokio::task::yield_now().await;
    }
}

/// Sets aside the units that want a place or a key which an earlier unit of the same batch wants.
fn without_rivals(batch: Vec<Queued>) -> (Vec<Queued>, Vec<Queued>) {
    let (mut places, mut keys) = (HashSet::new(), HashSet::new());
    batch.into_iter().partition(|(unit, _)| {
        let wanted: Vec<_> = unit
            .events
            .iter()
            .map(|event| (event.aggregate_type, event.aggregate_id.clone(), event.sequence))
            .collect();
        let key = unit.answered.as_ref().map(|answered| answered.key.clone());
        if wanted.iter().any(|place| places.contains(place)) || key.iter().any(|key| keys.contains(key)) {
            return false;
        }
        places.extend(wanted);
        keys.extend(key);
        true
    })
}

/// Writes the units in one transaction. Those that cannot be written are taken out, so that the others do not
/// fail with them: at once where they are known, else by trying halves.
fn write_together(log: &Log, mut units: Vec<Queued>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async move {
        let together: Vec<&Unit> = units.iter().map(|(unit, _)| unit).collect();
        let error = match log.write(&together).await {
            Err(error) if units.len() > 1 => error,
            result => return log.answer(units, &result),
        };
        let refused: Vec<bool> = match error {
            CommitError::Fenced => together.iter().map(|unit| unit.epoch.is_some()).collect(),
            CommitError::Conflict => find_conflicts(&log.pool, &together).await.unwrap_or_default(),
            _ => Vec::new(),
        };
        if refused.contains(&true) {
            let mut refused = refused.into_iter();
            let (refused, rest) = units.into_iter().partition(|_| refused.next() == Some(true));
            log.answer(refused, &Err(error));
            write_together(log, rest).await;
        } else if error.is_about_a_unit() {
            let rest = units.split_off(units.len() / 2);
            write_together(log, units).await;
            write_together(log, rest).await;
        } else {
            log.answer(units, &Err(error));
        }
    })
}

impl Log {
    fn answer(&self, units: Vec<Queued>, result: &Result<(), CommitError>) {
        for (unit, answer) in units {
            self.count(&unit, result);
            // Whoever asked may have gone away; that changes nothing.
            let _ = answer.send(result.clone());
        }
    }

    fn count(&self, unit: &Unit, result: &Result<(), CommitError>) {
        match result {
            Ok(()) => {
                self.commits.units.increment(1);
                self.commits.events.increment(unit.events.len() as u64);
            }
            Err(CommitError::Conflict) => self.commits.conflicts.increment(1),
            Err(CommitError::Fenced) => self.commits.fenced.increment(1),
            Err(CommitError::Locked(_) | CommitError::Database(_) | CommitError::Stopping) => {
                self.commits.failures.increment(1);
            }
        }
    }

    async fn write(&self, units: &[&Unit]) -> Result<(), CommitError> {
        let begun = Instant::now();
        let written = write(&self.pool, units).await;
        self.commits.seconds.record(begun.elapsed());
        written
    }
}

/// In one statement, so one round trip, and nothing of ours can be left idle with the append lock.
async fn write(pool: &PgPool, units: &[&Unit]) -> Result<(), CommitError> {
    let epochs: BTreeSet<Epoch> = units.iter().filter_map(|unit| unit.epoch).collect();
    let mut done: Vec<&Done> = units.iter().flat_map(|unit| &unit.done).collect();
    done.sort_by_key(|row| row.inbox_id);
    let events: Vec<&NewEvent> = units.iter().flat_map(|unit| &unit.events).collect();
    let mut answered: Vec<&Answered> = units.iter().filter_map(|unit| unit.answered.as_ref()).collect();
    // In one order everywhere, so that two instances that commit the same keys cannot each wait for the other.
    answered.sort_by(|a, b| a.key.cmp(&b.key));
    let written = if epochs.is_empty() && done.is_empty() && answered.is_empty() {
        // Nothing but events: the table's own trigger takes the append lock before a position is drawn.
        let append = sqlx::query(
            "insert into call_events
                    (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::json[], $7::json[])",
        );
        bind_events(append, &events).execute(pool).await
    } else {
        let commit = sqlx::query(
            "select commit_units($1, $2, $3, $4::jsonb[], $5, $6, $7, $8, $9, $10, $11, $12::json[], $13::json[],
                                 $14::text[], $15::bytea[], $16::jsonb[])",
        )
        .bind(epochs.into_iter().collect::<Vec<_>>())
        .bind(done.iter().map(|row| row.inbox_id).collect::<Vec<_>>())
        .bind(done.iter().map(|row| row.status.as_str()).collect::<Vec<_>>())
        .bind(done.iter().map(|row| &row.outcome).collect::<Vec<_>>())
        .bind(done.iter().map(|row| row.error.as_deref()).collect::<Vec<_>>())
        .bind(done.iter().map(|row| row.at).collect::<Vec<_>>());
        bind_events(commit, &events)
            .bind(answered.iter().map(|answered| answered.key.as_str()).collect::<Vec<_>>())
            .bind(answered.iter().map(|answered| answered.request_digest.as_slice()).collect::<Vec<_>>())
            .bind(answered.iter().map(|answered| &answered.answer).collect::<Vec<_>>())
            .execute(pool)
            .await
    };
    let Err(error) = written else { return Ok(()) };
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some(UNIQUE_VIOLATION) => Err(CommitError::Conflict),
        Some(FENCED) => Err(CommitError::Fenced),
        Some(LOCK_NOT_AVAILABLE) => match lock::holder(pool).await {
            Some(holder) => Err(CommitError::Locked(holder)),
            None => Err(CommitError::Database(Arc::new(error))),
        },
        _ => Err(CommitError::Database(Arc::new(error))),
    }
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Binds the columns of the events, an array each.
fn bind_events<'q>(statement: Statement<'q>, events: &[&'q NewEvent]) -> Statement<'q> {
    statement
        .bind(events.iter().map(|event| event.aggregate_type).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.event_version.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.payload.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.metadata.as_str()).collect::<Vec<_>>())
}

/// For each unit, whether a place or the key that it wants is taken.
async fn find_conflicts(pool: &PgPool, units: &[&Unit]) -> sqlx::Result<Vec<bool>> {
    let wanted: Vec<(i64, &NewEvent)> =
        (0..).zip(units).flat_map(|(nth, unit)| unit.events.iter().map(move |event| (nth, event))).collect();
    let keys: Vec<(i64, &str)> = (0..)
        .zip(units)
        .filter_map(|(nth, unit)| Some((nth, unit.answered.as_ref()?.key.as_str())))
        .collect();
    let lost: Vec<i64> = sqlx::query_scalar(
        "select wanted.unit
           from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
                as wanted (unit, aggregate_type, aggregate_id, sequence)
           join call_events using (aggregate_type, aggregate_id, sequence)
          union
         select wanted.unit
           from unnest($5::bigint[], $6::text[]) as wanted (unit, key)
           join idempotency_keys using (key)",
    )
    .bind(wanted.iter().map(|(nth, _)| *nth).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, event)| event.aggregate_type).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, event)| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(wanted.iter().map(|(_, event)| event.sequence).collect::<Vec<_>>())
    .bind(keys.iter().map(|(nth, _)| *nth).collect::<Vec<_>>())
    .bind(keys.iter().map(|(_, key)| *key).collect::<Vec<_>>())
    .fetch_all(pool)
    .await?;
    Ok((0..).zip(units).map(|(nth, _)| lost.contains(&nth)).collect())
}
