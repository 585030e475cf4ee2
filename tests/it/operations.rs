//! What those see and do who run callbook, over HTTP while it serves.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::client::{http, incoming, lasting, pairs, status};
use crate::support::twilio_api::TwilioApi;
use crate::support::{ACCOUNT_SID, CUSTOMER, Callbook, OURS, call_sid};

const AT: &str = "Sun, 08 Feb 2026 06:11:30 +0000";

async fn place(callbook: &Callbook, calls: std::ops::Range<u32>) -> i64 {
    let twilio = callbook.twilio();
    for n in calls {
        let sid = call_sid(n);
        twilio.send("voice-inbound", &incoming(&sid, CUSTOMER, OURS)).await;
        let ended = status(&sid, None, CUSTOMER, OURS, "completed", 0, AT);
        twilio.send("voice-status", &lasting(ended, 29)).await;
    }
    callbook.settled().await
}

/// A request and its answer's status, Location and body. Its id is in the answer, too.
async fn post(
    callbook: &Callbook,
    path: &str,
    body: Value,
    request_id: &str,
) -> (u16, Option<String>, Value) {
    let request = http().post(format!("{}{path}", callbook.url)).json(&body);
    let answer = request.header("X-Request-ID", request_id).send().await.unwrap();
    let location = answer.headers().get("location").map(|location| location.to_str().unwrap().to_owned());
    (answer.status().as_u16(), location, answer.json().await.unwrap())
}

/// The data of everything that a rebuild's stream tells, which ends with the rebuild.
async fn watched(callbook: &Callbook, location: &str) -> Vec<(String, Value)> {
    let answer = http().get(format!("{}{location}/events", callbook.url)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut text = Vec::new();
    let mut bytes = answer.bytes_stream();
    while let Some(Ok(chunk)) = bytes.next().await {
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text).unwrap();
    let frames = text.split_terminator("\n\n").map(|frame| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (name.strip_prefix("event: ").unwrap().to_owned(), data)
    });
    frames.collect()
}

async fn begin(callbook: &Callbook, body: Value) -> String {
    let (status, location, rebuild) = post(callbook, "/api/rebuilds", body, "r1").await;
    assert_eq!((status, &rebuild["state"], &rebuild["requested_by"]), (202, &json!("running"), &json!("r1")));
    assert_eq!(location.as_deref(), Some(&*format!("/api/rebuilds/{}", rebuild["id"].as_str().unwrap())));
    location.unwrap()
}

async fn ended(callbook: &Callbook, location: &str) -> Value {
    let told = watched(callbook, location).await;
    let (name, last) = told.last().unwrap();
    assert_eq!(name, "ended");
    assert!(told[..told.len() - 1].iter().all(|(name, _)| name == "progress"), "{told:?}");
    assert_eq!(*last, callbook.get(location).await);
    last.clone()
}

#[tokio::test]
async fn a_projection_says_how_far_it_is_and_by_which_fold() {
    let callbook = Callbook::start().await;
    let epoch = callbook.epoch().await;
    let head = place(&callbook, 0..3).await;
    let answer = callbook.get("/api/projections").await;
    let fold = projections::generation::FOLD_VERSION;
    assert_eq!(
        answer,
        json!({
            "head": head,
            "projections": [{
                "name": "conversations", "position": head, "head": head, "behind": 0, "lag_seconds": 0.0,
                "epoch": epoch, "fold_version": { "tables": fold, "binary": fold }, "generation": 1,
                "others": [], "quarantined": 0, "stopped": null,
            }],
        })
    );
}

