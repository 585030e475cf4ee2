//! What may be said to a [`Call`](super::Call), in parsed types. Times come in with the command.

use rust_decimal::Decimal;
use time::OffsetDateTime;

use super::facts::{
    AnsweredBy, Dial, DialLeg, Duration, Earliest, EndReason, Ended, Facts, Price, Recording, StartBasis,
    Started,
};
use super::status::{Authority, CallStatus, StatusReport};
use crate::direction::{Lines, TwilioDirection};
use crate::phone::Address;
use crate::sid::{CallSid, RecordingSid};

/// A command on the call with the given SID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallCommand {
    /// Twilio fetched our TwiML: the call is at our door (contract section 1.1).
    Announce(Announce),
    /// A status callback (contract section 1.2).
    ReportStatus(ReportStatus),
    /// A `<Dial>` of this call has ended (contract section 1.3).
    CompleteDial(CompleteDial),
    /// A recording callback (contract section 1.5).
    ReportRecording(ReportRecording),
    /// What Twilio's REST API says of the call (contract section 4.2).
    ReportResource(ReportResource),
    /// Twilio's REST API does not know the call, although it should (contract section 4.7).
    GiveUp(GiveUp),
    /// An operator corrected which lines are ours.
    Reclassify { lines: Lines, at: OffsetDateTime },
    /// Nothing more is to come; reconcile leaves the call alone from here.
    Freeze { at: OffsetDateTime },
}

