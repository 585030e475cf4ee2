//! Every route on one page, grouped by who may call it.
//!
//! A handler says with `#[utoipa::path]` what it takes and answers; its group says who may call it, and with that
//! what else everybody in the group may be answered ([`openapi`]).

use std::convert::Infallible;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::limits::Limits;
use super::webhooks::Service;
use super::{
    access, calls, contacts, conversations, health, json_body, limits, metrics, min_position, openapi,
    operations, problem, recordings, request_id, security, session, states, stats, stream, sync, tokens,
    webhooks,
};
use crate::access::Role;
use crate::app::AppState;
use crate::door::DoorState;
use crate::ingest::Endpoint;
use crate::metrics::Metrics;
use crate::ui;

type Routes = OpenApiRouter<AppState>;

/// For load balancers, whoever restarts processes, and whoever has yet to say who they are.
fn for_anybody() -> Routes {
    Routes::new()
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::document))
        .routes(routes!(session::who, session::sign_in, session::sign_out))
}

/// Whoever may read.
fn for_viewers() -> Routes {
    Routes::new()
        .routes(routes!(conversations::list))
        .routes(routes!(conversations::active))
        .routes(routes!(conversations::one))
        .routes(routes!(conversations::messages))
        .routes(routes!(conversations::moments::list))
        .routes(routes!(states::one))
        .routes(routes!(contacts::one))
        .routes(routes!(calls::list::list))
        .routes(routes!(calls::one))
        .routes(routes!(calls::events))
        .routes(routes!(calls::explain))
        .routes(routes!(stats::stats))
        .routes(routes!(recordings::media))
        .routes(routes!(stream::calls))
        .routes(routes!(stream::stats))
        .routes(routes!(sync::scorecard))
        .routes(routes!(metrics::tell))
}

/// Whoever works with what is there.
fn for_dispatchers() -> Routes {
    Routes::new()
        .routes(routes!(states::change))
        .routes(routes!(contacts::add))
        .routes(routes!(contacts::change))
        .routes(routes!(sync::today))
        .routes(routes!(sync::recent))
}

/// Whoever runs callbook.
fn for_engineers() -> Routes {
    Routes::new()
        .routes(routes!(operations::projections::list))
        .routes(routes!(operations::rebuilds::list, operations::rebuilds::begin))
        .routes(routes!(operations::rebuilds::one))
        .routes(routes!(operations::rebuilds::watch))
        .routes(routes!(operations::rebuilds::cancel))
        .routes(routes!(operations::quarantine::list))
        .routes(routes!(operations::quarantine::retry_all))
        .routes(routes!(operations::quarantine::retry))
        .routes(routes!(operations::inbox::list))
        .routes(routes!(operations::inbox::retry_all))
        .routes(routes!(operations::inbox::one))
        .routes(routes!(operations::inbox::retry))
        .routes(routes!(operations::reconcile::list))
        .routes(routes!(operations::reconcile::start))
        .routes(routes!(operations::events::list))
}

/// Whoever says who else may.
fn for_admins() -> Routes {
    Routes::new().routes(routes!(tokens::list, tokens::create)).routes(routes!(tokens::revoke))
}

/// Who may call what.
fn by_role() -> [(Role, Routes); 4] {
    [
        (Role::Viewer, for_viewers()),
        (Role::Dispatcher, for_dispatchers()),
        (Role::Engineer, for_engineers()),
        (Role::Admin, for_admins()),
    ]
}

/// What all routes say of themselves.
pub fn document() -> OpenApi {
    let restricted =
        by_role().into_iter().map(|(role, routes)| openapi::restricted(routes.into_openapi(), role));
    let restricted = restricted.map(openapi::with_min_position);
    let whole = restricted.fold(for_anybody().into_openapi(), OpenApi::merge_from);
    openapi::head().merge_from(openapi::with_common_answers(whole))
}

pub fn router(state: AppState) -> Router {
    let limits = &state.door.limits;
    let restricted = by_role().into_iter().map(|(role, routes)| {
        let admitted = from_fn_with_state((state.access.clone(), role), access::require);
        // Inside: how often somebody asks is counted when it is known who it is.
        let often = from_fn_with_state(limits.clone(), limits::often);
        let up_to_date = from_fn_with_state((state.pool.clone(), state.progress.clone()), min_position::wait);
        Router::from(routes.route_layer(up_to_date).route_layer(often).route_layer(admitted))
    });
    let routes = restricted.fold(Router::from(for_anybody()), Router::merge);
    let routes = routes
        .route("/api/docs", get(openapi::viewer))
        .route("/api/docs/", get(openapi::viewer_file))
        .route("/api/docs/{*file}", get(openapi::viewer_file));
    let routes = limited(routes.merge(page()), limits).merge(webhooks(state.door.clone()));
    let measured = state.door.metrics.clone();
    everywhere(routes.fallback(ui::nowhere), measured).with_state(state)
}

/// For browsers. The page asks the API for all that it shows, so anybody may have it.
fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(ui::document))
        .route("/inbox", get(ui::document))
        .route("/inbox/{id}", get(ui::document))
        .route("/calls", get(ui::document))
        .route("/calls/{sid}", get(ui::document))
        .route("/stats", get(ui::document))
        .route("/ops", get(ui::document))
        .route("/ops/{part}", get(ui::document))
        .route("/sign-in", get(ui::document))
        .route("/ui/{version}/{*file}", get(ui::file))
        .layer(CompressionLayer::new())
}

/// What holds for every request to the API, and for no webhook.
fn limited(routes: Router<AppState>, limits: &Limits) -> Router<AppState> {
    let routes = routes
        // Within the layers: what a browser asks before it asks comes by a method that no route takes.
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(json_body::LARGEST))
        .layer(from_fn_with_state(limits::READ_PATIENCE, limits::in_time));
    match limits.cors() {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

/// While the database has not been opened yet.
pub fn without_book(door: DoorState) -> Router {
    let routes = OpenApiRouter::new()
        .routes(routes!(health::without_book))
        .routes(routes!(health::live))
        .routes(routes!(health::not_ready));
    // Whoever has the page open is told by it that callbook is not ready, and sees it begin.
    let routes = Router::from(routes).merge(page()).merge(webhooks(door.clone()));
    let measured = door.metrics.clone();
    everywhere(routes.fallback(problem::not_open), measured).with_state(door)
}

/// What holds for every answer.
fn everywhere<S: Clone + Send + Sync + 'static>(routes: Router<S>, measured: Metrics) -> Router<S> {
    routes
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(security::headers))
        .layer(from_fn_with_state(measured, metrics::measure))
        .layer(from_fn(request_id::trace))
}

/// For Twilio, let in by signature alone. What they take and answer is Twilio's contract, not a part of our API.
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
