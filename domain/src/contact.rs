//! The `Contact` aggregate: what people enter about a party, named by the party's natural key.
//!
//! A party that has called has a contact without anybody having entered one, so the first event of a stream may
//! be any. As for a call, [`Contact::decide`] is pure and has four outcomes: *recorded*, *already so*, *refused*,
//! and *conflict*, which the event store finds.

pub mod event;
#[cfg(test)]
mod tests;
pub mod text;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use event::ContactEvent;
pub use text::{Name, Notes, Tag, Tags};

use crate::decider::Decider;
use crate::direction::Party;
use crate::upcast::DecodeError;

/// What people have entered about a party.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Absent until somebody enters anything.
    pub party: Option<Party>,
    pub name: Option<Name>,
    pub notes: Option<Notes>,
    pub tags: Tags,
}

/// A command on the contact of a party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactCommand {
    /// Somebody puts a party into the book. What is known of a party that is there stays as it is.
    Add { party: Party, details: Details, at: OffsetDateTime },
    /// Somebody changes what is known of a party.
    Change { party: Party, details: Details, at: OffsetDateTime },
}

/// What is to be so afterwards; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Nothing inside removes the name.
    pub name: Option<Option<Name>>,
    pub notes: Option<Option<Notes>>,
    pub tags: Option<Tags>,
}

/// Why a command on a [`Contact`] was refused. No retry helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    #[error("withheld callers cannot be told apart, so none of them can be named")]
    Withheld,
}

impl Contact {
    /// Decides what a command adds to what is known.
    pub fn decide(&self, command: ContactCommand) -> Result<Vec<ContactEvent>, ContactError> {
        let (ContactCommand::Add { party, .. } | ContactCommand::Change { party, .. }) = &command;
        if *party == Party::Withheld {
            return Err(ContactError::Withheld);
        }
        Ok(match command {
            ContactCommand::Add { .. } if self.party.is_some() => Vec::new(),
            ContactCommand::Add { party, details, at } => {
                let added = ContactEvent::Added { occurred_at: at, party: party.clone() };
                std::iter::once(added).chain(self.change(party, details, at)).collect()
            }
            ContactCommand::Change { party, details, at } => self.change(party, details, at),
        })
    }

    fn change(&self, party: Party, details: Details, occurred_at: OffsetDateTime) -> Vec<ContactEvent> {
        let Details { name, notes, tags } = details;
        let renamed = name.filter(|name| *name != self.name).map(|name| ContactEvent::Renamed {
            occurred_at,
            party: party.clone(),
            name,
        });
        let annotated = notes.filter(|notes| *notes != self.notes).map(|notes| ContactEvent::NotesChanged {
            occurred_at,
            party: party.clone(),
            notes,
        });
        let tagged = tags.filter(|tags| *tags != self.tags).map(|tags| ContactEvent::TagsChanged {
            occurred_at,
            party,
            tags,
        });
        [renamed, annotated, tagged].into_iter().flatten().collect()
    }

    fn record(&mut self, event: ContactEvent) {
        self.party = Some(event.party().clone());
        match event {
            ContactEvent::Added { .. } => {}
            ContactEvent::Renamed { name, .. } => self.name = name,
            ContactEvent::NotesChanged { notes, .. } => self.notes = notes,
            ContactEvent::TagsChanged { tags, .. } => self.tags = tags,
        }
    }
}

impl Decider for Contact {
    fn decide(&self, command: ContactCommand) -> Result<Vec<ContactEvent>, ContactError> {
        Self::decide(self, command)
    }

    fn decode(event_type: &str, version: &str, payload: &str) -> Result<ContactEvent, DecodeError> {
        ContactEvent::decode(event_type, version, payload)
    }
}

impl Aggregate for Contact {
    const TYPE: &'static str = "contact";
    type Command = ContactCommand;
    type Event = ContactEvent;
    type Error = ContactError;
    type Services = ();

    async fn handle(
        &mut self,
        command: ContactCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ContactError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ContactEvent) {
        self.record(event);
    }
}
