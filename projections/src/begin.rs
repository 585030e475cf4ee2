//! Beginning a transaction so that whoever waits for it may be dropped at any moment.

use sqlx::{PgPool, Postgres, Transaction};

/// Reads from one snapshot and writes nothing.
pub const SNAPSHOT: &str = "begin transaction isolation level repeatable read read only";

/// As `pool.begin_with`, in a task of its own. sqlx forgets a transaction that is dropped while it begins: the
/// connection goes back to the pool inside it, and what the next user writes there is committed by nobody. A
/// request is dropped with its client, so that is not rare.
pub async fn begin(pool: &PgPool, statement: &'static str) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}
