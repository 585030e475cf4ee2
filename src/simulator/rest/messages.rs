//! `Messages`: sending one, the list, and one (CONTRACT §4.5).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::calls::is_party;
use super::dates::Window;
use super::envelope::{Listing, Span};
use super::error::ApiError;
use super::{VERSION, parse_form, resource_uri};
use crate::simulator::script::rfc_2822;
use crate::simulator::world::{Message, World};

#[derive(Debug, Serialize)]
struct MessageResource {
    sid: String,
    account_sid: String,
    messaging_service_sid: Option<String>,
    from: Option<String>,
    to: String,
    body: String,
    num_segments: String,
    num_media: String,
    direction: &'static str,
    status: &'static str,
    date_created: String,
    date_updated: String,
    date_sent: Option<String>,
    price: Option<String>,
    price_unit: &'static str,
    error_code: Option<i64>,
    error_message: Option<String>,
    api_version: &'static str,
    uri: String,
    subresource_uris: Value,
}

impl MessageResource {
    fn of(message: &Message, world: &World, now: OffsetDateTime) -> Option<MessageResource> {
        let (status, updated_at) = message.at(now)?;
        let base = resource_uri(world, &format!("Messages/{}", message.sid));
        let segments = message.segments();
        Some(MessageResource {
            sid: message.sid.clone(),
            account_sid: world.account().sid.clone(),
            messaging_service_sid: message.messaging_service_sid.clone(),
            from: message.from.clone(),
            to: message.to.clone(),
            body: message.body.clone(),
            num_segments: segments.to_string(),
            num_media: message.media.to_string(),
            direction: "outbound-api",
            status,
            date_created: rfc_2822(message.created_at),
            date_updated: rfc_2822(updated_at),
            date_sent: (now >= message.sent_at()).then(|| rfc_2822(message.sent_at())),
            price: (status == "delivered").then(|| format!("-0.{:05}", segments.min(100) * 790)),
            price_unit: "USD",
            error_code: None,
            error_message: None,
            api_version: VERSION,
            uri: format!("{base}.json"),
            subresource_uris: json!({ "media": format!("{base}/Media.json") }),
        })
    }
}

pub async fn list(
    State(world): State<World>,
    Listing { query, paging }: Listing,
) -> Result<Response, ApiError> {
    let sent = Window::read(&query, "DateSent")?;
    let is = |name: &str, value: Option<&str>| {
        query.get(name).filter(|asked| !asked.is_empty()).is_none_or(|asked| value == Some(asked))
    };
    world.read(|ledger, now| {
        let page = paging.cut(&ledger.messages, Span::default(), |message| {
            let sent_at = Some(message.sent_at()).filter(|at| *at <= now);
            let is_asked_for = is("To", Some(&message.to))
                && is("From", message.from.as_deref())
                && sent.holds(sent_at)
                && ledger.is_known(&message.sid);
            is_asked_for.then(|| MessageResource::of(message, &world, now)).flatten()
        })?;
        Ok(paging.answer("messages", &page))
    })
}

pub async fn fetch(
    State(world): State<World>,
    Path((_, file)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let shown = world.read(|ledger, now| {
        let message = ledger.messages.get(file.strip_suffix(".json")?)?;
        MessageResource::of(message, &world, now).filter(|message| ledger.is_known(&message.sid))
    });
    shown.map(|message| Json(message).into_response()).ok_or_else(|| ApiError::not_found(uri.path()))
}

pub async fn create(State(world): State<World>, body: Bytes) -> Result<Response, ApiError> {
    let form = parse_form(&body)?;
    let given = |name: &str| form.get(name).filter(|value| !value.is_empty());
    let to = given("To").ok_or_else(|| ApiError::invalid(21604, "A 'To' phone number is required"))?;
    if !is_party(to) {
        return Err(ApiError::invalid(21211, format!("Invalid 'To' phone number: {to}")));
    }
    let (from, service) = (given("From"), given("MessagingServiceSid"));
    if from.is_none() && service.is_none() {
        return Err(ApiError::invalid(21603, "A 'From' phone number or a messaging service is required"));
    }
    if let Some(from) = from.filter(|from| !world.account().owned_numbers.iter().any(|number| number == from))
    {
        return Err(ApiError::invalid(21606, format!("The 'From' phone number {from} cannot send messages")));
    }
    let media = form.0.iter().filter(|(name, _)| name == "MediaUrl").count();
    if given("Body").is_none() && given("ContentSid").is_none() && media == 0 {
        return Err(ApiError::invalid(21602, "Message body is required"));
    }
    let kind = if media > 0 { "MM" } else { "SM" };
    let message = Message {
        sid: format!("{kind}{:032x}", rand::rng().random::<u128>()),
        from: from.map(str::to_owned),
        messaging_service_sid: service.map(str::to_owned),
        to: to.to_owned(),
        body: given("Body").unwrap_or_default().to_owned(),
        media,
        created_at: world.now(),
    };
    world.send(message.clone());
    let created = MessageResource::of(&message, &world, message.created_at).ok_or_else(ApiError::internal)?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}
