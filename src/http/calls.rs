//! One call: its legs, its events, and why its rows are what they are.
//!
//! Any leg of a family leads to the whole family; the answers say which SID is the root.

pub mod answer;
pub mod csv;
pub mod list;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use domain::sid::CallSid;
use projections::history::PastCall;

use super::as_of::{AsOf, AsOfParam};
use super::conversations::{Past, open, page_of, unreadable};
use super::given::whole_number;
use super::problem::{ApiError, Problem};
use super::sid::{OfCall, Sid};
use crate::app::AppState;
use crate::explain;
use answer::{Call, CallEvent, CallEvents, ExplainedStep, Explanation};

/// Events a page, where the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
const LARGEST_LIMIT: i64 = 200;

/// A call with all legs of its family, its thread and its entry there. With `as_of`, as it was known then.
#[utoipa::path(
    get, path = "/api/calls/{sid}", tag = "calls",
    params(OfCall, AsOfParam),
    responses(
        (status = 200, body = Call),
        (status = 404, description = "Nothing is recorded of it, or nothing was by then", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(state): State<AppState>,
    Sid(sid): Sid<CallSid>,
    uri: Uri,
) -> Result<Json<Call>, ApiError> {
    let as_of = AsOf::from_uri(&uri)?;
    let mut snapshot = open(&state).await?;
    let family = snapshot.call(sid.as_str()).await.map_err(unreadable)?.ok_or_else(|| unknown(&sid))?;
    let Some(as_of) = as_of else {
        return Ok(Json(Call::new(&sid, family, None, snapshot.position())));
    };
    let moment = as_of.find(&mut snapshot).await?;
    let past = snapshot.call_as_of(&state.ids, sid.as_str(), moment.position).await.map_err(unreadable)?;
    let PastCall { family, unreadable } = past.ok_or_else(|| ApiError::NotYetRecorded {
        sid: sid.as_str().to_owned(),
        position: moment.position,
    })?;
    let past = Past::new(moment, &unreadable);
    Ok(Json(Call::new(&sid, family, Some(past), moment.position)))
}

/// The events of a call's family, in the order of the log.
#[utoipa::path(
    get, path = "/api/calls/{sid}/events", tag = "calls",
    params(
        OfCall,
        ("after" = Option<i64>, Query, minimum = 0, description = "The position after which they begin"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Events a page; 100 where it is left out"),
    ),
    responses(
        (status = 200, body = CallEvents),
        (status = 404, description = "Nothing is recorded of it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(state): State<AppState>,
    Sid(sid): Sid<CallSid>,
    uri: Uri,
) -> Result<Json<CallEvents>, ApiError> {
    let (after, limit) = window(&uri)?;
    let mut snapshot = open(&state).await?;
    let events = snapshot.events(sid.as_str(), after, limit + 1).await.map_err(unreadable)?;
    if events.is_empty() && (after == 0 || snapshot.call(sid.as_str()).await.map_err(unreadable)?.is_none()) {
        return Err(unknown(&sid));
    }
    let size = usize::try_from(limit).unwrap_or(0);
    let (events, next_after) = page_of(events, size, |event| event.stored.position);
    Ok(Json(CallEvents {
        sid: sid.to_string(),
        next_after,
        events: events.iter().map(CallEvent::from).collect(),
        position: snapshot.position(),
    }))
}

/// Each request about a call's family in the order received, what came of it, and what each event changed in the
/// rows.
#[utoipa::path(
    get, path = "/api/calls/{sid}/explain", tag = "calls",
    params(OfCall),
    responses(
        (status = 200, body = Explanation),
        (status = 404, description = "Nothing is recorded of it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn explain(
    State(state): State<AppState>,
    Sid(sid): Sid<CallSid>,
) -> Result<Json<Explanation>, ApiError> {
    let explained = explain::explain(&state.pool, &state.ids, &sid).await.map_err(unreadable)?;
    let explain::Explanation { root, calls, steps, position, .. } = explained.ok_or_else(|| unknown(&sid))?;
    let steps = steps.iter().map(ExplainedStep::from).collect();
    Ok(Json(Explanation { sid: sid.to_string(), root_sid: root, calls, steps, position }))
}

fn unknown(sid: &CallSid) -> ApiError {
    ApiError::UnknownCall { sid: sid.as_str().to_owned() }
}

fn window(uri: &Uri) -> Result<(i64, i64), ApiError> {
    let expected = "a position of the log, such as `next_after` of an earlier answer";
    let after = whole_number(uri, "after", 0, 0..=i64::MAX, expected)?;
    let limit = whole_number(uri, "limit", DEFAULT_LIMIT, 1..=LARGEST_LIMIT, "a whole number from 1 to 200")?;
    Ok((after, limit))
}
