//! A call and its recordings over time: what each is at a moment is a pure function of what was placed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::shelf::Resource;
use crate::simulator::script::{End, Leg, Recorded, Status};

/// One instant, as the resource tells it and as the clock shows it: calls that pass faster than real ones tell of
/// times that lie behind. Whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct Moment {
    /// Call time.
    pub call: OffsetDateTime,
    /// When it shows.
    pub wall: OffsetDateTime,
}

impl Moment {
    pub fn new(call: OffsetDateTime, wall: OffsetDateTime) -> Moment {
        Moment::from((milliseconds(call), milliseconds(wall)))
    }

    /// Where the call is not faster than the clock.
    pub fn real(at: OffsetDateTime) -> Moment {
        Moment::new(at, at)
    }

    /// `delay` of call time later.
    fn after(self, delay: Duration, speed: f64) -> Moment {
        Moment::new(self.call + delay, self.wall + delay.div_f64(speed))
    }

    fn has_come(&self, now: OffsetDateTime) -> bool {
        self.wall <= now
    }
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or_default()
}

impl From<(i64, i64)> for Moment {
    fn from((call, wall): (i64, i64)) -> Moment {
        let at = |milliseconds| {
            OffsetDateTime::UNIX_EPOCH
                .checked_add(time::Duration::milliseconds(milliseconds))
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        };
        Moment { call: at(call), wall: at(wall) }
    }
}

impl From<Moment> for (i64, i64) {
    fn from(moment: Moment) -> (i64, i64) {
        (milliseconds(moment.call), milliseconds(moment.wall))
    }
}

/// How a family's call time passes on the clock.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// When it begins, in call time and on the clock.
    pub begun: Moment,
    /// 2.0 passes a minute in half a minute.
    pub speed: f64,
}

impl Pace {
    pub fn moment(&self, at: Duration) -> Moment {
        self.begun.after(at, self.speed)
    }
}

/// One leg, from its creation to its price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub sid: String,
    pub parent_sid: Option<String>,
    /// `inbound`, `outbound-api` or `outbound-dial`.
    pub direction: String,
    pub from: String,
    pub to: String,
    pub forwarded_from: Option<String>,
    pub created: Moment,
    pub ringing: Option<Moment>,
    pub answered: Option<Moment>,
    pub ended: Moment,
    /// How it ends.
    pub status: Status,
    /// From answer to end.
    pub seconds: i64,
    pub speed: f64,
}

/// A call at one moment. Times are call time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallState {
    pub status: Status,
    /// When it was answered or, until that, dialled; `None` while it is queued (CONTRACT §4.2).
    pub started_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    pub updated_at: OffsetDateTime,
    pub is_priced: bool,
}

impl Resource for Call {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn created_at(&self) -> OffsetDateTime {
        self.created.call
    }
}

impl Call {
    pub fn of(leg: &Leg, pace: Pace) -> Call {
        let at = |at: Duration| pace.moment(at);
        Call {
            sid: leg.call_sid.clone(),
            parent_sid: leg.parent_call_sid.clone(),
            direction: leg.direction.to_owned(),
            from: leg.from.clone(),
            to: leg.to.clone(),
            forwarded_from: leg.forwarded_from.clone(),
            created: at(leg.created),
            ringing: leg.ringing.map(at),
            answered: leg.answered.map(at),
            ended: at(leg.ended),
            status: leg.status,
            seconds: leg.answered.map_or(0, |answered| (leg.ended - answered).as_secs().cast_signed()),
            speed: pace.speed,
        }
    }

    /// What the resource says at `now`; `None` before there is one.
    pub fn at(&self, now: OffsetDateTime) -> Option<CallState> {
        if !self.created.has_come(now) {
            return None;
        }
        let reached = |moment: Option<Moment>| moment.filter(|moment| moment.has_come(now));
        let (ringing, answered) = (reached(self.ringing), reached(self.answered));
        let (ended, priced) = (reached(Some(self.ended)), reached(self.priced()));
        let dialled = reached(Some(self.dialled()));
        let status = match (ended, answered, dialled) {
            (Some(_), ..) => self.status,
            (None, Some(_), _) => Status::InProgress,
            (None, None, Some(_)) => Status::Ringing,
            (None, None, None) => Status::Queued,
        };
        let latest = priced.or(ended).or(answered).or(ringing).unwrap_or(self.created);
        Some(CallState {
            status,
            started_at: answered.or(dialled).map(|moment| moment.call),
            ended_at: ended.map(|moment| moment.call),
            updated_at: latest.call,
            is_priced: priced.is_some(),
        })
    }

