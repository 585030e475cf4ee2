//! Whether callbook works, in one line for a load balancer and a few for a person.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::problem::ApiError;
use crate::app::AppState;

/// `status` is "healthy" (seed 000), or "degraded" where the projection stands still.
pub async fn health(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let (head, oldest): (i64, Option<f64>) = sqlx::query_as(
        "select (select coalesce(max(id), 0) from call_events),
                (select extract(epoch from clock_timestamp() - min(received_at))::float8
                   from twilio_webhook_inbox where processing_status = 'pending')",
    )
    .fetch_one(&state.pool)
    .await
    .map_err(|source| ApiError::Unavailable { what: "the database", source: source.into() })?;
    let progress = state.progress.borrow().clone();
    Ok(Json(json!({
        "status": if progress.stopped.is_none() { "healthy" } else { "degraded" },
        "simulated": state.simulated,
        "account_sid": state.account_sid,
        "version": env!("CARGO_PKG_VERSION"),
        // Seconds that the oldest undecided webhook has waited; null when none waits.
        "inbox": { "oldest_waiting_seconds": oldest },
        "projection": {
            "position": progress.position,
            "behind": (head - progress.position).max(0),
            "stopped": progress.stopped.map(|reason| reason.to_string()),
        },
    })))
}
