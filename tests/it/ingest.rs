//! What becomes of what was accepted: events, nothing because it was already so, or a reason.

use std::path::Path;
use std::time::Duration;

use callbook::ingest::{Delivery, Endpoint};
use callbook::twilio::form::Form;
use serde_json::Value;
use time::macros::datetime;

use crate::support::client::{dial_action, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid, pairs};

/// Whether each payload ends `completed`, or why it is dead-lettered.
async fn ends(callbook: &Callbook) -> Vec<(String, Option<String>)> {
    callbook.settled().await;
    sqlx::query_as("select processing_status, error from twilio_webhook_inbox order by received_at, id")
        .fetch_all(&callbook.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_cannot_mean_anything_is_dead_lettered_at_once_and_holds_up_nothing() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let good = call_sid(1);
    for (params, reason) in [
        (pairs(&[("CallStatus", "ringing")]), "the parameter CallSid is missing"),
        (pairs(&[("CallSid", "CA123"), ("CallStatus", "ringing")]), "\"CA123\" is not a Call SID"),
        (pairs(&[("CallSid", &good)]), "the parameter CallStatus is missing"),
        (
            pairs(&[("CallSid", &good), ("CallStatus", "dancing")]),
            "CallStatus is \"dancing\", which is not a status",
        ),
        (
            pairs(&[("CallSid", &good), ("CallStatus", "busy"), ("Timestamp", "yesterday")]),
            "Timestamp is \"yesterday\", which is not a time",
        ),
        (
            pairs(&[
                ("CallSid", &good),
                ("CallStatus", "busy"),
                ("Timestamp", "Fri, 31 Dec 9999 23:59:59 -0100"),
            ]),
            "Timestamp is \"Fri, 31 Dec 9999 23:59:59 -0100\", which is not a time",
        ),
        (
            pairs(&[
                ("CallSid", &good),
                ("CallStatus", "busy"),
                ("Timestamp", "Sat, 01 Jan 0000 00:00:10 +0000"),
                ("CallDuration", "100"),
            ]),
            "which is not a time",
        ),
        (
            pairs(&[("CallSid", &good), ("CallStatus", "busy"), ("CallDuration", "-1")]),
            "CallDuration is \"-1\", which is not a whole number",
        ),
        (
            pairs(&[("CallSid", &good), ("CallStatus", "busy"), ("ParentCallSid", &good)]),
            "names CA00000000000000000000000000000001 as its own parent call",
        ),
    ] {
        twilio.send("voice-status", &params).await;
        let last = ends(&callbook).await.pop().unwrap();
        assert_eq!(last.0, "dead_letter", "{params:?}");
        assert!(last.1.as_deref().unwrap_or_default().contains(reason), "{last:?} has no {reason:?}");
    }
    assert_eq!(callbook.count("select count(*) from call_events").await, 0);
    twilio.send("voice-inbound", &incoming(&good, CUSTOMER, OURS)).await;
    assert_eq!(ends(&callbook).await.pop().unwrap().0, "completed");
    assert_eq!(callbook.count("select count(*) from messages").await, 1);
}

#[tokio::test]
async fn an_outcome_names_the_events_or_says_that_it_was_already_so() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    twilio.send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let ended = lasting(status(&call_sid(1), None, CUSTOMER, OURS, "completed", 0, at), 29);
    twilio.send("voice-status", &ended).await;
    callbook.settled().await;
    // A late report of an earlier status changes none, but says on Twilio's clock when the call began.
    for sequence in [8, 9] {
        let late = status(&call_sid(1), None, CUSTOMER, OURS, "ringing", sequence, at);
        twilio.send("voice-status", &late).await;
        callbook.settled().await;
    }
    let outcomes: Vec<Value> = sqlx::query_scalar("select outcome from twilio_webhook_inbox order by id")
        .fetch_all(&callbook.pool)
        .await
        .unwrap();
    assert_eq!(outcomes[0]["result"], "recorded");
    assert_eq!(outcomes[0]["events"][0]["type"], "call.created");
    assert_eq!(outcomes[0]["events"][0]["sequence"], 1);
    assert_eq!(outcomes[1]["events"][0]["type"], "call.status_changed");
    assert_eq!(outcomes[2]["events"][0]["type"], "call.details_reconciled");
    assert_eq!(outcomes[3], serde_json::json!({ "result": "already_so", "events": [] }));
    let log: (String, String, String, String) = sqlx::query_as(
        "select event_status, source, call_sid, to_char(event_time at time zone 'utc', 'HH24:MI:SS')
           from call_events order by id desc limit 1",
    )
    .fetch_one(&callbook.pool)
    .await
    .unwrap();
    assert_eq!(log, ("completed".into(), "webhook".into(), call_sid(1), "06:11:30".into()));
}

