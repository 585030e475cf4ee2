//! How far the read model is behind the log, for operators.

use sqlx::PgExecutor;
use time::OffsetDateTime;

/// What is in the log and not yet in the rows that serve.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Lag {
    /// The position of the last event. Of the table, never of its sequence, which runs ahead of what is there.
    pub head: i64,
    /// The position up to which the rows that serve reflect the log.
    pub position: i64,
    /// When the first event beyond that was recorded; null where there is none.
    pub oldest_unprojected_at: Option<OffsetDateTime>,
    /// Seconds since then, by the database's clock; 0 where there is none.
    pub seconds: f64,
}

impl Lag {
    /// How many events are not reflected, at most: positions have gaps.
    pub fn events(&self) -> i64 {
        (self.head - self.position).max(0)
    }
}

/// All from one snapshot.
pub async fn lag(database: impl PgExecutor<'_>) -> sqlx::Result<Lag> {
    sqlx::query_as(
        "select coalesce((select max(id) from call_events), 0) as head, checkpoint.position,
                oldest.created_at as oldest_unprojected_at,
                coalesce(extract(epoch from clock_timestamp() - oldest.created_at), 0)::float8 as seconds
           from read_model_current
           join read_model_generations as checkpoint using (generation)
           left join lateral (select created_at from call_events
                               where id > checkpoint.position order by id limit 1) as oldest on true",
    )
    .fetch_one(database)
    .await
}
