//! Keeps the current generation up with the log.
//!
//! A batch is one transaction: it takes the projection's lock, reads the events after the checkpoint, folds,
//! stores the rows and advances the checkpoint. So rows and checkpoint always agree, and two runners cannot
//! both apply an event.
//!
//! Of many callbooks on one database, the one that holds the worker lease folds. The others follow the
//! checkpoint, so that their readers and live streams go on.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, PgPool};
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

/// A runner that is paused in a batch holds up whoever takes over from it, so it is given up soon.
const BEGIN: &str = "begin; set local idle_in_transaction_session_timeout = '5s'";

/// Why a projection stands still.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(
        "the read model was built by fold version {tables} and this callbook folds by version {ours}; \
         it is left alone until a rebuild"
    )]
    OtherFold { tables: i32, ours: i32 },
    #[error("the worker lease has passed on from epoch {ours}")]
    Fenced { ours: i64 },
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
            RunnerError::Fold(FoldError::Rows(_)) | RunnerError::Fenced { .. } | RunnerError::Database(_) => {
                Self::Database
            }
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

    /// Folds while `lease` has an epoch and follows whoever folds while it has none, until it is dropped.
    pub async fn run(self, mut lease: watch::Receiver<Option<i64>>) {
        loop {
            let epoch = *lease.borrow_and_update();
            let step = async {
                match epoch {
                    Some(epoch) => self.advance(epoch).await,
                    None => self.follow().await,
                }
            };
            // What a lost lease interrupts is rolled back.
            let step = tokio::select! {
                step = step => step,
                Ok(()) = lease.changed() => continue,
            };
            match step {
                Ok(folded) if folded == BATCH => {}
                Ok(_) => {
                    // Each is reason enough to look again.
                    tokio::select! {
                        () = tokio::time::sleep(POLL) => {}
                        () = self.wake.notified() => {}
                        Ok(()) = lease.changed() => {}
                    }
                }
                Err(RunnerError::Fenced { ours }) => {
                    tracing::warn!(lease.epoch = ours, "another callbook folds; epoch {ours} is over");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    self.report(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Sees how far whoever folds has come.
    async fn follow(&self) -> Result<i64, RunnerError> {
        let mut connection = self.pool.acquire().await?;
        let generation = Generation::current(&mut connection).await?;
        self.reached(generation.checkpoint(&mut connection).await?.position);
        Ok(0)
    }

    /// Folds the next batch, if there is one, under this epoch of the worker lease; says how many events it had.
    pub async fn advance(&self, epoch: i64) -> Result<i64, RunnerError> {
        let mut tx = self.pool.begin_with(BEGIN).await?;
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
        if checkpoint.epoch > epoch {
            return Err(RunnerError::Fenced { ours: epoch });
        }
        let events = log::read_after(&mut tx, checkpoint.position, i64::MAX, BATCH).await?;
        let last = events.last().map_or(checkpoint.position, |event| event.position);
        if last == checkpoint.position && checkpoint.epoch == epoch {
            self.reached(last);
            return Ok(0);
        }
        if checkpoint.epoch < epoch {
            generation.raise_epoch(&mut tx, epoch).await?;
        }
        conversations::fold(&mut tx, generation, &self.ids, &events).await?;
        generation.advance(&mut tx, last).await?;
        fence(&mut tx, epoch).await?;
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

/// Makes sure that the epoch is not over, and that it is not before this transaction ends.
async fn fence(connection: &mut PgConnection, epoch: i64) -> Result<(), RunnerError> {
    let held = sqlx::query("select from worker_lease where epoch = $1 for key share")
        .bind(epoch)
        .fetch_optional(connection)
        .await?;
    if held.is_some() { Ok(()) } else { Err(RunnerError::Fenced { ours: epoch }) }
}