    /// Only a call that a program asks for waits in a queue before (CONTRACT §9.17).
    fn dialled(&self) -> Moment {
        if self.direction == "outbound-api" { self.ringing.unwrap_or(self.ended) } else { self.created }
    }

    /// What `start_time` says in the end.
    pub fn start_time(&self) -> OffsetDateTime {
        self.answered.unwrap_or_else(|| self.dialled()).call
    }

    /// When the price comes: between 20 s and 3 min after the end. What nobody answered is never priced.
    pub fn priced(&self) -> Option<Moment> {
        self.answered?;
        let delay = Duration::from_millis(20_000 + u64::from(chance(&self.sid)) % 160_000);
        Some(self.ended.after(delay, self.speed))
    }

    /// What it costs, once it is priced: negative, by minutes begun, five decimals (CONTRACT §4.2).
    pub fn price(&self) -> String {
        let is_number = |party: &str| party.starts_with('+');
        let per_minute = match self.direction.as_str() {
            "inbound" if is_number(&self.to) && is_number(&self.from) => 850,
            "outbound-api" | "outbound-dial" if is_number(&self.to) => 1_400,
            _ => 400,
        };
        price(self.seconds, per_minute)
    }

    pub fn how_it_ends(&self) -> End {
        End { at: self.ended.call, status: self.status, seconds: self.seconds }
    }

    pub fn has_begun(&self, now: OffsetDateTime) -> bool {
        self.created.has_come(now)
    }

    /// Ends it at `at`, unless it ended before.
    pub fn cut_short(&mut self, at: Moment) {
        if self.ended.has_come(at.wall) {
            return;
        }
        self.answered = self.answered.filter(|moment| moment.has_come(at.wall));
        self.ringing = self.ringing.filter(|moment| moment.has_come(at.wall));
        let answered_at = self.answered.map(|moment| moment.call);
        let end = End::cut_short(at.call, &self.direction, answered_at);
        self.ended = at;
        self.status = end.status;
        self.seconds = end.seconds;
    }
}

/// The recording of a dial, or of whatever else Twilio records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    pub sid: String,
    pub call_sid: String,
    pub started: Moment,
    /// From here on there is a resource, which is `processing` at first.
    pub stopped: Moment,
    pub completed: Moment,
    pub seconds: i64,
    pub channels: u8,
    pub source: String,
    pub speed: f64,
}

impl Resource for Recording {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn created_at(&self) -> OffsetDateTime {
        self.started.call
    }
}

impl Recording {
    pub fn of(recorded: &Recorded, call_sid: &str, pace: Pace) -> Recording {
        Recording {
            sid: recorded.sid.clone(),
            call_sid: call_sid.to_owned(),
            started: pace.moment(recorded.started),
            stopped: pace.moment(recorded.stopped),
            completed: pace.moment(recorded.completed),
            seconds: (recorded.stopped - recorded.started).as_secs().cast_signed(),
            channels: 2,
            source: "DialVerb".to_owned(),
            speed: pace.speed,
        }
    }

    pub fn exists(&self, now: OffsetDateTime) -> bool {
        self.stopped.has_come(now)
    }

    pub fn is_completed(&self, now: OffsetDateTime) -> bool {
        self.completed.has_come(now)
    }

    pub fn price(&self) -> String {
        price(self.seconds, 250)
    }

    /// Stops it with its call; gives whether there is anything to keep.
    pub fn cut_short(&mut self, at: Moment) -> bool {
        if !self.started.has_come(at.wall) {
            return false;
        }
        if !self.stopped.has_come(at.wall) {
            self.stopped = at;
            self.completed = at.after(Duration::from_secs(5), self.speed);
            self.seconds = (at.call - self.started.call).whole_seconds().max(0);
        }
        true
    }
}

/// `-0.01700` for two minutes begun at 850 hundred-thousandths of a dollar each.
fn price(seconds: i64, per_minute: i64) -> String {
    let owed = seconds.max(1).unsigned_abs().div_ceil(60) * per_minute.unsigned_abs();
    format!("-{}.{:05}", owed / 100_000, owed % 100_000)
}

/// A number that is drawn by the SID, so that it is the same in every process.
pub fn chance(sid: &str) -> u32 {
    sid.get(2..10).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default()
}
