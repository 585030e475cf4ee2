//! Building the read side anew beside the one that serves, comparing the two, and changing over.
//!
//! A build is the next *generation*: a schema of its own, folded by the same fold. Readers keep to the current
//! one until a single short transaction moves the pointer, so nobody sees half a rebuild. Killed at any point,
//! a rebuild leaves the current generation untouched, and the next one drops what it left.

use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};

use crate::conversations::{self, FoldError};
use crate::generation::{FOLD_VERSION, Generation};
use crate::ids::IdKey;
use crate::log;

/// Events in one transaction of a build at most.
const BATCH: i64 = 5_000;
/// Rows of a difference that are kept to be shown.
const SAMPLES: i64 = 20;

/// The tables of the read model and the column that names a row.
const TABLES: [(&str, &str); 5] = [
    ("call_legs", "call_sid"),
    ("contacts", "id"),
    ("conversations", "id"),
    ("messages", "id"),
    ("totals", "name"),
];

/// Why a build did not come about. The generation that serves is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another rebuild or verification is running on this database; wait for it to end")]
    AlreadyRunning,
    #[error("the rebuilt rows differ from what live would be: {rows} rows; nothing was changed over")]
    Differs { rows: i64 },
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("the database failed during the rebuild; the tables that serve are untouched")]
    Database(#[from] sqlx::Error),
}

/// How far a build has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    pub position: i64,
    /// Where it is going: the position of live when the build began.
    pub head: i64,
}

/// How the rebuilt rows differ from those that serve, both at one position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    pub position: i64,
    pub tables: Vec<TableDiff>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TableDiff {
    pub table: &'static str,
    /// Rows that only the rebuild has.
    pub added: i64,
    /// Rows that only live has.
    pub removed: i64,
    pub changed: i64,
    /// The first rows that differ, by key.
    pub samples: Vec<RowDiff>,
}

/// One row that differs. A side is missing where it has no such row.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct RowDiff {
    pub key: String,
    pub live: Option<Value>,
    pub rebuilt: Option<Value>,
}

