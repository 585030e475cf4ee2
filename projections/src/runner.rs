//! Keeps the current generation up with the log, by way of a [`Projector`].
//!
//! Of many callbooks on one database, the one that holds the worker lease folds. The others follow the
//! checkpoint, so that their readers and live streams go on. Where the tables are of an older fold than this
//! callbook's, they serve as they are until a rebuild in the background has taken their place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection, PgPool};
use tokio::sync::{Notify, watch};

use crate::conversations::Fold;
use crate::generation::Generation;
use crate::projector::{ProjectError, Projector};
use crate::rebuild::{self, RebuildError};

/// How often the log is looked at although nobody said that it grew: another process may have appended.
const POLL: Duration = Duration::from_millis(200);
/// How long to wait after a failure: the database may be away.
const PAUSE: Duration = Duration::from_secs(1);
/// The same between rebuilds that do not come about.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long a generation is kept, unless told otherwise, after its successor has taken over.
const GRACE: Duration = Duration::from_secs(15 * 60);
/// How long whoever reads it is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it is looked whether one can go.
const TIDY: Duration = Duration::from_secs(60);

/// Follows the log. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct Runner {
    pool: PgPool,
    fold: Fold,
    wake: Arc<Notify>,
    progress: Arc<watch::Sender<Progress>>,
    grace: Duration,
}

/// How far the projection has come, and what stopped it if it stands still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub position: i64,
    pub stopped: Option<Stopped>,
}

/// Why the projection stands still, in words for anybody; the log has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("the read model was built by a newer callbook than this one, which only reads it")]
    NewerFold,
    #[error("the read model was built by an older callbook and is being rebuilt")]
    Rebuilding,
    #[error("the database does not take the read model's rows")]
    Database,
}

impl From<&ProjectError> for Stopped {
    fn from(error: &ProjectError) -> Self {
        match error {
            ProjectError::OtherFold { tables, ours } if tables < ours => Self::Rebuilding,
            ProjectError::OtherFold { .. } => Self::NewerFold,
            ProjectError::Fold(_) | ProjectError::Fenced { .. } | ProjectError::Database(_) => Self::Database,
        }
    }
}

impl Runner {
    /// A runner that knows where the current build stands.
    pub async fn init(pool: PgPool, fold: impl Into<Fold>) -> sqlx::Result<Self> {
        let mut connection = pool.acquire().await?;
        let generation = Generation::current(&mut connection).await?;
        let position = generation.checkpoint(&mut connection).await?.position;
        drop(connection);
        let (progress, _) = watch::channel(Progress { position, stopped: None });
        Ok(Self {
            pool,
            fold: fold.into(),
            wake: Arc::new(Notify::new()),
            progress: Arc::new(progress),
            grace: GRACE,
        })
    }

    /// Keeps a generation for that long after its successor has taken over.
    pub fn keeping(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// Says that the log has grown.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Folds while `lease` has an epoch and follows whoever folds while it has none, until it is dropped.
    pub async fn run(self, mut lease: watch::Receiver<Option<i64>>) {
        let mut projector = Projector::of_current(self.pool.clone(), self.fold.clone());
        let mut tidied = Instant::now();
        let mut pause = PAUSE;
        loop {
            let epoch = *lease.borrow_and_update();
            // To its end also where the lease is lost meanwhile: it is refused then.
            let step = match epoch {
                Some(_) if tidied.elapsed() > TIDY => {
                    tidied = Instant::now();
                    if let Err(error) = self.tidy().await {
                        tracing::warn!(error = crate::chain(&error), "an earlier read model is kept for now");
                    }
                    Ok(true)
                }
                Some(epoch) => self.advance(projector.under(epoch)).await,
                None => self.follow().await,
            };
            match step {
                Ok(true) => pause = PAUSE,
                Ok(false) => {
                    pause = PAUSE;
                    // Each is reason enough to look again.
                    tokio::select! {
                        () = tokio::time::sleep(POLL) => {}
                        () = self.wake.notified() => {}
                        Ok(()) = lease.changed() => {}
                    }
                }
                Err(ProjectError::Fenced { ours }) => {
                    tracing::warn!(lease.epoch = ours, "another callbook folds; epoch {ours} is over");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    self.report(&error);
                    tokio::select! {
                        () = self.put_right(&error) => {}
                        Ok(()) = lease.changed() => {}
                    }
                    tokio::time::sleep(pause).await;
                    if matches!(error, ProjectError::OtherFold { .. }) {
                        // A rebuild that does not come about fills a disk each time it is tried.
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    /// Folds everything that is in the log, under an epoch of the worker lease or beside it; gives the position.
    pub async fn catch_up(&self, epoch: Option<i64>) -> Result<i64, ProjectError> {
        let mut projector = Projector::of_current(self.pool.clone(), self.fold.clone());
        if let Some(epoch) = epoch {
            projector.under(epoch);
        }
        while self.advance(&mut projector).await? {}
        Ok(self.progress.borrow().position)
    }

    /// Sees how far whoever folds has come.
    async fn follow(&self) -> Result<bool, ProjectError> {
        let mut connection = self.pool.acquire().await?;
        let generation = Generation::current(&mut connection).await?;
        self.reached(generation.checkpoint(&mut connection).await?.position);
        Ok(false)
    }

    /// Folds the next batch, if there is one; says whether there may be more.
    async fn advance(&self, projector: &mut Projector) -> Result<bool, ProjectError> {
        let advanced = projector.advance(i64::MAX).await?;
        self.reached(advanced.position);
        Ok(advanced.full)
    }

    /// Drops the generations whose time is over.
    async fn tidy(&self) -> sqlx::Result<()> {
        // Not of the pool, into which a transaction that is dropped half-way would go back.
        let mut session = self.pool.connect_options().connect().await?;
        if Generation::point_views(&mut session, PATIENCE).await? {
            Generation::drop_retired(&mut session, self.grace, PATIENCE).await?;
        }
        session.close().await
    }

    /// Tables of an older fold are rebuilt beside those that serve.
    async fn put_right(&self, error: &ProjectError) {
        let ProjectError::OtherFold { tables, ours } = error else { return };
        if tables > ours {
            return;
        }
        match rebuild::rebuild(&self.pool, self.fold.clone(), |_| {}).await {
            Ok(position) => {
                tracing::info!(position, "the read model was rebuilt by fold version {ours} and serves now");
            }
            // Somebody else is at it.
            Err(RebuildError::AlreadyRunning) => {}
            Err(error) => tracing::error!(error = crate::chain(&error), "the read model was not rebuilt"),
        }
    }

    fn reached(&self, position: i64) {
        self.progress.send_if_modified(|progress| {
            let now = Progress { position, stopped: None };
            let changed = *progress != now;
            *progress = now;
            changed
        });
    }

    fn report(&self, error: &ProjectError) {
        let stopped = Some(Stopped::from(error));
        let is_new = self.progress.send_if_modified(|progress| {
            let changed = progress.stopped != stopped;
            progress.stopped = stopped;
            changed
        });
        if is_new {
            tracing::error!(error = crate::chain(error), "the conversations projection stands still");
        }
    }
}
