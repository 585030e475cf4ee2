//! What a call, its legs, its events and their story look like.

use domain::sid::CallSid;
use projections::conversations::Leg;
use projections::history::{EventStep, PastEvent, RowChange, Unreadable};
use projections::queries::CallFamily;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::explain::{Received, Step, without_media};
use crate::http::conversations::Past;
use crate::http::conversations::answer::Message;

/// A call with all legs of its family.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Call {
    /// As asked.
    pub sid: String,
    /// The call at the top of the family.
    pub root_sid: String,
    pub is_root: bool,
    pub conversation_id: Option<String>,
    /// Why no list shows it, where none does.
    pub hidden_reason: Option<String>,
    /// Its entry in the thread; null while it has none.
    pub message: Option<Message>,
    pub legs: Vec<CallLeg>,
    /// With `as_of` only.
    #[serde(flatten)]
    #[schema(value_type = Past)]
    pub past: Option<Past>,
    pub position: i64,
}

impl Call {
    /// The call as it is known at a position, by which of its SIDs it was asked for.
    pub fn new(sid: &CallSid, family: CallFamily, past: Option<Past>, position: i64) -> Self {
        let entry = family.entry.as_ref();
        Self {
            sid: sid.to_string(),
            is_root: family.root == sid.as_str(),
            conversation_id: entry.and_then(|entry| entry.message.conversation_id).map(|id| id.to_string()),
            hidden_reason: entry.and_then(|entry| entry.message.hidden_reason.clone()),
            message: entry.map(|entry| Message::new(entry, family.contact.as_ref())),
            legs: family.legs.iter().map(|row| CallLeg::new(row, &family.root)).collect(),
            root_sid: family.root,
            past,
            position,
        }
    }
}

/// What is known of one leg.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallLeg {
    sid: String,
    parent_sid: Option<String>,
    is_root: bool,
    /// Something was heard of the call itself, not only of a recording or a child.
    announced: bool,
    direction: Option<String>,
    party: Option<PartyOfLeg>,
    /// Which rule decided the direction and the party.
    rule: Option<String>,
    twilio_direction: Option<String>,
    from: Option<String>,
    to: Option<String>,
    forwarded_from: Option<String>,
    caller_name: Option<String>,
    status: Option<String>,
    /// The status was derived from a dial action, and a callback or Twilio's REST API has yet to confirm it.
    provisional: bool,
    #[serde(with = "rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    answered_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    end_reason: Option<String>,
    /// Seconds.
    duration: Option<i32>,
    price: Option<String>,
    price_unit: Option<String>,
    answered_by: Option<String>,
    /// Milliseconds, as Twilio counts it.
    queue_time: Option<i32>,
    #[serde(with = "rfc3339::option")]
    last_event_time: Option<OffsetDateTime>,
    /// What dial actions said, by the SID of the leg that was dialled.
    #[schema(value_type = BTreeMap<String, Object>)]
    dials: Value,
    recordings: Vec<RecordingOfLeg>,
    /// Final, priced and old enough to be left alone.
    frozen: bool,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    updated_at: OffsetDateTime,
}

/// The external party of a leg.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PartyOfLeg {
    key: String,
    kind: Option<String>,
    display: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RecordingOfLeg {
    sid: String,
    /// `processing`, `completed`, `absent`, `failed` or `in-progress`.
    #[schema(value_type = String)]
    status: Value,
    /// Seconds.
    duration: Option<u32>,
    channels: Option<u8>,
    #[serde(with = "rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    source: Option<String>,
    track: Option<String>,
}

impl CallLeg {
    fn new(row: &Leg, root: &str) -> Self {
        let recordings = row.recordings.iter().map(|(sid, recording)| RecordingOfLeg {
            sid: sid.as_str().to_owned(),
            status: json!(recording.status),
            duration: recording.seconds,
            channels: recording.channels,
            started_at: recording.started_at,
            source: recording.source.clone(),
            track: recording.track.clone(),
        });
        Self {
            sid: row.call_sid.clone(),
            parent_sid: row.parent_call_sid.clone(),
            is_root: row.call_sid == root,
            announced: row.announced,
            direction: row.direction.clone(),
            party: row.party_key.as_ref().map(|key| PartyOfLeg {
                key: key.clone(),
                kind: row.party_kind.clone(),
                display: row.party_display.clone(),
            }),
            rule: row.rule.clone(),
            twilio_direction: row.twilio_direction.clone(),
            from: row.from_number.clone(),
            to: row.to_number.clone(),
            forwarded_from: row.forwarded_from.clone(),
            caller_name: row.caller_name.clone(),
            status: row.status.clone(),
            provisional: row.provisional,
            started_at: row.started_at,
            answered_at: row.answered_at,
            ended_at: row.ended_at,
            end_reason: row.end_reason.clone(),
            duration: row.duration,
            price: row.price.map(|price| price.to_string()),
            price_unit: row.price_unit.clone(),
            answered_by: row.answered_by.clone(),
            queue_time: row.queue_time,
            last_event_time: row.last_event_time,
            dials: json!(row.dials),
            recordings: recordings.collect(),
            frozen: row.frozen,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A page of a family's events.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallEvents {
    pub sid: String,
    pub events: Vec<CallEvent>,
    /// What to give as `after` for the next page; null on the last one.
    pub next_after: Option<i64>,
    pub position: i64,
}

/// An event as the log has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallEvent {
    #[serde(flatten)]
    place: EventPlace,
    /// What the live stream shows of it.
    #[schema(value_type = Option<Object>)]
    summary: Value,
    #[schema(value_type = Object)]
    payload: Value,
}

/// Where an event stands, and what it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventPlace {
    position: i64,
    #[serde(with = "rfc3339")]
    recorded_at: OffsetDateTime,
    /// When it happened, by Twilio's clock.
    #[serde(with = "rfc3339::option")]
    event_time: Option<OffsetDateTime>,
    call_sid: String,
    sequence: i64,
    #[serde(rename = "type")]
    #[schema(example = "call.status_changed")]
    kind: String,
    version: String,
    /// `webhook`, or what else appended it.
    source: Option<String>,
}

