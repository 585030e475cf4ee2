//! What people enter: contacts that have names, threads that are put aside and read; two editors, and one request that
//! comes twice.

use std::time::Duration;

use callbook::event_store::idempotency;
use projections::conversations::Fold;
use projections::{lint, quarantine, rebuild};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stream::Client;
use crate::support::client::{Pairs, http, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

const STRANGER: &str = "+15085140321";

/// An answer as an editor sees it.
struct Answer {
    status: u16,
    etag: Option<String>,
    location: Option<String>,
    body: Value,
}

impl Answer {
    fn position(&self) -> i64 {
        self.body["position"].as_i64().unwrap()
    }
}

async fn ask(
    callbook: &Callbook,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answer {
    let mut request = http().request(method, format!("{}{path}", callbook.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (etag, location, status) = (header("etag"), header("location"), response.status().as_u16());
    let bytes = response.bytes().await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Answer { status, etag, location, body }
}

async fn patch(callbook: &Callbook, path: &str, body: Value) -> Answer {
    let answer = ask(callbook, Method::PATCH, path, &[], Some(&body)).await;
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
    answer
}

async fn add(callbook: &Callbook, body: Value) -> Answer {
    ask(callbook, Method::POST, "/api/contacts", &[], Some(&body)).await
}

/// A call from a customer that nobody answers: it begins at that minute and lasts for half of one.
fn missed(n: u32, from: &str, minute: u8) -> Pairs {
    let ended = format!("Sun, 08 Feb 2026 06:{minute:02}:30 +0000");
    lasting(status(&call_sid(n), None, from, OURS, "no-answer", 1, &ended), 30)
}

/// A call of ours to a customer.
fn outgoing(n: u32, to: &str, minute: u8) -> Pairs {
    let ended = format!("Sun, 08 Feb 2026 06:{minute:02}:30 +0000");
    lasting(status(&call_sid(n), None, DISPATCHER, to, "completed", 1, &ended), 30)
}

async fn report(callbook: &Callbook, report: &Pairs) {
    callbook.twilio().send("voice-status", report).await;
    callbook.settled().await;
}

async fn thread(callbook: &Callbook, party: &str) -> Value {
    let list = callbook.get("/api/conversations").await;
    let threads = list["conversations"].as_array().unwrap();
    threads.iter().find(|thread| thread["external_id"] == party).unwrap().clone()
}

/// The paths under which a party is edited: its contact, and the state of its thread.
async fn paths(callbook: &Callbook, party: &str) -> (String, String) {
    let thread = thread(callbook, party).await;
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    (format!("/api/contacts/{}", id(&thread["contact"])), format!("/api/conversations/{}/state", id(&thread)))
}

#[tokio::test]
async fn a_name_is_shown_wherever_the_contact_is_and_survives_a_rebuild() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (contact, _) = paths(&callbook, CUSTOMER).await;
    let before = callbook.get(&contact).await;
    assert_eq!(before["version"], 0);
    assert_eq!(before["name"], Value::Null);
    assert_eq!(before["display_name"], "+1 (508) 514-0320");

    let entered =
        json!({ "name": " Zoë O’Hara ", "notes": "Calls at night.\r\nAsk twice.", "tags": ["VIP", "vip"] });
    let answer = patch(&callbook, &contact, entered).await;
    assert_eq!(answer.etag.as_deref(), Some("\"3\""));
    let shown = callbook.get(&format!("{contact}?min_position={}", answer.position())).await;
    assert_eq!(shown, answer.body);
    assert_eq!(shown["name"], "Zoë O’Hara");
    assert_eq!(shown["notes"], "Calls at night.\nAsk twice.");
    assert_eq!(shown["tags"], json!(["VIP"]));

    let of_thread = thread(&callbook, CUSTOMER).await;
    assert_eq!(of_thread["contact"]["display_name"], "Zoë O’Hara");
    assert_eq!(of_thread["contact"]["tags"], json!(["VIP"]));
    assert_eq!(of_thread["subject"], "Calls with +1 (508) 514-0320");
    callbook.verify().await;
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    assert_eq!(callbook.get(&contact).await, shown);
    assert_eq!(thread(&callbook, CUSTOMER).await, of_thread);

    let removed = patch(&callbook, &contact, json!({ "name": null, "notes": "  ", "tags": null })).await;
    assert_eq!(removed.body["display_name"], "+1 (508) 514-0320");
    assert_eq!(removed.body["notes"], Value::Null);
    assert_eq!(removed.body["tags"], json!([]));
    assert_eq!(removed.body["version"], 6);
}

#[tokio::test]
async fn a_number_has_its_name_before_it_first_calls() {
    let callbook = Callbook::start().await;
    let added = add(&callbook, json!({ "number": "(508) 514-0320", "name": "Ann" })).await;
    assert_eq!(added.status, 201);
    assert_eq!(added.body["handle"], CUSTOMER);
    let path = added.location.unwrap();
    callbook.settled().await;
    assert_eq!(callbook.get(&path).await["name"], "Ann");
    assert_eq!(callbook.get("/api/conversations").await["total"], 0);
    callbook.verify().await;
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    assert_eq!(callbook.get(&path).await["name"], "Ann");

    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    assert_eq!(thread(&callbook, CUSTOMER).await["contact"]["name"], "Ann");
    assert_eq!(callbook.count("select count(*) from contacts").await, 1);
    callbook.verify().await;

    let again = add(&callbook, json!({ "number": CUSTOMER, "name": "Bob" })).await;
    assert_eq!((again.status, again.location.as_deref()), (200, Some(path.as_str())));
    assert_eq!(again.body["name"], "Ann", "what somebody has entered stays");
    // Who has called and was never edited takes what is entered.
    report(&callbook, &missed(2, STRANGER, 12)).await;
    let known = add(&callbook, json!({ "number": STRANGER, "name": "Bob" })).await;
    assert_eq!((known.status, &known.body["name"]), (201, &json!("Bob")));
}

#[tokio::test]
async fn missed_calls_that_ended_after_the_read_marker_are_unread() {
    let callbook = Callbook::start().await;
    let unread = async || thread(&callbook, CUSTOMER).await["unread_count"].as_i64().unwrap();
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    report(&callbook, &missed(2, CUSTOMER, 13)).await;
    report(&callbook, &outgoing(3, CUSTOMER, 14)).await;
    assert_eq!(unread().await, 2);
    let (_, state) = paths(&callbook, CUSTOMER).await;

    patch(&callbook, &state, json!({ "read_up_to_call": call_sid(1) })).await;
    callbook.settled().await;
    assert_eq!(unread().await, 1);
    // A webhook that comes late tells of a call that ended before the marker, another of one after it.
    report(&callbook, &missed(4, CUSTOMER, 10)).await;
    report(&callbook, &missed(5, CUSTOMER, 12)).await;
    assert_eq!(unread().await, 2);
    callbook.verify().await;

    let read = patch(&callbook, &state, json!({ "read_up_to": "2026-02-08T07:13:30.0000009+01:00" })).await;
    assert_eq!(read.body["read_up_to"], "2026-02-08T06:13:30Z");
    callbook.settled().await;
    assert_eq!(unread().await, 0);
    let behind = patch(&callbook, &state, json!({ "read_up_to_call": call_sid(1) })).await;
    assert_eq!(behind.body["version"], read.body["version"], "the marker only moves on");
    report(&callbook, &missed(6, CUSTOMER, 15)).await;
    assert_eq!(unread().await, 1);
    callbook.verify().await;
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    assert_eq!(unread().await, 1);
}

#[tokio::test]
async fn a_call_from_outside_that_was_not_seen_brings_an_archived_thread_back() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (_, state) = paths(&callbook, CUSTOMER).await;
    let status = async || {
        let shown = thread(&callbook, CUSTOMER).await;
        assert_eq!(callbook.get(&state).await["archived"], shown["archived"], "{shown}");
        shown["status"].as_str().unwrap().to_owned()
    };
    let archived = patch(&callbook, &state, json!({ "archived": true })).await;
    assert_eq!(archived.body["archived_up_to"], "2026-02-08T06:11:00Z");
    callbook.settled().await;
    assert_eq!(status().await, "archived");
    // Neither a call of ours nor one of long ago that is found only now.
    report(&callbook, &outgoing(2, CUSTOMER, 14)).await;
    report(&callbook, &missed(3, CUSTOMER, 9)).await;
    assert_eq!(status().await, "archived");
    callbook.verify().await;

    report(&callbook, &missed(4, CUSTOMER, 15)).await;
    assert_eq!(status().await, "active");
    let tag = archived.etag.unwrap();
    let again = ask(&callbook, Method::GET, &state, &[("if-none-match", &tag)], None).await;
    assert_eq!((again.status, &again.body["archived"]), (200, &json!(false)), "the version is the same");
    callbook.verify().await;
    // Whoever archives what they saw before that call does not put it aside.
    let seen = json!({ "archived": true, "archived_up_to": "2026-02-08T06:14:00Z" });
    assert_eq!(patch(&callbook, &state, seen).await.body["archived"], false);
    callbook.settled().await;
    assert_eq!(status().await, "active");
    patch(&callbook, &state, json!({ "archived": true })).await;
    callbook.settled().await;
    assert_eq!(status().await, "archived");
    patch(&callbook, &state, json!({ "archived": false })).await;
    callbook.settled().await;
    assert_eq!(status().await, "active");
    callbook.verify().await;
}

#[tokio::test]
async fn of_two_editors_who_saw_the_same_the_second_is_told_so() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (contact, _) = paths(&callbook, CUSTOMER).await;
    let seen = ask(&callbook, Method::GET, &contact, &[], None).await.etag.unwrap();
    let named = async |name: &str, etag: &str| {
        ask(&callbook, Method::PATCH, &contact, &[("if-match", etag)], Some(&json!({ "name": name }))).await
    };
    let (ann, bob) = tokio::join!(named("Ann", &seen), named("Bob", &seen));
    let (won, lost) = if ann.status == 200 { (ann, bob) } else { (bob, ann) };
    assert_eq!((won.status, lost.status), (200, 412), "{}", lost.body);
    assert_eq!((&lost.body["code"], &lost.body["version"]), (&json!("changed"), &json!(1)));
    assert_eq!(named("Eve", &won.etag.unwrap()).await.status, 200);
    assert_eq!(named("Eve", "W/\"2\"").await.status, 412, "a weak tag is no version");
    assert_eq!(named("Eve", "\"1\", \"2\"").await.status, 200, "it is so already");
    assert_eq!(named("Eve", "2").await.body["parameter"], "If-Match");

    // Without it, the later one has its way.
    let change = async |field: &str| patch(&callbook, &contact, json!({ field: "both" })).await;
    tokio::join!(change("name"), change("notes"));
    callbook.settled().await;
    let card = callbook.get(&contact).await;
    assert_eq!((&card["name"], &card["notes"]), (&json!("both"), &json!("both")));
    let version = format!("\"{}\"", card["version"]);
    let known = ask(&callbook, Method::GET, &contact, &[("if-none-match", &version)], None).await;
    assert_eq!((known.status, known.body), (304, Value::Null));
    let older = ask(&callbook, Method::GET, &contact, &[("if-none-match", "\"1\"")], None).await;
    assert_eq!(older.status, 200);
}

#[tokio::test]
async fn a_request_that_names_itself_has_one_effect_however_often_it_comes() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (contact, _) = paths(&callbook, CUSTOMER).await;
    let (here, there) = (&callbook, &callbook.beside().await);
    let named = async |callbook: &Callbook, name: &str| {
        let headers = [("idempotency-key", "4c9bd1b2"), ("if-match", "\"0\"")];
        ask(callbook, Method::PATCH, &contact, &headers, Some(&json!({ "name": name }))).await
    };
    let answers =
        tokio::join!(named(here, "Ann"), named(there, "Ann"), named(here, "Ann"), named(there, "Ann"));
    for answer in [&answers.0, &answers.1, &answers.2, &answers.3] {
        assert_eq!((answer.status, &answer.body), (200, &answers.0.body));
    }
    patch(&callbook, &contact, json!({ "name": "Bob" })).await;
    assert_eq!(named(here, "Ann").await.body, answers.0.body, "answered as before");
    let other = named(here, "Eve").await;
    assert_eq!((other.status, &other.body["code"]), (422, &json!("key-used")));
    let events = "select count(*) from call_events where aggregate_type = 'contact'";
    assert_eq!(callbook.count(events).await, 2);
    let added = async || {
        let new = json!({ "number": "+15085140321", "name": "Cid" });
        ask(&callbook, Method::POST, "/api/contacts", &[("idempotency-key", "0b7e")], Some(&new)).await
    };
    let (first, again) = (added().await, added().await);
    assert_eq!(
        (first.status, again.status, &first.body),
        (201, 201, &again.body),
        "the status is the same too"
    );
    let bad = ask(&callbook, Method::PATCH, &contact, &[("idempotency-key", "a b")], Some(&json!({}))).await;
    assert_eq!((bad.status, &bad.body["parameter"]), (400, &json!("Idempotency-Key")));

    assert_eq!(idempotency::forget(&callbook.pool, idempotency::KEPT).await.unwrap(), 0);
    assert_eq!(idempotency::forget(&callbook.pool, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(named(here, "Ann").await.status, 412, "a forgotten key is a new one");
}

#[tokio::test]
async fn a_read_waits_for_the_position_it_names() {
    let callbook = Callbook::start().await;
    let added = add(&callbook, json!({ "number": CUSTOMER })).await;
    let path = added.location.clone().unwrap();
    let read = callbook.get(&format!("{path}?min_position={}", added.position())).await;
    assert!(read["position"].as_i64().unwrap() >= added.position());
    let ahead = format!("{path}?min_position={}", added.position() + 1);
    let (status, problem) = callbook.fetch(&ahead).await;
    assert_eq!(
        (status, &problem["parameter"]),
        (400, &json!("min_position")),
        "nobody has written that: {problem}"
    );

    // Somebody keeps the projection's lock.
    let mut locking = callbook.pool.begin().await.unwrap();
    sqlx::query("select from read_model_generations for update").execute(&mut *locking).await.unwrap();
    let other = json!({ "number": "+15085140321" });
    let written = ask(&callbook, Method::POST, "/api/contacts", &[], Some(&other)).await;
    assert_eq!(written.status, 201, "{:?}", written.body);
    let late = format!("{path}?min_position={}", written.position());
    let (status, problem) = callbook.fetch(&late).await;
    assert_eq!((status, &problem["code"]), (503, &json!("not-reached")), "{problem}");
    locking.rollback().await.unwrap();
    assert_eq!(callbook.fetch(&late).await.0, 200);
    let (status, problem) = callbook.fetch("/api/conversations?min_position=soon").await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("min_position")));
}

