//! One build of the read side: its schema, its checkpoint, and which build readers use.

use std::fmt;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};

use crate::begin::{READING, begin};

/// Changes whenever the fold would make other rows of the same events. A runner whose version differs from
/// the tables' does not write to them.
pub const FOLD_VERSION: i32 = 7;

/// The version of the fold that built the tables that serve; nothing where there are none yet.
pub async fn serving(connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar(
        "select fold_version from read_model_current join read_model_generations using (generation)",
    )
    .fetch_optional(connection)
    .await
}

/// Names the schema that holds one build. Displayed, it is the schema's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(i32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read_model_g{}", self.0)
    }
}

/// How far a build has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Checkpoint {
    pub position: i64,
    pub epoch: i64,
    pub fold_version: i32,
}

impl Generation {
    /// The build that readers use now. A request asks once and keeps to it.
    pub async fn current(connection: &mut PgConnection) -> sqlx::Result<Self> {
        sqlx::query_scalar("select generation from read_model_current").fetch_one(connection).await.map(Self)
    }

    pub async fn checkpoint(self, connection: &mut PgConnection) -> sqlx::Result<Checkpoint> {
        sqlx::query_as(
            "select position, epoch, fold_version from read_model_generations where generation = $1",
        )
        .bind(self.0)
        .fetch_one(connection)
        .await
    }

    /// Takes the projection's lock: nobody else advances this build until the transaction ends.
    pub(crate) async fn lock(self, connection: &mut PgConnection) -> sqlx::Result<Checkpoint> {
        sqlx::query_as(
            "select position, epoch, fold_version
               from read_model_generations
              where generation = $1
                for update",
        )
        .bind(self.0)
        .fetch_one(connection)
        .await
    }

    /// The current build, with its lock.
    pub(crate) async fn lock_current(connection: &mut PgConnection) -> sqlx::Result<(Self, Checkpoint)> {
        let mut generation = Self::current(connection).await?;
        loop {
            let checkpoint = generation.lock(connection).await?;
            // A rebuild may have changed over while this waited for the lock.
            let now = Self::current(connection).await?;
            if now == generation {
                return Ok((generation, checkpoint));
            }
            generation = now;
        }
    }

