use super::*;

use CallStatus::Ringing;

fn story() -> Story {
    Story::default().announced(ROOT).status(CHILD, Ringing, 2)
}

fn playable(message: &Message) -> Option<u32> {
    let sid = message.recording_sid.as_deref();
    let url = sid.map(|sid| format!("/api/recordings/{sid}/media"));
    assert_eq!(message.recording_url, url, "a client is told our address, never Twilio's");
    sid.map(|sid| sid[2..].parse().unwrap())
}

#[test]
fn a_recording_is_shown_once_it_can_be_played() {
    use RecordingStatus::{Absent, Completed, Failed, InProgress, Processing};
    for status in [InProgress, Processing, Absent, Failed] {
        assert_eq!(playable(&story().recorded(0, 1, status, 9).entry()), None, "{status:?}");
    }
    let ready = story().recorded(0, 1, Processing, 9).recorded(0, 1, Completed, 9);
    assert_eq!(playable(&ready.entry()), Some(1));
    assert_eq!(playable(&ready.message(1)), None, "the recording is the root's");
}

#[test]
fn a_recording_that_came_before_its_call_is_shown_with_it() {
    let recorded = Story::default().recorded(0, 1, RecordingStatus::Completed, 9);
    assert_eq!(playable(&recorded.announced(ROOT).entry()), Some(1));
}

#[test]
fn the_newest_recording_is_shown_and_of_equals_the_greater_sid() {
    let completed = RecordingStatus::Completed;
    let two = story().recorded(0, 1, completed, 20).recorded(0, 2, completed, 9);
    assert_eq!(playable(&two.entry()), Some(1));
    assert_eq!(playable(&two.clone().recorded(0, 3, completed, 20).entry()), Some(3));
    assert_eq!(playable(&two.recorded(0, 9, RecordingStatus::InProgress, 30).entry()), Some(1));
}

#[test]
fn an_entry_shows_a_childs_recording_where_the_root_has_none() {
    let completed = RecordingStatus::Completed;
    let childs = story().recorded(1, 1, completed, 9);
    assert_eq!((playable(&childs.entry()), playable(&childs.message(1))), (Some(1), Some(1)));
    let both = childs.recorded(0, 2, completed, 3);
    assert_eq!((playable(&both.entry()), playable(&both.message(1))), (Some(2), Some(1)));
}