impl RowDiff {
    /// The columns whose values differ, by name.
    pub fn columns(&self) -> Vec<&str> {
        let (Some(Value::Object(live)), Some(Value::Object(rebuilt))) = (&self.live, &self.rebuilt) else {
            return Vec::new();
        };
        live.iter()
            .filter(|(name, value)| rebuilt.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// How many rows differ, in all tables.
    pub fn rows(&self) -> i64 {
        self.tables.iter().map(|table| table.added + table.removed + table.changed).sum()
    }
}

/// A generation that was built beside the current one. Holds the lock that keeps rebuilds, dry runs and
/// verifications apart for as long as it lives.
#[derive(Debug)]
pub struct Build {
    pool: PgPool,
    ids: IdKey,
    /// The session that holds the lock; closed, it lets go.
    session: PgConnection,
    generation: Generation,
}

impl Build {
    /// Folds the log, as far as live has come, into the next generation. `progress` is told after each batch.
    pub async fn run(
        pool: PgPool,
        ids: IdKey,
        progress: impl Fn(BuildProgress),
    ) -> Result<Self, RebuildError> {
        let mut session = exclusive(&pool).await?;
        // Nobody else builds, so what is neither current nor previous was left by a build that was killed.
        Generation::drop_unfinished(&mut session).await?;
        let generation = Generation::create_next(&mut session, FOLD_VERSION).await?;
        let build = Self { pool, ids, session, generation };
        // Not beyond live, or the two could not be compared at one position. What came meanwhile is little, and
        // is caught up with before the comparison and the swap.
        let mut connection = build.pool.acquire().await?;
        let live = Generation::current(&mut connection).await?.checkpoint(&mut connection).await?;
        drop(connection);
        build.catch_up(live.position, &progress).await?;
        Ok(build)
    }

    /// Folds up to `target`, and not beyond.
    async fn catch_up(&self, target: i64, progress: &impl Fn(BuildProgress)) -> Result<i64, RebuildError> {
        loop {
            let mut tx = self.pool.begin().await?;
            let position = self.fold_batch(&mut tx, target).await?;
            tx.commit().await?;
            progress(BuildProgress { position, head: target });
            if position >= target {
                return Ok(position);
            }
        }
    }

    async fn fold_batch(&self, tx: &mut PgConnection, target: i64) -> Result<i64, RebuildError> {
        let checkpoint = self.generation.lock(tx).await?;
        let events = log::read_after(tx, checkpoint.position, target, BATCH).await?;
        // Positions have gaps; past the last event up to the target there is nothing to fold.
        let reached = events.last().map_or(target, |event| event.position).max(checkpoint.position);
        conversations::fold(tx, self.generation, &self.ids, &events).await?;
        self.generation.advance(tx, reached).await?;
        Ok(reached)
    }

    /// Compares with the rows that serve, both at the position of live, inside one snapshot, while traffic
    /// flows: live stands still only while the build catches up with it.
    pub async fn diff(&self) -> Result<Diff, RebuildError> {
        let mut standing = self.pool.begin().await?;
        let live = Generation::current(&mut standing).await?;
        let position = live.lock(&mut standing).await?.position;
        self.catch_up(position, &|_| {}).await?;
        let mut snapshot =
            self.pool.begin_with("begin transaction isolation level repeatable read read only").await?;
        // The first statement takes the snapshot; from here live may go on.
        sqlx::query("select 1").execute(&mut *snapshot).await?;
        standing.rollback().await?;
        let mut diff = Diff { position, tables: Vec::new() };
        for (table, key) in TABLES {
            diff.tables.push(compare(&mut snapshot, live, self.generation, table, key).await?);
        }
        snapshot.rollback().await?;
        Ok(diff)
    }

    /// Moves the pointer in one short transaction: the last bounded catch-up, the pointer, done. The generation
    /// that served is kept, for requests that still read it, until the next rebuild or [`drop_previous`].
    pub async fn swap(self) -> Result<i64, RebuildError> {
        // Outside the lock first, so that little is left to do inside it.
        let head = log::last_position(&mut *self.pool.acquire().await?).await?;
        self.catch_up(head, &|_| {}).await?;
        let mut tx = self.pool.begin().await?;
        let live = Generation::current(&mut tx).await?;
        let target = live.lock(&mut tx).await?.position;
        let mut position = self.fold_batch(&mut tx, target).await?;
        while position < target {
            position = self.fold_batch(&mut tx, target).await?;
        }
        self.generation.publish(&mut tx).await?;
        tx.commit().await?;
        release(self.session).await?;
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
    ids: &IdKey,
    progress: impl Fn(BuildProgress),
) -> Result<i64, RebuildError> {
    let same_fold = {
        let mut connection = pool.acquire().await?;
        let live = Generation::current(&mut connection).await?;
        live.checkpoint(&mut connection).await?.fold_version == FOLD_VERSION
    };
    let build = Build::run(pool.clone(), ids.clone(), progress).await?;
    if same_fold {
        let diff = build.diff().await?;
        if !diff.is_empty() {
            build.discard().await?;
            return Err(RebuildError::Differs { rows: diff.rows() });
        }
    }
    build.swap().await
}

/// What a rebuild would change: builds, compares, and drops the build.
pub async fn dry_run(
    pool: &PgPool,
    ids: &IdKey,
    progress: impl Fn(BuildProgress),
) -> Result<Diff, RebuildError> {
    let build = Build::run(pool.clone(), ids.clone(), progress).await?;
    let diff = build.diff().await;
    build.discard().await?;
    diff
}

/// Drops the generation that served before the current one.
pub async fn drop_previous(pool: &PgPool) -> Result<(), RebuildError> {
    let mut session = exclusive(pool).await?;
    Generation::drop_previous(&mut session).await?;
    Ok(release(session).await?)
}

/// A session with the lock that keeps rebuilds, dry runs and verifications apart until it is closed.
async fn exclusive(pool: &PgPool) -> Result<PgConnection, RebuildError> {
    let mut session = pool.acquire().await?.detach();
    let ours: bool =
        sqlx::query_scalar("select pg_try_advisory_lock(append_lock() + 2)").fetch_one(&mut session).await?;
    if ours { Ok(session) } else { Err(RebuildError::AlreadyRunning) }
}

/// Says so before it hangs up: a closed session's locks go some time after.
async fn release(mut session: PgConnection) -> sqlx::Result<()> {
    sqlx::query("select pg_advisory_unlock(append_lock() + 2)").execute(&mut session).await?;
    session.close().await
}

async fn compare(
    connection: &mut PgConnection,
    live: Generation,
    rebuilt: Generation,
    table: &'static str,
    key: &str,
) -> sqlx::Result<TableDiff> {
    let differing = format!(
        "{live}.{table} as served full join {rebuilt}.{table} as built using ({key})
          where to_jsonb(served) is distinct from to_jsonb(built)"
    );
    let (added, removed, changed): (i64, i64, i64) = sqlx::query_as(&format!(
        "select count(*) filter (where served.{key} is null), count(*) filter (where built.{key} is null),
                count(*) filter (where served.{key} = built.{key})
           from {differing}"
    ))
    .fetch_one(&mut *connection)
    .await?;
    let samples = sqlx::query_as(&format!(
        "select {key}::text as key, to_jsonb(served) as live, to_jsonb(built) as rebuilt
           from {differing} order by {key} limit $1"
    ))
    .bind(SAMPLES)
    .fetch_all(connection)
    .await?;
    Ok(TableDiff { table, added, removed, changed, samples })
}
