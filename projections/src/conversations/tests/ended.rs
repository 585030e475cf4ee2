use super::*;

use CallStatus::{Busy, Canceled, Completed, Failed, InProgress, NoAnswer, Ringing};

const SECOND_CHILD: L = L(2, Some(0), RINGS_DISPATCHER);
const THIRD_CHILD: L = L(3, Some(0), RINGS_DISPATCHER);

fn answered() -> Story {
    Story::default()
        .announced(ROOT)
        .status(CHILD, Ringing, 2)
        .status(CHILD, InProgress, 8)
        .ended(CHILD, Completed, 29, 21)
        .dialled(ROOT, 1, Completed, Some(21))
        .ended(ROOT, Completed, 29, 29)
}

#[test]
fn an_answered_call_is_talk_and_the_wait_before_it() {
    let seen =
        Seen { display_status: "completed", missed: false, total: Some(29), talk: Some(21), wait: Some(8) };
    assert_ended(&answered(), seen);
}

#[test]
fn a_child_inherits_its_parents_duration_as_the_total() {
    let child = answered().message(1);
    assert!(!child.entry && !child.live && !child.missed);
    assert_eq!((child.duration, child.total_duration), (Some(21), Some(29)));
    assert_eq!((child.talk_time, child.wait_time), (Some(21), Some(8)));
    assert_eq!(child.root_call_sid, sid(0).as_str());
    assert_eq!(child.conversation_id, answered().entry().conversation_id);
    assert!(child.metadata.merged_from_parent);
    assert!(child.metadata.has_parent);
    assert_eq!(child.metadata.talk_time, Some(21));
}

#[test]
fn a_call_that_nobody_answered_shows_what_the_dial_said() {
    for (root, child, shown) in [
        (Completed, NoAnswer, "no-answer"),
        (Completed, Busy, "busy"),
        (Completed, Failed, "failed"),
        (Completed, Canceled, "canceled"),
        // Cancelled by the caller before anybody answered.
        (Canceled, Canceled, "canceled"),
        (NoAnswer, Canceled, "no-answer"),
        (Busy, NoAnswer, "busy"),
    ] {
        let seen =
            || Seen { display_status: shown, missed: true, total: Some(30), talk: Some(0), wait: Some(30) };
        let told_by_itself = Story::default()
            .announced(ROOT)
            .status(CHILD, Ringing, 2)
            .status(CHILD, child, 29)
            .ended(ROOT, root, 30, 30);
        assert_ended(&told_by_itself, seen());
        let told_by_the_dial =
            Story::default().announced(ROOT).dialled(ROOT, 1, child, None).ended(ROOT, root, 30, 30);
        assert_ended(&told_by_the_dial, seen());
        let rang_and_told_by_the_dial = told_by_the_dial.status(CHILD, Ringing, 2);
        assert_ended(&rang_and_told_by_the_dial, seen());
    }
}

#[test]
fn a_call_that_never_reached_a_dial_was_not_answered() {
    for (root, shown) in
        [(Completed, "no-answer"), (Canceled, "canceled"), (Failed, "failed"), (Busy, "busy")]
    {
        let story = Story::default().announced(ROOT).ended(ROOT, root, 4, 4);
        let seen = Seen { display_status: shown, missed: true, total: Some(4), talk: Some(0), wait: Some(4) };
        assert_ended(&story, seen);
    }
}

#[test]
fn an_outbound_call_that_nobody_answered_is_not_missed() {
    let root = L(0, None, DISPATCHER_CALLS);
    let child = L(1, Some(0), RINGS_CUSTOMER);
    let story = Story::default().announced(root).status(child, Busy, 9).ended(root, Completed, 10, 10);
    let seen = Seen { display_status: "busy", missed: false, total: Some(10), talk: Some(0), wait: Some(10) };
    assert_ended(&story, seen);
}

#[test]
fn of_several_children_those_who_answered_count() {
    let rung = Story::default().announced(ROOT).status(CHILD, NoAnswer, 20);
    let one = rung.clone().ended(SECOND_CHILD, Completed, 40, 15).ended(ROOT, Completed, 40, 40);
    let seen = |total, talk, wait| Seen {
        display_status: "completed",
        missed: false,
        total: Some(total),
        talk: Some(talk),
        wait: Some(wait),
    };
    assert_ended(&one, seen(40, 15, 25));
    // Handed over: spoke with two, one after the other.
    assert_ended(&one.clone().ended(THIRD_CHILD, Completed, 40, 12), seen(40, 27, 13));
    // Spoke with two at once: nobody waits for less than nothing.
    assert_ended(&one.ended(THIRD_CHILD, Completed, 40, 38), seen(40, 53, 0));
}

#[test]
fn of_several_children_that_did_not_answer_the_most_telling_is_shown() {
    for (first, second, shown) in [
        (NoAnswer, Busy, "busy"),
        (Failed, NoAnswer, "failed"),
        (Canceled, NoAnswer, "no-answer"),
        (Busy, Failed, "busy"),
    ] {
        let story = Story::default()
            .announced(ROOT)
            .status(CHILD, first, 20)
            .status(SECOND_CHILD, second, 20)
            .ended(ROOT, Completed, 30, 30);
        let seen =
            Seen { display_status: shown, missed: true, total: Some(30), talk: Some(0), wait: Some(30) };
        assert_ended(&story, seen);
    }
}

