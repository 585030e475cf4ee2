//! The jobs as those see them who run callbook.

use std::time::Duration;

use projections::chain;
use time::OffsetDateTime;

use super::schedule::AGAIN;
use super::{Job, Outcome, ReconcileError, Reconciler, Running, SyncError, exclusive, state};
use crate::lease::Epoch;

/// Where a job stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub job: Job,
    /// How often it is done by itself; nothing: only where somebody asks.
    pub every: Option<Duration>,
    pub last_success_at: Option<OffsetDateTime>,
    pub last_outcome: Option<Outcome>,
    /// Why it failed, unless it has succeeded since.
    pub last_error: Option<String>,
    pub last_error_at: Option<OffsetDateTime>,
    pub running_since: Option<OffsetDateTime>,
    /// When it is done by itself the next time; nothing while it is being done.
    pub next_at: Option<OffsetDateTime>,
}

impl Reconciler {
    /// All that have a name, whichever callbook on this database does them.
    pub async fn standings(&self) -> sqlx::Result<Vec<Standing>> {
        let asked_for = exclusive::holder(&mut *self.pool.acquire().await?).await?;
        let mut known = state::standing(&self.pool, &Job::NAMED.map(Job::name)).await?;
        let standings = Job::NAMED.into_iter().map(|job| {
            let ours = known.iter_mut().find(|known| known.name == job.name());
            self.standing(job, ours.map(std::mem::take).unwrap_or_default(), asked_for.as_ref())
        });
        Ok(standings.collect())
    }

    fn standing(&self, job: Job, known: state::Standing, asked_for: Option<&Running>) -> Standing {
        let asked_for = asked_for.filter(|running| running.job.as_deref() == Some(job.name()));
        let running_since = known.running_since.or(asked_for.and_then(|running| running.since));
        let every = job.every(&self.settings);
        // As the schedule has it: from when it last succeeded, or soon after it failed.
        let due = every.map(|every| match (known.last_success_at, known.last_error_at) {
            (success, Some(failed)) if known.last_error.is_some() && success < Some(failed) => {
                failed + every.min(AGAIN)
            }
            (Some(success), _) => success + every,
            (None, _) => self.clock.now(),
        });
        Standing {
            job,
            every,
            last_success_at: known.last_success_at,
            last_outcome: known.last_outcome.map(|outcome| outcome.0),
            last_error: known.last_error,
            last_error_at: known.last_error_at,
            running_since,
            next_at: due.filter(|_| running_since.is_none()),
        }
    }

    /// Begins a job that somebody asks for, unless it is being done, or something else that somebody asked for is.
    pub async fn start(&self, job: Job, epoch: Option<Epoch>) -> Result<(), SyncError> {
        let right = exclusive::take(&self.pool, job.name()).await.map_err(ReconcileError::from)?;
        let right = right.map_err(SyncError::Running)?;
        let known = state::standing(&self.pool, &[job.name()]).await.map_err(ReconcileError::from)?;
        if let Some(since) = known.into_iter().find_map(|known| known.running_since) {
            right.release().await;
            return Err(SyncError::Running(Running { job: Some(job.name().to_owned()), since: Some(since) }));
        }
        let reconciler = self.clone();
        tokio::spawn(async move {
            if let Err(error) = Box::pin(reconciler.perform_under(right, job, epoch, |_| {})).await {
                tracing::error!(sync.job = job.name(), error = chain(&error), "{job} has failed");
            }
        });
        Ok(())
    }
}
