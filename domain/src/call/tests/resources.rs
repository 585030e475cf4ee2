//! What the REST API says of a call, and when nothing more is to be expected of it.

use rust_decimal::Decimal;

use super::*;
use crate::call::facts::{EndReason, Price, StartBasis, Started};

const SETTLED: Duration = Duration::hours(24);
const GIVEN_UP: Duration = Duration::days(30);

fn priced() -> ReportResource {
    let price = Some((Decimal::new(-850, 5), "USD".to_owned()));
    ReportResource { price, updated_at: Some(at(90)), ..resource(CallStatus::Completed) }
}

fn give_up() -> CallCommand {
    CallCommand::GiveUp(GiveUp { reason: EndReason::NotFound, at: heard(86_400) })
}

#[test]
fn a_call_that_no_webhook_told_of_is_created_with_its_end() {
    let history = after(priced());
    assert_eq!(history.types(), ["call.created"]);
    assert_eq!(history.last().change().summary, summary(CallStatus::Completed, Some(29)));
    assert_eq!(history.last().change().occurred_at, at(30));
    assert_eq!(history.call.classification, classified(Direction::Inbound, Rule::OwnedNumber));
    assert_eq!(history.call.facts.started, Some(Started::new(StartBasis::Rest, at(0))));
}

#[test]
fn what_agrees_with_what_is_known_is_already_so() {
    given(after(priced())).when(priced().into()).then_expect_events(vec![]);
    let later = ReportResource { read_at: heard(9_000), ..priced() };
    given(after(priced())).when(later.into()).then_expect_events(vec![]);
}

#[test]
fn a_price_that_comes_late_changes_no_status() {
    let history = after(resource(CallStatus::Completed)).and(priced());
    assert_eq!(history.types(), ["call.created", "call.details_reconciled"]);
    let price = Price { as_of: at(90), amount: Decimal::new(-850, 5), unit: "USD".to_owned() };
    assert_eq!(history.last().change().facts, Facts { price: Some(price), ..Facts::default() });
}

#[test]
fn the_end_that_a_dial_action_concluded_is_confirmed_and_one_that_a_callback_told_of_is_a_detail() {
    let history = after(announce()).and(dial(CallStatus::Completed)).and(resource(CallStatus::Completed));
    assert_eq!(history.types()[2..], ["call.status_changed"]);
    assert_eq!(history.call.facts.status.unwrap().authority, Authority::Rest);

    let history = after(completed()).and(resource(CallStatus::Completed));
    assert_eq!(history.types()[1..], ["call.details_reconciled"]);
}

#[test]
fn rest_is_believed_over_a_callback_whichever_came_first() {
    let busy = || report(CallStatus::Busy, 30);
    let one = after(busy()).and(resource(CallStatus::NoAnswer)).call;
    assert_eq!(one, after(resource(CallStatus::NoAnswer)).and(busy()).call);
    assert_eq!(one.status(), Some(CallStatus::NoAnswer));
}

#[test]
fn an_unfinished_resource_has_no_end_and_no_duration() {
    let running = ReportResource { duration: Some(3), ..resource(CallStatus::InProgress) };
    let facts = after(running).call.facts;
    assert_eq!((facts.ended, facts.duration), (None, None));
}

#[test]
fn a_call_that_was_cancelled_before_it_started_ended_when_it_was_last_changed() {
    let cancelled =
        ReportResource { start_time: None, end_time: None, duration: None, ..resource(CallStatus::Canceled) };
    let facts = after(cancelled).call.facts;
    assert_eq!((facts.started, facts.ended.map(|ended| ended.at.get())), (None, Some(at(30))));
}

#[test]
fn a_call_that_twilio_does_not_know_ends_as_it_was_last_heard_of_and_is_frozen() {
    for (known, ended) in
        [(CallStatus::Ringing, CallStatus::Failed), (CallStatus::InProgress, CallStatus::Completed)]
    {
        let history = after(report(known, 4)).and(give_up());
        assert_eq!(history.types(), ["call.created", "call.status_changed", "call.frozen"]);
        let Facts { status, ended: end, end_reason, .. } = history.call.facts.clone();
        assert_eq!(status.map(|report| (report.status, report.authority)), Some((ended, Authority::Derived)));
        assert_eq!(end.map(|end| end.at.get()), Some(at(4)));
        assert_eq!(end_reason, Some(EndReason::NotFound));
        assert_eq!(history.last().change().summary.status, Some(ended));
        given(history).when(give_up()).then_expect_events(vec![]);
    }
}

#[test]
fn the_end_of_a_call_that_twilio_no_longer_knows_stays_and_has_the_reason() {
    let history = after(completed()).and(give_up());
    assert_eq!(history.types(), ["call.created", "call.details_reconciled", "call.frozen"]);
    assert_eq!(history.call.status(), Some(CallStatus::Completed));
    assert_eq!(history.call.facts.end_reason, Some(EndReason::NotFound));
}

#[test]
fn a_callback_that_still_comes_is_believed_over_the_end_that_was_concluded() {
    let history = after(report(CallStatus::Ringing, 4)).and(give_up()).and(completed());
    assert_eq!(history.call.status(), Some(CallStatus::Completed));
    assert_eq!(history.call.facts.ended.unwrap().at.get(), at(30));
}

#[test]
fn a_call_that_was_never_heard_of_is_given_up_too() {
    let history = History::default().and(give_up());
    assert_eq!(history.types(), ["call.status_changed", "call.frozen"]);
    assert_eq!(history.call.classification, None);
}

#[test]
fn a_call_is_settled_when_it_is_priced_and_aged_or_too_old_for_more_to_come() {
    let settled = |history: &History, hours: i64| {
        history.call.is_settled(at(30) + Duration::hours(hours), SETTLED, GIVEN_UP)
    };
    let complete = after(priced());
    assert!(!settled(&complete, 23));
    assert!(settled(&complete, 24));

    let unpriced = after(resource(CallStatus::Completed));
    assert!(!settled(&unpriced, 24 * 29));
    assert!(settled(&unpriced, 24 * 30));

    // Nobody pays for a call that was not answered.
    assert!(settled(&after(resource(CallStatus::NoAnswer)), 24));

    let recording = complete.clone().and(report_recording(RecordingStatus::Processing));
    assert!(!settled(&recording, 24));
    assert!(settled(&recording.and(report_recording(RecordingStatus::Completed)), 24));

    // What only a webhook said may still be corrected, and what goes on is never settled.
    assert!(!settled(&after(report(CallStatus::Busy, 30)), 24));
    assert!(!settled(&after(report(CallStatus::InProgress, 2)), 24 * 400));
    assert!(!settled(&History::default(), 24 * 400));
}