#[test]
fn whoever_was_answered_but_never_bridged_was_not_reached() {
    let story = Story::default()
        .announced(ROOT)
        .status(CHILD, InProgress, 8)
        .ended(CHILD, Completed, 15, 7)
        .dial_action(ROOT, DialLeg::Leg(sid(1)), Completed, Some(7), Some(false))
        .ended(ROOT, Completed, 20, 20);
    let seen =
        || Seen { display_status: "no-answer", missed: true, total: Some(20), talk: Some(0), wait: Some(20) };
    assert_ended(&story, seen());
    let child = story.message(1);
    assert_eq!((child.display_status.as_str(), child.talk_time), ("completed", Some(0)));
    assert_eq!(child.duration, Some(7), "the leg itself lasted seven seconds");
    let only_the_dial_knows = Story::default()
        .announced(ROOT)
        .dial_action(ROOT, DialLeg::Leg(sid(1)), Completed, Some(7), Some(false))
        .ended(ROOT, Completed, 20, 20);
    assert_ended(&only_the_dial_knows, seen());
}

#[test]
fn a_child_that_only_the_dial_action_knows_counts_once() {
    let seen = || Seen {
        display_status: "completed",
        missed: false,
        total: Some(29),
        talk: Some(21),
        wait: Some(8),
    };
    let unseen =
        Story::default().announced(ROOT).dialled(ROOT, 1, Completed, Some(21)).ended(ROOT, Completed, 29, 29);
    assert_ended(&unseen, seen());
    assert_eq!(unseen.messages().len(), 1, "a leg that was not announced has no message");
    let only_rang = unseen.status(CHILD, Ringing, 2);
    assert_ended(&only_rang, seen());
    assert_eq!(only_rang.messages().len(), 2);
    assert_ended(&only_rang.ended(CHILD, Completed, 29, 21), seen());
}

#[test]
fn a_childs_own_end_is_believed_over_what_the_dial_action_said_of_it() {
    for (own, said, shown) in [(Busy, NoAnswer, "busy"), (NoAnswer, Completed, "no-answer")] {
        let story = Story::default()
            .announced(ROOT)
            .status(CHILD, own, 20)
            .dialled(ROOT, 1, said, None)
            .ended(ROOT, Completed, 29, 29);
        let seen =
            Seen { display_status: shown, missed: true, total: Some(29), talk: Some(0), wait: Some(29) };
        assert_ended(&story, seen);
    }
}

#[test]
fn a_conference_was_answered_and_nobody_knows_for_how_long() {
    let story = Story::default()
        .announced(ROOT)
        .dial_action(ROOT, DialLeg::Unnamed, Completed, None, None)
        .ended(ROOT, Completed, 60, 60);
    let seen = Seen { display_status: "completed", missed: false, total: Some(60), talk: None, wait: None };
    assert_ended(&story, seen);
}

#[test]
fn a_root_that_the_api_placed_speaks_itself_unless_it_dials() {
    let root = L(0, None, API_CALLS);
    let story = |status, seconds| Story::default().status(root, Ringing, 1).ended(root, status, 50, seconds);
    let seen = |display_status, total, talk, wait| Seen {
        display_status,
        missed: false,
        total: Some(total),
        talk: Some(talk),
        wait: Some(wait),
    };
    assert_ended(&story(Completed, 42), seen("completed", 42, 42, 0));
    assert_ended(&story(Busy, 0), seen("busy", 0, 0, 0));
    assert_ended(&story(Completed, 42).ended(CHILD, Completed, 50, 30), seen("completed", 42, 30, 12));
    assert_ended(&story(Completed, 42).status(CHILD, Busy, 50), seen("busy", 42, 0, 42));
    assert_ended(&story(Completed, 42).dialled(root, 1, Busy, None), seen("busy", 42, 0, 42));
}

#[test]
fn a_call_that_a_dial_action_ended_has_no_total_until_a_callback_confirms_it() {
    let story = Story::default().announced(ROOT).ended(CHILD, Completed, 29, 21).dialled(
        ROOT,
        1,
        Completed,
        Some(21),
    );
    let seen = Seen { display_status: "completed", missed: false, total: None, talk: Some(21), wait: None };
    assert_ended(&story, seen);
    let entry = story.entry();
    assert!(entry.is_final);
    assert_eq!((entry.end_time, entry.finalized_at), (Some(at(29)), Some(at(29))));
}

#[test]
fn a_duration_of_zero_is_a_call_that_ended_without_one() {
    for duration in [None, Some(0)] {
        let story = Story::default()
            .announced(ROOT)
            .report(CHILD, NoAnswer, 9, duration)
            .report(ROOT, NoAnswer, 9, duration);
        let seen =
            Seen { display_status: "no-answer", missed: true, total: Some(0), talk: Some(0), wait: Some(0) };
        assert_ended(&story, seen);
    }
}

#[test]
fn reports_give_the_same_messages_in_every_order() {
    let expected = timeless(answered().messages());
    assert_eq!(expected.len(), 2);
    let orders = answered().orders();
    assert_eq!(orders.len(), 720);
    for order in orders {
        assert_eq!(timeless(order.messages()), expected, "{order:?}");
    }
}
