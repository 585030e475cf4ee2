//! `Calls`: the list, one call, and asking for a new one (CONTRACT §4.1 to §4.3).

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rand::RngExt;
use serde::{Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;

use super::dates::Window;
use super::envelope::{Listing, Span};
use super::error::ApiError;
use super::{VERSION, parse_form, resource_uri};
use crate::simulator::script::{Leg, Status, rfc_2822};
use crate::simulator::world::{Call, Resource, World, chance};
use crate::twilio::form::Form;

/// The longest between a call's creation and its `start_time`: it waits, and it rings.
const LONGEST_WAIT: time::Duration = time::Duration::minutes(15);

const SUBRESOURCES: [(&str, &str); 9] = [
    ("notifications", "Notifications"),
    ("recordings", "Recordings"),
    ("payments", "Payments"),
    ("events", "Events"),
    ("siprec", "Siprec"),
    ("streams", "Streams"),
    ("transcriptions", "Transcriptions"),
    ("user_defined_messages", "UserDefinedMessages"),
    ("user_defined_message_subscriptions", "UserDefinedMessageSubscriptions"),
];

/// A call as Twilio shows it; everything is a string or null.
#[derive(Debug, Serialize)]
struct CallResource<'a> {
    sid: &'a str,
    account_sid: &'a str,
    parent_call_sid: Option<&'a str>,
    phone_number_sid: Option<&'a str>,
    to: &'a str,
    to_formatted: Cow<'a, str>,
    from: &'a str,
    from_formatted: Cow<'a, str>,
    status: &'static str,
    direction: &'a str,
    start_time: Option<String>,
    end_time: Option<String>,
    date_created: String,
    date_updated: String,
    duration: Option<String>,
    price: Option<String>,
    price_unit: &'static str,
    answered_by: Option<&'a str>,
    forwarded_from: Option<&'a str>,
    caller_name: Option<&'a str>,
    group_sid: Option<&'a str>,
    queue_time: &'static str,
    trunk_sid: Option<&'a str>,
    api_version: &'static str,
    uri: String,
    subresource_uris: Subresources,
}

/// Where more about a call can be had, below this.
#[derive(Debug)]
struct Subresources(String);

impl Serialize for Subresources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let uris = SUBRESOURCES.iter().map(|(name, file)| (name, format!("{}/{file}.json", self.0)));
        serializer.collect_map(uris)
    }
}

impl<'a> CallResource<'a> {
    fn of(call: &'a Call, world: &'a World, now: OffsetDateTime) -> Option<Self> {
        let state = call.at(now)?;
        let ours = if call.direction == "inbound" { &call.to } else { &call.from };
        let base = resource_uri(world, &format!("Calls/{}", call.sid));
        Some(CallResource {
            sid: &call.sid,
            account_sid: &world.account().sid,
            parent_call_sid: call.parent_sid.as_deref(),
            phone_number_sid: world.numbers().iter().find(|owned| owned.number == *ours).map(Resource::sid),
            to: &call.to,
            to_formatted: formatted(&call.to),
            from: &call.from,
            from_formatted: formatted(&call.from),
            status: state.status.name(),
            direction: &call.direction,
            start_time: state.started_at.map(rfc_2822),
            end_time: state.ended_at.map(rfc_2822),
            date_created: rfc_2822(call.created.call),
            date_updated: rfc_2822(state.updated_at),
            duration: duration(state.status, call.seconds),
            price: state.is_priced.then(|| call.price()),
            price_unit: "USD",
            answered_by: None,
            forwarded_from: call.forwarded_from.as_deref(),
            caller_name: None,
            group_sid: None,
            queue_time: "0",
            trunk_sid: None,
            api_version: VERSION,
            uri: format!("{base}.json"),
            subresource_uris: Subresources(base),
        })
    }
}

/// "Empty for busy, failed, unanswered and ongoing": in practice absent, an empty text or 0, so all three occur.
fn duration(status: Status, seconds: i64) -> Option<String> {
    match status {
        Status::Queued | Status::Ringing | Status::InProgress => None,
        Status::Busy | Status::Failed => Some(String::new()),
        Status::Completed | Status::NoAnswer | Status::Canceled => Some(seconds.to_string()),
    }
}

/// `(617) 500-6181`; other parties are written as they are.
pub fn formatted(party: &str) -> Cow<'_, str> {
    match party.strip_prefix("+1") {
        Some(national) if national.len() == 10 && national.is_ascii() => {
            format!("({}) {}-{}", &national[..3], &national[3..6], &national[6..]).into()
        }
        _ => party.into(),
    }
}

/// What the list is narrowed to.
struct Filter {
    to: Option<String>,
    from: Option<String>,
    parent: Option<String>,
    status: Option<Status>,
    started: Window,
    ended: Window,
}

