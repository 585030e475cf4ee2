//! What has done its work and can be told again is not kept for ever: rows of the inbox that were decided long ago, and
//! the keys of requests that nobody repeats any more. The log is kept for good, and so is what somebody still has to
//! see to (dead letters).
//!
//! Of many callbooks on one database, the one that holds the worker lease clears away, a few rows at a time, so that
//! nobody waits for it. A webhook that comes again after its row has gone is decided again, and tells nothing new.

use std::time::Duration;

use projections::chain;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config;
use crate::event_store::idempotency;
use crate::lease::Epoch;

/// Rows that are looked at in one statement.
const BATCH: i64 = 1_000;
/// How often it is looked whether something can go.
const EVERY: time::Duration = time::Duration::hours(1);
/// Between two batches, and after the database failed.
const BREATH: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_secs(60);

/// Clears away. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Retention {
    pool: PgPool,
    clock: Clock,
    settings: config::Retention,
}

/// Where a batch ended.
#[derive(Debug, sqlx::FromRow)]
struct Batch {
    /// Nothing where there are no further rows.
    last_id: Option<i64>,
    /// The last row is younger than what may go, and so are those after it.
    young: bool,
    gone: i64,
    /// Whether the lease is still ours.
    held: bool,
}

impl Retention {
    pub fn new(pool: PgPool, clock: Clock, settings: config::Retention) -> Self {
        Self { pool, clock, settings }
    }

    /// Clears away while `lease` has an epoch, until it is dropped.
    pub async fn run(self, mut lease: watch::Receiver<Option<Epoch>>) {
        loop {
            let Ok(epoch) = lease.wait_for(Option::is_some).await.map(|epoch| *epoch) else { return };
            let Some(epoch) = epoch else { continue };
            let due = self.clock.now() + EVERY;
            match self.clear_everything(epoch).await {
                Ok(0) => {}
                Ok(gone) => tracing::info!(inbox.gone = gone, "{gone} decided rows of the inbox have gone"),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "old rows of the inbox and old keys are kept for now"
                    );
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                Ok(()) = lease.changed() => {}
            }
        }
    }

    async fn clear_everything(&self, epoch: Epoch) -> sqlx::Result<i64> {
        let gone = self.clear(epoch).await?;
        idempotency::forget(&self.pool, idempotency::KEPT).await?;
        Ok(gone)
    }

    /// Deletes rows of the inbox that may go under this epoch of the lease; says how many rows that were.
    pub async fn clear(&self, epoch: Epoch) -> sqlx::Result<i64> {
        let Some(kept_for) = self.settings.inbox else { return Ok(0) };
        let before = self.clock.now() - kept_for;
        let (mut after, mut gone) = (0, 0);
        loop {
            let batch = self.clear_batch(epoch, before, after).await?;
            gone += batch.gone;
            match batch.last_id {
                Some(last) if batch.held && !batch.young => after = last,
                _ => return Ok(gone),
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Along the primary key: rows lie there nearly in the order in which they came, and an index on when they were
    /// decided would cost every webhook something.
    async fn clear_batch(&self, epoch: Epoch, before: OffsetDateTime, after: i64) -> sqlx::Result<Batch> {
        sqlx::query_as(
            "with fence as materialized (select from worker_lease where epoch = $1 for key share),
             looked_at as materialized (
                 select id, received_at, processing_status = 'completed' and processed_at < $2 as old
                   from twilio_webhook_inbox where id > $3 order by id limit $4
             ),
             gone as (
                 delete from twilio_webhook_inbox as inbox using looked_at
                  where inbox.id = looked_at.id and looked_at.old and exists (select from fence)
                  returning inbox.id
             )
             select (select max(id) from looked_at) as last_id,
                    coalesce((select received_at >= $2 from looked_at order by id desc limit 1), true) as young,
                    (select count(*) from gone) as gone,
                    exists (select from fence) as held",
        )
        .bind(epoch)
        .bind(before)
        .bind(after)
        .bind(BATCH)
        .fetch_one(&self.pool)
        .await
    }
}
