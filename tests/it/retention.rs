//! What is kept no longer than it must be, and what is kept for good.

use time::Duration;

use crate::support::client::{incoming, pairs};
use crate::support::twilio_api::TwilioApi;
use crate::support::{CUSTOMER, Callbook, OURS, call_sid};

const ROWS: &str = "select count(*) from twilio_webhook_inbox";

/// Returns when as many rows are left.
async fn left(callbook: &Callbook, rows: i64) {
    while callbook.count(ROWS).await != rows {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_decided_row_of_the_inbox_goes_after_its_days_and_nothing_else_does() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[("RETENTION_INBOX_DAYS", "31")]).await;
    let sent = callbook.twilio();
    for n in 1..=3 {
        sent.send("voice-inbound", &incoming(&call_sid(n), CUSTOMER, OURS)).await;
    }
    // It means nothing: somebody has to look at it.
    sent.send("voice-status", &pairs(&[("CallStatus", "ringing")])).await;
    let head = callbook.settled().await;
    for (key, age) in [("old", "25 hours"), ("young", "23 hours")] {
        sqlx::query(
            "insert into idempotency_keys (key, request_digest, answer, created_at)
             values ($1, sha256(convert_to($1, 'UTF8')), '{}', clock_timestamp() - $2::interval)",
        )
        .bind(key)
        .bind(age)
        .execute(&callbook.pool)
        .await
        .unwrap();
    }
    twilio.pass(Duration::days(30));
    assert_eq!(callbook.count(ROWS).await, 4);

    twilio.pass(Duration::days(1) + Duration::hours(2));
    left(&callbook, 1).await;
    let dead = "select count(*) from twilio_webhook_inbox where processing_status = 'dead_letter'";
    assert_eq!(callbook.count(dead).await, 1);
    assert_eq!(callbook.count("select max(id) from call_events").await, head, "the log is kept");
    while callbook.count("select count(*) from idempotency_keys where key = 'old'").await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(callbook.count("select count(*) from idempotency_keys").await, 1, "a day is promised");
    callbook.verify().await;

    let explained = callbook.get(&format!("/api/calls/{}/explain", call_sid(1))).await;
    let step = &explained["steps"][0];
    assert_eq!(step["kind"], "recorded");
    assert_eq!(step["type"], "call.created");
    assert_eq!(step["forgotten_inbox_id"], "1", "{explained}");

    // What comes again is taken again, and tells nothing new.
    sent.send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    assert_eq!(callbook.settled().await, head);
    let again = "select count(*) from twilio_webhook_inbox where outcome ->> 'result' = 'already_so'";
    assert_eq!(callbook.count(again).await, 1);
}

#[tokio::test]
async fn rows_that_wait_and_those_that_are_to_be_kept_for_good_stay() {
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[("RETENTION_INBOX_DAYS", "0")]).await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let epoch = callbook.epoch().await;
    let retention = |inbox: Option<std::time::Duration>| {
        callbook::retention::Retention::new(
            callbook.pool.clone(),
            twilio.clock.clone(),
            callbook::config::Retention { inbox, previous_generation: std::time::Duration::from_secs(900) },
        )
    };
    twilio.pass(Duration::days(4_000));
    assert_eq!(retention(None).clear(epoch).await.unwrap(), 0, "0 days keeps them for good");
    let month = Some(std::time::Duration::from_secs(31 * 86_400));
    // Whoever has lost the lease deletes nothing.
    assert_eq!(retention(month).clear(epoch - 1).await.unwrap(), 0);
    sqlx::query(
        "insert into twilio_webhook_inbox (source, event_type, dedupe_key, payload, received_at, processing_status,
                                           next_attempt_at)
         values ('twilio_voice', 'call-status', 'waits', '{}', '2001-01-01Z', 'failed', 'infinity')",
    )
    .execute(&callbook.pool)
    .await
    .unwrap();
    assert_eq!(retention(month).clear(epoch).await.unwrap(), 1);
    assert_eq!(
        callbook.count("select count(*) from twilio_webhook_inbox where dedupe_key = 'waits'").await,
        1
    );
}
