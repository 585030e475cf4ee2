use super::*;

fn recorded(history: &History) -> Option<RecordingStatus> {
    history.call.facts.recordings.get(&recording_sid()).map(|recording| recording.status)
}

#[test]
fn a_recording_can_be_ready_before_its_call_was_announced() {
    let ready = report_recording(RecordingStatus::Completed);
    given_nothing().when(ready.clone().into()).then_expect_events(vec![CallEvent::RecordingReady(Change {
        occurred_at: heard(40),
        summary: Summary { status: None, direction: None, from: None, to: None, duration: None },
        facts: Facts {
            recordings: [(recording_sid(), recording(RecordingStatus::Completed))].into(),
            ..Facts::default()
        },
        classification: None,
    })]);
    let history = after(ready).and(announce());
    assert_eq!(history.types(), ["recording.ready", "call.created"]);
    assert_eq!(recorded(&history), Some(RecordingStatus::Completed));
}

#[test]
fn a_recording_that_a_callback_mentions_is_not_ready_until_it_is_reported() {
    let mentioned = Some((recording_sid(), recording(RecordingStatus::Processing)));
    let history = after(announce())
        .and(ReportStatus { recording: mentioned, ..completed() })
        .and(report_recording(RecordingStatus::Completed));
    assert_eq!(history.types(), ["call.created", "call.status_changed", "recording.ready"]);
    assert_eq!(history.last().change().summary, summary(CallStatus::Completed, Some(29)));
}

#[test]
fn a_recording_that_is_mentioned_after_it_was_ready_stays_ready() {
    let mentioned = Some((recording_sid(), recording(RecordingStatus::Processing)));
    let history = after(announce()).and(completed()).and(report_recording(RecordingStatus::Completed));
    given(history)
        .when(ReportStatus { recording: mentioned, ..completed() }.into())
        .then_expect_events(vec![]);
}

#[test]
fn a_duplicate_recording_callback_records_nothing() {
    for status in [RecordingStatus::InProgress, RecordingStatus::Absent, RecordingStatus::Completed] {
        let told = report_recording(status);
        given(after(told.clone())).when(told.into()).then_expect_events(vec![]);
    }
}

#[test]
fn a_recording_that_cannot_be_played_is_a_detail() {
    for status in [RecordingStatus::InProgress, RecordingStatus::Absent, RecordingStatus::Failed] {
        let history = after(announce()).and(report_recording(status));
        assert_eq!(history.last().type_name(), "call.details_reconciled");
        assert_eq!(recorded(&history), Some(status));
    }
}

#[test]
fn one_report_with_news_of_the_call_and_a_playable_recording_is_two_events() {
    let ready = Some((recording_sid(), recording(RecordingStatus::Completed)));
    let both = ReportStatus { recording: ready.clone(), ..completed() };
    let history = after(announce()).and(both.clone());
    assert_eq!(history.types(), ["call.created", "call.status_changed", "recording.ready"]);
    assert!(history.events[1].change().facts.recordings.is_empty());
    assert_eq!(after(both).types(), ["call.created", "recording.ready"]);
    let dialled = CompleteDial { recording: ready, ..dial(CallStatus::Completed) };
    assert_eq!(after(dialled).types(), ["call.created", "call.dial_completed", "recording.ready"]);
}

#[test]
fn a_dial_action_may_mention_a_recording_that_is_not_ready() {
    let mentioned = Some((recording_sid(), recording(RecordingStatus::Processing)));
    let history = after(announce()).and(CompleteDial { recording: mentioned, ..dial(CallStatus::Completed) });
    assert_eq!(history.types(), ["call.created", "call.dial_completed"]);
    assert_eq!(recorded(&history), Some(RecordingStatus::Processing));
}

#[test]
fn a_recording_is_ready_once_and_what_is_told_of_it_later_is_a_detail() {
    let ready = report_recording(RecordingStatus::Completed);
    let told_more = ReportRecording {
        recording: Recording { track: Some("both".to_owned()), ..recording(RecordingStatus::Completed) },
        ..ready.clone()
    };
    let history = after(completed()).and(ready).and(told_more);
    assert_eq!(history.types(), ["call.created", "recording.ready", "call.details_reconciled"]);
}
