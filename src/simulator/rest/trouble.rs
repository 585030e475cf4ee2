//! Around every request: who asks, what is counted, and what goes wrong on purpose.

use std::io;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use futures::{StreamExt, stream};

use super::auth;
use super::error::ApiError;
use super::listener::Line;
use crate::simulator::world::{Cut, Failure, Kind, World};

const PROXY_PAGE: &str =
    "<html><head><title>503 Service Unavailable</title></head><body>Service Unavailable</body></html>";

/// What a request's handlers need to know of its fate.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageFate {
    pub repeats: bool,
    pub shifts: bool,
}

pub async fn answer(
    State(world): State<World>,
    ConnectInfo(line): ConnectInfo<Line>,
    mut request: Request,
    next: Next,
) -> Response {
    let kind = kind(request.method(), request.uri().path());
    let counted = Counted::new(&world, kind);
    let (faults, fate) = world.roll();
    if faults.wrong_credentials {
        return ApiError::unauthorized().into_response();
    }
    if let Err(error) = auth::check(&world, request.headers(), request.uri().path()) {
        return error.into_response();
    }
    if faults.suspended {
        return ApiError::suspended().into_response();
    }
    let is_crowded = faults.most_at_once.is_some_and(|most| counted.at_once > most);
    if fate.too_many_requests || is_crowded {
        world.count(|traffic| traffic.too_many_requests += 1);
        let mut response = ApiError::too_many_requests().into_response();
        if let Some(after) = faults.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        return response;
    }
    if fate.is_slow {
        tokio::time::sleep(faults.slow_by).await;
    }
    if let Some(failure) = fate.server_error {
        world.count(|traffic| traffic.server_errors += 1);
        return match failure {
            Failure::Json => ApiError::internal().into_response(),
            Failure::Html => (StatusCode::SERVICE_UNAVAILABLE, Html(PROXY_PAGE)).into_response(),
        };
    }
    if fate.cut == Some(Cut::BeforeTheAnswer) {
        return cut(&world, &line);
    }
    request.extensions_mut().insert(PageFate { repeats: fate.repeats_page, shifts: fate.shifts_page });
    let response = next.run(request).await;
    let is_create = matches!(kind, Kind::CallCreate | Kind::MessageCreate);
    if fate.is_answer_lost && is_create && response.status().is_success() {
        return cut(&world, &line);
    }
    if fate.cut == Some(Cut::WithinTheBody) {
        world.count(|traffic| traffic.cuts += 1);
        return half(response).await;
    }
    if fate.is_not_json {
        return Html(PROXY_PAGE).into_response();
    }
    response
}

fn cut(world: &World, line: &Line) -> Response {
    world.count(|traffic| traffic.cuts += 1);
    line.cut();
    StatusCode::NO_CONTENT.into_response()
}

/// Announces the whole body, sends half of it, and breaks off.
async fn half(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return ApiError::internal().into_response() };
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len().max(1)));
    let first = stream::once(async move { Ok(body.slice(..body.len() / 2)) });
    let broken = stream::once(async {
        // Or what was to come before is thrown away unsent.
        tokio::task::yield_now().await;
        Err::<Bytes, io::Error>(io::ErrorKind::ConnectionReset.into())
    });
    Response::from_parts(parts, Body::from_stream(first.chain(broken)))
}

/// A request in flight.
struct Counted<'a> {
    world: &'a World,
    /// With this one.
    at_once: usize,
}

impl<'a> Counted<'a> {
    fn new(world: &'a World, kind: Kind) -> Self {
        let at_once = world.count(|traffic| {
            *traffic.requests.entry(kind).or_default() += 1;
            traffic.in_flight += 1;
            traffic.most_at_once = traffic.most_at_once.max(traffic.in_flight);
            traffic.in_flight
        });
        Counted { world, at_once }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.world.count(|traffic| traffic.in_flight -= 1);
    }
}

fn kind(method: &Method, path: &str) -> Kind {
    // `/2010-04-01/Accounts/{AC}/…`
    let parts: Vec<&str> = path.split('/').skip(4).collect();
    let is_json = path.ends_with(".json");
    match (method.as_str(), parts.as_slice()) {
        ("POST", ["Calls.json"]) => Kind::CallCreate,
        ("POST", ["Messages.json"]) => Kind::MessageCreate,
        ("GET", ["Calls.json"]) => Kind::CallsList,
        ("GET", ["Calls", _]) => Kind::CallFetch,
        ("GET", ["Calls", _, "Recordings.json"]) => Kind::CallRecordingsList,
        ("GET", ["Recordings.json"]) => Kind::RecordingsList,
        ("GET", ["Recordings", _]) if is_json => Kind::RecordingFetch,
        ("GET", ["Recordings", _]) => Kind::Media,
        ("GET", ["Messages.json"]) => Kind::MessagesList,
        ("GET", ["Messages", _]) => Kind::MessageFetch,
        ("GET", ["IncomingPhoneNumbers.json"]) => Kind::NumbersList,
        _ => Kind::Other,
    }
}
