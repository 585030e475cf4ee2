//! Reading the log in its one total order.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// An event as it is stored; whoever folds it decodes it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredEvent {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    /// JSON text.
    pub payload: String,
    /// When it was recorded; in position order.
    pub recorded_at: OffsetDateTime,
}

/// The events after `position` and up to `last`, in order, at most `limit` of them.
///
/// A reader that has seen position P has seen everything up to P: appends commit in position order.
pub async fn read_after(
    connection: &mut PgConnection,
    position: i64,
    last: i64,
    limit: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    sqlx::query_as(
        "select id as position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload::text as payload, created_at as recorded_at
           from call_events
          where id > $1 and id <= $2
          order by id
          limit $3",
    )
    .bind(position)
    .bind(last)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// The position of the last event, 0 for an empty log.
pub async fn last_position(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select coalesce(max(id), 0) from call_events").fetch_one(connection).await
}
