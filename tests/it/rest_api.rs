//! The simulated Twilio's REST API, asked over HTTP as a client of the real one would.

mod faults;

use std::collections::BTreeSet;

use callbook::clock::Clock;
use callbook::simulator::{Disturbance, Driver, Options, RestApi, Script, Service, World};
use reqwest::{Response, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::client::http;
use crate::support::{ACCOUNT_SID, AUTH_TOKEN, Callbook, OURS, account};

const BEGUN: OffsetDateTime = datetime!(2026-02-08 06:00 UTC);

/// A Twilio whose clock the test moves.
struct Twilio {
    world: World,
    api: RestApi,
    hand: watch::Sender<OffsetDateTime>,
}

impl Twilio {
    async fn start() -> Self {
        let (hand, clock) = Clock::set(BEGUN);
        let world = World::new(account(), clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = RestApi::start(world.clone(), listener).unwrap();
        Self { world, api, hand }
    }

    /// One with this many families that began a minute apart and have ended long ago.
    async fn after(families: u64) -> Self {
        let twilio = Self::start().await;
        for index in 0..families {
            let at = BEGUN + Duration::minutes(index as i64);
            twilio.world.place(&Script::generate(7, index, &account(), at), at, 1.0);
        }
        twilio.hand.send_replace(BEGUN + Duration::minutes(families as i64) + Duration::HOUR);
        twilio
    }

    /// `path` is what follows the account, or a `next_page_uri`.
    async fn get(&self, path: &str) -> Response {
        let request = http().get(self.url(path)).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN));
        request.send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Result<Response> {
        http().post(self.url(path)).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).form(form).send().await
    }

    fn url(&self, path: &str) -> String {
        let base = &self.api.base_url;
        match path.starts_with('/') {
            true => format!("{base}{path}"),
            false => format!("{base}/2010-04-01/Accounts/{ACCOUNT_SID}/{path}"),
        }
    }

    /// The SIDs of a list from a first page on, and how many pages that were.
    async fn all(&self, path: &str, name: &str) -> (Vec<String>, usize) {
        let (mut sids, mut pages, mut next) = (Vec::new(), 0, path.to_owned());
        loop {
            let page = self.json(&next).await;
            pages += 1;
            sids.extend(page[name].as_array().unwrap().iter().map(sid));
            match page["next_page_uri"].as_str() {
                Some(uri) => next = uri.to_owned(),
                None => return (sids, pages),
            }
        }
    }
}

fn sid(resource: &Value) -> String {
    resource["sid"].as_str().unwrap().to_owned()
}

async fn refused(response: Response, status: u16, code: u64) {
    assert_eq!(response.status().as_u16(), status);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["more_info"], format!("https://www.twilio.com/docs/errors/{code}"));
    assert!(body["message"].is_string(), "{body}");
}

#[tokio::test]
async fn every_page_is_followed_to_the_end_and_every_leg_is_listed_once_newest_first() {
    let twilio = Twilio::after(60).await;
    let mut truth: Vec<(OffsetDateTime, String)> = Vec::new();
    for leg in twilio.world.truth() {
        truth.push((leg.start_time, leg.call_sid));
    }
    let (sids, pages) = twilio.all("Calls.json?PageSize=7", "calls").await;
    assert_eq!(pages, truth.len().div_ceil(7));
    let listed: BTreeSet<&String> = sids.iter().collect();
    assert_eq!(listed.len(), sids.len(), "none twice");
    assert_eq!(listed, truth.iter().map(|(_, sid)| sid).collect());

    let mut last = String::new();
    let page = twilio.json("Calls.json?PageSize=1000").await;
    assert_eq!((&page["start"], &page["page"], &page["page_size"]), (&0.into(), &0.into(), &1000.into()));
    assert_eq!(page["end"], truth.len() - 1);
    assert_eq!(page["next_page_uri"], Value::Null);
    assert_eq!(page["previous_page_uri"], Value::Null);
    for call in page["calls"].as_array().unwrap().iter().rev() {
        let created = call["date_created"].as_str().unwrap()[5..].to_owned();
        assert!(created >= last, "{created} before {last}");
        last = created;
    }
}