#[tokio::test]
async fn a_rebuild_is_begun_watched_and_takes_over() {
    let callbook = Callbook::start().await;
    let head = place(&callbook, 0..3).await;
    let location = begin(&callbook, json!({})).await;
    let rebuild = ended(&callbook, &location).await;
    assert_eq!((&rebuild["state"], &rebuild["error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!((&rebuild["phase"], &rebuild["position"]), (&json!("changing over"), &json!(head)));
    let projection = &callbook.get("/api/projections").await["projections"][0];
    assert_eq!((&projection["generation"], &projection["others"][0]["generation"]), (&json!(2), &json!(1)));
    assert!(projection["others"][0]["retired_at"].is_string());
    assert_eq!(callbook.get("/api/rebuilds").await["rebuilds"], json!([rebuild]));
    callbook.verify().await;
}

#[tokio::test]
async fn a_dry_run_shows_the_difference_and_a_rebuild_refuses_it() {
    let callbook = Callbook::start().await;
    let head = place(&callbook, 0..2).await;
    sqlx::query("update messages set duration = 999 where twilio_sid = $1")
        .bind(call_sid(1))
        .execute(&callbook.pool)
        .await
        .unwrap();
    let location = begin(&callbook, json!({ "dry_run": true })).await;
    let diff = &ended(&callbook, &location).await["diff"];
    assert_eq!((&diff["rows"], &diff["position"]), (&json!(1), &json!(head)));
    let messages =
        diff["tables"].as_array().unwrap().iter().find(|table| table["table"] == "messages").unwrap();
    assert_eq!((&messages["changed"], &messages["columns"]), (&json!(1), &json!({ "duration": 1 })));
    let sample = &messages["samples"][0];
    assert_eq!(sample["columns"], json!(["duration"]));
    assert_eq!((&sample["live"]["duration"], &sample["rebuilt"]["duration"]), (&json!(999), &json!(29)));

    let location = begin(&callbook, json!({ "dry_run": false })).await;
    let refused = ended(&callbook, &location).await;
    assert_eq!(refused["state"], "failed");
    assert!(refused["error"].as_str().unwrap().contains("1 rows"), "{refused}");
    assert_eq!(callbook.get("/api/projections").await["projections"][0]["generation"], 1);
}

/// Holds the projection's lock, for which a rebuild waits before it compares.
async fn standing(callbook: &Callbook) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut transaction = callbook.pool.begin().await.unwrap();
    sqlx::query("select from read_model_generations for update").execute(&mut *transaction).await.unwrap();
    transaction
}

async fn generations(callbook: &Callbook) -> i64 {
    callbook.count("select count(*) from pg_namespace where nspname like 'read_model_g%'").await
}

#[tokio::test]
async fn a_cancelled_rebuild_leaves_live_as_it_was_and_nothing_else() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..2).await;
    let lock = standing(&callbook).await;
    let location = begin(&callbook, json!({})).await;
    let (status, _, problem) = post(&callbook, "/api/rebuilds", json!({ "dry_run": true }), "r2").await;
    assert_eq!((status, &problem["code"]), (409, &json!("rebuild-running")));
    let (status, _, rebuild) = post(&callbook, &format!("{location}/cancel"), json!({}), "r3").await;
    assert_eq!((status, &rebuild["cancel_requested"]), (202, &json!(true)));
    let rebuild = ended(&callbook, &location).await;
    assert_eq!((&rebuild["state"], &rebuild["error"]), (&json!("cancelled"), &Value::Null));
    assert_eq!(generations(&callbook).await, 1);
    lock.rollback().await.unwrap();
    place(&callbook, 2..3).await;
    callbook.verify().await;

    let (status, _, problem) = post(&callbook, &format!("{location}/cancel"), json!({}), "r4").await;
    assert_eq!((status, &problem["code"]), (409, &json!("rebuild-ended")));
    for (path, expected) in [("/api/rebuilds/999/cancel", 404), ("/api/rebuilds/x/cancel", 400)] {
        assert_eq!(post(&callbook, path, json!({}), "r5").await.0, expected, "{path}");
    }
    assert_eq!(callbook.fetch("/api/rebuilds/999").await.0, 404);
    assert_eq!(callbook.fetch("/api/rebuilds/999/events").await.0, 404);
}

