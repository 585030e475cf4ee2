use super::*;
use crate::call::facts::{StartBasis, Started};
use crate::call::status::StatusReport;

#[test]
fn an_announcement_creates_the_call_and_stores_what_was_judged_of_it() {
    given_nothing().when(announce().into()).then_expect_events(vec![CallEvent::Created(Change {
        occurred_at: heard(0),
        summary: summary(CallStatus::Ringing, None),
        facts: Facts {
            from: Some(Address::caller(CUSTOMER)),
            to: Some(Address::callee(OURS)),
            twilio_direction: Some(TwilioDirection::Inbound),
            status: Some(StatusReport::new(CallStatus::Ringing, Authority::Derived, None, None)),
            started: Some(Started::new(StartBasis::Received, heard(0))),
            ..Facts::default()
        },
        classification: classified(Direction::Inbound, Rule::OwnedNumber),
    })]);
}

#[test]
fn a_second_fetch_of_the_same_call_records_nothing() {
    let again = Announce { received_at: heard(8), ..announce() };
    given(after(announce())).when(again.into()).then_expect_events(vec![]);
}

#[test]
fn a_fetch_that_came_earlier_but_is_read_later_moves_the_start() {
    let late = Announce { received_at: heard(8), ..announce() };
    let history = after(late).and(announce());
    assert_eq!(history.types(), ["call.created", "call.details_reconciled"]);
    assert_eq!(history.call.facts.started, Some(Started::new(StartBasis::Received, heard(0))));
    assert_eq!(history.call, after(announce()).call);
}

#[test]
fn a_fetch_while_the_call_goes_on_is_a_change_of_status() {
    let transferred = Announce { status: CallStatus::InProgress, ..announce() };
    let history = after(announce()).and(transferred);
    assert_eq!(history.types(), ["call.created", "call.status_changed"]);
    assert_eq!(history.call.facts.answered, None, "only a callback says when it was answered");
}

#[test]
fn a_fetch_for_a_call_that_is_over_ends_it_provisionally() {
    let over = Announce { status: CallStatus::NoAnswer, ..announce() };
    let ended = after(over).call.facts.ended.unwrap();
    assert_eq!((ended.authority, ended.at.get()), (Authority::Derived, heard(0)));
}

#[test]
fn the_first_report_to_say_who_calls_whom_creates_the_call_whichever_it_is() {
    let nobody = ReportStatus { who: Identification::default(), ..report(CallStatus::Ringing, 0) };
    let history = after(nobody).and(report(CallStatus::InProgress, 2));
    assert_eq!(history.types(), ["call.status_changed", "call.created"]);
    assert_eq!(history.events[0].change().summary.direction, None);
    assert_eq!(history.events[1].change().summary, summary(CallStatus::InProgress, None));
}

#[test]
fn a_report_that_names_the_call_as_its_own_parent_is_refused() {
    let who = Identification { parent_call_sid: Some(call_sid()), ..who() };
    let commands: [CallCommand; 3] = [
        Announce { who: who.clone(), ..announce() }.into(),
        ReportStatus { who: who.clone(), ..completed() }.into(),
        CompleteDial { who, ..dial(CallStatus::Completed) }.into(),
    ];
    for command in commands {
        given_nothing()
            .when(command.clone())
            .then_expect_error(CallError::OwnParent { call_sid: call_sid() });
        given(after(announce()))
            .when(command)
            .then_expect_error_message(&format!("the report names {} as its own parent call", call_sid()));
    }
}

#[test]
fn the_summary_writes_numbers_in_e164_and_anything_else_as_twilio_did() {
    let sip = "sip:dispatcher@ABChomes.sip.us1.twilio.com;transport=tls";
    let who = Identification {
        from: Some(Address::caller("(508) 514-0320")),
        to: Some(Address::callee(sip)),
        ..who()
    };
    let history = after(Announce { who, ..announce() });
    let summary = &history.last().change().summary;
    assert_eq!((summary.from.as_deref(), summary.to.as_deref()), (Some(CUSTOMER), Some(sip)));
}
