//! Whether callbook works, in one line for a load balancer and a few for a person.

use axum::Json;
use axum::extract::State;
use projections::lag;
use serde_json::{Value, json};

use super::conversations::iso;
use super::problem::ApiError;
use crate::app::AppState;
use crate::lease::Lease;

/// `status` is "healthy" (seed 000), or "degraded" where the projection stands still.
pub async fn health(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let unavailable =
        |source: sqlx::Error| ApiError::Unavailable { what: "the database", source: source.into() };
    let oldest: Option<f64> = sqlx::query_scalar(
        "select extract(epoch from clock_timestamp() - min(received_at))::float8
           from twilio_webhook_inbox where processing_status = 'pending'",
    )
    .fetch_one(&state.pool)
    .await
    .map_err(unavailable)?;
    let lag = lag::lag(&state.pool).await.map_err(unavailable)?;
    let lease = Lease::status(&state.pool).await.map_err(unavailable)?;
    let progress = state.progress.borrow().clone();
    Ok(Json(json!({
        "status": if progress.stopped.is_none() { "healthy" } else { "degraded" },
        "simulated": state.simulated,
        "account_sid": state.account_sid,
        "version": env!("CARGO_PKG_VERSION"),
        // Seconds that the oldest undecided webhook has waited; null when none waits.
        "inbox": { "oldest_waiting_seconds": oldest },
        // Which of the callbooks on this database decides and folds.
        "worker": lease,
        "projection": {
            "position": progress.position,
            "head": lag.head,
            "behind": lag.events(),
            // How long the oldest event that is not reflected has waited.
            "behind_seconds": lag.seconds,
            "oldest_unprojected_at": lag.oldest_unprojected_at.map(iso),
            "stopped": progress.stopped.map(|reason| reason.to_string()),
        },
    })))
}
