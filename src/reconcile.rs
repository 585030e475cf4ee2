//! What webhooks missed: Twilio retries a webhook at most once, so callbook asks what it was not told (contract
//! sections 3 and 4, seed 000 "Sync").
//!
//! A [`Job`] reads windows of Twilio's lists and single calls, and puts what it read into the inbox, from where it goes
//! the way of a webhook. A reading that says nothing new is a row that is there already, so a job may run again, be
//! killed, or run beside another: nothing is appended twice.

mod desk;
mod exclusive;
mod job;
mod list;
mod numbers;
mod outcome;
mod run;
mod schedule;
mod state;
mod tally;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use projections::chain;
use projections::runner::Progress;
use sqlx::PgPool;
use tokio::sync::watch;
use tracing::Instrument;

pub use self::desk::Standing;
use self::exclusive::Exclusive;
pub use self::exclusive::Running;
pub use self::job::Job;
pub use self::numbers::remembered as owned_numbers;
pub use self::outcome::Outcome;
pub(crate) use self::run::CLOCKS_AGREE;
pub use self::window::{Window, WindowError};
use crate::clock::Clock;
use crate::config;
use crate::event_store::{CommitError, Committer, LoadError};
use crate::lease::Epoch;
use crate::metrics::Runs;
use crate::twilio::client::{Asked, Client, ClientError};

/// How long a run may take, beyond twice the time between two, before somebody should know.
const LATE: time::Duration = time::Duration::minutes(5);

/// Asks Twilio what webhooks missed. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    pool: PgPool,
    client: Client,
    clock: Clock,
    settings: config::Reconcile,
    requests_at_once: usize,
    /// Which numbers are ours is asked of Twilio.
    pub learns_numbers: bool,
    committer: Committer,
    progress: watch::Receiver<Progress>,
    stored: Arc<dyn Fn() + Send + Sync>,
    runs: Runs,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Where and how Twilio is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub client: Client,
    pub clock: Clock,
    pub jobs: config::Reconcile,
    pub requests_at_once: usize,
    /// Nobody configured which numbers are ours.
    pub learns_numbers: bool,
}

/// Why a job did not come to its end. What it had read is stored, and its cursor has not moved.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Twilio(#[from] ClientError),
    #[error(
        "Twilio's list of {what} shows page after page that was read already; it is read again by the next run"
    )]
    PagesRepeat { what: &'static str },
    #[error(
        "{waiting} of the calls that were read wait in the inbox and are not decided; see /health for why"
    )]
    NotDecided { waiting: i64 },
    #[error("the read model stands at position {position} and is behind what was read; see /health for why")]
    Behind { position: i64 },
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// Why a job that somebody asked for was not begun, or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("{0}")]
    Running(Running),
    #[error(transparent)]
    Failed(#[from] ReconcileError),
}

impl Reconciler {
    /// `stored` is called after each insert into the inbox.
    pub fn new(
        settings: Settings,
        pool: PgPool,
        committer: Committer,
        progress: watch::Receiver<Progress>,
        stored: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let Settings { client, clock, jobs, requests_at_once, learns_numbers } = settings;
        let stored = Arc::new(stored);
        Self {
            pool,
            client,
            clock,
            settings: jobs,
            requests_at_once,
            learns_numbers,
            committer,
            progress,
            stored,
            runs: Runs::default(),
        }
    }

    /// The same, and counts how its jobs end.
    pub fn measured(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }

    /// What was asked of Twilio.
    pub fn asked(&self) -> Asked {
        self.client.asked()
    }

    /// What is wrong with what is done without anybody asking, a sentence each: what failed the last time, and what has
    /// not succeeded for much longer than it should take.
    pub async fn troubles(&self) -> sqlx::Result<Vec<String>> {
        let jobs =
            Job::SCHEDULED.into_iter().filter_map(|job| Some((job.name(), job.every(&self.settings)?)));
        let every: HashMap<&str, std::time::Duration> = jobs.collect();
        let names: Vec<&str> =
            every.keys().copied().chain([state::OWNED_NUMBERS, Job::Initial.name()]).collect();
        let now = self.clock.now();
        let troubles = state::standing(&self.pool, &names).await?.into_iter().filter_map(|standing| {
            let name = standing.name.as_str();
            if let Some(error) = standing.last_error {
                return Some(format!("{name} has failed: {error}"));
            }
            let late = now - standing.last_success_at? - (*every.get(name)? * 2);
            (late > LATE)
                .then(|| format!("{name} has not come to its end for {} minutes", late.whole_minutes()))
        });
        Ok(troubles.collect())
    }

    /// Does what somebody asked for, unless something that somebody asked for is being done, by whichever callbook on
    /// this database. Calls that are settled are frozen only under an `epoch` of the worker lease. `tell` hears how far
    /// it has come.
    pub async fn sync(
        &self,
        job: Job,
        epoch: Option<Epoch>,
        tell: impl Fn(&Outcome),
    ) -> Result<Outcome, SyncError> {
        let exclusive = exclusive::take(&self.pool, job.name()).await.map_err(ReconcileError::from)?;
        let exclusive = exclusive.map_err(SyncError::Running)?;
        Ok(self.perform_under(exclusive, job, epoch, tell).await?)
    }

    async fn perform_under(
        &self,
        exclusive: Exclusive,
        job: Job,
        epoch: Option<Epoch>,
        tell: impl Fn(&Outcome),
    ) -> Result<Outcome, ReconcileError> {
        let result = self.perform(job, epoch, tell).await;
        exclusive.release().await;
        result
    }

    /// Does a job once, and keeps what came of it in `sync_state`.
    pub async fn perform(
        &self,
        job: Job,
        epoch: Option<Epoch>,
        tell: impl Fn(&Outcome),
    ) -> Result<Outcome, ReconcileError> {
        state::began(&self.pool, job.name(), epoch, self.clock.now()).await?;
        let begun = Instant::now();
        let span = tracing::info_span!("reconcile.run", sync.job = job.name());
        let result = run::run(self, job, epoch, &tell).instrument(span).await;
        self.runs.ended(job.name(), result.is_ok(), begun.elapsed());
        match &result {
            Ok((outcome, cursor)) => {
                state::succeeded(&self.pool, job.name(), cursor, Some(outcome), self.clock.now()).await?;
                let Outcome { total, synced, updated, .. } = outcome;
                // Twilio is asked every minute, and mostly has nothing to tell.
                if synced + updated > 0 {
                    tracing::info!(
                        sync.job = job.name(),
                        sync.read = total,
                        sync.new = synced,
                        sync.updated = updated,
                        "{job} has read {total} calls: {synced} new, {updated} updated",
                    );
                }
            }
            Err(error) => {
                if let Err(lost) = state::failed(&self.pool, job.name(), error, self.clock.now()).await {
                    tracing::warn!(error = chain(&lost), "why {job} failed could not be kept");
                }
            }
        }
        result.map(|(outcome, _)| outcome)
    }
}
