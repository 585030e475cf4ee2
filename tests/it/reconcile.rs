//! What webhooks missed is found by asking Twilio, once.

use callbook::reconcile::{Job, ReconcileError};
use callbook::simulator::{Faults, Kind};
use callbook::twilio::client::ClientError;
use serde_json::json;
use time::Duration;

use crate::support::client::{incoming, status};
use crate::support::twilio_api::{TwilioApi, create_call, every_job, perform, reconciler, send_shuffled};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

const DAY: Duration = Duration::DAY;

/// No stream says the same thing twice.
async fn each_event_once(callbook: &Callbook) {
    let repeated = callbook
        .count(
            "select count(*) from (
                 select from call_events group by aggregate_id, event_type, (payload -> 'facts')::text,
                                                  (payload -> 'classification')::text
                 having count(*) > 1) as repeated",
        )
        .await;
    assert_eq!(repeated, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_third_of_the_webhooks_lost_and_all_in_disorder_reconcile_brings_every_call_to_what_twilio_holds()
 {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let scripts = twilio.place_many(7, 1_000, twilio.now() - Duration::hours(23), Duration::hours(22));

    send_shuffled(&callbook, &scripts, 0.3, 0.1).await;
    callbook.settled().await;
    every_job(&callbook).await;

    callbook.agrees_with(&twilio).await;
    each_event_once(&callbook).await;
    let events = callbook.count("select count(*) from call_events").await;
    every_job(&callbook).await;
    assert_eq!(
        callbook.count("select count(*) from call_events").await,
        events,
        "a second time changes nothing"
    );
    callbook.verify().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callbook_that_was_down_for_a_day_finds_all_of_it_by_its_schedule() {
    let twilio = TwilioApi::start().await;
    let schedule = [
        ("RECONCILE_HOT_SECONDS", "60"),
        ("RECONCILE_WARM_SECONDS", "900"),
        ("RECONCILE_COLD_SECONDS", "21600"),
    ];
    let callbook = Callbook::asking(&twilio, &schedule).await;
    callbook.has_succeeded("reconcile_cold", twilio.now()).await;
    let down = callbook.stop().await;

    let begun = twilio.now();
    twilio.place_many(8, 1_000, begun, DAY - Duration::hours(1));
    twilio.pass(DAY);

    let callbook = down.asking(&twilio, &schedule).await;
    callbook.has_succeeded("reconcile_cold", twilio.now()).await;
    callbook.agrees_with(&twilio).await;
    each_event_once(&callbook).await;

    // Two days later nothing more is expected of any of them, and they are left alone.
    twilio.pass(DAY * 2);
    callbook.has_succeeded("reconcile_cold", twilio.now()).await;
    callbook.settled().await;
    let known = callbook.known().await.len() as i64;
    assert_eq!(
        callbook.count("select count(*) from call_events where event_type = 'call.frozen'").await,
        known
    );
    callbook.verify().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twilio_in_every_kind_of_trouble_is_asked_until_it_answers_and_loses_nothing() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[("TWILIO_REQUESTS_AT_ONCE", "3")]).await;
    twilio.place_many(9, 150, twilio.now() - Duration::hours(20), Duration::hours(19));
    twilio.world.set_faults(Faults {
        seed: 1,
        too_many_requests: 0.15,
        server_errors: 0.05,
        cut: 0.05,
        shifted_pages: 0.5,
        most_at_once: Some(3),
        ..Faults::default()
    });

    // A run may be refused too often for its patience, and is repeated as by the schedule.
    let epoch = callbook.epoch().await;
    for job in [Job::Hot, Job::Warm, Job::Cold] {
        let mut tries = 0;
        while let Err(error) = reconciler(&callbook).perform(job, Some(epoch), |_| {}).await {
            tries += 1;
            assert!(tries < 20, "{error}");
        }
    }

    callbook.agrees_with(&twilio).await;
    each_event_once(&callbook).await;
    let traffic = twilio.world.traffic();
    assert!(traffic.too_many_requests > 0 && traffic.server_errors > 0 && traffic.cuts > 0, "{traffic:?}");
    assert!(traffic.most_at_once <= 3, "{traffic:?}");
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_in_its_midst_is_finished_by_the_next_run() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    twilio.place_many(10, 600, twilio.now() - Duration::hours(20), Duration::hours(19));
    let epoch = callbook.epoch().await;

    for stored in [1, 500, 1_000] {
        let reconciler = reconciler(&callbook);
        let job = reconciler.perform(Job::Warm, Some(epoch), |_| {});
        let rows = async {
            while callbook.count("select count(*) from twilio_webhook_inbox").await < stored {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            done = job => assert!(done.is_ok()),
            () = rows => {}
        }
    }
    every_job(&callbook).await;

    callbook.agrees_with(&twilio).await;
    each_event_once(&callbook).await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_goes_on_is_asked_for_until_it_has_ended_and_is_priced() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let script = twilio.place(7, 0, twilio.now());
    twilio.pass(Duration::seconds(2));
    perform(&callbook, Job::Hot).await;
    let root = script.expected[0].call_sid.clone();
    assert_eq!(callbook.known().await[&root].status.as_deref(), Some("in-progress"));

    // It is no longer in the hot job's window when it has ended.
    twilio.pass(Duration::hours(5));
    perform(&callbook, Job::Hot).await;
    let known = callbook.known().await[&root].clone();
    assert_eq!((known.status.as_deref(), known.provisional), (Some("completed"), false));
    perform(&callbook, Job::Warm).await;
    callbook.agrees_with(&twilio).await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_twilio_does_not_know_ends_with_the_reason_once_it_is_no_longer_new() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;

    perform(&callbook, Job::Hot).await;
    assert_eq!(callbook.known().await[&call_sid(1)].status.as_deref(), Some("ringing"), "it may be too new");

    twilio.pass(Duration::hours(2));
    perform(&callbook, Job::Hot).await;
    let call = callbook.get(&format!("/api/calls/{}", call_sid(1))).await;
    let leg = &call["legs"][0];
    assert_eq!(
        (&leg["status"], &leg["end_reason"], &leg["frozen"]),
        (&json!("failed"), &json!("not_found"), &json!(true))
    );
    let explained = callbook.get(&format!("/api/calls/{}/explain", call_sid(1))).await;
    assert_eq!(explained["steps"][1]["source"], "reconcile_hot");
    assert_eq!(explained["steps"][1]["type"], "call-missing");

    let asked = twilio.world.traffic().of(Kind::CallFetch);
    twilio.pass(Duration::hours(2));
    let outcome = perform(&callbook, Job::Hot).await;
    assert_eq!(outcome.missing, 0);
    assert_eq!(twilio.world.traffic().of(Kind::CallFetch), asked, "it is left alone");

    // Its own callback, however late, is believed.
    let at = "Fri, 20 Nov 2026 01:13:42 +0000";
    let ended = status(&call_sid(1), None, CUSTOMER, OURS, "completed", 0, at);
    callbook.twilio().send("voice-status", &ended).await;
    callbook.settled().await;
    let call = callbook.get(&format!("/api/calls/{}", call_sid(1))).await;
    assert_eq!(
        (&call["legs"][0]["status"], &call["legs"][0]["end_reason"]),
        (&json!("completed"), &json!(null))
    );
    callbook.verify().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_call_is_not_given_up_because_a_clock_is_off() {
    for hours in [-3, 3] {
        let twilio = TwilioApi::start().await;
        let callbook = Callbook::asking_by(&twilio, Duration::hours(hours)).await;
        callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
        callbook.settled().await;
        // Once to see what time it is at Twilio.
        perform(&callbook, Job::Hot).await;
        perform(&callbook, Job::Hot).await;
        let known = callbook.known().await[&call_sid(1)].clone();
        assert_eq!(known.status.as_deref(), Some("ringing"), "ahead by {hours} hours");
        callbook.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_parent_is_outside_of_the_window_brings_its_parent_in() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let script = twilio.place(7, 0, twilio.now() - Duration::days(60));
    let (root, child) = (&script.expected[0].call_sid, &script.expected[1].call_sid);
    let at = "Fri, 20 Nov 2026 01:13:42 +0000";
    callbook
        .twilio()
        .send("voice-status", &status(child, Some(root), CUSTOMER, OURS, "completed", 3, at))
        .await;
    callbook.settled().await;

    perform(&callbook, Job::Hot).await;

    assert!(callbook.known().await.contains_key(root));
    let call = callbook.get(&format!("/api/calls/{child}")).await;
    assert_eq!(call["root_sid"], json!(root));
    assert!(call["conversation_id"].is_string(), "{call}");
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_a_suspended_account_and_a_body_that_is_not_json_are_said_and_move_no_cursor() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[("RECONCILE_HOT_SECONDS", "86400")]).await;
    callbook.has_succeeded("reconcile_hot", twilio.now()).await;
    twilio.place_many(11, 5, twilio.now() - Duration::minutes(30), Duration::minutes(10));
    perform(&callbook, Job::Hot).await;
    let cursor = "select cursor::text from sync_state where job_name = 'reconcile_hot'";
    let before: String = sqlx::query_scalar(cursor).fetch_one(&callbook.pool).await.unwrap();

    twilio.pass(Duration::minutes(10));
    let faults = [
        (Faults { wrong_credentials: true, ..Faults::default() }, "TWILIO_AUTH_TOKEN"),
        (Faults { suspended: true, ..Faults::default() }, "suspended"),
        (Faults { not_json: 1.0, ..Faults::default() }, "JSON"),
    ];
    for (faults, said) in faults {
        twilio.world.set_faults(faults);
        let error = reconciler(&callbook).perform(Job::Hot, None, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        let after: String = sqlx::query_scalar(cursor).fetch_one(&callbook.pool).await.unwrap();
        assert_eq!(after, before);
        let health = callbook.health().await;
        assert_eq!(health["status"], "degraded");
        assert!(health["why"].to_string().contains("reconcile_hot has failed"), "{health}");

        let (status, problem) = callbook.post("/api/sync/recent").await;
        assert_eq!((status, problem["code"].as_str()), (502, Some("twilio-failed")), "{problem}");
    }
    twilio.world.set_faults(Faults::default());
    perform(&callbook, Job::Hot).await;
    perform(&callbook, Job::Recent).await;
    assert_eq!(callbook.healthy().await["status"], "healthy");
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_filters_skip_is_recorded_and_hidden_whichever_door_it_came_by() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let scripts = twilio.place_many(12, 60, twilio.now() - Duration::hours(2), Duration::hours(1));
    // The same calls to two callbooks: one hears of them by webhooks alone, the other by asking alone.
    let asking = callbook;
    let told = Callbook::with(&[]).await;
    send_shuffled(&told, &scripts, 0.0, 0.0).await;
    // Between two phones of ours, and to one of ours from a number of ours: nobody's thread.
    for from in ["sip:alice@abchomes.sip.us1.twilio.com", OURS] {
        let created = create_call(&twilio, from, DISPATCHER).await;
        let sid = created["sid"].as_str().unwrap();
        let at = "Fri, 20 Nov 2026 01:13:42 +0000";
        told.twilio().send("voice-status", &status(sid, None, from, DISPATCHER, "completed", 3, at)).await;
    }
    twilio.pass(Duration::HOUR);
    told.settled().await;
    perform(&asking, Job::Warm).await;

    let shown = "select coalesce(string_agg(concat_ws(' ', twilio_sid, direction, hidden_reason), ',' order by twilio_sid), '')
                   from %.messages";
    let mut both = Vec::new();
    for callbook in [&asking, &told] {
        let generation = callbook.count("select generation::bigint from read_model_current").await;
        let shown: String = sqlx::query_scalar(&shown.replace('%', &format!("read_model_g{generation}")))
            .fetch_one(&callbook.pool)
            .await
            .unwrap();
        both.push(shown);
    }
    let (asked, heard): (Vec<&str>, Vec<&str>) = (both[0].split(',').collect(), both[1].split(',').collect());
    assert_eq!(asked.len(), heard.len());
    for (asked, heard) in asked.iter().zip(heard) {
        assert_eq!(*asked, heard);
    }
    for reason in ["internal call", "no external party"] {
        assert_eq!(asked.iter().filter(|call| call.ends_with(reason)).count(), 1, "{reason}");
    }
    asking.stop().await;
    told.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_never_end_are_an_error_and_not_a_loop() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    twilio.place_many(15, 600, twilio.now() - Duration::hours(20), Duration::hours(19));
    twilio.world.set_faults(Faults { repeated_pages: 1.0, ..Faults::default() });
    let result = reconciler(&callbook).perform(Job::Warm, None, |_| {}).await;
    assert!(matches!(result, Err(ReconcileError::Twilio(ClientError::PageRepeats { .. }))), "{result:?}");
    assert_eq!(callbook.count("select count(*) from sync_state where last_success_at is not null").await, 0);

    twilio.world.set_faults(Faults::default());
    every_job(&callbook).await;
    callbook.agrees_with(&twilio).await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_hides_no_call() {
    for hours in [-5, 5] {
        let twilio = TwilioApi::start().await;
        let scripts = twilio.place_many(16, 5, twilio.now() - Duration::minutes(40), Duration::minutes(20));
        let callbook = Callbook::asking_by(&twilio, Duration::hours(hours)).await;
        let outcome = perform(&callbook, Job::Hot).await;
        let legs: usize = scripts.iter().map(|script| script.expected.len()).sum();
        assert_eq!(outcome.synced, legs as u64, "ahead by {hours} hours");
        callbook.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_has_not_started_is_recorded_and_hidden_until_it_has() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let created = create_call(&twilio, OURS, CUSTOMER).await;
    let sid = created["sid"].as_str().unwrap();
    assert_eq!((&created["status"], &created["start_time"]), (&json!("queued"), &json!(null)));

    perform(&callbook, Job::Hot).await;
    let call = callbook.get(&format!("/api/calls/{sid}")).await;
    assert_eq!((&call["hidden_reason"], &call["conversation_id"]), (&json!("no start time"), &json!(null)));
    let (_, recent) = callbook.post("/api/sync/recent").await;
    assert_eq!(recent["total"], 0, "it is in no window yet: {recent}");

    twilio.pass(Duration::hours(1));
    perform(&callbook, Job::Hot).await;
    let call = callbook.get(&format!("/api/calls/{sid}")).await;
    assert_eq!(call["hidden_reason"], json!(null));
    assert!(call["conversation_id"].is_string(), "{call}");
    callbook.verify().await;
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_told_of_by_both_doors_is_ready_once() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let scripts = twilio.place_many(17, 60, twilio.now() - Duration::minutes(50), Duration::minutes(20));
    perform(&callbook, Job::Hot).await;
    send_shuffled(&callbook, &scripts, 0.0, 0.0).await;
    callbook.settled().await;
    perform(&callbook, Job::Warm).await;
    let ready = "select count(*) from call_events where event_type = 'recording.ready'";
    let made: usize = twilio.world.truth().iter().map(|call| call.recordings.len()).sum();
    assert!(made > 0);
    assert_eq!(callbook.count(ready).await, made as i64);
    callbook.stop().await;
}