#[tokio::test]
async fn looking_back_shows_the_name_of_that_time() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (contact, _) = paths(&callbook, CUSTOMER).await;
    let nameless = callbook.settled().await;
    let ann = patch(&callbook, &contact, json!({ "name": "Ann" })).await.position();
    patch(&callbook, &contact, json!({ "name": "Bob" })).await;
    let now = callbook.settled().await;
    let id = thread(&callbook, CUSTOMER).await["id"].as_str().unwrap().to_owned();
    for (position, name) in [(nameless, "+1 (508) 514-0320"), (ann, "Ann"), (now, "Bob")] {
        let past = callbook.get(&format!("/api/conversations/{id}/messages?as_of={position}")).await;
        assert_eq!(past["messages"][0]["contact"]["display_name"], name, "{position}");
    }
    let explained = callbook.get(&format!("/api/calls/{}/explain", call_sid(1))).await;
    let changes = explained["steps"][0]["events"][0]["changes"].as_array().unwrap();
    let of_thread = changes.iter().find(|change| change["table"] == "conversations").unwrap();
    let unread =
        of_thread["fields"].as_array().unwrap().iter().find(|field| field["field"] == "unread_count");
    assert_eq!(unread.unwrap()["after"], 1);
}

#[tokio::test]
async fn what_cannot_be_entered_is_refused_by_its_pointer() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (contact, state) = paths(&callbook, CUSTOMER).await;
    for (path, body, pointer) in [
        (&contact, json!({ "nickname": "Ann" }), "/nickname"),
        (&contact, json!({ "name": 7 }), "/name"),
        (&contact, json!({ "name": "x".repeat(201) }), "/name"),
        (&contact, json!({ "name": "a\u{0}b" }), "/name"),
        (&contact, json!({ "notes": "a\tb" }), "/notes"),
        (&contact, json!({ "tags": "VIP" }), "/tags"),
        (&contact, json!({ "tags": ["VIP", "a\nb"] }), "/tags/1"),
        (&contact, json!({ "tags": ["VIP", null] }), "/tags/1"),
        (&contact, json!([]), ""),
        (&state, json!({ "archived": "yes" }), "/archived"),
        (&state, json!({ "archived": null }), "/archived"),
        (&state, json!({ "read": true }), "/read"),
        (&state, json!({ "read_up_to": "yesterday" }), "/read_up_to"),
        (&state, json!({ "read_up_to": null }), "/read_up_to"),
        (&state, json!({ "read_up_to": "0000-01-01T00:00:00+23:00" }), "/read_up_to"),
        (&state, json!({ "read_up_to": "9998-01-01T00:00:00Z" }), "/read_up_to"),
        (&state, json!({ "read_up_to_call": "CA1" }), "/read_up_to_call"),
        (&state, json!({ "read_up_to_call": call_sid(9) }), "/read_up_to_call"),
        (
            &state,
            json!({ "read_up_to_call": call_sid(1), "read_up_to": "2026-02-08T06:11:00Z" }),
            "/read_up_to_call",
        ),
        (&state, json!({ "archived_up_to": "2026-02-08T06:11:00Z" }), "/archived_up_to"),
        (&state, json!({ "archived": true, "archived_up_to": "2026-02-08T06:11:01Z" }), "/archived_up_to"),
    ] {
        let answer = ask(&callbook, Method::PATCH, path, &[], Some(&body)).await;
        let is = (answer.status, answer.body["pointer"].as_str());
        assert_eq!(is, (400, Some(pointer)), "{body}: {}", answer.body);
    }
    for (number, is) in [("12", 400), (OURS, 400), (CUSTOMER, 201), (CUSTOMER, 200)] {
        let answer = add(&callbook, json!({ "number": number })).await;
        assert_eq!(answer.status, is, "{number}: {}", answer.body);
    }
    let (status, _) = callbook.fetch("/api/contacts/42").await;
    assert_eq!(status, 404);
    let nobody = ask(&callbook, Method::PATCH, "/api/contacts/42", &[], Some(&json!({}))).await;
    assert_eq!((nobody.status, &nobody.body["code"]), (404, &json!("unknown-contact")));
    let events = "select count(*) from call_events where aggregate_type <> 'call'";
    assert_eq!(callbook.count(events).await, 1, "only the contact that was added");
}

