//! When the jobs run by themselves: on the instance that holds the worker lease, one after the other.

use std::collections::HashMap;

use projections::chain;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{Job, ReconcileError, Reconciler, SyncError, state};
use crate::lease::Epoch;

/// How long after a failure a job is tried again, unless it runs more often anyway.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
/// How long to wait after the database failed.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// A job and when it is due.
type Due = (OffsetDateTime, Job);

impl Reconciler {
    /// Runs the jobs while `lease` has an epoch, until it is dropped.
    pub async fn run(self, mut lease: watch::Receiver<Option<Epoch>>) {
        loop {
            let Ok(epoch) = lease.wait_for(Option::is_some).await.map(|epoch| *epoch) else { return };
            let Some(epoch) = epoch else { continue };
            // Dropped in the midst of a job, the next one reads the same window again.
            let over = tokio::select! {
                result = self.run_under(epoch) => result,
                changed = lease.wait_for(|held| *held != Some(epoch)) => match changed {
                    Ok(_) => continue,
                    Err(_) => return,
                },
            };
            if let Err(error) = over {
                tracing::error!(error = chain(&error), "the jobs that ask Twilio stand still for a second");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Returns only where the database fails.
    async fn run_under(&self, epoch: Epoch) -> Result<(), sqlx::Error> {
        let mut due = self.due().await?;
        // Whoever wants nothing done by itself does not want that either.
        if !due.is_empty() && self.is_new_book().await? {
            self.sync_initially().await;
        }
        let mut said: HashMap<&str, String> = HashMap::new();
        loop {
            due.sort_by_key(|(at, _)| *at);
            let Some((at, job)) = due.first_mut() else { return std::future::pending().await };
            self.clock.sleep_until(*at).await;
            let Some(every) = job.every(&self.settings) else { continue };
            let wait = match self.perform(*job, Some(epoch), |_| {}).await {
                Ok(_) => {
                    said.remove(job.name());
                    every
                }
                Err(ReconcileError::Database(error)) => return Err(error),
                Err(error) => {
                    let error = chain(&error);
                    if said.get(job.name()) != Some(&error) {
                        tracing::error!(sync.job = job.name(), error, "{job} has failed and is tried again");
                        said.insert(job.name(), error);
                    }
                    every.min(AGAIN)
                }
            };
            *at = self.clock.now() + wait;
        }
    }

    /// Each job as often as is configured since it last succeeded; at once if it never has.
    async fn due(&self) -> sqlx::Result<Vec<Due>> {
        let now = self.clock.now();
        let mut due = Vec::new();
        for job in Job::SCHEDULED {
            let Some(every) = job.every(&self.settings) else { continue };
            // A clock that was ahead must not put it off for long.
            let last = state::load(&self.pool, job).await?.map(|(_, at)| at.min(now));
            due.push((last.map_or(now, |last| last + every), job));
        }
        Ok(due)
    }

    /// Nothing has come in yet, and the first sync has not been done.
    async fn is_new_book(&self) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "select not exists (select from call_events) and not exists (select from twilio_webhook_inbox)
                and not exists (select from sync_state where job_name = $1 and last_success_at is not null)",
        )
        .bind(Job::Initial.name())
        .fetch_one(&self.pool)
        .await
    }

    async fn sync_initially(&self) {
        match self.sync(Job::Initial, None, |_| {}).await {
            Ok(_) | Err(SyncError::Running(_)) => {}
            Err(SyncError::Failed(error)) => {
                tracing::error!(
                    error = chain(&error),
                    "the first sync has failed; the jobs find what it would have"
                );
            }
        }
    }
}
