//! A log of real calls: what the domain decides for one family, written out for as many as are wanted.
//!
//! `Call::decide` makes the events of one family, a parent and its child, and these become a template in which
//! SIDs, numbers and times are blanks. A sample of what the template gives is compared with what the domain
//! decides for the same family.

use anyhow::Context;
use domain::call::command::{Announce, CompleteDial, Identification, ReportRecording, ReportStatus};
use domain::call::facts::{AnsweredBy, DialLeg, Recording, RecordingStatus};
use domain::call::{Call, CallCommand, CallEvent, CallStatus};
use domain::direction::{Lines, TwilioDirection};
use domain::phone::{Address, PhoneNumber};
use domain::sid::{CallSid, RecordingSid};
use sqlx::PgPool;
use std::fmt::Write;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::server::{OURS, SIP_DOMAIN};

/// Calls that are in progress at the same time.
const INTERLEAVED: u64 = 50;
/// Events in one COPY.
const BATCH: usize = 50_000;
/// Families of a log that are compared with the domain.
const SAMPLE: u64 = 200;

/// What happens in a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Answered, recorded and frozen: eight events a leg.
    Full,
    /// Announced and ended: two events a leg.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Parent,
    Child,
}

/// Who takes part in one family, and when it began.
#[derive(Clone, Debug)]
pub struct Cast {
    pub parent: String,
    pub child: String,
    /// Of the parent and of the child.
    pub recordings: [String; 2],
    pub customer: String,
    /// Whole seconds.
    pub start: OffsetDateTime,
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Parties {
    pub count: u64,
    /// Every tenth family is the first party's.
    pub one_is_busy: bool,
}

impl Cast {
    pub fn of(family: u64, parties: Parties) -> Self {
        let party = match parties {
            Parties { one_is_busy: true, .. } if family.is_multiple_of(10) => 0,
            Parties { count, .. } => mixed(family) % count,
        };
        // A family every two seconds.
        let start =
            datetime!(2026-01-01 08:00 UTC) + Duration::seconds(i64::try_from(family * 2).unwrap_or(0));
        Self {
            parent: sid("CA", family, 0),
            child: sid("CA", family, 1),
            recordings: [sid("RE", family, 2), sid("RE", family, 3)],
            customer: format!("+1508{:07}", 5_140_000 + party),
            start,
        }
    }

    fn dispatcher() -> String {
        format!("sip:dispatcher@{SIP_DOMAIN}")
    }
}

/// SIDs are random, which an index feels.
fn sid(prefix: &str, family: u64, which: u64) -> String {
    let seed = family * 4 + which;
    format!("{prefix}{:016x}{:016x}", mixed(seed), mixed(!seed))
}

/// The finaliser of SplitMix64.
fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// The commands of a family in the order in which they come, each with the leg it is about.
struct Script<'a> {
    cast: &'a Cast,
    lines: Lines,
}

