//! What the client asks of Twilio and what the simulated Twilio answers, by Twilio's own OpenAPI document.
//!
//! The document is not part of the project: it lies in the shared folder, and without it these tests say so.

mod document;
mod examples;
mod forms;
mod proxy;
mod refusal;
mod rejections;
mod schema;

use std::collections::BTreeSet;
use std::time::Duration;

use callbook::reconcile::{Job, Window};
use callbook::simulator::Faults;
use callbook::twilio::client::{
    CallFilter, CallWith, Client, ClientError, MediaFormat, NewCall, NewMessage, Pace, Page, RecordingFilter,
    Sender, Settings,
};
use domain::call::CallStatus;
use futures::TryStreamExt;
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;

use self::document::Document;
use self::proxy::{Exchange, Proxy};
use crate::support::client::{http, incoming};
use crate::support::twilio_api::TwilioApi;
use crate::support::{ACCOUNT_SID, AUTH_TOKEN, CUSTOMER, Callbook, OURS, call_sid};

/// Every scenario is among this many families of a seed.
const FAMILIES: u64 = 60;

/// A simulated Twilio, and a client of it that is listened to.
struct Overheard {
    twilio: TwilioApi,
    proxy: Proxy,
    client: Client,
}

impl Overheard {
    async fn start() -> Self {
        let mut twilio = TwilioApi::start().await;
        let proxy = Proxy::to(&twilio.url).await;
        twilio.url.clone_from(&proxy.url);
        let client = client(&proxy.url, AUTH_TOKEN);
        Self { twilio, proxy, client }
    }

    /// Every resource of a list, page by page.
    async fn all(&self, first: Result<Page, ClientError>) -> Vec<Value> {
        let mut page = first.unwrap();
        let mut all = Vec::new();
        loop {
            all.extend(page.resources);
            match page.next {
                Some(next) => page = self.client.next(&next).await.unwrap(),
                None => return all,
            }
        }
    }

    async fn calls(&self, filter: CallFilter) -> Vec<Value> {
        self.all(self.client.calls(&filter).await).await
    }

    /// What the client has no use for. `path` is what follows the account.
    async fn get(&self, path: &str) -> Value {
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/{path}", self.proxy.url);
        let response = http().get(url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }
}

fn client(url: &str, token: &str) -> Client {
    let settings = Settings {
        base_url: url.to_owned(),
        account_sid: ACCOUNT_SID.to_owned(),
        username: ACCOUNT_SID.to_owned(),
        password: SecretString::from(token),
        at_once: 4,
    };
    let (first, longest) = (Duration::from_millis(5), Duration::from_millis(20));
    let quick = Pace { first, longest, tries: 20, ..Pace::default() };
    Client::with_pace(settings, quick).unwrap()
}

fn call(to: &str, with: CallWith) -> NewCall {
    NewCall {
        to: to.to_owned(),
        from: OURS.to_owned(),
        with,
        status_callback: Some("https://callbook.example/webhooks/twilio/call-status?leg=1".to_owned()),
        recording_callback: Some("https://callbook.example/webhooks/twilio/recording-status".to_owned()),
        timeout: Some(25),
        record: true,
    }
}

fn message(from: Sender) -> NewMessage {
    NewMessage {
        to: CUSTOMER.to_owned(),
        from,
        body: "We missed your call & call back: 100 % sure + soon 👍".to_owned(),
        status_callback: Some("https://callbook.example/webhooks/twilio/sms-status".to_owned()),
    }
}

fn sid(resource: &Value) -> &str {
    resource["sid"].as_str().unwrap()
}

/// Every exchange is as the document says; all that is wrong is told at once, each kind once.
fn assert_as_documented(document: &Document, exchanges: &[Exchange]) {
    let mut wrong = BTreeSet::new();
    for exchange in exchanges {
        let status = exchange.answer.as_ref().map(|answer| answer.status);
        let name = document.operation(exchange).unwrap_or(&exchange.path);
        for violation in document.check(exchange) {
            wrong.insert(format!("{name} ({status:?}): {violation}"));
        }
    }
    let told: Vec<&String> = wrong.iter().take(40).collect();
    assert!(wrong.is_empty(), "{} kinds of violations, such as {told:#?}", wrong.len());
}

/// What was asked for, by the names of the document.
fn operations<'a>(document: &'a Document, exchanges: &[Exchange]) -> BTreeSet<&'a str> {
    exchanges.iter().filter_map(|exchange| document.operation(exchange)).collect()
}

