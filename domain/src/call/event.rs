//! What happened to a call: past-tense, versioned facts.
//!
//! Every event carries the facts it added, and the small summary that an SSE client shows, so that what a
//! client is told is a function of one event. Golden payloads are in `domain/tests/golden`.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::facts::Facts;
use super::status::CallStatus;
use super::upcast::{self, Format};
use crate::direction::{Classification, Direction};
pub use crate::upcast::DecodeError;

pub(super) const FROZEN: &str = "call.frozen";

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

/// What a fold takes of an event: all but the summary and the time, which only those who tell of it need.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Told {
    #[serde(default)]
    pub facts: Facts,
    #[serde(default)]
    pub classification: Option<Classification>,
    /// Nothing more is to come.
    #[serde(skip)]
    pub frozen: bool,
}

impl From<CallEvent> for Told {
    fn from(event: CallEvent) -> Self {
        let frozen = matches!(event, CallEvent::Frozen(_));
        let Change { facts, classification, .. } = event.into_change();
        Self { facts, classification, frozen }
    }
}

impl CallEvent {
    /// What every type is called in the log, and the version in which it is written today.
    pub const FORMATS: [Format; 7] = [
        Format { event_type: "call.created", version: "1", wrap: Self::Created },
        Format { event_type: "call.status_changed", version: "1", wrap: Self::StatusChanged },
        Format { event_type: "call.dial_completed", version: "2", wrap: Self::DialCompleted },
        Format { event_type: "recording.ready", version: "1", wrap: Self::RecordingReady },
        Format { event_type: "call.details_reconciled", version: "1", wrap: Self::DetailsReconciled },
        Format { event_type: "call.reclassified", version: "1", wrap: Self::Reclassified },
        Format { event_type: FROZEN, version: "1", wrap: Self::Frozen },
    ];

    fn format(&self) -> &'static Format {
        const FORMATS: &[Format; 7] = &CallEvent::FORMATS;
        match self {
            Self::Created(_) => &FORMATS[0],
            Self::StatusChanged(_) => &FORMATS[1],
            Self::DialCompleted(_) => &FORMATS[2],
            Self::RecordingReady(_) => &FORMATS[3],
            Self::DetailsReconciled(_) => &FORMATS[4],
            Self::Reclassified(_) => &FORMATS[5],
            Self::Frozen(_) => &FORMATS[6],
        }
    }

    pub fn type_name(&self) -> &'static str {
        self.format().event_type
    }

    /// The version in which this event is written.
    pub fn version(&self) -> &'static str {
        self.format().version
    }

    /// Reads a stored payload of any version; whoever reads the log does it by this. The type is taken from its
    /// column, so a payload in today's version is parsed once.
    pub fn decode(event_type: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        upcast::CURRENT.decode(event_type, version, payload)
    }

    /// The same for a fold, which takes less of a payload and so reads it faster.
    pub fn told(event_type: &str, version: &str, payload: &str) -> Result<Told, DecodeError> {
        upcast::CURRENT.told(event_type, version, payload)
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
        self.version().to_owned()
    }
}
