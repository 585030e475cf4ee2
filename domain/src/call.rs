//! The `Call` aggregate: one leg of a phone call, named by its Call SID.
//!
//! [`Call::decide`] is pure and synchronous and has four outcomes: *recorded* (events), *already so* (no
//! event), *refused* (a [`CallError`]), and *conflict*, which the event store finds when somebody else
//! appended first. The framework's [`Aggregate`] is a thin adapter below it.

pub mod command;
pub mod error;
pub mod event;
pub mod facts;
pub mod status;
#[cfg(test)]
mod tests;
pub mod upcast;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use command::CallCommand;
pub use error::CallError;
pub use event::{CallEvent, Change, Summary};
pub use facts::Facts;
pub use status::{Authority, CallStatus};

use crate::decider::Decider;
use crate::direction::{Classification, Lines, classify};
use crate::sid::CallSid;
use command::GiveUp;
use event::DecodeError;
use facts::{DialLeg, RecordingStatus};

/// What is known of one leg.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub facts: Facts,
    /// Absent until a report says who calls whom.
    pub classification: Option<Classification>,
    pub frozen: bool,
}

impl Call {
    /// Decides what a command adds to what is known.
    ///
    /// No events mean that it was already so. The events, applied in order, give the state in which the
    /// same command is already so.
    pub fn decide(&self, command: CallCommand) -> Result<Vec<CallEvent>, CallError> {
        match command {
            CallCommand::Announce(report) => {
                not_own_parent(&report.call_sid, report.who.parent_call_sid.as_ref())?;
                let (at, lines) = (report.received_at, report.lines.clone());
                Ok(self.learn(report.facts(), at, Some(&lines)))
            }
            CallCommand::ReportStatus(report) => {
                not_own_parent(&report.call_sid, report.who.parent_call_sid.as_ref())?;
                let at = report.timestamp.unwrap_or(report.received_at);
                let lines = report.lines.clone();
                Ok(self.learn(report.facts(), at, Some(&lines)))
            }
            CallCommand::CompleteDial(report) => {
                not_own_parent(&report.call_sid, report.who.parent_call_sid.as_ref())?;
                if report.dialled == DialLeg::Leg(report.call_sid.clone()) {
                    return Err(CallError::DialledItself { call_sid: report.call_sid });
                }
                let (at, lines) = (report.received_at, report.lines.clone());
                Ok(self.learn(report.facts(), at, Some(&lines)))
            }
            CallCommand::ReportRecording(report) => {
                let facts = Facts {
                    recordings: [(report.recording_sid, report.recording)].into(),
                    ..Facts::default()
                };
                Ok(self.learn(facts, report.received_at, None))
            }
            CallCommand::ReportResource(report) => {
                not_own_parent(&report.call_sid, report.who.parent_call_sid.as_ref())?;
                let (at, lines) = (report.at(), report.lines.clone());
                Ok(self.learn(report.facts(), at, Some(&lines)))
            }
            CallCommand::GiveUp(given_up) => Ok(self.give_up(given_up)),
            CallCommand::Reclassify { lines, at } => self.reclassify(&lines, at),
            CallCommand::Freeze { at } => self.freeze(at),
        }
    }

    pub fn status(&self) -> Option<CallStatus> {
        self.facts.status.map(|report| report.status)
    }

    /// Ended by our own conclusion, not yet by Twilio's word.
    fn is_provisional(&self) -> bool {
        self.facts
            .status
            .is_some_and(|report| report.status.is_final() && report.authority == Authority::Derived)
    }

    /// Splits what is new by what a reader of the log looks for, in the order in which it makes sense.
    fn learn(&self, reported: Facts, at: OffsetDateTime, lines: Option<&Lines>) -> Vec<CallEvent> {
        let mut new = reported.beyond(&self.facts);
        if new.is_empty() {
            return Vec::new();
        }
        let mut after = self.clone();
        after.facts.join(new.clone());
        let classification = lines.filter(|_| new.identify()).map(|lines| after.facts.classify(lines));
        after.classification = classification.clone().or(after.classification);
        let summary = after.summary();
        let change = |facts, classification| Change {
            occurred_at: at,
            summary: summary.clone(),
            facts,
            classification,
        };

        let mut ready = Facts::default();
        for (sid, recording) in std::mem::take(&mut new.recordings) {
            // It becomes ready once; what is told of it later is a detail.
            let was_ready = self
                .facts
                .recordings
                .get(&sid)
                .is_some_and(|known| known.status == RecordingStatus::Completed);
            let is_news = recording.status == RecordingStatus::Completed && !was_ready;
            let bucket = if is_news { &mut ready } else { &mut new };
            bucket.recordings.insert(sid, recording);
        }
        let mut events = Vec::new();
        if classification.is_some() && self.classification.is_none() {
            let dials = std::mem::take(&mut new.dials);
            events.push(CallEvent::Created(change(std::mem::take(&mut new), classification)));
            new.dials = dials;
            if !new.is_empty() {
                events.push(CallEvent::DialCompleted(change(new, None)));
            }
        } else if !new.is_empty() {
            let kind = match () {
                () if !new.dials.is_empty() => CallEvent::DialCompleted,
                // That REST says what a callback has said is a detail; that an end was not concluded wrongly is not.
                () if new.status.is_some() && (after.status() != self.status() || self.is_provisional()) => {
                    CallEvent::StatusChanged
                }
                () => CallEvent::DetailsReconciled,
            };
            events.push(kind(change(new, classification)));
        }
        if !ready.is_empty() {
            events.push(CallEvent::RecordingReady(change(ready, None)));
        }
        events
    }

