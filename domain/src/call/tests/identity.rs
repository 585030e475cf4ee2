use super::*;

fn withheld() -> Announce {
    Announce { who: Identification { from: Some(Address::caller("anonymous")), ..who() }, ..announce() }
}

fn reclassify(lines: Lines) -> CallCommand {
    CallCommand::Reclassify { lines, at: heard(3_600) }
}

#[test]
fn a_report_with_a_better_identity_classifies_the_call_again() {
    let history = after(withheld());
    assert_eq!(
        history.call.classification,
        Some(Classification {
            direction: Direction::Inbound,
            party: Some(Party::Withheld),
            rule: Rule::OwnedNumber
        })
    );
    let history = history.and(report(CallStatus::InProgress, 2));
    assert_eq!(history.types(), ["call.created", "call.status_changed"]);
    assert_eq!(history.call.classification, classified(Direction::Inbound, Rule::OwnedNumber));
    assert_eq!(history.last().change().classification, history.call.classification);
    assert_eq!(history.last().change().summary, summary(CallStatus::InProgress, None));
}

#[test]
fn a_report_with_a_worse_identity_does_not() {
    given(after(announce())).when(withheld().into()).then_expect_events(vec![]);
}

#[test]
fn late_facts_that_change_no_status_are_details() {
    let who = Identification {
        parent_call_sid: Some(child_sid()),
        forwarded_from: Some("+16175006182".to_owned()),
        caller_name: Some("ANNA KOWALSKI".to_owned()),
        ..who()
    };
    let history = after(announce()).and(Announce { who: who.clone(), ..announce() });
    assert_eq!(history.types(), ["call.created", "call.details_reconciled"]);
    let told = history.last().change();
    assert_eq!(
        told.facts,
        Facts {
            parent_call_sid: who.parent_call_sid,
            forwarded_from: who.forwarded_from,
            caller_name: who.caller_name,
            ..Facts::default()
        }
    );
    assert_eq!(told.classification, None, "who calls whom has not changed");
}

#[test]
fn twilios_direction_alone_classifies_a_call_and_a_number_classifies_it_better() {
    let direction = Identification { from: None, to: None, ..who() };
    let history = after(Announce { who: direction, ..announce() });
    assert_eq!(history.types(), ["call.created"]);
    let known = history.call.classification.clone().unwrap();
    assert_eq!((known.party, known.rule), (None, Rule::TwilioDirection));
    assert_eq!(history.and(announce()).call, after(announce()).call);
}

#[test]
fn a_call_that_was_never_announced_cannot_be_reclassified() {
    given_nothing().when(reclassify(lines())).then_expect_error(CallError::NotAnnounced);
    given(after(report_recording(RecordingStatus::Completed)))
        .when(reclassify(lines()))
        .then_expect_error(CallError::NotAnnounced);
}

#[test]
fn a_call_that_is_judged_as_before_is_already_so() {
    given(after(announce())).when(reclassify(lines())).then_expect_events(vec![]);
    let more = Lines::new([OURS, "+16175006182"].map(|n| PhoneNumber::try_new(n).unwrap()), "other.example");
    given(after(announce())).when(reclassify(more)).then_expect_events(vec![]);
}

#[test]
fn a_call_that_is_judged_differently_by_the_lines_of_today_is_reclassified() {
    let wrong = Lines::new([PhoneNumber::try_new(CUSTOMER).unwrap()], "abchomes.sip.us1.twilio.com");
    let history = after(Announce { lines: wrong, ..announce() });
    assert_eq!(history.call.classification.as_ref().unwrap().direction, Direction::Outbound);
    given(history.clone()).when(reclassify(lines())).then_expect_events(vec![CallEvent::Reclassified(
        Change {
            occurred_at: heard(3_600),
            summary: summary(CallStatus::Ringing, None),
            facts: Facts::default(),
            classification: classified(Direction::Inbound, Rule::OwnedNumber),
        },
    )]);
    let history = history.and(reclassify(lines()));
    assert_eq!(history.call, after(announce()).call);
    given(history).when(reclassify(lines())).then_expect_events(vec![]);
}

#[test]
fn other_lines_classify_nothing_while_a_report_says_nothing_new_of_who_calls() {
    let nothing = Lines::default();
    let history = after(announce()).and(ReportStatus { lines: nothing, ..completed() });
    assert_eq!(history.call.classification, classified(Direction::Inbound, Rule::OwnedNumber));
    assert_eq!(history.last().change().classification, None);
}
