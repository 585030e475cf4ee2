//! Asking Twilio when somebody wants it, at the first start, and what is counted of it.

use callbook::reconcile::Job;
use callbook::simulator::{Faults, Script};
use serde_json::json;
use time::Duration;

use crate::support::twilio_api::{TwilioApi, perform, reconciler, send_shuffled};
use crate::support::{ACCOUNT_SID, AUTH_TOKEN, Callbook, OURS};

/// As with credentials of a real account, for which no number is made up.
const REAL: [(&str, &str); 3] =
    [("SIMULATE", "false"), ("TWILIO_ACCOUNT_SID", ACCOUNT_SID), ("TWILIO_AUTH_TOKEN", AUTH_TOKEN)];

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_counts_what_was_new_and_what_was_skipped_and_why() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let scripts = twilio.place_many(13, 30, twilio.now() - Duration::hours(40), Duration::hours(39));
    let legs: usize = scripts.iter().map(|script| script.expected.len()).sum();

    let (status, answer) = callbook.post("/api/sync/today").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["success"], true);
    assert_eq!(answer["message"], format!("Synced {} new calls from last 3 days", answer["synced"]));
    assert_eq!(answer["total"], json!(legs));
    let skipped = answer["skipped"].as_u64().unwrap();
    assert_eq!(answer["synced"].as_u64().unwrap() + skipped, legs as u64);
    let reasons: u64 =
        answer["skipped_reasons"].as_object().unwrap().values().map(|calls| calls.as_u64().unwrap()).sum();
    assert_eq!(reasons, skipped);

    let (_, again) = callbook.post("/api/sync/today").await;
    assert_eq!((&again["synced"], &again["updated"], &again["total"]), (&json!(0), &json!(0), &json!(legs)));
    assert_eq!(again["skipped"], json!(skipped), "what is skipped is counted each time that it is seen");

    let (status, recent) = callbook.post("/api/sync/recent").await;
    assert_eq!(status, 200, "{recent}");
    assert_eq!(recent["message"], "Synced 0 new calls from last hour");
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sync_while_one_runs_is_told_what_runs() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let beside = callbook.beside_asking(&twilio).await;
    twilio.world.set_faults(Faults {
        slow: 1.0,
        slow_by: std::time::Duration::from_secs(3_600),
        ..Faults::default()
    });
    let held = reconciler(&callbook);
    let running = tokio::spawn(async move { held.sync(Job::Today, None, |_| {}).await.map(drop) });
    let asked = async {
        while twilio.world.traffic().total() == 0 {
            tokio::task::yield_now().await;
        }
    };
    asked.await;

    for callbook in [&callbook, &beside] {
        let (status, problem) = callbook.post("/api/sync/recent").await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("sync-running")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with("sync_today is running since "), "{problem}");
    }

    // Killed, it does not keep the right.
    running.abort();
    twilio.world.set_faults(Faults::default());
    let until_free = async {
        while callbook.post("/api/sync/recent").await.0 == 409 {
            tokio::task::yield_now().await;
        }
    };
    until_free.await;
    beside.stop().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_book_begins_with_the_calls_of_the_last_week() {
    let twilio = TwilioApi::start().await;
    twilio.place_many(14, 100, twilio.now() - Duration::days(6), Duration::days(5));
    let callbook = Callbook::asking(&twilio, &[("RECONCILE_HOT_SECONDS", "60")]).await;
    callbook.has_succeeded("sync_initial", twilio.now()).await;
    callbook.settled().await;
    let created =
        "select count(*) from call_events where event_type = 'call.created' and source = 'sync_initial'";
    let first = callbook.count(created).await;
    assert!((100..=102).contains(&first), "the newest hundred and their parents: {first}");

    let callbook = callbook.stop().await.asking(&twilio, &[("RECONCILE_HOT_SECONDS", "60")]).await;
    twilio.pass(Duration::hours(1));
    callbook.has_succeeded("reconcile_hot", twilio.now()).await;
    assert_eq!(callbook.count(created).await, first, "only a new book begins so");
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_nobody_configured_are_learnt_from_the_account_and_remembered() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &REAL).await;
    let mut routing = callbook.app.state.door.routing.subscribe();
    routing.wait_for(|routing| routing.caller_id.as_deref() == Some(OURS)).await.unwrap();

    twilio.world.set_faults(Faults { wrong_credentials: true, ..Faults::default() });
    let callbook = callbook.stop().await.asking(&twilio, &REAL).await;
    let mut routing = callbook.app.state.door.routing.subscribe();
    routing.wait_for(|routing| routing.caller_id.as_deref() == Some(OURS)).await.unwrap();
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scorecard_tells_what_was_heard_and_what_had_to_be_asked_for() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    // From before the book began: no gap.
    let before = twilio.place(7, 2, twilio.now() - Duration::minutes(50));
    perform(&callbook, Job::Hot).await;
    let begun = twilio.now() + Duration::minutes(5);
    let (heard, missed) = (twilio.place(7, 0, begun), twilio.place(7, 1, begun));
    twilio.pass(Duration::minutes(55));
    send_shuffled(&callbook, std::slice::from_ref(&heard), 0.0, 0.0).await;
    callbook.settled().await;
    perform(&callbook, Job::Hot).await;

    let card = callbook.get("/api/sync/scorecard").await;
    let mut announced = (0, 0);
    let mut healed = 0;
    for day in card["days"].as_array().unwrap() {
        let fact = &day["facts"]["announced"];
        announced.0 += fact["webhook"].as_i64().unwrap_or_default();
        announced.1 += fact["reconcile"].as_i64().unwrap_or_default();
        healed += day["healed"].as_i64().unwrap();
    }
    let legs = |script: &Script| script.expected.len() as i64;
    assert_eq!(announced, (legs(&heard), legs(&missed) + legs(&before)), "{card}");
    // Each leg was announced and ended; the end of a leg that webhooks told of is not among them.
    assert_eq!(healed, 2 * legs(&missed), "{card}");
    let (status, problem) = callbook.fetch("/api/sync/scorecard?days=0").await;
    assert_eq!((status, problem["parameter"].as_str()), (400, Some("days")));
    callbook.stop().await;
}
