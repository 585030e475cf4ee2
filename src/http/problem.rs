//! Every refusal in one form, `application/problem+json` (RFC 9457), and every status in one match.
//! What went wrong inside stays inside: a source is logged here, once, and has no way into a body.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use projections::chain;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Role;
use crate::reconcile::Running;
use crate::twilio::client::ClientError;

/// What a refusal is.
pub const PROBLEM: &str = "application/problem+json";

type Source = Box<dyn Error + Send + Sync>;

/// Why a request is not answered as asked. Whatever a variant shows is fit for the caller's eyes,
/// but for `source`, which is for the log.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("there is no conversation {id}")]
    UnknownConversation { id: i64 },
    #[error("there is no contact {id}")]
    UnknownContact { id: i64 },
    #[error(
        "somebody has changed it: it is at version {version}, which `If-Match` does not name; read it again and decide"
    )]
    Changed { version: i64 },
    #[error("the `Idempotency-Key` was used for another request; a new request needs a new key")]
    KeyUsed,
    #[error(
        "the read model has come to position {reached} and not yet to {position}; try again in a few seconds"
    )]
    NotReached { position: i64, reached: i64 },
    #[error("nothing is recorded of a call {sid}")]
    UnknownCall { sid: String },
    /// Something is by now.
    #[error(
        "nothing had been recorded of the call {sid} at position {position} of the log; its first event came later"
    )]
    NotYetRecorded { sid: String, position: i64 },
    #[error("nothing is recorded of a recording {sid}")]
    UnknownRecording { sid: String },
    /// `reason` is a whole clause, such as "the call is still being recorded".
    #[error("the recording {sid} cannot be played: {reason}")]
    NotPlayable { sid: String, reason: &'static str },
    /// Whoever listens cannot do anything about it, so why is for the log.
    #[error("Twilio does not hand out the recording {sid} at the moment; try again in a minute")]
    NotHandedOut { sid: String, source: Source },
    /// `now` and `head` are where the future begins.
    #[error(
        "`as_of` is `{value}`, which is in the future: now it is {now} and the log ends at position {head}",
        value = shortened(.value)
    )]
    Future { value: String, now: String, head: i64 },
    /// `value` is what the caller sent, decoded.
    #[error("`{name}` is `{value}`, but it must be {expected}", value = shortened(.value))]
    BadParameter { name: &'static str, value: String, expected: &'static str },
    /// `pointer` is RFC 6901's, `reason` a whole clause.
    #[error("{}: {reason}", if pointer.is_empty() { "the body" } else { &**pointer })]
    WrongField { pointer: String, reason: String },
    #[error("the body is not JSON: {reason}")]
    UnreadableJson { reason: String },
    #[error("the body must be {expected}, and the Content-Type header must say so")]
    UnsupportedMediaType { expected: &'static str },
    /// `reason` is a whole clause, such as "the token is not valid".
    #[error(
        "{reason}; a token goes into the header `Authorization: Bearer …`, and `callbook token create` makes one"
    )]
    Unauthenticated { reason: &'static str },
    #[error("this needs the role {}, and `{name}` has the role {}", needs.as_str(), has.as_str())]
    RoleTooLow { name: Arc<str>, has: Role, needs: Role },
    #[error("a page of another site asked for this; it is only done for pages of callbook itself")]
    CrossSite,
    #[error("there is no valid token named `{name}`", name = shortened(.name))]
    UnknownToken { name: String },
    #[error("{reason}")]
    TokenNameTaken { reason: String },
    /// `offered` is a list of media types.
    #[error("the Accept header takes nothing that there is, which is {offered}")]
    NotAcceptable { offered: &'static str },
    #[error("the body is larger than {limit} bytes")]
    PayloadTooLarge { limit: usize },
    /// `reason` completes "the body is not a form that can be read: …".
    #[error("the body is not a form that can be read: {reason}")]
    UnreadableForm { reason: Cow<'static, str> },
    /// `reason` is a whole clause, such as "the signature does not match".
    #[error("{reason}")]
    Forbidden { reason: &'static str },
    #[error("there is nothing at {path}", path = shortened(.path))]
    NotFound { path: String },
    #[error("this path does not take that method; the Allow header lists those it takes")]
    MethodNotAllowed,
    /// `what` is not there at the moment, as in "the database".
    #[error("{what} cannot be reached at the moment; try again in a few seconds")]
    Unavailable { what: &'static str, source: Source },
    #[error("there is no row {id} in the inbox")]
    UnknownInboxRow { id: i64 },
    #[error("the row {id} is {status}; only what has failed or was given up can be tried again")]
    NotRetriable { id: i64, status: String },
    #[error("{matching} rows can be tried again, and {expected} were expected; nothing was changed")]
    CountChanged { matching: i64, expected: i64 },
    #[error("{key} is not quarantined", key = shortened(.key))]
    NotQuarantined { key: String },
    /// `reason` says which fold built the tables.
    #[error("{reason}")]
    OtherFold { reason: String },
    #[error(
        "another rebuild, dry run or verification is running on this database; wait for it, or cancel it"
    )]
    RebuildRunning,
    #[error("there is no rebuild {id}")]
    UnknownRebuild { id: i64 },
    #[error("the rebuild {id} has ended: it is {state}")]
    RebuildEnded { id: i64, state: String },
    #[error("there is no job {name}; GET /api/reconcile lists those that there are", name = shortened(.name))]
    UnknownJob { name: String },
    #[error("{running}")]
    SyncRunning { running: Running },
    #[error(
        "there is no Twilio to ask: this simulated account has no REST API, and TWILIO_API_BASE_URL is not set"
    )]
    NoTwilio,
    /// What this shows was written for anybody: it has paths and SIDs, and nothing that Twilio said.
    #[error("{source}")]
    Twilio { source: Box<ClientError> },
    #[error("{reason}")]
    TwilioList { reason: String },
    #[error("{reason}")]
    StandsStill { reason: String },
    #[error("the database has not been opened yet; try again in a few seconds")]
    NotOpen,
    /// A refusal that a library made, and that its status says enough about.
    #[error("the request was refused: {}", status.canonical_reason().unwrap_or("without a reason").to_lowercase())]
    Bare { status: StatusCode },
    #[error("the database did not answer within {seconds} seconds; try again in a few, or ask for less")]
    TooSlow { seconds: u64 },
    #[error("too many requests; try again in {seconds} seconds")]
    TooOften { seconds: u64 },
    #[error("something went wrong inside callbook; its log has the details under this request's id")]
    Internal { source: Source },
}

