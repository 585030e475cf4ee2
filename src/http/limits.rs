//! What a request to the API may take: how often somebody may ask, and how long the answer may take. Twilio's webhooks
//! are limited by their signature, and by nothing here.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::problem::ApiError;
use crate::access::{Caller, Identity};
use crate::config;

/// How long a read may take until its answer begins. Statements are given less ([`projections::begin::READING`]), so
/// this is for a database that hangs.
pub const READ_PATIENCE: Duration = Duration::from_secs(12);
/// It may have to be fetched from Twilio first, which has a patience of its own.
const UNHURRIED: &str = "/api/recordings/{sid}/media";
/// Callers that are remembered before those are forgotten that have not asked for long.
const REMEMBERED: usize = 10_000;
/// Sign-ins from one address, at once and then one each so often: of all of an office, where a proxy is in front.
const SIGN_INS: NonZeroU32 = NonZeroU32::new(30).unwrap();
const BETWEEN_SIGN_INS: Duration = Duration::from_secs(10);

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CountedAs {
    Caller(Identity),
    /// Nobody in particular.
    Address(IpAddr),
}

/// Counts callers. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Limits {
    requests: Option<Arc<DefaultKeyedRateLimiter<CountedAs>>>,
    sign_ins: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    origins: Arc<[HeaderValue]>,
}

impl Limits {
    pub fn new(limits: &config::Limits) -> Self {
        let requests = limits
            .per_second
            .map(|rate| Arc::new(RateLimiter::keyed(Quota::per_second(rate).allow_burst(limits.burst))));
        // `with_period` has no quota only for a period of nothing.
        let sign_ins = Quota::with_period(BETWEEN_SIGN_INS)
            .unwrap_or(Quota::per_minute(NonZeroU32::MIN))
            .allow_burst(SIGN_INS);
        Self {
            requests,
            sign_ins: Arc::new(RateLimiter::keyed(sign_ins)),
            origins: limits.cors_allowed_origins.clone().into(),
        }
    }

    /// Counts a sign-in from the address of [`peer`]; an error where there were too many.
    pub fn sign_in(&self, peer: IpAddr) -> Result<(), ApiError> {
        count(&self.sign_ins, &peer)
    }

    /// Which pages of other origins may ask, with a token of their own: none, unless configured.
    pub fn cors(&self) -> Option<CorsLayer> {
        let exposed: [HeaderName; 4] = [ETAG, LOCATION, RETRY_AFTER, HeaderName::from_static("x-request-id")];
        let sent: [HeaderName; 7] = [
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_MATCH,
            IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("x-request-id"),
        ];
        (!self.origins.is_empty()).then(|| {
            CorsLayer::new()
                .allow_origin(AllowOrigin::list(self.origins.iter().cloned()))
                .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
                .allow_headers(sent)
                .expose_headers(exposed)
                .max_age(Duration::from_secs(3_600))
        })
    }
}

/// For `layer(from_fn_with_state(limits, limits::often))`, inside what says who the caller is. Without a token, callers
/// are counted by address, but for those of this machine: in simulation everybody is one.
pub async fn often(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let counted = match request.extensions().get::<Caller>().map(|caller| caller.identity) {
        Some(known @ (Identity::Token(_) | Identity::Environment)) => Some(CountedAs::Caller(known)),
        Some(Identity::Anybody) | None => {
            peer(&request).filter(|peer| !peer.is_loopback()).map(CountedAs::Address)
        }
    };
    match (&limits.requests, counted) {
        (Some(limiter), Some(counted)) => match count(limiter, &counted) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        },
        _ => next.run(request).await,
    }
}

/// For `layer(from_fn_with_state(READ_PATIENCE, limits::in_time))`: a read is answered or told to come back, whatever
/// the database does. Of an answer that is streamed only the beginning is waited for.
pub async fn in_time(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if !is_read || route == Some(UNHURRIED) {
        return next.run(request).await;
    }
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TooSlow { seconds: patience.as_secs() }.into_response(),
    }
}

/// Who is at the other end of the connection: a proxy, where there is one.
pub fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

