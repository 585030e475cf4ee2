//! What callbook must show once every request of a family has arrived, in whatever order.

use serde::{Deserialize, Serialize};

use super::story::{Child, Door, Outcome, Scenario, Story};

/// The end of one leg, as the messages of its thread must tell it. Durations are seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedCall {
    /// What kind of call its family is, to say so where it ended otherwise.
    pub scenario: Scenario,
    pub call_sid: String,
    /// `None` on a root.
    pub parent_call_sid: Option<String>,
    /// `completed`, `no-answer`, `busy`, `failed` or `canceled`.
    pub status: String,
    /// `inbound`, `outbound`, `internal` or `external`.
    pub direction: String,
    /// The external party of the family in E.164, or `withheld`: the same on every leg.
    pub thread: Option<String>,
    /// What the leg's own terminal callback said; `None` when there was none. A leg that nobody answered says 0.
    pub duration: Option<i64>,
    /// Of a root: the answered and bridged legs of its family. Of a child: its own.
    pub talk_time: Option<i64>,
    /// The root's duration less `talk_time`, never below 0; `None` when the root's duration is not known.
    pub wait_time: Option<i64>,
    /// Recordings belong to the root, also when a child spoke (CONTRACT §1.5).
    pub recorded: bool,
    /// How the family ended for people; on the root only.
    pub display_status: Option<String>,
    /// Inbound and spoken with by nobody; on the root only, `false` on a child.
    pub missed: bool,
}

/// One entry a leg, the root first.
pub fn of(scenario: Scenario, story: &Story, root_sid: String, child_sid: String) -> Vec<ExpectedCall> {
    let direction = if story.door == Door::Number { "inbound" } else { "outbound" };
    let spoke = story.outcome == Outcome::Bridged;
    let total = story.reports_end.then_some(story.times.root_seconds);
    let talk = if spoke { story.times.talk_seconds } else { 0 };
    let wait = total.map(|total| (total - talk).max(0));
    let root = ExpectedCall {
        scenario,
        call_sid: root_sid.clone(),
        parent_call_sid: None,
        // A root that dials was answered by Twilio itself, so it completes however the dial ends (CONTRACT §9.2).
        status: if story.child.is_some() { "completed" } else { story.outcome.status() }.to_owned(),
        direction: direction.to_owned(),
        thread: Some(story.customer.clone()),
        duration: total,
        talk_time: Some(talk),
        wait_time: wait,
        recorded: story.recorded,
        display_status: Some(display_status(story.outcome).to_owned()),
        missed: story.door == Door::Number && !spoke,
    };
    let child = story.child.as_ref().map(|child| ExpectedCall {
        scenario,
        call_sid: child_sid,
        parent_call_sid: Some(root_sid),
        status: story.outcome.status().to_owned(),
        direction: child_direction(child).to_owned(),
        thread: Some(story.customer.clone()),
        duration: Some(story.times.talk_seconds),
        talk_time: Some(talk),
        wait_time: wait,
        recorded: false,
        display_status: None,
        missed: false,
    });
    std::iter::once(root).chain(child).collect()
}

/// A leg to our SIP phone brings a caller in; every other leg that the cast dials goes out to a number.
fn child_direction(child: &Child) -> &'static str {
    if child.to.starts_with("sip:") { "inbound" } else { "outbound" }
}

fn display_status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotBridged => "no-answer",
        other => other.status(),
    }
}