#[tokio::test]
async fn a_recording_and_a_child_that_come_first_wait_for_their_call() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let (parent, child) = (call_sid(1), call_sid(2));
    let recording_sid = format!("RE{:032}", 7);
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    twilio
        .send(
            "recording-status",
            &pairs(&[
                ("CallSid", &parent),
                ("RecordingSid", &recording_sid),
                ("RecordingStatus", "completed"),
            ]),
        )
        .await;
    twilio
        .send("voice-status", &status(&child, Some(&parent), CUSTOMER, DISPATCHER, "in-progress", 2, at))
        .await;
    callbook.settled().await;
    // The child is live and in no thread; the recording cannot be shown at all.
    let active = callbook.get("/api/conversations/active").await;
    assert_eq!(active["total"], 1);
    assert_eq!(active["calls"][0]["conversation"], Value::Null);
    assert_eq!(callbook.get("/api/conversations").await["total"], 0);

    twilio.send("voice-inbound", &incoming(&parent, CUSTOMER, OURS)).await;
    callbook.settled().await;
    let active = callbook.get("/api/conversations/active").await;
    assert_eq!(active["total"], 1);
    assert_eq!(active["calls"][0]["external_id"], parent);
    assert_eq!(active["calls"][0]["call_status"], "in-progress");
    assert_eq!(active["calls"][0]["conversation"]["external_id"], CUSTOMER);
    assert_eq!(active["calls"][0]["call"]["recording_url"], format!("/api/recordings/{recording_sid}/media"));
}

#[tokio::test]
async fn a_dial_action_ends_the_call_until_a_callback_confirms() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let (parent, child) = (call_sid(1), call_sid(2));
    twilio.send("voice-inbound", &incoming(&parent, CUSTOMER, OURS)).await;
    twilio.send("dial-action", &dial_action(&parent, &child, CUSTOMER, OURS, "no-answer", 0)).await;
    callbook.settled().await;
    let row: (String, String, bool, bool, Option<i32>, bool) = sqlx::query_as(
        "select m.status, m.display_status, m.missed, m.is_final, m.total_duration, l.provisional
           from messages m join call_legs l on l.call_sid = m.twilio_sid",
    )
    .fetch_one(&callbook.pool)
    .await
    .unwrap();
    assert_eq!(row, ("completed".into(), "no-answer".into(), true, true, None, true));

    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    let confirmed = lasting(status(&parent, None, CUSTOMER, OURS, "completed", 0, at), 31);
    twilio.send("voice-status", &confirmed).await;
    callbook.settled().await;
    let row: (String, bool, Option<i32>, bool) = sqlx::query_as(
        "select m.display_status, m.missed, m.total_duration, l.provisional
           from messages m join call_legs l on l.call_sid = m.twilio_sid",
    )
    .fetch_one(&callbook.pool)
    .await
    .unwrap();
    assert_eq!(row, ("no-answer".into(), true, Some(31), false));
}

