//! When the jobs run by themselves: on the instance that holds the worker lease.

use std::convert::Infallible;
use std::time::Duration;

use futures::future::try_join_all;
use projections::chain;
use tokio::sync::watch;

use super::{Job, ReconcileError, Reconciler, SyncError, state};
use crate::event_store::is_about_the_rows;
use crate::lease::Epoch;

/// How long after a failure a job is tried again, unless it runs more often anyway.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// How long to wait after the database failed.
const PAUSE: Duration = Duration::from_secs(1);

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
        let jobs = Job::SCHEDULED.into_iter().filter_map(|job| Some((job, job.every(&self.settings)?)));
        let jobs: Vec<(Job, Duration)> = jobs.collect();
        if jobs.is_empty() {
            return std::future::pending().await;
        }
        if self.is_new_book().await? {
            self.sync_initially().await;
        }
        // Side by side: a cold run over many days does not put off what happens now.
        let running = jobs.into_iter().map(|(job, every)| self.repeat(job, every, epoch));
        try_join_all(running).await.map(drop)
    }

    /// Does a job as often as is configured since it last succeeded; at once if it never has.
    async fn repeat(&self, job: Job, every: Duration, epoch: Epoch) -> Result<Infallible, sqlx::Error> {
        let now = self.clock.now();
        // A clock that was ahead must not put it off for long.
        let last = state::load(&self.pool, job).await?.map(|(_, at)| at.min(now));
        let mut due = last.map_or(now, |last| last + every);
        let mut said = String::new();
        loop {
            self.clock.sleep_until(due).await;
            let wait = match self.perform(job, Some(epoch), |_| {}).await {
                Ok(_) => {
                    said.clear();
                    every
                }
                // What the database refuses is no outage.
                Err(ReconcileError::Database(error)) if !is_about_the_rows(&error) => return Err(error),
                Err(error) => {
                    let error = chain(&error);
                    if error != said {
                        tracing::error!(sync.job = job.name(), error, "{job} has failed and is tried again");
                        said = error;
                    }
                    every.min(AGAIN)
                }
            };
            due = self.clock.now() + wait;
        }
    }

    /// Nothing has come in yet; or the first sync was begun, and never came to its end.
    async fn is_new_book(&self) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "select case when exists (select from sync_state where job_name = $1)
                         then exists (select from sync_state where job_name = $1 and last_success_at is null)
                         else not exists (select from call_events) and not exists (select from twilio_webhook_inbox)
                    end",
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