#[tokio::test]
async fn a_rebuild_whose_callbook_is_gone_is_lost() {
    let callbook = Callbook::start().await;
    let killed =
        "insert into rebuilds (dry_run, heard_at) values (false, clock_timestamp() - interval '1 minute')";
    sqlx::query(killed).execute(&callbook.pool).await.unwrap();
    let rebuild = callbook.get("/api/rebuilds/1").await;
    assert_eq!((&rebuild["state"], &rebuild["ended_at"]), (&json!("lost"), &Value::Null));
    assert_eq!(watched(&callbook, "/api/rebuilds/1").await.len(), 1, "nobody watches it for ever");
    let (status, _, problem) = post(&callbook, "/api/rebuilds/1/cancel", json!({}), "r1").await;
    assert_eq!((status, &problem["code"]), (409, &json!("rebuild-ended")));
    let location = begin(&callbook, json!({})).await;
    assert_eq!(ended(&callbook, &location).await["state"], "succeeded");
}

#[tokio::test]
async fn a_callbook_that_stops_gives_its_rebuild_up() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..2).await;
    let other = callbook.another_pool(2).await;
    let mut lock = other.begin().await.unwrap();
    sqlx::query("select from read_model_generations for update").execute(&mut *lock).await.unwrap();
    let location = begin(&callbook, json!({})).await;
    let stopped = callbook.stop().await;
    lock.rollback().await.unwrap();
    let callbook = stopped.start(&[]).await;
    let rebuild = callbook.get(&location).await;
    assert_eq!((&rebuild["state"], &rebuild["error"]), (&json!("cancelled"), &json!("callbook was stopped")));
    assert_eq!(generations(&callbook).await, 1);
}

#[tokio::test]
async fn a_rebuild_that_another_program_does_excludes_one_from_here() {
    let callbook = Callbook::start().await;
    let mut other = callbook.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock(append_lock() + 2)").execute(&mut *other).await.unwrap();
    let (status, _, problem) = post(&callbook, "/api/rebuilds", json!({}), "r1").await;
    assert_eq!(
        (status, &problem["code"], &problem["request_id"]),
        (409, &json!("rebuild-running"), &json!("r1"))
    );
    assert_eq!(callbook.get("/api/rebuilds").await["rebuilds"], json!([]));
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_refused_with_its_pointer() {
    let callbook = Callbook::start().await;
    let table = [
        ("/api/rebuilds", json!({ "dry_run": "yes" }), "/dry_run"),
        ("/api/rebuilds", json!({ "dryrun": true }), "/dryrun"),
        ("/api/inbox/retry", json!({ "status": "failed" }), "/expected"),
        ("/api/inbox/retry", json!({ "status": "completed", "dry_run": true }), "/status"),
        ("/api/inbox/retry", json!({ "from": "yesterday", "dry_run": true }), "/from"),
        ("/api/inbox/retry", json!({ "dry_run": true, "expected": 3 }), "/expected"),
    ];
    for (path, body, pointer) in table {
        let (status, _, problem) = post(&callbook, path, body.clone(), "r1").await;
        assert_eq!(
            (status, &problem["code"], &problem["pointer"]),
            (400, &json!("wrong-field"), &json!(pointer)),
            "{body}"
        );
    }
    let request = http().post(format!("{}/api/rebuilds", callbook.url));
    let answer = request.header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 415);
    assert_eq!(callbook.get("/api/rebuilds").await["rebuilds"], json!([]), "nothing was begun");
}

#[tokio::test]
async fn quarantined_calls_are_listed_and_folded_again_once_they_can_be() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..2).await;
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select 'call', $1, max(sequence) + 1, 'call.unheard_of', '1', '{}', '{}' from call_events where aggregate_id = $1",
    )
    .bind(call_sid(0))
    .execute(&callbook.pool)
    .await
    .unwrap();
    let head = callbook.settled().await;
    let quarantine = callbook.get("/api/quarantine").await;
    assert_eq!(quarantine["position"], head);
    let calls = quarantine["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!((&calls[0]["call_sid"], &calls[0]["event_position"]), (&json!(call_sid(0)), &json!(head)));
    assert_eq!(callbook.get("/api/projections").await["projections"][0]["quarantined"], 1);

    for path in ["/api/quarantine/retry".to_owned(), format!("/api/quarantine/{}/retry", call_sid(0))] {
        let (status, _, kept) = post(&callbook, &path, json!({}), "r1").await;
        assert_eq!(
            (status, &kept["released"], &kept["kept"][0]["call_sid"]),
            (200, &json!([]), &json!(call_sid(0)))
        );
    }
    let path = format!("/api/quarantine/{}/retry", call_sid(1));
    let (status, _, problem) = post(&callbook, &path, json!({}), "r1").await;
    assert_eq!((status, &problem["code"]), (404, &json!("not-quarantined")));
}

