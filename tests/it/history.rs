//! Looking back: as of every position and time, a thread is what live showed then.

use callbook::reclassify::reclassify;
use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::generation::Snapshot;
use projections::queries::Window;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::support::client::{Pairs, dial_action, incoming, lasting, pairs, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

const OTHER: &str = "+19788447773";

/// What a client saw, and as of which position.
type Seen = Vec<(i64, Value)>;

/// A call of ours that is dialled on, one that is missed, and one of somebody else; late, early and again.
fn story() -> Vec<(&'static str, Pairs)> {
    let at = |second: u32| format!("Sun, 08 Feb 2026 06:11:{second:02} +0000");
    let (parent, child, missed, other) = (call_sid(1), call_sid(2), call_sid(3), call_sid(4));
    let child_is = |state, sequence, second| {
        status(&child, Some(&parent), CUSTOMER, DISPATCHER, state, sequence, &at(second))
    };
    let recording = pairs(&[
        ("CallSid", &parent),
        ("RecordingSid", "RE6ae81c3bd50f4be6a2b31e1d5c7f0a92"),
        ("RecordingStatus", "completed"),
        ("RecordingUrl", "https://api.twilio.com/2010-04-01/Accounts/AC/Recordings/RE"),
        ("RecordingDuration", "20"),
    ]);
    vec![
        ("recording-status", recording),
        ("voice-status", child_is("ringing", 1, 2)),
        ("voice-inbound", incoming(&parent, CUSTOMER, OURS)),
        ("voice-inbound", incoming(&other, OTHER, OURS)),
        ("voice-status", child_is("in-progress", 2, 9)),
        ("voice-inbound", incoming(&missed, CUSTOMER, OURS)),
        ("dial-action", dial_action(&parent, &child, CUSTOMER, OURS, "completed", 20)),
        ("voice-status", child_is("initiated", 0, 1)),
        ("voice-status", lasting(child_is("completed", 3, 29), 20)),
        ("voice-status", lasting(status(&other, None, OTHER, OURS, "completed", 0, &at(40)), 12)),
        ("voice-status", status(&missed, None, CUSTOMER, OURS, "no-answer", 0, &at(35))),
        ("voice-status", lasting(status(&parent, None, CUSTOMER, OURS, "completed", 0, &at(29)), 29)),
    ]
}

/// Tells the story, and asks for the thread, page by page, after each request.
async fn told(callbook: &Callbook, conversation: &str, pages: &[&str]) -> Vec<(String, Seen)> {
    let mut seen: Vec<(String, Seen)> = pages.iter().map(|page| ((*page).to_owned(), Seen::new())).collect();
    for (endpoint, params) in story() {
        callbook.twilio().send(endpoint, &params).await;
        let position = callbook.settled().await;
        for (page, seen) in &mut seen {
            let (status, body) =
                callbook.fetch(&format!("/api/conversations/{conversation}/messages?{page}")).await;
            if status == 200 {
                assert_eq!(body["position"], position);
                seen.push((position, body));
            }
        }
    }
    seen
}

async fn conversation(callbook: &Callbook, party: &str) -> String {
    callbook.ids().await.conversation(party).to_string()
}

fn without_as_of(mut body: Value) -> Value {
    let fields = body.as_object_mut().unwrap();
    assert!(fields.remove("as_of").is_some());
    assert_eq!(fields.remove("unreadable"), Some(json!([])));
    body
}

async fn recorded_at(callbook: &Callbook, position: i64) -> OffsetDateTime {
    sqlx::query_scalar("select created_at from call_events where id = $1")
        .bind(position)
        .fetch_one(&callbook.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn as_of_every_position_and_time_a_thread_is_what_live_showed_then() {
    let callbook = Callbook::start().await;
    let id = conversation(&callbook, CUSTOMER).await;
    let seen = told(&callbook, &id, &["", "page=1&limit=1", "page=2&limit=1", "offset=1&limit=5"]).await;
    for (page, seen) in &seen {
        assert!(seen.len() >= 9, "the thread was there most of the time");
        for (position, live) in seen {
            let path = format!("/api/conversations/{id}/messages?{page}&as_of=");
            let past = callbook.get(&format!("{path}{position}")).await;
            assert_eq!(without_as_of(past), *live, "as of position {position}, {page}");

            let recorded_at = recorded_at(&callbook, *position).await;
            let time = recorded_at.format(&Rfc3339).unwrap();
            let mut past = callbook.get(&format!("{path}{time}")).await;
            assert_eq!(past["as_of"], time);
            // Positions have gaps, so a time may name the position before; here it is the event's own.
            assert_eq!(past["position"], *position, "as of {time}");
            past["position"] = live["position"].clone();
            assert_eq!(without_as_of(past), *live, "as of {time}, {page}");
        }
    }
    callbook.verify().await;
}

#[tokio::test]
async fn as_of_every_position_and_time_a_call_is_what_live_showed_then() {
    let callbook = Callbook::start().await;
    let calls: Vec<String> = (1..=4).map(call_sid).collect();
    // What live answered of each call after each request, and its status.
    let mut seen: Vec<(&String, i64, u16, Value)> = Vec::new();
    for (endpoint, params) in story() {
        callbook.twilio().send(endpoint, &params).await;
        let position = callbook.settled().await;
        for sid in &calls {
            let (status, live) = callbook.fetch(&format!("/api/calls/{sid}")).await;
            seen.push((sid, position, status, live));
        }
    }
    let known = seen.iter().filter(|(_, _, status, _)| *status == 200).count();
    assert!(known > 20 && known < seen.len(), "some were not heard of at first: {known}");
    for (sid, position, status, live) in &seen {
        let path = format!("/api/calls/{sid}?as_of=");
        let (found, past) = callbook.fetch(&format!("{path}{position}")).await;
        assert_eq!(found, *status, "{sid} as of position {position}: {past}");
        if *status == 200 {
            assert_eq!(without_as_of(past), *live, "{sid} as of position {position}");
            let time = recorded_at(&callbook, *position).await.format(&Rfc3339).unwrap();
            let past = callbook.get(&format!("{path}{time}")).await;
            assert_eq!(past["as_of"], time);
            assert_eq!(without_as_of(past), *live, "{sid} as of {time}");
        } else {
            assert_eq!((found, &past["code"]), (404, &json!("not-yet-recorded")));
        }
    }
    callbook.verify().await;
}

#[tokio::test]
async fn a_call_that_had_not_been_heard_of_or_never_was_and_one_to_come_are_told_apart() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let before = callbook.settled().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(2), CUSTOMER, OURS)).await;
    let head = callbook.settled().await;
    let (later, never) = (call_sid(2), call_sid(3));
    for (sid, as_of, status, code) in [
        (&later, before.to_string(), 404, "not-yet-recorded"),
        (&later, "2026-02-08T06:11:00Z".to_owned(), 404, "not-yet-recorded"),
        (&later, (head + 1).to_string(), 400, "in-the-future"),
        (&later, "2999-01-01T00:00:00Z".to_owned(), 400, "in-the-future"),
        (&later, "soon".to_owned(), 400, "bad-parameter"),
        (&never, before.to_string(), 404, "unknown-call"),
    ] {
        let (found, problem) = callbook.fetch(&format!("/api/calls/{sid}?as_of={as_of}")).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{sid} as of {as_of}: {problem}");
    }
    let (_, problem) = callbook.fetch(&format!("/api/calls/{later}?as_of={before}")).await;
    let sentence = format!(
        "nothing had been recorded of the call {later} at position {before} of the log; its first event came later"
    );
    assert_eq!(problem["detail"], sentence);
}

