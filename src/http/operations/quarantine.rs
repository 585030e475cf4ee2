//! Calls that are not folded any further, because an event of theirs cannot be.

use ::projections::conversations::Fold;
use ::projections::projector::ProjectError;
use ::projections::quarantine::{self, Quarantined, Retried};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::conversations::{open, unreadable};
use crate::http::problem::{ApiError, Problem};

#[derive(Debug, Serialize, ToSchema)]
pub struct Quarantine {
    /// In the order of the log.
    calls: Vec<QuarantinedCall>,
    position: i64,
}

/// A call that was set aside with its family, or what people entered about a party.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuarantinedCall {
    /// `call`, `contact` or `conversation`.
    aggregate_type: String,
    /// Of a party, its natural key.
    call_sid: String,
    root_sid: String,
    /// The thread that is stale meanwhile.
    conversation_id: Option<String>,
    /// The event that could not be folded.
    event_position: i64,
    reason: String,
    #[serde(with = "rfc3339")]
    quarantined_at: OffsetDateTime,
}

/// What became of folding them again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Release {
    /// Calls that are folded again.
    released: Vec<String>,
    /// Those that still cannot be.
    kept: Vec<KeptCall>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KeptCall {
    call_sid: String,
    reason: String,
}

/// The calls that stand still, and why.
#[utoipa::path(get, path = "/api/quarantine", tag = "operations", responses((status = 200, body = Quarantine)))]
pub async fn list(State(state): State<AppState>) -> Result<Json<Quarantine>, ApiError> {
    let mut snapshot = open(&state).await?;
    let calls = quarantine::list(snapshot.connection()).await.map_err(unreadable)?;
    let calls = calls.into_iter().map(QuarantinedCall::from).collect();
    Ok(Json(Quarantine { calls, position: snapshot.position() }))
}

/// Folds all of them again from their whole history.
#[utoipa::path(
    post, path = "/api/quarantine/retry", tag = "operations",
    responses(
        (status = 200, body = Release),
        (status = 409, description = "The tables are of another fold", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn retry_all(State(state): State<AppState>) -> Result<Json<Release>, ApiError> {
    release(state, None).await
}

/// Folds the family of one call again, or what was entered about one party.
#[utoipa::path(
    post, path = "/api/quarantine/{key}/retry", tag = "operations",
    params(("key" = String, Path, description = "The Call SID of any leg, or the natural key of a party, as in `%2B15085140320`")),
    responses(
        (status = 200, body = Release),
        (status = 404, description = "It is not quarantined", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The tables are of another fold", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn retry(
    State(state): State<AppState>,
    Path(key): Path<String>,
) -> Result<Json<Release>, ApiError> {
    let release = release(state, Some(key.clone())).await?;
    if release.released.is_empty() && release.kept.is_empty() {
        return Err(ApiError::NotQuarantined { key });
    }
    Ok(release)
}

async fn release(state: AppState, key: Option<String>) -> Result<Json<Release>, ApiError> {
    // A caller who goes away leaves no family half-way.
    let retried =
        tokio::spawn(
            async move { quarantine::retry(&state.pool, &Fold::from(&state.ids), key.as_deref()).await },
        );
    let Retried { released, kept } = retried.await.map_err(ApiError::internal)??;
    let kept = kept.into_iter().map(|(call_sid, reason)| KeptCall { call_sid, reason }).collect();
    Ok(Json(Release { released, kept }))
}

impl From<Quarantined> for QuarantinedCall {
    fn from(call: Quarantined) -> Self {
        Self {
            aggregate_type: call.aggregate_type,
            call_sid: call.call_sid,
            root_sid: call.root_call_sid,
            conversation_id: call.conversation_id.map(|id| id.to_string()),
            event_position: call.position,
            reason: call.reason,
            quarantined_at: call.quarantined_at,
        }
    }
}

impl From<ProjectError> for ApiError {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::OtherFold { .. } => Self::OtherFold { reason: error.to_string() },
            ProjectError::Database(error) => unreadable(error),
            error => Self::internal(error),
        }
    }
}