/// The values of a field in all answers to these operations, as JSON.
fn values(document: &Document, exchanges: &[Exchange], operation: &str, field: &str) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for exchange in exchanges.iter().filter(|exchange| document.operation(exchange) == Some(operation)) {
        let Some(body) = exchange.answer.as_ref().and_then(|answer| answer.json()) else { continue };
        let lists: Vec<&Value> =
            body.as_object().unwrap().values().filter(|value| value.is_array()).collect();
        let resources: Vec<&Value> = match lists.as_slice() {
            [Value::Array(resources)] => resources.iter().collect(),
            _ => vec![&body],
        };
        values.extend(resources.iter().filter_map(|resource| resource.get(field)).map(Value::to_string));
    }
    values
}

fn includes(values: &BTreeSet<String>, expected: &[&str]) {
    for value in expected {
        assert!(values.contains(*value), "{value} is not among {values:?}");
    }
}

#[tokio::test]
async fn what_the_client_asks_and_what_is_answered_at_every_moment_of_a_call_is_as_twilios_document_says() {
    let Some(document) = Document::open() else { return };
    let overheard = Overheard::start().await;
    let (twilio, client) = (&overheard.twilio, &overheard.client);
    twilio.place_many(7, FAMILIES, twilio.now(), time::Duration::minutes(5));
    for _ in 0..40 {
        twilio.pass(time::Duration::seconds(14));
        overheard.calls(CallFilter { page_size: Some(50), ..CallFilter::default() }).await;
        overheard.all(client.recordings(&RecordingFilter::default()).await).await;
    }
    for with in [
        CallWith::Url("https://callbook.example/twiml?a=1&b=2".to_owned()),
        CallWith::Twiml("<Response><Say>Hello & good bye</Say></Response>".to_owned()),
        CallWith::Application("AP00000000000000000000000000000001".to_owned()),
    ] {
        client.create_call(&call(CUSTOMER, with)).await.unwrap();
    }
    let bare = NewCall {
        status_callback: None,
        recording_callback: None,
        timeout: None,
        record: false,
        ..call("client:dispatcher", CallWith::Twiml("<Response/>".to_owned()))
    };
    client.create_call(&bare).await.unwrap();
    let service = Sender::Service("MG00000000000000000000000000000001".to_owned());
    let mut messages = Vec::new();
    for from in [Sender::Number(OURS.to_owned()), service] {
        messages.push(client.create_message(&message(from)).await.unwrap());
    }
    for _ in 0..6 {
        for status in [CallStatus::Queued, CallStatus::Ringing, CallStatus::InProgress] {
            overheard.calls(CallFilter { status: Some(status), ..CallFilter::default() }).await;
        }
        for message in &messages {
            overheard.get(&format!("Messages/{}.json", sid(message))).await;
        }
        twilio.pass(time::Duration::seconds(2));
    }
    twilio.pass(time::Duration::HOUR);

    let exchanges = overheard.proxy.seen();
    assert_as_documented(&document, &exchanges);
    let of_calls = |field| values(&document, &exchanges, "ListCall", field);
    let ended = ["completed", "busy", "failed", "no-answer", "canceled"].map(|name| format!("{name:?}"));
    includes(&of_calls("status"), &["\"queued\"", "\"ringing\"", "\"in-progress\""]);
    includes(&of_calls("status"), &ended.each_ref().map(String::as_str));
    includes(&of_calls("direction"), &["\"inbound\"", "\"outbound-api\"", "\"outbound-dial\""]);
    includes(&of_calls("duration"), &["null", "\"\"", "\"0\""]);
    for field in ["price", "parent_call_sid", "start_time", "end_time", "forwarded_from", "phone_number_sid"]
    {
        includes(&of_calls(field), &["null"]);
        assert!(of_calls(field).len() > 1, "{field} has a value");
    }
    includes(&values(&document, &exchanges, "ListRecording", "status"), &["\"processing\"", "\"completed\""]);
    includes(&values(&document, &exchanges, "FetchMessage", "status"), &["\"queued\"", "\"sent\""]);
}

