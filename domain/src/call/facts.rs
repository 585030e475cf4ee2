//! Everything that is known of one leg, as a join-semilattice.
//!
//! Each field is a totally ordered set with "unknown" at the bottom, and joining two sets of facts takes
//! the greater value field by field. So the facts of a call do not depend on the order, the repetition or
//! the batching of the reports that told them; an event carries exactly what a report added.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::status::{Authority, CallStatus, StatusReport};
use crate::direction::TwilioDirection;
use crate::phone::Address;
use crate::sid::{CallSid, RecordingSid};

/// What is known of one leg, or what one report added to it. Durations are seconds, times UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twilio_direction: Option<TwilioDirection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_call_sid: Option<CallSid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Started>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Earliest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Why we hold it for ended, where Twilio did not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// The greatest event time Twilio has stated (seed 000's `last_event_time`).
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub last_event_time: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<AnsweredBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_time: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dials: BTreeMap<DialLeg, Dial>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recordings: BTreeMap<RecordingSid, Recording>,
}

/// Applies `$each!` to the name of every field that is an `Option`.
macro_rules! each_option {
    ($each:ident) => {
        $each!(from);
        $each!(to);
        $each!(twilio_direction);
        $each!(parent_call_sid);
        $each!(forwarded_from);
        $each!(caller_name);
        $each!(status);
        $each!(started);
        $each!(answered);
        $each!(ended);
        $each!(end_reason);
        $each!(duration);
        $each!(last_event_time);
        $each!(answered_by);
        $each!(price);
        $each!(queue_time);
    };
}

impl Facts {
    /// Takes the greater of both, field by field.
    pub fn join(&mut self, other: Self) {
        macro_rules! take_greater {
            ($field:ident) => {
                if other.$field > self.$field {
                    self.$field = other.$field;
                }
            };
        }
        each_option!(take_greater);
        join_map(&mut self.dials, other.dials);
        join_map(&mut self.recordings, other.recordings);
    }

    /// What of these facts is not yet known: the least facts that, joined to `known`, give the join of both.
    pub fn beyond(mut self, known: &Self) -> Self {
        macro_rules! drop_known {
            ($field:ident) => {
                if self.$field <= known.$field {
                    self.$field = None;
                }
            };
        }
        each_option!(drop_known);
        self.dials.retain(|leg, dial| known.dials.get(leg).is_none_or(|seen| *dial > *seen));
        self.recordings
            .retain(|sid, recording| known.recordings.get(sid).is_none_or(|seen| *recording > *seen));
        self
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether these facts say anything about who calls whom.
    pub fn identify(&self) -> bool {
        self.from.is_some() || self.to.is_some() || self.twilio_direction.is_some()
    }
}

fn join_map<K: Ord, V: Ord>(known: &mut BTreeMap<K, V>, other: BTreeMap<K, V>) {
    for (key, value) in other {
        match known.get_mut(&key) {
            Some(seen) if *seen >= value => {}
            Some(seen) => *seen = value,
            None => {
                known.insert(key, value);
            }
        }
    }
}

/// How good a start time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartBasis {
    /// When Twilio fetched our TwiML, a dial action reached us, or the call ended after an unknown time.
    Received,
    /// The end less the duration, by Twilio's clock.
    Computed,
    /// The `Timestamp` of a callback that came before the end.
    Stated,
    Rest,
}

/// The better basis wins; on one basis, the earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Started {
    pub basis: StartBasis,
    pub at: Earliest,
}

impl Started {
    pub fn new(basis: StartBasis, at: OffsetDateTime) -> Self {
        Self { basis, at: Earliest::new(at) }
    }
}

/// A call ends once: the better authority wins, then the earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ended {
    pub authority: Authority,
    pub at: Earliest,
}

impl Ended {
    pub fn new(authority: Authority, at: OffsetDateTime) -> Self {
        Self { authority, at: Earliest::new(at) }
    }
}

/// Why nobody waits for the end of a call any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Twilio's REST API has no call of this SID.
    NotFound,
}

impl EndReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
        }
    }
}

/// A time of which the earlier is the greater fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Earliest(#[serde(with = "reversed_rfc3339")] Reverse<OffsetDateTime>);

impl Earliest {
    pub fn new(at: OffsetDateTime) -> Self {
        Self(Reverse(at))
    }

    pub fn get(self) -> OffsetDateTime {
        self.0.0
    }
}

mod reversed_rfc3339 {
    use std::cmp::Reverse;

    use serde::{Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::serde::rfc3339;

    pub fn serialize<S: Serializer>(at: &Reverse<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
        rfc3339::serialize(&at.0, serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Reverse<OffsetDateTime>, D::Error> {
        rfc3339::deserialize(deserializer).map(Reverse)
    }
}

/// Seconds, as `CallDuration` or REST's `duration` give them; zero, empty and missing are alike and unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Duration {
    pub authority: Authority,
    pub seconds: u32,
}

impl Duration {
    /// What was stated, unless it was zero.
    pub fn stated(authority: Authority, seconds: Option<u32>) -> Option<Self> {
        seconds.filter(|seconds| *seconds > 0).map(|seconds| Self { authority, seconds })
    }
}

/// Who or what answered, by Twilio's machine detection; "unknown" is the least it can say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AnsweredBy {
    Unknown,
    Said(String),
}

impl From<String> for AnsweredBy {
    fn from(text: String) -> Self {
        if text == "unknown" { Self::Unknown } else { Self::Said(text) }
    }
}

impl From<AnsweredBy> for String {
    fn from(answered_by: AnsweredBy) -> Self {
        match answered_by {
            AnsweredBy::Unknown => "unknown".to_owned(),
            AnsweredBy::Said(text) => text,
        }
    }
}

/// What Twilio charged, negative for a charge, as of the resource's `date_updated`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Price {
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
    pub amount: Decimal,
    pub unit: String,
}

/// Which leg a dial action spoke of; after a conference it names none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum DialLeg {
    Unnamed,
    Leg(CallSid),
}

impl From<String> for DialLeg {
    fn from(text: String) -> Self {
        CallSid::try_new(&text).map_or(Self::Unnamed, Self::Leg)
    }
}

impl From<DialLeg> for String {
    fn from(leg: DialLeg) -> Self {
        match leg {
            DialLeg::Unnamed => String::new(),
            DialLeg::Leg(sid) => sid.as_str().to_owned(),
        }
    }
}

/// How a `<Dial>` ended (contract section 1.3), a report about the child leg on the parent's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dial {
    pub status: CallStatus,
    /// Seconds; Twilio leaves it out for conferences, redirected children and unanswered dials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// False when the callee answered but the two were never connected; unknown counts as bridged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridged: Option<bool>,
}

impl Dial {
    /// Answered, and not known to have ended before the two were connected.
    pub fn connected(&self) -> bool {
        self.status == CallStatus::Completed && self.bridged != Some(false)
    }
}

/// The life of a recording; `completed` is the only state in which its media can be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingStatus {
    InProgress,
    /// Mentioned by a call's own callback; "the file may not be ready" (contract section 1.2).
    Processing,
    Absent,
    Failed,
    Completed,
}

impl RecordingStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Processing => "processing",
            Self::Absent => "absent",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }

    /// Nothing more becomes of it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Absent | Self::Failed | Self::Completed)
    }
}

/// One recording of a call; the further state wins, then the fuller report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Recording {
    pub status: RecordingStatus,
    /// Where Twilio keeps it; never shown to a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<String>,
}
