use super::*;

fn freeze() -> CallCommand {
    CallCommand::Freeze { at: heard(86_400) }
}

#[test]
fn a_call_that_has_ended_can_be_frozen() {
    given(after(completed())).when(freeze()).then_expect_events(vec![CallEvent::Frozen(Change {
        occurred_at: heard(86_400),
        summary: summary(CallStatus::Completed, Some(29)),
        facts: Facts::default(),
        classification: None,
    })]);
    assert!(after(completed()).and(freeze()).call.frozen);
}

#[test]
fn a_call_that_goes_on_or_is_not_known_cannot_be_frozen() {
    given_nothing().when(freeze()).then_expect_error(CallError::NotEnded);
    given(after(report_recording(RecordingStatus::Completed)))
        .when(freeze())
        .then_expect_error(CallError::NotEnded);
    for status in [CallStatus::Queued, CallStatus::Initiated, CallStatus::Ringing, CallStatus::InProgress] {
        given(after(report(status, 0)))
            .when(freeze())
            .then_expect_error_message("the call has not ended, so it cannot be frozen");
    }
}

#[test]
fn a_frozen_call_is_frozen_already() {
    let later = CallCommand::Freeze { at: heard(90_000) };
    given(after(completed()).and(freeze())).when(later).then_expect_events(vec![]);
}

#[test]
fn what_twilio_says_of_a_frozen_call_is_recorded_and_the_call_stays_frozen() {
    let history = after(completed()).and(freeze()).and(report_recording(RecordingStatus::Completed));
    assert_eq!(history.types(), ["call.created", "call.frozen", "recording.ready"]);
    assert!(history.call.frozen);
}
