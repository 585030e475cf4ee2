//! What goes wrong at the simulated Twilio when a test asks for it, and what it counted.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What goes wrong: each `f64` is the share of requests, 0 to 1. The default is a Twilio at its best.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Equal seeds draw the same fate for the nth request.
    pub seed: u64,
    /// 429 with code 20429: not processed.
    pub too_many_requests: f64,
    /// What `Retry-After` of a 429 says, in whole seconds; nothing: there is none.
    pub retry_after: Option<Duration>,
    /// More requests than this at once are 429, whatever the share.
    pub most_at_once: Option<usize>,
    /// 500 with an error in JSON, or 503 with a page in HTML: not processed.
    pub server_errors: f64,
    /// Answered `slow_by` late.
    pub slow: f64,
    pub slow_by: Duration,
    /// The connection is cut: of every two, one before the answer and one within its body.
    pub cut: f64,
    /// The connection is cut after a create took effect.
    pub lost_answers: f64,
    /// 200 with something that is not JSON.
    pub not_json: f64,
    /// How far behind lists and resources are (CONTRACT §4.1: eventually consistent).
    pub lag: Duration,
    /// A page whose `next_page_uri` is its own.
    pub repeated_pages: f64,
    /// A page that begins with the last row of the one before, as when a new call pushes all rows on.
    pub shifted_pages: f64,
    /// Everything is 403.
    pub suspended: bool,
    /// Credentials that were good are 401.
    pub wrong_credentials: bool,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fate {
    pub too_many_requests: bool,
    pub server_error: Option<Failure>,
    pub is_slow: bool,
    pub cut: Option<Cut>,
    pub is_answer_lost: bool,
    pub is_not_json: bool,
    pub repeats_page: bool,
    pub shifts_page: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Json,
    Html,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    BeforeTheAnswer,
    WithinTheBody,
}

/// Draws the fates.
#[derive(Debug)]
pub struct Dice {
    pub faults: Faults,
    rng: StdRng,
}

impl Dice {
    pub fn new(faults: Faults) -> Dice {
        Dice { rng: StdRng::seed_from_u64(faults.seed), faults }
    }

    /// As many numbers for each request, so that one share does not change what the others hit.
    pub fn roll(&mut self) -> Fate {
        let Dice { faults, rng } = self;
        let mut hits = |share: f64| rng.random::<f64>() < share;
        let (fails, in_json) = (hits(faults.server_errors), hits(0.5));
        let (cuts, at_once) = (hits(faults.cut), hits(0.5));
        Fate {
            too_many_requests: hits(faults.too_many_requests),
            server_error: fails.then_some(if in_json { Failure::Json } else { Failure::Html }),
            is_slow: hits(faults.slow),
            cut: cuts.then_some(if at_once { Cut::BeforeTheAnswer } else { Cut::WithinTheBody }),
            is_answer_lost: hits(faults.lost_answers),
            is_not_json: hits(faults.not_json),
            repeats_page: hits(faults.repeated_pages),
            shifts_page: hits(faults.shifted_pages),
        }
    }
}

impl Default for Dice {
    fn default() -> Self {
        Dice::new(Faults::default())
    }
}

/// What is asked of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    CallsList,
    CallFetch,
    CallCreate,
    CallRecordingsList,
    RecordingsList,
    RecordingFetch,
    Media,
    MessagesList,
    MessageFetch,
    MessageCreate,
    NumbersList,
    Other,
}

/// What was asked since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTraffic {
    pub requests: BTreeMap<Kind, u64>,
    pub in_flight: usize,
    /// The most that were in flight at once.
    pub most_at_once: usize,
    /// 429 answers given.
    pub too_many_requests: u64,
    /// Answers with 500 or 503.
    pub server_errors: u64,
    /// Connections cut.
    pub cuts: u64,
}

impl ApiTraffic {
    pub fn of(&self, kind: Kind) -> u64 {
        self.requests.get(&kind).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }
}
