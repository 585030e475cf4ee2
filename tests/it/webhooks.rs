//! The door: what is answered to whom, and what is stored.

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::client::{dial_action, http, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid, pairs};

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

#[tokio::test]
async fn an_incoming_call_is_sent_to_the_dispatcher_in_seed_000s_shape() {
    let callbook = Callbook::with(&[("WEBHOOK_BASE_URL", "http://calls.example.com")]).await;
    let answer = signed_for(&callbook, &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    assert_eq!(
        answer,
        format!(
            r#"{XML}<Response><Dial timeout="60" action="http://calls.example.com/webhooks/twilio/dial-action#rc=2&amp;rp=5xx,ct" method="POST"><Sip statusCallback="http://calls.example.com/webhooks/twilio/voice-status#rc=2&amp;rp=5xx,ct" statusCallbackEvent="initiated ringing answered completed" statusCallbackMethod="POST">{DISPATCHER}</Sip></Dial></Response>"#
        )
    );
}

#[tokio::test]
async fn the_dispatchers_call_is_sent_to_the_customer_under_our_number() {
    let callbook =
        Callbook::with(&[("WEBHOOK_BASE_URL", "http://calls.example.com"), ("RECORD_CALLS", "dual")]).await;
    let to = format!("sip:{CUSTOMER}@abchomes.sip.us1.twilio.com;transport=tls");
    let answer = signed_for(&callbook, &incoming(&call_sid(1), DISPATCHER, &to)).await;
    assert_eq!(
        answer,
        format!(
            r#"{XML}<Response><Dial timeout="60" callerId="{OURS}" action="http://calls.example.com/webhooks/twilio/dial-action#rc=2&amp;rp=5xx,ct" method="POST" record="record-from-answer-dual" recordingStatusCallback="http://calls.example.com/webhooks/twilio/recording-status#rc=2&amp;rp=5xx,ct" recordingStatusCallbackMethod="POST"><Number statusCallback="http://calls.example.com/webhooks/twilio/voice-status#rc=2&amp;rp=5xx,ct" statusCallbackEvent="initiated ringing answered completed" statusCallbackMethod="POST">{CUSTOMER}</Number></Dial></Response>"#
        )
    );
}

async fn signed_for(callbook: &Callbook, params: &[(String, String)]) -> String {
    let base = callbook.app.state.door.webhook_base_url.to_string();
    let signature = callbook::twilio::signature::sign(
        &callbook.app.state.door.auth_token,
        &format!("{base}/webhooks/twilio/voice-inbound"),
        params,
    );
    let response = http()
        .post(format!("{}/webhooks/twilio/voice-inbound", callbook.url))
        .header("X-Twilio-Signature", signature)
        .body(callbook::twilio::form::Form(params.to_vec()).encode())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/xml"));
    response.text().await.unwrap()
}

#[tokio::test]
async fn status_callbacks_are_answered_204_and_a_dial_action_with_an_empty_response() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    let ringing = status(&call_sid(2), Some(&call_sid(1)), CUSTOMER, DISPATCHER, "ringing", 1, at);
    let answer = twilio.post("voice-status", &ringing).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.text().await.unwrap(), "");
    let recording =
        pairs(&[("CallSid", &call_sid(1)), ("RecordingSid", "RE1"), ("RecordingStatus", "completed")]);
    assert_eq!(twilio.post("recording-status", &recording).await.status(), StatusCode::NO_CONTENT);
    let answer =
        twilio.post("dial-action", &dial_action(&call_sid(1), &call_sid(2), CUSTOMER, OURS, "busy", 0)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await.unwrap(), format!("{XML}<Response/>"));
}

#[tokio::test]
async fn unknown_parameters_are_signed_over_and_kept() {
    let callbook = Callbook::start().await;
    let mut params = incoming(&call_sid(1), CUSTOMER, OURS);
    params.extend(pairs(&[("BrandNew", "zażółć & co"), ("Twice", "a"), ("Twice", "b"), ("Nul", "a\0b")]));
    callbook.twilio().send("voice-inbound", &params).await;
    callbook.drained().await;
    let payload: Value = sqlx::query_scalar("select payload from twilio_webhook_inbox")
        .fetch_one(&callbook.pool)
        .await
        .unwrap();
    assert_eq!(payload["BrandNew"], "zażółć & co");
    assert_eq!(payload["Twice"], serde_json::json!(["a", "b"]));
    assert_eq!(payload["Nul"], "a\u{FFFD}b");
    assert_eq!(payload["FromCity"], "");
}

#[tokio::test]
async fn an_unreadable_form_is_a_400_and_a_large_body_a_413() {
    let callbook = Callbook::start().await;
    let url = format!("{}/webhooks/twilio/voice-status", callbook.url);
    let send = async |body: Vec<u8>| {
        let response = http().post(&url).header("X-Twilio-Signature", "x").body(body).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap()["code"].clone())
    };
    assert_eq!(send(b"a=%zz".to_vec()).await, (400, "unreadable-form".into()));
    assert_eq!(send(b"a=%ff".to_vec()).await, (400, "unreadable-form".into()));
    assert_eq!(send(vec![b'a'; 256 * 1024 + 1]).await, (413, "payload-too-large".into()));
    // The largest that is read is read: it only lacks a signature.
    assert_eq!(send(vec![b'a'; 256 * 1024]).await, (403, "forbidden".into()));
    assert_eq!(callbook.count("select count(*) from twilio_webhook_inbox").await, 0);
}

#[tokio::test]
async fn a_repeated_request_is_one_row() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    let announced = incoming(&call_sid(1), CUSTOMER, OURS);
    let ended = lasting(status(&call_sid(1), None, CUSTOMER, OURS, "completed", 0, at), 29);
    let dialled = dial_action(&call_sid(1), &call_sid(2), CUSTOMER, OURS, "completed", 20);
    let recorded = pairs(&[
        ("CallSid", &call_sid(1)),
        ("RecordingSid", &format!("RE{:032}", 1)),
        ("RecordingStatus", "completed"),
    ]);
    for _ in 0..3 {
        let (a, b, c, d) = tokio::join!(
            twilio.post("voice-inbound", &announced),
            twilio.post("voice-status", &ended),
            twilio.post("dial-action", &dialled),
            twilio.post("recording-status", &recorded),
        );
        for answer in [a, b, c, d] {
            assert!(answer.status().is_success());
        }
    }
    callbook.settled().await;
    assert_eq!(callbook.count("select count(*) from twilio_webhook_inbox").await, 4);
    assert_eq!(
        callbook
            .count("select count(*) from twilio_webhook_inbox where processing_status = 'completed'")
            .await,
        4
    );
}
