//! Level one: a row for each Call SID, folded from that call's events in order.
//!
//! The aggregate has already decided what is new, so folding an event is overwriting what it carries. The
//! row holds what is known but cannot be shown yet: a recording whose call was never announced, a child
//! whose parent has not come.

use std::collections::BTreeMap;

use domain::call::event::Told;
use domain::call::facts::{Dial, DialLeg, Facts, Recording, RecordingStatus};
use domain::call::{Authority, CallStatus};
use domain::direction::{Classification, Direction, Party};
use domain::phone::Identity;
use domain::sid::{CallSid, RecordingSid};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::rows::{self, row};
use crate::generation::Generation;

/// Decimals that a price is kept with: Twilio's smallest are hundredths of a cent and less.
const PRICE_DECIMALS: u32 = 5;

/// A row of `call_legs`. Durations are seconds, `queue_time` milliseconds, times UTC.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Leg {
    pub call_sid: String,
    pub root_call_sid: String,
    pub parent_call_sid: Option<String>,
    pub announced: bool,
    pub direction: Option<String>,
    pub party_key: Option<String>,
    pub party_kind: Option<String>,
    pub party_display: Option<String>,
    /// The natural keys of the parties that it was put down to before.
    pub former_parties: Vec<String>,
    pub rule: Option<String>,
    pub twilio_direction: Option<String>,
    pub from_number: Option<String>,
    pub from_display: Option<String>,
    pub from_malformed: bool,
    pub to_number: Option<String>,
    pub to_display: Option<String>,
    pub to_malformed: bool,
    pub forwarded_from: Option<String>,
    pub caller_name: Option<String>,
    pub status: Option<String>,
    pub provisional: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub answered_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
    /// Why it is held for ended, where Twilio did not say so.
    pub end_reason: Option<String>,
    pub duration: Option<i32>,
    pub price: Option<Decimal>,
    pub price_unit: Option<String>,
    pub answered_by: Option<String>,
    pub queue_time: Option<i32>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_event_time: Option<OffsetDateTime>,
    pub dials: Json<BTreeMap<DialLeg, Dial>>,
    pub recordings: Json<BTreeMap<RecordingSid, Recording>>,
    pub frozen: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

row!(
    Leg,
    "call_legs",
    call_sid,
    [
        call_sid,
        root_call_sid,
        parent_call_sid,
        announced,
        direction,
        party_key,
        party_kind,
        party_display,
        former_parties,
        rule,
        twilio_direction,
        from_number,
        from_display,
        from_malformed,
        to_number,
        to_display,
        to_malformed,
        forwarded_from,
        caller_name,
        status,
        provisional,
        started_at,
        answered_at,
        ended_at,
        end_reason,
        duration,
        price,
        price_unit,
        answered_by,
        queue_time,
        last_event_time,
        dials,
        recordings,
        frozen,
        created_at,
        updated_at,
    ]
);

impl Leg {
    /// The leg before its first event.
    pub(crate) fn unknown(call_sid: &str, recorded_at: OffsetDateTime) -> Self {
        Self {
            call_sid: call_sid.to_owned(),
            root_call_sid: call_sid.to_owned(),
            parent_call_sid: None,
            announced: false,
            direction: None,
            party_key: None,
            party_kind: None,
            party_display: None,
            former_parties: Vec::new(),
            rule: None,
            twilio_direction: None,
            from_number: None,
            from_display: None,
            from_malformed: false,
            to_number: None,
            to_display: None,
            to_malformed: false,
            forwarded_from: None,
            caller_name: None,
            status: None,
            provisional: false,
            started_at: None,
            answered_at: None,
            ended_at: None,
            end_reason: None,
            duration: None,
            price: None,
            price_unit: None,
            answered_by: None,
            queue_time: None,
            last_event_time: None,
            dials: Json(BTreeMap::new()),
            recordings: Json(BTreeMap::new()),
            frozen: false,
            created_at: recorded_at,
            updated_at: recorded_at,
        }
    }

    /// Folds the next event of this call.
    pub(crate) fn apply(&mut self, event: impl Into<Told>, recorded_at: OffsetDateTime) {
        let Told { facts, classification, frozen } = event.into();
        self.updated_at = recorded_at;
        self.frozen |= frozen;
        self.learn(facts);
        if let Some(classification) = classification {
            self.classify(classification);
        }
    }

