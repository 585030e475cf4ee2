//! Building the read side anew beside the one that serves, comparing the two, and changing over.
//!
//! A build is the next *generation*: a schema of its own, made by the same fold. Readers keep to the current
//! one until a single short transaction moves the pointer, so nobody sees half a rebuild. Killed at any point,
//! a rebuild leaves the current generation untouched, and the next one drops what it left.

mod diff;
mod entered;
mod load;

use std::pin::pin;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

pub use diff::{Diff, RowDiff, TableDiff};

use crate::begin::{SNAPSHOT, begin};
use crate::conversations::entered::Edited;
use crate::conversations::{self, Fold, FoldError};
use crate::generation::Generation;
use crate::log;
use crate::projector::{ProjectError, Projector};
use load::{Folded, Leftover};
pub use load::{LoadError, Loading};

/// Late events, and calls without their topmost leg, in one transaction.
const LATE: usize = 5_000;
/// Events that a swap folds while live stands still.
const LAST: i64 = 500;
/// How long whoever still reads tables that are to go is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same after a swap, where the views can follow later.
const VIEWS_PATIENCE: Duration = Duration::from_millis(100);
/// How often whoever watches is told.
const TICK: Duration = Duration::from_millis(200);

/// Why a build did not come about. The generation that serves is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another rebuild or verification is running on this database; wait for it to end")]
    AlreadyRunning,
    #[error("the rebuilt rows differ from what live would be: {rows} rows; nothing was changed over")]
    Differs { rows: i64 },
    #[error(
        "somebody still reads the tables that served before; drop them later, or wait a quarter of an hour"
    )]
    StillRead,
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("the log could not be loaded; the tables that serve are untouched")]
    Load(#[from] LoadError),
    #[error("the database failed during the rebuild; the tables that serve are untouched")]
    Database(#[from] sqlx::Error),
}

impl From<FoldError> for RebuildError {
    fn from(error: FoldError) -> Self {
        Self::Project(error.into())
    }
}

/// What a build is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The log is read, folded, and loaded into tables without indexes.
    Loading,
    Indexing,
    /// What the load could not place, and what was appended meanwhile.
    CatchingUp,
    Comparing,
    ChangingOver,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Indexing => "indexing",
            Self::CatchingUp => "catching up",
            Self::Comparing => "comparing with live",
            Self::ChangingOver => "changing over",
        }
    }
}

/// How far a build has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    pub phase: Phase,
    /// While it is loading, how many events were folded; then, up to where.
    pub position: i64,
    /// Where it is going: the position of live when the build began.
    pub head: i64,
}

/// A generation that was built beside the current one. Holds the lock that keeps rebuilds, dry runs and
/// verifications apart for as long as it lives.
#[derive(Debug)]
pub struct Build {
    pool: PgPool,
    fold: Fold,
    /// The session that holds the lock; closed, it lets go.
    session: PgConnection,
    generation: Generation,
}

impl Build {
    /// Drops what an earlier build left, and builds the next generation up to the position of live.
    pub async fn run(
        pool: PgPool,
        fold: impl Into<Fold>,
        progress: impl Fn(BuildProgress),
    ) -> Result<Self, RebuildError> {
        let right = Exclusive::take(&pool).await?;
        Self::run_under(right, pool, fold.into(), Loading::default(), &progress).await
    }

    /// The same with another use of memory and processors.
    pub async fn run_as(
        pool: PgPool,
        fold: impl Into<Fold>,
        loading: Loading,
        progress: impl Fn(BuildProgress),
    ) -> Result<Self, RebuildError> {
        let right = Exclusive::take(&pool).await?;
        Self::run_under(right, pool, fold.into(), loading, &progress).await
    }

