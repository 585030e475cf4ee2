//! What Twilio knows of a leg, whoever is told of it: the story as its REST API shows it (CONTRACT §4.2).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::story::{Outcome, Story};

/// One leg, in offsets from the start of its family in call time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub call_sid: String,
    /// `None` on a root.
    pub parent_call_sid: Option<String>,
    /// Twilio's: `inbound`, `outbound-api` or `outbound-dial`.
    pub direction: &'static str,
    pub from: String,
    pub to: String,
    /// The number that a forwarded call was made to.
    pub forwarded_from: Option<String>,
    /// How it ends.
    pub status: Status,
    pub created: Duration,
    /// `None` where it never rang.
    pub ringing: Option<Duration>,
    pub answered: Option<Duration>,
    pub ended: Duration,
    pub recording: Option<Recorded>,
}

/// A recording of a dial, which belongs to the root (CONTRACT §1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub sid: String,
    pub started: Duration,
    pub stopped: Duration,
    /// When it can be had, which its callback tells.
    pub completed: Duration,
}

/// Twilio's word for where a call is. Its REST API has no `initiated` (CONTRACT §9.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Queued,
    Ringing,
    InProgress,
    Completed,
    Busy,
    Failed,
    NoAnswer,
    Canceled,
}

impl Status {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Ringing => "ringing",
            Status::InProgress => "in-progress",
            Status::Completed => "completed",
            Status::Busy => "busy",
            Status::Failed => "failed",
            Status::NoAnswer => "no-answer",
            Status::Canceled => "canceled",
        }
    }

    pub fn is_terminal(self) -> bool {
        !matches!(self, Status::Queued | Status::Ringing | Status::InProgress)
    }
}

impl Outcome {
    /// How the dialled leg ends.
    pub fn ends_as(self) -> Status {
        match self {
            Outcome::Bridged | Outcome::NotBridged => Status::Completed,
            Outcome::NoAnswer => Status::NoAnswer,
            Outcome::Busy => Status::Busy,
            Outcome::Failed => Status::Failed,
            Outcome::Canceled => Status::Canceled,
        }
    }
}

/// One entry a leg, the root first.
pub fn of(story: &Story, root_sid: &str, child_sid: &str, recording_sid: &str) -> Vec<Leg> {
    let times = &story.times;
    let dialled = Leg {
        call_sid: child_sid.to_owned(),
        parent_call_sid: Some(root_sid.to_owned()),
        direction: "outbound-dial",
        from: story.from.clone(),
        to: story.to.clone(),
        forwarded_from: None,
        status: story.outcome.ends_as(),
        created: times.dialled,
        ringing: times.ringing,
        answered: times.answered,
        ended: times.ended,
        recording: None,
    };
    let direction = story.door.twilio_direction();
    let Some(child) = &story.child else {
        return vec![Leg { call_sid: root_sid.to_owned(), parent_call_sid: None, direction, ..dialled }];
    };
    let lasted = Duration::from_secs(story.times.root_seconds.unsigned_abs());
    let recording = times.answered.filter(|_| story.recorded).map(|started| Recorded {
        sid: recording_sid.to_owned(),
        started,
        stopped: times.ended,
        completed: times.recording,
    });
    let root = Leg {
        call_sid: root_sid.to_owned(),
        parent_call_sid: None,
        direction,
        // Twilio itself answers a root that dials, so it completes however the dial ends (CONTRACT §9.2).
        status: Status::Completed,
        created: Duration::ZERO,
        ringing: Some(Duration::ZERO),
        answered: Some(times.root_ended - lasted),
        ended: times.root_ended,
        recording,
        ..dialled.clone()
    };
    let forwarded_from = super::params::is_forwarded(story, child).then(|| story.to.clone());
    vec![root, Leg { from: child.from.clone(), to: child.to.clone(), forwarded_from, ..dialled }]
}
