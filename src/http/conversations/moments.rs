//! When a thread changed: what `as_of` can be asked about it.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use projections::history::ThreadEvent;
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use super::{known, open, page_of, unreadable};
use crate::app::AppState;
use crate::http::given::whole_number;
use crate::http::page::{Id, IdParam};
use crate::http::problem::{ApiError, Problem};

/// Moments a page, where the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
const LARGEST_LIMIT: i64 = 200;

/// A page of moments, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Moments {
    moments: Vec<MomentOfThread>,
    /// What to give as `before` for the next page; null on the last one.
    next_before: Option<i64>,
    position: i64,
}

/// An event that shaped the thread.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct MomentOfThread {
    /// What to give as `as_of` for the thread as it was with this event.
    position: i64,
    #[serde(with = "rfc3339")]
    recorded_at: OffsetDateTime,
    #[serde(rename = "type")]
    #[schema(example = "call.status_changed")]
    kind: String,
    /// Null where people did something to the thread, or wrote something down.
    call_sid: Option<String>,
    /// What the call was after it, in Twilio's words.
    status: Option<String>,
}

impl From<ThreadEvent> for MomentOfThread {
    fn from(event: ThreadEvent) -> Self {
        let ThreadEvent { position, recorded_at, event_type: kind, call_sid, status } = event;
        Self { position, recorded_at, kind, call_sid, status }
    }
}

/// The places in the log at which a conversation changed, the newest first: by its calls, and by what people did.
#[utoipa::path(
    get, path = "/api/conversations/{id}/moments", tag = "conversations",
    params(
        IdParam,
        ("before" = Option<i64>, Query, minimum = 0, description = "The position before which they begin: `next_before` of an earlier answer"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Moments a page; 100 where it is left out"),
    ),
    responses(
        (status = 200, body = Moments),
        (status = 404, description = "There is no such conversation", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(state): State<AppState>, Id(id): Id, uri: Uri) -> Result<Json<Moments>, ApiError> {
    let expected = "a position of the log, such as `next_before` of an earlier answer";
    let before = whole_number(&uri, "before", i64::MAX, 0..=i64::MAX, expected)?;
    let limit =
        whole_number(&uri, "limit", DEFAULT_LIMIT, 1..=LARGEST_LIMIT, "a whole number from 1 to 200")?;
    let mut snapshot = open(&state).await?;
    let party = known(&mut snapshot, id).await?.conversation.external_id;
    let events = snapshot.thread_events(id, &party, before, limit + 1).await.map_err(unreadable)?;
    let size = usize::try_from(limit).unwrap_or(0);
    let (events, next_before) = page_of(events, size, |event| event.position);
    let moments = events.into_iter().map(MomentOfThread::from).collect();
    Ok(Json(Moments { moments, next_before, position: snapshot.position() }))
}
