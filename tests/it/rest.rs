//! REST: seed 000's shapes, lists by page, offset and cursor, and what a wrong request is told.

use serde_json::{Value, json};

use crate::support::client::{dial_action, http, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

/// One answered call of 29 seconds, 20 of them spoken.
pub async fn answered_call(callbook: &Callbook) {
    let twilio = callbook.twilio();
    let (parent, child) = (call_sid(1), call_sid(2));
    let at = |second: u32| format!("Sun, 08 Feb 2026 06:11:{second:02} +0000");
    for (sequence, (state, second)) in
        [("initiated", 1), ("ringing", 2), ("in-progress", 9)].into_iter().enumerate()
    {
        let report = status(&child, Some(&parent), CUSTOMER, DISPATCHER, state, sequence as u32, &at(second));
        twilio.send("voice-status", &report).await;
    }
    twilio.send("voice-inbound", &incoming(&parent, CUSTOMER, OURS)).await;
    let ended = status(&child, Some(&parent), CUSTOMER, DISPATCHER, "completed", 3, &at(29));
    twilio.send("voice-status", &lasting(ended, 20)).await;
    twilio.send("dial-action", &dial_action(&parent, &child, CUSTOMER, OURS, "completed", 20)).await;
    let ended = status(&parent, None, CUSTOMER, OURS, "completed", 0, &at(29));
    twilio.send("voice-status", &lasting(ended, 29)).await;
    callbook.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_request_as_the_log_does() {
    let callbook = Callbook::start().await;
    for path in ["/nowhere", "/api/conversations?page=0", "/api/calls/CA1"] {
        let response = http().get(format!("{}{path}", callbook.url)).send().await.unwrap();
        let named = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["request_id"], named, "{path}: {problem}");
    }
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cache_keeps_an_answer_and_no_page_frames_it() {
    let callbook = Callbook::start().await;
    for path in ["/health", "/api/conversations", "/nowhere", "/api/calls/CA1"] {
        let response = http().get(format!("{}{path}", callbook.url)).send().await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("cache-control"), "no-store", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'", "{path}");
    }
    callbook.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_alive_without_its_database_and_ready_with_it() {
    let callbook = Callbook::on_its_own_server(&[]).await;
    assert_eq!(callbook.fetch("/readyz").await, (200, json!({ "ready": true, "why": [] })));
    callbook.server().stop().await;
    let until_known = async {
        while callbook.fetch("/readyz").await.0 == 200 {
            tokio::task::yield_now().await;
        }
    };
    until_known.await;
    let alive = http().get(format!("{}/livez", callbook.url)).send().await.unwrap();
    assert_eq!((alive.status().as_u16(), alive.text().await.unwrap().as_str()), (200, "ok"));
    callbook.server().start().await;
    let until_back = async {
        while callbook.fetch("/readyz").await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    until_back.await;
    callbook.stop().await;
}

#[tokio::test]
async fn a_conversation_has_seed_000s_fields_and_seed_001s_further_ones() {
    let callbook = Callbook::start().await;
    answered_call(&callbook).await;
    let list = callbook.get("/api/conversations").await;
    assert_eq!((&list["total"], &list["page"], &list["limit"]), (&json!(1), &json!(1), &json!(20)));
    assert_eq!(list["next_cursor"], Value::Null);
    assert!(list["position"].as_i64().unwrap() > 0);
    let conversation = &list["conversations"][0];
    assert!(conversation["id"].is_string());
    assert_eq!(conversation["external_id"], CUSTOMER);
    assert_eq!(conversation["subject"], "Calls with +1 (508) 514-0320");
    assert_eq!(conversation["status"], "active");
    assert_eq!(conversation["unread_count"], 0);
    assert_eq!(
        conversation["metadata"],
        json!({ "total_calls": 1, "total_duration": 29, "last_call_direction": "inbound" })
    );
    let contact = &conversation["contact"];
    assert_eq!(contact["display_name"], "+1 (508) 514-0320");
    assert_eq!(contact["phone_number"], "+1 (508) 514-0320");
    assert_eq!(contact["handle"], CUSTOMER);
    assert_eq!(contact["metadata"]["country_code"], "US");
    let last = &conversation["last_message"];
    assert_eq!(last["subject"], "📞 Incoming Call - 29s");
    assert_eq!(last["call_status"], "completed");
    assert_eq!(last["direction"], "inbound");
    assert_eq!(last["created_at"], "2026-02-08T06:11:00Z");
    assert!(
        last["body"].as_str().unwrap().starts_with("**From:** +1 (508) 514-0320\n**To:** +1 (617) 500-6181")
    );

    let id = conversation["id"].as_str().unwrap();
    let one = callbook.get(&format!("/api/conversations/{id}")).await;
    assert_eq!(one["last_message"], conversation["last_message"]);
    assert_eq!(one["position"], list["position"]);
}

#[tokio::test]
async fn a_thread_merges_the_legs_of_a_call() {
    let callbook = Callbook::start().await;
    answered_call(&callbook).await;
    let id = callbook.get("/api/conversations").await["conversations"][0]["id"].as_str().unwrap().to_owned();
    let thread = callbook.get(&format!("/api/conversations/{id}/messages")).await;
    assert_eq!((&thread["total"], &thread["limit"]), (&json!(1), &json!(100)));
    let message = &thread["messages"][0];
    assert_eq!(message["type"], "call");
    assert_eq!(message["external_id"], call_sid(1));
    assert_eq!(message["conversation_id"], id);
    assert_eq!(message["duration"], 29);
    assert_eq!(message["missed"], false);
    let metadata = &message["metadata"];
    assert_eq!(metadata["total_duration"], 29);
    assert_eq!(metadata["talk_time"], 20);
    assert_eq!(metadata["wait_time"], 9);
    assert_eq!(metadata["display_status"], "completed");
    assert_eq!(metadata["actual_direction"], "inbound");
    assert_eq!(metadata["hasParent"], false);
    let call = &message["call"];
    assert_eq!(call["sid"], call_sid(1));
    assert_eq!((&call["from"], &call["to"]), (&json!(CUSTOMER), &json!(OURS)));
    assert_eq!(call["start_time"], "2026-02-08T06:11:00Z");
    assert_eq!(call["end_time"], "2026-02-08T06:11:29Z");
    assert_eq!(call["price"], Value::Null);
    let legs = message["legs"].as_array().unwrap();
    assert_eq!(legs.len(), 2);
    assert_eq!(legs[1]["external_id"], call_sid(2));
    assert_eq!(legs[1]["metadata"]["parent_call_sid"], call_sid(1));
    assert_eq!(legs[1]["metadata"]["total_duration"], 29);
    assert_eq!(legs[1]["metadata"]["talk_time"], 20);
    assert_eq!(legs[1]["metadata"]["merged_from_parent"], true);
    assert_eq!(legs[1]["metadata"]["twilio_direction"], "outbound-dial");
    assert_eq!(legs[1]["metadata"]["actual_direction"], "inbound");
    let keys = [
        "answered_by",
        "queue_time",
        "twilio_status",
        "twilioDirection",
        "from",
        "to",
        "call_sid",
        "status",
        "recording_url",
        "from_number",
        "to_number",
    ];
    for key in keys {
        assert!(metadata.get(key).is_some(), "metadata has no {key}");
    }
}

/// Customers +1 508 555 0100 to 0199 who called at one-second steps; the newest is the last.
async fn many_callers(callbook: &Callbook, count: u32) {
    let twilio = callbook.twilio();
    for n in 0..count {
        let from = format!("+1508555{:04}", 100 + n);
        let at = format!("Sun, 08 Feb 2026 06:{:02}:{:02} +0000", n / 60, n % 60);
        let ended = lasting(status(&call_sid(n), None, &from, OURS, "completed", 0, &at), 1);
        twilio.send("voice-status", &ended).await;
    }
    callbook.settled().await;
}

#[tokio::test]
async fn page_offset_and_cursor_walk_the_same_list() {
    let callbook = Callbook::start().await;
    many_callers(&callbook, 23).await;
    let ids = |list: &Value| -> Vec<String> {
        list["conversations"].as_array().unwrap().iter().map(|c| c["external_id"].to_string()).collect()
    };
    let all = ids(&callbook.get("/api/conversations?limit=100").await);
    assert_eq!(all.len(), 23);
    assert_eq!(all[0], "\"+15085550122\"", "the newest call is first");

    let mut by_page = Vec::new();
    for page in 1..=3 {
        let list = callbook.get(&format!("/api/conversations?page={page}&limit=10")).await;
        assert_eq!((&list["total"], &list["page"]), (&json!(23), &json!(page)));
        by_page.extend(ids(&list));
    }
    let mut by_offset = Vec::new();
    for offset in [0, 10, 20] {
        let list = callbook.get(&format!("/api/conversations?offset={offset}&limit=10")).await;
        assert_eq!(list["offset"], json!(offset));
        by_offset.extend(ids(&list));
    }
    let mut by_cursor = Vec::new();
    let mut path = "/api/conversations?limit=10".to_owned();
    loop {
        let list = callbook.get(&path).await;
        by_cursor.extend(ids(&list));
        match list["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/conversations?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(by_page, all);
    assert_eq!(by_offset, all);
    assert_eq!(by_cursor, all);
    assert_eq!(callbook.get("/api/conversations?page=9").await["conversations"], json!([]));
}

#[tokio::test]
async fn a_long_thread_is_paged() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    for n in 0..7 {
        let at = format!("Sun, 08 Feb 2026 06:11:{n:02} +0000");
        let ended = lasting(status(&call_sid(n), None, CUSTOMER, OURS, "completed", 0, &at), 1);
        twilio.send("voice-status", &ended).await;
    }
    callbook.settled().await;
    let id = callbook.get("/api/conversations").await["conversations"][0]["id"].as_str().unwrap().to_owned();
    let mut path = format!("/api/conversations/{id}/messages?limit=3");
    let mut seen = Vec::new();
    loop {
        let thread = callbook.get(&path).await;
        assert_eq!(thread["total"], 7);
        seen.extend(thread["messages"].as_array().unwrap().iter().map(|m| m["external_id"].clone()));
        match thread["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/conversations/{id}/messages?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let newest_first: Vec<Value> = (0..7).rev().map(|n| call_sid(n).into()).collect();
    assert_eq!(seen, newest_first);
}

#[tokio::test]
async fn withheld_callers_share_a_thread_that_has_no_contact() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    for (n, from) in ["anonymous", "+266696687", "Restricted", ""].iter().enumerate() {
        twilio.send("voice-inbound", &incoming(&call_sid(n as u32), from, OURS)).await;
    }
    callbook.settled().await;
    let list = callbook.get("/api/conversations").await;
    assert_eq!(list["total"], 1);
    assert_eq!(list["conversations"][0]["contact"], Value::Null);
    assert_eq!(list["conversations"][0]["external_id"], "withheld");
    assert_eq!(list["conversations"][0]["metadata"]["total_calls"], 4);
    assert_eq!(callbook.count("select count(*) from contacts").await, 0);
}

#[tokio::test]
async fn what_the_sync_filters_skip_is_recorded_and_hidden() {
    let callbook = Callbook::start().await;
    let twilio = callbook.twilio();
    twilio.send("voice-inbound", &incoming(&call_sid(1), DISPATCHER, "client:alice")).await;
    twilio.send("voice-inbound", &incoming(&call_sid(2), "+12", OURS)).await;
    twilio.send("voice-inbound", &incoming(&call_sid(3), "client:alice", "")).await;
    callbook.settled().await;
    let reasons: Vec<String> = sqlx::query_scalar("select hidden_reason from messages order by twilio_sid")
        .fetch_all(&callbook.pool)
        .await
        .unwrap();
    assert_eq!(reasons, ["internal call", "malformed number", "no external party"]);
    assert_eq!(callbook.get("/api/conversations").await["total"], 0);
    assert_eq!(callbook.get("/api/conversations/active").await["total"], 0);
    // The softphone's call is placed by its child.
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    let child = status(&call_sid(4), Some(&call_sid(3)), OURS, CUSTOMER, "ringing", 1, at);
    twilio.send("voice-status", &child).await;
    callbook.settled().await;
    assert_eq!(callbook.get("/api/conversations").await["conversations"][0]["external_id"], CUSTOMER);
    assert_eq!(callbook.get("/api/conversations/active").await["total"], 1);
}

#[tokio::test]
async fn a_wrong_request_is_told_which_parameter() {
    let callbook = Callbook::start().await;
    for (path, status, code, parameter) in [
        ("/api/conversations/42", 404, "unknown-conversation", None),
        ("/api/conversations/42/messages", 404, "unknown-conversation", None),
        ("/api/conversations/forty-two", 400, "bad-parameter", Some("id")),
        ("/api/conversations/%ff", 400, "bad-parameter", Some("id")),
        ("/api/conversations?cursor=AfrCHzKLSeAAAAAAAAAAAAXF", 400, "bad-parameter", Some("cursor")),
        ("/api/conversations/-1", 400, "bad-parameter", Some("id")),
        ("/api/conversations/99999999999999999999", 400, "bad-parameter", Some("id")),
        ("/api/conversations?page=0", 400, "bad-parameter", Some("page")),
        ("/api/conversations?page=x", 400, "bad-parameter", Some("page")),
        ("/api/conversations?limit=0", 400, "bad-parameter", Some("limit")),
        ("/api/conversations?limit=201", 400, "bad-parameter", Some("limit")),
        ("/api/conversations?offset=-1", 400, "bad-parameter", Some("offset")),
        ("/api/conversations?cursor=nonsense", 400, "bad-parameter", Some("cursor")),
        ("/api/conversations/42/messages?cursor=", 400, "bad-parameter", Some("cursor")),
        ("/events/calls?after=soon", 400, "bad-parameter", Some("after")),
        ("/api/nothing", 404, "not-found", None),
    ] {
        let (found, problem) = callbook.fetch(path).await;
        assert_eq!(found, status, "{path}: {problem}");
        assert_eq!(problem["code"], code, "{path}");
        assert_eq!(problem["status"], status, "{path}");
        assert_eq!(problem.get("parameter").and_then(Value::as_str), parameter, "{path}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
    }
}

#[tokio::test]
async fn health_says_that_it_is_simulated_and_how_far_the_read_model_is() {
    let callbook = Callbook::start().await;
    let health = callbook.healthy().await;
    assert_eq!(health["simulated"], true);
    answered_call(&callbook).await;
    let health = callbook.healthy().await;
    assert_eq!(health["projection"]["behind"], 0);
    assert!(health["projection"]["position"].as_i64().unwrap() >= 5);
}
