//! Traces, as a collector gets them, and the name of a request, from a webhook's header to its event.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use callbook::twilio::form::Form;
use callbook::twilio::signature;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::binary::{Process, command, data_dir};
use crate::support::client::{http, incoming};
use crate::support::{AUTH_TOKEN, CUSTOMER, Callbook, OURS, call_sid};

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    received.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_spans_of_requests_and_no_path_and_no_number() {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

    let folder = data_dir();
    let mut command = command(folder.path());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector);
    let callbook = tokio::task::spawn_blocking(move || Process::run(command)).await.unwrap();
    callbook.reached(5).await;
    let url = format!("{}/api/conversations/7?number=%2B15085140320", callbook.url);
    let answer = http().get(url).header("x-request-id", "trace-me").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    callbook.signal("INT");
    assert_eq!(tokio::task::spawn_blocking(move || callbook.ended()).await.unwrap(), Some(0));

    let received = received.lock().unwrap();
    let resources: Vec<_> = received.iter().flat_map(|request| &request.resource_spans).collect();
    let service = text(&resources[0].resource.as_ref().unwrap().attributes, "service.name");
    assert_eq!(service.as_deref(), Some("callbook"));
    let spans: Vec<_> =
        resources.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).collect();
    let ours = spans
        .iter()
        .find(|span| text(&span.attributes, "request_id").as_deref() == Some("trace-me"))
        .unwrap();
    assert_eq!(ours.name, "http.request");
    assert_eq!(text(&ours.attributes, "route").as_deref(), Some("/api/conversations/{id}"));
    assert_eq!(text(&ours.attributes, "status").as_deref(), Some("404"));
    assert!(ours.end_time_unix_nano > ours.start_time_unix_nano);
    assert!(spans.iter().any(|span| span.name == "ingest.batch"), "the worker's are told as well");
    let all = format!("{received:?}");
    for personal in ["5085140320", "6175006181", "/conversations/7", env!("CARGO_MANIFEST_DIR")] {
        assert!(!all.contains(personal), "{personal} was sent");
    }
}

#[tokio::test]
async fn a_webhooks_request_id_is_in_its_row_and_in_its_event() {
    let callbook = Callbook::start().await;
    let params = incoming(&call_sid(1), CUSTOMER, OURS);
    let url = format!("{}/webhooks/twilio/voice-inbound", callbook.url);
    let answer = http()
        .post(&url)
        .header("X-Twilio-Signature", signature::sign(&SecretString::from(AUTH_TOKEN), &url, &params))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Request-Id", "proxy-17")
        .body(Form(params).encode())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "proxy-17");
    callbook.settled().await;
    let named = "select count(*) from call_events e join twilio_webhook_inbox i
                     on i.id::text = e.metadata ->> 'inbox_id'
                  where e.metadata ->> 'request_id' = 'proxy-17' and i.request_id = 'proxy-17'";
    assert_eq!(callbook.count(named).await, 1);
}
