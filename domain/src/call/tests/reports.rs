use super::*;
use crate::call::facts::{AnsweredBy, Duration, Earliest, Ended, StartBasis, Started};
use crate::call::status::StatusReport;

/// Facts as REST would state them.
fn rest(status: CallStatus, seconds: u32) -> Facts {
    Facts {
        status: Some(StatusReport::new(status, Authority::Rest, None, None)),
        started: Some(Started::new(StartBasis::Rest, at(1))),
        ended: Some(Ended::new(Authority::Rest, at(31))),
        duration: Some(Duration { authority: Authority::Rest, seconds }),
        ..Facts::default()
    }
}

#[test]
fn a_callback_changes_the_status_and_says_when_the_call_was_answered() {
    given(after(announce())).when(report(CallStatus::InProgress, 2).into()).then_expect_events(vec![
        CallEvent::StatusChanged(Change {
            occurred_at: at(2),
            summary: summary(CallStatus::InProgress, None),
            facts: Facts {
                status: Some(StatusReport::new(CallStatus::InProgress, Authority::Callback, None, None)),
                started: Some(Started::new(StartBasis::Stated, at(2))),
                answered: Some(Earliest::new(at(2))),
                last_event_time: Some(at(2)),
                ..Facts::default()
            },
            classification: None,
        }),
    ]);
}

#[test]
fn a_final_callback_ends_the_call_and_computes_its_start() {
    given(after(announce())).when(completed().into()).then_expect_events(vec![CallEvent::StatusChanged(
        Change {
            occurred_at: at(30),
            summary: summary(CallStatus::Completed, Some(29)),
            facts: Facts {
                status: Some(StatusReport::new(
                    CallStatus::Completed,
                    Authority::Callback,
                    Some(3),
                    Some(at(30)),
                )),
                started: Some(Started::new(StartBasis::Computed, at(1))),
                ended: Some(Ended::new(Authority::Callback, at(30))),
                duration: Some(Duration { authority: Authority::Callback, seconds: 29 }),
                last_event_time: Some(at(30)),
                ..Facts::default()
            },
            classification: None,
        },
    )]);
}

#[test]
fn a_duplicate_callback_records_nothing() {
    let again = ReportStatus { received_at: heard(300), ..completed() };
    given(after(completed())).when(again.into()).then_expect_events(vec![]);
}

#[test]
fn a_callback_for_a_call_that_nobody_announced_creates_it() {
    let history = after(report(CallStatus::Initiated, 0));
    assert_eq!(history.types(), ["call.created"]);
    assert_eq!(history.call.classification, classified(Direction::Inbound, Rule::OwnedNumber));
}

#[test]
fn every_step_of_a_call_is_a_change_of_status() {
    let steps = [CallStatus::Initiated, CallStatus::Ringing, CallStatus::InProgress, CallStatus::Completed];
    let history = steps.into_iter().zip(0..).fold(History::default(), |history, (status, second)| {
        let history = history.and(report(status, second));
        assert_eq!(history.call.status(), Some(status));
        assert_eq!(history.last().change().summary.status, Some(status));
        history
    });
    assert_eq!(history.types()[1..], ["call.status_changed"; 3]);
}

#[test]
fn completed_before_ringing_never_regresses() {
    for late in [CallStatus::Queued, CallStatus::Initiated, CallStatus::Ringing, CallStatus::InProgress] {
        let history = after(completed()).and(report(late, 0));
        assert_eq!(history.types(), ["call.created", "call.details_reconciled"], "{late}");
        assert_eq!(history.call.status(), Some(CallStatus::Completed));
        let told = history.last().change();
        assert_eq!(told.summary, summary(CallStatus::Completed, Some(29)));
        assert_eq!(told.facts.status, None);
        assert_eq!(told.facts.started, Some(Started::new(StartBasis::Stated, at(0))));
    }
}

#[test]
fn an_answer_that_is_heard_of_after_the_end_is_reconciled_and_not_lost() {
    given(after(completed())).when(report(CallStatus::InProgress, 2).into()).then_expect_events(vec![
        CallEvent::DetailsReconciled(Change {
            occurred_at: at(2),
            summary: summary(CallStatus::Completed, Some(29)),
            facts: Facts {
                started: Some(Started::new(StartBasis::Stated, at(2))),
                answered: Some(Earliest::new(at(2))),
                ..Facts::default()
            },
            classification: None,
        }),
    ]);
}

#[test]
fn of_two_final_callbacks_sequence_then_timestamp_then_a_fixed_order_decides() {
    let said = |status, sequence, seconds: Option<i64>| ReportStatus {
        sequence,
        timestamp: seconds.map(at),
        ..report(status, 30)
    };
    use CallStatus::{Busy, Canceled, Completed, Failed, NoAnswer};
    for (loses, wins) in [
        (said(Completed, Some(2), Some(40)), said(Busy, Some(3), Some(30))),
        (said(Completed, None, Some(40)), said(Busy, Some(0), Some(30))),
        (said(Completed, Some(3), Some(30)), said(Busy, Some(3), Some(31))),
        (said(Completed, Some(3), None), said(Busy, Some(3), Some(31))),
        (said(Canceled, Some(3), Some(30)), said(NoAnswer, Some(3), Some(30))),
        (said(NoAnswer, Some(3), Some(30)), said(Busy, Some(3), Some(30))),
        (said(Busy, Some(3), Some(30)), said(Failed, Some(3), Some(30))),
        (said(Failed, None, None), said(Completed, None, None)),
    ] {
        let (one, other) = (after(loses.clone()).and(wins.clone()), after(wins.clone()).and(loses.clone()));
        assert_eq!(one.call.status(), Some(wins.status), "{loses:?} then {wins:?}");
        assert_eq!(one.call, other.call);
    }
}

