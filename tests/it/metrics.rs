//! What a monitoring system is told.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::client::{http, incoming, pairs, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

/// A family of metrics as the text format has it: its kind, and its samples by name and labels.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<String, String>,
}

/// Parses the text format, and insists on what it asks for: HELP, then TYPE, then the samples of that family together.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name), "{name} has a type and no help");
            let new = families.insert(name.to_owned(), Family { kind: kind.to_owned(), ..Family::default() });
            assert!(new.is_none(), "{name} has two types");
            current = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let family = families.get_mut(&current).unwrap();
            let suffixes: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(
                suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(&current)),
                "{line} stands below {current}"
            );
            let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            assert!(name.chars().all(valid), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let before = family.samples.insert(series.to_owned(), value.to_owned());
            assert!(before.is_none(), "{series} twice");
        }
    }
    families
}

async fn told(callbook: &Callbook) -> (String, BTreeMap<String, Family>) {
    let response = http().get(format!("{}/metrics", callbook.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let families = parse(&text);
    (text, families)
}

/// As it stands there.
fn value<'a>(families: &'a BTreeMap<String, Family>, series: &str) -> &'a str {
    let name = series.split('{').next().unwrap();
    let family = &families[name];
    family.samples.get(series).unwrap_or_else(|| panic!("{series} is not among {:?}", family.samples))
}

fn number(families: &BTreeMap<String, Family>, series: &str) -> f64 {
    value(families, series).parse().unwrap()
}

#[tokio::test]
async fn what_came_of_a_call_is_counted_and_nobodys_number_is_told() {
    let callbook = Callbook::start().await;
    callbook.epoch().await;
    let twilio = callbook.twilio();
    twilio.send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let rings = status(
        &call_sid(2),
        Some(&call_sid(1)),
        CUSTOMER,
        DISPATCHER,
        "ringing",
        0,
        "Sun, 08 Feb 2026 06:00:00 +0000",
    );
    twilio.send("voice-status", &rings).await;
    // It means nothing, and is a dead letter.
    twilio.send("voice-status", &pairs(&[("CallStatus", "ringing")])).await;
    assert_eq!(twilio.post("voice-status", &[]).await.status(), 204, "signed, and as meaningless");
    let head = callbook.settled().await;
    let (status, _) = callbook.fetch("/api/conversations/7").await;
    assert_eq!(status, 404);

    let events = callbook.count("select count(*) from call_events").await;
    let (text, families) = told(&callbook).await;
    for (series, expected) in [
        ("callbook_ingest_rows_total{outcome=\"recorded\"}", "2"),
        ("callbook_ingest_rows_total{outcome=\"refused\"}", "2"),
        ("callbook_inbox_waiting", "0"),
        ("callbook_inbox_dead_letters", "2"),
        ("callbook_log_head_position", &head.to_string()),
        ("callbook_projection_position", &head.to_string()),
        ("callbook_projection_lag_events", "0"),
        ("callbook_projection_lag_seconds", "0"),
        ("callbook_projection_stopped", "0"),
        ("callbook_commit_events_total", &events.to_string()),
        ("callbook_lease_held", "1"),
        ("callbook_database_up", "1"),
        (
            "callbook_http_requests_total{method=\"POST\",route=\"/webhooks/twilio/voice-inbound\",status=\"2xx\"}",
            "1",
        ),
        (
            "callbook_http_requests_total{method=\"GET\",route=\"/api/conversations/{id}\",status=\"4xx\"}",
            "1",
        ),
    ] {
        assert_eq!(value(&families, series), expected, "{series}");
    }
    // On a busy machine some go by the spool.
    for (endpoint, expected) in [("call-inbound", 1.0), ("call-status", 3.0), ("dial-action", 0.0)] {
        let kept = ["inbox", "spool"].map(|kept| {
            let labels = format!("endpoint=\"{endpoint}\",kept=\"{kept}\"");
            number(&families, &format!("callbook_webhooks_received_total{{{labels}}}"))
        });
        assert!((kept[0] + kept[1] - expected).abs() < 0.5, "{endpoint}: {kept:?}");
    }
    assert_eq!(families["callbook_http_request_seconds"].kind, "histogram");
    assert!(number(&families, "process_resident_memory_bytes") > 1_000_000.0);
    assert!(number(&families, "process_open_fds") > 3.0);
    assert!(number(&families, "process_start_time_seconds") > 1_700_000_000.0);
    for number in [CUSTOMER, OURS, "5085140320", "dispatcher"] {
        assert!(!text.contains(number), "{number} is told");
    }
    assert!(!text.contains(&call_sid(1)), "a SID would be a series of its own");
}

#[tokio::test]
async fn what_only_the_database_knows_is_unknown_while_it_is_away_and_the_rest_is_told() {
    let callbook = Callbook::on_its_own_server(&[]).await;
    callbook.epoch().await;
    callbook.server().stop().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;

    let (_, families) = told(&callbook).await;
    assert_eq!(value(&families, "callbook_database_up"), "0");
    assert!(number(&families, "callbook_inbox_waiting").is_nan());
    assert!(number(&families, "callbook_log_head_position").is_nan());
    assert_eq!(value(&families, "callbook_spool_waiting"), "1");
    let spooled = "callbook_webhooks_received_total{endpoint=\"call-inbound\",kept=\"spool\"}";
    assert_eq!(value(&families, spooled), "1");

    callbook.server().start().await;
    callbook.drained().await;
    // Connections of the pool that broke are found one by one.
    let families = loop {
        let (_, families) = told(&callbook).await;
        if value(&families, "callbook_database_up") == "1" {
            break families;
        }
    };
    assert!(number(&families, "callbook_log_head_position") >= 0.0);
    assert_eq!(value(&families, "callbook_spool_waiting"), "0");
    callbook.stop().await;
}

#[tokio::test]
async fn runs_of_the_jobs_and_requests_to_twilio_are_counted() {
    let twilio = crate::support::twilio_api::TwilioApi::start().await;
    let callbook = Callbook::asking(&twilio, &[]).await;
    crate::support::twilio_api::perform(&callbook, callbook::reconcile::Job::Hot).await;

    let (_, families) = told(&callbook).await;
    let runs = "callbook_reconcile_runs_total{job=\"reconcile_hot\",result=\"succeeded\"}";
    assert_eq!(value(&families, runs), "1");
    assert!(number(&families, "callbook_twilio_requests_total{result=\"answered\"}") >= 1.0);
    assert_eq!(value(&families, "callbook_twilio_requests_total{result=\"lost\"}"), "0");
    let last = "callbook_reconcile_last_success_timestamp_seconds{job=\"reconcile_hot\"}";
    assert!((number(&families, last) - twilio.now().unix_timestamp() as f64).abs() < 2.0);
}