#[tokio::test]
async fn every_list_with_every_filter_and_every_resource_is_as_twilios_document_says() {
    let Some(document) = Document::open() else { return };
    let overheard = Overheard::start().await;
    let (twilio, client) = (&overheard.twilio, &overheard.client);
    let begun = twilio.now() - time::Duration::hours(3);
    twilio.place_many(7, FAMILIES, begun, time::Duration::HOUR);

    let calls = overheard.calls(CallFilter { page_size: Some(7), ..CallFilter::default() }).await;
    let child = calls.iter().find(|call| call["parent_call_sid"].is_string()).unwrap();
    let filter = CallFilter {
        started_from: Some(begun + time::Duration::milliseconds(1)),
        started_before: Some(twilio.now()),
        status: Some(CallStatus::Completed),
        parent: Some(child["parent_call_sid"].as_str().unwrap().parse().unwrap()),
        to: Some(child["to"].as_str().unwrap().to_owned()),
        from: Some(child["from"].as_str().unwrap().to_owned()),
        page_size: Some(1000),
    };
    overheard.calls(filter).await;
    for call in &calls {
        client.call(&sid(call).parse().unwrap()).await.unwrap();
        overheard.all(client.recordings_of(&sid(call).parse().unwrap()).await).await;
    }
    let filter =
        RecordingFilter { created_from: Some(begun), created_before: Some(twilio.now()), page_size: Some(3) };
    let recordings = overheard.all(client.recordings(&filter).await).await;
    let recorded: callbook::twilio::resource::Recording = (&recordings[0]).try_into().unwrap();
    for range in [None, Some("bytes=0-3"), Some("bytes=99999999-")] {
        let media = client.media(&recorded.sid, MediaFormat::Wav, range).await.unwrap();
        media.bytes.try_collect::<Vec<_>>().await.unwrap();
    }
    assert!(client.media(&recorded.sid, MediaFormat::Mp3, None).await.unwrap_err().is_not_found());
    overheard.all(client.incoming_numbers().await).await;
    let sent = client.create_message(&message(Sender::Number(OURS.to_owned()))).await.unwrap();
    client.create_call(&call(CUSTOMER, CallWith::Twiml("<Response/>".to_owned()))).await.unwrap();

    // The rest of what the simulated Twilio understands.
    let parent = child["parent_call_sid"].as_str().unwrap();
    let recording = sid(&recordings[0]);
    for path in [
        "Calls.json?StartTime%3E=2026-01-01T00:00:00Z&EndTime%3C=2126-01-01T00:00:00Z&PageSize=2&Page=1"
            .to_owned(),
        "Calls.json?EndTime%3E=2026-01-01T00%3A00%3A00Z&StartTime=2126-01-01T00%3A00%3A00Z".to_owned(),
        format!("Calls/{parent}/Recordings.json?DateCreated%3E=2026-01-01"),
        format!("Recordings.json?CallSid={parent}"),
        format!("Recordings/{recording}.json"),
        format!("Messages/{}.json", sid(&sent)),
        "Messages.json?DateSent%3E=2026-01-01T00%3A00%3A00Z&PageSize=1".to_owned(),
        "IncomingPhoneNumbers.json?PhoneNumber=%2B1617".to_owned(),
    ] {
        overheard.get(&path).await;
    }

    let exchanges = overheard.proxy.seen();
    assert_as_documented(&document, &exchanges);
    let asked = operations(&document, &exchanges);
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        [
            "CreateCall",
            "CreateMessage",
            "FetchCall",
            "FetchMessage",
            "FetchRecording",
            "ListCall",
            "ListCallRecording",
            "ListIncomingPhoneNumber",
            "ListMessage",
            "ListRecording",
        ]
    );
    assert!(values(&document, &exchanges, "ListCallRecording", "track").contains("\"both\""));
}