/// Who calls whom, as one report has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identification {
    pub from: Option<Address>,
    pub to: Option<Address>,
    pub twilio_direction: Option<TwilioDirection>,
    pub parent_call_sid: Option<CallSid>,
    pub forwarded_from: Option<String>,
    pub caller_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    pub call_sid: CallSid,
    pub who: Identification,
    pub status: CallStatus,
    pub received_at: OffsetDateTime,
    /// The lines that are ours as this is decided; what they mean for the call is stored in the event.
    pub lines: Lines,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportStatus {
    pub call_sid: CallSid,
    pub who: Identification,
    pub status: CallStatus,
    pub sequence: Option<u32>,
    /// Twilio's `Timestamp`: event time, one-second resolution.
    pub timestamp: Option<OffsetDateTime>,
    pub received_at: OffsetDateTime,
    /// Seconds (`CallDuration`).
    pub duration: Option<u32>,
    pub answered_by: Option<AnsweredBy>,
    pub recording: Option<(RecordingSid, Recording)>,
    pub lines: Lines,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompleteDial {
    pub call_sid: CallSid,
    pub who: Identification,
    pub dialled: DialLeg,
    pub status: CallStatus,
    /// Seconds (`DialCallDuration`).
    pub seconds: Option<u32>,
    pub bridged: Option<bool>,
    pub received_at: OffsetDateTime,
    pub recording: Option<(RecordingSid, Recording)>,
    pub lines: Lines,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRecording {
    pub call_sid: CallSid,
    pub recording_sid: RecordingSid,
    pub recording: Recording,
    pub received_at: OffsetDateTime,
}

/// A call as the REST API has it. It states no time of ringing or answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportResource {
    pub call_sid: CallSid,
    pub who: Identification,
    pub status: CallStatus,
    /// Absent while the call has not started.
    pub start_time: Option<OffsetDateTime>,
    pub end_time: Option<OffsetDateTime>,
    /// When Twilio last changed any of this.
    pub updated_at: Option<OffsetDateTime>,
    /// Seconds.
    pub duration: Option<u32>,
    /// Negative for a charge, and the currency.
    pub price: Option<(Decimal, String)>,
    pub answered_by: Option<AnsweredBy>,
    /// Milliseconds.
    pub queue_time: Option<u32>,
    pub read_at: OffsetDateTime,
    pub lines: Lines,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiveUp {
    pub reason: EndReason,
    pub at: OffsetDateTime,
}

impl Identification {
    fn facts(self) -> Facts {
        Facts {
            from: self.from,
            to: self.to,
            twilio_direction: self.twilio_direction,
            parent_call_sid: self.parent_call_sid,
            forwarded_from: self.forwarded_from,
            caller_name: self.caller_name,
            ..Facts::default()
        }
    }
}

impl Announce {
    pub(super) fn facts(self) -> Facts {
        Facts {
            status: Some(StatusReport::new(self.status, Authority::Derived, None, None)),
            started: Some(Started::new(StartBasis::Received, self.received_at)),
            ended: self.status.is_final().then(|| Ended::new(Authority::Derived, self.received_at)),
            ..self.who.facts()
        }
    }
}

impl ReportStatus {
    pub(super) fn facts(self) -> Facts {
        let at = self.timestamp.unwrap_or(self.received_at);
        let is_final = self.status.is_final();
        let lasted = self
            .duration
            .filter(|seconds| *seconds > 0)
            .map(|seconds| time::Duration::seconds(seconds.into()));
        let started = match (self.timestamp, is_final, lasted) {
            (Some(_), false, _) => Started::new(StartBasis::Stated, at),
            (Some(_), true, Some(lasted)) => {
                Started::new(StartBasis::Computed, at.checked_sub(lasted).unwrap_or(at))
            }
            // An end alone says no more than that the call had started by then.
            _ => Started::new(StartBasis::Received, at),
        };
        Facts {
            status: Some(StatusReport::new(self.status, Authority::Callback, self.sequence, self.timestamp)),
            started: Some(started),
            answered: (self.status == CallStatus::InProgress).then(|| Earliest::new(at)),
            ended: is_final.then(|| Ended::new(Authority::Callback, at)),
            duration: Duration::stated(Authority::Callback, self.duration),
            last_event_time: self.timestamp,
            answered_by: self.answered_by,
            recordings: self.recording.into_iter().collect(),
            ..self.who.facts()
        }
    }
}

impl CompleteDial {
    /// What the dial action says of the dialled leg, and that our empty TwiML ends this one: provisionally
    /// `completed`, until a callback or REST confirms.
    pub(super) fn facts(self) -> Facts {
        let dial = Dial {
            status: self.status,
            seconds: self.seconds.filter(|seconds| *seconds > 0),
            bridged: self.bridged,
        };
        Facts {
            status: Some(StatusReport::new(CallStatus::Completed, Authority::Derived, None, None)),
            started: Some(Started::new(StartBasis::Received, self.received_at)),
            ended: Some(Ended::new(Authority::Derived, self.received_at)),
            dials: [(self.dialled, dial)].into(),
            recordings: self.recording.into_iter().collect(),
            ..self.who.facts()
        }
    }
}

impl ReportResource {
    /// When what it tells of happened: its end, else the start, else when it was read.
    pub(super) fn at(&self) -> OffsetDateTime {
        self.end_time.or(self.start_time).unwrap_or(self.read_at)
    }

    pub(super) fn facts(self) -> Facts {
        let (at, is_final) = (self.at(), self.status.is_final());
        Facts {
            status: Some(StatusReport::new(self.status, Authority::Rest, None, None)),
            started: self.start_time.map(|at| Started::new(StartBasis::Rest, at)),
            // A call that was cancelled before it started has no end either; it was last changed then.
            ended: self
                .end_time
                .or(self.updated_at)
                .filter(|_| is_final)
                .map(|at| Ended::new(Authority::Rest, at)),
            duration: Duration::stated(Authority::Rest, self.duration.filter(|_| is_final)),
            last_event_time: self.end_time.max(self.start_time),
            answered_by: self.answered_by,
            price: self.price.map(|(amount, unit)| Price {
                as_of: self.updated_at.unwrap_or(at),
                amount,
                unit,
            }),
            queue_time: self.queue_time,
            ..self.who.facts()
        }
    }
}

impl GiveUp {
    /// Of what is known, how it must have ended: by whatever its last report was, and at that time. Any
    /// report of an end that still comes is believed over this.
    pub(super) fn facts(self, known: &Facts) -> Facts {
        let end_reason = Some(self.reason);
        let status = known.status.map(|report| report.status);
        if status.is_some_and(CallStatus::is_final) {
            return Facts { end_reason, ..Facts::default() };
        }
        let last = known.last_event_time.or(known.started.map(|started| started.at.get()));
        let ended = match status {
            Some(CallStatus::InProgress) => CallStatus::Completed,
            _ => CallStatus::Failed,
        };
        Facts {
            status: Some(StatusReport::new(ended, Authority::Derived, None, None)),
            ended: Some(Ended::new(Authority::Derived, last.unwrap_or(self.at))),
            end_reason,
            ..Facts::default()
        }
    }
}