#[tokio::test]
async fn pages_can_be_gone_back_and_by_number() {
    let twilio = Twilio::after(12).await;
    let first = twilio.json("Calls.json?PageSize=5&To=%2B16175006181").await;
    let second = twilio.json(first["next_page_uri"].as_str().unwrap()).await;
    assert!(second["uri"].as_str().unwrap().contains("To=%2B16175006181&PageSize=5&Page=1&PageToken=PACA"));
    assert_eq!(second["start"], 5);
    let back = twilio.json(second["previous_page_uri"].as_str().unwrap()).await;
    assert_eq!(back["calls"], first["calls"]);
    let by_number = twilio.json("Calls.json?PageSize=5&To=%2B16175006181&Page=1").await;
    assert_eq!(by_number["calls"], second["calls"]);
}

#[tokio::test]
async fn new_calls_move_no_page_that_is_followed_by_its_token() {
    let twilio = Twilio::after(12).await;
    let (before, _) = twilio.all("Calls.json?PageSize=5", "calls").await;
    let first = twilio.json("Calls.json?PageSize=5").await;
    let now = twilio.world.now();
    twilio.world.place(&Script::generate(8, 0, &account(), now), now, 1.0);
    let (rest, _) = twilio.all(first["next_page_uri"].as_str().unwrap(), "calls").await;
    assert_eq!(rest, before[5..]);
}

#[tokio::test]
async fn lists_are_narrowed_by_every_filter() {
    let twilio = Twilio::after(60).await;
    let truth = twilio.world.truth();
    let answer = async |query: &str| {
        let (sids, _) = twilio.all(&format!("Calls.json?PageSize=1000&{query}"), "calls").await;
        sids.into_iter().collect::<BTreeSet<_>>()
    };
    let legs = |holds: &dyn Fn(&callbook::simulator::Truth) -> bool| {
        truth.iter().filter(|leg| holds(leg)).map(|leg| leg.call_sid.clone()).collect::<BTreeSet<_>>()
    };
    let parent = truth.iter().find_map(|leg| leg.parent_call_sid.clone()).unwrap();
    let of_parent = answer(&format!("ParentCallSid={parent}")).await;
    assert_eq!(of_parent, legs(&|leg| leg.parent_call_sid.as_deref() == Some(&*parent)));
    assert_eq!(of_parent.len(), 1);
    assert_eq!(answer("Status=busy").await, legs(&|leg| leg.status.name() == "busy"));
    assert_eq!(answer("Status=queued").await, legs(&|_| false));
    assert_eq!(answer("From=%2B16175006181").await, legs(&|leg| leg.from == OURS));
    assert_eq!(answer("To=%2B16175006181").await, legs(&|leg| leg.to == OURS));
    let half_past = datetime!(2026-02-08 06:30 UTC);
    assert_eq!(
        answer("StartTime%3E=2026-02-08T06:30:00Z").await,
        legs(&|leg| leg.start_time.replace_nanosecond(0).unwrap() >= half_past)
    );
    assert_eq!(
        answer("StartTime%3C=2026-02-08T06:30:00Z&StartTime%3E=2026-02-08").await,
        legs(&|leg| leg.start_time < half_past)
    );
    assert_eq!(answer("EndTime%3E=2026-02-08T06%3A30%3A00Z").await, legs(&|leg| leg.end_time >= half_past));
    assert_eq!(answer("StartTime=2026-02-08").await.len(), truth.len());
    assert_eq!(answer("StartTime=2026-02-09").await.len(), 0);
    for nonsense in ["StartTime=soon", "Status=ended", "PageSize=1001", "PageSize=0", "PageToken=PACA1"] {
        refused(twilio.get(&format!("Calls.json?{nonsense}")).await, 400, 20001).await;
    }
}