#[tokio::test]
async fn withheld_callers_have_a_thread_that_can_be_read_and_nobody_to_name() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, "anonymous", 11)).await;
    let withheld = thread(&callbook, "withheld").await;
    assert_eq!((&withheld["contact"], &withheld["unread_count"]), (&Value::Null, &json!(1)));
    let state = format!("/api/conversations/{}/state", withheld["id"].as_str().unwrap());
    patch(&callbook, &state, json!({ "archived": true, "read_up_to_call": call_sid(1) })).await;
    callbook.settled().await;
    let withheld = thread(&callbook, "withheld").await;
    assert_eq!((&withheld["status"], &withheld["unread_count"]), (&json!("archived"), &json!(0)));
    callbook.verify().await;
}

#[tokio::test]
async fn the_live_stream_tells_of_edits_when_they_can_be_read() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let from = callbook.settled().await;
    let mut client = Client::with_entries(&callbook, from).await;
    let (contact, state) = paths(&callbook, CUSTOMER).await;
    patch(&callbook, &contact, json!({ "name": "Ann", "notes": "x", "tags": ["VIP"] })).await;
    let last = patch(&callbook, &state, json!({ "archived": true })).await.position();
    let frames = client.until(last).await;
    let told: Vec<(&str, &str)> = frames
        .iter()
        .filter(|frame| frame.event.ends_with(".updated"))
        .map(|frame| (frame.event.as_str(), frame.data["changed"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("contact.updated", "name"),
            ("contact.updated", "notes"),
            ("contact.updated", "tags"),
            ("conversation.updated", "archived"),
        ]
    );
    let renamed = frames.iter().find(|frame| frame.data["changed"] == "name").unwrap();
    assert_eq!((&renamed.data["handle"], &renamed.data["name"]), (&json!(CUSTOMER), &json!("Ann")));
    let archived = frames.last().unwrap();
    assert_eq!(archived.data["externalId"], CUSTOMER);
    let shown = thread(&callbook, CUSTOMER).await;
    assert_eq!(
        (&renamed.data["conversationId"], &archived.data["conversationId"]),
        (&shown["id"], &shown["id"])
    );
    assert_eq!(archived.data["asOf"], last);
    assert_eq!((&archived.data["unreadCount"], &archived.data["archived"]), (&json!(0), &json!(true)));
    assert_eq!(callbook.get(&contact).await["name"], "Ann", "it was folded before it was told");
}

