//! Keeps the current generation up with the log.
//!
//! A batch is one transaction: it takes the projection's lock, reads the events after the checkpoint, folds,
//! stores the rows and advances the checkpoint. So rows and checkpoint always agree, and two runners cannot
//! both apply an event.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};

use crate::conversations::{self, FoldError};
use crate::generation::{FOLD_VERSION, Generation};
use crate::ids::IdKey;
use crate::log;

/// Events in one transaction at most.
const BATCH: i64 = 1_000;
/// How often the log is looked at although nobody said that it grew: another process may have appended.
const POLL: Duration = Duration::from_millis(200);
/// How long to wait after a failure: the database may be away.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a projection stands still.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(
        "the read model was built by fold version {tables} and this callbook folds by version {ours}; \
         it is left alone until a rebuild"
    )]
    OtherFold { tables: i32, ours: i32 },
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("the database failed while the read model was brought up to date")]
    Database(#[from] sqlx::Error),
}

/// Follows the log. Cheap to clone; clones share what they know.
#[derive(Clone, Debug)]
pub struct Runner {
    pool: PgPool,
    ids: IdKey,
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
    #[error("the event at position {position} cannot be read by this callbook; run a newer one")]
    Unreadable { position: i64 },
    #[error("the database does not take the read model's rows")]
    Database,
}

impl From<&RunnerError> for Stopped {
    fn from(error: &RunnerError) -> Self {
        match error {
            RunnerError::OtherFold { .. } => Self::OtherFold,
            RunnerError::Fold(FoldError::Event { position, .. }) => Self::Unreadable { position: *position },
            RunnerError::Fold(FoldError::Rows(_)) | RunnerError::Database(_) => Self::Database,
        }
    }
}

impl Runner {
    /// A runner that knows where the current build stands.
    pub async fn init(pool: PgPool, ids: IdKey) -> sqlx::Result<Self> {
        let mut connection = pool.acquire().await?;
        let generation = Generation::current(&mut connection).await?;
        let position = generation.checkpoint(&mut connection).await?.position;
        drop(connection);
        let (progress, _) = watch::channel(Progress { position, stopped: None });
        Ok(Self { pool, ids, wake: Arc::new(Notify::new()), progress: Arc::new(progress) })
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
        loop {
            match self.advance().await {
                Ok(folded) if folded == BATCH => {}
                Ok(_) => {
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

    /// Folds the next batch, if there is one; says how many events it had.
    pub async fn advance(&self) -> Result<i64, RunnerError> {
        let mut tx = self.pool.begin().await?;
        let (generation, checkpoint) = loop {
            let generation = Generation::current(&mut tx).await?;
            let checkpoint = generation.lock(&mut tx).await?;
            // A rebuild may have changed over while this waited for the lock.
            if Generation::current(&mut tx).await? == generation {
                break (generation, checkpoint);
            }
        };
        if checkpoint.fold_version != FOLD_VERSION {
            return Err(RunnerError::OtherFold { tables: checkpoint.fold_version, ours: FOLD_VERSION });
        }
        let events = log::read_after(&mut tx, checkpoint.position, i64::MAX, BATCH).await?;
        let Some(last) = events.last().map(|event| event.position) else {
            self.reached(checkpoint.position);
            return Ok(0);
        };
        conversations::fold(&mut tx, generation, &self.ids, &events).await?;
        generation.advance(&mut tx, last).await?;
        tx.commit().await?;
        self.reached(last);
        Ok(events.len().try_into().unwrap_or(BATCH))
    }

    fn reached(&self, position: i64) {
        self.progress.send_if_modified(|progress| {
            let now = Progress { position, stopped: None };
            let changed = *progress != now;
            *progress = now;
            changed
        });
    }

    fn report(&self, error: &RunnerError) {
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