/// The body of a refusal.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `/problems/<code>`, or `about:blank` where the status says it all.
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    title: &'static str,
    status: u16,
    detail: String,
    /// Stable, for programs.
    code: &'static str,
    /// The query or path parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    parameter: Option<&'static str>,
    /// The JSON pointer (RFC 6901) of what is wrong in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pointer: Option<String>,
    /// The version that is there, where the caller expects another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    version: Option<i64>,
    /// The name of the request in our log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    request_id: Option<String>,
}

impl Problem {
    /// Tells a refused caller which request that was; other answers stay as they are.
    pub(super) fn name(response: &mut Response, request_id: &str) {
        let Some(problem) = response.extensions_mut().remove::<Self>() else { return };
        let named = Self { request_id: Some(request_id.to_owned()), ..problem };
        // A problem is always JSON; were it not, the caller has the one without a name.
        if let Ok(body) = serde_json::to_vec(&named) {
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = body.into();
        }
    }
}

impl ApiError {
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal { source: source.into() }
    }

    /// The one place that knows statuses and codes. Without a title, the status says it all.
    fn problem(&self) -> (StatusCode, Problem) {
        let (status, code, title) = match self {
            Self::UnknownConversation { .. } => {
                (StatusCode::NOT_FOUND, "unknown-conversation", Some("There is no such conversation"))
            }
            Self::UnknownContact { .. } => {
                (StatusCode::NOT_FOUND, "unknown-contact", Some("There is no such contact"))
            }
            Self::Changed { .. } => {
                (StatusCode::PRECONDITION_FAILED, "changed", Some("Somebody else was faster"))
            }
            Self::KeyUsed => {
                (StatusCode::UNPROCESSABLE_ENTITY, "key-used", Some("The key is another request's"))
            }
            Self::NotReached { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "not-reached", Some("The read model is behind"))
            }
            Self::UnknownCall { .. } => {
                (StatusCode::NOT_FOUND, "unknown-call", Some("There is no such call"))
            }
            Self::NotYetRecorded { .. } => {
                (StatusCode::NOT_FOUND, "not-yet-recorded", Some("The call had not been heard of yet"))
            }
            Self::UnknownRecording { .. } => {
                (StatusCode::NOT_FOUND, "unknown-recording", Some("There is no such recording"))
            }
            Self::NotPlayable { .. } => {
                (StatusCode::NOT_FOUND, "not-playable", Some("There is nothing to hear"))
            }
            Self::Future { .. } => {
                (StatusCode::BAD_REQUEST, "in-the-future", Some("Only the past can be looked back at"))
            }
            Self::BadParameter { .. } => {
                (StatusCode::BAD_REQUEST, "bad-parameter", Some("A parameter cannot be used"))
            }
            Self::UnknownInboxRow { .. } => {
                (StatusCode::NOT_FOUND, "unknown-inbox-row", Some("There is no such row in the inbox"))
            }
            Self::NotRetriable { .. } => {
                (StatusCode::CONFLICT, "not-retriable", Some("The row was not given up"))
            }
            Self::CountChanged { .. } => {
                (StatusCode::CONFLICT, "count-changed", Some("They are not as many as expected"))
            }
            Self::NotQuarantined { .. } => {
                (StatusCode::NOT_FOUND, "not-quarantined", Some("It is not quarantined"))
            }
            Self::OtherFold { .. } => {
                (StatusCode::CONFLICT, "other-fold", Some("The read model is of another fold"))
            }
            Self::RebuildRunning => {
                (StatusCode::CONFLICT, "rebuild-running", Some("Another rebuild is running"))
            }
            Self::UnknownRebuild { .. } => {
                (StatusCode::NOT_FOUND, "unknown-rebuild", Some("There is no such rebuild"))
            }
            Self::RebuildEnded { .. } => {
                (StatusCode::CONFLICT, "rebuild-ended", Some("The rebuild has ended"))
            }
            Self::UnknownJob { .. } => (StatusCode::NOT_FOUND, "unknown-job", Some("There is no such job")),
            Self::UnreadableForm { .. } => {
                (StatusCode::BAD_REQUEST, "unreadable-form", Some("The form cannot be read"))
            }
            Self::WrongField { .. } => {
                (StatusCode::BAD_REQUEST, "wrong-field", Some("A field of the body cannot be used"))
            }
            Self::UnreadableJson { .. } => {
                (StatusCode::BAD_REQUEST, "unreadable-json", Some("The body cannot be read"))
            }
            Self::UnsupportedMediaType { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", None)
            }
            Self::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "unauthenticated", None),
            Self::RoleTooLow { .. } => {
                (StatusCode::FORBIDDEN, "role-too-low", Some("The role does not suffice"))
            }
            Self::CrossSite => (StatusCode::FORBIDDEN, "cross-site", Some("Another site asked")),
            Self::UnknownToken { .. } => {
                (StatusCode::NOT_FOUND, "unknown-token", Some("There is no such token"))
            }
            Self::TokenNameTaken { .. } => (StatusCode::CONFLICT, "name-taken", Some("The name is taken")),
            Self::NotAcceptable { .. } => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", None),
            Self::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large", None),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden", None),
            Self::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found", None),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", None),
            Self::SyncRunning { .. } => {
                (StatusCode::CONFLICT, "sync-running", Some("Another sync is running"))
            }
            Self::Twilio { .. } | Self::TwilioList { .. } | Self::NotHandedOut { .. } => {
                (StatusCode::BAD_GATEWAY, "twilio-failed", Some("Twilio did not answer as asked"))
            }
            Self::NoTwilio => {
                (StatusCode::SERVICE_UNAVAILABLE, "no-twilio", Some("There is no Twilio to ask"))
            }
            Self::StandsStill { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "stands-still", Some("What was read is not decided yet"))
            }
            Self::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-often", None),
            Self::Unavailable { .. } | Self::NotOpen | Self::TooSlow { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None)
            }
            Self::Bare { status } => (*status, bare_code(*status), None),
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal", None),
        };
        let problem = Problem {
            kind: title.map_or("about:blank".into(), |_| format!("/problems/{code}").into()),
            title: title.or(status.canonical_reason()).unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
            code,
            parameter: match self {
                Self::BadParameter { name, .. } => Some(*name),
                Self::Future { .. } => Some("as_of"),
                Self::NotReached { .. } => Some("min_position"),
                _ => None,
            },
            pointer: match self {
                Self::WrongField { pointer, .. } => Some(pointer.clone()),
                _ => None,
            },
            version: match self {
                Self::Changed { version } => Some(*version),
                _ => None,
            },
            request_id: None,
        };
        (status, problem)
    }

    /// Only what somebody must look into; the caller's own mistakes are in the caller's answer.
    fn log(&self) {
        match self {
            Self::Internal { source } => tracing::error!(error = chain(&**source), "a request failed"),
            Self::Twilio { source } => {
                tracing::warn!(error = chain(&**source), "Twilio did not answer as asked")
            }
            Self::Unavailable { what, source } => {
                tracing::warn!(error = chain(&**source), "a request was put off: {what} cannot be reached");
            }
            Self::NotHandedOut { sid, source } => {
                tracing::warn!(
                    recording.sid = sid,
                    error = chain(&**source),
                    "the recording {sid} could not be fetched from Twilio"
                );
            }
            Self::TooSlow { seconds } => {
                tracing::warn!("a request was put off: the database did not answer within {seconds} s");
            }
            _ => {}
        }
    }

    /// When to come back, in seconds; nothing where that is no help.
    fn retry_after(&self, status: StatusCode) -> Option<u64> {
        match self {
            Self::TooOften { seconds } => Some(*seconds),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(5),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let (status, problem) = self.problem();
        let mut response = (status, Json(&problem)).into_response();
        response.extensions_mut().insert(problem);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callbook\""));
        }
        if let Some(seconds) = self.retry_after(status) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Gives a body to a refusal that a layer or a library made without one. Its headers stay.