#[tokio::test]
async fn what_is_looked_for_after_a_lost_answer_is_as_twilios_document_says() {
    let Some(document) = Document::open() else { return };
    let overheard = Overheard::start().await;
    let client = &overheard.client;
    overheard.twilio.world.set_faults(Faults {
        seed: 3,
        lost_answers: 0.7,
        too_many_requests: 0.1,
        retry_after: Some(Duration::from_secs(0)),
        server_errors: 0.1,
        ..Faults::default()
    });
    for _ in 0..10 {
        // What is made after a request is not older than that, however slow this machine is.
        overheard.twilio.pass(time::Duration::MINUTE);
        client.create_call(&call(CUSTOMER, CallWith::Twiml("<Response/>".to_owned()))).await.unwrap();
        client.create_message(&message(Sender::Number(OURS.to_owned()))).await.unwrap();
        let service = Sender::Service("MG00000000000000000000000000000001".to_owned());
        client.create_message(&message(service)).await.unwrap();
    }
    let exchanges = overheard.proxy.seen();
    assert_as_documented(&document, &exchanges);
    assert!(exchanges.iter().any(|exchange| exchange.answer.is_none()), "answers were lost");
    let asked = operations(&document, &exchanges);
    assert!(asked.contains("ListCall") && asked.contains("ListMessage"), "{asked:?}");
    includes(
        &values(&document, &exchanges, "CreateMessage", "messaging_service_sid"),
        &["null", "\"MG00000000000000000000000000000001\""],
    );
}

#[tokio::test]
async fn refusals_have_twilios_shape() {
    let Some(document) = Document::open() else { return };
    let overheard = Overheard::start().await;
    let (twilio, client) = (&overheard.twilio, &overheard.client);
    let unknown = call_sid(404).parse().unwrap();
    client.call(&unknown).await.unwrap_err();
    client.recordings_of(&unknown).await.unwrap_err();
    self::client(&overheard.proxy.url, "wrong").call(&unknown).await.unwrap_err();
    client.create_call(&call("+1", CallWith::Twiml("<Response/>".to_owned()))).await.unwrap_err();
    let not_ours = Sender::Number(CUSTOMER.to_owned());
    client.create_message(&message(not_ours)).await.unwrap_err();
    for faults in [
        Faults { suspended: true, ..Faults::default() },
        Faults { wrong_credentials: true, ..Faults::default() },
        Faults { too_many_requests: 1.0, retry_after: Some(Duration::ZERO), ..Faults::default() },
        Faults { server_errors: 1.0, ..Faults::default() },
    ] {
        twilio.world.set_faults(faults);
        client.incoming_numbers().await.unwrap_err();
    }
    let exchanges = overheard.proxy.seen();
    assert_as_documented(&document, &exchanges);
    let refused: BTreeSet<u16> =
        exchanges.iter().filter_map(|exchange| Some(exchange.answer.as_ref()?.status)).collect();
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), [400, 401, 403, 404, 429, 500, 503]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_reconcile_asks_for_is_as_twilios_document_says() {
    let Some(document) = Document::open() else { return };
    let overheard = Overheard::start().await;
    let twilio = &overheard.twilio;
    let now = twilio.now();
    twilio.place_many(7, FAMILIES, now - time::Duration::hours(40), time::Duration::hours(39));
    // Going on, and missing.
    twilio.place_many(8, FAMILIES, now - time::Duration::minutes(2), time::Duration::minutes(2));
    let callbook = Callbook::asking(twilio, &[]).await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;

    let reconciler = callbook.app.state.reconciler.clone().unwrap();
    let epoch = callbook.epoch().await;
    let window = Window::try_new(now - time::Duration::DAY, Some(now - time::Duration::HOUR), now).unwrap();
    let jobs = [
        Job::Initial,
        Job::Hot,
        Job::Warm,
        Job::Cold,
        Job::Today,
        Job::Recent,
        Job::Range(window),
        Job::Cold,
    ];
    for job in jobs {
        reconciler.perform(job, Some(epoch), |_| {}).await.unwrap();
        callbook.settled().await;
        twilio.pass(time::Duration::minutes(20));
    }

    let exchanges = overheard.proxy.seen();
    assert_as_documented(&document, &exchanges);
    let asked = operations(&document, &exchanges);
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["FetchCall", "ListCall", "ListRecording"]);
    assert!(exchanges.iter().any(|exchange| exchange.answer.as_ref().unwrap().status == 404));
    callbook.stop().await;
}
