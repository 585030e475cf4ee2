//! One name for a request in the caller's log and in ours. The span has the route's template and
//! never the path or the query, which hold telephone numbers and ids.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use tracing::field::Empty;

use super::problem::{self, Problem};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 64;

/// The name of the request at hand, for handlers that pass it on.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// For `Router::layer(from_fn(request_id::trace))`, as the last and so outermost layer: it reads
/// the route that the router matched, and what a panic handler logs carries the id.
///
/// `latency_ms` is the time to the answer's first byte; an event stream goes on after that.
pub async fn trace(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = given(request.headers()).unwrap_or_else(random);
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!(
        "http.request",
        request_id = id,
        method = %request.method(),
        route,
        status = Empty,
        latency_ms = Empty,
    );
    let mut response = problem::with_body(next.run(request).instrument(span.clone()).await);
    Problem::name(&mut response, &id);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    span.record("status", response.status().as_u16());
    span.record("latency_ms", started.elapsed().as_secs_f64() * 1_000.0);
    span.in_scope(|| tracing::debug!("answered"));
    response
}

/// The caller's id, if it is one that can stand in a log line as it is.
fn given(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let usable = (1..=LONGEST).contains(&id.len()) && id.bytes().all(plain);
    usable.then(|| id.to_owned())
}

fn random() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use serde_json::Value;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;
    use crate::config::LogFormat;
    use crate::http::problem::{ApiError, not_found, panicked};
    use crate::telemetry::tests::Written;

    async fn answered(id: Option<&str>, path: &str) -> Response<()> {
        let routes = Router::new()
            .route("/calls/{number}", get(async || "ok"))
            .route("/failing", get(async || ApiError::internal("the disk is full")))
            .route("/panic", get(async || -> &str { panic!("oh") }))
            .fallback(not_found)
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(trace));
        let server = crate::http::serve_for_test(routes).await;
        let client = crate::outgoing::local().build().unwrap();
        let mut request = client.get(format!("http://{server}{path}"));
        if let Some(id) = id {
            request = request.header(X_REQUEST_ID, id);
        }
        let answer = request.send().await.unwrap();
        let mut response = Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        response
    }

    #[tokio::test]
    async fn a_callers_id_is_kept_if_it_is_plain_and_replaced_if_it_is_not() {
        let longest = "x".repeat(64);
        for id in ["a", "Call_7-b", &longest] {
            assert_eq!(answered(Some(id), "/calls/1").await.headers()[X_REQUEST_ID], id);
        }
        let too_long = "x".repeat(65);
        for id in [None, Some(""), Some("a b"), Some("a\"b"), Some("ä"), Some(&*too_long)] {
            let answer = answered(id, "/calls/1").await;
            let made = answer.headers()[X_REQUEST_ID].to_str().unwrap();
            assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}: {made}");
        }
    }

    #[tokio::test]
    async fn two_requests_have_two_ids() {
        let (first, second) = (answered(None, "/calls/1").await, answered(None, "/calls/1").await);
        assert_ne!(first.headers()[X_REQUEST_ID], second.headers()[X_REQUEST_ID]);
    }

    #[tokio::test]
    async fn the_log_has_the_template_and_never_the_path_or_the_query() {
        let written = Written::default();
        let logging = written.subscribe(LogFormat::Json, "callbook=debug");
        answered(Some("r1"), "/calls/+16175006181?token=hunter2").await;
        answered(Some("r2"), "/nowhere/+16175006181").await;
        drop(logging);

        let text = written.text();
        assert!(!text.contains("6175006181") && !text.contains("hunter2"), "{text}");
        let spans: Vec<Value> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["span"].clone()).collect();
        let expected = [("r1", "/calls/{number}", 200), ("r2", "unmatched", 404)];
        assert_eq!(spans.len(), expected.len(), "{text}");
        for (span, (id, route, status)) in spans.iter().zip(expected) {
            assert_eq!(span["name"], "http.request");
            assert_eq!(span["request_id"], id);
            assert_eq!(span["method"], "GET");
            assert_eq!(span["route"], route);
            assert_eq!(span["status"], status);
            assert!(span["latency_ms"].as_f64().unwrap() >= 0.0);
        }
    }

    #[tokio::test]
    async fn a_failure_and_a_panic_are_logged_once_under_the_requests_id() {
        for (path, cause) in [("/failing", "the disk is full"), ("/panic", "a handler panicked: oh")] {
            let written = Written::default();
            let logging = written.subscribe(LogFormat::Json, "callbook=info");
            let answer = answered(Some("r3"), path).await;
            drop(logging);

            assert_eq!(answer.status(), 500);
            assert_eq!(answer.headers()[X_REQUEST_ID], "r3");
            let line: Value = serde_json::from_str(&written.text()).unwrap();
            assert_eq!(line["level"], "ERROR");
            assert_eq!(line["error"], cause);
            assert_eq!(line["span"]["request_id"], "r3");
        }
    }
}
