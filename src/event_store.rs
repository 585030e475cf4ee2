//! The one writer of the log.
//!
//! Whoever wants to append hands the [`Committer`] a [`Unit`]: inbox rows that are done, and events with the
//! places in their streams that they must get. It writes whatever units have queued while its last
//! transaction ran in one, the append last, because the log's lock is held until the commit. A unit that
//! finds its place taken is taken out and told so; its owner decides again.

mod calls;

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

pub use calls::{CallStore, LoadError, StreamState, load_streams};

/// Units in one transaction at most.
const BATCH: usize = 1_000;
/// Units that may wait; whoever comes then waits for room.
const QUEUE: usize = 4_096;

/// What is written together or not at all.
#[derive(Debug, Default)]
pub struct Unit {
    pub done: Vec<Done>,
    pub events: Vec<NewEvent>,
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
    #[error("somebody else appended to the same stream first")]
    Conflict,
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
            Self::Stopping => false,
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
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(pool, waiting, committed));
        Self { queue }
    }

    /// Writes the unit; returns when it is durable.
    pub async fn commit(&self, unit: Unit) -> Result<(), CommitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((unit, answer)).await.map_err(|_| CommitError::Stopping)?;
        answered.await.map_err(|_| CommitError::Stopping)?
    }
}

async fn write_all(pool: PgPool, mut waiting: mpsc::Receiver<Queued>, committed: impl Fn()) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (units, taken) = without_rivals(std::mem::take(&mut batch));
        for (_, answer) in taken {
            // Whoever asked may have gone away; the unit was not written either way.
            let _ = answer.send(Err(CommitError::Conflict));
        }
        let appended = units.iter().any(|(unit, _)| !unit.events.is_empty());
        write_together(&pool, units).await;
        if appended {
            committed();
        }
    }
}

/// Sets aside the units that want a place which an earlier unit of the same batch wants.
fn without_rivals(batch: Vec<Queued>) -> (Vec<Queued>, Vec<Queued>) {
    let mut places = HashSet::new();
    batch.into_iter().partition(|(unit, _)| {
        let wanted: Vec<_> = unit
            .events
            .iter()
            .map(|event| (event.aggregate_type, event.aggregate_id.clone(), event.sequence))
            .collect();
        if wanted.iter().any(|place| places.contains(place)) {
            return false;
        }
        places.extend(wanted);
        true
    })
}

/// Writes the units in one transaction. Where one of them cannot be written, halves are tried, so that the
/// others do not fail with it.
fn write_together(pool: &PgPool, mut units: Vec<Queued>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async move {
        let together: Vec<&Unit> = units.iter().map(|(unit, _)| unit).collect();
        match write(pool, &together).await {
            Err(error) if units.len() > 1 && error.is_about_a_unit() => {
                let rest = units.split_off(units.len() / 2);
                write_together(pool, units).await;
                write_together(pool, rest).await;
            }
            result => {
                for (_, answer) in units {
                    let _ = answer.send(result.clone());
                }
            }
        }
    })
}

async fn write(pool: &PgPool, units: &[&Unit]) -> Result<(), CommitError> {
    async {
        let mut tx = pool.begin().await?;
        finish(&mut tx, units).await?;
        append(&mut tx, units).await?;
        tx.commit().await
    }
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => CommitError::Conflict,
        _ => CommitError::Database(Arc::new(error)),
    })
}

async fn finish(connection: &mut PgConnection, units: &[&Unit]) -> sqlx::Result<()> {
    let mut done: Vec<&Done> = units.iter().flat_map(|unit| &unit.done).collect();
    if done.is_empty() {
        return Ok(());
    }
    done.sort_by_key(|row| row.inbox_id);
    // A row that another instance has finished keeps the outcome that its events belong to.
    sqlx::query(
        "update twilio_webhook_inbox as inbox
            set processing_status = done.status, outcome = done.outcome, error = done.error,
                processed_at = done.at, next_attempt_at = null
           from unnest($1::bigint[], $2::text[], $3::jsonb[], $4::text[], $5::timestamptz[])
                as done (id, status, outcome, error, at)
          where inbox.id = done.id and inbox.processing_status in ('pending', 'failed')",
    )
    .bind(done.iter().map(|row| row.inbox_id).collect::<Vec<_>>())
    .bind(done.iter().map(|row| row.status.as_str()).collect::<Vec<_>>())
    .bind(done.iter().map(|row| &row.outcome).collect::<Vec<_>>())
    .bind(done.iter().map(|row| row.error.as_deref()).collect::<Vec<_>>())
    .bind(done.iter().map(|row| row.at).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

async fn append(connection: &mut PgConnection, units: &[&Unit]) -> sqlx::Result<()> {
    let events: Vec<&NewEvent> = units.iter().flat_map(|unit| &unit.events).collect();
    if events.is_empty() {
        return Ok(());
    }
    // In a statement of its own: what follows must see everything that was appended during the wait.
    sqlx::query("select pg_advisory_xact_lock(append_lock())").execute(&mut *connection).await?;
    sqlx::query(
        "insert into call_events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::json[], $7::json[])",
    )
    .bind(events.iter().map(|event| event.aggregate_type).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.event_version.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.payload.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.metadata.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}
