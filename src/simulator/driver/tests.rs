use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use clap::Parser;
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::simulator::script::tests::account;
use crate::simulator::{SimulateArgs, command};
use crate::twilio::form::Form;
use crate::twilio::signature::{SignedBody, verify};

const PUBLIC: &str = "https://calls.example.com";
const TWIML: &str = r##"<?xml version="1.0" encoding="UTF-8"?><Response><Dial
    action="/webhooks/twilio/dial-action?family=1&amp;x=%2B#rc=2&amp;rp=5xx,ct"
    recordingStatusCallback="https://calls.example.com/webhooks/twilio/recording-status?of=dial">
    <Sip statusCallback="https://calls.example.com/webhooks/twilio/voice-status?leg=child#rc=2&amp;rp=5xx,ct"
         statusCallbackEvent="initiated ringing answered completed">sip:dispatcher@example.com</Sip>
    </Dial></Response>"##;

/// A callbook that accepts everything, as told, and remembers it.
struct Listener {
    url: String,
    heard: Arc<Heard>,
}

struct Heard {
    health: &'static str,
    twiml: &'static str,
    /// This many requests to a URL that asks for retries are answered 503.
    refusals: AtomicU32,
    webhooks: Mutex<Vec<Webhook>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Webhook {
    /// Path and query.
    uri: String,
    token: String,
    signed: bool,
    body: Bytes,
    params: BTreeMap<String, String>,
}

impl Listener {
    async fn start(health: &'static str, twiml: &'static str, refusals: u32) -> Listener {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let refusals = AtomicU32::new(refusals);
        let heard = Arc::new(Heard { health, twiml, refusals, webhooks: Mutex::default() });
        let router = Router::new().fallback(hear).with_state(heard.clone());
        tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Listener { url, heard }
    }