impl From<&PastEvent> for EventPlace {
    fn from(event: &PastEvent) -> Self {
        let stored = &event.stored;
        Self {
            position: stored.position,
            recorded_at: stored.recorded_at,
            event_time: event.event_time,
            call_sid: stored.aggregate_id.clone(),
            sequence: stored.sequence,
            kind: stored.event_type.clone(),
            version: stored.event_version.clone(),
            source: event.source.clone(),
        }
    }
}

impl From<&PastEvent> for CallEvent {
    fn from(event: &PastEvent) -> Self {
        let payload = event.payload();
        Self {
            place: event.into(),
            summary: payload.get("summary").cloned().unwrap_or_default(),
            payload: without_media(payload),
        }
    }
}

/// Why a call is what it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    pub sid: String,
    pub root_sid: String,
    /// The calls of the family that anything was said of.
    pub calls: Vec<String>,
    /// In the order in which things were received, or appended by callbook itself.
    pub steps: Vec<ExplainedStep>,
    pub position: i64,
}

/// A request and the events that it made, or an event that no request made that is still kept.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ExplainedStep {
    Received(ReceivedStep),
    Recorded(ExplainedEvent),
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReceivedStep {
    inbox_id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    call_sid: Option<String>,
    #[serde(with = "rfc3339")]
    received_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    processed_at: Option<OffsetDateTime>,
    request_id: Option<String>,
    /// The parameters, or the resource, as they came.
    #[schema(value_type = Object)]
    said: Value,
    /// `recorded`, `already_so`, `refused`, `waiting`, `failed` or `given_up`.
    result: String,
    reason: Option<String>,
    tries: i32,
    #[serde(with = "rfc3339::option")]
    next_attempt_at: Option<OffsetDateTime>,
    events: Vec<ExplainedEvent>,
}

/// An event and what it changed in the rows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExplainedEvent {
    #[serde(flatten)]
    place: EventPlace,
    #[schema(value_type = Option<Object>)]
    summary: Value,
    /// The row of the inbox that made it, where that is kept no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    forgotten_inbox_id: Option<String>,
    /// Why it changed nothing.
    unreadable: Option<UnreadableEvent>,
    changes: Vec<RowChange>,
}

/// A call of which no more is known than up to an event that cannot be read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnreadableEvent {
    call_sid: String,
    position: i64,
    reason: String,
}

impl From<&Unreadable> for UnreadableEvent {
    fn from(unreadable: &Unreadable) -> Self {
        let Unreadable { call_sid, position, reason } = unreadable.clone();
        Self { call_sid, position, reason }
    }
}

impl From<&EventStep> for ExplainedEvent {
    fn from(step: &EventStep) -> Self {
        let mut changes = step.changes.clone();
        for field in changes.iter_mut().flat_map(|change| &mut change.fields) {
            field.before = without_media(field.before.take());
            field.after = without_media(field.after.take());
        }
        Self {
            place: (&step.event).into(),
            summary: step.event.payload().get("summary").cloned().unwrap_or_default(),
            forgotten_inbox_id: None,
            unreadable: step.unreadable.as_ref().map(UnreadableEvent::from),
            changes,
        }
    }
}

impl From<&Step> for ExplainedStep {
    fn from(step: &Step) -> Self {
        match step {
            Step::Recorded(step) => Self::Recorded(ExplainedEvent {
                forgotten_inbox_id: step.event.inbox_id.clone(),
                ..(&**step).into()
            }),
            Step::Received(row, events) => Self::Received(ReceivedStep::new(row, events)),
        }
    }
}

impl ReceivedStep {
    fn new(row: &Received, events: &[EventStep]) -> Self {
        Self {
            inbox_id: row.id.to_string(),
            source: row.source.clone(),
            kind: row.event_type.clone(),
            call_sid: row.call_sid.clone(),
            received_at: row.received_at,
            processed_at: row.processed_at,
            request_id: row.request_id.clone(),
            said: without_media(row.payload.clone()),
            result: row.result().to_owned(),
            reason: row.error.clone(),
            tries: row.retry_count,
            next_attempt_at: row.next_attempt_at,
            events: events.iter().map(ExplainedEvent::from).collect(),
        }
    }
}
