//! The `Conversation` aggregate: what people do with a thread, named by the natural key of its party.
//!
//! Both of its marks are places in the thread's own time, which is Twilio's clock, and say what whoever set them had
//! seen. So what they mean for the calls of the thread does not depend on the order in which those are heard of:
//!
//! - *archived up to* the start of the newest call that was seen: an inbound call that began later brings the
//!   thread back, an older one that is found later does not;
//! - *read up to* the end of the last call that was seen: a missed call that ended later is unread.

pub mod event;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use event::ConversationEvent;

use crate::decider::Decider;
use crate::upcast::DecodeError;

/// What people have done with a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// The start of the newest call that whoever archived it had seen.
    #[serde(with = "time::serde::rfc3339::option")]
    pub archived_up_to: Option<OffsetDateTime>,
    /// It only ever moves on.
    #[serde(with = "time::serde::rfc3339::option")]
    pub read_up_to: Option<OffsetDateTime>,
}

/// A command on the conversation with a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversationCommand {
    /// `up_to` is the start of the newest call that was seen, and `newest` that of the newest there is.
    Archive {
        up_to: OffsetDateTime,
        newest: OffsetDateTime,
        at: OffsetDateTime,
    },
    Unarchive {
        at: OffsetDateTime,
    },
    /// `up_to` is the end of the last call that was seen; nothing can have been seen after `known_until`.
    Read {
        up_to: OffsetDateTime,
        known_until: OffsetDateTime,
        at: OffsetDateTime,
    },
}

/// Why a command on a [`Conversation`] was refused. No retry helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversationError {
    #[error("nobody can have read what comes after {known_until}")]
    ReadTooFar { known_until: OffsetDateTime },
    #[error("the newest call began at {newest}, so nobody can have seen a later one")]
    ArchivedTooFar { newest: OffsetDateTime },
}

impl Conversation {
    /// Decides what a command adds to what is known.
    pub fn decide(&self, command: ConversationCommand) -> Result<Vec<ConversationEvent>, ConversationError> {
        match command {
            ConversationCommand::Archive { up_to, newest, .. } if up_to > newest => {
                Err(ConversationError::ArchivedTooFar { newest })
            }
            ConversationCommand::Archive { up_to, at, .. } => {
                // Whoever saw more than the last archiver archives it again; who saw less adds nothing.
                let is_news = self.archived_up_to.is_none_or(|known| known < up_to);
                Ok(is_news
                    .then_some(ConversationEvent::Archived { occurred_at: at, up_to })
                    .into_iter()
                    .collect())
            }
            ConversationCommand::Unarchive { at } => {
                let unarchived = ConversationEvent::Unarchived { occurred_at: at };
                Ok(self.archived_up_to.map(|_| unarchived).into_iter().collect())
            }
            ConversationCommand::Read { up_to, known_until, .. } if up_to > known_until => {
                Err(ConversationError::ReadTooFar { known_until })
            }
            ConversationCommand::Read { up_to, at, .. } => {
                let is_news = self.read_up_to.is_none_or(|known| known < up_to);
                Ok(is_news
                    .then_some(ConversationEvent::Read { occurred_at: at, up_to })
                    .into_iter()
                    .collect())
            }
        }
    }

    fn record(&mut self, event: ConversationEvent) {
        match event {
            ConversationEvent::Archived { up_to, .. } => self.archived_up_to = Some(up_to),
            ConversationEvent::Unarchived { .. } => self.archived_up_to = None,
            ConversationEvent::Read { up_to, .. } => self.read_up_to = Some(up_to),
        }
    }
}

impl Decider for Conversation {
    fn decide(&self, command: ConversationCommand) -> Result<Vec<ConversationEvent>, ConversationError> {
        Self::decide(self, command)
    }

    fn decode(event_type: &str, version: &str, payload: &str) -> Result<ConversationEvent, DecodeError> {
        ConversationEvent::decode(event_type, version, payload)
    }
}

impl Aggregate for Conversation {
    const TYPE: &'static str = "conversation";
    type Command = ConversationCommand;
    type Event = ConversationEvent;
    type Error = ConversationError;
    type Services = ();

    async fn handle(
        &mut self,
        command: ConversationCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), ConversationError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ConversationEvent) {
        self.record(event);
    }
}