/// A callback that names no call, so that nobody can decide it.
async fn meaningless(callbook: &Callbook, n: u32) {
    let params = pairs(&[("AccountSid", ACCOUNT_SID), ("CallStatus", "ringing"), ("Nth", &n.to_string())]);
    callbook.twilio().send("voice-status", &params).await;
    callbook.settled().await;
}

#[tokio::test]
async fn the_inbox_is_listed_by_filters_a_page_at_a_time() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..3).await;
    meaningless(&callbook, 1).await;
    let all = callbook.get("/api/inbox").await;
    let ids = |page: &Value| -> Vec<i64> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().parse().unwrap()).collect()
    };
    let whole = ids(&all);
    assert_eq!((whole.len(), &all["next_cursor"]), (7, &Value::Null));
    assert!(whole.is_sorted_by(|a, b| a > b), "the newest first: {whole:?}");
    let mut paged = Vec::new();
    let mut path = "/api/inbox?limit=3".to_owned();
    loop {
        let page = callbook.get(&path).await;
        paged.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/inbox?limit=3&cursor={cursor}");
    }
    assert_eq!(paged, whole);

    let call = call_sid(1);
    for (query, expected) in [
        ("status=completed", 6),
        ("status=dead_letter", 1),
        ("status=pending", 0),
        ("type=call-inbound", 3),
        ("source=twilio_voice", 7),
        ("source=reconcile_hot", 0),
        (&format!("call_sid={call}"), 2),
        (&format!("call_sid={call}&type=call-status&status=completed"), 1),
        ("from=2300-01-01T00:00:00Z", -1),
        ("from=2299-01-01T00:00:00Z", 0),
        ("to=2299-01-01T00:00:00Z", 7),
        ("status=lost", -1),
        ("limit=0", -1),
        ("cursor=abc", -1),
    ] {
        let (status, body) = callbook.fetch(&format!("/api/inbox?{query}")).await;
        match expected {
            -1 => assert_eq!((status, &body["code"]), (400, &json!("bad-parameter")), "{query}"),
            number => {
                assert_eq!((status, ids(&body).len()), (200, usize::try_from(number).unwrap()), "{query}")
            }
        }
    }
}

