use super::*;

use CallStatus::{Completed, InProgress, Ringing};

fn reasons(story: &Story) -> Vec<Option<String>> {
    let messages = story.messages();
    for message in &messages {
        assert_eq!(message.conversation_id.is_none(), message.hidden_reason.is_some());
    }
    messages.into_iter().map(|message| message.hidden_reason).collect()
}

#[test]
fn a_call_is_in_the_thread_of_whoever_called() {
    let entry = Story::default().announced(ROOT).entry();
    assert_eq!(entry.conversation_id, Some(ids().conversation(CUSTOMER)));
    assert_eq!((entry.direction.as_str(), entry.hidden_reason), ("inbound", None));
    assert_eq!((entry.from_number.as_str(), entry.to_number.as_str()), (CUSTOMER, OURS));
    assert_eq!(entry.start_time, at(0));
}

#[test]
fn what_is_not_a_customers_call_is_hidden_with_its_reason_and_its_children() {
    for (way, reason) in [
        ((DISPATCHER, "client:alice", "inbound"), "internal call"),
        (("12", OURS, "inbound"), "malformed number"),
        ((DISPATCHER, "+12", "inbound"), "malformed number"),
        ((OURS, OURS, "inbound"), "no external party"),
        (SOFTPHONE_CALLS, "no external party"),
    ] {
        let between_us = L(1, Some(0), ("client:alice", DISPATCHER, "outbound-dial"));
        let story = Story::default().announced(L(0, None, way)).status(between_us, Ringing, 2);
        assert_eq!(reasons(&story), vec![Some(reason.to_owned()); 2], "{way:?}");
    }
}

#[test]
fn an_internal_call_stays_hidden_whoever_its_children_are() {
    let root = L(0, None, (DISPATCHER, "client:alice", "inbound"));
    let story = Story::default().announced(root).status(L(1, Some(0), RINGS_CUSTOMER), Ringing, 2);
    assert_eq!(reasons(&story), vec![Some("internal call".to_owned()); 2]);
}

#[test]
fn a_softphones_call_is_placed_by_its_child() {
    let root = L(0, None, SOFTPHONE_CALLS);
    let child = L(1, Some(0), RINGS_CUSTOMER);
    let story = Story::default().announced(root);
    assert_eq!(story.entry().conversation_id, None);
    let story = story.status(child, Ringing, 2);
    assert_eq!(reasons(&story), [None, None]);
    let thread = Some(ids().conversation(CUSTOMER));
    assert_eq!((story.entry().conversation_id, story.message(1).conversation_id), (thread, thread));
    assert_eq!(story.entry().direction, "outbound");
    let story =
        story.status(child, InProgress, 8).ended(child, Completed, 29, 21).ended(root, Completed, 29, 29);
    let seen =
        Seen { display_status: "completed", missed: false, total: Some(29), talk: Some(21), wait: Some(8) };
    assert_ended(&story, seen);
}

#[test]
fn of_several_children_the_one_that_started_first_places_a_softphones_call() {
    let other = "+19788447773";
    let story = Story::default()
        .announced(L(0, None, SOFTPHONE_CALLS))
        .status(L(1, Some(0), (OURS, other, "outbound-dial")), Ringing, 9)
        .status(L(2, Some(0), RINGS_CUSTOMER), Ringing, 2)
        .status(L(3, Some(0), ("client:alice", DISPATCHER, "outbound-dial")), Ringing, 1);
    for order in story.orders() {
        assert_eq!(order.entry().conversation_id, Some(ids().conversation(CUSTOMER)));
    }
    let at_once = Story::default()
        .announced(L(0, None, SOFTPHONE_CALLS))
        .status(L(2, Some(0), RINGS_CUSTOMER), Ringing, 2)
        .status(L(1, Some(0), (OURS, other, "outbound-dial")), Ringing, 2);
    assert_eq!(at_once.entry().conversation_id, Some(ids().conversation(other)), "the lesser SID decides");
}

