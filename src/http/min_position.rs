//! `min_position`: whoever has just written reads what they wrote.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use projections::log;
use projections::runner::Progress;
use sqlx::PgPool;
use tokio::sync::watch;

use super::conversations::unreadable;
use super::given::whole_number;
use super::problem::ApiError;

/// How long the read model is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
const EXPECTED: &str = "a position that the log has come to, such as `position` of an earlier answer";

/// For `route_layer`: holds a request back until the read model has come to the position that it names.
pub async fn wait(
    State((pool, mut progress)): State<(PgPool, watch::Receiver<Progress>)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let position = whole_number(request.uri(), "min_position", 0, 0..=i64::MAX, EXPECTED)?;
    if progress.borrow().position >= position {
        return Ok(next.run(request).await);
    }
    // What nobody has written yet is not worth waiting for.
    let head = async { log::last_position(&mut *pool.acquire().await?).await };
    if position > head.await.map_err(unreadable)? {
        let value = position.to_string();
        return Err(ApiError::BadParameter { name: "min_position", value, expected: EXPECTED });
    }
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