#[test]
fn what_rest_says_beats_any_callback_before_or_after() {
    let callback = ReportStatus { sequence: Some(9), duration: Some(300), ..report(CallStatus::Busy, 40) };
    let rest = rest(CallStatus::Completed, 28);
    for history in [
        after(announce()).and(callback.clone()).and_facts(rest.clone()),
        after(announce()).and_facts(rest.clone()).and(callback),
    ] {
        let facts = &history.call.facts;
        assert_eq!((facts.status, facts.started), (rest.status, rest.started));
        assert_eq!((facts.ended, facts.duration), (rest.ended, rest.duration), "though it is later and less");
    }
}

#[test]
fn a_late_callback_after_rest_changes_no_status() {
    let history = after(announce()).and_facts(rest(CallStatus::Completed, 28)).and(completed());
    assert_eq!(history.last().type_name(), "call.details_reconciled");
    assert_eq!(history.last().change().summary.duration, Some(28));
}

#[test]
fn the_better_basis_gives_the_start_and_on_one_basis_the_earlier_time() {
    let started =
        |basis, seconds| Facts { started: Some(Started::new(basis, at(seconds))), ..Facts::default() };
    use StartBasis::{Computed, Received, Rest, Stated};
    for (worse, better) in [
        ((Received, 0), (Computed, 9)),
        ((Computed, 0), (Stated, 9)),
        ((Stated, 0), (Rest, 9)),
        ((Received, 1), (Received, 0)),
        ((Rest, 1), (Rest, 0)),
    ] {
        let (worse, better) = (started(worse.0, worse.1), started(better.0, better.1));
        for (first, second) in [(&worse, &better), (&better, &worse)] {
            let history = after(announce()).and_facts(first.clone()).and_facts(second.clone());
            assert_eq!(history.call.facts.started, better.started);
        }
    }
}

#[test]
fn a_callback_gives_a_start_by_what_it_knows() {
    let started = |report: ReportStatus| after(report).call.facts.started.unwrap();
    let untimed = |status| ReportStatus { timestamp: None, duration: Some(29), ..report(status, 30) };
    for (report, basis, start) in [
        (report(CallStatus::Ringing, 3), StartBasis::Stated, at(3)),
        (completed(), StartBasis::Computed, at(1)),
        // It rang for a while before that; how long, nobody says.
        (report(CallStatus::Busy, 30), StartBasis::Received, at(30)),
        (untimed(CallStatus::Completed), StartBasis::Received, heard(30)),
        (untimed(CallStatus::Ringing), StartBasis::Received, heard(30)),
    ] {
        assert_eq!(started(report.clone()), Started::new(basis, start), "{report:?}");
    }
}

#[test]
fn zero_and_missing_durations_record_the_same() {
    let lasting = |duration| ReportStatus { duration, ..report(CallStatus::NoAnswer, 30) };
    assert_eq!(after(lasting(Some(0))).events, after(lasting(None)).events);
    let dialled = |seconds| CompleteDial { seconds, ..dial(CallStatus::NoAnswer) };
    assert_eq!(after(dialled(Some(0))).events, after(dialled(None)).events);
}

#[test]
fn a_duration_that_comes_after_the_end_is_reconciled() {
    let history = after(ReportStatus { duration: None, ..completed() }).and(completed());
    assert_eq!(history.types(), ["call.created", "call.details_reconciled"]);
    assert_eq!(history.last().change().summary.duration, Some(29));
}

#[test]
fn a_call_ends_once_at_the_earliest_time_that_the_best_authority_states() {
    let ended = |history: History| history.call.facts.ended.unwrap();
    let dialled = || after(dial(CallStatus::Completed));
    assert_eq!(ended(dialled()), Ended::new(Authority::Derived, heard(29)));
    assert_eq!(ended(dialled().and(completed())), Ended::new(Authority::Callback, at(30)));
    let earlier = ended(after(completed()).and(report(CallStatus::Completed, 28)));
    assert_eq!(earlier, Ended::new(Authority::Callback, at(28)));
}

#[test]
fn without_twilios_time_an_event_happened_when_it_was_heard_of() {
    let untimed = ReportStatus { timestamp: None, ..completed() };
    assert_eq!(after(untimed.clone()).last().change().occurred_at, heard(30));
    assert_eq!(after(untimed).call.facts.last_event_time, None);
}

#[test]
fn the_last_event_time_is_the_greatest_that_twilio_stated() {
    let history = after(completed()).and(report(CallStatus::Ringing, 0));
    assert_eq!(history.call.facts.last_event_time, Some(at(30)));
}

#[test]
fn unknown_is_the_least_that_can_have_answered() {
    let answered = |by: &str| ReportStatus {
        answered_by: Some(AnsweredBy::from(by.to_owned())),
        ..report(CallStatus::InProgress, 2)
    };
    let human = Some(AnsweredBy::Said("human".to_owned()));
    assert_eq!(after(answered("unknown")).and(answered("human")).call.facts.answered_by, human);
    given(after(answered("human"))).when(answered("unknown").into()).then_expect_events(vec![]);
}
