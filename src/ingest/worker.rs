//! Decides what waits in the inbox, in the order in which it was received.
//!
//! A batch is loaded together: its rows, and the streams of its calls in one query. Each call becomes one
//! unit of work, in which its rows are completed *with their outcome* beside the events. A row that fails by
//! itself is tried again later and holds up no other.
//!
//! Of many callbooks on one database, the one that holds the worker lease does this, under the lease's epoch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::call::{Call, CallCommand};
use domain::sid::CallSid;
use futures::future::join_all;
use projections::chain;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tracing::Instrument;

use super::report;
use crate::event_store::{
    CommitError, Committer, Done, DoneStatus, LoadError, NewEvent, StreamState, Unit, load_streams,
};
use crate::lease::Epoch;
use crate::metrics::Ingest;
use crate::twilio::routing::Routing;

/// Rows in one batch at most.
const BATCH: i64 = 500;
/// How often the inbox is looked at although nobody said that it grew: another instance may have filled it,
/// or a failed row's time may have come.
const POLL: Duration = Duration::from_millis(200);
/// How often the whole inbox is looked at, and how far back from the newest row it is in between. A transaction
/// that stays open elsewhere in the database keeps every finished row in the index of those that wait, and
/// without the bound each look would pass all of them.
const WHOLE_LOOK: Duration = Duration::from_secs(1);
const BACK: Duration = Duration::from_secs(10);
/// How long to wait after the database failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries before a row is given up; with the backoff below, after about an hour and a half.
const TRIES: i32 = 10;
const FIRST_BACKOFF: i64 = 10;
const LONGEST_BACKOFF: i64 = 1_800;

/// Works the inbox off. Cheap to clone; clones share the wake-up.
#[derive(Clone, Debug)]
pub struct Worker {
    pool: PgPool,
    committer: Committer,
    routing: watch::Receiver<Routing>,
    wake: Arc<Notify>,
    counts: Ingest,
}

#[derive(Debug, sqlx::FromRow)]
struct Waiting {
    id: i64,
    source: String,
    event_type: String,
    payload: Value,
    received_at: OffsetDateTime,
    retry_count: i32,
    request_id: Option<String>,
}

/// A row and the command it makes.
#[derive(Debug)]
struct Reported {
    row: Waiting,
    command: CallCommand,
}

/// What a batch was: how many rows, and when the last of them was received.
#[derive(Clone, Copy, Debug)]
struct Taken {
    rows: usize,
    newest: Option<OffsetDateTime>,
}

/// From when on the inbox is looked at.
#[derive(Debug, Default)]
struct Looks {
    newest: Option<OffsetDateTime>,
    whole: Option<Instant>,
}

impl Looks {
    /// Nothing where the whole inbox is due.
    fn next(&mut self) -> Option<OffsetDateTime> {
        if self.whole.is_none_or(|whole| whole.elapsed() >= WHOLE_LOOK) {
            self.whole = Some(Instant::now());
            return None;
        }
        self.newest.map(|newest| newest - BACK)
    }

    /// Not the newest of all: what came late, such as from the spool, is gone through from there on.
    fn saw(&mut self, newest: Option<OffsetDateTime>) {
        self.newest = newest.or(self.newest);
    }
}

/// Why a batch was not worked off. What of it was not committed waits as before.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the inbox cannot be read")]
    Database(#[from] sqlx::Error),
}

impl Worker {
    /// Each call is judged by the lines that `routing` has at the time.
    pub fn new(
        pool: PgPool,
        committer: Committer,
        routing: watch::Receiver<Routing>,
        wake: Arc<Notify>,
    ) -> Self {
        Self { pool, committer, routing, wake, counts: Ingest::default() }
    }

    /// The same, and counts what comes of the rows.
    pub fn measured(self, counts: Ingest) -> Self {
        Self { counts, ..self }
    }

