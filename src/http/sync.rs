//! Asking Twilio now for what webhooks missed (seed 000, "Sync"), and how much of that there was.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use projections::scorecard::{self, Scorecard};
use serde::Serialize;
use utoipa::ToSchema;

use super::conversations::{open, unreadable};
use super::given::whole_number;
use super::problem::{ApiError, Problem};
use crate::app::AppState;
use crate::reconcile::{Job, Outcome, ReconcileError, SyncError};

/// Days that the scorecard tells of, where the caller does not say, and at most.
const DEFAULT_DAYS: i64 = 7;
const MOST_DAYS: i64 = 31;

/// What came of asking, in calls.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Synced {
    /// Always true: what failed is a refusal.
    success: bool,
    #[schema(example = "Synced 12 new calls from last 3 days")]
    message: String,
    /// Calls that nobody had told of, and that are shown.
    synced: u64,
    /// Calls that are recorded and hidden, or that could not be read.
    skipped: u64,
    /// Calls that Twilio told of.
    total: u64,
    skipped_reasons: BTreeMap<String, u64>,
    /// Calls that were known, and of which something was not.
    updated: u64,
    /// Recordings that nobody had told of so.
    recordings: u64,
    /// Calls that Twilio does not know, although it was they who told of them.
    missing: u64,
    position: i64,
}

/// Asks for the calls of the last 3 days, the newest 500.
#[utoipa::path(
    post, path = "/api/sync/today", tag = "sync",
    responses(
        (status = 200, body = Synced),
        (status = 409, description = "Another sync is running", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Twilio did not answer as asked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn today(State(state): State<AppState>) -> Result<Json<Synced>, ApiError> {
    sync(&state, Job::Today, "3 days").await
}

/// Asks for the calls of the last hour, the newest 50.
#[utoipa::path(
    post, path = "/api/sync/recent", tag = "sync",
    responses(
        (status = 200, body = Synced),
        (status = 409, description = "Another sync is running", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Twilio did not answer as asked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn recent(State(state): State<AppState>) -> Result<Json<Synced>, ApiError> {
    sync(&state, Job::Recent, "hour").await
}

/// Which facts webhooks told of first, and which had to be asked for.
#[utoipa::path(
    get, path = "/api/sync/scorecard", tag = "sync",
    params(("days" = Option<i64>, Query, minimum = 1, maximum = 31, description = "Days up to today; 7 where it is left out")),
    responses((status = 200, body = Scorecard))
)]
pub async fn scorecard(State(state): State<AppState>, uri: Uri) -> Result<Json<Scorecard>, ApiError> {
    let days =
        whole_number(&uri, "days", DEFAULT_DAYS, 1..=MOST_DAYS, "a whole number of days from 1 to 31")?;
    let mut snapshot = open(&state).await?;
    let now = time::OffsetDateTime::now_utc();
    scorecard::scorecard(&mut snapshot, days, now).await.map(Json).map_err(unreadable)
}

async fn sync(state: &AppState, job: Job, span: &str) -> Result<Json<Synced>, ApiError> {
    let reconciler = state.reconciler.clone().ok_or(ApiError::NoTwilio)?;
    // A caller who goes away ends nothing: what was begun is done.
    let done = tokio::spawn(async move { reconciler.sync(job, None, |_| {}).await });
    let outcome = done.await.map_err(ApiError::internal)??;
    let Outcome { total, synced, updated, skipped, skipped_reasons, recordings, missing, .. } = outcome;
    Ok(Json(Synced {
        success: true,
        message: format!("Synced {synced} new calls from last {span}"),
        synced,
        skipped,
        total,
        skipped_reasons,
        updated,
        recordings,
        missing,
        position: state.progress.borrow().position,
    }))
}

impl From<SyncError> for ApiError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Running(running) => Self::SyncRunning { running },
            SyncError::Failed(ReconcileError::Twilio(source)) => Self::Twilio { source: source.into() },
            SyncError::Failed(error @ ReconcileError::PagesRepeat { .. }) => {
                Self::TwilioList { reason: error.to_string() }
            }
            SyncError::Failed(
                error @ (ReconcileError::NotDecided { .. } | ReconcileError::Behind { .. }),
            ) => Self::StandsStill { reason: error.to_string() },
            SyncError::Failed(error) => Self::Unavailable { what: "the database", source: error.into() },
        }
    }
}
