//! What requests with an `Idempotency-Key` were answered. A key commits with the events of its unit, so that the
//! answer is there exactly when the events are.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;

/// How long a key is kept at least.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// SHA-256 of what was asked.
pub type Digest = [u8; 32];

/// A key, what was asked under it, and what that is answered from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub key: String,
    pub request_digest: Digest,
    pub answer: Value,
}

/// What was asked and answered under a key.
pub async fn find(pool: &PgPool, key: &str) -> sqlx::Result<Option<Answered>> {
    let found: Option<([u8; 32], Value)> =
        sqlx::query_as("select request_digest, answer from idempotency_keys where key = $1")
            .bind(key)
            .fetch_optional(pool)
            .await?;
    Ok(found.map(|(request_digest, answer)| Answered { key: key.to_owned(), request_digest, answer }))
}

/// Drops keys that are older than `age`, of which [`KEPT`] is the least that callers are promised; says how many.
pub async fn forget(pool: &PgPool, age: Duration) -> sqlx::Result<u64> {
    let gone = sqlx::query(
        "delete from idempotency_keys where created_at < clock_timestamp() - make_interval(secs => $1)",
    )
    .bind(age.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(gone.rows_affected())
}
