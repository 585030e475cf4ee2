//! The inbox as those see it who run callbook: what came in, what came of it, and having tried again what was given up.

use serde_json::Value;
use sqlx::{PgExecutor, PgPool, Postgres, QueryBuilder};
use time::OffsetDateTime;

use projections::begin::{READING, begin};

/// What is asked for; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<Status>,
    pub source: Option<String>,
    pub event_type: Option<String>,
    pub call_sid: Option<String>,
    /// Received then or later.
    pub from: Option<OffsetDateTime>,
    /// Received before then.
    pub before: Option<OffsetDateTime>,
}

/// Seed 000's `processing_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Processing,
    Completed,
    Failed,
    DeadLetter,
}

impl Status {
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Processing, Self::Completed, Self::Failed, Self::DeadLetter];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::DeadLetter => "dead_letter",
        }
    }

    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a row that has it may be tried again: no other waits for anybody.
    pub fn is_retriable(self) -> bool {
        matches!(self, Self::Failed | Self::DeadLetter)
    }
}

/// A row without what was said.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Item {
    pub id: i64,
    pub source: String,
    pub event_type: String,
    pub call_sid: Option<String>,
    pub recording_sid: Option<String>,
    pub received_at: OffsetDateTime,
    pub processed_at: Option<OffsetDateTime>,
    pub processing_status: String,
    pub error: Option<String>,
    pub retry_count: i32,
    pub next_attempt_at: Option<OffsetDateTime>,
    pub outcome: Option<Value>,
    pub request_id: Option<String>,
    pub retried_at: Option<OffsetDateTime>,
    pub retried_by: Option<String>,
}

/// With what was said.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct WholeItem {
    #[sqlx(flatten)]
    pub item: Item,
    pub dedupe_key: String,
    pub payload: Value,
}

/// What became of having one row tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    Waits,
    /// It was not given up: this is its status.
    Not(String),
    Unknown,
}

const COLUMNS: &str =
    "id, source, event_type, call_sid, recording_sid, received_at, processed_at, processing_status,
     error, retry_count, next_attempt_at, outcome, request_id, retried_at, retried_by";

/// As an alternative of the partial indexes' conditions, or the database does not use them.
const RETRIABLE: &str = "(processing_status = 'failed' or processing_status = 'dead_letter')";

/// Waits again, as if it had just come in.
const AGAIN: &str = "processing_status = 'pending', retry_count = 0, error = null, outcome = null,
     processed_at = null, next_attempt_at = null, retried_at = clock_timestamp()";

/// What waits and what has failed.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct Standing {
    pub waiting: i64,
    pub failed: i64,
    pub dead_letters: i64,
    /// 0 where none waits.
    pub oldest_waiting_seconds: f64,
}

/// Each is asked of an index that has these rows and no others.
pub async fn standing(database: impl PgExecutor<'_>) -> sqlx::Result<Standing> {
    sqlx::query_as(
        "select count(*) filter (where processing_status = 'pending') as waiting,
                count(*) filter (where processing_status = 'failed') as failed,
                (select count(*) from twilio_webhook_inbox where processing_status = 'dead_letter')
                    as dead_letters,
                coalesce(extract(epoch from clock_timestamp()
                         - min(received_at) filter (where processing_status = 'pending')), 0)::float8
                    as oldest_waiting_seconds
           from twilio_webhook_inbox
          where processing_status in ('pending', 'failed')",
    )
    .fetch_one(database)
    .await
}

/// The newest first, `limit` of those that came before the row `before`.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<Item>> {
    let mut query = QueryBuilder::new(format!("select {COLUMNS} from twilio_webhook_inbox where true"));
    narrow(&mut query, filter);
    if let Some(before) = before {
        query.push(" and id < ").push_bind(before);
    }
    query.push(" order by id desc limit ").push_bind(limit);
    query.build_query_as().fetch_all(&mut *begin(pool, READING).await?).await
}

pub async fn find(pool: &PgPool, id: i64) -> sqlx::Result<Option<WholeItem>> {
    sqlx::query_as(&format!("select {COLUMNS}, dedupe_key, payload from twilio_webhook_inbox where id = $1"))
        .bind(id)
        .fetch_optional(pool)
        .await
}

/// How many rows could be tried again.
pub async fn count_retriable(pool: &PgPool, filter: &Filter) -> sqlx::Result<i64> {
    let mut query = QueryBuilder::new(format!("select count(*) from twilio_webhook_inbox where {RETRIABLE}"));
    narrow(&mut query, filter);
    query.build_query_scalar().fetch_one(&mut *begin(pool, READING).await?).await
}

/// Has them tried again if they are as many as expected; gives how many they are.
pub async fn retry_all(pool: &PgPool, filter: &Filter, expected: i64, request_id: &str) -> sqlx::Result<i64> {
    let mut transaction = begin(pool, "begin").await?;
    let mut query = QueryBuilder::new(format!("select id from twilio_webhook_inbox where {RETRIABLE}"));
    narrow(&mut query, filter);
    // By one order everywhere, so that two could only wait for each other.
    query.push(" order by id for update");
    let ids: Vec<i64> = query.build_query_scalar().fetch_all(&mut *transaction).await?;
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    if count != expected {
        transaction.rollback().await?;
        return Ok(count);
    }
    sqlx::query(&format!("update twilio_webhook_inbox set {AGAIN}, retried_by = $2 where id = any($1)"))
        .bind(&ids)
        .bind(request_id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(count)
}

/// Has one tried again that was given up, or that waits for its next try.
pub async fn retry(pool: &PgPool, id: i64, request_id: &str) -> sqlx::Result<Retried> {
    let again = sqlx::query(&format!(
        "update twilio_webhook_inbox set {AGAIN}, retried_by = $2
          where id = $1 and {RETRIABLE}"
    ))
    .bind(id)
    .bind(request_id)
    .execute(pool)
    .await?;
    if again.rows_affected() > 0 {
        return Ok(Retried::Waits);
    }
    let status = sqlx::query_scalar("select processing_status from twilio_webhook_inbox where id = $1");
    let status: Option<String> = status.bind(id).fetch_optional(pool).await?;
    Ok(status.map_or(Retried::Unknown, Retried::Not))
}

fn narrow<'a>(query: &mut QueryBuilder<'a, Postgres>, filter: &'a Filter) {
    let texts = [
        (" and source = ", filter.source.as_deref()),
        (" and event_type = ", filter.event_type.as_deref()),
        (" and call_sid = ", filter.call_sid.as_deref()),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            query.push(condition).push_bind(text);
        }
    }
    // Not bound, for the same reason.
    if let Some(status) = filter.status {
        query.push(format!(" and processing_status = '{}'", status.as_str()));
    }
    if let Some(from) = filter.from {
        query.push(" and received_at >= ").push_bind(from);
    }
    if let Some(before) = filter.before {
        query.push(" and received_at < ").push_bind(before);
    }
}