    async fn run_under(
        Exclusive(mut session): Exclusive,
        pool: PgPool,
        fold: Fold,
        loading: Loading,
        progress: &impl Fn(BuildProgress),
    ) -> Result<Self, RebuildError> {
        Generation::drop_unfinished(&mut session).await?;
        // Not beyond live, or the two could not be compared at one position. What came meanwhile is little, and
        // is caught up with before the comparison and the swap.
        let live = Generation::current(&mut session).await?.checkpoint(&mut session).await?;
        let generation = Generation::create_next(&mut session, fold.version).await?;
        let mut build = Self { pool, fold, session, generation };
        if let Err(error) = build.fill(live.position, loading, progress).await {
            // Not to be left on a disk that may be full; where that fails too, the next run drops it.
            if let Err(error) = build.discard().await {
                tracing::warn!(
                    error = crate::chain(&error),
                    "what was built is left for the next run to drop"
                );
            }
            return Err(error);
        }
        Ok(build)
    }

    /// Brings the empty generation to a position of the log.
    async fn fill(
        &mut self,
        last: i64,
        loading: Loading,
        progress: &impl Fn(BuildProgress),
    ) -> Result<(), RebuildError> {
        match self.load(last, loading, progress).await {
            Ok(leftover) => {
                self.index(last, progress).await?;
                progress(BuildProgress { phase: Phase::CatchingUp, position: last, head: last });
                self.place(leftover).await?;
                self.generation.advance(&mut self.session, last).await?;
            }
            // A row that the database does not take ends a whole copy. The live path, which is slower, finds the
            // event at fault and sets it aside.
            Err(error) if error.is_poison() => {
                // The database's message may quote the row.
                tracing::warn!("a row is refused, so the log is folded in batches instead of loaded at once");
                Generation::drop_unfinished(&mut self.session).await?;
                self.generation = Generation::create_next(&mut self.session, self.fold.version).await?;
                self.index(0, progress).await?;
            }
            Err(error) => return Err(error.into()),
        }
        self.catch_up(last, progress).await.map(drop)
    }

    async fn load(
        &self,
        last: i64,
        loading: Loading,
        progress: &impl Fn(BuildProgress),
    ) -> Result<Leftover, LoadError> {
        let folded = Folded::default();
        progress(BuildProgress { phase: Phase::Loading, position: 0, head: last });
        let options = self.pool.connect_options();
        let mut load = pin!(load::load(&options, self.generation, &self.fold, last, loading, &folded));
        loop {
            tokio::select! {
                loaded = &mut load => return loaded,
                () = tokio::time::sleep(TICK) => {
                    progress(BuildProgress { phase: Phase::Loading, position: folded.get(), head: last });
                }
            }
        }
    }

    /// Side by side: an index is made by one processor.
    async fn index(&self, position: i64, progress: &impl Fn(BuildProgress)) -> sqlx::Result<()> {
        progress(BuildProgress { phase: Phase::Indexing, position, head: position });
        let part = async |part| {
            let mut session = self.pool.connect_options().connect().await?;
            self.generation.index(&mut session, part).await
        };
        tokio::try_join!(part("messages"), part("call_legs"), part("threads")).map(drop)
    }

    /// Folds what the load left to the live path.
    async fn place(&mut self, leftover: Leftover) -> Result<(), RebuildError> {
        let orphans: Vec<String> = leftover.orphans.into_iter().collect();
        for orphans in orphans.chunks(LATE) {
            let mut tx = self.session.begin().await?;
            let touched = orphans.iter().cloned().collect();
            conversations::refold(&mut tx, self.generation, &self.fold.ids, touched, &Edited::new()).await?;
            tx.commit().await?;
        }
        for late in leftover.late.chunks(LATE) {
            let events = log::read_at(&mut self.session, late).await?;
            Projector::of(self.generation, self.pool.clone(), self.fold.clone()).place(&events).await?;
        }
        Ok(())
    }

    /// Folds up to `target`, and not beyond.
    async fn catch_up(&self, target: i64, progress: &impl Fn(BuildProgress)) -> Result<i64, RebuildError> {
        let mut projector = Projector::of(self.generation, self.pool.clone(), self.fold.clone());
        loop {
            let position = projector.advance(target).await?.position;
            progress(BuildProgress { phase: Phase::CatchingUp, position, head: target });
            if position >= target {
                return Ok(position);
            }
        }
    }