impl Script<'_> {
    fn commands(&self, story: Story) -> anyhow::Result<Vec<(Leg, CallCommand)>> {
        use CallStatus::{Completed, InProgress, Initiated, Ringing};
        use Leg::{Child, Parent};
        let ended = self.report(Parent, Completed, 1, 40)?;
        let child_ended = self.report(Child, Completed, 3, 39)?;
        if story == Story::Short {
            return Ok(vec![
                (Parent, self.announce()?),
                (Child, CallCommand::ReportStatus(self.report(Child, Initiated, 0, 1)?)),
                (Child, CallCommand::ReportStatus(child_ended)),
                (Parent, CallCommand::ReportStatus(ended)),
            ]);
        }
        let answered = self.report(Child, InProgress, 2, 9)?;
        let human =
            ReportStatus { answered_by: Some(AnsweredBy::Said("human".to_owned())), ..answered.clone() };
        let mut named = ended.clone();
        named.who.caller_name = Some("ANNA KOWALSKI".to_owned());
        Ok(vec![
            (Parent, self.announce()?),
            (Child, CallCommand::ReportStatus(self.report(Child, Initiated, 0, 1)?)),
            (Child, CallCommand::ReportStatus(self.report(Child, Ringing, 1, 2)?)),
            (Child, CallCommand::ReportStatus(answered)),
            (Parent, CallCommand::ReportStatus(self.report(Parent, InProgress, 0, 9)?)),
            (Parent, self.recording(Parent, RecordingStatus::InProgress, 10)?),
            (Child, self.recording(Child, RecordingStatus::InProgress, 10)?),
            (Child, CallCommand::ReportStatus(human)),
            (Child, CallCommand::ReportStatus(child_ended)),
            (Parent, self.dial_completed()?),
            (Parent, CallCommand::ReportStatus(ended)),
            (Child, self.recording(Child, RecordingStatus::Completed, 43)?),
            (Parent, self.recording(Parent, RecordingStatus::Completed, 44)?),
            (Parent, CallCommand::ReportStatus(named)),
            (Child, CallCommand::Freeze { at: self.at(3_600) }),
            (Parent, CallCommand::Freeze { at: self.at(3_601) }),
        ])
    }

    /// What the domain makes of them.
    fn events(&self, story: Story) -> anyhow::Result<Vec<(Leg, CallEvent)>> {
        let mut calls = [Call::default(), Call::default()];
        let mut events = Vec::new();
        for (leg, command) in self.commands(story)? {
            let call = &mut calls[leg as usize];
            for event in call.decide(command)? {
                cqrs_es::Aggregate::apply(call, event.clone());
                events.push((leg, event));
            }
        }
        Ok(events)
    }

    fn at(&self, seconds: i64) -> OffsetDateTime {
        self.cast.start + Duration::seconds(seconds)
    }

    /// Our clock is never quite Twilio's.
    fn heard(&self, seconds: i64) -> OffsetDateTime {
        self.at(seconds) + Duration::milliseconds(417)
    }

    fn sid(&self, leg: Leg) -> anyhow::Result<CallSid> {
        Ok(CallSid::try_new(if leg == Leg::Parent { &self.cast.parent } else { &self.cast.child })?)
    }

    fn who(&self, leg: Leg) -> anyhow::Result<Identification> {
        let customer = Some(Address::caller(&self.cast.customer));
        let who = match leg {
            Leg::Parent => Identification {
                to: Some(Address::callee(OURS)),
                twilio_direction: Some(TwilioDirection::Inbound),
                ..Identification::default()
            },
            Leg::Child => Identification {
                to: Some(Address::callee(&Cast::dispatcher())),
                twilio_direction: Some(TwilioDirection::OutboundDial),
                parent_call_sid: Some(self.sid(Leg::Parent)?),
                ..Identification::default()
            },
        };
        Ok(Identification { from: customer, ..who })
    }

    fn announce(&self) -> anyhow::Result<CallCommand> {
        Ok(CallCommand::Announce(Announce {
            call_sid: self.sid(Leg::Parent)?,
            who: self.who(Leg::Parent)?,
            status: CallStatus::Ringing,
            received_at: self.heard(0),
            lines: self.lines.clone(),
        }))
    }

    fn report(
        &self,
        leg: Leg,
        status: CallStatus,
        sequence: u32,
        seconds: i64,
    ) -> anyhow::Result<ReportStatus> {
        Ok(ReportStatus {
            call_sid: self.sid(leg)?,
            who: self.who(leg)?,
            status,
            sequence: Some(sequence),
            timestamp: Some(self.at(seconds)),
            received_at: self.heard(seconds),
            duration: status.is_final().then(|| u32::try_from(seconds)).transpose()?,
            answered_by: None,
            recording: None,
            lines: self.lines.clone(),
        })
    }

    fn dial_completed(&self) -> anyhow::Result<CallCommand> {
        Ok(CallCommand::CompleteDial(CompleteDial {
            call_sid: self.sid(Leg::Parent)?,
            who: self.who(Leg::Parent)?,
            dialled: DialLeg::Leg(self.sid(Leg::Child)?),
            status: CallStatus::Completed,
            seconds: Some(30),
            bridged: Some(true),
            received_at: self.heard(39),
            recording: None,
            lines: self.lines.clone(),
        }))
    }

    fn recording(&self, leg: Leg, status: RecordingStatus, seconds: i64) -> anyhow::Result<CallCommand> {
        let sid = &self.cast.recordings[leg as usize];
        let ready = status == RecordingStatus::Completed;
        Ok(CallCommand::ReportRecording(ReportRecording {
            call_sid: self.sid(leg)?,
            recording_sid: RecordingSid::try_new(sid)?,
            recording: Recording {
                status,
                url: Some(format!("https://api.twilio.com/2010-04-01/Recordings/{sid}")),
                seconds: ready.then_some(30),
                channels: Some(2),
                started_at: Some(self.at(9)),
                source: Some(
                    if leg == Leg::Parent { "DialVerb" } else { "StartCallRecordingAPI" }.to_owned(),
                ),
                track: Some("both".to_owned()),
            },
            received_at: self.heard(seconds),
        }))
    }
}

