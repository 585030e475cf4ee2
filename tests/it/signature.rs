//! Twilio's signature over HTTP. The 116 vectors are tested beside the function, in `src/twilio/signature`.

use reqwest::StatusCode;

use crate::support::client::{http, incoming};
use crate::support::{CUSTOMER, Callbook, OURS, call_sid, pairs};

#[tokio::test]
async fn a_missing_or_wrong_signature_is_refused_and_stores_nothing() {
    let callbook = Callbook::start().await;
    let url = format!("{}/webhooks/twilio/voice-inbound", callbook.url);
    let body = "CallSid=CA1&From=%2B15085140320";
    for signature in [None, Some(""), Some("WRONG"), Some("RSOYDt4T1cUTdK1PDd93/VVr8B8=")] {
        let mut request = http().post(&url).body(body);
        if let Some(signature) = signature {
            request = request.header("X-Twilio-Signature", signature);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{signature:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "forbidden");
    }
    assert_eq!(callbook.count("select count(*) from twilio_webhook_inbox").await, 0);
}

#[tokio::test]
async fn a_changed_parameter_breaks_the_signature() {
    let callbook = Callbook::start().await;
    let params = incoming(&call_sid(1), CUSTOMER, OURS);
    let url = format!("{}/webhooks/twilio/voice-inbound", callbook.url);
    let signature = callbook::twilio::signature::sign(&callbook.app.state.door.auth_token, &url, &params);
    let mut changed = params.clone();
    changed.push(("Extra".to_owned(), "1".to_owned()));
    let send = async |params: Vec<(String, String)>| {
        http()
            .post(&url)
            .header("X-Twilio-Signature", &signature)
            .body(callbook::twilio::form::Form(params).encode())
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(send(changed).await, StatusCode::FORBIDDEN);
    assert_eq!(send(params).await, StatusCode::OK);
}

#[tokio::test]
async fn the_configured_public_url_is_what_is_signed() {
    let callbook = Callbook::with(&[("WEBHOOK_BASE_URL", "https://user:pass@calls.example.com/")]).await;
    let params = incoming(&call_sid(1), CUSTOMER, OURS);
    let signature = callbook::twilio::signature::sign(
        &callbook.app.state.door.auth_token,
        "https://calls.example.com/webhooks/twilio/voice-inbound",
        &params,
    );
    let response = http()
        .post(format!("{}/webhooks/twilio/voice-inbound", callbook.url))
        .header("X-Twilio-Signature", signature)
        .body(callbook::twilio::form::Form(params).encode())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let twiml = response.text().await.unwrap();
    assert!(
        twiml.contains(
            r##"action="https://calls.example.com/webhooks/twilio/dial-action#rc=2&amp;rp=5xx,ct""##
        ),
        "{twiml}"
    );
}

#[tokio::test]
async fn a_get_is_signed_over_its_query_alone() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    let params = incoming(&call_sid(1), CUSTOMER, OURS);
    assert_eq!(twilio.get("voice-inbound", &params).await.status(), StatusCode::OK);
    assert_eq!(
        twilio.get("voice-status", &pairs(&[("CallSid", "x")])).await.status(),
        StatusCode::NO_CONTENT
    );
    callbook.settled().await;
    assert_eq!(callbook.count("select count(*) from messages").await, 1);
}
