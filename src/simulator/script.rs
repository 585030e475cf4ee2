//! One family of calls, from the first ring to the last callback, as a pure function of a seed and an index.
//!
//! A [`Story`] says what happens and when; this module puts it into the requests that Twilio would send (the
//! parameters are made in [`params`]) and into what callbook must show in the end ([`ExpectedCall`]).

mod expected;
mod leg;
mod params;
mod story;
#[cfg(test)]
pub mod tests;

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use self::params::Writer;
use self::story::Story;
use super::Account;

pub use self::expected::ExpectedCall;
pub use self::leg::{Leg, Recorded, Status};
pub use self::params::{End, LegInFlight, ended, rfc_2822};
pub use self::story::Scenario;

/// A family of calls: a root call and, when it dials, one child.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Which of the endless sequence of families this is.
    pub index: u64,
    pub scenario: Scenario,
    /// When the first request is sent, in call time.
    pub started_at: OffsetDateTime,
    /// In the order in which the events happen; `at` strictly increases.
    pub requests: Vec<Request>,
    /// One entry a leg, the root first.
    pub expected: Vec<ExpectedCall>,
    /// What Twilio knows, one entry a leg, the root first.
    pub legs: Vec<Leg>,
}

/// One webhook, before it is addressed and signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// When it is sent, counted from the start of the family in call time.
    pub at: Duration,
    pub endpoint: Endpoint,
    /// The form fields, decoded, in the order in which they are sent.
    pub params: Vec<(String, String)>,
    /// `I-Twilio-Idempotency-Token`: the same for every attempt at this request.
    pub idempotency_token: String,
}

/// The webhook endpoints of a callbook (seed 000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    VoiceInbound,
    VoiceStatus,
    DialAction,
    RecordingStatus,
}

impl Endpoint {
    /// The path as configured at Twilio; what the TwiML of a call says goes before it.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::VoiceInbound => "/webhooks/twilio/voice-inbound",
            Endpoint::VoiceStatus => "/webhooks/twilio/voice-status",
            Endpoint::DialAction => "/webhooks/twilio/dial-action",
            Endpoint::RecordingStatus => "/webhooks/twilio/recording-status",
        }
    }

    /// `voice-inbound`, as reports call it.
    pub fn name(self) -> &'static str {
        self.path().rsplit('/').next().unwrap_or_default()
    }
}

impl Script {
    /// The family number `index` of the traffic `seed`, begun at `started_at`.
    ///
    /// Equal arguments give equal scripts, SIDs and idempotency tokens included, on every machine; only the
    /// timestamps depend on `started_at`.
    pub fn generate(seed: u64, index: u64, account: &Account, started_at: OffsetDateTime) -> Script {
        let scenario = Scenario::at(seed, index);
        let mut rng = rng(seed, index, "script");
        let story = Story::tell(scenario, account, &mut rng);
        let (root_sid, child_sid) = (sid("CA", &mut rng), sid("CA", &mut rng));
        let mut writer = Writer::new(account, &story, &root_sid, &child_sid, started_at, &mut rng);

        match &story.child {
            None => write_progress(&mut writer, &story),
            Some(_) => {
                writer.voice_inbound();
                write_progress(&mut writer, &story);
                writer.dial_action();
                if story.reports_end {
                    writer.root_completed();
                }
                if story.recorded {
                    writer.recording();
                }
            }
        }
        let (requests, recording_sid) = writer.finish();
        let legs = leg::of(&story, &root_sid, &child_sid, &recording_sid);
        let expected = expected::of(scenario, &story, root_sid, child_sid);
        Script { index, scenario, started_at, requests, expected, legs }
    }

    /// What callbook must show once it has asked Twilio as well: also how long a root lasted whose end no webhook told.
    pub fn expected_when_asked(&self) -> Vec<ExpectedCall> {
        let lasted =
            |leg: &Leg| leg.answered.map_or(0, |answered| (leg.ended - answered).as_secs().cast_signed());
        let total = self.legs.first().map(lasted);
        let known = self.expected.iter().zip(&self.legs).map(|(expected, leg)| ExpectedCall {
            duration: expected.duration.or_else(|| Some(lasted(leg))),
            wait_time: expected.wait_time.or_else(|| Some((total? - expected.talk_time?).max(0))),
            ..expected.clone()
        });
        known.collect()
    }

    /// From the first request to the last, in call time.
    pub fn length(&self) -> Duration {
        self.requests.last().map_or(Duration::ZERO, |request| request.at)
    }
}

/// What the dialled leg reports about itself: all four events that our TwiML subscribes to.
fn write_progress<R: Rng>(writer: &mut Writer<'_, R>, story: &Story) {
    let times = &story.times;
    writer.progress(times.dialled, "initiated");
    if let Some(ringing) = times.ringing {
        writer.progress(ringing, "ringing");
    }
    if let Some(answered) = times.answered {
        writer.progress(answered, "in-progress");
    }
    writer.progress(times.ended, story.outcome.status());
}

/// The random numbers of one family and one `purpose`, so that a change to one purpose leaves the others alone.
pub fn rng(seed: u64, index: u64, purpose: &str) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    for (byte, letter) in key[16..].iter_mut().zip(purpose.bytes()) {
        *byte = letter;
    }
    StdRng::from_seed(key)
}

/// Two letters and 32 hex digits.
fn sid(prefix: &str, rng: &mut impl Rng) -> String {
    format!("{prefix}{:032x}", rng.random::<u128>())
}
