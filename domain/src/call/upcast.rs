//! The versions in which events of calls have been written, and the steps from one to the next.

use serde_json::Value;

pub use crate::upcast::{ChainError, Misfit, Step};

use super::event::{CallEvent, Change, DecodeError, FROZEN, Told};

/// Makes an event of what a payload says; all payloads have one form.
pub type Wrap = fn(Change) -> CallEvent;
pub type Format = crate::upcast::Format<Wrap>;
pub type Upcasters = crate::upcast::Upcasters<Wrap>;

/// What [`CallEvent::decode`] reads.
pub const CURRENT: Upcasters = Upcasters::checked(&CallEvent::FORMATS, &STEPS);

const STEPS: [Step; 1] =
    [Step { event_type: "call.dial_completed", from: "1", to: "2", change: dials_say_their_status }];

/// Version 1 stored a dial's status as a whole report, whose authority was always "derived": nothing but a dial
/// action tells of a dial. Version 2 stores the status.
fn dials_say_their_status(mut payload: Value) -> Result<Value, Misfit> {
    let Some(dials) = payload.pointer_mut("/facts/dials") else { return Ok(payload) };
    let dials = dials.as_object_mut().ok_or(Misfit("its dials are not an object"))?;
    for dial in dials.values_mut() {
        let status = dial.pointer_mut("/status/status").ok_or(Misfit("a dial has no status report"))?.take();
        dial["status"] = status;
    }
    Ok(payload)
}

impl Upcasters {
    /// Reads a stored payload. Type and version are taken from their columns.
    pub fn decode(&self, event_type: &str, version: &str, payload: &str) -> Result<CallEvent, DecodeError> {
        let (format, change) = self.read(event_type, version, payload)?;
        Ok((format.wrap)(change))
    }

    /// Reads what a fold takes of a stored payload.
    pub fn told(&self, event_type: &str, version: &str, payload: &str) -> Result<Told, DecodeError> {
        let (format, told): (_, Told) = self.read(event_type, version, payload)?;
        Ok(Told { frozen: format.event_type == FROZEN, ..told })
    }
}