    async fn simulated() -> Listener {
        Listener::start(r#"{"status":"healthy","simulated":true}"#, TWIML, 0).await
    }

    fn driver(&self) -> Driver {
        Driver::new(&self.url, PUBLIC, account()).unwrap()
    }

    fn webhooks(&self) -> Vec<Webhook> {
        self.heard.webhooks.lock().unwrap().clone()
    }
}

async fn hear(State(heard): State<Arc<Heard>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if uri.path() == "/health" {
        return heard.health.into_response();
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Form(params) = Form::parse(&body).unwrap();
    let signature = header("X-Twilio-Signature");
    heard.webhooks.lock().unwrap().push(Webhook {
        uri: uri.to_string(),
        token: header("I-Twilio-Idempotency-Token").to_owned(),
        signed: verify(
            &account().auth_token,
            &format!("{PUBLIC}{uri}"),
            SignedBody::Form(&params),
            signature,
        ),
        params: params.into_iter().collect(),
        body: body.clone(),
    });
    if uri.query().is_some()
        && heard.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    match uri.path() {
        "/webhooks/twilio/voice-inbound" => heard.twiml.into_response(),
        "/webhooks/twilio/dial-action" => "<Response/>".into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

fn fast(calls: u64, disturbance: Disturbance) -> Options {
    Options { calls, rate_per_second: 10_000.0, speed: 100_000.0, seed: 11, disturbance, first_index: 0 }
}

#[tokio::test]
async fn a_run_sends_every_request_signed_and_says_what_must_come_out() {
    let callbook = Listener::simulated().await;
    let mut last_seen = 0;
    let report =
        callbook.driver().run(fast(60, Disturbance::NONE), |report| last_seen = report.sent).await.unwrap();

    let webhooks = callbook.webhooks();
    assert!(webhooks.iter().all(|webhook| webhook.signed), "not signed as Twilio signs");
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.sent, webhooks.len() as u64);
    assert_eq!(report.sent, last_seen);
    assert_eq!(report.calls_ended, 60);
    assert_eq!(report.sent_to.values().sum::<u64>(), report.sent);
    let mut expected = Vec::new();
    for index in 0..60 {
        let script = Script::generate(11, index, &account(), OffsetDateTime::UNIX_EPOCH);
        for request in &script.requests {
            let got: Vec<_> = webhooks.iter().filter(|w| w.token == request.idempotency_token).collect();
            assert_eq!(got.len(), 1, "{request:?}");
            let is_fixed = |name: &str| !matches!(name, "Timestamp" | "RecordingStartTime");
            for (name, value) in request.params.iter().filter(|(name, _)| is_fixed(name)) {
                assert_eq!(got[0].params.get(name), Some(value), "{name} of {request:?}");
            }
        }
        expected.extend(script.expected);
    }
    assert_eq!(report.expected, expected);
}

#[tokio::test]
async fn callbacks_go_to_the_urls_that_the_twiml_gave() {
    let callbook = Listener::simulated().await;
    callbook.driver().run(fast(60, Disturbance::NONE), |_| {}).await.unwrap();
    for webhook in callbook.webhooks() {
        let is_child = webhook.params.contains_key("ParentCallSid");
        let expected = match webhook.uri.split('?').next().unwrap().rsplit('/').next().unwrap() {
            "voice-inbound" => "/webhooks/twilio/voice-inbound",
            "voice-status" if is_child => "/webhooks/twilio/voice-status?leg=child",
            "voice-status" => "/webhooks/twilio/voice-status",
            "dial-action" => "/webhooks/twilio/dial-action?family=1&x=%2B",
            _ => "/webhooks/twilio/recording-status?of=dial",
        };
        assert_eq!(webhook.uri, expected);
    }
}

#[tokio::test]
async fn a_repeat_is_the_same_request_byte_for_byte() {
    let callbook = Listener::simulated().await;
    let everything_twice = Disturbance { repeat: 1.0, late: 0.2, reorder: 0.5, drop: 0.0 };
    let report = callbook.driver().run(fast(60, everything_twice), |_| {}).await.unwrap();
    let mut by_token: BTreeMap<String, Vec<Webhook>> = BTreeMap::new();
    for webhook in callbook.webhooks() {
        by_token.entry(webhook.token.clone()).or_default().push(webhook);
    }
    assert!(by_token.values().all(|sendings| sendings.len() == 2 && sendings[0] == sendings[1]));
    assert_eq!(report.repeated * 2, report.sent);
    assert!(report.late > 0 && report.reordered > 0);
}

#[tokio::test]
async fn a_callbook_with_a_real_account_is_refused() {
    for health in [r#"{"status":"healthy"}"#, r#"{"status":"healthy","simulated":false}"#, "ok"] {
        let callbook = Listener::start(health, TWIML, 0).await;
        let driver = callbook.driver();
        let error = driver.run(fast(1, Disturbance::NONE), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("does not say that its account is simulated"), "{error}");
        let forever =
            driver.place_calls_forever(60.0, 1.0, Disturbance::NONE, CancellationToken::new()).await;
        assert!(matches!(forever, Err(DriverError::NotSimulated { .. })));
        assert_eq!(callbook.webhooks(), []);
    }
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_so() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    drop(socket);
    let driver = Driver::new(&url, PUBLIC, account()).unwrap();
    let error = driver.run(fast(1, Disturbance::NONE), |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no callbook answers at {url}/health"));
    // A webhook that finds no connection is tried once more, and then given up.
    let script = Script::generate(1, 0, &account(), OffsetDateTime::UNIX_EPOCH);
    let standard = driver.addresses.standard(Endpoint::VoiceStatus);
    let delivered = driver.deliver(&script.requests[0], &standard).await;
    assert_eq!((delivered.retries, delivered.answer.status()), (1, None));
}

#[tokio::test]
async fn a_refused_callback_is_tried_again_when_its_url_asks_for_that() {
    let callbook = Listener::start(r#"{"simulated":true}"#, TWIML, 2).await;
    let report = callbook.driver().run(fast(1, Disturbance::NONE), |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.retries, 2);
    assert_eq!(callbook.webhooks().len() as u64, report.sent + 2);
}

#[tokio::test]
async fn answers_that_twilio_could_not_use_are_counted_and_the_calls_go_on() {
    for (twiml, complaint) in [
        ("internal error", "voice-inbound: the answer is not a <Response>"),
        ("<Response/>", "voice-inbound: the TwiML has no <Dial action>"),
        (
            r#"<Response><Dial action="/webhooks/twilio/dial-action"><Sip statusCallback="https://elsewhere.example/s"/></Dial></Response>"#,
            "voice-inbound: statusCallback of what is dialled https://elsewhere.example/s is not below the webhook base URL",
        ),
    ] {
        let callbook = Listener::start(r#"{"simulated":true}"#, twiml, 0).await;
        let report = callbook.driver().run(fast(60, Disturbance::NONE), |_| {}).await.unwrap();
        assert!(!report.is_clean());
        let fetches = report.sent_to[&Endpoint::VoiceInbound];
        assert_eq!(report.unexpected.get(complaint), Some(&fetches), "{:?}", report.unexpected);
        assert_eq!(report.accepted, report.sent);
        assert!(callbook.webhooks().iter().all(|webhook| webhook.signed));
    }
}

#[tokio::test]
async fn no_event_of_a_fast_run_lies_in_the_future() {
    let callbook = Listener::simulated().await;
    callbook.driver().run(fast(60, Disturbance::NONE), |_| {}).await.unwrap();
    let now = OffsetDateTime::now_utc();
    let rfc_2822 = time::format_description::well_known::Rfc2822;
    for timestamp in callbook.webhooks().iter().filter_map(|webhook| webhook.params.get("Timestamp")) {
        let told = OffsetDateTime::parse(timestamp, &rfc_2822).unwrap();
        assert!(told <= now && told > now - time::Duration::hours(1), "{timestamp}");
    }
}

#[tokio::test]
async fn calls_in_flight_are_ended_children_first() {
    let callbook = Listener::simulated().await;
    let ended_at = time::macros::datetime!(2026-02-08 06:11:30 UTC);
    let leg = |call_sid: &str, parent: Option<&str>, direction: &str, account_sid: &str| LegInFlight {
        call_sid: call_sid.into(),
        parent_call_sid: parent.map(str::to_owned),
        from: "+15085550111".into(),
        to: "+16175006181".into(),
        direction: direction.into(),
        account_sid: account_sid.into(),
        answered_at: parent.map(|_| ended_at - time::Duration::seconds(90)),
    };
    let ours = account().sid;
    let legs = vec![
        leg("CA1", None, "inbound", &ours),
        leg("CA2", Some("CA1"), "outbound-dial", &ours),
        leg("CA3", None, "inbound", "AC00000000000000000000000000000000"),
    ];
    let report = callbook.driver().end_calls_in_flight(legs, ended_at).await.unwrap();
    assert_eq!((report.accepted, report.unexpected.values().sum::<u64>()), (2, 1));
    let webhooks = callbook.webhooks();
    let told: Vec<_> = webhooks
        .iter()
        .map(|webhook| {
            assert!(webhook.signed);
            ["CallSid", "CallStatus", "SequenceNumber", "CallDuration", "Duration", "Timestamp"]
                .map(|name| webhook.params[name].as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["CA2", "completed", "3", "90", "2", "Sun, 08 Feb 2026 06:11:30 +0000"],
            ["CA1", "completed", "0", "0", "0", "Sun, 08 Feb 2026 06:11:30 +0000"],
        ]
    );
}

/// What a restarted callbook hears of a call is what it reads of it over REST.
#[tokio::test]
async fn a_call_that_ended_while_nobody_listened_is_told_as_the_world_knows_it() {
    let callbook = Listener::simulated().await;
    let begun = time::macros::datetime!(2026-02-08 06:00 UTC);
    let (hand, clock) = Clock::set(begun);
    let world = World::new(account(), clock);
    let an_hour_on = begun + time::Duration::HOUR;
    let script_at = |index: &u64, at| Script::generate(11, *index, &account(), at);
    let was_answered =
        |index: &u64| script_at(index, begun).legs.get(1).is_some_and(|leg| leg.answered.is_some());
    let mut indices = (0..60).filter(was_answered);
    let over = script_at(&indices.next().unwrap(), begun);
    let talking = script_at(&indices.next().unwrap(), an_hour_on);
    world.place(&over, begun, 1.0);
    world.place(&talking, an_hour_on, 1.0);
    let now = an_hour_on + talking.legs[1].answered.unwrap() + time::Duration::seconds(2);
    hand.send_replace(now);
    let in_flight = |leg: &script::Leg| LegInFlight {
        call_sid: leg.call_sid.clone(),
        parent_call_sid: leg.parent_call_sid.clone(),
        from: leg.from.clone(),
        to: leg.to.clone(),
        direction: leg.direction.to_owned(),
        account_sid: account().sid,
        answered_at: None,
    };
    let legs: Vec<_> = over.legs.iter().chain(&talking.legs).map(in_flight).collect();
    let driver = callbook.driver().with_world(world.clone());
    driver.end_calls_in_flight(legs, OffsetDateTime::now_utc()).await.unwrap();

    let truth = world.truth();
    assert!(truth.iter().all(|leg| leg.end_time <= now));
    let webhooks = callbook.webhooks();
    assert_eq!(webhooks.len(), 4);
    for webhook in webhooks {
        let leg = truth.iter().find(|leg| leg.call_sid == webhook.params["CallSid"]).unwrap();
        assert_eq!(webhook.params["CallStatus"], leg.status.name());
        assert_eq!(webhook.params["CallDuration"], leg.duration.to_string());
        assert_eq!(webhook.params["Timestamp"], script::rfc_2822(leg.end_time));
    }
}

#[tokio::test]
async fn the_servers_own_traffic_goes_on_until_it_is_cancelled() {
    let callbook = Listener::simulated().await;
    let cancel = CancellationToken::new();
    let driver = callbook.driver();
    let heard = async {
        while callbook.webhooks().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (ended, ()) =
        tokio::join!(driver.place_calls_forever(600.0, 1.0, Disturbance::NONE, cancel.clone()), heard);
    assert!(ended.is_ok());
    assert!(callbook.webhooks().iter().all(|webhook| webhook.signed));
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    simulate: SimulateArgs,
}

#[tokio::test]
async fn the_command_reports_what_was_sent_and_writes_what_must_come_out() {
    let callbook = Listener::simulated().await;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("expected.json");
    let args = ["simulate", "--calls", "60", "--rate", "10000", "--seed", "11", "--speed", "100000"];
    let mut args = Cli::parse_from(args).simulate;
    args.json = Some(json.clone());
    let mut out = Vec::new();
    let world = World::open(folder.path(), account(), Clock::System).unwrap();
    let report = command(args, world.clone(), &callbook.url, PUBLIC, &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(report.is_clean());
    assert!(out.contains(&format!("{} requests of 60 families of calls", report.sent)), "{out}");
    assert!(out.contains(&report.expected[0].call_sid), "{out}");
    assert!(out.contains("more; --json FILE writes them all"), "{out}");
    let written: Vec<ExpectedCall> = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(written, report.expected);
    let known = World::open(folder.path(), account(), Clock::System).unwrap().truth();
    assert_eq!(known, world.truth());
    assert_eq!(known.len(), report.expected.len(), "a callbook on this folder can ask for each");
}

#[tokio::test]
async fn rates_and_speeds_that_no_clock_can_count_are_refused() {
    let driver = Driver::new("http://127.0.0.1:1", PUBLIC, account()).unwrap();
    for bad in [0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY] {
        for options in [
            Options { rate_per_second: bad, ..fast(1, Disturbance::NONE) },
            Options { speed: bad, ..fast(1, Disturbance::NONE) },
        ] {
            let error = driver.run(options, |_| {}).await.unwrap_err();
            assert!(matches!(error, DriverError::OutOfRange { .. }), "{error}");
        }
    }
}
