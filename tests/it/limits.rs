//! What a request may take, at a running callbook.

use serde_json::Value;

use crate::support::client::{http, incoming};
use crate::support::{CUSTOMER, Callbook, OURS, call_sid};

const TOKEN: &str = "an-admin-token-that-is-long-enough-to-be-one";

#[tokio::test]
async fn a_token_that_asks_too_often_is_put_off_and_webhooks_never_are() {
    let callbook = Callbook::with(&[
        ("CALLBOOK_ADMIN_TOKEN", TOKEN),
        ("RATE_LIMIT_PER_SECOND", "1"),
        ("RATE_LIMIT_BURST", "5"),
    ])
    .await;
    let ask = async || {
        http().get(format!("{}/api/conversations", callbook.url)).bearer_auth(TOKEN).send().await.unwrap()
    };
    let mut refused = ask().await;
    // However slow this machine is: it takes less than a second to ask.
    while refused.status() == 200 {
        refused = ask().await;
    }
    assert_eq!(refused.status(), 429);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "too-often");
    assert!(problem["request_id"].is_string());
    for n in 1..=20 {
        callbook.twilio().send("voice-inbound", &incoming(&call_sid(n), CUSTOMER, OURS)).await;
    }
    callbook.settled().await;
}

#[tokio::test]
async fn sign_ins_are_put_off_after_a_few() {
    let callbook = Callbook::with(&[("CALLBOOK_ADMIN_TOKEN", TOKEN)]).await;
    let sign_in = async |token: &str| {
        http()
            .post(format!("{}/api/session", callbook.url))
            .json(&serde_json::json!({ "token": token }))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(sign_in(TOKEN).await, 200);
    // A busy machine may take so long that one more is due.
    let mut asked = 1;
    while sign_in("wrong").await == 401 {
        asked += 1;
    }
    assert!(asked >= 30, "{asked} were looked up");
    assert_eq!(sign_in(TOKEN).await, 429, "also the right one: nothing is looked up any more");
    let bearer = http().get(format!("{}/api/tokens", callbook.url)).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(bearer.status(), 200, "a token that is shown with each request is no sign-in");
}

#[tokio::test]
async fn a_read_is_put_off_while_the_database_hangs_and_answered_when_it_goes_on() {
    let callbook = Callbook::on_its_own_server(&[]).await;
    callbook.epoch().await;
    callbook.server().freeze();
    let (status, problem) = callbook.fetch("/api/conversations").await;
    assert_eq!(status, 503, "{problem}");
    assert_eq!(problem["code"], "unavailable");
    callbook.server().thaw();
    callbook.healthy().await;
    callbook.get("/api/conversations").await;
    callbook.stop().await;
}
