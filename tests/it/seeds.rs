//! Seed 000's requests and answers, and the OpenAPI document, whole: whoever changes what integrators rely on sees it
//! in a snapshot. What differs from run to run is named instead of shown.

use insta::internals::SettingsBindDropGuard;
use insta::{Settings, assert_json_snapshot, assert_snapshot};
use time::Duration;

use crate::rest::answered_call;
use crate::support::client::{http, incoming};
use crate::support::twilio_api::TwilioApi;
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

/// For as long as it is held, snapshots have their keys sorted, in whatever order JSON keeps them: a library that only
/// tests use has it keep another than callbook's own.
fn keys_sorted() -> SettingsBindDropGuard {
    let mut settings = Settings::clone_current();
    settings.set_sort_maps(true);
    settings.bind_to_scope()
}

#[tokio::test]
async fn conversations_and_their_calls_are_as_seed_000_shows_them() {
    let _sorted = keys_sorted();
    let callbook = Callbook::start().await;
    answered_call(&callbook).await;
    let list = callbook.get("/api/conversations?page=1&limit=20").await;
    assert_json_snapshot!("conversations", list, {
        ".**.id" => "[id]", ".**.conversation_id" => "[id]", ".**.position" => "[position]",
        ".**.updated_at" => "[time]", ".conversations[].created_at" => "[time]", ".**.contact.created_at" => "[time]",
    });
    let id = list["conversations"][0]["id"].as_str().unwrap();
    let one = callbook.get(&format!("/api/conversations/{id}")).await;
    assert_json_snapshot!("conversation", one, {
        ".**.id" => "[id]", ".**.conversation_id" => "[id]", ".**.position" => "[position]",
        ".**.updated_at" => "[time]", ".created_at" => "[time]", ".**.contact.created_at" => "[time]",
    });
    let messages = callbook.get(&format!("/api/conversations/{id}/messages")).await;
    assert_json_snapshot!("messages", messages, {
        ".**.id" => "[id]", ".**.conversation_id" => "[id]", ".**.position" => "[position]",
        ".**.updated_at" => "[time]", ".**.contact.created_at" => "[time]",
    });
    callbook.stop().await;
}

#[tokio::test]
async fn calls_in_progress_are_as_seed_000_has_them() {
    let _sorted = keys_sorted();
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    assert_json_snapshot!("active", callbook.get("/api/conversations/active").await, {
        ".**.id" => "[id]", ".**.conversation_id" => "[id]", ".**.position" => "[position]",
        ".**.updated_at" => "[time]", ".**.created_at" => "[time]", ".**.start_time" => "[time]",
        ".**.last_message_at" => "[time]",
    });
    callbook.stop().await;
}

#[tokio::test]
async fn calls_are_routed_as_seed_000_has_it() {
    let callbook = Callbook::start().await;
    let to = "sip:+15085140320@abchomes.sip.us1.twilio.com";
    for (name, from, to) in [("inbound", CUSTOMER, OURS), ("outbound", DISPATCHER, to)] {
        let answer = callbook.twilio().post("voice-inbound", &incoming(&call_sid(1), from, to)).await;
        let twiml = answer.text().await.unwrap().replace(&callbook.url, "[callbook]");
        assert_snapshot!(format!("twiml_{name}"), twiml);
    }
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_answers_as_seed_000_has_it() {
    let _sorted = keys_sorted();
    let twilio = TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    twilio.place_many(12, 60, twilio.now() - Duration::hours(2), Duration::hours(1));
    let (status, answer) = callbook.post("/api/sync/today").await;
    assert_eq!(status, 200, "{answer}");
    assert_json_snapshot!("sync", answer, { ".position" => "[position]" });
    callbook.stop().await;
}

#[tokio::test]
async fn the_document_of_the_api_is_what_it_was() {
    let _sorted = keys_sorted();
    let callbook = Callbook::start().await;
    let document = callbook.get("/api/openapi.json").await;
    assert_json_snapshot!("openapi", document);
    let viewer = http().get(format!("{}/api/docs", callbook.url)).send().await.unwrap();
    assert_eq!(viewer.status(), 200);
    let page = viewer.text().await.unwrap();
    assert!(
        page.contains("swagger-ui-bundle.js") && !page.contains("//"),
        "nothing comes from elsewhere: {page}"
    );
    callbook.stop().await;
}
