//! Recordings to listen to, from callbook's own copies.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LAST_MODIFIED, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::call::facts::RecordingStatus;
use domain::sid::RecordingSid;
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch, IfRange};
use tower_http::services::ServeFile;

use super::conversations::{open, unreadable};
use super::problem::{ApiError, Problem};
use super::sid::{OfRecording, Sid};
use crate::app::AppState;
use crate::recordings::{CONTENT_TYPE as AUDIO, Coming, Playable, RecordingError, Recordings};
use crate::twilio::client::Media;

/// A copy may have to make room between being found and being opened; hardly twice.
const LOOKS: usize = 3;

/// The audio of a recording that the log knows, all of it or one range.
///
/// Conditions are RFC 9110's. A recording never changes, so its SID is its entity tag.
#[utoipa::path(
    get, path = "/api/recordings/{sid}/media", tag = "calls",
    params(
        OfRecording,
        ("range" = Option<String>, Header, description = "One range of bytes, as in `bytes=0-1023`"),
    ),
    responses(
        (status = 200, description = "All of it", content_type = "audio/wav", body = Vec<u8>),
        (status = 206, description = "The range", content_type = "audio/wav", body = Vec<u8>),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "Nothing is recorded of it, or there is nothing to hear", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "A condition does not hold", body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "It has no such range", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "Twilio does not hand it out", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn media(
    State(state): State<AppState>,
    Sid(sid): Sid<RecordingSid>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut snapshot = open(&state).await?;
    let recording = snapshot.recording(&sid).await.map_err(unreadable)?;
    // Listening may take long, and has no use for the database.
    drop(snapshot);
    let status = recording.ok_or_else(|| ApiError::UnknownRecording { sid: sid.to_string() })?.status;
    let tag = entity_tag(&sid)?;
    if let Some(answer) = conditions(&headers, &tag) {
        return with_common(answer.into_response(), &sid);
    }
    let recordings = state.recordings.as_ref().ok_or(ApiError::NoTwilio)?;
    let not_playable = |reason| Err(ApiError::NotPlayable { sid: sid.to_string(), reason });
    let wanted = Wanted { method, range: range(&headers, &tag) };
    let response = match status {
        RecordingStatus::InProgress => return not_playable("the call is still being recorded"),
        RecordingStatus::Absent | RecordingStatus::Failed => return not_playable("nothing was recorded"),
        RecordingStatus::Completed => play(recordings, &sid, &wanted).await,
        // Twilio knows whether it is ready; what is not may change and is not kept.
        RecordingStatus::Processing => past_the_disk(recordings, &sid, &wanted).await,
    };
    let response = response.map_err(|error| failed(&sid, error))?;
    with_common(response, &sid)
}

/// What of it is asked for.
struct Wanted {
    method: Method,
    range: Option<HeaderValue>,
}

impl Wanted {
    fn begins_at_once(&self) -> bool {
        // What browsers send first.
        self.method != Method::HEAD && self.range.as_ref().is_none_or(|range| range == "bytes=0-")
    }
}

async fn play(
    recordings: &Recordings,
    sid: &RecordingSid,
    wanted: &Wanted,
) -> Result<Response, RecordingError> {
    for _ in 0..LOOKS {
        let playable = if wanted.begins_at_once() {
            recordings.begin(sid).await?
        } else {
            recordings.whole(sid).await?
        };
        match playable {
            Playable::Coming(coming) => return Ok(while_it_comes(coming, wanted)),
            Playable::NoCopy => break,
            Playable::Kept(path) => {
                let mut request = Request::new(Body::empty());
                *request.method_mut() = wanted.method.clone();
                if let Some(range) = &wanted.range {
                    request.headers_mut().insert(RANGE, range.clone());
                }
                let file = ServeFile::new(path).ignore_multi_range_requests(true).try_call(request);
                // It made room for others meanwhile, or the disk is in trouble.
                if let Ok(response) = file.await
                    && response.status() != StatusCode::NOT_FOUND
                {
                    return Ok(response.map(Body::new));
                }
            }
        }
    }
    past_the_disk(recordings, sid, wanted).await
}

fn while_it_comes(coming: Coming, wanted: &Wanted) -> Response {
    let length = coming.length;
    let mut response = Body::from_stream(coming.bytes()).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        // The first and the last byte of a range are named, so one needs an end.
        if let (true, Ok(range)) = (wanted.range.is_some(), HeaderValue::try_from(all_of(length))) {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
    }
    response
}

fn all_of(length: u64) -> String {
    format!("bytes 0-{}/{length}", length.saturating_sub(1))
}

/// Straight from Twilio, which knows ranges too.
async fn past_the_disk(
    recordings: &Recordings,
    sid: &RecordingSid,
    wanted: &Wanted,
) -> Result<Response, RecordingError> {
    let range = wanted.range.as_ref().and_then(|range| range.to_str().ok());
    // Several ranges make another kind of body, which nobody needs here.
    let range = range.filter(|range| !range.contains(','));
    let Media { status, content_length, content_range, bytes, .. } = recordings.direct(sid, range).await?;
    let mut response = Body::from_stream(bytes).into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    if let Some(length) = content_length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    if let Some(Ok(range)) = content_range.map(HeaderValue::try_from) {
        headers.insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// The answer to a request whose conditions (RFC 9110, section 13) say that nothing is to be sent.
fn conditions(headers: &HeaderMap, tag: &ETag) -> Option<StatusCode> {
    if headers.typed_get::<IfMatch>().is_some_and(|condition| !condition.precondition_passes(tag)) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let condition = headers.typed_get::<IfNoneMatch>();
    condition.is_some_and(|condition| !condition.precondition_passes(tag)).then_some(StatusCode::NOT_MODIFIED)
}

/// The range that is asked for, unless it is of something else than bytes or of another recording than this.
fn range(headers: &HeaderMap, tag: &ETag) -> Option<HeaderValue> {
    let range = headers.get(RANGE).filter(|range| range.as_bytes().starts_with(b"bytes="))?;
    let fits = match headers.typed_get::<IfRange>() {
        None => !headers.contains_key(axum::http::header::IF_RANGE),
        Some(condition) => !condition.is_modified(Some(tag), None),
    };
    fits.then(|| range.clone())
}

fn entity_tag(sid: &RecordingSid) -> Result<ETag, ApiError> {
    format!("\"{sid}\"").parse().map_err(|_| ApiError::internal(format!("{sid} makes no entity tag")))
}

/// What every answer has, whoever made it.
fn with_common(mut response: Response, sid: &RecordingSid) -> Result<Response, ApiError> {
    let status = response.status();
    let headers = response.headers_mut();
    // When a copy was used last says nothing about the recording.
    headers.remove(LAST_MODIFIED);
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(CACHE_CONTROL, "private");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(ACCEPT_RANGES, "bytes");
    if status.is_success() {
        set(CONTENT_TYPE, AUDIO);
    } else {
        headers.remove(CONTENT_TYPE);
    }
    headers.typed_insert(entity_tag(sid)?);
    Ok(response)
}

fn failed(sid: &RecordingSid, error: RecordingError) -> ApiError {
    let sid = sid.to_string();
    match error {
        RecordingError::NotAvailable => {
            ApiError::NotPlayable { sid, reason: "Twilio does not have its audio, or not yet" }
        }
        RecordingError::Twilio(_) | RecordingError::NotAudio { .. } | RecordingError::PartOnly => {
            ApiError::NotHandedOut { sid, source: error.into() }
        }
        RecordingError::Disk(_) | RecordingError::Abandoned => ApiError::internal(error),
    }
}
