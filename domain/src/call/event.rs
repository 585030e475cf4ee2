//! What happened to a call: past-tense, versioned facts.
//!
//! Every event carries the facts it added, and the small summary that an SSE client shows, so that what a
//! client is told is a function of one event. Golden payloads are in `domain/tests/golden`.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::facts::Facts;
use super::status::CallStatus;
use crate::direction::{Classification, Direction};

/// The version that [`CallEvent`] writes today, for every type.
pub const EVENT_VERSION: &str = "1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum CallEvent {
    /// The call is known by name: who calls whom. A recording may have been reported before.
    #[serde(rename = "call.created")]
    Created(Change),
    #[serde(rename = "call.status_changed")]
    StatusChanged(Change),
    /// A `<Dial>` of this call ended.
    #[serde(rename = "call.dial_completed")]
    DialCompleted(Change),
    /// A recording can be played.
    #[serde(rename = "recording.ready")]
    RecordingReady(Change),
    /// Price, times, answered by, and late facts that change no status.
    #[serde(rename = "call.details_reconciled")]
    DetailsReconciled(Change),
    /// The configured lines changed, and an operator had the past judged by them.
    #[serde(rename = "call.reclassified")]
    Reclassified(Change),
    #[serde(rename = "call.frozen")]
    Frozen(Change),
}

/// What an event added to what was known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When it happened by Twilio's clock, else when the report was received. UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
    /// The call as it stands after this event.
    pub summary: Summary,
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
    /// Present when who calls whom was learnt or judged anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<Classification>,
}

/// Seed 000's SSE payload, without the call's SID and the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub status: Option<CallStatus>,
    pub direction: Option<Direction>,
    /// E.164 where it is a number, else as Twilio wrote it.
    pub from: Option<String>,
    pub to: Option<String>,
    /// Seconds.
    pub duration: Option<u32>,
}

/// The log holds an event that this binary cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(
        "event type {event_type:?} in version {version:?} is not known to this callbook; run a newer one"
    )]
    Unknown { event_type: String, version: String },
    /// The parser's own message may quote the payload, and a payload is personal: only the place is told.
    #[error("the payload of a {event_type} event cannot be read beyond its character {column}")]
    Payload { event_type: String, column: usize },
}

impl CallEvent {
    pub const TYPES: [&'static str; 7] = [
        "call.created",
        "call.status_changed",
        "call.dial_completed",
        "recording.ready",
        "call.details_reconciled",
        "call.reclassified",
        "call.frozen",
    ];

    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Created(_) => "call.created",
            Self::StatusChanged(_) => "call.status_changed",
            Self::DialCompleted(_) => "call.dial_completed",
            Self::RecordingReady(_) => "recording.ready",
            Self::DetailsReconciled(_) => "call.details_reconciled",
            Self::Reclassified(_) => "call.reclassified",
            Self::Frozen(_) => "call.frozen",
        }
    }

    /// Reads a stored payload. The type is taken from its column, so the payload is parsed once.
    pub fn decode(event_type: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        let unknown =
            || DecodeError::Unknown { event_type: event_type.to_owned(), version: version.to_owned() };
        let wrap = match event_type {
            "call.created" => Self::Created,
            "call.status_changed" => Self::StatusChanged,
            "call.dial_completed" => Self::DialCompleted,
            "recording.ready" => Self::RecordingReady,
            "call.details_reconciled" => Self::DetailsReconciled,
            "call.reclassified" => Self::Reclassified,
            "call.frozen" => Self::Frozen,
            _ => return Err(unknown()),
        };
        if version != EVENT_VERSION {
            return Err(unknown());
        }
        serde_json::from_str(payload).map(wrap).map_err(|error| DecodeError::Payload {
            event_type: event_type.to_owned(),
            column: error.column(),
        })
    }

    pub fn change(&self) -> &Change {
        match self {
            Self::Created(change)
            | Self::StatusChanged(change)
            | Self::DialCompleted(change)
            | Self::RecordingReady(change)
            | Self::DetailsReconciled(change)
            | Self::Reclassified(change)
            | Self::Frozen(change) => change,
        }
    }

    pub fn into_change(self) -> Change {
        match self {
            Self::Created(change)
            | Self::StatusChanged(change)
            | Self::DialCompleted(change)
            | Self::RecordingReady(change)
            | Self::DetailsReconciled(change)
            | Self::Reclassified(change)
            | Self::Frozen(change) => change,
        }
    }
}

impl DomainEvent for CallEvent {
    fn event_type(&self) -> String {
        self.type_name().to_owned()
    }

    fn event_version(&self) -> String {
        EVENT_VERSION.to_owned()
    }
}
