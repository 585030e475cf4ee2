//! Every route on one page, grouped by who calls it.

use std::convert::Infallible;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::webhooks::Service;
use super::{
    calls, conversations, health, problem, recordings, request_id, security, stream, sync, webhooks,
};
use crate::app::AppState;
use crate::door::DoorState;
use crate::ingest::Endpoint;

pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        // Integrators and the page.
        .route("/api/conversations", get(conversations::list))
        .route("/api/conversations/active", get(conversations::active))
        .route("/api/conversations/{id}", get(conversations::one))
        .route("/api/conversations/{id}/messages", get(conversations::messages))
        .route("/api/calls/{sid}", get(calls::one))
        .route("/api/calls/{sid}/events", get(calls::events))
        .route("/api/calls/{sid}/explain", get(calls::explain))
        .route("/api/recordings/{sid}/media", get(recordings::media))
        // Twilio, asked now.
        .route("/api/sync/today", post(sync::today))
        .route("/api/sync/recent", post(sync::recent))
        .route("/api/sync/scorecard", get(sync::scorecard))
        .route("/events/calls", get(stream::calls))
        .route("/events/stats", get(stream::stats))
        .merge(webhooks(state.door.clone()))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(security::headers))
        .layer(from_fn(request_id::trace))
        .with_state(state)
}

/// While the database has not been opened yet.
pub fn without_book(door: DoorState) -> Router {
    Router::new()
        .route("/health", get(health::without_book))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::not_ready))
        .merge(webhooks(door.clone()))
        .fallback(problem::not_open)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(security::headers))
        .layer(from_fn(request_id::trace))
        .with_state(door)
}

/// For Twilio, let in by signature alone.
fn webhooks<S: Clone + Send + Sync + 'static>(door: DoorState) -> Router<S> {
    Router::new()
        .route("/webhooks/twilio/voice-inbound", webhook(Endpoint::VoiceInbound))
        .route("/webhooks/twilio/voice-status", webhook(Endpoint::VoiceStatus))
        .route("/webhooks/twilio/recording-status", webhook(Endpoint::RecordingStatus))
        .route("/webhooks/twilio/dial-action", webhook(Endpoint::DialAction))
        .with_state(door)
}

/// Twilio can be configured to send either method.
fn webhook(endpoint: Endpoint) -> axum::routing::MethodRouter<DoorState> {
    axum::routing::post(webhooks::receive)
        .get(webhooks::receive)
        .layer::<_, Infallible>(axum::Extension(Service(endpoint)))
        .layer(DefaultBodyLimit::max(webhooks::LARGEST_BODY))
}