fn count<K: std::hash::Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
) -> Result<(), ApiError> {
    if limiter.len() > REMEMBERED {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|refused| {
        let wait = refused.wait_time_from(DefaultClock::default().now());
        ApiError::TooOften { seconds: wait.as_secs() + 1 }
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::{get, post};
    use serde_json::Value;

    use super::*;
    use crate::access::Role;

    fn limits(per_second: u32, burst: u32) -> Limits {
        Limits::new(&config::Limits {
            per_second: NonZeroU32::new(per_second),
            burst: NonZeroU32::new(burst).unwrap(),
            cors_allowed_origins: vec![HeaderValue::from_static("https://desk.example.com")],
        })
    }

    /// Who asks, as what lets callers in would say it.
    async fn name(mut request: Request, next: Next) -> Response {
        if let Some(token) = request.headers().get("token").and_then(|token| token.to_str().ok()) {
            let identity = Identity::Token(token.parse().unwrap());
            request.extensions_mut().insert(Caller::let_in(identity, "test".into(), Role::Viewer));
        }
        next.run(request).await
    }

    #[tokio::test]
    async fn whoever_asks_too_often_is_told_when_to_come_back_and_nobody_else_is() {
        let routes = Router::new()
            .route("/", get(async || "ok"))
            .layer(from_fn_with_state(limits(1, 3), often))
            .layer(from_fn(name));
        let url = format!("http://{}/", crate::http::serve_for_test(routes).await);
        let client = crate::outgoing::local().build().unwrap();
        let ask = async |token: &str| client.get(&url).header("token", token).send().await.unwrap();
        for _ in 0..3 {
            assert_eq!(ask("1").await.status(), 200);
        }
        let refused = ask("1").await;
        assert_eq!(refused.status(), 429);
        let seconds: u64 = refused.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=2).contains(&seconds), "{seconds}");
        assert_eq!(refused.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too-often");
        assert_eq!(ask("2").await.status(), 200);
        // Of this machine and without a token.
        for _ in 0..5 {
            assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
        }
    }

    #[test]
    fn sign_ins_from_one_address_are_few() {
        let limits = limits(0, 1);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..SIGN_INS.get() {
            limits.sign_in(one).unwrap();
        }
        assert!(matches!(limits.sign_in(one), Err(ApiError::TooOften { .. })));
        limits.sign_in(other).unwrap();
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_put_off_and_a_write_is_not() {
        use tower::ServiceExt;
        let hangs = get(async || std::future::pending::<&str>().await);
        // Longer than no time at all.
        let lasts = post(async || {
            tokio::task::yield_now().await;
            "done"
        });
        let routes = Router::new()
            .route("/read", hangs)
            .route("/write", lasts)
            .layer(from_fn_with_state(Duration::ZERO, in_time));
        let ask = |method: Method, path: &str| {
            routes.clone().oneshot(Request::builder().method(method).uri(path).body(Body::empty()).unwrap())
        };
        let put_off = ask(Method::GET, "/read").await.unwrap();
        assert_eq!(put_off.status(), 503);
        assert!(put_off.headers().contains_key(RETRY_AFTER));
        assert_eq!(ask(Method::POST, "/write").await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn pages_of_another_origin_may_ask_only_where_it_is_configured() {
        assert!(Limits { origins: [].into(), ..limits(1, 1) }.cors().is_none());
        let routes = Router::new().route("/", get(async || "ok")).layer(limits(1, 1).cors().unwrap());
        let url = format!("http://{}/", crate::http::serve_for_test(routes).await);
        let client = crate::outgoing::local().build().unwrap();
        for (origin, allowed) in
            [("https://desk.example.com", true), ("https://elsewhere.example.com", false)]
        {
            let answer = client.get(&url).header("origin", origin).send().await.unwrap();
            let allows = answer.headers().get("access-control-allow-origin");
            assert_eq!(allows.map(|origin| origin.to_str().unwrap()), allowed.then_some(origin));
            assert!(!answer.headers().contains_key("access-control-allow-credentials"));
        }
    }
}
