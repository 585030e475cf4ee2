//! `Recordings`: of one call, of all, one, and what can be heard (CONTRACT §4.4).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::dates::Window;
use super::envelope::{Listing, Span};
use super::error::ApiError;
use super::{VERSION, media, resource_uri};
use crate::simulator::script::rfc_2822;
use crate::simulator::world::{Recording, World};

#[derive(Debug, Serialize)]
struct RecordingResource {
    sid: String,
    account_sid: String,
    call_sid: String,
    conference_sid: Option<String>,
    status: &'static str,
    start_time: String,
    date_created: String,
    date_updated: String,
    duration: Option<String>,
    channels: u8,
    source: String,
    error_code: Option<i64>,
    /// A number in the list of one call, and a string elsewhere.
    price: Value,
    price_unit: &'static str,
    api_version: &'static str,
    encryption_details: Option<Value>,
    uri: String,
    /// Of the list of one call only.
    #[serde(skip_serializing_if = "Option::is_none")]
    track: Option<&'static str>,
    /// Not in the list of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    subresource_uris: Option<Value>,
    /// Not in the list of one call. The form of the webhooks' `RecordingUrl`, whatever host this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    media_url: Option<String>,
}

impl RecordingResource {
    fn of(recording: &Recording, world: &World, now: OffsetDateTime) -> Option<RecordingResource> {
        let is_completed = recording.is_completed(now);
        let base = resource_uri(world, &format!("Recordings/{}", recording.sid));
        let updated = if is_completed { recording.completed } else { recording.stopped };
        recording.exists(now).then(|| RecordingResource {
            sid: recording.sid.clone(),
            account_sid: world.account().sid.clone(),
            call_sid: recording.call_sid.clone(),
            conference_sid: None,
            status: if is_completed { "completed" } else { "processing" },
            start_time: rfc_2822(recording.started.call),
            date_created: rfc_2822(recording.started.call),
            date_updated: rfc_2822(updated.call),
            duration: is_completed.then(|| recording.seconds.to_string()),
            channels: recording.channels,
            source: recording.source.clone(),
            error_code: None,
            price: if is_completed { Value::from(recording.price()) } else { Value::Null },
            price_unit: "USD",
            api_version: VERSION,
            encryption_details: None,
            track: None,
            subresource_uris: Some(json!({
                "add_on_results": format!("{base}/AddOnResults.json"),
                "transcriptions": format!("{base}/Transcriptions.json"),
            })),
            media_url: Some(format!("https://api.twilio.com{base}")),
            uri: format!("{base}.json"),
        })
    }

    /// As the list of one call shows it.
    fn of_call(self, world: &World) -> RecordingResource {
        let uri = resource_uri(world, &format!("Calls/{}/Recordings/{}.json", self.call_sid, self.sid));
        let price = self.price.as_str().and_then(|price| price.parse::<f64>().ok());
        RecordingResource {
            uri,
            price: price.map_or(Value::Null, Value::from),
            track: Some("both"),
            subresource_uris: None,
            media_url: None,
            ..self
        }
    }
}

pub async fn list(
    State(world): State<World>,
    Listing { query, paging }: Listing,
) -> Result<Response, ApiError> {
    let created = Window::read(&query, "DateCreated")?;
    let call = query.get("CallSid").filter(|sid| !sid.is_empty());
    world.read(|ledger, now| {
        let page = paging.cut(&ledger.recordings, Span::of(created), |recording| {
            let is_asked_for = call.is_none_or(|call| call == recording.call_sid)
                && created.holds(Some(recording.started.call))
                && ledger.is_known(&recording.sid);
            is_asked_for.then(|| RecordingResource::of(recording, &world, now)).flatten()
        })?;
        Ok(paging.answer("recordings", &page))
    })
}

/// 404 for a call that is not known, an empty list for one without recordings.
pub async fn list_of_call(
    State(world): State<World>,
    Path((_, call)): Path<(String, String)>,
    uri: Uri,
    Listing { query, paging }: Listing,
) -> Result<Response, ApiError> {
    let created = Window::read(&query, "DateCreated")?;
    world.read(|ledger, now| {
        let known = ledger.calls.get(&call).filter(|call| ledger.is_known(&call.sid));
        let known =
            known.filter(|call| call.at(now).is_some()).ok_or_else(|| ApiError::not_found(uri.path()))?;
        let span = Span { from: Some(known.created.call), to: Some(known.ended.call) };
        let page = paging.cut(&ledger.recordings, span, |recording| {
            let is_asked_for = recording.call_sid == call
                && created.holds(Some(recording.started.call))
                && ledger.is_known(&recording.sid);
            let shown = is_asked_for.then(|| RecordingResource::of(recording, &world, now)).flatten();
            shown.map(|recording| recording.of_call(&world))
        })?;
        Ok(paging.answer("recordings", &page))
    })
}

/// The resource, or with `.wav` or nothing at its end the sound. There is no `.mp3`.
pub async fn fetch(
    State(world): State<World>,
    Path((_, file)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (sid, ending) = file.split_once('.').unwrap_or((&file, "wav"));
    let found = world.read(|ledger, now| {
        let recording = ledger.recordings.get(sid).filter(|recording| ledger.is_known(&recording.sid))?;
        match ending {
            "json" => RecordingResource::of(recording, &world, now).map(|shown| Json(shown).into_response()),
            "wav" if recording.is_completed(now) => Some(media::answer(recording, &headers)),
            _ => None,
        }
    });
    found.ok_or_else(|| ApiError::not_found(uri.path()))
}
