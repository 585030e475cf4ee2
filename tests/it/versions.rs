//! Events of older versions, and of versions that nobody knows.

use callbook::reclassify::reclassify;
use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::lint;
use projections::rebuild;
use serde_json::{Value, json};

use crate::support::client::{dial_action, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

const AT: &str = "Sun, 08 Feb 2026 06:11:29 +0000";

async fn insert(callbook: &Callbook, event: &(String, i64, String, String, Value, Value)) {
    let (call_sid, sequence, event_type, version, payload, metadata) = event;
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('call', $1, $2, $3, $4, $5, $6)",
    )
    .bind(call_sid)
    .bind(sequence)
    .bind(event_type)
    .bind(version)
    .bind(sqlx::types::Json(payload))
    .bind(sqlx::types::Json(metadata))
    .execute(&callbook.pool)
    .await
    .unwrap();
}

/// The end of a dial as version 1 stored it.
fn as_version_1(mut payload: Value) -> Value {
    for dial in payload["facts"]["dials"].as_object_mut().unwrap().values_mut() {
        dial["status"] = json!({ "status": dial["status"], "authority": "derived" });
    }
    payload
}

/// The legs of the read model, without the times at which their events were recorded.
async fn legs(callbook: &Callbook) -> Value {
    let query =
        "select jsonb_agg(to_jsonb(l) - 'created_at' - 'updated_at' order by call_sid) from call_legs l";
    sqlx::query_scalar(query).fetch_one(&callbook.pool).await.unwrap()
}

#[tokio::test]
async fn a_log_of_an_older_version_is_loaded_folded_rebuilt_and_decided_on() {
    let (parent, child) = (call_sid(1), call_sid(2));
    let today = Callbook::start().await;
    let twilio = today.twilio();
    twilio.send("voice-inbound", &incoming(&parent, CUSTOMER, OURS)).await;
    let answered = status(&child, Some(&parent), CUSTOMER, DISPATCHER, "completed", 3, AT);
    twilio.send("voice-status", &lasting(answered, 20)).await;
    let dialled = dial_action(&parent, &child, CUSTOMER, OURS, "completed", 20);
    twilio.send("dial-action", &dialled).await;
    today.settled().await;

    // The same log as an earlier callbook would have left it.
    let events: Vec<(String, i64, String, String, Value, Value)> = sqlx::query_as(
        "select aggregate_id, sequence, event_type, event_version, payload, metadata from call_events order by id",
    )
    .fetch_all(&today.pool)
    .await
    .unwrap();
    let old = Callbook::start().await;
    let mut older = 0;
    for mut event in events {
        if event.2 == "call.dial_completed" {
            assert_eq!(event.3, "2");
            (event.3, event.4) = ("1".to_owned(), as_version_1(event.4));
            older += 1;
        }
        insert(&old, &event).await;
    }
    assert_eq!(older, 1);
    old.settled().await;
    assert_eq!(legs(&old).await, legs(&today).await, "folded alike");
    old.verify().await;
    rebuild::rebuild(&old.pool, &old.ids().await, |_| {}).await.unwrap();
    assert_eq!(legs(&old).await, legs(&today).await, "rebuilt alike");
    assert!(lint::lint(&old.pool, true, |_| {}).await.unwrap().is_clean());

    // The worker loads it to decide: what version 1 says of the dial is known, so it is not recorded again.
    let before = old.count("select count(*) from call_events").await;
    old.twilio().send("dial-action", &dialled).await;
    old.settled().await;
    let outcome: String = sqlx::query_scalar("select outcome ->> 'result' from twilio_webhook_inbox")
        .fetch_one(&old.pool)
        .await
        .unwrap();
    assert_eq!(outcome, "already_so");
    assert_eq!(old.count("select count(*) from call_events").await, before);

    // And so does cqrs-es's store, through postgres-es.
    let theirs = Lines::new([PhoneNumber::try_new(CUSTOMER).unwrap()], "elsewhere.sip.twilio.com");
    let done = reclassify(&old.pool, &theirs, |_| {}).await.unwrap();
    assert_eq!((done.judged, done.changed), (2, 2));
    old.settled().await;
    old.verify().await;
}

#[tokio::test]
async fn lint_names_what_this_callbook_cannot_read() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let head = callbook.settled().await;
    for deep in [false, true] {
        let clean = lint::lint(&callbook.pool, deep, |_| {}).await.unwrap();
        assert!(clean.is_clean() && clean.head == head && clean.events == 1, "{clean:?}");
    }

    let event = |n: u32, event_type: &str, version: &str, payload: Value| {
        (call_sid(n), 9, event_type.to_owned(), version.to_owned(), payload, json!({}))
    };
    for event in [
        event(2, "call.created", "7", json!({})),
        event(3, "call.abducted", "1", json!({})),
        event(4, "call.created", "7", json!({})),
        event(5, "call.created", "1", json!({ "summary": CUSTOMER })),
    ] {
        insert(&callbook, &event).await;
    }
    let found = lint::lint(&callbook.pool, false, |_| {}).await.unwrap();
    assert_eq!(found.events, 5);
    let [versioned, abducted] = found.faults.as_slice() else { panic!("{found:?}") };
    assert_eq!((versioned.event_type.as_str(), versioned.event_version.as_str()), ("call.created", "7"));
    assert_eq!((versioned.count, &versioned.sample), (2, &call_sid(2)));
    assert_eq!((versioned.first, versioned.last), (head + 1, head + 3));
    assert_eq!(versioned.reason, "this callbook writes version 1 and has no step from that one");
    assert_eq!((abducted.count, &abducted.sample), (1, &call_sid(3)));
    assert_eq!(abducted.reason, "this callbook knows no such event type");

    let progress = std::sync::Mutex::new(Vec::new());
    let found = lint::lint(&callbook.pool, true, |at| progress.lock().unwrap().push(at)).await.unwrap();
    assert_eq!(found.faults.len(), 3);
    let unread = &found.faults[2];
    assert_eq!((unread.event_version.as_str(), unread.count, &unread.sample), ("1", 1, &call_sid(5)));
    assert!(unread.reason.starts_with("the payload of a call.created event cannot be read"), "{unread:?}");
    assert!(!unread.reason.contains(CUSTOMER), "a payload is personal: {unread:?}");
    assert_eq!(progress.lock().unwrap().last().map(|at| at.position), Some(found.head));
}