#[tokio::test]
async fn changed_lines_change_no_row_until_reclassify_does_by_events() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    // With +16175006181 ours, this customer called us.
    twilio.send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    twilio.send("voice-inbound", &incoming(&call_sid(2), "+19788447773", OURS)).await;
    callbook.settled().await;
    let snapshot = "select coalesce(jsonb_agg(to_jsonb(m) order by id), '[]') from messages m";
    let before: Value = sqlx::query_scalar(snapshot).fetch_one(&callbook.pool).await.unwrap();

    // From now on it is the first customer's number that is ours.
    let callbook = callbook.restart(&[("OWNED_PHONE_NUMBERS", CUSTOMER)]).await;
    let head = callbook.settled().await;
    let after: Value = sqlx::query_scalar(snapshot).fetch_one(&callbook.pool).await.unwrap();
    assert_eq!(before, after, "a restart changes no row");

    let lines = callbook.app.state.door.routing.borrow().lines.clone();
    let done = callbook::reclassify::reclassify(&callbook.pool, &lines, |_| {}).await.unwrap();
    assert_eq!((done.judged, done.changed), (2, 2));
    assert!(callbook.settled().await > head);
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select m.direction, c.external_id from messages m join conversations c on c.id = m.conversation_id order by m.twilio_sid",
    )
    .fetch_all(&callbook.pool)
    .await
    .unwrap();
    // The first is now a call from our number to a stranger; the second is between two strangers.
    assert_eq!(
        rows,
        [("outbound".to_owned(), OURS.to_owned()), ("inbound".to_owned(), "+19788447773".to_owned()),]
    );
    assert_eq!(callbook.get("/api/conversations").await["total"], 2, "the emptied thread is gone");
    let again = callbook::reclassify::reclassify(&callbook.pool, &lines, |_| {}).await.unwrap();
    assert_eq!((again.judged, again.changed), (2, 0));
    callbook.verify().await;
}

#[tokio::test]
async fn a_call_whose_history_cannot_be_read_is_tried_again_later_and_holds_up_no_other() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('call', $1, 1, 'call.unheard_of', '9', '{}', '{}')",
    )
    .bind(call_sid(9))
    .execute(&callbook.pool)
    .await
    .unwrap();
    twilio.send("voice-inbound", &incoming(&call_sid(9), CUSTOMER, OURS)).await;
    twilio.send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.drained().await;
    tokio::time::timeout(Duration::from_secs(120), async {
        while callbook
            .count("select count(*) from twilio_webhook_inbox where processing_status = 'pending'")
            .await
            > 0
        {}
    })
    .await
    .unwrap();
    let (status, tries, error, later): (String, i32, String, bool) = sqlx::query_as(
        "select processing_status, retry_count, error, next_attempt_at > clock_timestamp()
           from twilio_webhook_inbox where call_sid = $1",
    )
    .bind(call_sid(9))
    .fetch_one(&callbook.pool)
    .await
    .unwrap();
    assert_eq!((status.as_str(), tries, later), ("failed", 1, true));
    assert!(error.contains("call.unheard_of") && error.contains("version \"9\""), "{error}");
    assert_eq!(
        callbook
            .count("select count(*) from twilio_webhook_inbox where processing_status = 'completed'")
            .await,
        1
    );
    // The fold sets that call aside, says so, and goes on.
    let head = callbook.count("select max(id) from call_events").await;
    let mut progress = callbook.app.state.progress.clone();
    progress.wait_for(|progress| progress.position >= head).await.unwrap();
    assert_eq!(callbook.get("/api/conversations").await["total"], 1);
    let health = callbook.health().await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["why"][0], "1 calls are quarantined; see `callbook quarantine list`");
    callbook.verify().await;
}