    /// Compares with the rows that serve, both at the position of live, inside one snapshot, while traffic
    /// flows: live stands still only while the build catches up with it.
    pub async fn diff(&self) -> Result<Diff, RebuildError> {
        // Outside the lock first, so that live stands still for little.
        let live = Generation::current(&mut *self.pool.acquire().await?).await?;
        let position = live.checkpoint(&mut *self.pool.acquire().await?).await?.position;
        self.catch_up(position, &|_| {}).await?;
        let mut standing = begin(&self.pool, "begin").await?;
        let (live, checkpoint) = Generation::lock_current(&mut standing).await?;
        self.catch_up(checkpoint.position, &|_| {}).await?;
        let mut snapshot = begin(&self.pool, SNAPSHOT).await?;
        // The first statement takes the snapshot; from here live may go on.
        sqlx::query("set local work_mem = '128MB'").execute(&mut *snapshot).await?;
        sqlx::query("select 1").execute(&mut *snapshot).await?;
        standing.rollback().await?;
        let diff = diff::compare(&mut snapshot, live, self.generation, checkpoint.position).await?;
        snapshot.rollback().await?;
        Ok(diff)
    }

    /// Moves the pointer in one short transaction: the last bounded catch-up, the pointer, done. The generation
    /// that served is kept for requests that still read it, until its grace period is over or [`drop_previous`].
    pub async fn swap(mut self) -> Result<i64, RebuildError> {
        let position = loop {
            // Outside the lock first, so that little is left to do inside it.
            let live = Generation::current(&mut self.session).await?.checkpoint(&mut self.session).await?;
            let position = self.catch_up(live.position, &|_| {}).await?;
            let mut tx = begin(&self.pool, "begin").await?;
            let (_, live) = Generation::lock_current(&mut tx).await?;
            let events = log::read_after(&mut tx, position, live.position, LAST).await?;
            let all = events.last().is_none_or(|last| last.position == live.position)
                || i64::try_from(events.len()).is_ok_and(|count| count < LAST);
            if !all {
                continue;
            }
            match conversations::fold(&mut tx, self.generation, &self.fold, &events).await {
                // The next catch-up finds it and sets it aside.
                Err(error) if error.is_poison() => continue,
                folded => folded?,
            }
            self.generation.advance(&mut tx, live.position).await?;
            self.generation.publish(&mut tx).await?;
            tx.commit().await?;
            break live.position;
        };
        // It serves; what follows can only be late.
        match Generation::point_views(&mut self.session, VIEWS_PATIENCE).await {
            Ok(true) => {}
            Ok(false) => tracing::info!("the views for psql follow later: somebody reads through them"),
            Err(error) => tracing::warn!(error = crate::chain(&error), "the views for psql follow later"),
        }
        if let Err(error) = release(self.session).await {
            tracing::warn!(error = crate::chain(&error), "the lock of the rebuild goes with its session");
        }
        Ok(position)
    }

    /// Drops what was built: a dry run leaves nothing behind.
    pub async fn discard(mut self) -> Result<(), RebuildError> {
        Generation::drop_unfinished(&mut self.session).await?;
        Ok(release(self.session).await?)
    }
}

/// Builds the read side anew, makes sure that it is what live would be, and changes over. A difference is an
/// error unless the tables were built by another version of the fold, whose differences are the point.
pub async fn rebuild(
    pool: &PgPool,
    fold: impl Into<Fold>,
    progress: impl Fn(BuildProgress),
) -> Result<i64, RebuildError> {
    rebuild_under(Exclusive::take(pool).await?, pool, fold.into(), progress).await
}

