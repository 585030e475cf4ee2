//! What people have entered about a party: past-tense, versioned facts.
//!
//! Each event carries the party, so that a contact can be shown of which no call is known. Golden payloads are in
//! `domain/tests/golden`.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::text::{Name, Notes, Tags};
use crate::direction::Party;
use crate::upcast::{DecodeError, Format, Step, Upcasters};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ContactEvent {
    /// Somebody put the party into the book.
    #[serde(rename = "contact.added")]
    Added {
        /// When it was entered. UTC.
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        party: Party,
    },
    /// Without a name, it was removed.
    #[serde(rename = "contact.renamed")]
    Renamed {
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        party: Party,
        name: Option<Name>,
    },
    /// Without notes, they were removed.
    #[serde(rename = "contact.notes_changed")]
    NotesChanged {
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        party: Party,
        notes: Option<Notes>,
    },
    /// All tags as they are from here on.
    #[serde(rename = "contact.tags_changed")]
    TagsChanged {
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        party: Party,
        tags: Tags,
    },
}

/// What [`ContactEvent::decode`] reads.
pub const READABLE: Upcasters = Upcasters::checked(&ContactEvent::FORMATS, &STEPS);

const STEPS: [Step; 0] = [];

impl ContactEvent {
    /// What every type is called in the log, and the version in which it is written today.
    pub const FORMATS: [Format; 4] = [
        Format::tagged("contact.added", "1"),
        Format::tagged("contact.renamed", "1"),
        Format::tagged("contact.notes_changed", "1"),
        Format::tagged("contact.tags_changed", "1"),
    ];

    fn format(&self) -> &'static Format {
        const FORMATS: &[Format; 4] = &ContactEvent::FORMATS;
        match self {
            Self::Added { .. } => &FORMATS[0],
            Self::Renamed { .. } => &FORMATS[1],
            Self::NotesChanged { .. } => &FORMATS[2],
            Self::TagsChanged { .. } => &FORMATS[3],
        }
    }

    /// Reads a stored payload of any version.
    pub fn decode(event_type: &str, version: &str, payload: &str) -> Result<Self, DecodeError> {
        READABLE.decode(event_type, version, payload)
    }

    pub fn party(&self) -> &Party {
        match self {
            Self::Added { party, .. }
            | Self::Renamed { party, .. }
            | Self::NotesChanged { party, .. }
            | Self::TagsChanged { party, .. } => party,
        }
    }

    pub fn occurred_at(&self) -> OffsetDateTime {
        match self {
            Self::Added { occurred_at, .. }
            | Self::Renamed { occurred_at, .. }
            | Self::NotesChanged { occurred_at, .. }
            | Self::TagsChanged { occurred_at, .. } => *occurred_at,
        }
    }
}

impl DomainEvent for ContactEvent {
    fn event_type(&self) -> String {
        self.format().event_type.to_owned()
    }

    fn event_version(&self) -> String {
        self.format().version.to_owned()
    }
}