#[tokio::test]
async fn a_thread_is_walked_by_cursor_as_it_was() {
    let callbook = Callbook::start().await;
    let id = conversation(&callbook, CUSTOMER).await;
    let seen = told(&callbook, &id, &[""]).await;
    let (position, live) = &seen[0].1[5];
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/conversations/{id}/messages?limit=1{cursor}&as_of={position}");
        let page = callbook.get(&path).await;
        assert_eq!(page["total"], live["total"]);
        walked.extend(page["messages"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(Value::from(walked), live["messages"]);
}

#[tokio::test]
async fn before_its_first_call_a_thread_is_empty_and_has_no_contact() {
    let callbook = Callbook::start().await;
    let id = conversation(&callbook, CUSTOMER).await;
    told(&callbook, &id, &[]).await;
    let first: OffsetDateTime = sqlx::query_scalar("select min(created_at) from call_events")
        .fetch_one(&callbook.pool)
        .await
        .unwrap();
    let before = (first - Duration::microseconds(1)).format(&Rfc3339).unwrap();
    for (as_of, echoed) in [
        ("0", Value::Null),
        (before.as_str(), before.as_str().into()),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z".into()),
    ] {
        let past = callbook.get(&format!("/api/conversations/{id}/messages?as_of={as_of}")).await;
        let empty = json!({
            "messages": [], "total": 0, "page": 1, "limit": 100, "next_cursor": null,
            "position": 0, "as_of": echoed, "stale": false, "unreadable": [],
        });
        assert_eq!(past, empty, "{as_of}");
    }
}

#[tokio::test]
async fn what_cannot_be_looked_back_at_is_refused_with_the_reason() {
    let callbook = Callbook::start().await;
    let id = conversation(&callbook, CUSTOMER).await;
    told(&callbook, &id, &[]).await;
    let head = callbook.settled().await;
    let path = |as_of: &str| format!("/api/conversations/{id}/messages?as_of={as_of}");

    for as_of in ["", "soon", "-1", "1.5", "2026-02-08", "2026-02-08T06:11:00", "99999999999999999999"] {
        let (status, problem) = callbook.fetch(&path(as_of)).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad-parameter")), "{as_of}: {problem}");
        assert_eq!(problem["parameter"], "as_of");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("`as_of` is `{as_of}`, but it must be a position")), "{detail}");
    }
    let (status, problem) = callbook.fetch(&format!("{}&as_of=2", path("1"))).await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("as_of")), "{problem}");

    for as_of in ["2999-01-01T00:00:00Z".to_owned(), (head + 1).to_string()] {
        let (status, problem) = callbook.fetch(&path(&as_of)).await;
        assert_eq!((status, &problem["code"]), (400, &json!("in-the-future")), "{as_of}: {problem}");
        assert_eq!(problem["parameter"], "as_of");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("the log ends at position {head}")), "{detail}");
    }
    let (status, _) = callbook.fetch(&path(&head.to_string())).await;
    assert_eq!(status, 200, "the end of the log is the past already");

    let (status, problem) = callbook.fetch("/api/conversations/42/messages?as_of=1").await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-conversation")));
}