    /// Works while `lease` has an epoch, until it is dropped.
    pub async fn run(self, mut lease: watch::Receiver<Option<Epoch>>) {
        let mut said = String::new();
        let mut looks = Looks::default();
        loop {
            let Ok(epoch) = lease.wait_for(Option::is_some).await.map(|epoch| *epoch) else { return };
            let Some(epoch) = epoch else { continue };
            // To its end also where the lease is lost meanwhile: it is refused then.
            match self.work_since(epoch, looks.next()).await {
                Ok(taken) => {
                    said.clear();
                    looks.saw(taken.newest);
                    if taken.rows == 0 {
                        // Either is reason enough to look again.
                        let _ = tokio::time::timeout(POLL, self.wake.notified()).await;
                    }
                }
                Err(WorkError::Commit(CommitError::Fenced)) => {
                    tracing::warn!(lease.epoch = epoch, "another callbook works; epoch {epoch} is over");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let error = chain(&error);
                    if error != said {
                        tracing::error!(error, "the inbox stands still and is tried again every second");
                        said = error;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Decides the next batch under this epoch of the lease; says how many rows it took.
    pub async fn work(&self, epoch: Epoch) -> Result<usize, WorkError> {
        Ok(self.work_since(epoch, None).await?.rows)
    }

    async fn work_since(&self, epoch: Epoch, since: Option<OffsetDateTime>) -> Result<Taken, WorkError> {
        let rows: Vec<Waiting> = sqlx::query_as(
            "select id, source, event_type, payload, received_at, retry_count, request_id
               from twilio_webhook_inbox
              where processing_status in ('pending', 'failed')
                and received_at >= coalesce($2, '-infinity')
                and (next_attempt_at is null or next_attempt_at <= clock_timestamp())
              order by received_at, id
              limit $1",
        )
        .bind(BATCH)
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        let taken = Taken { rows: rows.len(), newest: rows.last().map(|row| row.received_at) };
        if taken.rows > 0 {
            let begun = Instant::now();
            let span = tracing::info_span!("ingest.batch", rows = taken.rows, lease.epoch = epoch);
            self.decide_rows(epoch, rows).instrument(span).await?;
            self.counts.batch_seconds.record(begun.elapsed());
        }
        Ok(taken)
    }

    async fn decide_rows(&self, epoch: Epoch, rows: Vec<Waiting>) -> Result<(), WorkError> {
        let (by_call, meaningless) = self.read(epoch, rows);
        let sids: Vec<&str> = by_call.keys().map(CallSid::as_str).collect();
        let mut connection = self.pool.acquire().await?;
        let loaded = load_streams(&mut connection, &sids).await;
        drop(connection);
        let mut streams = match loaded {
            Ok(streams) => Some(streams),
            // One stream that cannot be read must not hold up the others: each call loads its own.
            Err(LoadError::Event { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let calls = by_call.into_iter().map(|(sid, reports)| {
            let state = streams.as_mut().map(|known| known.remove(sid.as_str()).unwrap_or_default());
            self.decide_call(epoch, sid, reports, state)
        });
        let (dead, decided) = futures::join!(self.put_aside(meaningless), join_all(calls));
        dead?;
        decided.into_iter().collect()
    }

    /// Commits the rows that make no command.
    async fn put_aside(&self, meaningless: Unit) -> Result<(), WorkError> {
        let refused = meaningless.done.len() as u64;
        if refused > 0 {
            self.committer.commit(meaningless).await?;
            self.counts.refused.increment(refused);
        }
        Ok(())
    }

    /// Sorts the rows by call. Those that make no command are done already.
    fn read(&self, epoch: Epoch, rows: Vec<Waiting>) -> (BTreeMap<CallSid, Vec<Reported>>, Unit) {
        let mut by_call: BTreeMap<CallSid, Vec<Reported>> = BTreeMap::new();
        let mut meaningless = Unit { epoch: Some(epoch), ..Unit::default() };
        let lines = self.routing.borrow().lines.clone();
        for row in rows {
            let read = report::command(&row.event_type, &row.payload, row.received_at, &lines);
            match read {
                Ok((sid, command)) => by_call.entry(sid).or_default().push(Reported { row, command }),
                Err(reason) => {
                    log_refusal(row.id);
                    meaningless.done.push(refused(row.id, reason.to_string()));
                }
            }
        }
        (by_call, meaningless)
    }

    /// Decides the reports about one call and hands them to the committer; again where somebody was faster.
    async fn decide_call(
        &self,
        epoch: Epoch,
        call_sid: CallSid,
        reports: Vec<Reported>,
        mut loaded: Option<StreamState<Call>>,
    ) -> Result<(), WorkError> {
        loop {
            let state = match loaded.take() {
                Some(state) => state,
                None => match self.load(&call_sid).await {
                    Ok(state) => state,
                    Err(WorkError::Load(error @ LoadError::Event { .. })) => {
                        return self.put_off(epoch, &call_sid, &reports, chain(&error)).await;
                    }
                    Err(error) => return Err(error),
                },
            };
            let (unit, decided) = decide(epoch, &call_sid, state, &reports);
            match self.committer.commit(unit).await {
                Ok(()) => {
                    self.counts.recorded.increment(decided.recorded);
                    self.counts.already_so.increment(decided.already_so);
                    self.counts.refused.increment(decided.refused);
                    return Ok(());
                }
                Err(CommitError::Conflict) => {}
                Err(error) if error.is_about_a_unit() => {
                    return self.put_off(epoch, &call_sid, &reports, chain(&error)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn load(&self, call_sid: &CallSid) -> Result<StreamState<Call>, WorkError> {
        let mut connection = self.pool.acquire().await?;
        let mut streams = load_streams(&mut connection, &[call_sid.as_str()]).await?;
        Ok(streams.remove(call_sid.as_str()).unwrap_or_default())
    }

    /// Tries these rows again later, up to [`TRIES`] times.
    async fn put_off(
        &self,
        epoch: Epoch,
        call_sid: &CallSid,
        reports: &[Reported],
        reason: String,
    ) -> Result<(), WorkError> {
        tracing::error!(
            call.sid = call_sid.as_str(),
            rows = reports.len(),
            // The reason may quote what was sent, so it is kept with the rows and not in the log.
            "the reports about {call_sid} failed; their rows in the inbox say why"
        );
        let ids: Vec<i64> = reports.iter().map(|report| report.row.id).collect();
        let tries: Vec<i32> = reports.iter().map(|report| report.row.retry_count + 1).collect();
        let waits: Vec<i64> = tries.iter().map(|tries| backoff(*tries)).collect();
        let held: bool = sqlx::query_scalar(
            "with fence as materialized (select from worker_lease where epoch = $6 for key share),
             put_off as (
                 update twilio_webhook_inbox as inbox
                    set processing_status = case when failed.tries >= $4 then 'dead_letter' else 'failed' end,
                        retry_count = failed.tries, error = $5,
                        next_attempt_at = clock_timestamp() + make_interval(secs => failed.wait),
                        processed_at = case when failed.tries >= $4 then clock_timestamp() end
                   from unnest($1::bigint[], $2::integer[], $3::bigint[]) as failed (id, tries, wait)
                  where inbox.id = failed.id and inbox.processing_status in ('pending', 'failed')
                    and exists (select from fence)
             )
             select exists (select from fence)",
        )
        .bind(&ids)
        .bind(&tries)
        .bind(&waits)
        .bind(TRIES)
        .bind(&reason)
        .bind(epoch)
        .fetch_one(&self.pool)
        .await?;
        if !held {
            return Err(CommitError::Fenced.into());
        }
        let given_up = tries.iter().filter(|tries| **tries >= TRIES).count() as u64;
        self.counts.given_up.increment(given_up);
        self.counts.put_off.increment(tries.len() as u64 - given_up);
        Ok(())
    }
}

/// Rows by what came of them.
#[derive(Clone, Copy, Debug, Default)]
struct Decided {
    recorded: u64,
    already_so: u64,
    refused: u64,
}

/// One unit for one call: its rows in the order received, each with what came of it.
fn decide(
    epoch: Epoch,
    call_sid: &CallSid,
    mut state: StreamState<Call>,
    reports: &[Reported],
) -> (Unit, Decided) {
    let mut unit = Unit { epoch: Some(epoch), ..Unit::default() };
    let mut counts = Decided::default();
    for Reported { row, command } in reports {
        match state.aggregate.decide(command.clone()) {
            Ok(events) => {
                let metadata = json!({
                    "source": event_source(&row.source),
                    "inbox_id": row.id.to_string(),
                    "request_id": row.request_id.clone().unwrap_or_default(),
                });
                let placed = state.extend(call_sid.as_str(), events, &metadata.to_string());
                *(if placed.is_empty() { &mut counts.already_so } else { &mut counts.recorded }) += 1;
                unit.done.push(decided(row.id, call_sid, &placed));
                unit.events.extend(placed);
            }
            Err(refusal) => {
                log_refusal(row.id);
                counts.refused += 1;
                unit.done.push(refused(row.id, refusal.to_string()));
            }
        }
    }
    (unit, counts)
}

/// Seed 000's `source` of an event: a webhook, or the job that asked.
fn event_source(source: &str) -> &str {
    if source.starts_with("twilio_") { "webhook" } else { source }
}

fn decided(inbox_id: i64, call_sid: &CallSid, events: &[NewEvent]) -> Done {
    let result = if events.is_empty() { "already_so" } else { "recorded" };
    let events: Vec<Value> = events
        .iter()
        .map(|event| json!({ "call_sid": call_sid, "sequence": event.sequence, "type": event.event_type }))
        .collect();
    Done {
        inbox_id,
        status: DoneStatus::Completed,
        outcome: json!({ "result": result, "events": events }),
        error: None,
        at: OffsetDateTime::now_utc(),
    }
}

fn refused(inbox_id: i64, reason: String) -> Done {
    Done {
        inbox_id,
        status: DoneStatus::DeadLetter,
        outcome: json!({ "result": "refused", "reason": reason }),
        error: Some(reason),
        at: OffsetDateTime::now_utc(),
    }
}

/// The reason may quote what was sent, so it is kept with the row and not in the log.
fn log_refusal(inbox_id: i64) {
    tracing::warn!(inbox.id = inbox_id, "inbox row {inbox_id} is dead-lettered; its error says why");
}

/// Seconds until the next try: 10, 20, 40, … up to half an hour.
fn backoff(tries: i32) -> i64 {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(16);
    FIRST_BACKOFF.saturating_mul(1 << doublings).min(LONGEST_BACKOFF)
}