#[tokio::test]
async fn an_edit_that_cannot_be_read_sets_the_party_aside_and_not_its_calls() {
    let callbook = Callbook::start().await;
    report(&callbook, &missed(1, CUSTOMER, 11)).await;
    let (contact, _) = paths(&callbook, CUSTOMER).await;
    patch(&callbook, &contact, json!({ "name": "Ann" })).await;
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('contact', $1, 2, 'contact.renamed', '7', '{}', '{}')",
    )
    .bind(CUSTOMER)
    .execute(&callbook.pool)
    .await
    .unwrap();
    callbook.settled().await;
    let held = quarantine::list(&mut callbook.pool.acquire().await.unwrap()).await.unwrap();
    let held: Vec<(&str, &str)> =
        held.iter().map(|held| (held.aggregate_type.as_str(), held.call_sid.as_str())).collect();
    assert_eq!(held, [("contact", CUSTOMER)]);
    report(&callbook, &missed(2, CUSTOMER, 12)).await;
    let stale = thread(&callbook, CUSTOMER).await;
    assert_eq!((&stale["stale"], &stale["unread_count"]), (&json!(true), &json!(2)));
    assert_eq!(stale["contact"]["name"], "Ann");
    callbook.verify().await;
    rebuild::rebuild(&callbook.pool, &callbook.ids().await, |_| {}).await.unwrap();
    assert_eq!(thread(&callbook, CUSTOMER).await, stale);

    let found = lint::lint(&callbook.pool, true, |_| {}).await.unwrap();
    assert_eq!(found.faults.len(), 1, "{found:?}");
    assert_eq!((found.faults[0].event_type.as_str(), found.faults[0].count), ("contact.renamed", 1));
    let fold = Fold::from(&callbook.ids().await);
    let retried = quarantine::retry(&callbook.pool, &fold, None).await.unwrap();
    assert_eq!(retried.kept.len(), 1, "{retried:?}");
}

