//! Stopping in the midst of traffic.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use callbook::twilio::form::Form;
use callbook::twilio::signature;
use secrecy::SecretString;

use crate::support::client::{http, incoming};
use crate::support::{AUTH_TOKEN, CUSTOMER, Callbook, OURS, call_sid};

const CALLERS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_nothing_that_was_answered_and_lets_go_of_the_lease() {
    let callbook = Callbook::start().await;
    callbook.epoch().await;
    let pool = callbook.another_pool(2).await;
    let (next, answered) = (Arc::new(AtomicU32::new(1)), Arc::new(Mutex::new(BTreeSet::new())));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (next, answered) = (Arc::clone(&next), Arc::clone(&answered));
            let url = format!("{}/webhooks/twilio/voice-inbound", callbook.url);
            tokio::spawn(async move {
                let client = http();
                loop {
                    let sid = call_sid(next.fetch_add(1, Ordering::Relaxed));
                    let params = incoming(&sid, CUSTOMER, OURS);
                    let signed = signature::sign(&SecretString::from(AUTH_TOKEN), &url, &params);
                    let request = client.post(&url).header("X-Twilio-Signature", signed);
                    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
                    match request.body(Form(params).encode()).send().await {
                        // Whoever is at hand is answered, and well.
                        Ok(answer) => {
                            assert_eq!(answer.status(), 200);
                            assert!(answer.text().await.unwrap().contains("<Response>"));
                            answered.lock().unwrap().insert(sid);
                        }
                        // The door is closed.
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    while answered.lock().unwrap().len() < 200 {
        tokio::task::yield_now().await;
    }
    let stopped = callbook.stop().await;
    for caller in callers {
        caller.await.unwrap();
    }
    let answered = Arc::try_unwrap(answered).unwrap().into_inner().unwrap();
    let holder: Option<String> =
        sqlx::query_scalar("select holder from worker_lease").fetch_one(&pool).await.unwrap();
    assert_eq!(holder, None);

    // What the spool took on a busy machine comes in with the next start.
    let again = stopped.start(&[]).await;
    again.settled().await;
    let kept: Vec<String> =
        sqlx::query_scalar("select call_sid from twilio_webhook_inbox where call_sid is not null")
            .fetch_all(&pool)
            .await
            .unwrap();
    let kept: BTreeSet<String> = kept.into_iter().collect();
    let lost: Vec<&String> = answered.difference(&kept).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), answered.len());
    again.verify().await;
}
