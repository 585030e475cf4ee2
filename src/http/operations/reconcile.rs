//! The jobs that ask Twilio, and having one done now.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::http::conversations::unreadable;
use crate::http::problem::{ApiError, Problem};
use crate::reconcile::{Job, Outcome, Reconciler, Standing};

#[derive(Debug, Serialize, ToSchema)]
pub struct Jobs {
    jobs: Vec<JobStanding>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct JobStanding {
    #[schema(example = "reconcile_hot")]
    name: &'static str,
    /// How often it is done by itself; null: only where somebody asks.
    every_seconds: Option<u64>,
    /// Whichever callbook on this database does it.
    running: bool,
    #[serde(with = "rfc3339::option")]
    running_since: Option<OffsetDateTime>,
    /// When it is done by itself the next time; null while it is being done.
    #[serde(with = "rfc3339::option")]
    next_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    last_success_at: Option<OffsetDateTime>,
    /// What came of it then.
    last_outcome: Option<Outcome>,
    /// Why it failed, unless it has succeeded since.
    last_error: Option<String>,
    #[serde(with = "rfc3339::option")]
    last_error_at: Option<OffsetDateTime>,
}

/// Where each job stands.
#[utoipa::path(get, path = "/api/reconcile", tag = "sync", responses((status = 200, body = Jobs)))]
pub async fn list(State(state): State<AppState>) -> Result<Json<Jobs>, ApiError> {
    let standings = reconciler(&state)?.standings().await.map_err(unreadable)?;
    Ok(Json(Jobs { jobs: standings.into_iter().map(JobStanding::from).collect() }))
}

/// Begins a job now, whenever it would be due.
#[utoipa::path(
    post, path = "/api/reconcile/{job}", tag = "sync",
    params(("job" = String, Path, description = "The name of a job", example = "reconcile_warm")),
    responses(
        (status = 202, description = "It has begun; Location says where it is told of", body = Jobs,
         headers(("Location" = String))),
        (status = 404, description = "There is no such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is being done, or another one that was asked for is", body = Problem,
         content_type = "application/problem+json"),
    )
)]
pub async fn start(State(state): State<AppState>, Named(job): Named) -> Result<Response, ApiError> {
    let reconciler = reconciler(&state)?;
    let epoch = *state.lease.held().borrow();
    reconciler.start(job, epoch).await?;
    let standings = reconciler.standings().await.map_err(unreadable)?;
    let jobs = Jobs { jobs: standings.into_iter().map(JobStanding::from).collect() };
    Ok((StatusCode::ACCEPTED, [(LOCATION, "/api/reconcile")], Json(jobs)).into_response())
}

/// The `{job}` of a path.
#[derive(Debug)]
pub struct Named(Job);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Bytes that are not UTF-8 name no job.
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name);
        let name = name.unwrap_or_default();
        Job::of_name(&name).map(Self).ok_or(ApiError::UnknownJob { name })
    }
}

fn reconciler(state: &AppState) -> Result<&Reconciler, ApiError> {
    state.reconciler.as_ref().ok_or(ApiError::NoTwilio)
}

impl From<Standing> for JobStanding {
    fn from(standing: Standing) -> Self {
        Self {
            name: standing.job.name(),
            every_seconds: standing.every.map(|every| every.as_secs()),
            running: standing.running_since.is_some(),
            running_since: standing.running_since,
            next_at: standing.next_at,
            last_success_at: standing.last_success_at,
            last_outcome: standing.last_outcome,
            last_error: standing.last_error,
            last_error_at: standing.last_error_at,
        }
    }
}