#[tokio::test]
async fn a_row_shows_what_was_said_without_where_recordings_are() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..1).await;
    let recorded = pairs(&[
        ("AccountSid", ACCOUNT_SID),
        ("CallSid", &call_sid(0)),
        ("RecordingSid", "RE00000000000000000000000000000001"),
        ("RecordingUrl", "https://api.twilio.com/2010-04-01/Recordings/it"),
        ("RecordingStatus", "completed"),
        ("RecordingDuration", "29"),
    ]);
    callbook.twilio().send("recording-status", &recorded).await;
    callbook.settled().await;
    let item = callbook.get("/api/inbox?type=recording-complete").await["items"][0].clone();
    let row = callbook.get(&format!("/api/inbox/{}", item["id"].as_str().unwrap())).await;
    assert_eq!(row["payload"]["RecordingUrl"], "(not shown)");
    assert_eq!(row["payload"]["RecordingDuration"], "29");
    assert_eq!((&row["status"], &row["outcome"]["result"]), (&json!("completed"), &json!("recorded")));
    for (name, value) in item.as_object().unwrap() {
        assert_eq!(row[name], *value, "{name}");
    }
    for (path, expected) in [("/api/inbox/999", 404), ("/api/inbox/01", 400)] {
        assert_eq!(callbook.fetch(path).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn what_was_given_up_is_tried_again_by_whom_is_remembered_and_the_worker_decides() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..1).await;
    meaningless(&callbook, 1).await;
    let dead = callbook.get("/api/inbox?status=dead_letter").await["items"][0].clone();
    let id = dead["id"].as_str().unwrap();
    let (status, _, item) = post(&callbook, &format!("/api/inbox/{id}/retry"), json!({}), "who-1").await;
    assert_eq!((status, &item["id"], &item["retried_by"]), (202, &json!(id), &json!("who-1")));
    callbook.settled().await;
    let again = callbook.get(&format!("/api/inbox/{id}")).await;
    assert_eq!(
        (&again["status"], &again["error"]),
        (&dead["status"], &dead["error"]),
        "it is as impossible as before"
    );
    assert_eq!((&again["retried_by"], &again["outcome"]["result"]), (&json!("who-1"), &json!("refused")));

    // What the database refused ten times, and takes now.
    let given_up = "update twilio_webhook_inbox
        set processing_status = 'dead_letter', outcome = null, retry_count = 10, error = 'the disk was full'
      where event_type = 'call-status' and call_sid is not null returning id";
    let given_up: i64 = sqlx::query_scalar(given_up).fetch_one(&callbook.pool).await.unwrap();
    let (status, _, item) =
        post(&callbook, &format!("/api/inbox/{given_up}/retry"), json!({}), "who-2").await;
    assert_eq!((status, &item["tries"], &item["error"]), (202, &json!(0), &Value::Null));
    callbook.settled().await;
    let decided = callbook.get(&format!("/api/inbox/{given_up}")).await;
    assert_eq!(
        (&decided["status"], &decided["outcome"]["result"]),
        (&json!("completed"), &json!("already_so"))
    );
    let (status, _, problem) =
        post(&callbook, &format!("/api/inbox/{given_up}/retry"), json!({}), "who-3").await;
    assert_eq!((status, &problem["code"]), (409, &json!("not-retriable")));
    assert_eq!(post(&callbook, "/api/inbox/999/retry", json!({}), "who-4").await.0, 404);
    callbook.verify().await;
}

