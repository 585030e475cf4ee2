//! One thing at a time of what people ask for, whichever callbook on this database does it.

use std::fmt;

use sqlx::{Connection, PgConnection, PgPool};
use time::OffsetDateTime;

/// The database's name for a session that does a job, before the job's own.
const PREFIX: &str = "callbook ";

/// The key of the lock. The next one after that of rebuilds.
const LOCK: &str = "append_lock() + 3";

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Nothing if it ended just now.
    pub job: Option<String>,
    pub since: Option<OffsetDateTime>,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is running", self.job.as_deref().unwrap_or("another sync"))?;
        if let Some(since) = self.since {
            write!(f, " since {}", since.truncate_to_second())?;
        }
        f.write_str("; ask again when it has ended")
    }
}

/// The right to do something. It goes with its session, so whoever is killed does not keep it.
#[derive(Debug)]
pub(super) struct Exclusive(PgConnection);

/// The right, or who has it.
pub(super) async fn take(pool: &PgPool, job: &str) -> sqlx::Result<Result<Exclusive, Running>> {
    let mut session = pool.acquire().await?.detach();
    sqlx::query("select set_config('application_name', $1, false)")
        .bind(format!("{PREFIX}{job}"))
        .execute(&mut session)
        .await?;
    let taken: bool =
        sqlx::query_scalar(&format!("select pg_try_advisory_lock({LOCK})")).fetch_one(&mut session).await?;
    if taken {
        return Ok(Ok(Exclusive(session)));
    }
    let holder = holder(&mut session).await?;
    session.close().await?;
    Ok(Err(holder.unwrap_or(Running { job: None, since: None })))
}

/// What is being done, if anything is.
pub(super) async fn holder(session: &mut PgConnection) -> sqlx::Result<Option<Running>> {
    let holder: Option<(String, Option<OffsetDateTime>)> = sqlx::query_as(&format!(
        "select application_name, state_change
           from pg_locks join pg_stat_activity using (pid)
          where locktype = 'advisory' and granted and objsubid = 1
            and pg_locks.database = (select oid from pg_database where datname = current_database())
            and classid::bigint << 32 | objid::bigint = {LOCK}"
    ))
    .fetch_optional(session)
    .await?;
    Ok(holder.map(|(name, since)| Running { job: name.strip_prefix(PREFIX).map(str::to_owned), since }))
}

impl Exclusive {
    pub async fn release(self) {
        // Whatever comes of it, the session is gone then, and the right with it.
        let _ = self.0.close().await;
    }
}
