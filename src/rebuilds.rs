//! Rebuilds and dry runs that somebody asks for over HTTP.
//!
//! They are done here and told of in the database, so that whichever callbook is asked on it can say how far one has
//! come, and have it cancelled.

mod difference;

use std::time::Duration;

use projections::chain;
use projections::conversations::Fold;
use projections::rebuild::{self, BuildProgress, Exclusive, Phase, RebuildError};
use sqlx::PgPool;
use sqlx::types::Json;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::difference::Difference;

/// How often it is written down how far one has come, and looked whether it is to be cancelled.
const TICK: Duration = Duration::from_millis(250);
/// How often whoever does it says that it is there, and the seconds after which it counts as gone, as after `kill -9`.
const BEAT: Duration = Duration::from_secs(2);
const SILENCE: u8 = 15;
/// Rebuilds that are remembered.
const KEPT: i64 = 100;
/// How long one may take to end once callbook is stopping.
const LAST_WORK: Duration = Duration::from_secs(5);

/// Does them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rebuilds {
    pool: PgPool,
    fold: Fold,
    running: TaskTracker,
    stopping: CancellationToken,
}

/// One of them, as the database tells of it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Rebuild {
    pub id: i64,
    pub dry_run: bool,
    /// `running`, `succeeded`, `failed`, `cancelled`, or `lost` where whoever did it is gone.
    pub state: String,
    pub phase: Option<String>,
    pub position: i64,
    pub head: i64,
    pub error: Option<String>,
    pub difference: Option<Json<Difference>>,
    pub requested_by: Option<String>,
    pub cancel_requested: bool,
    pub started_at: OffsetDateTime,
    pub ended_at: Option<OffsetDateTime>,
}

impl Rebuild {
    pub fn has_ended(&self) -> bool {
        self.state != "running"
    }
}

/// What came of one.
enum End {
    Succeeded(Option<Difference>),
    Failed(RebuildError),
    Cancelled,
}

/// `lost` is not stored: nobody is left to store it.
fn select(condition: &str) -> String {
    format!(
        "select id, dry_run, phase, position, head, error, difference, requested_by, cancel_requested,
                started_at, ended_at,
                case when state = 'running' and heard_at < clock_timestamp() - interval '{SILENCE} seconds'
                     then 'lost' else state end as state
           from rebuilds {condition}"
    )
}

impl Rebuilds {
    pub fn new(pool: PgPool, fold: Fold) -> Self {
        Self { pool, fold, running: TaskTracker::new(), stopping: CancellationToken::new() }
    }

    /// Begins one, unless one is running on this database, whoever does it.
    pub async fn begin(&self, dry_run: bool, request_id: Option<String>) -> Result<Rebuild, RebuildError> {
        let rebuilds = self.clone();
        // A caller who goes away ends nothing: what was begun is done.
        let begun = self.running.spawn(async move {
            let right = Exclusive::take(&rebuilds.pool).await?;
            let id: i64 = sqlx::query_scalar(
                "with forgotten as (delete from rebuilds where id <= (select max(id) from rebuilds) - $3)
                 insert into rebuilds (dry_run, requested_by) values ($1, $2) returning id",
            )
            .bind(dry_run)
            .bind(request_id)
            .bind(KEPT)
            .fetch_one(&rebuilds.pool)
            .await?;
            let begun = rebuilds.find(id).await?.ok_or(sqlx::Error::RowNotFound)?;
            let running = rebuilds.running.clone();
            running.spawn(async move {
                tokio::select! {
                    () = Box::pin(rebuilds.run(id, dry_run, right)) => {}
                    () = rebuilds.beat(id) => {}
                }
            });
            Ok(begun)
        });
        begun.await.unwrap_or_else(|_| Err(sqlx::Error::WorkerCrashed.into()))
    }

    pub async fn find(&self, id: i64) -> sqlx::Result<Option<Rebuild>> {
        sqlx::query_as(&select("where id = $1")).bind(id).fetch_optional(&self.pool).await
    }

    /// The last ones, the newest first.
    pub async fn list(&self, limit: i64) -> sqlx::Result<Vec<Rebuild>> {
        sqlx::query_as(&select("order by id desc limit $1")).bind(limit).fetch_all(&self.pool).await
    }