pub fn lines() -> anyhow::Result<Lines> {
    Ok(Lines::new([PhoneNumber::try_new(OURS)?], SIP_DOMAIN))
}

/// A payload between its blanks.
#[derive(Debug)]
enum Piece {
    Text(String),
    Parent,
    Child,
    Recording(usize),
    Customer,
    /// So long after the start.
    At(Duration),
}

#[derive(Debug)]
struct Step {
    leg: Leg,
    sequence: usize,
    event_type: &'static str,
    event_version: &'static str,
    payload: Vec<Piece>,
}

/// The events of a family with blanks for its cast.
#[derive(Debug)]
pub struct Template {
    story: Story,
    lines: Lines,
    steps: Vec<Step>,
}

impl Template {
    pub fn new(story: Story) -> anyhow::Result<Self> {
        let lines = lines()?;
        let cast = Cast::of(u64::from(u32::MAX), Parties { count: 5_000, one_is_busy: false });
        let mut lengths = [0, 0];
        let mut steps = Vec::new();
        for (leg, event) in (Script { cast: &cast, lines: lines.clone() }).events(story)? {
            lengths[leg as usize] += 1;
            steps.push(Step {
                leg,
                sequence: lengths[leg as usize],
                event_type: event.type_name(),
                event_version: event.version(),
                payload: cut(&serde_json::to_string(&event)?, &cast),
            });
        }
        let expected = if story == Story::Full { 8 } else { 2 };
        anyhow::ensure!(lengths == [expected; 2], "a {story:?} leg has {lengths:?} events, not {expected}");
        let template = Self { story, lines, steps };
        for family in 0..SAMPLE {
            template.check(&Cast::of(family * 7_919, Parties { count: 5_000, one_is_busy: false }))?;
        }
        Ok(template)
    }

    /// Events of one family.
    pub fn events(&self) -> u64 {
        self.steps.len() as u64
    }

    /// What the template gives is what the domain decides, byte for byte, and reads back as it.
    fn check(&self, cast: &Cast) -> anyhow::Result<()> {
        let decided = (Script { cast, lines: self.lines.clone() }).events(self.story)?;
        for (step, (_, event)) in self.steps.iter().zip(decided) {
            let mut payload = String::new();
            render(&step.payload, cast, &mut payload)?;
            let expected = serde_json::to_string(&event)?;
            anyhow::ensure!(payload == expected, "the template gives {payload}, the domain {expected}");
            let read = CallEvent::decode(step.event_type, step.event_version, &payload)?;
            anyhow::ensure!(read == event, "{payload} reads back as {read:?}");
        }
        Ok(())
    }

    /// Appends so many families to the log, by COPY, with the log's triggers; says how many events they have.
    pub async fn load(&self, pool: &PgPool, families: u64, parties: Parties) -> anyhow::Result<u64> {
        let mut rows = String::new();
        let mut count = 0;
        let mut calls = Interleaved::new(self, families, parties);
        let mut more = true;
        while more {
            rows.clear();
            for _ in 0..BATCH {
                let Some((cast, step)) = calls.next() else {
                    more = false;
                    break;
                };
                write_row(step, cast, &mut rows)?;
                count += 1;
            }
            let mut connection = pool.acquire().await?;
            let mut copy = connection
                .copy_in_raw(
                    "copy call_events
                        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                     from stdin",
                )
                .await?;
            copy.send(rows.as_bytes()).await?;
            copy.finish().await?;
        }
        sqlx::query("vacuum analyze call_events").execute(pool).await?;
        Ok(count)
    }
}

/// Families in progress at the same time, each at its own step.
struct Interleaved<'a> {
    template: &'a Template,
    parties: Parties,
    slots: Vec<Slot>,
    turn: usize,
    /// The next family, of so many.
    next: u64,
    families: u64,
}

