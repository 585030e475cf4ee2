//! Building the read side anew, or seeing what that would change.

use std::convert::Infallible;
use std::time::Duration;

use ::projections::rebuild::RebuildError;
use async_stream::stream;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::Stream;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::conversations::unreadable;
use crate::http::json_body::JsonBody;
use crate::http::page::{Id, IdParam};
use crate::http::problem::{ApiError, Problem};
use crate::http::request_id::RequestId;
use crate::rebuilds::{self, Difference, Rebuilds};

/// Rebuilds in the list.
const LISTED: i64 = 20;
/// How often whoever watches is told where something has changed, and so many of those where nothing has.
const TICK: Duration = Duration::from_millis(250);
const TICKS_OF_SILENCE: u32 = 60;

/// What is to be done.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewRebuild {
    /// Builds and compares, and changes nothing.
    dry_run: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ListOfRebuilds {
    /// The newest first.
    rebuilds: Vec<Rebuild>,
}

/// A rebuild, or a dry run of one.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Rebuild {
    id: String,
    dry_run: bool,
    /// `running`, `succeeded`, `failed`, `cancelled`, or `lost` where the callbook that did it is gone.
    #[schema(example = "running")]
    state: String,
    /// `loading`, `indexing`, `catching up`, `comparing with live` or `changing over`.
    phase: Option<String>,
    /// While it is loading, how many events were folded; then, up to where in the log.
    position: i64,
    /// Where it is going.
    head: i64,
    /// Why it failed, or was cancelled.
    error: Option<String>,
    /// What a dry run found; null until it has succeeded.
    diff: Option<Difference>,
    /// The request that asked for it.
    requested_by: Option<String>,
    /// Somebody has asked for it to be cancelled.
    cancel_requested: bool,
    #[serde(with = "rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
}

/// The last rebuilds and dry runs that were asked for here.
#[utoipa::path(get, path = "/api/rebuilds", tag = "operations", responses((status = 200, body = ListOfRebuilds)))]
pub async fn list(State(state): State<AppState>) -> Result<Json<ListOfRebuilds>, ApiError> {
    let rebuilds = state.rebuilds.list(LISTED).await.map_err(unreadable)?;
    Ok(Json(ListOfRebuilds { rebuilds: rebuilds.into_iter().map(Rebuild::from).collect() }))
}

/// Begins a rebuild, or a dry run of one.
///
/// The next generation of the tables is built beside those that serve, compared with them row for row, and takes
/// their place. A dry run shows the difference instead.
#[utoipa::path(
    post, path = "/api/rebuilds", tag = "operations",
    request_body = NewRebuild,
    responses(
        (status = 202, description = "It has begun; Location says where it is told of", body = Rebuild,
         headers(("Location" = String))),
        (status = 409, description = "Another one is running", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn begin(
    State(state): State<AppState>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    JsonBody(wanted): JsonBody<NewRebuild>,
) -> Result<Response, ApiError> {
    let begun = state.rebuilds.begin(wanted.dry_run, Some(request_id)).await?;
    let location = format!("/api/rebuilds/{}", begun.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(Rebuild::from(begun))).into_response())
}

/// How far one has come, and what came of it.
#[utoipa::path(
    get, path = "/api/rebuilds/{id}", tag = "operations",
    params(IdParam),
    responses(
        (status = 200, body = Rebuild),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(State(state): State<AppState>, Id(id): Id) -> Result<Json<Rebuild>, ApiError> {
    Ok(Json(known(&state.rebuilds, id).await?.into()))
}

/// The same as it changes, as server-sent events: `progress`, and `ended` as the last.
#[utoipa::path(
    get, path = "/api/rebuilds/{id}/events", tag = "operations",
    params(IdParam),
    responses(
        (status = 200, description = "Each event's data is the rebuild", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn watch(State(state): State<AppState>, Id(id): Id) -> Result<Response, ApiError> {
    known(&state.rebuilds, id).await?;
    let stopping = state.broadcaster.stopping();
    let told = tell(state.rebuilds, id);
    let told = futures::StreamExt::take_until(told, stopping.cancelled_owned());
    let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Body::from_stream(told)).into_response())
}

/// Has one cancelled. The tables that serve stay as they are, and what was built is dropped; one that is changing over
/// comes to its end.
#[utoipa::path(
    post, path = "/api/rebuilds/{id}/cancel", tag = "operations",
    params(IdParam),
    responses(
        (status = 202, description = "It ends soon", body = Rebuild),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn cancel(
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<(StatusCode, Json<Rebuild>), ApiError> {
    let asked = state.rebuilds.cancel(id).await.map_err(unreadable)?;
    let rebuild = known(&state.rebuilds, id).await?;
    if !asked || rebuild.state == "lost" {
        return Err(ApiError::RebuildEnded { id, state: rebuild.state });
    }
    Ok((StatusCode::ACCEPTED, Json(rebuild.into())))
}

async fn known(rebuilds: &Rebuilds, id: i64) -> Result<rebuilds::Rebuild, ApiError> {
    rebuilds.find(id).await.map_err(unreadable)?.ok_or(ApiError::UnknownRebuild { id })
}

/// Ends with the rebuild, and where the database does not answer: whoever watches comes back.
fn tell(rebuilds: Rebuilds, id: i64) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream! {
        let (mut said, mut silence) = (None, 0);
        while let Ok(Some(rebuild)) = rebuilds.find(id).await {
            let has_ended = rebuild.has_ended();
            let now = Some(Rebuild::from(rebuild));
            if now != said {
                let name = if has_ended { "ended" } else { "progress" };
                let data = serde_json::to_string(&now).unwrap_or_default();
                yield Ok(format!("event: {name}\ndata: {data}\n\n").into());
                (said, silence) = (now, 0);
            } else if silence == TICKS_OF_SILENCE {
                // A proxy hangs up where nothing is said.
                yield Ok(Bytes::from_static(b": it goes on\n\n"));
                silence = 0;
            }
            if has_ended {
                return;
            }
            silence += 1;
            tokio::time::sleep(TICK).await;
        }
    }
}

impl From<rebuilds::Rebuild> for Rebuild {
    fn from(rebuild: rebuilds::Rebuild) -> Self {
        Self {
            id: rebuild.id.to_string(),
            dry_run: rebuild.dry_run,
            state: rebuild.state,
            phase: rebuild.phase,
            position: rebuild.position,
            head: rebuild.head,
            error: rebuild.error,
            diff: rebuild.difference.map(|difference| difference.0),
            requested_by: rebuild.requested_by,
            cancel_requested: rebuild.cancel_requested,
            started_at: rebuild.started_at,
            ended_at: rebuild.ended_at,
        }
    }
}

impl From<RebuildError> for ApiError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::AlreadyRunning => Self::RebuildRunning,
            RebuildError::Database(error) => unreadable(error),
            error => Self::internal(error),
        }
    }
}
