use std::collections::BTreeSet;
use std::io::Write;

use time::macros::datetime;

use super::*;
use crate::simulator::script::Scenario;
use crate::simulator::script::tests::{account, started_at};

const BEGUN: OffsetDateTime = datetime!(2026-02-08 06:00 UTC);

fn script_of(scenario: Scenario) -> Script {
    (0..600)
        .map(|index| Script::generate(42, index, &account(), started_at()))
        .find(|script| script.scenario == scenario)
        .unwrap()
}

/// A world in which one family began at `BEGUN`.
fn with(scenario: Scenario, speed: f64) -> (World, Script, tokio::sync::watch::Sender<OffsetDateTime>) {
    let (hand, clock) = Clock::set(BEGUN);
    let world = World::new(account(), clock);
    let script = script_of(scenario);
    world.place(&script, BEGUN, speed);
    (world, script, hand)
}

fn state(world: &World, sid: &str) -> Option<call::CallState> {
    world.read(|ledger, now| ledger.calls.get(sid).and_then(|call| call.at(now)))
}

/// The moments at which a webhook is sent are those at which the resource changes.
#[test]
fn a_call_says_at_every_moment_what_the_webhook_of_that_moment_says() {
    for speed in [1.0, 20.0] {
        for index in 0..60 {
            let script = Script::generate(42, index, &account(), started_at());
            let (hand, clock) = Clock::set(BEGUN);
            let world = World::new(account(), clock);
            world.place(&script, BEGUN, speed);
            for request in script.requests.iter().filter(|request| request.param("CallStatus").is_some()) {
                // The dial's own report tells of the caller's end a moment before it is over.
                if request.param("DialCallSid").is_some() {
                    continue;
                }
                hand.send_replace(BEGUN + request.at.div_f64(speed));
                let shown = state(&world, request.param("CallSid").unwrap()).unwrap().status.name();
                let told = request.param("CallStatus").unwrap();
                let is_same = shown == told || told == "initiated" && matches!(shown, "queued" | "ringing");
                assert!(is_same, "{shown} when {told} was told, {:?}", script.scenario);
            }
        }
    }
}

#[test]
fn a_call_ends_as_its_last_webhook_says() {
    for index in 0..120 {
        let script = Script::generate(42, index, &account(), started_at());
        let world = World::new(account(), Clock::System);
        world.place(&script, BEGUN, 1.0);
        let truth = world.truth();
        assert_eq!(truth.len(), script.expected.len());
        for expected in &script.expected {
            let truth = truth.iter().find(|truth| truth.call_sid == expected.call_sid).unwrap();
            assert_eq!(truth.parent_call_sid, expected.parent_call_sid);
            assert_eq!(truth.status.name(), expected.status, "{:?}", script.scenario);
            if let Some(duration) = expected.duration {
                assert_eq!(truth.duration, duration, "{:?}", script.scenario);
            }
            assert_eq!(!truth.recordings.is_empty(), expected.recorded);
            if truth.price.is_some() {
                assert_eq!((truth.end_time - truth.start_time).whole_seconds(), truth.duration);
            }
        }
        for request in &script.requests {
            let call_sid = request.param("CallSid").unwrap();
            let truth = truth.iter().find(|truth| truth.call_sid == call_sid).unwrap();
            for (name, value) in [("From", &truth.from), ("To", &truth.to), ("Direction", &truth.direction)] {
                assert!(request.param(name).is_none_or(|told| told == value), "{name} of {request:?}");
            }
            if let Some(recording) = request.param("RecordingSid") {
                assert_eq!(truth.recordings[0].sid, recording);
                assert_eq!(
                    request.param("RecordingDuration"),
                    Some(&*truth.recordings[0].duration.to_string())
                );
            }
        }
    }
}

#[test]
fn a_call_without_a_status_callback_ends_at_twilio_all_the_same() {
    let (world, script, hand) = with(Scenario::InboundUnreported, 1.0);
    hand.send_replace(BEGUN + Duration::hours(1));
    let state = state(&world, &script.expected[0].call_sid).unwrap();
    assert_eq!(state.status, Status::Completed);
    assert!(state.ended_at.is_some());
    assert!(state.is_priced);
}

#[test]
fn prices_come_after_the_end_and_only_for_what_was_answered() {
    let (world, script, hand) = with(Scenario::InboundMissed, 1.0);
    let (root, child) = (&script.legs[0], &script.legs[1]);
    hand.send_replace(BEGUN + root.ended);
    assert!(!state(&world, &root.call_sid).unwrap().is_priced);
    hand.send_replace(BEGUN + root.ended + Duration::minutes(3));
    assert!(state(&world, &root.call_sid).unwrap().is_priced);
    assert!(!state(&world, &child.call_sid).unwrap().is_priced);
    let truth = world.truth();
    assert!(truth[0].price.as_deref().unwrap().starts_with("-0.0"), "{truth:?}");
    assert_eq!(truth[1].price, None);
}

