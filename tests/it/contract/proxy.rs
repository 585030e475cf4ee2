//! Between a client and the simulated Twilio: writes down what they say to each other.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

pub const JSON: &str = "application/json";

/// A request, and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    /// As it was on the wire, without `?`.
    pub query: String,
    /// Whether it had a name and a password.
    pub has_credentials: bool,
    pub content_type: Option<String>,
    pub body: Bytes,
    /// Nothing where the connection was cut.
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Bytes,
}

impl Answer {
    pub fn is(&self, content_type: &str) -> bool {
        self.content_type.as_deref().is_some_and(|is| is.starts_with(content_type))
    }

    /// Nothing where it is something else.
    pub fn json(&self) -> Option<Value> {
        if self.is(JSON) { serde_json::from_slice(&self.body).ok() } else { None }
    }
}

/// Dropped, it takes no further request.
pub struct Proxy {
    pub url: String,
    seen: Arc<Mutex<Vec<Exchange>>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Between {
    http: reqwest::Client,
    target: String,
    seen: Arc<Mutex<Vec<Exchange>>>,
}

impl Proxy {
    pub async fn to(target: &str) -> Self {
        // What Twilio redirects to is the client's to follow.
        let http = callbook::outgoing::local().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let between = Between { http, target: target.to_owned(), seen: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::clone(&between.seen);
        let router = Router::new().fallback(pass).with_state(between);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, server }
    }

    pub fn seen(&self) -> Vec<Exchange> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut exchange = Exchange {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        has_credentials: text(&parts.headers, header::AUTHORIZATION)
            .is_some_and(|credentials| credentials.starts_with("Basic ")),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        body: body.clone(),
        answer: None,
    };
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let asked = between
        .http
        .request(parts.method, format!("{}{}", between.target, parts.uri))
        .headers(headers)
        .body(body);
    let passed_on = async {
        let response = asked.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        reqwest::Result::Ok((status, headers, response.bytes().await?))
    };
    let response = match passed_on.await {
        Ok((status, mut headers, body)) => {
            let content_type = text(&headers, header::CONTENT_TYPE);
            exchange.answer = Some(Answer { status: status.as_u16(), content_type, body: body.clone() });
            headers.remove(header::TRANSFER_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            (status, headers, Body::from(body)).into_response()
        }
        // As a proxy of Twilio's would say it.
        Err(_) => (StatusCode::BAD_GATEWAY, Html("Bad Gateway")).into_response(),
    };
    between.seen.lock().unwrap().push(exchange);
    response
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
