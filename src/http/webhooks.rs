//! Twilio's requests: verify the signature over what was sent, store, answer. Nothing else happens here.

use std::future::Future;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use domain::sid::CallSid;
use projections::chain;
use time::OffsetDateTime;

use super::problem::ApiError;
use super::request_id::RequestId;
use crate::door::DoorState;
use crate::ingest::inbox::{InboxError, Taken};
use crate::ingest::{Delivery, Endpoint};
use crate::metrics::Kept;
use crate::twilio::form::Form;
use crate::twilio::signature::{self, SignedBody};
use crate::twilio::twiml;

/// The largest body that is read, in bytes. Twilio's own requests are a few kilobytes.
pub const LARGEST_BODY: usize = 256 * 1024;

/// How long a body may take. Twilio gives up after 15 seconds (contract section 9, trap 13).
const BODY_PATIENCE: Duration = Duration::from_secs(4);

/// How long a caller, who hears silence until then, waits for the book.
const CALLER_PATIENCE: Duration = Duration::from_millis(900);

/// Which of the four webhooks a route serves.
#[derive(Clone, Copy, Debug)]
pub struct Service(pub Endpoint);

/// Answers 204 to a status callback, `<Response/>` to a dial action and TwiML to an incoming call; 403 where
/// the signature is wrong, and then nothing is stored.
pub async fn receive(
    State(state): State<DoorState>,
    Extension(Service(endpoint)): Extension<Service>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let received_at = now();
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(
        BODY_PATIENCE,
        Bytes::from_request(Request::from_parts(head.clone(), body), &state),
    )
    .await
    .map_err(|_| ApiError::UnreadableForm { reason: "it did not arrive in time".into() })?
    .map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge { limit: LARGEST_BODY },
        _ => ApiError::UnreadableForm { reason: "it broke off".into() },
    })?;
    let form = verified(&state, &head.method, &head.uri, &head.headers, &body)?;
    let idempotency_token = text(&head.headers, "i-twilio-idempotency-token");
    let answer = answer(&state, endpoint, &form);
    let call_sid = form.get("CallSid").and_then(|sid| CallSid::try_new(sid).ok());
    let stored = async {
        let delivery = Delivery { endpoint, form, idempotency_token, request_id, received_at };
        let stored = state.inbox.accept(delivery).await;
        state.metrics.received(
            endpoint,
            match stored {
                Ok(Taken::Inbox) => Kept::Inbox,
                Ok(Taken::Spool) => Kept::Spool,
                Err(_) => Kept::Nowhere,
            },
        );
        stored
    };
    if endpoint == Endpoint::VoiceInbound {
        announce(call_sid, stored).await;
        return Ok(answer);
    }
    match stored.await {
        Ok(_) => Ok(answer),
        Err(error) => Err(ApiError::Unavailable { what: "the inbox", source: error.into() }),
    }
}

/// A caller is never dropped because the book cannot be written, and never kept waiting for long.
async fn announce(call_sid: Option<CallSid>, stored: impl Future<Output = Result<Taken, InboxError>>) {
    let error = match tokio::time::timeout(CALLER_PATIENCE, stored).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("neither the inbox nor the spool had it within {CALLER_PATIENCE:?}"),
    };
    // What is not a SID may be anything, and is not for the log.
    let call_sid = call_sid.as_ref().map_or("without a SID", CallSid::as_str);
    tracing::error!(
        error,
        call.sid = call_sid,
        "the call {call_sid} was routed, but its announcement may be lost"
    );
}

/// The parameters of a request that Twilio signed (contract section 2).
fn verified(
    state: &DoorState,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Form, ApiError> {
    // Configured to GET, Twilio puts everything in the query and signs the URL alone.
    let is_get = method == Method::GET || method == Method::HEAD;
    let raw = if is_get { uri.query().unwrap_or_default().as_bytes() } else { body };
    let form =
        Form::parse(raw).map_err(|error| ApiError::UnreadableForm { reason: error.to_string().into() })?;
    let path_and_query = uri.path_and_query().map_or("/", |path_and_query| path_and_query.as_str());
    let url = signature::public_url(&state.webhook_base_url, path_and_query);
    let signed = if is_get { SignedBody::None } else { SignedBody::Form(&form.0) };
    let given = text(headers, "x-twilio-signature");
    if given.as_deref().is_some_and(|given| signature::verify(&state.auth_token, &url, signed, given)) {
        return Ok(form);
    }
    // The query of a GET holds telephone numbers, so the line has only what comes before it.
    tracing::warn!(
        url = url.split('?').next(),
        signed = given.is_some(),
        "a webhook was refused: its signature does not fit this URL; check WEBHOOK_BASE_URL and the auth token"
    );
    Err(ApiError::Forbidden {
        reason: if given.is_some() {
            "the X-Twilio-Signature does not fit this URL and these parameters"
        } else {
            "the X-Twilio-Signature header is missing"
        },
    })
}

fn answer(state: &DoorState, endpoint: Endpoint, form: &Form) -> Response {
    let document = match endpoint {
        Endpoint::VoiceStatus | Endpoint::RecordingStatus => return StatusCode::NO_CONTENT.into_response(),
        Endpoint::DialAction => twiml::empty(),
        Endpoint::VoiceInbound => {
            let routing = state.routing.borrow();
            match routing.dial(form) {
                Some(dial) => twiml::dial(&dial, &state.callbacks, routing.record),
                None => twiml::empty(),
            }
        }
    };
    ([(CONTENT_TYPE, "text/xml; charset=utf-8")], document).into_response()
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// UTC in whole microseconds: what the database stores is what is decided with.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_microsecond(now.microsecond()).unwrap_or(now)
}