/// The same with a right that was taken before. Dropped before it changes over, it leaves live as it was and tables
/// that nobody reads; see [`drop_unfinished`].
pub async fn rebuild_under(
    right: Exclusive,
    pool: &PgPool,
    fold: Fold,
    progress: impl Fn(BuildProgress),
) -> Result<i64, RebuildError> {
    let same_fold = {
        let mut connection = pool.acquire().await?;
        let live = Generation::current(&mut connection).await?;
        live.checkpoint(&mut connection).await?.fold_version == fold.version
    };
    let build = Build::run_under(right, pool.clone(), fold, Loading::default(), &progress).await?;
    let position = build.generation.checkpoint(&mut *pool.acquire().await?).await?.position;
    if same_fold {
        progress(BuildProgress { phase: Phase::Comparing, position, head: position });
        let refused = match build.diff().await {
            Ok(diff) if diff.is_empty() => None,
            Ok(diff) => Some(RebuildError::Differs { rows: diff.rows() }),
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            build.discard().await?;
            return Err(error);
        }
    }
    progress(BuildProgress { phase: Phase::ChangingOver, position, head: position });
    build.swap().await
}

/// What a rebuild would change: builds, compares, and drops the build.
pub async fn dry_run(
    pool: &PgPool,
    fold: impl Into<Fold>,
    progress: impl Fn(BuildProgress),
) -> Result<Diff, RebuildError> {
    dry_run_under(Exclusive::take(pool).await?, pool, fold.into(), progress).await
}

/// The same with a right that was taken before. Dropped, it leaves tables that nobody reads; see
/// [`drop_unfinished`].
pub async fn dry_run_under(
    right: Exclusive,
    pool: &PgPool,
    fold: Fold,
    progress: impl Fn(BuildProgress),
) -> Result<Diff, RebuildError> {
    let build = Build::run_under(right, pool.clone(), fold, Loading::default(), &progress).await?;
    let position = build.generation.checkpoint(&mut *pool.acquire().await?).await?.position;
    progress(BuildProgress { phase: Phase::Comparing, position, head: position });
    let diff = build.diff().await;
    build.discard().await?;
    diff
}

/// Drops the generations that served before the current one.
pub async fn drop_previous(pool: &PgPool) -> Result<(), RebuildError> {
    let Exclusive(mut session) = Exclusive::take(pool).await?;
    let all = Generation::point_views(&mut session, PATIENCE).await?
        && Generation::drop_retired(&mut session, Duration::ZERO, PATIENCE).await?;
    release(session).await?;
    if all { Ok(()) } else { Err(RebuildError::StillRead) }
}

/// Drops the tables of a build that was given up midway, when what of it still runs in the database has ended.
pub async fn drop_unfinished(pool: &PgPool) -> Result<(), RebuildError> {
    let mut session = pool.connect_options().connect().await?;
    // An index that is being made is made to its end, whoever asked for it.
    sqlx::query("set lock_timeout = 0").execute(&mut session).await?;
    sqlx::query(&format!("select pg_advisory_lock({LOCK})")).execute(&mut session).await?;
    Generation::drop_unfinished(&mut session).await?;
    Ok(release(session).await?)
}

/// The key of the lock that keeps rebuilds, dry runs and verifications apart.
const LOCK: &str = "append_lock() + 2";

/// The right to rebuild, compare or drop. It goes with its session, so whoever is killed does not keep it.
#[derive(Debug)]
pub struct Exclusive(PgConnection);

impl Exclusive {
    pub async fn take(pool: &PgPool) -> Result<Self, RebuildError> {
        let mut session = pool.connect_options().connect().await?;
        let query = format!("select pg_try_advisory_lock({LOCK})");
        let ours: bool = sqlx::query_scalar(&query).fetch_one(&mut session).await?;
        if ours { Ok(Self(session)) } else { Err(RebuildError::AlreadyRunning) }
    }
}

/// Says so before it hangs up: a closed session's locks go some time after.
async fn release(mut session: PgConnection) -> sqlx::Result<()> {
    sqlx::query(&format!("select pg_advisory_unlock({LOCK})")).execute(&mut session).await?;
    session.close().await
}