#[tokio::test]
async fn a_call_is_what_the_list_says_and_ends_as_was_true() {
    let twilio = Twilio::after(60).await;
    let page = twilio.json("Calls.json?PageSize=1000").await;
    let rfc_2822 = time::format_description::well_known::Rfc2822;
    let time = |value: &Value| OffsetDateTime::parse(value.as_str().unwrap(), &rfc_2822).unwrap();
    for truth in twilio.world.truth() {
        let listed = page["calls"].as_array().unwrap().iter().find(|call| call["sid"] == *truth.call_sid);
        let call = twilio.json(&format!("Calls/{}.json", truth.call_sid)).await;
        assert_eq!(Some(&call), listed);
        assert_eq!(call["status"], truth.status.name());
        assert_eq!(call["parent_call_sid"], Value::from(truth.parent_call_sid.clone()));
        assert_eq!(call["price"], Value::from(truth.price.clone()));
        assert_eq!(time(&call["start_time"]), truth.start_time.replace_nanosecond(0).unwrap());
        assert_eq!(time(&call["end_time"]), truth.end_time.replace_nanosecond(0).unwrap());
        let duration = call["duration"].as_str().unwrap();
        assert_eq!(duration.parse().unwrap_or(0), truth.duration, "{duration:?}");

        let of_call = twilio.json(&format!("Calls/{}/Recordings.json", truth.call_sid)).await;
        assert_eq!(of_call["recordings"].as_array().unwrap().len(), truth.recordings.len());
        for (recording, shown) in truth.recordings.iter().zip(of_call["recordings"].as_array().unwrap()) {
            assert_eq!(shown["sid"], recording.sid);
            assert!(shown["price"].is_f64(), "a number here, a string elsewhere (contract 4.4): {shown}");
            let alone = twilio.json(&format!("Recordings/{}.json", recording.sid)).await;
            assert_eq!(alone["duration"], recording.duration.to_string());
            assert_eq!(alone["channels"], 2);
            assert_eq!(alone["status"], "completed");
            let media_url = alone["media_url"].as_str().unwrap();
            assert_eq!(
                media_url,
                format!(
                    "https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/{}",
                    recording.sid
                )
            );
        }
    }
    let (recordings, _) = twilio.all("Recordings.json?PageSize=3", "recordings").await;
    let truth = twilio.world.truth();
    let all: BTreeSet<_> = truth.iter().flat_map(|leg| &leg.recordings).map(|r| r.sid.clone()).collect();
    assert_eq!(recordings.iter().cloned().collect::<BTreeSet<_>>(), all);
    let recorded = truth.iter().find(|leg| !leg.recordings.is_empty()).unwrap();
    let (of_call, _) =
        twilio.all(&format!("Recordings.json?CallSid={}", recorded.call_sid), "recordings").await;
    assert_eq!(of_call, [recorded.recordings[0].sid.clone()]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_was_forgotten_neither() {
    let twilio = Twilio::after(12).await;
    let unknown = "CA00000000000000000000000000000000";
    for path in [
        &format!("Calls/{unknown}.json"),
        &format!("Calls/{unknown}/Recordings.json"),
        "Recordings/RE00000000000000000000000000000000.json",
        "Recordings/RE00000000000000000000000000000000",
        "Messages/SM00000000000000000000000000000000.json",
        "Conferences.json",
        "/elsewhere",
    ] {
        refused(twilio.get(path).await, 404, 20404).await;
    }
    let truth = twilio.world.truth();
    let gone = &truth.iter().find(|leg| !leg.recordings.is_empty()).unwrap();
    twilio.world.forget(&gone.call_sid);
    twilio.world.forget(&gone.recordings[0].sid);
    refused(twilio.get(&format!("Calls/{}.json", gone.call_sid)).await, 404, 20404).await;
    refused(twilio.get(&format!("Recordings/{}", gone.recordings[0].sid)).await, 404, 20404).await;
    let (sids, _) = twilio.all("Calls.json?PageSize=3", "calls").await;
    assert_eq!(sids.len(), truth.len() - 1);
    assert!(!sids.contains(&gone.call_sid));
}

#[tokio::test]
async fn only_the_account_and_its_api_keys_get_in() {
    let twilio = Twilio::after(1).await;
    twilio.world.add_api_key("SK00000000000000000000000000000001", "the secret");
    let asked = async |user: &str, password: &str, account: &str| {
        let url = format!("{}/2010-04-01/Accounts/{account}/Calls.json", twilio.api.base_url);
        http().get(url).basic_auth(user, Some(password)).send().await.unwrap()
    };
    assert_eq!(asked(ACCOUNT_SID, AUTH_TOKEN, ACCOUNT_SID).await.status(), 200);
    assert_eq!(asked("SK00000000000000000000000000000001", "the secret", ACCOUNT_SID).await.status(), 200);
    let other = "AC00000000000000000000000000000002";
    for (user, password, account) in [
        (ACCOUNT_SID, "wrong", ACCOUNT_SID),
        ("SK00000000000000000000000000000001", AUTH_TOKEN, ACCOUNT_SID),
        ("SK00000000000000000000000000000002", "the secret", ACCOUNT_SID),
        (ACCOUNT_SID, AUTH_TOKEN, other),
    ] {
        refused(asked(user, password, account).await, 401, 20003).await;
    }
    let nobody = http().get(twilio.url("Calls.json")).send().await.unwrap();
    assert!(nobody.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    refused(nobody, 401, 20003).await;
}

#[tokio::test]
async fn a_recording_is_heard_in_whole_and_in_part_once_it_is_complete() {
    let twilio = Twilio::start().await;
    let script = (0..60)
        .map(|index| Script::generate(7, index, &account(), BEGUN))
        .find(|script| script.legs[0].recording.is_some())
        .unwrap();
    twilio.world.place(&script, BEGUN, 1.0);
    let recorded = script.legs[0].recording.clone().unwrap();
    let (resource, media) =
        (format!("Recordings/{}.json", recorded.sid), format!("Recordings/{}", recorded.sid));
    twilio.hand.send_replace(BEGUN + recorded.started);
    refused(twilio.get(&resource).await, 404, 20404).await;
    twilio.hand.send_replace(BEGUN + recorded.stopped);
    let processing = twilio.json(&resource).await;
    assert_eq!((&processing["status"], &processing["duration"]), (&"processing".into(), &Value::Null));
    refused(twilio.get(&media).await, 404, 20404).await;
    twilio.hand.send_replace(BEGUN + recorded.completed);
    assert_eq!(twilio.json(&resource).await["status"], "completed");

    let response = twilio.get(&format!("{media}.wav")).await;
    assert_eq!(response.headers()["content-type"], "audio/x-wav");
    let whole = response.bytes().await.unwrap();
    assert_eq!(&whole[..4], b"RIFF");
    assert_eq!(u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize, whole.len() - 8);
    assert_eq!(u16::from_le_bytes(whole[22..24].try_into().unwrap()), 2, "channels");
    let seconds = (recorded.stopped - recorded.started).as_secs().min(30) as usize;
    assert_eq!(u32::from_le_bytes(whole[40..44].try_into().unwrap()) as usize, seconds * 8_000 * 4);
    assert_eq!(twilio.get(&media).await.bytes().await.unwrap(), whole, "without an ending it is the same");
    refused(twilio.get(&format!("{media}.mp3")).await, 404, 20404).await;

    let part = async |range: &str| {
        let request = http().get(twilio.url(&media)).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN));
        request.header("range", range).send().await.unwrap()
    };
    let response = part("bytes=100-199").await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()["content-range"], format!("bytes 100-199/{}", whole.len()));
    assert_eq!(response.bytes().await.unwrap(), whole[100..200]);
    let response = part(&format!("bytes={}-", whole.len())).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(response.headers()["content-range"], format!("bytes */{}", whole.len()));
}