    fn reclassify(&self, lines: &Lines, at: OffsetDateTime) -> Result<Vec<CallEvent>, CallError> {
        let Some(known) = &self.classification else { return Err(CallError::NotAnnounced) };
        let judged = self.facts.classify(lines);
        if judged == *known {
            return Ok(Vec::new());
        }
        let after = Self { classification: Some(judged.clone()), ..self.clone() };
        Ok(vec![CallEvent::Reclassified(Change {
            occurred_at: at,
            summary: after.summary(),
            facts: Facts::default(),
            classification: Some(judged),
        })])
    }

    fn freeze(&self, at: OffsetDateTime) -> Result<Vec<CallEvent>, CallError> {
        if self.frozen {
            return Ok(Vec::new());
        }
        if !self.status().is_some_and(CallStatus::is_final) {
            return Err(CallError::NotEnded);
        }
        Ok(vec![self.frozen(at)])
    }

    /// Ends what has not ended, and freezes it.
    fn give_up(&self, given_up: GiveUp) -> Vec<CallEvent> {
        if self.frozen {
            return Vec::new();
        }
        let at = given_up.at;
        let facts = given_up.facts(&self.facts);
        let mut after = self.clone();
        after.facts.join(facts.clone());
        let mut events = self.learn(facts, at, None);
        events.push(after.frozen(at));
        events
    }

    fn frozen(&self, at: OffsetDateTime) -> CallEvent {
        CallEvent::Frozen(Change {
            occurred_at: at,
            summary: self.summary(),
            facts: Facts::default(),
            classification: None,
        })
    }

    /// Whether nothing more is to be expected of Twilio: the call has ended by the word of REST, what it costs is
    /// known, its recordings are made, and that was `settled_after` ago; or it ended so long ago that no more will
    /// come. Only a completed call is charged for.
    pub fn is_settled(&self, now: OffsetDateTime, settled_after: Duration, given_up_after: Duration) -> bool {
        let Some(report) = self.facts.status.filter(|report| report.status.is_final()) else { return false };
        let priced = self.facts.price.is_some() || report.status != CallStatus::Completed;
        let recorded = self.facts.recordings.values().all(|recording| recording.status.is_final());
        let complete = report.authority == Authority::Rest && priced && recorded;
        match self.facts.ended.map(|ended| ended.at.get()).or(self.facts.last_event_time) {
            Some(last) => now - last >= if complete { settled_after } else { given_up_after },
            None => complete,
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            status: self.status(),
            direction: self.classification.as_ref().map(|known| known.direction),
            from: self.facts.from.as_ref().map(|from| from.handle().to_owned()),
            to: self.facts.to.as_ref().map(|to| to.handle().to_owned()),
            duration: self.facts.duration.map(|duration| duration.seconds),
        }
    }

    fn record(&mut self, event: CallEvent) {
        self.frozen |= matches!(event, CallEvent::Frozen(_));
        let change = event.into_change();
        self.facts.join(change.facts);
        if change.classification.is_some() {
            self.classification = change.classification;
        }
    }
}

impl Facts {
    fn classify(&self, lines: &Lines) -> Classification {
        classify(self.from.as_ref(), self.to.as_ref(), self.twilio_direction.as_ref(), lines)
    }
}

fn not_own_parent(call_sid: &CallSid, parent: Option<&CallSid>) -> Result<(), CallError> {
    match parent {
        Some(parent) if parent == call_sid => Err(CallError::OwnParent { call_sid: call_sid.clone() }),
        _ => Ok(()),
    }
}

impl Decider for Call {
    fn decide(&self, command: CallCommand) -> Result<Vec<CallEvent>, CallError> {
        Self::decide(self, command)
    }

    fn decode(event_type: &str, version: &str, payload: &str) -> Result<CallEvent, DecodeError> {
        CallEvent::decode(event_type, version, payload)
    }
}

impl Aggregate for Call {
    const TYPE: &'static str = "call";
    type Command = CallCommand;
    type Event = CallEvent;
    type Error = CallError;
    type Services = ();

    async fn handle(
        &mut self,
        command: CallCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), CallError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: CallEvent) {
        self.record(event);
    }
}