struct Slot {
    cast: Cast,
    step: usize,
    /// Turns to let pass before the first.
    wait: usize,
}

impl<'a> Interleaved<'a> {
    fn new(template: &'a Template, families: u64, parties: Parties) -> Self {
        let first = INTERLEAVED.min(families);
        let steps = template.steps.len();
        // One begins after another, as calls do.
        let slots = (0..first).map(|family| Slot {
            cast: Cast::of(family, parties),
            step: 0,
            wait: usize::try_from(family).unwrap_or(0) * steps / 50,
        });
        Self { template, parties, slots: slots.collect(), turn: 0, next: first, families }
    }

    /// The next event, in the order in which the log gets them.
    fn next(&mut self) -> Option<(&Cast, &'a Step)> {
        let steps = &self.template.steps;
        while !self.slots.is_empty() {
            self.turn = (self.turn + 1) % self.slots.len();
            let slot = &mut self.slots[self.turn];
            if slot.wait > 0 {
                slot.wait -= 1;
            } else if let Some(step) = steps.get(slot.step) {
                slot.step += 1;
                return Some((&self.slots[self.turn].cast, step));
            } else if self.next < self.families {
                *slot = Slot { cast: Cast::of(self.next, self.parties), step: 0, wait: 0 };
                self.next += 1;
            } else {
                self.slots.swap_remove(self.turn);
                self.turn = 0;
            }
        }
        None
    }
}

fn write_row(step: &Step, cast: &Cast, rows: &mut String) -> anyhow::Result<()> {
    let sid = if step.leg == Leg::Parent { &cast.parent } else { &cast.child };
    write!(rows, "call\t{sid}\t{}\t{}\t{}\t", step.sequence, step.event_type, step.event_version)?;
    render(&step.payload, cast, rows)?;
    rows.push_str("\t{\"source\":\"webhook\",\"request_id\":\"0f5cf6a05d7e4a3b\"}\n");
    Ok(())
}

fn render(pieces: &[Piece], cast: &Cast, into: &mut String) -> anyhow::Result<()> {
    for piece in pieces {
        match piece {
            Piece::Text(text) => into.push_str(text),
            Piece::Parent => into.push_str(&cast.parent),
            Piece::Child => into.push_str(&cast.child),
            Piece::Recording(which) => into.push_str(&cast.recordings[*which]),
            Piece::Customer => into.push_str(&cast.customer),
            Piece::At(after) => into.push_str(&(cast.start + *after).format(&Rfc3339)?),
        }
    }
    Ok(())
}

/// Cuts a payload at everything that is of its cast.
fn cut(payload: &str, cast: &Cast) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = payload;
    while let Some(first) = rest.chars().next() {
        let blanks = [
            (&cast.parent, Piece::Parent),
            (&cast.child, Piece::Child),
            (&cast.recordings[0], Piece::Recording(0)),
            (&cast.recordings[1], Piece::Recording(1)),
            (&cast.customer, Piece::Customer),
        ];
        let blank = blanks.into_iter().find(|(name, _)| rest.starts_with(name.as_str()));
        let blank = blank.map(|(name, piece)| (name.len(), piece)).or_else(|| moment(rest, cast.start));
        match blank {
            Some((length, piece)) => {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(piece);
                rest = &rest[length..];
            }
            None => {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    pieces.push(Piece::Text(text));
    pieces
}

/// A time of the family at the beginning of this text, up to the closing quotation mark.
fn moment(text: &str, start: OffsetDateTime) -> Option<(usize, Piece)> {
    let (word, _) = text.split_once('"')?;
    if !word.ends_with('Z') || !word.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let at = OffsetDateTime::parse(word, &Rfc3339).ok()?;
    Some((word.len(), Piece::At(at - start)))
}

/// A Call SID that no other number has.
pub fn call_sid(n: u64) -> String {
    sid("CA", n, 0)
}

/// A `call.status_changed` as the domain makes it.
pub fn status_changed() -> anyhow::Result<CallEvent> {
    let cast = Cast::of(0, Parties { count: 1, one_is_busy: false });
    let events = (Script { cast: &cast, lines: lines()? }).events(Story::Full)?;
    let found = events.into_iter().find(|(_, event)| matches!(event, CallEvent::StatusChanged(_)));
    found.map(|(_, event)| event).context("a full story changes a status")
}
