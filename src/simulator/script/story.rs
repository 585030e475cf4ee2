//! What happens in a family of calls: who calls whom, how it ends, and when.

use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::Account;
use crate::simulator::cast;

/// The kinds of calls that a business's phone sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    InboundAnswered,
    InboundRecorded,
    InboundMissed,
    InboundBusy,
    InboundFailed,
    /// The caller hangs up while it rings.
    InboundCancelled,
    /// A customer who withholds the number; answered or missed.
    InboundWithheld,
    /// Answered on a mobile that is not known as ours.
    InboundForwarded,
    /// Answered on a number without a status callback: only the dial action tells the end.
    InboundUnreported,
    /// Somebody, or a mailbox, picked up and never got through the screening.
    InboundNotBridged,
    OutboundAnswered,
    OutboundNoAnswer,
    OutboundBusy,
    /// Dialled in the browser, through a TwiML app.
    SoftphoneAnswered,
    /// Placed over REST, a single leg that speaks for itself.
    ApiAnswered,
    ApiNoAnswer,
}

/// How often each kind occurs in [`CYCLE`] consecutive families; the numbers sum up to it.
pub const MIX: [(Scenario, u64); 16] = [
    (Scenario::InboundAnswered, 14),
    (Scenario::InboundRecorded, 8),
    (Scenario::InboundMissed, 6),
    (Scenario::InboundBusy, 2),
    (Scenario::InboundFailed, 1),
    (Scenario::InboundCancelled, 3),
    (Scenario::InboundWithheld, 2),
    (Scenario::InboundForwarded, 3),
    (Scenario::InboundUnreported, 2),
    (Scenario::InboundNotBridged, 2),
    (Scenario::OutboundAnswered, 7),
    (Scenario::OutboundNoAnswer, 3),
    (Scenario::OutboundBusy, 1),
    (Scenario::SoftphoneAnswered, 3),
    (Scenario::ApiAnswered, 2),
    (Scenario::ApiNoAnswer, 1),
];

/// Any run of this many families holds every scenario exactly as often as [`MIX`] says.
pub const CYCLE: u64 = 60;

impl Scenario {
    /// The scenario of a family: [`MIX`] laid out as cards and read in strides. A stride that shares no factor
    /// with the number of cards reads every card once a cycle, and keeps equal ones apart.
    pub fn at(seed: u64, index: u64) -> Scenario {
        const STRIDE: u64 = 23;
        let mut card = (index % CYCLE * STRIDE + seed % CYCLE) % CYCLE;
        for (scenario, cards) in MIX {
            if card < cards {
                return scenario;
            }
            card -= cards;
        }
        unreachable!("the mix has fewer than {CYCLE} cards")
    }
}

/// How the root call comes in, from Twilio's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A customer calls one of our numbers.
    Number,
    /// A dispatcher's SIP phone calls through our SIP domain.
    SipDomain,
    /// A browser calls through a TwiML app.
    App,
    /// A program asked Twilio to call.
    Api,
}

impl Door {
    /// What Twilio says in `Direction` of the root. A browser or SIP phone that dials out is "inbound" to it.
    pub fn twilio_direction(self) -> &'static str {
        match self {
            Door::Number | Door::SipDomain | Door::App => "inbound",
            Door::Api => "outbound-api",
        }
    }
}

/// How the dialled leg ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Bridged,
    NotBridged,
    NoAnswer,
    Busy,
    Failed,
    Canceled,
}

impl Outcome {
    /// The terminal `CallStatus`.
    pub fn status(self) -> &'static str {
        self.ends_as().name()
    }

    pub fn is_answered(self) -> bool {
        matches!(self, Outcome::Bridged | Outcome::NotBridged)
    }
}

/// A leg that a `<Dial>` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    pub door: Door,
    /// `From` and `To` of the root, as Twilio spells them.
    pub from: String,
    pub to: String,
    /// The customer in E.164, or [`WITHHELD`].
    pub customer: String,
    /// `None` when the root itself speaks.
    pub child: Option<Child>,
    pub outcome: Outcome,
    /// The caller, not the called, ends the call.
    pub caller_hangs_up: bool,
    /// Whether a status callback is configured for the root.
    pub reports_end: bool,
    pub recorded: bool,
    pub times: Times,
}

/// What a thread of callers without a number is called.
pub const WITHHELD: &str = "withheld";

/// Offsets from the first request. A leg lasts whole seconds, so its duration is the difference of its timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    pub dialled: Duration,
    pub ringing: Option<Duration>,
    pub answered: Option<Duration>,
    /// When the dialled leg ends.
    pub ended: Duration,
    pub dial_action: Duration,
    pub root_ended: Duration,
    pub recording: Duration,
    /// Of the dialled leg, from answer to end.
    pub talk_seconds: i64,
    /// Of the root.
    pub root_seconds: i64,
}