#[tokio::test]
async fn a_call_that_is_asked_for_is_queued_rings_and_ends_by_the_clock() {
    let twilio = Twilio::start().await;
    let form = [("To", "+15085550111"), ("From", OURS), ("Url", "https://calls.example.com/twiml")];
    let response = twilio.post("Calls.json", &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let created: Value = response.json().await.unwrap();
    assert_eq!((&created["status"], &created["direction"]), (&"queued".into(), &"outbound-api".into()));
    assert_eq!(created["start_time"], Value::Null);
    assert_eq!(created["to_formatted"], "(508) 555-0111");
    let path = format!("Calls/{}.json", sid(&created));
    let (listed, _) = twilio.all("Calls.json", "calls").await;
    assert_eq!(listed, [sid(&created)]);
    let (started, _) = twilio.all("Calls.json?StartTime%3E=2026-02-01", "calls").await;
    assert!(started.is_empty(), "it has no start time yet");
    twilio.hand.send_replace(BEGUN + Duration::SECOND);
    assert_eq!(twilio.json(&path).await["status"], "ringing");
    twilio.hand.send_replace(BEGUN + Duration::minutes(10));
    let ended = twilio.json(&path).await;
    assert!(["completed", "no-answer"].contains(&ended["status"].as_str().unwrap()), "{ended}");

    let url = ("Url", "https://calls.example.com/twiml");
    for (form, code) in [
        (vec![("From", OURS), url], 21201),
        (vec![("To", "5085550111"), ("From", OURS), url], 21211),
        (vec![("To", "+15085550111"), url], 21212),
        (vec![("To", "+15085550111"), ("From", "+15085550122"), url], 21212),
        (vec![("To", "+15085550111"), ("From", OURS)], 21205),
    ] {
        refused(twilio.post("Calls.json", &form).await.unwrap(), 400, code).await;
    }
}

#[tokio::test]
async fn a_message_that_is_sent_is_delivered_by_the_clock() {
    let twilio = Twilio::start().await;
    let form = [("To", "+15085550111"), ("From", OURS), ("Body", "On our way.")];
    let response = twilio.post("Messages.json", &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let created: Value = response.json().await.unwrap();
    assert_eq!((&created["status"], &created["date_sent"]), (&"queued".into(), &Value::Null));
    twilio.hand.send_replace(BEGUN + Duration::seconds(5));
    let delivered = twilio.json(&format!("Messages/{}.json", sid(&created))).await;
    assert_eq!(delivered["status"], "delivered");
    let (to, _) = twilio.all("Messages.json?To=%2B15085550111&DateSent=2026-02-08", "messages").await;
    assert_eq!(to, [sid(&created)]);
    let (others, _) = twilio.all("Messages.json?To=%2B15085550122", "messages").await;
    assert!(others.is_empty());
    for (form, code) in [
        (vec![("From", OURS), ("Body", "x")], 21604),
        (vec![("To", "+15085550111"), ("Body", "x")], 21603),
        (vec![("To", "+15085550111"), ("From", "+15085550122"), ("Body", "x")], 21606),
        (vec![("To", "+15085550111"), ("From", OURS)], 21602),
    ] {
        refused(twilio.post("Messages.json", &form).await.unwrap(), 400, code).await;
    }
}

#[tokio::test]
async fn the_numbers_of_the_account_are_listed() {
    let twilio = Twilio::after(1).await;
    let page = twilio.json("IncomingPhoneNumbers.json").await;
    let numbers = page["incoming_phone_numbers"].as_array().unwrap();
    assert_eq!(numbers.len(), 1);
    assert_eq!(numbers[0]["phone_number"], OURS);
    assert_eq!(numbers[0]["capabilities"]["voice"], true);
}

/// A list of all legs says of each what its webhooks said, and more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_plays_is_known_to_the_api_whatever_is_dropped() {
    let callbook = Callbook::start().await;
    let world = World::new(account(), Clock::System);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = RestApi::start(world.clone(), listener).unwrap();
    let driver = Driver::new(&callbook.url, &callbook.url, account()).unwrap().with_world(world.clone());
    let options = Options {
        calls: 60,
        rate_per_second: 1_000.0,
        speed: 1_000.0,
        seed: 1,
        disturbance: Disturbance { drop: 0.2, ..Disturbance::default() },
        first_index: 0,
    };
    let report = driver.run(options, |_| {}).await.unwrap();
    assert!(report.dropped > 0);
    let truth = world.truth();
    assert_eq!(truth.len(), report.expected.len());
    for expected in &report.expected {
        let leg = truth.iter().find(|leg| leg.call_sid == expected.call_sid).unwrap();
        assert_eq!(leg.status.name(), expected.status);
    }
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json?PageSize=1000", api.base_url);
    let page: Value =
        http().get(url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).send().await.unwrap().json().await.unwrap();
    assert_eq!(page["calls"].as_array().unwrap().len(), truth.len());
}

#[tokio::test]
async fn a_service_that_starts_again_answers_what_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (_hand, clock) = Clock::set(BEGUN);
    let listed = async |service: &Service| {
        let token = service.world.account().auth_token.expose_secret().to_owned();
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json", service.base_url);
        let answer = http().get(url).basic_auth(ACCOUNT_SID, Some(token)).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["calls"].clone()
    };
    let first = Service::start(account(), folder.path(), clock.clone()).await.unwrap();
    first.world.place(&Script::generate(7, 0, &account(), BEGUN), BEGUN, 1.0);
    let before = listed(&first).await;
    assert_eq!(before.as_array().unwrap().len(), 1, "the second leg is not dialled yet");
    drop(first);
    let second = Service::start(account(), folder.path(), clock).await.unwrap();
    assert_eq!(listed(&second).await, before);
}