pub fn with_body(response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    let is_text =
        response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !refused || !is_text {
        return response;
    }
    let mut dressed = ApiError::Bare { status }.into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH {
            dressed.headers_mut().append(name, value.clone());
        }
    }
    dressed
}

/// For `Router::fallback`.
pub async fn not_found(uri: Uri) -> ApiError {
    ApiError::NotFound { path: uri.path().to_owned() }
}

/// For the fallback while there is no book.
pub async fn not_open() -> ApiError {
    ApiError::NotOpen
}

/// For `Router::method_not_allowed_fallback`, which must come after the routes it is for. The
/// router adds the Allow header.
pub async fn method_not_allowed() -> ApiError {
    ApiError::MethodNotAllowed
}

/// For `CatchPanicLayer::custom`: the caller learns no more than from any other failure.
pub fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    ApiError::internal(format!("a handler panicked: {message}")).into_response()
}

fn bare_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_TIMEOUT => "request-timeout",
        StatusCode::PRECONDITION_FAILED => "precondition-failed",
        StatusCode::PAYLOAD_TOO_LARGE => "payload-too-large",
        StatusCode::RANGE_NOT_SATISFIABLE => "range-not-satisfiable",
        _ => "refused",
    }
}

/// An answer is no place to echo a megabyte.
fn shortened(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::{get, post};
    use serde_json::{Value, json};
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    async fn body(response: Response) -> Value {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn each_refusal_has_its_status_code_and_sentence() {
        let blank = |title, status, detail, code| json!({ "type": "about:blank", "title": title, "status": status, "detail": detail, "code": code });
        let table = [
            (
                ApiError::UnknownConversation { id: 42 },
                json!({
                    "type": "/problems/unknown-conversation", "title": "There is no such conversation",
                    "status": 404, "detail": "there is no conversation 42", "code": "unknown-conversation",
                }),
            ),
            (
                ApiError::BadParameter { name: "page", value: "x".repeat(81), expected: "a number" },
                json!({
                    "type": "/problems/bad-parameter", "title": "A parameter cannot be used",
                    "status": 400, "code": "bad-parameter", "parameter": "page",
                    "detail": format!("`page` is `{}…`, but it must be a number", "x".repeat(80)),
                }),
            ),
            (
                ApiError::UnreadableForm { reason: "byte 7 is not UTF-8".into() },
                json!({
                    "type": "/problems/unreadable-form", "title": "The form cannot be read", "status": 400,
                    "detail": "the body is not a form that can be read: byte 7 is not UTF-8",
                    "code": "unreadable-form",
                }),
            ),
            (
                ApiError::PayloadTooLarge { limit: 65_536 },
                blank("Payload Too Large", 413, "the body is larger than 65536 bytes", "payload-too-large"),
            ),
            (
                ApiError::Forbidden { reason: "the signature does not match" },
                blank("Forbidden", 403, "the signature does not match", "forbidden"),
            ),
            (
                ApiError::Unavailable { what: "the database", source: "10.0.0.7 refused".into() },
                blank(
                    "Service Unavailable",
                    503,
                    "the database cannot be reached at the moment; try again in a few seconds",
                    "unavailable",
                ),
            ),
            (
                ApiError::NotOpen,
                blank(
                    "Service Unavailable",
                    503,
                    "the database has not been opened yet; try again in a few seconds",
                    "unavailable",
                ),
            ),
            (
                ApiError::internal("password authentication failed for hunter2"),
                blank(
                    "Internal Server Error",
                    500,
                    "something went wrong inside callbook; its log has the details under this request's id",
                    "internal",
                ),
            ),
        ];
        for (error, expected) in table {
            let response = error.into_response();
            assert_eq!(u64::from(response.status().as_u16()), expected["status"]);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), expected["status"] == 503);
            assert_eq!(body(response).await, expected);
        }
    }

    #[tokio::test]
    async fn unknown_paths_wrong_methods_and_panics_are_problems_too() {
        let routes = Router::new()
            .route("/things", get(async || "things").put(async || "put"))
            .route("/panic", post(async || -> &str { panic!("at the disco with hunter2") }))
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(CatchPanicLayer::custom(panicked));
        let server = crate::http::serve_for_test(routes).await;
        let client = crate::outgoing::local().build().unwrap();
        let at = |path: &str| format!("http://{server}{path}");

        let answer = client.get(at("/nowhere?secret=1")).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.json::<Value>().await.unwrap()["detail"], "there is nothing at /nowhere");

        let answer = client.delete(at("/things")).send().await.unwrap();
        assert_eq!(answer.status(), 405);
        assert_eq!(answer.headers()["allow"], "GET,HEAD,PUT");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "method-not-allowed");

        let answer = client.post(at("/panic")).send().await.unwrap();
        assert_eq!(answer.status(), 500);
        let text = answer.text().await.unwrap();
        assert!(text.contains("\"internal\"") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_log_has_the_causes_of_an_error() {
        let cause = std::io::Error::other(ApiError::Unavailable { what: "it", source: "refused".into() });
        let error = ApiError::internal(cause);
        let ApiError::Internal { source } = &error else { panic!("{error}") };

        assert_eq!(
            chain(&**source),
            "it cannot be reached at the moment; try again in a few seconds: refused"
        );
        assert!(!error.to_string().contains("refused"));
    }
}
