//! What came in, what came of it, and having tried again what was given up.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Extension, Json};
use utoipa::IntoParams;

use crate::app::AppState;
use crate::http::conversations::unreadable;
use crate::http::given::Given;
use crate::http::json_body::JsonBody;
use crate::http::page::{Cursor, Id, IdParam};
use crate::http::problem::{ApiError, Problem};
use crate::http::request_id::RequestId;
use crate::ingest::inbox::desk::{self, Filter, Retried, Status};
use answer::{InboxItem, InboxPage, InboxRow, Retry, RetryOutcome};

pub mod answer;

const DEFAULT_LIMIT: i64 = 50;
const STATUSES: &str = "`pending`, `processing`, `completed`, `failed` or `dead_letter`";

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `filter` and `list` read")]
pub struct InboxParams {
    /// `pending`, `processing`, `completed`, `failed` or `dead_letter`.
    status: Option<String>,
    /// `twilio_voice`, `twilio_recording`, or the job that asked.
    source: Option<String>,
    /// Such as `call-status`.
    r#type: Option<String>,
    call_sid: Option<String>,
    /// Received then or later (RFC 3339).
    #[param(format = DateTime)]
    from: Option<String>,
    /// Received before then.
    #[param(format = DateTime)]
    to: Option<String>,
    /// `next_cursor` of an earlier answer.
    cursor: Option<String>,
    /// Rows a page.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// What came in, the newest first.
#[utoipa::path(
    get, path = "/api/inbox", tag = "operations", params(InboxParams),
    responses((status = 200, body = InboxPage))
)]
pub async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<InboxPage>, ApiError> {
    let given = Given::read(&uri)?;
    let filter = filter(&given)?;
    let limit = given.number("limit", 1..=200, "a whole number from 1 to 200")?.unwrap_or(DEFAULT_LIMIT);
    let cursor = given.text("cursor")?.map(Cursor::decode).transpose()?;
    let before = cursor.map(|cursor| cursor.id);
    let items = desk::list(&state.pool, &filter, before, limit + 1).await.map_err(unreadable)?;
    Ok(Json(InboxPage::new(items, limit)))
}

/// One row, with what was said.
#[utoipa::path(
    get, path = "/api/inbox/{id}", tag = "operations",
    params(IdParam),
    responses(
        (status = 200, body = InboxRow),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(State(state): State<AppState>, Id(id): Id) -> Result<Json<InboxRow>, ApiError> {
    let row = desk::find(&state.pool, id).await.map_err(unreadable)?;
    Ok(Json(row.ok_or(ApiError::UnknownInboxRow { id })?.into()))
}

/// Has one row tried again that has failed or was given up.
#[utoipa::path(
    post, path = "/api/inbox/{id}/retry", tag = "operations",
    params(IdParam),
    responses(
        (status = 202, description = "It waits again", body = InboxItem),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was not given up", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn retry(
    State(state): State<AppState>,
    Id(id): Id,
    Extension(RequestId(request_id)): Extension<RequestId>,
) -> Result<(StatusCode, Json<InboxItem>), ApiError> {
    match desk::retry(&state.pool, id, &request_id).await.map_err(unreadable)? {
        Retried::Waits => state.wakeup.stored(),
        Retried::Not(status) => return Err(ApiError::NotRetriable { id, status }),
        Retried::Unknown => return Err(ApiError::UnknownInboxRow { id }),
    }
    let row = desk::find(&state.pool, id).await.map_err(unreadable)?;
    let row = row.ok_or(ApiError::UnknownInboxRow { id })?;
    Ok((StatusCode::ACCEPTED, Json(row.item.into())))
}

/// Has all rows tried again that a filter names, if they are as many as expected.
///
/// With `dry_run` it only counts them, and that is what to expect.
#[utoipa::path(
    post, path = "/api/inbox/retry", tag = "operations", request_body = Retry,
    responses(
        (status = 200, body = RetryOutcome),
        (status = 409, description = "They are not as many as expected", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn retry_all(
    State(state): State<AppState>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    JsonBody(wanted): JsonBody<Retry>,
) -> Result<Json<RetryOutcome>, ApiError> {
    let filter = wanted.filter()?;
    let Some(expected) = wanted.expected()? else {
        let matching = desk::count_retriable(&state.pool, &filter).await.map_err(unreadable)?;
        return Ok(Json(RetryOutcome { matching, retried: 0 }));
    };
    let matching = desk::retry_all(&state.pool, &filter, expected, &request_id).await.map_err(unreadable)?;
    if matching != expected {
        return Err(ApiError::CountChanged { matching, expected });
    }
    state.wakeup.stored();
    Ok(Json(RetryOutcome { matching, retried: matching }))
}

fn filter(given: &Given) -> Result<Filter, ApiError> {
    let text = |name| Ok::<_, ApiError>(given.text(name)?.map(str::to_owned));
    Ok(Filter {
        status: given.one("status", STATUSES, Status::of)?,
        source: text("source")?,
        event_type: text("type")?,
        call_sid: text("call_sid")?,
        from: given.time("from")?,
        before: given.time("to")?,
    })
}