#[tokio::test]
async fn a_family_is_in_the_thread_it_was_in_before_a_leg_said_more() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    // A softphone's call has no customer of its own: its child places it.
    let (softphone, child) = (call_sid(1), call_sid(2));
    twilio.send("voice-inbound", &incoming(&softphone, "client:alice", "")).await;
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    twilio.send("voice-status", &status(&child, Some(&softphone), OURS, CUSTOMER, "ringing", 1, at)).await;
    let position = callbook.settled().await;
    let (customers, others) = (conversation(&callbook, CUSTOMER).await, conversation(&callbook, OTHER).await);
    let then = callbook.get(&format!("/api/conversations/{customers}/messages")).await;
    assert_eq!(then["total"], 1);

    // Then the root is heard to have called somebody else, and a further call keeps the first thread alive.
    twilio.send("voice-status", &status(&softphone, None, "client:alice", OTHER, "ringing", 1, at)).await;
    twilio.send("voice-inbound", &incoming(&call_sid(3), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let now = callbook.get(&format!("/api/conversations/{others}/messages")).await;
    assert_eq!(now["messages"][0]["external_id"], softphone);

    let past = callbook.get(&format!("/api/conversations/{customers}/messages?as_of={position}")).await;
    assert_eq!(without_as_of(past), then);
    let past = callbook.get(&format!("/api/conversations/{others}/messages?as_of={position}")).await;
    assert_eq!(past["total"], 0, "the family had not come to this thread yet");
    callbook.verify().await;
}

#[tokio::test]
async fn a_family_is_in_the_thread_it_was_in_before_it_was_reclassified() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let (customers, ours) = (conversation(&callbook, CUSTOMER).await, conversation(&callbook, OURS).await);
    let path = |thread: &str| format!("/api/conversations/{thread}/messages");
    for (endpoint, params) in story() {
        twilio.send(endpoint, &params).await;
    }
    let before = callbook.settled().await;
    let then = callbook.get(&path(&customers)).await;
    assert_eq!(then["total"], 2);

    // As if the customer's number had been ours all along. A further call keeps the customer's thread alive.
    let theirs = Lines::new([PhoneNumber::try_new(CUSTOMER).unwrap()], "elsewhere.sip.twilio.com");
    assert!(reclassify(&callbook.pool, &theirs, |_| {}).await.unwrap().changed > 0);
    let moved = callbook.settled().await;
    let other_thread = callbook.get(&path(&ours)).await;
    assert_eq!(callbook.fetch(&path(&customers)).await.0, 404, "nobody's thread any more");
    let past = callbook.get(&format!("{}?as_of={before}", path(&customers))).await;
    assert_eq!(without_as_of(past), then, "and yet it was one");
    twilio.send("voice-inbound", &incoming(&call_sid(9), CUSTOMER, OURS)).await;
    callbook.settled().await;
    assert_eq!(callbook.get(&path(&customers)).await["total"], 1);

    let as_of =
        async |thread: &str, position: i64| callbook.get(&format!("{}?as_of={position}", path(thread))).await;
    assert_eq!(without_as_of(as_of(&customers, before).await), then);
    assert_eq!(as_of(&customers, moved).await["total"], 0, "all its calls had gone");
    assert_eq!(as_of(&ours, before).await["total"], 0, "none had come");
    assert_eq!(without_as_of(as_of(&ours, moved).await), other_thread);
    callbook.verify().await;
}

