//! What legs become, without a database: reports are decided by the aggregate, the events folded into legs,
//! and families and messages computed of those.

mod ended;
mod kinship;
mod leg;
mod live;
mod placing;
mod recordings;

use std::collections::{BTreeMap, HashMap};

use cqrs_es::Aggregate;
use domain::call::command::{Announce, CompleteDial, Identification, ReportRecording, ReportStatus};
use domain::call::facts::{DialLeg, Recording, RecordingStatus};
use domain::call::{Call, CallCommand, CallStatus};
use domain::direction::{Lines, TwilioDirection};
use domain::phone::{Address, PhoneNumber};
use domain::sid::{CallSid, RecordingSid};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::*;

const CUSTOMER: &str = "+15085140320";
const OURS: &str = "+16175006181";
const DISPATCHER: &str = "sip:dispatcher@abchomes.sip.us1.twilio.com";

/// Who a leg goes from and to, and what Twilio calls that.
type Way = (&'static str, &'static str, &'static str);

const CALLS_US: Way = (CUSTOMER, OURS, "inbound");
const RINGS_DISPATCHER: Way = (CUSTOMER, DISPATCHER, "outbound-dial");
const DISPATCHER_CALLS: Way = (DISPATCHER, CUSTOMER, "inbound");
const SOFTPHONE_CALLS: Way = ("client:alice", "", "inbound");
const RINGS_CUSTOMER: Way = (OURS, CUSTOMER, "outbound-dial");
const API_CALLS: Way = (OURS, CUSTOMER, "outbound-api");

fn at(seconds: i64) -> OffsetDateTime {
    datetime!(2026-02-08 06:11:00 UTC) + Duration::seconds(seconds)
}

/// The SID of leg `n`; SIDs are ordered as their numbers are.
fn sid(n: u32) -> CallSid {
    CallSid::try_new(&format!("CA{n:032}")).unwrap()
}

fn lines() -> Lines {
    Lines::new([PhoneNumber::try_new(OURS).unwrap()], "abchomes.sip.us1.twilio.com")
}

fn ids() -> IdKey {
    IdKey::new(&[7; 32])
}

fn who((from, to, direction): Way, parent: Option<u32>) -> Identification {
    Identification {
        from: Some(Address::caller(from)),
        to: Some(Address::callee(to)),
        twilio_direction: Some(TwilioDirection::from(direction.to_owned())),
        parent_call_sid: parent.map(sid),
        ..Identification::default()
    }
}

/// A leg in a story: its number, its parent's and its way.
#[derive(Clone, Copy, Debug)]
struct L(u32, Option<u32>, Way);

/// The customer calls, and the dispatcher is rung.
const ROOT: L = L(0, None, CALLS_US);
const CHILD: L = L(1, Some(0), RINGS_DISPATCHER);

/// What was said of some calls, in the order in which it was heard.
#[derive(Clone, Debug, Default)]
struct Story(Vec<(u32, CallCommand)>);

impl Story {
    fn announced(mut self, L(n, parent, way): L) -> Self {
        let announce = Announce {
            call_sid: sid(n),
            who: who(way, parent),
            status: CallStatus::Ringing,
            received_at: at(0),
            lines: lines(),
        };
        self.0.push((n, CallCommand::Announce(announce)));
        self
    }

    /// A callback at that second of the story.
    fn status(self, leg: L, status: CallStatus, second: i64) -> Self {
        self.report(leg, status, second, None)
    }

    /// The last callback of a leg that lasted so many seconds.
    fn ended(self, leg: L, status: CallStatus, second: i64, duration: u32) -> Self {
        self.report(leg, status, second, Some(duration))
    }

    fn report(mut self, leg: L, status: CallStatus, second: i64, duration: Option<u32>) -> Self {
        let L(n, parent, way) = leg;
        let report = ReportStatus {
            call_sid: sid(n),
            who: who(way, parent),
            status,
            sequence: None,
            timestamp: Some(at(second)),
            received_at: at(second),
            duration,
            answered_by: None,
            recording: None,
            lines: lines(),
        };
        self.0.push((n, CallCommand::ReportStatus(report)));
        self
    }

    /// The dial action of a leg, about another one.
    fn dialled(self, leg: L, other: u32, status: CallStatus, seconds: Option<u32>) -> Self {
        self.dial_action(leg, DialLeg::Leg(sid(other)), status, seconds, None)
    }

    fn dial_action(
        mut self,
        L(n, parent, way): L,
        dialled: DialLeg,
        status: CallStatus,
        seconds: Option<u32>,
        bridged: Option<bool>,
    ) -> Self {
        let action = CompleteDial {
            call_sid: sid(n),
            who: who(way, parent),
            dialled,
            status,
            seconds,
            bridged,
            received_at: at(29),
            recording: None,
            lines: lines(),
        };
        self.0.push((n, CallCommand::CompleteDial(action)));
        self
    }

    fn recorded(mut self, n: u32, recording: u32, status: RecordingStatus, second: i64) -> Self {
        let report = ReportRecording {
            call_sid: sid(n),
            recording_sid: RecordingSid::try_new(&format!("RE{recording:032}")).unwrap(),
            recording: Recording {
                status,
                url: None,
                seconds: None,
                channels: None,
                started_at: Some(at(second)),
                source: None,
                track: None,
            },
            received_at: at(second + 30),
        };
        self.0.push((n, CallCommand::ReportRecording(report)));
        self
    }

    fn and(mut self, n: u32, command: CallCommand) -> Self {
        self.0.push((n, command));
        self
    }

    /// The legs that the decided events make. The log records one event a second, from the story's start.
    fn legs(&self) -> HashMap<String, Leg> {
        let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
        let mut rows: BTreeMap<u32, Leg> = BTreeMap::new();
        let mut recorded_at = at(0);
        for (n, command) in &self.0 {
            let call = calls.entry(*n).or_default();
            for event in call.decide(command.clone()).unwrap() {
                call.apply(event.clone());
                let leg = rows.entry(*n).or_insert_with(|| Leg::unknown(sid(*n).as_str(), recorded_at));
                leg.apply(event, recorded_at);
                recorded_at += Duration::SECOND;
            }
        }
        rows.into_values().map(|leg| (leg.call_sid.clone(), leg)).collect()
    }

    /// The messages of all families, in the order of families and legs.
    fn messages(&self) -> Vec<Message> {
        let legs = self.legs();
        Family::assemble(&legs).iter().flat_map(|family| message::messages(family, &ids())).collect()
    }

    /// The message that stands for the story's only family.
    fn entry(&self) -> Message {
        let entries: Vec<Message> = self.messages().into_iter().filter(|message| message.entry).collect();
        let [entry] = <[Message; 1]>::try_from(entries).expect("one family with one entry");
        entry
    }

    fn message(&self, n: u32) -> Message {
        let id = ids().message(sid(n).as_str());
        self.messages().into_iter().find(|message| message.id == id).expect("the leg has a message")
    }

    /// The same reports in each order in which they can be heard.
    fn orders(&self) -> Vec<Self> {
        let mut orders = vec![Vec::new()];
        for report in &self.0 {
            orders = orders
                .into_iter()
                .flat_map(|order: Vec<_>| {
                    (0..=order.len()).map(move |place| {
                        let mut longer = order.clone();
                        longer.insert(place, report.clone());
                        longer
                    })
                })
                .collect();
        }
        orders.into_iter().map(Story).collect()
    }
}

/// What people see of a call that has ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    display_status: &'static str,
    missed: bool,
    total: Option<i32>,
    talk: Option<i32>,
    wait: Option<i32>,
}

#[track_caller]
fn assert_ended(story: &Story, seen: Seen) {
    let entry = story.entry();
    assert!(!entry.live, "the call is still live");
    let found = (entry.display_status.as_str(), entry.missed);
    assert_eq!(found, (seen.display_status, seen.missed));
    assert_eq!(
        (entry.total_duration, entry.talk_time, entry.wait_time),
        (seen.total, seen.talk, seen.wait),
        "total, talk and wait"
    );
}

/// Without the columns that say when the log heard of it.
fn timeless(mut messages: Vec<Message>) -> Vec<Message> {
    for message in &mut messages {
        (message.created_at, message.updated_at) = (at(0), at(0));
    }
    messages
}
