//! Keeps the current generation up with the log.
//!
//! A batch is one transaction: it takes the projection's lock, reads the events after the checkpoint, folds,
//! stores the rows and advances the checkpoint. So rows and checkpoint always agree, and two runners cannot
//! both apply an event.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use crate::conversations::Fold;
use crate::generation::Generation;
use crate::projector::{ProjectError, Projector};

/// How often the log is looked at although nobody said that it grew: another process may have appended.
const POLL: Duration = Duration::from_millis(200);
/// How long to wait after a failure: the database may be away.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows the log. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct Runner {
    pool: PgPool,
    fold: Fold,
    wake: Arc<Notify>,
    progress: Arc<watch::Sender<Progress>>,
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
    #[error("the read model was built by another version of callbook and waits for a rebuild")]
    OtherFold,
    #[error("the database does not take the read model's rows")]
    Database,
}

impl From<&ProjectError> for Stopped {
    fn from(error: &ProjectError) -> Self {
        match error {
            ProjectError::OtherFold { .. } => Self::OtherFold,
            ProjectError::Fold(_) | ProjectError::Database(_) => Self::Database,
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
        Ok(Self { pool, fold: fold.into(), wake: Arc::new(Notify::new()), progress: Arc::new(progress) })
    }

    /// Says that the log has grown.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Follows the log until it is dropped.
    pub async fn run(self) {
        let mut projector = Projector::of_current(self.pool.clone(), self.fold.clone());
        loop {
            match self.advance(&mut projector).await {
                Ok(true) => {}
                Ok(false) => {
                    // Either is reason enough to look again.
                    let _ = tokio::time::timeout(POLL, self.wake.notified()).await;
                }
                Err(error) => {
                    self.report(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Folds the next batch, if there is one; says whether there may be more.
    async fn advance(&self, projector: &mut Projector) -> Result<bool, ProjectError> {
        let advanced = projector.advance(i64::MAX).await?;
        self.reached(advanced.position);
        Ok(advanced.full)
    }

    /// Folds everything that is in the log.
    pub async fn catch_up(&self) -> Result<i64, ProjectError> {
        let mut projector = Projector::of_current(self.pool.clone(), self.fold.clone());
        while self.advance(&mut projector).await? {}
        Ok(self.progress.borrow().position)
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
