//! What a conversation makes of what people do with it: recorded, already so, or refused.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use proptest::prelude::*;
use time::Duration;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-02-08 06:11 UTC);

fn at(minute: i64) -> OffsetDateTime {
    NOW + Duration::minutes(minute)
}

fn given(events: Vec<ConversationEvent>) -> AggregateTestExecutor<Conversation> {
    TestFramework::<Conversation>::with(()).given(events)
}

fn archive(up_to: i64) -> ConversationCommand {
    ConversationCommand::Archive { up_to: at(up_to), newest: NOW, at: NOW }
}

fn archived(up_to: i64) -> ConversationEvent {
    ConversationEvent::Archived { occurred_at: NOW, up_to: at(up_to) }
}

fn read(up_to: i64) -> ConversationCommand {
    ConversationCommand::Read { up_to: at(up_to), known_until: NOW, at: NOW }
}

fn was_read(up_to: i64) -> ConversationEvent {
    ConversationEvent::Read { occurred_at: NOW, up_to: at(up_to) }
}

const UNARCHIVE: ConversationCommand = ConversationCommand::Unarchive { at: NOW };
const UNARCHIVED: ConversationEvent = ConversationEvent::Unarchived { occurred_at: NOW };

#[test]
fn archiving_records_what_was_seen() {
    given(vec![]).when(archive(-9)).then_expect_events(vec![archived(-9)]);
    given(vec![archived(-9), UNARCHIVED]).when(archive(-9)).then_expect_events(vec![archived(-9)]);
}

#[test]
fn a_thread_that_a_call_brought_back_is_archived_again() {
    given(vec![archived(-9)]).when(archive(-5)).then_expect_events(vec![archived(-5)]);
}

#[test]
fn archiving_what_is_archived_adds_nothing() {
    given(vec![archived(-5)]).when(archive(-5)).then_expect_events(vec![]);
    given(vec![archived(-5)]).when(archive(-9)).then_expect_events(vec![]);
}

#[test]
fn a_call_that_is_not_there_yet_cannot_have_been_seen() {
    given(vec![]).when(archive(0)).then_expect_events(vec![archived(0)]);
    given(vec![]).when(archive(1)).then_expect_error(ConversationError::ArchivedTooFar { newest: NOW });
}

#[test]
fn only_what_is_archived_is_unarchived() {
    given(vec![archived(-9)]).when(UNARCHIVE).then_expect_events(vec![UNARCHIVED]);
    given(vec![]).when(UNARCHIVE).then_expect_events(vec![]);
    given(vec![archived(-9), UNARCHIVED]).when(UNARCHIVE).then_expect_events(vec![]);
}

#[test]
fn the_read_marker_only_moves_on() {
    given(vec![]).when(read(-9)).then_expect_events(vec![was_read(-9)]);
    given(vec![was_read(-9)]).when(read(-5)).then_expect_events(vec![was_read(-5)]);
    given(vec![was_read(-5)]).when(read(-9)).then_expect_events(vec![]);
    given(vec![was_read(-5)]).when(read(-5)).then_expect_events(vec![]);
}

#[test]
fn what_is_to_come_cannot_be_read() {
    given(vec![]).when(read(0)).then_expect_events(vec![was_read(0)]);
    given(vec![]).when(read(1)).then_expect_error(ConversationError::ReadTooFar { known_until: NOW });
}

fn commands() -> impl Strategy<Value = Vec<ConversationCommand>> {
    let command = prop_oneof![(-9_i64..0).prop_map(archive), Just(UNARCHIVE), (-9_i64..0).prop_map(read)];
    proptest::collection::vec(command, 0..12)
}

fn told(conversation: &mut Conversation, command: ConversationCommand) -> usize {
    let events = conversation.decide(command).unwrap();
    let recorded = events.len();
    events.into_iter().for_each(|event| conversation.apply(event));
    recorded
}

proptest! {
    #[test]
    fn what_was_told_is_already_so(commands in commands()) {
        let mut conversation = Conversation::default();
        for command in commands {
            told(&mut conversation, command);
            prop_assert_eq!(told(&mut conversation, command), 0);
        }
    }

    #[test]
    fn the_order_of_readers_does_not_matter(mut markers in proptest::collection::vec(-9_i64..0, 1..8)) {
        let marked = |markers: &[i64]| {
            let mut conversation = Conversation::default();
            markers.iter().for_each(|marker| { told(&mut conversation, read(*marker)); });
            conversation.read_up_to
        };
        let one_way = marked(&markers);
        prop_assert_eq!(one_way, markers.iter().max().map(|marker| at(*marker)));
        markers.reverse();
        prop_assert_eq!(marked(&markers), one_way);
    }
}