#[tokio::test]
async fn a_leg_is_in_the_family_of_the_parent_it_named_then() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let (first, second, child) = (call_sid(1), call_sid(2), call_sid(3));
    let id = conversation(&callbook, CUSTOMER).await;
    let path = format!("/api/conversations/{id}/messages");
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    let ringing =
        |parent: &str, sequence| status(&child, Some(parent), CUSTOMER, DISPATCHER, "ringing", sequence, at);
    twilio.send("voice-inbound", &incoming(&first, CUSTOMER, OURS)).await;
    twilio.send("voice-inbound", &incoming(&second, CUSTOMER, OURS)).await;
    twilio.send("voice-status", &ringing(&first, 1)).await;
    let position = callbook.settled().await;
    let then = callbook.get(&path).await;
    twilio.send("voice-status", &ringing(&second, 2)).await;
    callbook.settled().await;
    let now = callbook.get(&path).await;
    let legs = |body: &Value, root: &str| {
        let entry = body["messages"].as_array().unwrap().iter().find(|entry| entry["external_id"] == root);
        entry.unwrap()["legs"].as_array().unwrap().len()
    };
    assert_eq!((legs(&then, &first), legs(&now, &first), legs(&now, &second)), (2, 1, 2));
    assert_eq!(without_as_of(callbook.get(&format!("{path}?as_of={position}")).await), then);
    let of = async |sid: &str| {
        let past = callbook.get(&format!("/api/calls/{sid}?as_of={position}")).await;
        (past["root_sid"].clone(), past["legs"].as_array().unwrap().len())
    };
    assert_eq!(of(&child).await, (json!(first), 2));
    assert_eq!(of(&second).await, (json!(second), 1));
    callbook.verify().await;
}

#[tokio::test]
async fn what_the_read_model_has_not_come_to_is_put_off() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    twilio.send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let reached = callbook.settled().await;
    let id = conversation(&callbook, CUSTOMER).await;
    let path = |position: i64| format!("/api/conversations/{id}/messages?as_of={position}");
    // Whoever holds this row keeps the read model where it is.
    let mut holder = callbook.pool.begin().await.unwrap();
    sqlx::query("select from read_model_generations for update").execute(&mut *holder).await.unwrap();
    twilio.send("voice-inbound", &incoming(&call_sid(2), CUSTOMER, OURS)).await;
    while callbook.count("select count(*) from call_events").await < 2 {}
    let (status, problem) = callbook.fetch(&path(reached + 1)).await;
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
    assert_eq!(callbook.get(&path(reached)).await["total"], 1, "what it has come to is answered");
    holder.rollback().await.unwrap();
    let head = callbook.settled().await;
    assert_eq!(callbook.get(&path(head)).await["total"], 2);
}

#[tokio::test]
async fn a_call_is_known_up_to_the_event_that_cannot_be_read() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let id = callbook.ids().await.conversation(CUSTOMER);
    let mut snapshot = Snapshot::open(&callbook.pool).await.unwrap();
    let thread = snapshot.conversation(id).await.unwrap().unwrap();
    drop(snapshot);
    for (sequence, version) in [(2, "99"), (3, "1")] {
        sqlx::query(
            "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('call', $1, $2, 'call.frozen', $3, '{}', '{}')",
        )
        .bind(call_sid(1))
        .bind(sequence)
        .bind(version)
        .execute(&callbook.pool)
        .await
        .unwrap();
    }
    let mut snapshot = Snapshot::open(&callbook.pool).await.unwrap();
    let window = Window::Offset { offset: 0, limit: 10 };
    let ids = callbook.ids().await;
    let past = snapshot.thread_as_of(&ids, CUSTOMER, window, i64::MAX).await.unwrap();
    assert_eq!((past.total, past.contact), (1, thread.contact));
    assert_eq!(past.entries[0].message, thread.last.unwrap().message);
    let head = callbook.settled().await;
    let path = format!("/api/conversations/{id}/messages");
    let (live, past_live) = (callbook.get(&path).await, callbook.get(&format!("{path}?as_of={head}")).await);
    assert_eq!((&live["stale"], &past_live["stale"]), (&json!(true), &json!(true)));
    assert_eq!(past_live["messages"], live["messages"]);
    assert_eq!(past_live["unreadable"][0]["call_sid"], call_sid(1));
    let call = callbook.get(&format!("/api/calls/{}?as_of={head}", call_sid(1))).await;
    assert_eq!((&call["message"], &call["unreadable"]), (&live["messages"][0], &past_live["unreadable"]));
    let [unreadable] = past.unreadable.as_slice() else { panic!("{:?}", past.unreadable) };
    assert_eq!(unreadable.call_sid, call_sid(1));
    let position = callbook.count("select id from call_events where sequence = 2").await;
    assert_eq!(unreadable.position, position, "the first one");
    assert!(unreadable.reason.contains("version \"99\""), "{unreadable:?}");
}