#[tokio::test]
async fn the_moments_of_a_thread_are_its_calls_and_what_people_did_and_lead_to_what_it_was() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-status", &missed(1, CUSTOMER, 10)).await;
    callbook.settled().await;
    let id = callbook.ids().await.conversation(CUSTOMER);
    let thread = callbook.get(&format!("/api/conversations/{id}")).await;
    let contact = thread["contact"]["id"].as_str().unwrap();
    let renamed = patch(&callbook, &format!("/api/contacts/{contact}"), json!({ "name": "Jane" })).await;
    patch(&callbook, &format!("/api/conversations/{id}/state"), json!({ "archived": true })).await;
    callbook.twilio().send("voice-status", &outgoing(2, CUSTOMER, 20)).await;
    callbook.twilio().send("voice-status", &missed(3, "+19788447773", 30)).await;
    let position = callbook.settled().await;

    let path = format!("/api/conversations/{id}/moments");
    let all = callbook.get(&path).await;
    let moments = all["moments"].as_array().unwrap();
    let told: Vec<_> =
        moments.iter().map(|moment| (moment["type"].as_str().unwrap(), &moment["call_sid"])).collect();
    assert_eq!(
        told,
        [
            ("call.created", &json!(call_sid(2))),
            ("conversation.archived", &Value::Null),
            ("contact.renamed", &Value::Null),
            ("call.created", &json!(call_sid(1))),
        ]
    );
    assert_eq!((&all["position"], &all["next_before"]), (&json!(position), &Value::Null));
    assert_eq!(moments[0]["status"], "completed");
    assert_eq!(moments[2]["position"], renamed.body["position"]);

    let mut then = Vec::new();
    for moment in moments {
        let past = format!("/api/conversations/{id}/messages?as_of={}", moment["position"]);
        let past = callbook.get(&past).await;
        then.push((past["total"].clone(), past["messages"][0]["contact"]["display_name"].clone()));
    }
    let number = json!("+1 (508) 514-0320");
    let (one, two, jane) = (json!(1), json!(2), json!("Jane"));
    assert_eq!(then, [(two, jane.clone()), (one.clone(), jane.clone()), (one.clone(), jane), (one, number)]);

    let mut paged = Vec::new();
    let mut next = Value::Null;
    loop {
        let before = next.as_i64().map_or_else(String::new, |before| format!("&before={before}"));
        let page = callbook.get(&format!("{path}?limit=3{before}")).await;
        paged.extend(page["moments"].as_array().unwrap().clone());
        next = page["next_before"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(&paged, moments);
    assert_eq!(callbook.fetch("/api/conversations/1/moments").await.0, 404);
    callbook.stop().await;
}
