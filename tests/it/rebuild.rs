//! A rebuild beside live traffic: rows equal, ids equal, readers undisturbed, and a difference shown.

use projections::conversations::{Fold, Leg};
use projections::generation::{FOLD_VERSION, Snapshot};
use projections::queries::{Filter, State, Window};
use projections::rebuild::{self, Phase, RebuildError};
use projections::runner::{Runner, Stopped};
use serde_json::Value;
use tokio::sync::Notify;

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

fn answered_by_a_machine(leg: &mut Leg) {
    if leg.call_sid == call_sid(3) {
        leg.answered_by = Some("machine".to_owned());
    }
}

#[tokio::test]
async fn a_bug_in_a_fold_shows_in_a_dry_run_as_the_rows_it_changes_and_changes_none() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 5).await;
    callbook.settled().await;
    let before = all_rows(&callbook).await;
    let fold = Fold::from(&callbook.ids().await).amended(FOLD_VERSION + 1, answered_by_a_machine);
    let diff = rebuild::dry_run(&callbook.pool, fold, |_| {}).await.unwrap();
    assert_eq!(diff.rows(), 2, "{diff:#?}");
    for (name, key, column) in
        [("call_legs", call_sid(3), "answered_by"), ("messages", message_id(&callbook, 3).await, "metadata")]
    {
        let table = diff.tables.iter().find(|table| table.table == name).unwrap();
        assert_eq!((table.added, table.removed, table.changed), (0, 0, 1), "{name}");
        assert_eq!(table.columns, [(column.to_owned(), 1)], "{name}");
        assert_eq!(table.samples[0].key, key);
        assert_eq!(table.samples[0].columns(), [column]);
    }
    assert_eq!(all_rows(&callbook).await, before);
}

async fn message_id(callbook: &Callbook, n: u32) -> String {
    sqlx::query_scalar("select id::text from messages where twilio_sid = $1")
        .bind(call_sid(n))
        .fetch_one(&callbook.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_a_rebuild_leaves_live_as_it_was_and_the_next_one_cleans_up() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 10).await;
    callbook.settled().await;
    let before = all_rows(&callbook).await;
    let ids = callbook.ids().await;
    let schemas = "select count(*) from information_schema.schemata where schema_name like 'read_model_g%'";
    for point in [Phase::Loading, Phase::Indexing, Phase::CatchingUp, Phase::Comparing, Phase::ChangingOver] {
        let reached = Notify::new();
        let rebuild = rebuild::rebuild(&callbook.pool, &ids, |progress| {
            if progress.phase == point {
                reached.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = reached.notified() => {}
            finished = rebuild => panic!("{point:?} was not reached: {finished:?}"),
        }
        assert_eq!(all_rows(&callbook).await, before, "killed while {}", point.as_str());
        assert_eq!(callbook.count(schemas).await, 2, "what was built stays: {point:?}");
        // A session that was cut off lets go of its lock some time after.
        let gone = "select count(*) from pg_locks where locktype = 'advisory' and granted
                       and objid = (append_lock() + 2)::bit(32)::int8::oid and database = (select oid from pg_database where datname = current_database())";
        while callbook.count(gone).await > 0 {}
        callbook.verify().await;
        assert_eq!(callbook.count(schemas).await, 1, "the next run has dropped it: {point:?}");
    }
    rebuild::rebuild(&callbook.pool, &ids, |_| {}).await.unwrap();
    assert_eq!(all_rows(&callbook).await, before);
}

#[tokio::test]
async fn tables_of_an_older_fold_serve_until_they_are_rebuilt_in_the_background() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 5).await;
    callbook.settled().await;
    let before = all_rows(&callbook).await;
    sqlx::query("update read_model_generations set fold_version = $1")
        .bind(FOLD_VERSION - 1)
        .execute(&callbook.pool)
        .await
        .unwrap();
    calls(&callbook, 5, 1).await;
    callbook.settled().await;
    let current =
        "select fold_version::bigint from read_model_current join read_model_generations using (generation)";
    assert_eq!(callbook.count(current).await, i64::from(FOLD_VERSION));
    assert_eq!(callbook.get("/api/conversations").await["conversations"][0]["metadata"]["total_calls"], 6);
    assert_ne!(all_rows(&callbook).await, before);
    callbook.verify().await;
}

fn as_it_is(_: &mut Leg) {}

#[tokio::test]
async fn an_older_callbook_beside_a_newer_fold_writes_nothing_and_says_so() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 5).await;
    callbook.settled().await;
    let newer = Fold::from(&callbook.ids().await).amended(FOLD_VERSION + 1, as_it_is);
    rebuild::rebuild(&callbook.pool, newer.clone(), |_| {}).await.unwrap();
    let before = all_rows(&callbook).await;
    // Webhooks are taken and decided all the same.
    calls(&callbook, 5, 1).await;
    let mut progress = callbook.app.state.progress.clone();
    progress.wait_for(|progress| progress.stopped == Some(Stopped::NewerFold)).await.unwrap();
    assert_eq!(callbook.get("/health").await["status"], "degraded");
    assert_eq!(all_rows(&callbook).await, before);
    let undecided = "select count(*) from twilio_webhook_inbox where processing_status = 'pending'";
    while callbook.count(undecided).await > 0 {}

    // The newer one folds what has come, and the older one serves it.
    let head = Runner::init(callbook.pool.clone(), newer).await.unwrap().catch_up(None).await.unwrap();
    let list = callbook.get("/api/conversations").await;
    assert_eq!(list["position"], head);
    assert_eq!(list["conversations"][0]["metadata"]["total_calls"], 6);
}

#[tokio::test]
async fn whoever_reads_for_long_holds_up_no_swap_and_reads_on_in_the_old_tables() {
    let callbook = Callbook::start().await;
    calls(&callbook, 0, 5).await;
    callbook.settled().await;
    let ids = callbook.ids().await;
    let all = Window::Offset { offset: 0, limit: 10 };
    let mut export = Snapshot::open(&callbook.pool).await.unwrap();
    let everything = export.scope(Filter::default()).await.unwrap();
    assert_eq!(export.conversations(&everything, State::default(), all).await.unwrap().threads.len(), 1);
    // Somebody in psql, too.
    let mut psql = callbook.pool.begin().await.unwrap();
    let seen: i64 = sqlx::query_scalar("select count(*) from messages").fetch_one(&mut *psql).await.unwrap();

    rebuild::rebuild(&callbook.pool, &ids, |_| {}).await.unwrap();
    calls(&callbook, 5, 1).await;
    callbook.settled().await;
    assert_eq!(callbook.get("/api/conversations").await["conversations"][0]["metadata"]["total_calls"], 6);
    let before = export.conversations(&everything, State::default(), all).await.unwrap();
    assert_eq!(before.threads[0].conversation.total_calls, 5);
    let again: i64 = sqlx::query_scalar("select count(*) from messages").fetch_one(&mut *psql).await.unwrap();
    assert_eq!(again, seen, "the views for psql wait for whoever reads through them");
    let refused = rebuild::drop_previous(&callbook.pool).await;
    assert!(matches!(refused, Err(RebuildError::StillRead)), "{refused:?}");

    drop(export);
    psql.rollback().await.unwrap();
    while rebuild::drop_previous(&callbook.pool).await.is_err() {}
    assert_eq!(callbook.count("select count(*) from messages").await, 12, "the views have followed");
    callbook.verify().await;
}
