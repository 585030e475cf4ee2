//! An event that cannot be read or stored sets its family aside, is named, holds up nothing else, and is folded
//! again once what was wrong is mended.

use projections::conversations::{Fold, Leg};
use projections::{quarantine, rebuild};
use serde_json::{Value, json};

use crate::support::client::{dial_action, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

const OTHER_CUSTOMER: &str = "+15085140321";
const AT: &str = "Sun, 08 Feb 2026 06:11:30 +0000";

async fn answered_call(callbook: &Callbook, n: u32, customer: &str) {
    let (twilio, parent, child) = (callbook.twilio(), call_sid(2 * n), call_sid(2 * n + 1));
    twilio.send("voice-inbound", &incoming(&parent, customer, OURS)).await;
    let ended = status(&child, Some(&parent), customer, DISPATCHER, "completed", 3, AT);
    twilio.send("voice-status", &lasting(ended, 20)).await;
    twilio.send("dial-action", &dial_action(&parent, &child, customer, OURS, "completed", 20)).await;
    callbook.settled().await;
}

/// Appends to a call's stream what no report would say.
async fn append(callbook: &Callbook, call_sid: &str, event_type: &str, version: &str, payload: &Value) {
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select 'call', $1, coalesce(max(sequence), 0) + 1, $2, $3, $4, '{}'
           from call_events where aggregate_id = $1",
    )
    .bind(call_sid)
    .bind(event_type)
    .bind(version)
    .bind(sqlx::types::Json(payload))
    .execute(&callbook.pool)
    .await
    .unwrap();
    callbook.settled().await;
}

/// A price that the column has no room for.
fn impossible_price() -> Value {
    let golden = include_str!("../../domain/tests/golden/call.details_reconciled.v1.json");
    let mut payload: Value = serde_json::from_str(golden).unwrap();
    payload["facts"]["price"]["amount"] = "-99999999999".into();
    payload
}

fn without_price(leg: &mut Leg) {
    leg.price = None;
}

async fn held(callbook: &Callbook) -> Vec<String> {
    let calls = quarantine::list(&mut callbook.pool.acquire().await.unwrap()).await.unwrap();
    calls.into_iter().map(|call| call.call_sid).collect()
}

async fn thread_of(callbook: &Callbook, customer: &str) -> Value {
    let list = callbook.get("/api/conversations").await;
    let threads = list["conversations"].as_array().unwrap();
    threads.iter().find(|thread| thread["external_id"] == customer).unwrap().clone()
}

#[tokio::test]
async fn a_row_that_the_database_refuses_sets_one_family_aside_until_it_can_be_folded() {
    let callbook = Callbook::start().await;
    answered_call(&callbook, 0, CUSTOMER).await;
    answered_call(&callbook, 1, OTHER_CUSTOMER).await;
    append(&callbook, &call_sid(0), "call.details_reconciled", "1", &impossible_price()).await;
    // What comes afterwards, to that family and to others.
    answered_call(&callbook, 2, CUSTOMER).await;
    callbook
        .twilio()
        .send(
            "voice-status",
            &status(&call_sid(9), Some(&call_sid(0)), CUSTOMER, DISPATCHER, "ringing", 1, AT),
        )
        .await;
    callbook.settled().await;

    assert_eq!(held(&callbook).await, [call_sid(0), call_sid(1), call_sid(9)]);
    let stale = thread_of(&callbook, CUSTOMER).await;
    assert_eq!((&stale["stale"], &stale["metadata"]["total_calls"]), (&json!(true), &json!(2)));
    let messages =
        callbook.get(&format!("/api/conversations/{}/messages", stale["id"].as_str().unwrap())).await;
    assert_eq!(messages["stale"], true);
    assert_eq!(thread_of(&callbook, OTHER_CUSTOMER).await["stale"], false);
    assert_eq!(callbook.health().await["projection"]["quarantined"], 3);
    let ids = callbook.ids().await;
    let diff = rebuild::dry_run(&callbook.pool, &ids, |_| {}).await.unwrap();
    assert!(diff.is_empty(), "{diff:#?}");
    assert_eq!(diff.quarantined, [call_sid(0), call_sid(1), call_sid(9)], "listed and left out");

    let fold = Fold::from(&ids);
    let retried = quarantine::retry(&callbook.pool, &fold, None).await.unwrap();
    assert!(retried.released.is_empty() && retried.kept.len() == 3, "{retried:?}");
    let mended = fold.clone().amended(projections::generation::FOLD_VERSION, without_price);
    let retried = quarantine::retry(&callbook.pool, &mended, Some(&call_sid(9))).await.unwrap();
    assert_eq!(retried.released, [call_sid(0), call_sid(1), call_sid(9)], "a family goes together");
    assert_eq!(held(&callbook).await, [""; 0]);
    assert_eq!(thread_of(&callbook, CUSTOMER).await["stale"], false);
    let diff = rebuild::dry_run(&callbook.pool, mended, |_| {}).await.unwrap();
    assert!(diff.is_empty() && diff.quarantined.is_empty(), "{diff:#?}");
}

#[tokio::test]
async fn a_rebuild_sets_aside_what_live_did_and_everything_else_is_equal() {
    let callbook = Callbook::start().await;
    for n in 0..4 {
        answered_call(&callbook, n, if n % 2 == 0 { CUSTOMER } else { OTHER_CUSTOMER }).await;
    }
    append(&callbook, &call_sid(0), "call.unheard_of", "1", &json!({})).await;
    append(
        &callbook,
        &call_sid(3),
        "call.status_changed",
        "1",
        &json!({ "facts": { "status": "unheard of" } }),
    )
    .await;
    // The first event of a call that nothing else is known of.
    append(&callbook, &call_sid(99), "call.created", "7", &json!({})).await;
    answered_call(&callbook, 5, CUSTOMER).await;
    let expected = [call_sid(0), call_sid(1), call_sid(2), call_sid(3), call_sid(99)];
    let mut live = held(&callbook).await;
    live.sort_unstable();
    assert_eq!(live, expected);
    callbook.verify().await;

    // A row that is refused ends a load, and the slower way finds it.
    append(&callbook, &call_sid(10), "call.details_reconciled", "1", &impossible_price()).await;
    callbook.verify().await;
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    let mut rebuilt = held(&callbook).await;
    rebuilt.sort_unstable();
    assert_eq!(rebuilt, [&expected[..4], &[call_sid(10), call_sid(11), call_sid(99)]].concat());
    answered_call(&callbook, 6, OTHER_CUSTOMER).await;
    callbook.verify().await;
}
