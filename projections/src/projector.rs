//! Brings one build of the read side on, a batch at a time.
//!
//! A batch is one transaction: it takes the projection's lock, reads the events after the checkpoint, folds,
//! stores the rows and advances the checkpoint. So rows and checkpoint always agree, and two projectors cannot
//! both apply an event. An event that cannot be folded is found by halving the batch, and its family is set
//! aside ([`crate::quarantine`]); nothing else waits for it.

use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};

use crate::begin::begin;
use crate::conversations::{self, Fold, FoldError};
use crate::generation::{Checkpoint, Generation};
use crate::log::{self, StoredEvent};
use crate::quarantine;

/// Events in one transaction: as many as are folded in about [`PACE`], between these.
const FEWEST: i64 = 500;
const MOST: i64 = 10_000;
/// Whoever waits for the projection's lock waits about so long at most.
const PACE: Duration = Duration::from_millis(200);
/// A process that is paused in a batch holds up whoever takes over from it, so it is given up soon.
const BEGIN: &str = "begin; set local idle_in_transaction_session_timeout = '5s'";

/// Why a build cannot be brought on.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
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

/// Which build is brought on.
#[derive(Clone, Copy, Debug)]
enum Which {
    Current,
    Only(Generation),
}

#[derive(Debug)]
pub(crate) struct Projector {
    pool: PgPool,
    fold: Fold,
    which: Which,
    /// The epoch of the worker lease under which is written; a build that nobody reads yet needs none.
    epoch: Option<i64>,
    batch: i64,
}

/// How far a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advanced {
    pub position: i64,
    /// There may be more.
    pub full: bool,
}

impl Projector {
    /// Brings on whichever build serves.
    pub fn of_current(pool: PgPool, fold: Fold) -> Self {
        Self { pool, fold, which: Which::Current, epoch: None, batch: FEWEST }
    }

    pub fn of(generation: Generation, pool: PgPool, fold: Fold) -> Self {
        Self { pool, fold, which: Which::Only(generation), epoch: None, batch: MOST }
    }

    /// The same under this epoch of the worker lease: once that is over, nothing is written.
    pub fn under(&mut self, epoch: i64) -> &mut Self {
        self.epoch = Some(epoch);
        self
    }

    /// Folds the next batch, none of it beyond `target`.
    pub async fn advance(&mut self, target: i64) -> Result<Advanced, ProjectError> {
        let begun = Instant::now();
        let mut limit = self.batch;
        loop {
            let mut tx = begin(&self.pool, BEGIN).await?;
            let (generation, checkpoint) = self.lock(&mut tx).await?;
            if checkpoint.fold_version != self.fold.version {
                let (tables, ours) = (checkpoint.fold_version, self.fold.version);
                return Err(ProjectError::OtherFold { tables, ours });
            }
            let events = log::read_after(&mut tx, checkpoint.position, target, limit).await?;
            let takes_over = self.epoch.is_some_and(|epoch| epoch > checkpoint.epoch);
            if events.is_empty() && target == i64::MAX && !takes_over {
                return Ok(Advanced { position: checkpoint.position, full: false });
            }
            let count = i64::try_from(events.len()).unwrap_or(limit);
            match conversations::fold(&mut tx, generation, &self.fold, &events).await {
                Ok(()) => {
                    let position = reached(&events, checkpoint, target, limit);
                    if position > checkpoint.position {
                        generation.advance(&mut tx, position).await?;
                    }
                    self.fence(&mut tx, generation, takes_over).await?;
                    tx.commit().await?;
                    if limit == self.batch {
                        self.keep_pace(count == limit, begun.elapsed());
                    }
                    return Ok(Advanced { position, full: count == limit });
                }
                Err(error) if error.is_poison() => {
                    tx.rollback().await?;
                    match cut(&error, &events) {
                        Some(fewer) => limit = i64::try_from(fewer).unwrap_or(limit),
                        None => self.set_aside(&events, &error).await?,
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Folds events that a load could not place, whatever the checkpoint says.
    pub async fn place(&self, events: &[StoredEvent]) -> Result<(), ProjectError> {
        let mut rest = events;
        let mut limit = events.len();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(limit.min(rest.len()));
            let mut tx = begin(&self.pool, BEGIN).await?;
            let (generation, _) = self.lock(&mut tx).await?;
            match conversations::fold(&mut tx, generation, &self.fold, now).await {
                Ok(()) => {
                    tx.commit().await?;
                    (rest, limit) = (later, events.len());
                }
                Err(error) if error.is_poison() => {
                    tx.rollback().await?;
                    match cut(&error, now) {
                        Some(fewer) => limit = fewer,
                        None => self.set_aside(now, &error).await?,
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Quarantines the family of the only event of a batch.
    async fn set_aside(&self, events: &[StoredEvent], error: &FoldError) -> Result<(), ProjectError> {
        let Some(event) = events.first() else { return Ok(()) };
        let mut tx = begin(&self.pool, BEGIN).await?;
        let (generation, checkpoint) = self.lock(&mut tx).await?;
        // Unless somebody else has passed it meanwhile.
        if checkpoint.position < event.position {
            quarantine::set_aside(&mut tx, generation, &self.fold.ids, event, error).await?;
        }
        self.fence(&mut tx, generation, false).await?;
        Ok(tx.commit().await?)
    }

    async fn lock(&self, connection: &mut PgConnection) -> Result<(Generation, Checkpoint), ProjectError> {
        let (generation, checkpoint) = match self.which {
            Which::Current => Generation::lock_current(connection).await?,
            Which::Only(generation) => (generation, generation.lock(connection).await?),
        };
        match self.epoch {
            Some(ours) if checkpoint.epoch > ours => Err(ProjectError::Fenced { ours }),
            _ => Ok((generation, checkpoint)),
        }
    }

    /// Makes sure that our epoch is not over, and that it is not before this transaction ends.
    async fn fence(
        &self,
        connection: &mut PgConnection,
        generation: Generation,
        takes_over: bool,
    ) -> Result<(), ProjectError> {
        let Some(ours) = self.epoch else { return Ok(()) };
        if takes_over {
            generation.raise_epoch(connection, ours).await?;
        }
        let held = sqlx::query("select from worker_lease where epoch = $1 for key share")
            .bind(ours)
            .fetch_optional(connection)
            .await?;
        if held.is_some() { Ok(()) } else { Err(ProjectError::Fenced { ours }) }
    }

    fn keep_pace(&mut self, full: bool, took: Duration) {
        if took > PACE {
            self.batch = (self.batch / 2).max(FEWEST);
        } else if full && took < PACE / 2 {
            self.batch = (self.batch * 2).min(MOST);
        }
    }
}

/// Positions have gaps: past the last event up to the target there is nothing to fold.
fn reached(events: &[StoredEvent], checkpoint: Checkpoint, target: i64, limit: i64) -> i64 {
    let all = i64::try_from(events.len()).is_ok_and(|count| count < limit);
    match events.last() {
        _ if all && target < i64::MAX => target.max(checkpoint.position),
        Some(last) => last.position,
        None => checkpoint.position,
    }
}

/// How many events to take instead, so that the one at fault comes to stand alone; nothing if it does.
fn cut(error: &FoldError, events: &[StoredEvent]) -> Option<usize> {
    let fewer = match error {
        // What cannot be read is known; what comes before it is folded first.
        FoldError::Event(unreadable) => {
            events.iter().take_while(|event| event.position < unreadable.position).count()
        }
        FoldError::Rows(_) => events.len() / 2,
    };
    (fewer > 0).then_some(fewer)
}