/// As from a spool: more than a batch, received before what is long decided.
#[tokio::test]
async fn what_was_received_long_ago_and_comes_late_is_decided_too() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let long_ago = datetime!(2026-02-08 06:11:30 UTC);
    let late = (2..1_302).map(|n| {
        callbook.app.state.door.inbox.accept(Delivery {
            endpoint: Endpoint::VoiceInbound,
            form: Form(incoming(&call_sid(n), CUSTOMER, OURS)),
            idempotency_token: None,
            request_id: String::new(),
            received_at: long_ago + time::Duration::seconds(n.into()),
        })
    });
    futures::future::try_join_all(late).await.unwrap();
    callbook.settled().await;
    assert_eq!(
        callbook.count("select count(*) from call_events where event_type = 'call.created'").await,
        1_301
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_callbooks_on_one_database_record_each_report_once() {
    let first = Callbook::start().await;
    let second = first.beside().await;
    let calls = (0..60).map(|n| {
        let (one, other) = (first.twilio(), second.twilio());
        async move {
            let announced = incoming(&call_sid(n), CUSTOMER, OURS);
            let at = "Sun, 08 Feb 2026 06:11:30 +0000";
            let ended = lasting(status(&call_sid(n), None, CUSTOMER, OURS, "completed", 0, at), 29);
            tokio::join!(
                one.send("voice-inbound", &announced),
                other.send("voice-inbound", &announced),
                one.send("voice-status", &ended),
                other.send("voice-status", &ended),
            );
        }
    });
    futures::future::join_all(calls).await;
    second.drained().await;
    let head = first.settled().await;
    assert_eq!(second.settled().await, head);
    assert_eq!(first.count("select count(*) from twilio_webhook_inbox").await, 120);
    // Whichever report was decided first, an outcome and the events that it names belong together.
    let named = first
        .count(
            "select count(*) from twilio_webhook_inbox i, jsonb_array_elements(i.outcome -> 'events') o
               join call_events e on e.aggregate_id = o ->> 'call_sid' and e.sequence = (o ->> 'sequence')::bigint
              where e.metadata ->> 'inbox_id' = i.id::text",
        )
        .await;
    assert_eq!(named, first.count("select count(*) from call_events").await);
    assert_eq!(first.count("select count(*) from call_events where event_type = 'call.created'").await, 60);
    assert_eq!(first.count("select count(*) from messages where status = 'completed'").await, 60);
    assert_eq!(first.get("/api/conversations").await["conversations"][0]["metadata"]["total_calls"], 60);
}

/// Each voice and recording payload of the shared corpus ends `completed` or dead-lettered with a reason;
/// the others are stored and dead-lettered, whichever endpoint they are sent to.
#[tokio::test]
async fn every_payload_of_the_corpus_ends_with_an_outcome() {
    let Some(payloads) = shared("twilio/payloads.json") else { return };
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let mut expected = Vec::new();
    for entry in payloads.as_array().unwrap() {
        let kind = entry["kind"].as_str().unwrap();
        let params: Vec<(String, String)> = entry["params"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let endpoints: &[&str] = match kind {
            _ if kind.starts_with("voice.status") || kind == "voice.amd" => &["voice-status"],
            _ if kind.starts_with("voice.dial_action") => &["dial-action"],
            _ if kind.starts_with("voice.") => &["voice-inbound"],
            _ if kind.starts_with("recording.") => &["recording-status"],
            _ => &["voice-inbound", "voice-status", "recording-status", "dial-action"],
        };
        for endpoint in endpoints {
            twilio.send(endpoint, &params).await;
            expected.push((kind.to_owned(), endpoints.len() == 1));
        }
    }
    let ends = ends(&callbook).await;
    assert_eq!(ends.len(), expected.len());
    for ((kind, ours), (status, error)) in expected.iter().zip(&ends) {
        match status.as_str() {
            "completed" => assert!(ours, "{kind} is not about a call"),
            "dead_letter" => assert!(error.is_some(), "{kind} was given up without a reason"),
            other => panic!("{kind} is {other}"),
        }
    }
    let dead: Vec<&str> = expected
        .iter()
        .zip(&ends)
        .filter(|((_, ours), (status, _))| *ours && status == "dead_letter")
        .map(|((kind, _), _)| kind.as_str())
        .collect();
    // Their Call SIDs are not Twilio's: 28 digits in one, "CA1" in the other.
    assert_eq!(dead, ["voice.status.outbound.busy", "voice.amd"]);
}

/// A document of the shared folder, whose path `CALLBOOK_SHARED` gives; nothing where it is not there.
fn shared(name: &str) -> Option<Value> {
    let Some(folder) = std::env::var_os("CALLBOOK_SHARED") else {
        println!("skipped: CALLBOOK_SHARED does not name the shared folder");
        return None;
    };
    let path = Path::new(&folder).join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) => {
            println!("skipped: {} cannot be read: {error}", path.display());
            None
        }
    }
}