impl Story {
    pub fn tell(scenario: Scenario, account: &Account, rng: &mut impl Rng) -> Story {
        let customer = cast::draw_customer(rng);
        let ours = match account.owned_numbers.as_slice() {
            [] => account.owned_number().to_owned(),
            numbers => cast::pick(rng, numbers),
        };
        let (door, outcome) = match scenario {
            Scenario::InboundAnswered
            | Scenario::InboundRecorded
            | Scenario::InboundForwarded
            | Scenario::InboundUnreported => (Door::Number, Outcome::Bridged),
            Scenario::InboundMissed => (Door::Number, Outcome::NoAnswer),
            Scenario::InboundBusy => (Door::Number, Outcome::Busy),
            Scenario::InboundFailed => (Door::Number, Outcome::Failed),
            Scenario::InboundCancelled => (Door::Number, Outcome::Canceled),
            Scenario::InboundNotBridged => (Door::Number, Outcome::NotBridged),
            Scenario::InboundWithheld => {
                (Door::Number, cast::pick(rng, &[Outcome::Bridged, Outcome::NoAnswer]))
            }
            Scenario::OutboundAnswered => (Door::SipDomain, Outcome::Bridged),
            Scenario::OutboundNoAnswer => (Door::SipDomain, Outcome::NoAnswer),
            Scenario::OutboundBusy => (Door::SipDomain, Outcome::Busy),
            Scenario::SoftphoneAnswered => (Door::App, Outcome::Bridged),
            Scenario::ApiAnswered => (Door::Api, Outcome::Bridged),
            Scenario::ApiNoAnswer => (Door::Api, Outcome::NoAnswer),
        };
        let (from, to) = match door {
            Door::Number if scenario == Scenario::InboundWithheld => {
                (cast::pick(rng, &cast::WITHHELD).to_owned(), ours.clone())
            }
            Door::Number => (customer.clone(), ours.clone()),
            Door::SipDomain => (account.dispatcher(), dialled_uri(&customer, account, rng)),
            Door::App => (format!("client:dispatcher_{}", rng.random_range(1..5)), customer.clone()),
            Door::Api => (ours.clone(), customer.clone()),
        };
        let child = match door {
            Door::Number if scenario == Scenario::InboundForwarded => {
                let caller_id = cast::pick(rng, &[ours, customer.clone()]);
                Some(Child { from: caller_id, to: cast::draw_mobile(rng) })
            }
            Door::Number => Some(Child { from: from.clone(), to: account.dispatcher() }),
            Door::SipDomain | Door::App => Some(Child { from: ours, to: customer.clone() }),
            Door::Api => None,
        };
        Story {
            door,
            from,
            to,
            customer: if scenario == Scenario::InboundWithheld { WITHHELD.to_owned() } else { customer },
            child,
            outcome,
            caller_hangs_up: match outcome {
                Outcome::Bridged => rng.random_bool(0.5),
                Outcome::Canceled => true,
                _ => false,
            },
            reports_end: scenario != Scenario::InboundUnreported,
            recorded: scenario == Scenario::InboundRecorded,
            times: Times::draw(door, outcome, rng),
        }
    }
}

/// The customer as a SIP phone dials: mostly E.164, sometimes with parameters, sometimes without the plus.
fn dialled_uri(customer: &str, account: &Account, rng: &mut impl Rng) -> String {
    let uri = account.sip_uri(customer);
    match rng.random_range(0..6) {
        0 => format!("{uri};transport=tls"),
        1 => account.sip_uri(customer.trim_start_matches('+')),
        _ => uri,
    }
}

impl Times {
    fn draw(door: Door, outcome: Outcome, rng: &mut impl Rng) -> Times {
        let mut within = |from: u64, to: u64| Duration::from_millis(rng.random_range(from..=to));
        // Twilio answers a call that it hands to us as soon as it has our TwiML.
        let root_answered = Duration::from_millis(150);
        let dialled = if door == Door::Api { Duration::ZERO } else { within(200, 600) };
        let ringing = dialled + within(300, 1_500);
        let (ringing, answered, ended) = match outcome {
            Outcome::Bridged => {
                let answered = ringing + within(2_000, 28_000);
                // The shorter of two draws: most calls are short, some are long.
                let talk = within(4_000, 300_000).min(within(4_000, 300_000));
                (Some(ringing), Some(answered), answered + whole_seconds(talk))
            }
            Outcome::NotBridged => {
                let answered = ringing + within(2_000, 28_000);
                (Some(ringing), Some(answered), answered + whole_seconds(within(3_000, 12_000)))
            }
            Outcome::NoAnswer => (Some(ringing), None, ringing + within(40_000, 64_000)),
            Outcome::Busy => (Some(ringing), None, ringing + within(400, 3_000)),
            Outcome::Failed => (None, None, ringing),
            Outcome::Canceled => (Some(ringing), None, ringing + within(2_000, 25_000)),
        };
        let dial_action = ended + within(80, 300);
        let root_lasts = whole_seconds(dial_action + Duration::from_millis(50) - root_answered);
        let root_ended = root_answered + root_lasts;
        let recording = root_ended + within(2_000, 30_000);
        let talk_seconds = answered.map_or(0, |answered| seconds(ended - answered));
        Times {
            dialled,
            ringing,
            answered,
            ended,
            dial_action,
            root_ended,
            recording,
            talk_seconds,
            root_seconds: if door == Door::Api { talk_seconds } else { seconds(root_lasts) },
        }
    }
}

/// Rounded up, as a phone bill is.
fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_millis().div_ceil(1_000) as u64)
}

fn seconds(duration: Duration) -> i64 {
    duration.as_secs().cast_signed()
}
