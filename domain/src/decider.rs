//! What the event store asks of every aggregate.

use cqrs_es::Aggregate;

use crate::upcast::DecodeError;

/// An aggregate that decides purely, and whose events are read from the log in whatever version they were written.
pub trait Decider: Aggregate {
    /// What a command adds to what is known. No events mean that it was already so.
    fn decide(&self, command: Self::Command) -> Result<Vec<Self::Event>, Self::Error>;

    fn decode(event_type: &str, version: &str, payload: &str) -> Result<Self::Event, DecodeError>;
}