    fn learn(&mut self, facts: Facts) {
        if let Some(parent) = facts.parent_call_sid {
            self.root_call_sid = parent.as_str().to_owned();
            self.parent_call_sid = Some(parent.as_str().to_owned());
        }
        if let Some(from) = facts.from {
            self.from_malformed = from.identity == Identity::Malformed;
            (self.from_number, self.from_display) = (Some(from.handle().to_owned()), Some(from.display()));
        }
        if let Some(to) = facts.to {
            self.to_malformed = to.identity == Identity::Malformed;
            (self.to_number, self.to_display) = (Some(to.handle().to_owned()), Some(to.display()));
        }
        if let Some(status) = facts.status {
            self.status = Some(status.status.as_str().to_owned());
            self.provisional = status.status.is_final() && status.authority == Authority::Derived;
            if !self.provisional {
                // Twilio has said how it ended.
                self.end_reason = None;
            }
        }
        if let Some(mut price) = facts.price {
            // As the column has it, so that a row that was never stored is like one that was.
            price.amount.rescale(PRICE_DECIMALS);
            (self.price, self.price_unit) = (Some(price.amount), Some(price.unit));
        }
        replace(&mut self.twilio_direction, facts.twilio_direction.map(String::from));
        replace(&mut self.forwarded_from, facts.forwarded_from);
        replace(&mut self.caller_name, facts.caller_name);
        replace(&mut self.started_at, facts.started.map(|started| started.at.get()));
        replace(&mut self.answered_at, facts.answered.map(|answered| answered.get()));
        replace(&mut self.ended_at, facts.ended.map(|ended| ended.at.get()));
        replace(&mut self.end_reason, facts.end_reason.map(|reason| reason.as_str().to_owned()));
        replace(&mut self.duration, facts.duration.map(|duration| duration.seconds.cast_signed()));
        replace(&mut self.last_event_time, facts.last_event_time);
        replace(&mut self.answered_by, facts.answered_by.map(String::from));
        replace(&mut self.queue_time, facts.queue_time.map(u32::cast_signed));
        self.dials.extend(facts.dials);
        self.recordings.extend(facts.recordings);
    }

    fn classify(&mut self, classification: Classification) {
        let Classification { direction, party, rule } = classification;
        self.announced = true;
        self.direction = Some(direction.as_str().to_owned());
        self.rule = Some(rule.as_str().to_owned());
        let key = party.as_ref().map(Party::key);
        if let Some(former) = self.party_key.take().filter(|former| Some(former) != key.as_ref())
            && !self.former_parties.contains(&former)
        {
            self.former_parties.push(former);
        }
        self.party_key = key;
        self.party_display = party.as_ref().map(Party::display);
        self.party_kind = party.as_ref().map(|party| party.kind().to_owned());
    }

    pub(crate) fn status(&self) -> CallStatus {
        self.status.as_deref().and_then(CallStatus::parse).unwrap_or(CallStatus::Queued)
    }

    pub(super) fn is(&self, direction: Direction) -> bool {
        self.direction.as_deref() == Some(direction.as_str())
    }

    /// The numbers at the ends of this leg that are not the caller's of an inbound or the callee's of an outbound call.
    pub(super) fn numbers_on_our_side(&self) -> impl Iterator<Item = &str> {
        let from =
            self.from_number.as_deref().filter(|_| !self.from_malformed && !self.is(Direction::Inbound));
        let to = self.to_number.as_deref().filter(|_| !self.to_malformed && !self.is(Direction::Outbound));
        // Whatever else a field holds, only a number begins like one.
        from.into_iter().chain(to).filter(|number| number.starts_with('+'))
    }

    /// The newest recording of this leg that can be played.
    pub(super) fn playable(&self) -> Option<&RecordingSid> {
        self.recordings
            .iter()
            .filter(|(_, recording)| recording.status == RecordingStatus::Completed)
            .max_by_key(|(sid, recording)| (recording.started_at, *sid))
            .map(|(sid, _)| sid)
    }

    /// What a dial action of this leg said of the leg with this SID.
    pub(super) fn dial_of(&self, call_sid: &str) -> Option<&Dial> {
        if self.dials.is_empty() {
            return None;
        }
        CallSid::try_new(call_sid).ok().and_then(|sid| self.dials.get(&DialLeg::Leg(sid)))
    }
}

pub(super) async fn load(
    connection: &mut PgConnection,
    generation: Generation,
    call_sids: &[&str],
) -> sqlx::Result<Vec<Leg>> {
    rows::load(connection, generation, "call_sid", call_sids).await
}

pub(super) async fn load_families(
    connection: &mut PgConnection,
    generation: Generation,
    root_call_sids: &[&str],
) -> sqlx::Result<Vec<Leg>> {
    rows::load(connection, generation, "root_call_sid", root_call_sids).await
}

fn replace<T>(known: &mut Option<T>, reported: Option<T>) {
    if reported.is_some() {
        *known = reported;
    }
}
