//! The whole log, whatever it is about.

use ::projections::search::{self, Filter, Found, Page};
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::{IntoParams, ToSchema};

use crate::app::AppState;
use crate::explain::without_media;
use crate::http::conversations::{open, unreadable};
use crate::http::given::Given;
use crate::http::problem::ApiError;

const DEFAULT_LIMIT: i64 = 100;

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `asked` reads")]
pub struct EventParams {
    /// The position after which the page begins, in its order: `next_after` of an earlier answer.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Events a page.
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: Option<i64>,
    /// `asc`, the oldest first, or `desc`.
    order: Option<String>,
    /// Such as `call.status_changed`.
    r#type: Option<String>,
    /// The same as `aggregate_type=call&aggregate_id=`.
    call_sid: Option<String>,
    /// What the event is about, such as `call`.
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    /// `webhook`, or what else appended it.
    source: Option<String>,
    /// Recorded then or later (RFC 3339).
    #[param(format = DateTime)]
    from: Option<String>,
    /// Recorded before then.
    #[param(format = DateTime)]
    to: Option<String>,
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    events: Vec<LogEvent>,
    /// What to give as `after` for the next page; null where the log was gone through. A search goes through a
    /// bounded stretch of the log, so a page may be short, or empty, and still have one.
    next_after: Option<i64>,
    /// The last position of the log.
    head: i64,
    /// The last position that the read model reflects.
    position: i64,
}

/// An event as the log has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogEvent {
    position: i64,
    #[serde(with = "rfc3339")]
    recorded_at: OffsetDateTime,
    /// When it happened, where the event says so.
    #[serde(with = "rfc3339::option")]
    event_time: Option<OffsetDateTime>,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    #[serde(rename = "type")]
    #[schema(example = "call.status_changed")]
    kind: String,
    version: String,
    /// `webhook`, or what else appended it.
    source: Option<String>,
    /// Addresses of recordings are not shown.
    #[schema(value_type = Object)]
    payload: Value,
    /// Where it comes from: the request, the row of the inbox.
    #[schema(value_type = Object)]
    metadata: Value,
}

/// Events of the whole log.
#[utoipa::path(
    get, path = "/api/events", tag = "operations", params(EventParams),
    responses((status = 200, body = Events))
)]
pub async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<Events>, ApiError> {
    let (filter, page) = asked(&Given::read(&uri)?)?;
    let mut snapshot = open(&state).await?;
    let found = search::search(snapshot.connection(), &filter, page).await.map_err(unreadable)?;
    let events = found.events.into_iter().map(LogEvent::from).collect();
    let position = snapshot.position();
    Ok(Json(Events { events, next_after: found.next_after, head: found.head, position }))
}

fn asked(given: &Given) -> Result<(Filter, Page), ApiError> {
    let text = |name| Ok::<_, ApiError>(given.text(name)?.map(str::to_owned));
    let call_sid = text("call_sid")?;
    let (aggregate_type, aggregate_id) = match &call_sid {
        None => (text("aggregate_type")?, text("aggregate_id")?),
        Some(_) => (Some("call".to_owned()), call_sid),
    };
    let filter = Filter {
        aggregate_type,
        aggregate_id,
        event_type: text("type")?,
        source: text("source")?,
        from: given.time("from")?,
        before: given.time("to")?,
    };
    let order = |text: &str| match text {
        "asc" => Some(false),
        "desc" => Some(true),
        _ => None,
    };
    let page = Page {
        newest_first: given.one("order", "`asc` or `desc`", order)?.unwrap_or(false),
        after: given.number(
            "after",
            0..=i64::MAX,
            "a position of the log, such as `next_after` of an answer",
        )?,
        limit: given.number("limit", 1..=200, "a whole number from 1 to 200")?.unwrap_or(DEFAULT_LIMIT),
    };
    Ok((filter, page))
}

impl From<Found> for LogEvent {
    fn from(found: Found) -> Self {
        let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        Self {
            position: found.position,
            recorded_at: found.recorded_at,
            event_time: found.event_time,
            aggregate_type: found.aggregate_type,
            aggregate_id: found.aggregate_id,
            sequence: found.sequence,
            kind: found.event_type,
            version: found.event_version,
            source: found.source,
            payload: without_media(read(&found.payload)),
            metadata: read(&found.metadata),
        }
    }
}
