//! Reading what stands in the log, in whatever version it was written.
//!
//! The log is kept for ever and never rewritten. A format changes by a new version, and by a [`Step`] that makes
//! a payload of the old version into one of the next. Reading follows the steps to the version that is written
//! today; that they lead there is checked when this is compiled. What is in today's version, as nearly all of a
//! log is, is parsed once and never meets a step.

use cqrs_es::DomainEvent;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An event type and the version in which it is written today; `wrap` makes an event of its payload, where the
/// payload does not say which event it is.
#[derive(Clone, Copy, Debug)]
pub struct Format<W = ()> {
    pub event_type: &'static str,
    pub version: &'static str,
    pub wrap: W,
}

/// Makes a payload of one version of an event type into one of the next.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub event_type: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    pub change: fn(Value) -> Result<Value, Misfit>,
}

/// An old payload is not what its version says. Says what it lacks, never what it holds: a payload is personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(pub &'static str);

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
    #[error("the payload of a {event_type} event in version {version:?} is not what that version was")]
    Old {
        event_type: String,
        version: String,
        #[source]
        misfit: Misfit,
    },
}

/// Why steps are no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("a step is for {event_type:?}, which no event is called")]
    UnknownType { event_type: &'static str },
    #[error("two steps lead on from version {from} of {event_type}")]
    Ambiguous { event_type: &'static str, from: &'static str },
    #[error("the steps from version {from} of {event_type} end before today's version")]
    Hole { event_type: &'static str, from: &'static str },
    #[error("the steps from version {from} of {event_type} run in a circle")]
    Circle { event_type: &'static str, from: &'static str },
}

/// All that can be read of one aggregate: today's formats, and the steps that lead to them.
#[derive(Clone, Copy, Debug)]
pub struct Upcasters<W: 'static = ()> {
    formats: &'static [Format<W>],
    steps: &'static [Step],
}

impl<W> Upcasters<W> {
    /// Refuses steps that do not all lead to today's version of their type, each on one way.
    pub const fn try_new(formats: &'static [Format<W>], steps: &'static [Step]) -> Result<Self, ChainError> {
        let upcasters = Self { formats, steps };
        let mut at = 0;
        while at < steps.len() {
            if let Err(error) = upcasters.check(at) {
                return Err(error);
            }
            at += 1;
        }
        Ok(upcasters)
    }

    /// The same for a constant: what is wrong with it does not compile.
    pub const fn checked(formats: &'static [Format<W>], steps: &'static [Step]) -> Self {
        match Self::try_new(formats, steps) {
            Ok(upcasters) => upcasters,
            Err(ChainError::UnknownType { .. }) => panic!("a step is for an event type that there is not"),
            Err(ChainError::Ambiguous { .. }) => panic!("two steps lead on from the same version"),
            Err(ChainError::Hole { .. }) => panic!("some steps end before today's version"),
            Err(ChainError::Circle { .. }) => panic!("some steps run in a circle"),
        }
    }

    const fn check(&self, at: usize) -> Result<(), ChainError> {
        let Step { event_type, from, to, .. } = self.steps[at];
        let Some(today) = self.today(event_type) else { return Err(ChainError::UnknownType { event_type }) };
        // Anything but itself that leads on from there.
        if !matches!(self.step(event_type, from), Some(first) if first == at) {
            return Err(ChainError::Ambiguous { event_type, from });
        }
        let mut version = to;
        let mut hops = 0;
        while !same(version, today) {
            let Some(next) = self.step(event_type, version) else {
                return Err(ChainError::Hole { event_type, from });
            };
            version = self.steps[next].to;
            hops += 1;
            if hops > self.steps.len() {
                return Err(ChainError::Circle { event_type, from });
            }
        }
        // From today's version there is nowhere to go, and back to it there is only a circle.
        if same(from, today) { Err(ChainError::Circle { event_type, from }) } else { Ok(()) }
    }

    /// The version in which a type is written today.
    const fn today(&self, event_type: &str) -> Option<&'static str> {
        let mut at = 0;
        while at < self.formats.len() {
            if same(self.formats[at].event_type, event_type) {
                return Some(self.formats[at].version);
            }
            at += 1;
        }
        None
    }

    /// The first step that leads on from a version.
    const fn step(&self, event_type: &str, from: &str) -> Option<usize> {
        let mut at = 0;
        while at < self.steps.len() {
            if same(self.steps[at].event_type, event_type) && same(self.steps[at].from, from) {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    /// The version in which a type is written today, where there is such a type.
    pub fn writes(&self, event_type: &str) -> Option<&'static str> {
        self.today(event_type)
    }

    /// Whether a payload of this type and version can be read, if it is what they say.
    pub fn reads(&self, event_type: &str, version: &str) -> bool {
        self.today(event_type).is_some_and(|today| today == version)
            || self.step(event_type, version).is_some()
    }

    /// Reads a stored payload, and says which format it is in. Type and version are taken from their columns.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        event_type: &str,
        version: &str,
        payload: &str,
    ) -> Result<(&'static Format<W>, T), DecodeError> {
        let unknown =
            || DecodeError::Unknown { event_type: event_type.to_owned(), version: version.to_owned() };
        let unreadable = |error: serde_json::Error| DecodeError::Payload {
            event_type: event_type.to_owned(),
            column: error.column(),
        };
        let format =
            self.formats.iter().find(|format| format.event_type == event_type).ok_or_else(unknown)?;
        if format.version == version {
            return Ok((format, serde_json::from_str(payload).map_err(unreadable)?));
        }
        if self.step(event_type, version).is_none() {
            return Err(unknown());
        }
        let old: Value = serde_json::from_str(payload).map_err(unreadable)?;
        let read = self.upcast(event_type, version, old).map_err(|misfit| DecodeError::Old {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
            misfit,
        })?;
        Ok((format, read))
    }

    fn upcast<T: DeserializeOwned>(
        &self,
        event_type: &str,
        version: &str,
        mut payload: Value,
    ) -> Result<T, Misfit> {
        let mut version = version;
        while let Some(step) = self.step(event_type, version).map(|at| self.steps[at]) {
            payload = (step.change)(payload)?;
            version = step.to;
        }
        serde_json::from_value(payload).map_err(|_| Misfit("what the steps make of it is not an event"))
    }
}

impl Format {
    /// Of an event whose payload says which it is, by its `type`.
    pub const fn tagged(event_type: &'static str, version: &'static str) -> Self {
        Self { event_type, version, wrap: () }
    }
}

impl Upcasters {
    /// Reads a stored payload that says which event it is.
    pub fn decode<E>(&self, event_type: &str, version: &str, payload: &str) -> Result<E, DecodeError>
    where
        E: DomainEvent + DeserializeOwned,
    {
        let (_, event): (_, E) = self.read(event_type, version, payload)?;
        if event.event_type() == event_type {
            return Ok(event);
        }
        Err(DecodeError::Old {
            event_type: event_type.to_owned(),
            version: version.to_owned(),
            misfit: Misfit("its column says another type than its payload"),
        })
    }
}

/// Equality of strings, which constants cannot ask for with `==`.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
