//! Where the jobs stand (`sync_state`, seed 000).

use projections::chain;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::{Job, Outcome, ReconcileError};
use crate::lease::Epoch;

/// The row of the numbers that were learnt.
pub(super) const OWNED_NUMBERS: &str = "owned_numbers";

/// How far a job has come. It moves only when everything up to there was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The newest call that was read.
    pub last_call_sid: Option<String>,
    /// The latest change that Twilio told of.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_updated_at: Option<OffsetDateTime>,
    /// The window that was read.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub from: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
}

/// The cursor, and when the job last succeeded; nothing if it never did.
pub(super) async fn load(pool: &PgPool, job: Job) -> sqlx::Result<Option<(Cursor, OffsetDateTime)>> {
    let row: Option<(Json<Cursor>, Option<OffsetDateTime>)> =
        sqlx::query_as("select cursor, last_success_at from sync_state where job_name = $1")
            .bind(job.name())
            .fetch_optional(pool)
            .await?;
    Ok(row.and_then(|(Json(cursor), at)| Some((cursor, at?))))
}

/// Notes that it is being done; without an epoch, because somebody asked for it.
pub(super) async fn began(
    pool: &PgPool,
    name: &str,
    epoch: Option<Epoch>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into sync_state (job_name, running_since, running_epoch) values ($1, $2, $3)
         on conflict (job_name) do update
            set running_since = excluded.running_since, running_epoch = excluded.running_epoch",
    )
    .bind(name)
    .bind(now)
    .bind(epoch)
    .execute(pool)
    .await
    .map(drop)
}

/// Keeps what was found, and what came of it where that is more than found; the failure before it is over.
pub(super) async fn succeeded(
    pool: &PgPool,
    name: &str,
    cursor: &(impl Serialize + Sync),
    outcome: Option<&Outcome>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into sync_state (job_name, cursor, last_success_at, updated_at, last_outcome) values ($1, $2, $3, $3, $4)
         on conflict (job_name) do update
            set cursor = excluded.cursor, last_success_at = excluded.last_success_at, last_error = null,
                updated_at = excluded.updated_at, last_outcome = excluded.last_outcome, running_since = null",
    )
    .bind(name)
    .bind(Json(cursor))
    .bind(now)
    .bind(outcome.map(Json))
    .execute(pool)
    .await
    .map(drop)
}

/// Leaves the cursor where it is.
pub(super) async fn failed(
    pool: &PgPool,
    name: &str,
    error: &ReconcileError,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query(
        "insert into sync_state (job_name, last_error_at, last_error, updated_at) values ($1, $2, $3, $2)
         on conflict (job_name) do update
            set last_error_at = excluded.last_error_at, last_error = excluded.last_error,
                updated_at = excluded.updated_at, running_since = null",
    )
    .bind(name)
    .bind(now)
    .bind(chain(error))
    .execute(pool)
    .await
    .map(drop)
}

/// Where something stands that is done without anybody asking.
#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub(super) struct Standing {
    pub name: String,
    pub last_success_at: Option<OffsetDateTime>,
    /// Why it failed, unless it has succeeded since.
    pub last_error: Option<String>,
    pub last_error_at: Option<OffsetDateTime>,
    pub last_outcome: Option<Json<Outcome>>,
    /// Where it is being done by itself now: since when. What was done under an epoch that is over is not.
    pub running_since: Option<OffsetDateTime>,
}

pub(super) async fn standing(pool: &PgPool, names: &[&str]) -> sqlx::Result<Vec<Standing>> {
    sqlx::query_as(
        "select job_name as name, last_success_at, last_error, last_error_at, last_outcome, case when running_epoch
                     = (select epoch from worker_lease where expires_at > clock_timestamp())
                then running_since end as running_since
           from sync_state where job_name = any($1) order by job_name",
    )
    .bind(names)
    .fetch_all(pool)
    .await
}