#[test]
fn a_root_with_a_party_of_its_own_is_not_placed_by_its_children() {
    let forwarded = L(1, Some(0), (OURS, "+19788447773", "outbound-dial"));
    let story = Story::default().announced(ROOT).status(forwarded, Ringing, 2);
    for message in story.messages() {
        assert_eq!(message.conversation_id, Some(ids().conversation(CUSTOMER)));
    }
}

#[test]
fn all_withheld_callers_share_one_thread() {
    for from in ["anonymous", "Restricted", "", "+266696687", "sip:anonymous@anonymous.invalid"] {
        let story = Story::default().announced(L(0, None, (from, OURS, "inbound")));
        assert_eq!(story.entry().conversation_id, Some(ids().conversation("withheld")), "{from:?}");
        let party = PartyOf::leg(&story.legs()[sid(0).as_str()]).unwrap();
        assert_eq!((party.kind.as_str(), party.display.as_str()), ("withheld", "Withheld number"));
    }
}

#[test]
fn every_other_caller_is_a_party_of_its_own() {
    for (from, key, kind) in [
        ("12345", "12345", "short_code"),
        ("ABCHOMES", "ABCHOMES", "name"),
        ("sip:bob@pbx.example.com", "sip:bob@pbx.example.com", "sip"),
        ("sip:+15085140320@pbx.example.com", CUSTOMER, "number"),
        ("(508) 514-0320", CUSTOMER, "number"),
    ] {
        let story = Story::default().announced(L(0, None, (from, OURS, "inbound")));
        assert_eq!(story.entry().conversation_id, Some(ids().conversation(key)), "{from:?}");
        let party = PartyOf::leg(&story.legs()[sid(0).as_str()]).unwrap();
        assert_eq!((party.key.as_str(), party.kind.as_str()), (key, kind));
    }
}

#[test]
fn a_reclassified_call_moves_to_the_thread_where_it_belongs() {
    // Set up the wrong way round: the customer's number was taken for ours.
    let wrong = Lines::new([PhoneNumber::try_new(CUSTOMER).unwrap()], "abchomes.sip.us1.twilio.com");
    let mut story = Story::default().announced(ROOT);
    let Some((_, CallCommand::Announce(announce))) = story.0.first_mut() else { panic!("one announcement") };
    announce.lines = wrong;
    assert_eq!(story.entry().conversation_id, Some(ids().conversation(OURS)));
    let story = story.and(0, CallCommand::Reclassify { lines: lines(), at: at(60) });
    assert_eq!(story.entry().conversation_id, Some(ids().conversation(CUSTOMER)));
    assert_eq!(story.entry().direction, "inbound");
}

#[test]
fn the_line_is_our_number_in_the_call() {
    let line = |story: Story| story.entry().line;
    let ours = Some(OURS.to_owned());
    let called = Story::default().announced(ROOT).status(CHILD, Ringing, 2);
    assert_eq!(called.message(1).line, None, "a leg has none");
    assert_eq!(line(called), ours);
    assert_eq!(line(Story::default().announced(L(0, None, API_CALLS))), ours);
    assert_eq!(line(Story::default().announced(L(0, None, ("anonymous", OURS, "inbound")))), ours);
    for (way, what) in [
        ((CUSTOMER, DISPATCHER, "inbound"), "a call to our SIP domain"),
        ((CUSTOMER, "+12", "inbound"), "a number that is none"),
        (DISPATCHER_CALLS, "nothing was dialled yet"),
    ] {
        assert_eq!(line(Story::default().announced(L(0, None, way))), None, "{what}");
    }
}

#[test]
fn a_softphones_line_is_the_number_by_which_it_first_went_out() {
    let other = ("+16175006182", CUSTOMER, "outbound-dial");
    for root in [L(0, None, SOFTPHONE_CALLS), L(0, None, DISPATCHER_CALLS)] {
        let story = Story::default()
            .announced(root)
            .status(L(2, Some(0), RINGS_CUSTOMER), Ringing, 2)
            .status(L(1, Some(0), other), Ringing, 9);
        for story in story.orders() {
            assert_eq!(story.entry().line.as_deref(), Some(OURS), "{story:?}");
        }
    }
}
