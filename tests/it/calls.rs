//! One call: its legs, its events, and why its rows are what they are.

use callbook::explain::explain;
use domain::sid::CallSid;
use serde_json::{Value, json};

use crate::support::client::{dial_action, incoming, lasting, pairs, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

const AT: &str = "Sun, 08 Feb 2026 06:11:30 +0000";

/// An answered call with its child, one request of it twice, and one that means nothing.
async fn answered_call(callbook: &Callbook) -> (String, String) {
    let twilio = callbook.twilio();
    let (parent, child) = (call_sid(1), call_sid(2));
    let ringing = status(&child, Some(&parent), CUSTOMER, DISPATCHER, "ringing", 1, AT);
    let nonsense = status(&child, Some(&parent), CUSTOMER, DISPATCHER, "levitating", 2, AT);
    let ended = status(&child, Some(&parent), CUSTOMER, DISPATCHER, "completed", 3, AT);
    let parent_ended = status(&parent, None, CUSTOMER, OURS, "completed", 0, AT);
    let mut recorded = lasting(parent_ended, 29);
    recorded.extend(pairs(&[
        ("RecordingSid", "RE6ae81c3bd50f4be6a2b31e1d5c7f0a92"),
        ("RecordingUrl", "https://api.twilio.com/secret"),
    ]));
    for (endpoint, params) in [
        ("voice-inbound", incoming(&parent, CUSTOMER, OURS)),
        ("voice-status", ringing),
        ("voice-status", nonsense),
        ("voice-status", lasting(ended, 20)),
        ("dial-action", dial_action(&parent, &child, CUSTOMER, OURS, "completed", 20)),
        ("voice-status", recorded),
        // Late, and nothing new.
        ("voice-status", status(&child, Some(&parent), CUSTOMER, DISPATCHER, "initiated", 0, AT)),
    ] {
        twilio.send(endpoint, &params).await;
        // One at a time, so that what each changes is known.
        callbook.settled().await;
    }
    (parent, child)
}

#[tokio::test]
async fn any_leg_leads_to_the_call_its_thread_and_all_its_legs() {
    let callbook = Callbook::start().await;
    let (parent, child) = answered_call(&callbook).await;
    let position = callbook.settled().await;
    let id = callbook.get("/api/conversations").await["conversations"][0]["id"].clone();
    let thread = callbook.get(&format!("/api/conversations/{}/messages", id.as_str().unwrap())).await;
    let by_parent = callbook.get(&format!("/api/calls/{parent}")).await;
    assert_eq!(by_parent["is_root"], true);
    assert_eq!(by_parent["conversation_id"], id);
    assert_eq!(by_parent["message"], thread["messages"][0]);
    assert_eq!(by_parent["position"], position);
    let legs = by_parent["legs"].as_array().unwrap();
    assert_eq!(legs.iter().map(|leg| &leg["sid"]).collect::<Vec<_>>(), [&json!(parent), &json!(child)]);
    assert_eq!((&legs[0]["is_root"], &legs[1]["is_root"]), (&json!(true), &json!(false)));
    assert_eq!(legs[1]["parent_sid"], parent);
    assert_eq!(legs[0]["party"]["key"], CUSTOMER);
    assert_eq!(legs[0]["dials"][&child], json!({ "status": "completed", "seconds": 20, "bridged": true }));
    assert_eq!(legs[0]["recordings"][0]["status"], "processing");

    let by_child = callbook.get(&format!("/api/calls/{child}")).await;
    assert_eq!((&by_child["sid"], &by_child["root_sid"]), (&json!(child), &json!(parent)));
    assert_eq!(by_child["is_root"], false);
    for field in ["legs", "message", "conversation_id"] {
        assert_eq!(by_child[field], by_parent[field], "{field}");
    }
    for path in ["", "/events", "/explain"] {
        let (_, body) = callbook.fetch(&format!("/api/calls/{parent}{path}")).await;
        assert!(!body.to_string().contains("secret"), "where Twilio keeps a recording is not shown: {path}");
    }
}

#[tokio::test]
async fn the_events_of_a_family_are_paged_by_position() {
    let callbook = Callbook::start().await;
    let (parent, child) = answered_call(&callbook).await;
    let all = callbook.get(&format!("/api/calls/{child}/events")).await;
    let events = all["events"].as_array().unwrap();
    let logged: Vec<(i64, String, String)> =
        sqlx::query_as("select id, event_type, aggregate_id from call_events order by id")
            .fetch_all(&callbook.pool)
            .await
            .unwrap();
    let listed: Vec<(i64, String, String)> = events
        .iter()
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap().to_owned();
            (event["position"].as_i64().unwrap(), text("type"), text("call_sid"))
        })
        .collect();
    assert_eq!(listed, logged);
    assert_eq!(all["next_after"], Value::Null);
    let first = &events[0];
    assert_eq!((&first["version"], &first["source"]), (&json!("1"), &json!("webhook")));
    assert_eq!((&first["sequence"], &first["call_sid"]), (&json!(1), &json!(parent)));
    assert_eq!(first["summary"]["status"], "ringing");
    assert_eq!(first["payload"]["classification"]["direction"], "inbound");
    let dial = events.iter().find(|event| event["type"] == "call.dial_completed").unwrap();
    assert_eq!(dial["version"], "2");

    let mut paged = Vec::new();
    let mut after = json!(0);
    loop {
        let page = callbook.get(&format!("/api/calls/{parent}/events?limit=2&after={after}")).await;
        assert!(page["events"].as_array().unwrap().len() <= 2);
        paged.extend(page["events"].as_array().unwrap().clone());
        match &page["next_after"] {
            Value::Null => break,
            next => after = next.clone(),
        }
    }
    assert_eq!(&paged, events);
    let end = logged.last().unwrap().0;
    let beyond = callbook.get(&format!("/api/calls/{parent}/events?after={end}")).await;
    assert_eq!(beyond["events"], json!([]), "the end of a known call is not an unknown call");
}

