use super::*;

use CallStatus::{Busy, Canceled, Completed, InProgress, Initiated, NoAnswer, Queued, Ringing};

const SECOND_CHILD: L = L(2, Some(0), RINGS_DISPATCHER);

#[track_caller]
fn assert_live(story: &Story, shown: &str) {
    let entry = story.entry();
    assert!(entry.live, "the call is not live");
    assert!(!entry.missed, "a live call is not missed yet");
    assert_eq!(entry.display_status, shown);
    assert_eq!((entry.talk_time, entry.wait_time), (None, None), "unknown while it lasts");
}

#[test]
fn a_live_call_shows_how_far_it_has_got() {
    let story = Story::default().announced(ROOT);
    assert_live(&story, "ringing");
    // Our TwiML answers the parent at once; to people it rings for as long as only children ring.
    let story = story.status(ROOT, InProgress, 1);
    assert_live(&story, "ringing");
    let story = story.status(CHILD, Initiated, 1);
    assert_live(&story, "ringing");
    let story = story.status(CHILD, Ringing, 2);
    assert_live(&story, "ringing");
    assert_eq!(story.message(1).display_status, "ringing");
    let story = story.status(CHILD, InProgress, 8);
    assert_live(&story, "in-progress");
    let story = story.ended(CHILD, Completed, 29, 21);
    assert_live(&story, "in-progress");
    assert!(!story.message(1).live);
    assert!(!story.ended(ROOT, Completed, 29, 29).entry().live);
}

#[test]
fn a_call_rings_on_while_one_child_refuses_and_another_rings() {
    let story = Story::default().announced(ROOT).status(CHILD, Busy, 4).status(SECOND_CHILD, Ringing, 5);
    assert_live(&story, "ringing");
    assert_live(&story.status(SECOND_CHILD, InProgress, 9), "in-progress");
}

#[test]
fn a_call_that_the_api_places_shows_its_own_progress() {
    let root = L(0, None, API_CALLS);
    for (status, shown) in
        [(Queued, "queued"), (Initiated, "initiated"), (Ringing, "ringing"), (InProgress, "in-progress")]
    {
        assert_live(&Story::default().status(root, status, 1), shown);
    }
}

#[test]
fn a_call_is_live_until_every_leg_has_ended() {
    let story = Story::default()
        .announced(ROOT)
        .status(CHILD, InProgress, 8)
        .status(SECOND_CHILD, Ringing, 8)
        .ended(ROOT, Completed, 29, 29);
    assert!(story.entry().live);
    let story = story.status(SECOND_CHILD, Canceled, 9);
    assert!(story.entry().live);
    assert_eq!(story.entry().talk_time, None);
    let story = story.ended(CHILD, Completed, 29, 21);
    assert!(!story.entry().live);
    assert_eq!(story.entry().talk_time, Some(21));
}

#[test]
fn a_dial_action_ends_the_child_that_it_names_until_the_child_says_so_itself() {
    let story =
        Story::default().announced(ROOT).status(CHILD, InProgress, 8).dialled(ROOT, 1, Completed, Some(21));
    assert!(!story.entry().live);
    let child = story.message(1);
    assert!(!child.live && child.is_final);
    assert_eq!((child.status.as_str(), child.duration), ("completed", Some(21)));
    // Its own word is better.
    let corrected = story.ended(CHILD, Completed, 30, 22).message(1);
    assert_eq!((corrected.duration, corrected.end_time), (Some(22), Some(at(30))));
}

#[test]
fn a_child_whose_root_was_not_seen_is_live_and_in_no_thread() {
    let story = Story::default().status(CHILD, Ringing, 2);
    let orphan = story.entry();
    assert!(orphan.live && !orphan.missed);
    assert_eq!((orphan.conversation_id, orphan.hidden_reason.clone()), (None, None));
    assert_eq!(orphan.display_status, "ringing");
    assert_eq!(orphan.root_call_sid, sid(0).as_str());
    assert_eq!((orphan.total_duration, orphan.talk_time, orphan.wait_time), (None, None, None));
    assert_eq!(story.clone().status(CHILD, InProgress, 8).entry().display_status, "in-progress");

    let ended = story.clone().status(CHILD, NoAnswer, 20).entry();
    assert!(!ended.live && ended.is_final);
    assert_eq!(ended.conversation_id, None);

    // The root comes: one entry, in a thread.
    let placed = story.announced(ROOT);
    assert_eq!(placed.entry().twilio_sid, sid(0).as_str());
    assert_eq!(placed.entry().conversation_id, Some(ids().conversation(CUSTOMER)));
    assert!(!placed.message(1).entry);
    assert_eq!(placed.message(1).id, orphan.id);
}

#[test]
fn a_root_of_which_only_a_recording_is_known_has_not_been_seen() {
    let story = Story::default().recorded(0, 1, RecordingStatus::Completed, 1);
    assert_eq!(story.messages(), []);
    let orphan = story.status(CHILD, Ringing, 2).entry();
    assert_eq!((orphan.twilio_sid.as_str(), orphan.conversation_id), (sid(1).as_str(), None));
}