    /// Has one cancelled that is running; says whether there was one.
    pub async fn cancel(&self, id: i64) -> sqlx::Result<bool> {
        let asked =
            sqlx::query("update rebuilds set cancel_requested = true where id = $1 and state = 'running'")
                .bind(id)
                .execute(&self.pool)
                .await?;
        Ok(asked.rows_affected() > 0)
    }

    /// Gives up what runs here, and waits for it.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.running.close();
        if tokio::time::timeout(LAST_WORK, self.running.wait()).await.is_err() {
            tracing::warn!("a rebuild did not end in time; the next one drops what it leaves");
        }
    }

    /// Says that it is there, for as long as it is.
    async fn beat(&self, id: i64) {
        loop {
            tokio::time::sleep(BEAT).await;
            let query =
                sqlx::query("update rebuilds set heard_at = clock_timestamp() where id = $1").bind(id);
            // A database that fails is the rebuild's own trouble.
            let _ = query.execute(&self.pool).await;
        }
    }

    async fn run(&self, id: i64, dry_run: bool, right: Exclusive) {
        let (told, progress) = watch::channel(None);
        let end = {
            let tell = |now| {
                told.send_replace(Some(now));
            };
            let work = Box::pin(async {
                let fold = self.fold.clone();
                if dry_run {
                    let diff = rebuild::dry_run_under(right, &self.pool, fold, tell).await?;
                    return Ok(Some(diff.into()));
                }
                rebuild::rebuild_under(right, &self.pool, fold, tell).await.map(|_| None)
            });
            tokio::select! {
                done = work => done.map_or_else(End::Failed, End::Succeeded),
                () = self.until_cancelled(id, progress.clone()) => End::Cancelled,
            }
        };
        if matches!(end, End::Cancelled)
            && let Err(error) = rebuild::drop_unfinished(&self.pool).await
        {
            tracing::warn!(error = chain(&error), "what was built is left for the next rebuild to drop");
        }
        let last = *progress.borrow();
        if let Err(error) = self.note(id, last, &end).await {
            tracing::warn!(error = chain(&error), rebuild.id = id, "what came of rebuild {id} is not noted");
        }
    }

    /// Writes down how far it has come, until it is to be cancelled. What is changing over is not: it takes a moment,
    /// and whoever cancels must know that nothing has changed.
    async fn until_cancelled(&self, id: i64, progress: watch::Receiver<Option<BuildProgress>>) {
        let may_be_cancelled = || progress.borrow().is_none_or(|now| now.phase < Phase::ChangingOver);
        loop {
            tokio::select! {
                () = self.stopping.cancelled(), if !self.stopping.is_cancelled() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            let now = *progress.borrow();
            let cancel = sqlx::query_scalar(
                "update rebuilds
                    set phase = coalesce($2, phase), position = coalesce($3, position), head = coalesce($4, head)
                  where id = $1
              returning cancel_requested",
            )
            .bind(id)
            .bind(now.map(|now| now.phase.as_str()))
            .bind(now.map(|now| now.position))
            .bind(now.map(|now| now.head))
            .fetch_one(&self.pool)
            .await;
            // A database that fails is the rebuild's own trouble.
            if (cancel.unwrap_or(false) || self.stopping.is_cancelled()) && may_be_cancelled() {
                return;
            }
        }
    }

    async fn note(&self, id: i64, last: Option<BuildProgress>, end: &End) -> sqlx::Result<()> {
        let (state, error, difference) = match end {
            End::Succeeded(difference) => ("succeeded", None, difference.as_ref().map(Json)),
            End::Failed(error) => {
                tracing::error!(error = chain(error), rebuild.id = id, "rebuild {id} has failed");
                ("failed", Some(error.to_string()), None)
            }
            End::Cancelled if self.stopping.is_cancelled() => {
                ("cancelled", Some("callbook was stopped".to_owned()), None)
            }
            End::Cancelled => ("cancelled", None, None),
        };
        sqlx::query(
            "update rebuilds
                set state = $2, error = $3, difference = $4, ended_at = clock_timestamp(),
                    phase = coalesce($5, phase), position = coalesce($6, position), head = coalesce($7, head)
              where id = $1",
        )
        .bind(id)
        .bind(state)
        .bind(error)
        .bind(difference)
        .bind(last.map(|last| last.phase.as_str()))
        .bind(last.map(|last| last.position))
        .bind(last.map(|last| last.head))
        .execute(&self.pool)
        .await
        .map(drop)
    }
}
