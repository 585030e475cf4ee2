//! Judging the past by the lines that are configured now.
//!
//! Which way a call went is recorded when it is announced, so a changed configuration changes no row. Where
//! the set-up was wrong, this appends what is right: one `call.reclassified` for each call that differs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use cqrs_es::{AggregateError, CqrsFramework, EventEnvelope, Query};
use domain::call::{Call, CallCommand, CallError};
use domain::direction::Lines;
use futures::{StreamExt, stream};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::event_store::{CallStore, Committer};

/// Calls read from the log at a time, and judged at the same time.
const PAGE: i64 = 1_000;
const AT_ONCE: usize = 8;

/// What a run did. Calls, not events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclassified {
    /// How many calls are to be judged.
    pub calls: u64,
    pub judged: u64,
    pub changed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReclassifyError {
    #[error("the log cannot be read")]
    Log(#[from] sqlx::Error),
    #[error("{call_sid} cannot be reclassified")]
    Call {
        call_sid: String,
        #[source]
        source: AggregateError<CallError>,
    },
}

/// Judges every announced call. `progress` is told how far it has come.
pub async fn reclassify(
    pool: &PgPool,
    lines: &Lines,
    progress: impl Fn(Reclassified),
) -> Result<Reclassified, ReclassifyError> {
    let committer = Committer::start(pool.clone(), || {});
    let changed = Changed::default();
    let calls =
        CqrsFramework::new(CallStore::new(pool.clone(), committer), vec![Box::new(changed.clone())], ());
    let known: i64 = sqlx::query_scalar("select count(*) from call_events where event_type = 'call.created'")
        .fetch_one(pool)
        .await?;
    let mut done = Reclassified { calls: known.unsigned_abs(), ..Reclassified::default() };
    let mut after = 0_i64;
    loop {
        let page: Vec<(i64, String)> = sqlx::query_as(
            "select id, aggregate_id from call_events
              where id > $1 and event_type = 'call.created' order by id limit $2",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_all(pool)
        .await?;
        let Some((last, _)) = page.last() else { return Ok(done) };
        after = *last;
        let mut judged =
            stream::iter(page).map(|(_, call_sid)| judge(&calls, lines, call_sid)).buffer_unordered(AT_ONCE);
        while let Some(result) = judged.next().await {
            result?;
            done.judged += 1;
        }
        done.changed = changed.0.load(Ordering::Relaxed);
        progress(done);
    }
}

/// Decides again where somebody else appended first.
async fn judge(
    calls: &CqrsFramework<Call, CallStore>,
    lines: &Lines,
    call_sid: String,
) -> Result<(), ReclassifyError> {
    let metadata = HashMap::from([("source".to_owned(), "reclassify".to_owned())]);
    loop {
        let command = CallCommand::Reclassify { lines: lines.clone(), at: OffsetDateTime::now_utc() };
        match calls.execute_with_metadata(&call_sid, command, metadata.clone()).await {
            Ok(()) => return Ok(()),
            Err(AggregateError::AggregateConflict) => {}
            Err(source) => return Err(ReclassifyError::Call { call_sid, source }),
        }
    }
}

/// Counts what was appended.
#[derive(Clone, Debug, Default)]
struct Changed(Arc<AtomicU64>);

#[async_trait]
impl Query<Call> for Changed {
    async fn dispatch(&self, _call_sid: &str, events: &[EventEnvelope<Call>]) {
        self.0.fetch_add(events.len() as u64, Ordering::Relaxed);
    }
}