fn change<'a>(event: &'a Value, table: &str, key: &str) -> &'a Value {
    let changes = event["changes"].as_array().unwrap().iter();
    changes.clone().find(|row| row["table"] == table && row["key"] == key).unwrap_or_else(|| {
        panic!("{table} {key} is not among {:?}", changes.map(|row| &row["key"]).collect::<Vec<_>>())
    })
}

fn field<'a>(row: &'a Value, name: &str) -> (&'a Value, &'a Value) {
    let fields = row["fields"].as_array().unwrap();
    let found = fields.iter().find(|field| field["field"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} did not change: {fields:?}"));
    (&found["before"], &found["after"])
}

#[tokio::test]
async fn a_call_is_explained_request_by_request_and_field_by_field() {
    let callbook = Callbook::start().await;
    let (parent, child) = answered_call(&callbook).await;
    let explained = callbook.get(&format!("/api/calls/{child}/explain")).await;
    assert_eq!((&explained["sid"], &explained["root_sid"]), (&json!(child), &json!(parent)));
    assert_eq!(explained["calls"], json!([parent, child]));
    let steps = explained["steps"].as_array().unwrap();
    let results: Vec<&str> = steps.iter().map(|step| step["result"].as_str().unwrap()).collect();
    assert_eq!(
        results,
        ["recorded", "recorded", "refused", "recorded", "recorded", "recorded", "already_so"]
    );
    assert_eq!(steps[0]["said"]["From"], CUSTOMER);
    assert_eq!(steps[2]["events"], json!([]));
    assert!(steps[2]["reason"].as_str().unwrap().contains("levitating"));
    assert_eq!(steps[6]["events"], json!([]));

    let conversation = callbook.ids().await.conversation(CUSTOMER).to_string();
    let announced = &steps[0]["events"][0];
    assert_eq!(announced["type"], "call.created");
    let leg = change(announced, "call_legs", &parent);
    assert_eq!(leg["change"], "added");
    assert_eq!(field(leg, "status"), (&Value::Null, &json!("ringing")));
    let thread = change(announced, "conversations", &conversation);
    assert_eq!((&thread["change"], field(thread, "total_calls").1), (&json!("added"), &json!(1)));
    assert_eq!(field(thread, "id").1, &json!(conversation), "ids are text");
    let contact = callbook.ids().await.contact(CUSTOMER).to_string();
    assert_eq!(field(change(announced, "contacts", &contact), "phone_number").1, CUSTOMER);

    let dialled = &steps[4]["events"][0];
    assert_eq!(dialled["type"], "call.dial_completed");
    let leg = change(dialled, "call_legs", &parent);
    assert_eq!(field(leg, "status"), (&json!("ringing"), &json!("completed")));
    assert_eq!(field(leg, "provisional"), (&json!(false), &json!(true)));
    assert_eq!(field(leg, &format!("dials.{child}")).1["seconds"], 20);
    let entry = change(dialled, "messages", &parent);
    assert_eq!(field(entry, "metadata.talk_time"), (&Value::Null, &json!(20)));

    let ended = &steps[5]["events"][0];
    let thread = change(ended, "conversations", &conversation);
    assert_eq!(field(thread, "total_duration"), (&json!(0), &json!(29)));
    assert_eq!(thread["change"], "changed");

    let said = explain(&callbook.pool, &callbook.ids().await, &CallSid::try_new(&parent).unwrap()).await;
    let mut text = Vec::new();
    callbook::cli::events::print(&said.unwrap().unwrap(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for line in [
        format!("  root {parent}"),
        format!("  child {child}"),
        "    call_legs CA00000000000000000000000000000001 changed".to_owned(),
        "      status: \"ringing\" -> \"completed\"".to_owned(),
        "      total_duration: 0 -> 29".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    assert!(
        text.contains("call-status of CA00000000000000000000000000000002: refused\n  because: "),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

/// Folded one after the other, the changes come to the rows that are there.
#[tokio::test]
async fn what_the_events_changed_adds_up_to_the_rows() {
    let callbook = Callbook::start().await;
    let (parent, _) = answered_call(&callbook).await;
    // Another call of the same customer, so that the thread is more than this family.
    let other = lasting(status(&call_sid(7), None, CUSTOMER, OURS, "completed", 0, AT), 12);
    callbook.twilio().send("voice-status", &other).await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(8), CUSTOMER, OURS)).await;
    callbook.settled().await;
    for sid in [parent, call_sid(7), call_sid(8)] {
        let explained = callbook.get(&format!("/api/calls/{sid}/explain")).await;
        let mut statuses = std::collections::BTreeMap::new();
        let mut calls = json!(0);
        let steps = explained["steps"].as_array().unwrap().iter();
        for event in steps.flat_map(|step| step["events"].as_array().unwrap()) {
            for row in event["changes"].as_array().unwrap() {
                for field in row["fields"].as_array().unwrap() {
                    if row["table"] == "messages" && field["field"] == "display_status" {
                        let key = row["key"].as_str().unwrap().to_owned();
                        let before = statuses.insert(key, field["after"].clone()).unwrap_or_default();
                        assert_eq!(before, field["before"]);
                    }
                    if row["table"] == "conversations" && field["field"] == "total_calls" {
                        calls = field["after"].clone();
                    }
                }
            }
        }
        for (sid, status) in statuses {
            let stored: String =
                sqlx::query_scalar("select display_status from messages where twilio_sid = $1")
                    .bind(&sid)
                    .fetch_one(&callbook.pool)
                    .await
                    .unwrap();
            assert_eq!(status, stored, "{sid}");
        }
        // The first call, the second, the third: each found the thread as the others had left it.
        assert_eq!(
            calls,
            if sid == call_sid(7) {
                2
            } else if sid == call_sid(8) {
                3
            } else {
                1
            }
        );
    }
}

#[tokio::test]
async fn what_another_call_changed_meanwhile_is_not_told_of_this_one() {
    let callbook = Callbook::start().await;
    let (ours, meanwhile) = (call_sid(1), call_sid(2));
    for (endpoint, params) in [
        ("voice-inbound", incoming(&ours, CUSTOMER, OURS)),
        ("voice-inbound", incoming(&meanwhile, CUSTOMER, OURS)),
        ("voice-status", lasting(status(&meanwhile, None, CUSTOMER, OURS, "completed", 0, AT), 12)),
        ("voice-status", lasting(status(&ours, None, CUSTOMER, OURS, "completed", 0, AT), 29)),
    ] {
        callbook.twilio().send(endpoint, &params).await;
        callbook.settled().await;
    }
    let explained = callbook.get(&format!("/api/calls/{ours}/explain")).await;
    let steps = explained["steps"].as_array().unwrap();
    let conversation = callbook.ids().await.conversation(CUSTOMER).to_string();
    let ended = change(&steps[1]["events"][0], "conversations", &conversation);
    assert_eq!(field(ended, "total_duration"), (&json!(12), &json!(41)));
    let fields = ended["fields"].as_array().unwrap();
    assert!(fields.iter().all(|field| field["field"] != "total_calls"), "{fields:?}");
}

#[tokio::test]
async fn what_is_only_in_the_inbox_is_explained_too() {
    let callbook = Callbook::start().await;
    let (refused, failed) = (call_sid(1), call_sid(2));
    let nonsense = status(&refused, None, CUSTOMER, OURS, "levitating", 0, AT);
    callbook.twilio().send("voice-status", &nonsense).await;
    callbook.settled().await;
    sqlx::query(
        "insert into twilio_webhook_inbox (source, event_type, call_sid, dedupe_key, payload, received_at,
                                           processing_status, retry_count, error, next_attempt_at)
         values ('twilio_voice', 'call-status', $1, 'a key', jsonb_build_object('From', '+15085140320'), now(), 'failed', 3,
                 'the log was away', now() + interval '1 day')",
    )
    .bind(&failed)
    .execute(&callbook.pool)
    .await
    .unwrap();
    let explained = callbook.get(&format!("/api/calls/{refused}/explain")).await;
    assert_eq!((&explained["root_sid"], &explained["calls"]), (&json!(refused), &json!([refused])));
    assert_eq!(explained["steps"][0]["result"], "refused");
    assert_eq!(explained["steps"].as_array().unwrap().len(), 1);
    let explained = callbook.get(&format!("/api/calls/{failed}/explain")).await;
    let step = &explained["steps"][0];
    assert_eq!((&step["result"], &step["reason"]), (&json!("failed"), &json!("the log was away")));
    assert_eq!((&step["tries"], &step["said"]), (&json!(3), &json!({ "From": CUSTOMER })));
    assert!(step["next_attempt_at"].is_string());
    let (status, problem) = callbook.fetch(&format!("/api/calls/{refused}")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-call")), "nothing is recorded of it");
}

#[tokio::test]
async fn a_call_that_nobody_heard_of_and_a_sid_that_is_none_are_refused() {
    let callbook = Callbook::start().await;
    for path in ["", "/events", "/explain"] {
        let (status, problem) = callbook.fetch(&format!("/api/calls/{}{path}", call_sid(9))).await;
        assert_eq!((status, &problem["code"]), (404, &json!("unknown-call")), "{path}");
        assert_eq!(problem["detail"], format!("nothing is recorded of a call {}", call_sid(9)));
        for sid in ["CA123", "RE6ae81c3bd50f4be6a2b31e1d5c7f0a92", "%ff"] {
            let (status, problem) = callbook.fetch(&format!("/api/calls/{sid}{path}")).await;
            assert_eq!((status, &problem["code"]), (400, &json!("bad-parameter")), "{sid}{path}");
            assert_eq!(problem["parameter"], "sid");
        }
    }
    for (query, parameter) in [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=1&limit=1", "limit"),
    ] {
        let (status, problem) = callbook.fetch(&format!("/api/calls/{}/events?{query}", call_sid(9))).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{query}");
    }
}

#[tokio::test]
async fn an_event_that_no_request_made_is_explained_where_it_happened() {
    let callbook = Callbook::start().await;
    let (parent, _) = answered_call(&callbook).await;
    let lines = domain::direction::Lines::new(
        [domain::phone::PhoneNumber::try_new(CUSTOMER).unwrap()],
        "elsewhere.sip.twilio.com",
    );
    callbook::reclassify::reclassify(&callbook.pool, &lines, |_| {}).await.unwrap();
    callbook.settled().await;
    let explained = callbook.get(&format!("/api/calls/{parent}/explain")).await;
    let steps = explained["steps"].as_array().unwrap();
    let ours: Vec<&Value> = steps.iter().filter(|step| step["kind"] == "recorded").collect();
    assert!(!ours.is_empty());
    assert_eq!(steps.last().unwrap()["kind"], "recorded", "after all that was received");
    assert_eq!((&ours[0]["source"], &ours[0]["type"]), (&json!("reclassify"), &json!("call.reclassified")));
    let leg = change(ours[0], "call_legs", ours[0]["call_sid"].as_str().unwrap());
    assert_eq!(field(leg, "direction"), (&json!("inbound"), &json!("outbound")));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named_and_ends_what_is_known_of_its_leg() {
    let callbook = Callbook::start().await;
    let (parent, child) = answered_call(&callbook).await;
    for (sequence, version) in [(100, "99"), (101, "1")] {
        sqlx::query(
            "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('call', $1, $2, 'call.status_changed', $3, '{}', '{}')",
        )
        .bind(&child)
        .bind(sequence)
        .bind(version)
        .execute(&callbook.pool)
        .await
        .unwrap();
    }
    let explained = callbook.get(&format!("/api/calls/{parent}/explain")).await;
    let steps = explained["steps"].as_array().unwrap();
    let unread: Vec<&Value> = steps.iter().filter(|step| step["kind"] == "recorded").collect();
    assert_eq!(unread.len(), 2);
    for event in &unread {
        assert_eq!(event["unreadable"]["position"], unread[0]["position"]);
        let reason = event["unreadable"]["reason"].as_str().unwrap();
        assert!(reason.contains("version \"99\" is not known to this callbook"), "{reason}");
        assert_eq!(event["changes"], json!([]));
    }
    let events = callbook.get(&format!("/api/calls/{parent}/events")).await;
    assert_eq!(events["events"].as_array().unwrap().last().unwrap()["version"], "1");
}
