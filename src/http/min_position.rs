//! `min_position`: whoever has just written reads what they wrote.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use projections::runner::Progress;
use tokio::sync::watch;

use super::page::whole_number;
use super::problem::ApiError;

/// How long the read model is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
const EXPECTED: &str = "a position of the log, such as `position` of an earlier answer";

/// For `route_layer`: holds a request back until the read model has come to the position that it names.
pub async fn wait(
    State(mut progress): State<watch::Receiver<Progress>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let position = whole_number(request.uri(), "min_position", 0, 0..=i64::MAX, EXPECTED)?;
    let reached = tokio::time::timeout(PATIENCE, async {
        // Nobody is left to say so only where callbook stops.
        let _ = progress.wait_for(|progress| progress.position >= position).await;
    });
    if reached.await.is_err() {
        let reached = progress.borrow().position;
        return Err(ApiError::NotReached { position, reached });
    }
    Ok(next.run(request).await)
}
