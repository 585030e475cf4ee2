use super::*;
use crate::call::facts::{Dial, Ended};
use crate::call::status::StatusReport;

fn ended(status: CallStatus, authority: Authority) -> Option<StatusReport> {
    Some(StatusReport::new(status, authority, None, None))
}

fn dialled(status: CallStatus) -> Dial {
    Dial { status, seconds: None, bridged: None }
}

#[test]
fn a_dial_action_ends_the_parent_provisionally_and_keeps_what_became_of_the_child() {
    let answered = CompleteDial { seconds: Some(21), bridged: Some(true), ..dial(CallStatus::Completed) };
    given(after(announce())).when(answered.into()).then_expect_events(vec![CallEvent::DialCompleted(
        Change {
            occurred_at: heard(29),
            summary: summary(CallStatus::Completed, None),
            facts: Facts {
                status: ended(CallStatus::Completed, Authority::Derived),
                ended: Some(Ended::new(Authority::Derived, heard(29))),
                dials: [(
                    DialLeg::Leg(child_sid()),
                    Dial { seconds: Some(21), bridged: Some(true), ..dialled(CallStatus::Completed) },
                )]
                .into(),
                ..Facts::default()
            },
            classification: None,
        },
    )]);
}

#[test]
fn a_callback_confirms_what_a_dial_action_ended() {
    let history = after(announce()).and(dial(CallStatus::Busy)).and(completed());
    assert_eq!(history.types(), ["call.created", "call.dial_completed", "call.status_changed"]);
    let confirmed = history.call.facts.status.unwrap();
    assert_eq!((confirmed.status, confirmed.authority), (CallStatus::Completed, Authority::Callback));
}

#[test]
fn a_callback_that_disagrees_with_the_provisional_end_is_believed_in_either_order() {
    let no_answer = report(CallStatus::NoAnswer, 28);
    let provisional = dial(CallStatus::NoAnswer);
    let corrected = after(announce()).and(provisional.clone()).and(no_answer.clone());
    assert_eq!(corrected.call.status(), Some(CallStatus::NoAnswer));
    let already = after(announce()).and(no_answer).and(provisional);
    assert_eq!(already.types(), ["call.created", "call.status_changed", "call.dial_completed"]);
    assert_eq!(already.call, corrected.call);
    assert_eq!(already.last().change().facts.status, None);
}

#[test]
fn a_repeated_dial_action_records_nothing() {
    let again = CompleteDial { received_at: heard(35), ..dial(CallStatus::Busy) };
    given(after(announce()).and(dial(CallStatus::Busy))).when(again.into()).then_expect_events(vec![]);
}

#[test]
fn a_fuller_report_of_the_same_dial_is_recorded_and_a_poorer_one_is_not() {
    let poor = dial(CallStatus::Completed);
    let full = CompleteDial { seconds: Some(21), bridged: Some(false), ..poor.clone() };
    let history = after(announce()).and(poor.clone()).and(full);
    assert_eq!(history.types(), ["call.created", "call.dial_completed", "call.dial_completed"]);
    given(history).when(poor.into()).then_expect_events(vec![]);
}

#[test]
fn each_dialled_leg_is_kept_by_its_sid_and_a_conference_under_no_name() {
    let conference = CompleteDial { dialled: DialLeg::Unnamed, ..dial(CallStatus::Completed) };
    let history = after(announce()).and(dial(CallStatus::Busy)).and(conference);
    assert_eq!(
        history.call.facts.dials,
        [
            (DialLeg::Leg(child_sid()), dialled(CallStatus::Busy)),
            (DialLeg::Unnamed, dialled(CallStatus::Completed)),
        ]
        .into()
    );
}

#[test]
fn a_dial_action_of_an_unknown_call_creates_it_first() {
    let history = after(dial(CallStatus::NoAnswer));
    assert_eq!(history.types(), ["call.created", "call.dial_completed"]);
    let [created, dialled] = [0, 1].map(|n| history.events[n].change());
    assert!(created.facts.dials.is_empty());
    assert_eq!(created.facts.status, ended(CallStatus::Completed, Authority::Derived));
    assert_eq!(dialled.facts, Facts { dials: dialled.facts.dials.clone(), ..Facts::default() });
    assert_eq!(created.summary, dialled.summary);
}

#[test]
fn a_call_that_dialled_itself_is_refused() {
    let itself = CompleteDial { dialled: DialLeg::Leg(call_sid()), ..dial(CallStatus::Completed) };
    given(after(announce()))
        .when(itself.clone().into())
        .then_expect_error(CallError::DialledItself { call_sid: call_sid() });
    given_nothing().when(itself.into()).then_expect_error_message(&format!(
        "the dial action of {} names the call itself as the leg that was dialled",
        call_sid()
    ));
}

#[test]
fn only_a_leg_that_answered_and_was_bridged_is_connected() {
    for (status, bridged, connected) in [
        (CallStatus::Completed, Some(true), true),
        (CallStatus::Completed, None, true),
        (CallStatus::Completed, Some(false), false),
        (CallStatus::Busy, None, false),
        (CallStatus::NoAnswer, Some(true), false),
    ] {
        assert_eq!(Dial { bridged, ..dialled(status) }.connected(), connected, "{status} {bridged:?}");
    }
}