impl Filter {
    fn read(query: &Form) -> Result<Filter, ApiError> {
        let given = |name: &str| query.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        let status = match given("Status") {
            None => None,
            Some(name) => Some(serde_json::from_value(Value::from(name.as_str())).map_err(|_| {
                ApiError::invalid(20001, format!("Status must be one of a call, not {name}"))
            })?),
        };
        Ok(Filter {
            to: given("To"),
            from: given("From"),
            parent: given("ParentCallSid"),
            status,
            started: Window::read(query, "StartTime")?,
            ended: Window::read(query, "EndTime")?,
        })
    }

    /// A call starts at its creation or soon after, so the rest of the list need not be looked at.
    fn span(&self, parent: Option<&Call>) -> Span {
        match parent {
            Some(parent) => {
                Span { from: Some(parent.created.call), to: Some(parent.ended.call + LONGEST_WAIT) }
            }
            None => Span { from: self.started.from.map(|from| from - LONGEST_WAIT), to: self.started.to },
        }
    }

    fn holds(&self, call: &Call, now: OffsetDateTime) -> bool {
        let is = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
        let Some(state) = call.at(now) else { return false };
        is(&self.to, &call.to)
            && is(&self.from, &call.from)
            && (self.parent.is_none() || self.parent == call.parent_sid)
            && self.status.is_none_or(|status| status == state.status)
            && self.started.holds(state.started_at)
            && self.ended.holds(state.ended_at)
    }
}

pub async fn list(
    State(world): State<World>,
    Listing { query, paging }: Listing,
) -> Result<Response, ApiError> {
    let filter = Filter::read(&query)?;
    world.read(|ledger, now| {
        let span = filter.span(filter.parent.as_deref().and_then(|parent| ledger.calls.get(parent)));
        let page = paging.cut(&ledger.calls, span, |call| {
            let is_listed = filter.holds(call, now) && ledger.is_known(&call.sid);
            is_listed.then(|| CallResource::of(call, &world, now)).flatten()
        })?;
        Ok(paging.answer("calls", &page))
    })
}

pub async fn fetch(
    State(world): State<World>,
    Path((_, file)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let shown = world.read(|ledger, now| {
        let call = ledger.calls.get(file.strip_suffix(".json")?).filter(|call| ledger.is_known(&call.sid))?;
        CallResource::of(call, &world, now).map(|shown| Json(shown).into_response())
    });
    shown.ok_or_else(|| ApiError::not_found(uri.path()))
}

/// Asks for a call. It rings, is answered and ends by the clock; nobody is told of it.
pub async fn create(State(world): State<World>, body: Bytes) -> Result<Response, ApiError> {
    let form = parse_form(&body)?;
    let given = |name: &str| form.get(name).filter(|value| !value.is_empty());
    let to = given("To").ok_or_else(|| ApiError::invalid(21201, "No 'To' number is specified"))?;
    let from = given("From").ok_or_else(|| ApiError::invalid(21212, "No 'From' number is specified"))?;
    if !is_party(to) {
        return Err(ApiError::invalid(
            21211,
            format!("The phone number you are attempting to call, {to}, is not valid"),
        ));
    }
    let is_ours = !from.starts_with('+') || world.account().owned_numbers.iter().any(|number| number == from);
    if !is_party(from) || !is_ours {
        return Err(ApiError::invalid(
            21212,
            format!("The source phone number provided, {from}, is not yours"),
        ));
    }
    if ["Url", "Twiml", "ApplicationSid"].into_iter().all(|name| given(name).is_none()) {
        return Err(ApiError::invalid(21205, "One of Url, Twiml and ApplicationSid is required"));
    }
    let sid = format!("CA{:032x}", rand::rng().random::<u128>());
    world.add_now(&call_to(&sid, from, to));
    // What was just created is shown even where lists are behind.
    let created = world.read(|ledger, _| {
        let call = ledger.calls.get(&sid)?;
        let shown = CallResource::of(call, &world, call.created.wall)?;
        Some((StatusCode::CREATED, Json(shown)).into_response())
    });
    created.ok_or_else(ApiError::internal)
}

/// Answered four times out of five.
fn call_to(sid: &str, from: &str, to: &str) -> Leg {
    let drawn = chance(sid);
    let ringing = Duration::from_secs(1);
    let picked_up = ringing + Duration::from_secs(u64::from(4 + drawn % 9));
    let is_answered = !drawn.is_multiple_of(5);
    let lasts = Duration::from_secs(u64::from(10 + drawn % 110));
    Leg {
        call_sid: sid.to_owned(),
        parent_call_sid: None,
        direction: "outbound-api",
        from: from.to_owned(),
        to: to.to_owned(),
        forwarded_from: None,
        status: if is_answered { Status::Completed } else { Status::NoAnswer },
        created: Duration::ZERO,
        ringing: Some(ringing),
        answered: is_answered.then_some(picked_up),
        ended: if is_answered { picked_up + lasts } else { ringing + Duration::from_secs(60) },
        recording: None,
    }
}

/// A number in E.164, a SIP address or a client.
pub fn is_party(party: &str) -> bool {
    match party.strip_prefix('+') {
        Some(digits) => (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => party.starts_with("sip:") || party.starts_with("client:"),
    }
}
