//! What a contact makes of what people enter: recorded, already so, or refused.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use time::macros::datetime;

use super::*;
use crate::phone::PhoneNumber;

const AT: OffsetDateTime = datetime!(2026-02-08 06:11 UTC);

fn party() -> Party {
    Party::Number(PhoneNumber::try_new("+15085140320").unwrap())
}

fn name(text: &str) -> Option<Name> {
    Some(Name::try_new(text).unwrap())
}

fn named(text: &str) -> Details {
    Details { name: Some(name(text)), ..Details::default() }
}

fn add(details: Details) -> ContactCommand {
    ContactCommand::Add { party: party(), details, at: AT }
}

fn change(details: Details) -> ContactCommand {
    ContactCommand::Change { party: party(), details, at: AT }
}

fn added() -> ContactEvent {
    ContactEvent::Added { occurred_at: AT, party: party() }
}

fn renamed(name: Option<Name>) -> ContactEvent {
    ContactEvent::Renamed { occurred_at: AT, party: party(), name }
}

fn given(events: Vec<ContactEvent>) -> AggregateTestExecutor<Contact> {
    TestFramework::<Contact>::with(()).given(events)
}

#[test]
fn adding_records_what_was_entered_with_it() {
    given(vec![]).when(add(named("Ann"))).then_expect_events(vec![added(), renamed(name("Ann"))]);
    given(vec![]).when(add(Details::default())).then_expect_events(vec![added()]);
}

#[test]
fn a_contact_that_is_there_stays_as_it_is_when_added_again() {
    given(vec![added()]).when(add(named("Ann"))).then_expect_events(vec![]);
    given(vec![renamed(name("Ann"))]).when(add(named("Bob"))).then_expect_events(vec![]);
}

#[test]
fn each_detail_that_differs_is_an_event() {
    let notes = Notes::try_new("calls at night").unwrap();
    let tags = Tags::try_new(["VIP"]).unwrap();
    let all = Details { name: Some(name("Ann")), notes: Some(Some(notes.clone())), tags: Some(tags.clone()) };
    given(vec![]).when(change(all.clone())).then_expect_events(vec![
        renamed(name("Ann")),
        ContactEvent::NotesChanged { occurred_at: AT, party: party(), notes: Some(notes.clone()) },
        ContactEvent::TagsChanged { occurred_at: AT, party: party(), tags: tags.clone() },
    ]);
    given(vec![
        renamed(name("Bob")),
        ContactEvent::NotesChanged { occurred_at: AT, party: party(), notes: Some(notes) },
        ContactEvent::TagsChanged { occurred_at: AT, party: party(), tags },
    ])
    .when(change(all))
    .then_expect_events(vec![renamed(name("Ann"))]);
}

#[test]
fn what_is_so_already_records_nothing() {
    given(vec![renamed(name("Ann"))]).when(change(named("Ann"))).then_expect_events(vec![]);
    given(vec![added()]).when(change(Details::default())).then_expect_events(vec![]);
    let nothing = Details { name: Some(None), notes: Some(None), tags: Some(Tags::default()) };
    given(vec![]).when(change(nothing)).then_expect_events(vec![]);
}

#[test]
fn a_name_can_be_removed() {
    let nameless = Details { name: Some(None), ..Details::default() };
    given(vec![renamed(name("Ann"))]).when(change(nameless)).then_expect_events(vec![renamed(None)]);
}

#[test]
fn withheld_callers_cannot_be_named() {
    let details = named("Ann");
    for command in [
        ContactCommand::Add { party: Party::Withheld, details: details.clone(), at: AT },
        ContactCommand::Change { party: Party::Withheld, details, at: AT },
    ] {
        given(vec![]).when(command).then_expect_error(ContactError::Withheld);
    }
}