#[tokio::test]
async fn many_rows_are_tried_again_only_if_they_are_as_many_as_expected() {
    let callbook = Callbook::start().await;
    place(&callbook, 0..2).await;
    for n in 0..3 {
        meaningless(&callbook, n).await;
    }
    let wanted = |more: Value| {
        let mut body = json!({ "status": "dead_letter", "type": "call-status" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let path = "/api/inbox/retry";
    let (status, _, counted) = post(&callbook, path, wanted(json!({ "dry_run": true })), "r1").await;
    assert_eq!((status, counted), (200, json!({ "matching": 3, "retried": 0 })));
    meaningless(&callbook, 3).await;
    let (status, _, problem) = post(&callbook, path, wanted(json!({ "expected": 3 })), "r2").await;
    assert_eq!((status, &problem["code"]), (409, &json!("count-changed")));
    assert_eq!(
        callbook.count("select count(*) from twilio_webhook_inbox where retried_at is not null").await,
        0
    );
    let (status, _, retried) = post(&callbook, path, wanted(json!({ "expected": 4 })), "r3").await;
    assert_eq!((status, retried), (200, json!({ "matching": 4, "retried": 4 })));
    callbook.settled().await;
    assert_eq!(callbook.count("select count(*) from twilio_webhook_inbox where retried_by = 'r3'").await, 4);
    let (status, _, none) = post(&callbook, path, json!({ "status": "failed", "expected": 0 }), "r4").await;
    assert_eq!((status, none), (200, json!({ "matching": 0, "retried": 0 })));
}

#[tokio::test]
async fn a_job_is_done_when_somebody_asks_and_says_what_came_of_it() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    let standing = async |name: &str| {
        let jobs = callbook.get("/api/reconcile").await["jobs"].clone();
        jobs.as_array().unwrap().iter().find(|job| job["name"] == name).unwrap().clone()
    };
    let before = standing("reconcile_warm").await;
    assert_eq!((&before["running"], &before["last_success_at"]), (&json!(false), &Value::Null));
    assert_eq!((&before["every_seconds"], &before["next_at"]), (&Value::Null, &Value::Null), "not by itself");

    // Whoever rebuilds holds up nobody who asks.
    let mut other = callbook.pool.acquire().await.unwrap();
    sqlx::query("select pg_advisory_lock(append_lock() + 2)").execute(&mut *other).await.unwrap();
    let (status, location, _) = post(&callbook, "/api/reconcile/reconcile_warm", json!({}), "r1").await;
    assert_eq!((status, location.as_deref()), (202, Some("/api/reconcile")));
    callbook.has_succeeded("reconcile_warm", twilio.now()).await;
    let after = standing("reconcile_warm").await;
    assert_eq!((&after["last_error"], &after["last_outcome"]["total"]), (&Value::Null, &json!(0)));

    sqlx::query("select set_config('application_name', 'callbook sync_today', false)")
        .execute(&mut *other)
        .await
        .unwrap();
    let free = async {
        while callbook.count("select count(*) from pg_stat_activity where application_name = 'callbook reconcile_warm' and datname = current_database()").await > 0 {}
    };
    free.await;
    sqlx::query("select pg_advisory_lock(append_lock() + 3)").execute(&mut *other).await.unwrap();
    let (status, _, problem) = post(&callbook, "/api/reconcile/reconcile_cold", json!({}), "r2").await;
    assert_eq!((status, &problem["code"]), (409, &json!("sync-running")));
    assert_eq!(standing("sync_today").await["running"], true);
    let (status, _, problem) = post(&callbook, "/api/reconcile/reconcile_never", json!({}), "r3").await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-job")));
}

#[tokio::test]
async fn without_a_twilio_there_are_no_jobs() {
    let callbook = Callbook::start().await;
    let (status, problem) = callbook.fetch("/api/reconcile").await;
    assert_eq!((status, &problem["code"]), (503, &json!("no-twilio")));
}

#[tokio::test]
async fn the_log_is_gone_through_by_filters_in_either_order() {
    let callbook = Callbook::start().await;
    let head = place(&callbook, 0..4).await;
    let positions = async |query: &str| -> Vec<i64> {
        let mut positions = Vec::new();
        let mut after = String::new();
        loop {
            let page = callbook.get(&format!("/api/events?{query}{after}")).await;
            assert_eq!((&page["head"], &page["position"]), (&json!(head), &json!(head)));
            let events = page["events"].as_array().unwrap();
            positions.extend(events.iter().map(|event| event["position"].as_i64().unwrap()));
            let Some(next) = page["next_after"].as_i64() else { return positions };
            after = format!("&after={next}");
        }
    };
    let matching = async |condition: &str| -> Vec<i64> {
        let query = format!("select id from call_events where {condition} order by id");
        sqlx::query_scalar(&query).fetch_all(&callbook.pool).await.unwrap()
    };
    let all = matching("true").await;
    assert!(all.len() >= 8);
    assert_eq!(positions("").await, all);
    assert_eq!(positions("limit=3").await, all);
    let newest: Vec<i64> = all.iter().rev().copied().collect();
    assert_eq!(positions("order=desc&limit=3").await, newest);
    assert_eq!(positions("type=call.created&limit=1").await, matching("event_type = 'call.created'").await);
    let sid = call_sid(2);
    assert_eq!(
        positions(&format!("call_sid={sid}")).await,
        matching(&format!("aggregate_id = '{sid}'")).await
    );
    assert_eq!(positions("source=webhook&aggregate_type=call").await, all);
    assert_eq!(positions("source=reconcile_hot").await, [0; 0]);
    let event = &callbook.get(&format!("/api/events?limit=1&after={}", all[2])).await["events"][0];
    let at = event["recorded_at"].as_str().unwrap();
    assert_eq!(event["position"], all[3]);
    assert_eq!(positions(&format!("from={at}&limit=2")).await, all[3..]);
    assert_eq!(positions(&format!("to={at}&limit=2")).await, all[..3]);
    assert_eq!(positions(&format!("from={at}&order=desc&limit=2")).await, newest[..all.len() - 3]);
    assert!(event["payload"]["summary"].is_object() && event["metadata"]["inbox_id"].is_string(), "{event}");
    for query in ["after=-1", "limit=201", "order=up", "from=today", "to=%00", "type=a&type=b"] {
        let (status, problem) = callbook.fetch(&format!("/api/events?{query}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad-parameter")), "{query}");
    }
}
