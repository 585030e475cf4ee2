//! What a call makes of the reports about it: given what was recorded, when a report comes, then this is
//! recorded, it was already so, or it is refused. The fourth outcome, conflict, is the event store's.

mod announcements;
mod dials;
mod freezing;
mod identity;
mod laws;
mod recordings;
mod reports;
mod resources;
mod upcasting;

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use time::Duration;
use time::macros::datetime;

use super::command::{Announce, CompleteDial, Identification, ReportRecording, ReportResource, ReportStatus};
use super::facts::Recording;
use super::*;
use crate::direction::{Direction, Party, Rule, TwilioDirection};
use crate::phone::Address;
use crate::phone::PhoneNumber;
use crate::sid::RecordingSid;

const CUSTOMER: &str = "+15085140320";
const OURS: &str = "+16175006181";

/// Twilio's clock, so many seconds into the call.
fn at(seconds: i64) -> OffsetDateTime {
    datetime!(2026-02-08 06:11:00 UTC) + Duration::seconds(seconds)
}

/// Our clock when Twilio's shows that second: never quite the same.
fn heard(seconds: i64) -> OffsetDateTime {
    at(seconds) + Duration::milliseconds(417)
}

fn call_sid() -> CallSid {
    CallSid::try_new("CA27d559117edb45aac8a0270ac2f97b10").unwrap()
}

fn child_sid() -> CallSid {
    CallSid::try_new("CA27d559117edb45aac8a0270ac2f97b11").unwrap()
}

fn recording_sid() -> RecordingSid {
    RecordingSid::try_new("RE27d559117edb45aac8a0270ac2f97b10").unwrap()
}

fn lines() -> Lines {
    Lines::new([PhoneNumber::try_new(OURS).unwrap()], "abchomes.sip.us1.twilio.com")
}

/// The customer calls us.
fn who() -> Identification {
    Identification {
        from: Some(Address::caller(CUSTOMER)),
        to: Some(Address::callee(OURS)),
        twilio_direction: Some(TwilioDirection::Inbound),
        ..Identification::default()
    }
}

fn classified(direction: Direction, rule: Rule) -> Option<Classification> {
    let party = Some(Party::Number(PhoneNumber::try_new(CUSTOMER).unwrap()));
    Some(Classification { direction, party, rule })
}

fn announce() -> Announce {
    Announce {
        call_sid: call_sid(),
        who: who(),
        status: CallStatus::Ringing,
        received_at: heard(0),
        lines: lines(),
    }
}

/// A callback at that second of the call, numbered by how far the call has got.
fn report(status: CallStatus, seconds: i64) -> ReportStatus {
    let sequence = match status {
        CallStatus::Queued | CallStatus::Initiated => 0,
        CallStatus::Ringing => 1,
        CallStatus::InProgress => 2,
        _ => 3,
    };
    ReportStatus {
        call_sid: call_sid(),
        who: who(),
        status,
        sequence: Some(sequence),
        timestamp: Some(at(seconds)),
        received_at: heard(seconds),
        duration: None,
        answered_by: None,
        recording: None,
        lines: lines(),
    }
}

fn completed() -> ReportStatus {
    ReportStatus { duration: Some(29), ..report(CallStatus::Completed, 30) }
}

/// The same as the REST API has it: begun with the call, ended after 30 seconds, not priced yet.
fn resource(status: CallStatus) -> ReportResource {
    ReportResource {
        call_sid: call_sid(),
        who: who(),
        status,
        start_time: Some(at(0)),
        end_time: status.is_final().then(|| at(30)),
        updated_at: Some(at(30)),
        duration: status.is_final().then_some(29),
        price: None,
        answered_by: None,
        queue_time: None,
        read_at: heard(600),
        lines: lines(),
    }
}

fn dial(status: CallStatus) -> CompleteDial {
    CompleteDial {
        call_sid: call_sid(),
        who: who(),
        dialled: DialLeg::Leg(child_sid()),
        status,
        seconds: None,
        bridged: None,
        received_at: heard(29),
        recording: None,
        lines: lines(),
    }
}

fn recording(status: RecordingStatus) -> Recording {
    Recording {
        status,
        url: None,
        seconds: None,
        channels: None,
        started_at: None,
        source: None,
        track: None,
    }
}

fn report_recording(status: RecordingStatus) -> ReportRecording {
    ReportRecording {
        call_sid: call_sid(),
        recording_sid: recording_sid(),
        recording: recording(status),
        received_at: heard(40),
    }
}

impl From<Announce> for CallCommand {
    fn from(report: Announce) -> Self {
        Self::Announce(report)
    }
}

impl From<ReportStatus> for CallCommand {
    fn from(report: ReportStatus) -> Self {
        Self::ReportStatus(report)
    }
}

impl From<CompleteDial> for CallCommand {
    fn from(report: CompleteDial) -> Self {
        Self::CompleteDial(report)
    }
}

impl From<ReportRecording> for CallCommand {
    fn from(report: ReportRecording) -> Self {
        Self::ReportRecording(report)
    }
}

impl From<ReportResource> for CallCommand {
    fn from(report: ReportResource) -> Self {
        Self::ReportResource(report)
    }
}

/// A call, and the events that made it what it is.
#[derive(Clone, Debug, Default)]
struct History {
    call: Call,
    events: Vec<CallEvent>,
}

impl History {
    /// Records what a command decides; panics where it is refused.
    fn and(mut self, command: impl Into<CallCommand>) -> Self {
        for event in self.call.decide(command.into()).unwrap() {
            self.call.apply(event.clone());
            self.events.push(event);
        }
        self
    }

    /// Records facts that no command brings yet, such as what REST says.
    fn and_facts(mut self, facts: Facts) -> Self {
        let event = CallEvent::DetailsReconciled(Change {
            occurred_at: heard(60),
            summary: self.call.summary(),
            facts,
            classification: None,
        });
        self.call.apply(event.clone());
        self.events.push(event);
        self
    }

    fn types(&self) -> Vec<&'static str> {
        self.events.iter().map(CallEvent::type_name).collect()
    }

    fn last(&self) -> &CallEvent {
        self.events.last().expect("nothing was recorded")
    }
}

fn after(command: impl Into<CallCommand>) -> History {
    History::default().and(command)
}

fn given(history: History) -> AggregateTestExecutor<Call> {
    TestFramework::with(()).given(history.events)
}

fn given_nothing() -> AggregateTestExecutor<Call> {
    TestFramework::with(()).given_no_previous_events()
}

/// The summary of the customer's call to us.
fn summary(status: CallStatus, duration: Option<u32>) -> Summary {
    Summary {
        status: Some(status),
        direction: Some(Direction::Inbound),
        from: Some(CUSTOMER.to_owned()),
        to: Some(OURS.to_owned()),
        duration,
    }
}
