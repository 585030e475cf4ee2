//! Who stands in the way of the writer. Appends follow one another, so a transaction that has appended and
//! stays open holds up every other append until it ends.

use std::fmt;

use sqlx::PgPool;
use time::OffsetDateTime;

/// The session that holds the append lock.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LockHolder {
    pub pid: i32,
    pub application: String,
    /// As `pg_stat_activity` has it, such as "idle in transaction".
    pub state: String,
    /// Since when it is in that state.
    pub since: Option<OffsetDateTime>,
    /// Idle for longer than sessions of callbook may be.
    idle_for_too_long: bool,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, application, state, .. } = self;
        write!(f, "session {pid} ({application:?}, {state}")?;
        if let Some(since) = self.since {
            write!(f, " since {}", since.truncate_to_second())?;
        }
        write!(
            f,
            ") holds the append lock; let it commit, or end it with `select pg_terminate_backend({pid})`"
        )
    }
}

/// Finds the session that holds the append lock, and ends it if it has been idle for too long.
///
/// `idle_in_transaction_session_timeout` is a session's own setting, so ours says nothing of somebody's psql.
/// The writer applies the same limit to whoever sits idle on the lock that everything waits for, and to nobody
/// else. Nobody is found where the lock is free by now.
pub(super) async fn holder(pool: &PgPool) -> Option<LockHolder> {
    let holder = find(pool).await.ok()??;
    if holder.idle_for_too_long {
        let ended: sqlx::Result<bool> =
            sqlx::query_scalar("select pg_terminate_backend($1)").bind(holder.pid).fetch_one(pool).await;
        tracing::warn!(ended = matches!(ended, Ok(true)), "{holder}; it was idle for too long and is ended");
    }
    Some(holder)
}

async fn find(pool: &PgPool) -> sqlx::Result<Option<LockHolder>> {
    sqlx::query_as(
        "select pid, application_name as application, coalesce(state, 'hidden') as state, state_change as since,
                coalesce(state like 'idle in transaction%'
                     and current_setting('idle_in_transaction_session_timeout')::interval > '0'
                     and state_change + current_setting('idle_in_transaction_session_timeout')::interval
                         < clock_timestamp(), false) as idle_for_too_long
           from pg_locks join pg_stat_activity using (pid)
          where locktype = 'advisory' and granted and objsubid = 1
            and pg_locks.database = (select oid from pg_database where datname = current_database())
            and classid::bigint << 32 | objid::bigint = append_lock()",
    )
    .fetch_optional(pool)
    .await
}