    /// An empty build beside the current one, without keys and indexes.
    pub(crate) async fn create_next(connection: &mut PgConnection, fold_version: i32) -> sqlx::Result<Self> {
        let mut tx = connection.begin().await?;
        let next: i32 = sqlx::query_scalar("select max(generation) + 1 from read_model_generations")
            .fetch_one(&mut *tx)
            .await?;
        sqlx::query("select create_read_model($1, $2)")
            .bind(next)
            .bind(fold_version)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Self(next))
    }

    /// Adds keys and indexes to the tables of one `part`: `call_legs`, `messages` or `threads`.
    pub(crate) async fn index(self, connection: &mut PgConnection, part: &str) -> sqlx::Result<()> {
        let mut tx = connection.begin().await?;
        sqlx::query("set local maintenance_work_mem = '256MB'").execute(&mut *tx).await?;
        let query = format!("select index_{part}($1)");
        sqlx::query(&query).bind(self.0).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Makes this the build that readers use; the one that was current is retired.
    pub(crate) async fn publish(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("select publish_read_model($1)").bind(self.0).execute(connection).await.map(drop)
    }

    /// Has the names that people use in psql mean the current build, unless somebody reads through them for longer
    /// than `patience`; says whether they do.
    pub(crate) async fn point_views(connection: &mut PgConnection, patience: Duration) -> sqlx::Result<bool> {
        let mut tx = connection.begin().await?;
        wait_for_locks(&mut tx, patience).await?;
        let pointed = sqlx::query(
            "select point_views(generation) from read_model_current
              where not exists (
                    select from pg_views
                     where schemaname = 'public' and viewname = 'messages'
                       and definition like '%read_model_g' || generation || '.%')",
        )
        .execute(&mut *tx)
        .await;
        match pointed {
            Ok(_) => tx.commit().await.map(|()| true),
            Err(error) if is_lock_timeout(&error) => Ok(false),
            // Somebody has made a view of their own of one of them; it keeps what it was made of.
            Err(error) if has_dependents(&error) => {
                tracing::warn!(
                    error = crate::chain(&error),
                    "the views for psql cannot follow the read model: other objects are built on them; drop those"
                );
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Drops every build that is neither current nor retired: it was not finished.
    pub(crate) async fn drop_unfinished(connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query(
            "select drop_read_model(g.generation)
               from read_model_generations g
              where g.retired_at is null
                and not exists (select from read_model_current c where c.generation = g.generation)",
        )
        .execute(connection)
        .await
        .map(drop)
    }

    /// Drops the builds that were retired longer ago than `grace`. One that is still read after `patience` is left
    /// for the next time; says whether all are gone.
    pub(crate) async fn drop_retired(
        connection: &mut PgConnection,
        grace: Duration,
        patience: Duration,
    ) -> sqlx::Result<bool> {
        let retired: Vec<i32> = sqlx::query_scalar(
            "select generation from read_model_generations
              where retired_at <= clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(grace.as_secs_f64())
        .fetch_all(&mut *connection)
        .await?;
        let mut all = true;
        for generation in retired {
            let mut tx = connection.begin().await?;
            wait_for_locks(&mut tx, patience).await?;
            match sqlx::query("select drop_read_model($1)").bind(generation).execute(&mut *tx).await {
                Ok(_) => tx.commit().await?,
                Err(error) if is_lock_timeout(&error) => all = false,
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Notes who folds from now on.
    pub(crate) async fn raise_epoch(self, connection: &mut PgConnection, epoch: i64) -> sqlx::Result<()> {
        sqlx::query("update read_model_generations set epoch = $2 where generation = $1")
            .bind(self.0)
            .bind(epoch)
            .execute(connection)
            .await
            .map(drop)
    }

    pub(crate) async fn advance(self, connection: &mut PgConnection, position: i64) -> sqlx::Result<()> {
        sqlx::query("update read_model_generations set position = $2 where generation = $1")
            .bind(self.0)
            .bind(position)
            .execute(connection)
            .await
            .map(drop)
    }
}

/// Creates the first build in a database that has none. Many processes may start at once.
pub async fn ensure_first(pool: &PgPool) -> sqlx::Result<()> {
    let mut tx = begin(pool, "begin").await?;
    sqlx::query("lock table read_model_current in share row exclusive mode").execute(&mut *tx).await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from read_model_current)").fetch_one(&mut *tx).await?;
    if !exists {
        sqlx::query(
            "select create_read_model(1, $1), index_read_model(1), publish_read_model(1), point_views(1)",
        )
        .bind(FOLD_VERSION)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

async fn wait_for_locks(transaction: &mut PgConnection, patience: Duration) -> sqlx::Result<()> {
    sqlx::query("select set_config('lock_timeout', $1, true)")
        .bind(format!("{}ms", patience.as_millis()))
        .execute(transaction)
        .await
        .map(drop)
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    has_code(error, "55P03")
}

fn has_dependents(error: &sqlx::Error) -> bool {
    has_code(error, "2BP01")
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.code().as_deref() == Some(code))
}

/// A snapshot of the current build: everything read through it, and its position, belong together.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) tx: Transaction<'static, Postgres>,
    pub(crate) generation: Generation,
    position: i64,
}

impl Snapshot {
    pub async fn open(pool: &PgPool) -> sqlx::Result<Self> {
        let mut tx = begin(pool, READING).await?;
        let (generation, position): (i32, i64) = sqlx::query_as(
            "select g.generation, g.position from read_model_current join read_model_generations g using (generation)",
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(Self { tx, generation: Generation(generation), position })
    }

    /// The last position of the log that is reflected.
    pub fn position(&self) -> i64 {
        self.position
    }
}
