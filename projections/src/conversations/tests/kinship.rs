use super::*;

use CallStatus::{Busy, Completed, InProgress, NoAnswer, Ringing};

const GRANDCHILD: L = L(2, Some(1), RINGS_DISPATCHER);

/// The families of a story: the key, the root and the children of each, as numbers of legs.
fn families(story: &Story) -> Vec<(u32, Option<u32>, Vec<u32>)> {
    let number = |sid: &str| sid[2..].parse::<u32>().unwrap();
    let legs = story.legs();
    Family::assemble(&legs)
        .iter()
        .map(|family| {
            (
                number(family.key),
                family.root.map(|root| number(&root.call_sid)),
                family.children.iter().map(|leg| number(&leg.call_sid)).collect(),
            )
        })
        .collect()
}

#[test]
fn a_grandchild_joins_the_topmost_family() {
    let story = Story::default()
        .announced(ROOT)
        .ended(CHILD, Completed, 20, 5)
        .ended(GRANDCHILD, Completed, 40, 15)
        .ended(ROOT, Completed, 40, 40);
    assert_eq!(families(&story), [(0, Some(0), vec![1, 2])]);
    let seen =
        Seen { display_status: "completed", missed: false, total: Some(40), talk: Some(20), wait: Some(20) };
    assert_ended(&story, seen);
    assert_eq!(story.message(2).root_call_sid, sid(0).as_str());
    assert_eq!(story.message(2).parent_call_sid.as_deref(), Some(sid(1).as_str()));
    for order in story.orders() {
        assert_eq!(families(&order), families(&story));
    }
}

#[test]
fn a_grandchild_waits_for_the_topmost_call_that_is_named_seen_or_not() {
    let alone = Story::default().status(GRANDCHILD, Ringing, 9);
    assert_eq!(families(&alone), [(1, None, vec![2])]);
    let with_its_parent = alone.clone().status(CHILD, InProgress, 8);
    assert_eq!(families(&with_its_parent), [(0, None, vec![1, 2])]);
    assert!(with_its_parent.messages().iter().all(|message| message.conversation_id.is_none()));
    // The call between them is missing: two families, until it is seen.
    let around_the_gap = alone.announced(ROOT);
    assert_eq!(families(&around_the_gap), [(0, Some(0), vec![]), (1, None, vec![2])]);
}

#[test]
fn what_a_child_dialled_is_told_by_its_own_dial_action() {
    let transferred = Story::default().announced(ROOT).status(CHILD, InProgress, 8);
    let never_bridged = transferred
        .clone()
        .ended(GRANDCHILD, Completed, 25, 7)
        .dial_action(CHILD, DialLeg::Leg(sid(2)), Completed, Some(7), Some(false))
        .ended(CHILD, Completed, 30, 10)
        .ended(ROOT, Completed, 40, 40);
    assert_eq!(never_bridged.entry().talk_time, Some(10), "the grandchild was never connected");
    assert_eq!(never_bridged.message(2).talk_time, Some(0));

    let told_only_there = transferred
        .clone()
        .dialled(CHILD, 2, Completed, Some(7))
        .ended(CHILD, Completed, 30, 10)
        .ended(ROOT, Completed, 40, 40);
    assert_eq!(told_only_there.entry().talk_time, Some(17));

    let rang_and_told_there = told_only_there.status(GRANDCHILD, Ringing, 12);
    assert_eq!(rang_and_told_there.entry().talk_time, Some(17));
    assert!(!rang_and_told_there.entry().live);
    assert!(!rang_and_told_there.message(2).live);
}

#[test]
fn of_two_dial_actions_about_one_leg_the_one_that_says_more_counts() {
    for (first, second) in [(ROOT, CHILD), (CHILD, ROOT)] {
        let story = Story::default()
            .announced(ROOT)
            .status(CHILD, InProgress, 8)
            .status(GRANDCHILD, Ringing, 12)
            .dialled(first, 2, Busy, None)
            .dialled(second, 2, Completed, Some(7));
        assert_eq!((story.message(2).status.as_str(), story.message(2).duration), ("completed", Some(7)));
    }
}

#[test]
fn parents_in_a_circle_are_one_family_that_the_least_sid_stands_for() {
    let [a, b, c] =
        [L(4, Some(5), CALLS_US), L(5, Some(6), RINGS_DISPATCHER), L(6, Some(4), RINGS_DISPATCHER)];
    let beside = L(1, Some(5), RINGS_DISPATCHER);
    let below = L(2, Some(1), RINGS_DISPATCHER);
    let story = [a, b, c, beside, below]
        .into_iter()
        .fold(Story::default(), |story, leg| story.status(leg, Ringing, 3));
    let expected = timeless(story.messages());
    for order in story.orders() {
        assert_eq!(families(&order), [(4, Some(4), vec![1, 2, 5, 6])]);
        assert_eq!(timeless(order.messages()), expected);
    }
    let two = Story::default()
        .status(L(8, Some(9), CALLS_US), Ringing, 3)
        .status(L(9, Some(8), RINGS_DISPATCHER), Ringing, 3)
        .dialled(L(8, Some(9), CALLS_US), 9, NoAnswer, None)
        .dialled(L(9, Some(8), RINGS_DISPATCHER), 8, Busy, None);
    assert_eq!(families(&two), [(8, Some(8), vec![9])]);
    let expected = timeless(two.messages());
    for order in two.orders() {
        assert_eq!(timeless(order.messages()), expected);
    }
}

#[test]
fn each_family_of_a_party_counts_once_in_its_thread() {
    let family = |story: Story, first: u32, seconds: u32| {
        let (root, child) = (L(first, None, CALLS_US), L(first + 1, Some(first), RINGS_DISPATCHER));
        story.announced(root).ended(child, Completed, 60, seconds - 4).ended(root, Completed, 60, seconds)
    };
    let story = family(family(family(Story::default(), 30, 29), 10, 31), 20, 40);
    let counted = |story: &Story| {
        let messages = story.messages();
        let entries: Vec<&Message> = messages.iter().filter(|message| message.entry).collect();
        let thread = ids().conversation(CUSTOMER);
        assert!(messages.iter().all(|message| message.conversation_id == Some(thread)));
        let seconds: i32 = entries.iter().filter_map(|entry| entry.total_duration).sum();
        (messages.len(), entries.len(), seconds)
    };
    assert_eq!(counted(&story), (6, 3, 100));
    let mut backwards = story.clone();
    backwards.0.reverse();
    assert_eq!(timeless(backwards.messages()), timeless(story.messages()));
}

#[test]
fn an_entry_is_as_old_as_its_first_leg_and_as_new_as_its_last_event() {
    // The log records one event a second: child, root, child, root.
    let story = Story::default()
        .status(CHILD, Ringing, 2)
        .announced(ROOT)
        .ended(CHILD, Completed, 29, 21)
        .ended(ROOT, Completed, 29, 29);
    let (entry, child) = (story.entry(), story.message(1));
    assert_eq!((entry.created_at, entry.updated_at), (at(0), at(3)));
    assert_eq!((child.created_at, child.updated_at), (at(0), at(3)), "its total came with the root's end");
}
