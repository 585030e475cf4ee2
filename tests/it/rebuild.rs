//! A rebuild beside live traffic: rows equal, ids equal, readers undisturbed, and a difference shown.

use projections::rebuild::{self, RebuildError};
use serde_json::Value;

use crate::support::client::{dial_action, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

/// Answered calls with a child each, from this number on.
async fn calls(callbook: &Callbook, first: u32, count: u32) {
    let twilio = callbook.twilio();
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    for n in first..first + count {
        let (parent, child) = (call_sid(2 * n), call_sid(2 * n + 1));
        twilio.send("voice-inbound", &incoming(&parent, CUSTOMER, OURS)).await;
        let ended = status(&child, Some(&parent), CUSTOMER, DISPATCHER, "completed", 3, at);
        twilio.send("voice-status", &lasting(ended, 20)).await;
        twilio.send("dial-action", &dial_action(&parent, &child, CUSTOMER, OURS, "completed", 20)).await;
    }
}

async fn all_rows(callbook: &Callbook) -> Value {
    let query = "select jsonb_build_array(
        (select jsonb_agg(to_jsonb(r) order by call_sid) from call_legs r),
        (select jsonb_agg(to_jsonb(r) order by id) from contacts r),
        (select jsonb_agg(to_jsonb(r) order by id) from conversations r),
        (select jsonb_agg(to_jsonb(r) order by id) from messages r))";
    sqlx::query_scalar(query).fetch_one(&callbook.pool).await.unwrap()
}

#[tokio::test]
async fn a_rebuild_changes_no_row_and_live_goes_on_in_the_new_tables() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 10).await;
    callbook.settled().await;
    let before = all_rows(&callbook).await;
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    assert_eq!(all_rows(&callbook).await, before, "every row is as it was, ids and times included");
    let schema = "select count(*) from information_schema.schemata where schema_name like 'read_model_g%'";
    assert_eq!(callbook.count(schema).await, 2, "the previous tables are kept");

    calls(&callbook, 10, 5).await;
    callbook.settled().await;
    assert_eq!(callbook.get("/api/conversations").await["conversations"][0]["metadata"]["total_calls"], 15);
    callbook.verify().await;
    rebuild::drop_previous(&callbook.pool).await.unwrap();
    assert_eq!(callbook.count(schema).await, 1);
    callbook.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_rebuild_find_no_difference_while_traffic_flows() {
    let callbook = std::sync::Arc::new(Callbook::start().await);
    let traffic = tokio::spawn({
        let callbook = std::sync::Arc::clone(&callbook);
        async move { calls(&callbook, 0, 60).await }
    });
    let ids = callbook.ids().await;
    let mut rounds = 0;
    while !traffic.is_finished() || rounds == 0 {
        callbook.verify().await;
        rebuild::rebuild(&callbook.pool, &ids, |_| {}).await.unwrap();
        rounds += 1;
    }
    traffic.await.unwrap();
    callbook.settled().await;
    callbook.verify().await;
    assert_eq!(callbook.count("select count(*) from messages").await, 120);
}

#[tokio::test]
async fn a_row_that_is_wrong_is_named_with_its_column_and_a_rebuild_refuses_to_hide_it() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 3).await;
    callbook.settled().await;
    sqlx::query("update read_model_g1.messages set talk_time = 7 where twilio_sid = $1")
        .bind(call_sid(2))
        .execute(&callbook.pool)
        .await
        .unwrap();
    sqlx::query("delete from read_model_g1.messages where twilio_sid = $1")
        .bind(call_sid(5))
        .execute(&callbook.pool)
        .await
        .unwrap();
    let ids = callbook.ids().await;
    let diff = rebuild::dry_run(&callbook.pool, &ids, |_| {}).await.unwrap();
    assert_eq!(diff.rows(), 2);
    let messages = diff.tables.iter().find(|table| table.table == "messages").unwrap();
    assert_eq!((messages.added, messages.removed, messages.changed), (1, 0, 1));
    let changed = messages.samples.iter().find(|row| row.live.is_some()).unwrap();
    assert_eq!(changed.columns(), ["talk_time"]);
    assert_eq!(changed.live.as_ref().unwrap()["talk_time"], 7);
    let refused = rebuild::rebuild(&callbook.pool, &ids, |_| {}).await;
    assert!(matches!(refused, Err(RebuildError::Differs { rows: 2 })), "{refused:?}");
    let schemas = "select count(*) from information_schema.schemata where schema_name like 'read_model_g%'";
    assert_eq!(callbook.count(schemas).await, 1, "nothing is left behind");
}

#[tokio::test]
async fn two_at_once_exclude_one_another_and_what_a_killed_one_left_is_dropped() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 3).await;
    callbook.settled().await;
    let ids = callbook.ids().await;
    let running = rebuild::Build::run(callbook.pool.clone(), &ids, |_| {}).await.unwrap();
    let second = rebuild::dry_run(&callbook.pool, &ids, |_| {}).await;
    assert!(matches!(second, Err(RebuildError::AlreadyRunning)), "{second:?}");
    // Killed: its session ends, its schema stays.
    drop(running);
    let schemas = "select count(*) from information_schema.schemata where schema_name like 'read_model_g%'";
    assert_eq!(callbook.count(schemas).await, 2);
    let gone = "select count(*) from pg_locks where locktype = 'advisory' and granted and objid = (append_lock() + 2)::bit(32)::int8::oid";
    while callbook.count(gone).await > 0 {}
    callbook.verify().await;
    assert_eq!(callbook.count(schemas).await, 1);
}
