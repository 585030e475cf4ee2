//! What people have done with a thread: past-tense, versioned facts. Golden payloads are in `domain/tests/golden`.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::upcast::{DecodeError, Format, Step, Upcasters};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ConversationEvent {
    #[serde(rename = "conversation.archived")]
    Archived {
        /// When it was done. UTC.
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        /// The start of the newest call that was seen.
        #[serde(with = "time::serde::rfc3339")]
        up_to: OffsetDateTime,
    },
    #[serde(rename = "conversation.unarchived")]
    Unarchived {
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
    },
    #[serde(rename = "conversation.read")]
    Read {
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        /// The end of the last call that was seen.
        #[serde(with = "time::serde::rfc3339")]
        up_to: OffsetDateTime,
    },
}

/// What [`ConversationEvent::decode`] reads.
pub const READABLE: Upcasters = Upcasters::checked(&ConversationEvent::FORMATS, &STEPS);

const STEPS: [Step; 0] = [];

impl ConversationEvent {
    /// What every type is called in the log, and the version in which it is written today.
    pub const FORMATS: [Format; 3] = [
        Format::tagged("conversation.archived", "1"),
        Format::tagged("conversation.unarchived", "1"),
        Format::tagged("conversation.read", "1"),
    ];

    fn format(&self) -> &'static Format {
        const FORMATS: &[Format; 3] = &ConversationEvent::FORMATS;
        match self {
            Self::Archived { .. } => &FORMATS[0],
            Self::Unarchived { .. } => &FORMATS[1],
            Self::Read { .. } => &FORMATS[2],
        }
    }

    /// Reads a stored payload of any version.
    pub fn decode(event_type: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        READABLE.decode(event_type, version, payload)
    }

    pub fn occurred_at(&self) -> OffsetDateTime {
        match self {
            Self::Archived { occurred_at, .. }
            | Self::Unarchived { occurred_at }
            | Self::Read { occurred_at, .. } => *occurred_at,
        }
    }
}

impl DomainEvent for ConversationEvent {
    fn event_type(&self) -> String {
        self.format().event_type.to_owned()
    }

    fn event_version(&self) -> String {
        self.format().version.to_owned()
    }
}