#[test]
fn a_fast_family_changes_early_and_tells_its_own_times() {
    let (world, script, hand) = with(Scenario::InboundAnswered, 60.0);
    let root = &script.legs[0];
    hand.send_replace(BEGUN + root.ended.div_f64(60.0));
    let state = state(&world, &root.call_sid).unwrap();
    assert_eq!(state.status, Status::Completed);
    assert_eq!(state.ended_at.unwrap().unix_timestamp(), (started_at() + root.ended).unix_timestamp());
}

#[test]
fn a_call_that_is_ended_takes_what_it_dialled_along() {
    let (world, script, hand) = with(Scenario::InboundRecorded, 1.0);
    let (root, child) = (&script.legs[0], &script.legs[1]);
    let answered = child.answered.unwrap();
    let at = BEGUN + answered + Duration::seconds(3);
    hand.send_replace(at);
    let end = world.end(&root.call_sid).unwrap();
    assert_eq!(
        (end.status, end.at),
        (Status::Completed, at.replace_nanosecond(at.millisecond() as u32 * 1_000_000).unwrap())
    );
    let truth = world.truth();
    assert_eq!(truth[1].status, Status::Completed);
    assert!(truth[1].end_time < BEGUN + child.ended);
    assert_eq!(truth[0].recordings[0].duration, truth[1].duration);
    hand.send_replace(at + Duration::HOUR);
    assert_eq!(world.end(&root.call_sid), Some(end), "it had ended before");
}

#[test]
fn what_was_not_dialled_when_its_call_was_ended_never_is() {
    let (world, script, hand) = with(Scenario::InboundRecorded, 1.0);
    hand.send_replace(BEGUN + Duration::milliseconds(100));
    world.end(&script.legs[0].call_sid).unwrap();
    hand.send_replace(BEGUN + Duration::HOUR);
    let truth = world.truth();
    assert_eq!(truth.len(), 1);
    assert_eq!(truth[0].recordings, []);
    assert_eq!(world.end("CA00000000000000000000000000000000"), None);
}

#[test]
fn a_world_that_is_opened_again_knows_what_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let (hand, clock) = Clock::set(BEGUN);
    let open = || World::open(folder.path(), account(), clock.clone()).unwrap();
    let (ours, theirs) = (open(), open());
    for index in 0..30 {
        let world = if index % 2 == 0 { &ours } else { &theirs };
        world.place(&Script::generate(42, index, &account(), started_at()), BEGUN, 1.0);
    }
    let first = ours.truth();
    assert_eq!(first, theirs.truth(), "each follows what the other wrote");
    hand.send_replace(BEGUN + Duration::seconds(4));
    ours.end(&first[0].call_sid).unwrap();
    ours.forget(&first[1].call_sid);
    let now = ours.truth();
    assert_ne!(now, first);
    assert_eq!(now, theirs.truth());
    assert_eq!(now, open().truth());
}

#[test]
fn a_torn_line_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (_hand, clock) = Clock::set(BEGUN);
    let place = |index| {
        let world = World::open(folder.path(), account(), clock.clone()).unwrap();
        world.place(&Script::generate(42, index, &account(), started_at()), BEGUN, 1.0);
        world.truth().iter().map(|truth| truth.call_sid.clone()).collect::<BTreeSet<_>>()
    };
    let before = place(0);
    let file = folder.path().join(FOLDER).join("2026-02-08.jsonl");
    let mut torn = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    torn.write_all(br#"{"placed":{"calls":[{"si"#).unwrap();
    let after = place(1);
    assert!(after.is_superset(&before));
    assert!(after.len() > before.len());
}

#[test]
fn what_is_older_than_a_week_is_dropped_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (hand, clock) = Clock::set(BEGUN);
    let open = || World::open(folder.path(), account(), clock.clone()).unwrap();
    open().place(&script_of(Scenario::InboundMissed), BEGUN, 1.0);
    hand.send_replace(BEGUN + Duration::days(6));
    open().place(&script_of(Scenario::InboundBusy), BEGUN + Duration::days(6), 1.0);
    assert_eq!(open().truth().len(), 4);
    let running = open();
    running.follow();
    hand.send_replace(BEGUN + Duration::days(8));
    assert_eq!(open().truth().len(), 2);
    assert_eq!(running.truth().len(), 2, "one that runs for long forgets as well");
}
