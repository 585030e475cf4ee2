//! Beginning a transaction so that whoever waits for it may be dropped at any moment.

use sqlx::{PgPool, Postgres, Transaction};

/// Reads from one snapshot and writes nothing.
pub const SNAPSHOT: &str = "begin transaction isolation level repeatable read read only";

/// The same for whoever is waited for: no statement takes longer, so that what a caller has given up ends too. In one
/// round trip, because it goes as plain text.
pub const READING: &str =
    "begin transaction isolation level repeatable read read only; set local statement_timeout = '10s'";

/// As `pool.begin_with`, in a task of its own. sqlx forgets a transaction that is dropped while it begins: the
/// connection goes back to the pool inside it, and what the next user writes there is committed by nobody. A
/// request is dropped with its client, so that is not rare.
pub async fn begin(pool: &PgPool, statement: &'static str) -> sqlx::Result<Transaction<'static, Postgres>> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}
