//! The client of Twilio's REST API against the simulated one, which is as disagreeable as the real one may be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callbook::clock::Clock;
use callbook::simulator::{Faults, RestApi, Script, World};
use callbook::twilio::client::{
    CallFilter, CallWith, Client, ClientError, MediaFormat, NewCall, NewMessage, Pace, Page, RecordingFilter,
    Sender, Settings,
};
use callbook::twilio::resource::{Call, IncomingNumber, Recording};
use futures::TryStreamExt;
use secrecy::SecretString;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::support::{ACCOUNT_SID, AUTH_TOKEN, OURS, account};

const FAMILIES: u64 = 60;

struct Twilio {
    world: World,
    api: RestApi,
    client: Client,
}

impl Twilio {
    /// One with this many families that ended long ago.
    async fn after(families: u64) -> Self {
        let account = account();
        let world = World::new(account.clone(), Clock::System);
        let begun = OffsetDateTime::now_utc() - time::Duration::days(1);
        for index in 0..families {
            let at = begun + time::Duration::minutes(i64::try_from(index).unwrap());
            world.place(&Script::generate(7, index, &account, at), at, 1.0);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = RestApi::start(world.clone(), listener).unwrap();
        let client = client(&api, AUTH_TOKEN);
        Self { world, api, client }
    }

    /// Each resource of a list by its SID, page by page.
    async fn all(&self, first: Result<Page, ClientError>) -> BTreeMap<String, Value> {
        let mut page = first.unwrap();
        let mut all = BTreeMap::new();
        loop {
            for resource in page.resources {
                all.insert(resource["sid"].as_str().unwrap().to_owned(), resource);
            }
            match page.next {
                Some(next) => page = self.client.next(&next).await.unwrap(),
                None => return all,
            }
        }
    }

    async fn calls(&self) -> BTreeMap<String, Value> {
        let filter = CallFilter { page_size: Some(7), ..CallFilter::default() };
        self.all(self.client.calls(&filter).await).await
    }
}

fn client(api: &RestApi, token: &str) -> Client {
    let settings = Settings {
        base_url: api.base_url.clone(),
        account_sid: ACCOUNT_SID.to_owned(),
        username: ACCOUNT_SID.to_owned(),
        password: SecretString::from(token),
        at_once: 4,
    };
    let quick = Pace {
        first: Duration::from_millis(5),
        longest_asked_for: Duration::from_millis(5),
        tries: 20,
        ..Pace::default()
    };
    Client::with_pace(settings, quick).unwrap()
}

/// Everything that may pass.
fn trouble() -> Faults {
    Faults {
        seed: 1,
        too_many_requests: 0.1,
        retry_after: Some(Duration::from_secs(1)),
        server_errors: 0.1,
        cut: 0.1,
        not_json: 0.05,
        repeated_pages: 0.1,
        shifted_pages: 0.2,
        ..Faults::default()
    }
}

#[tokio::test]
async fn every_call_and_recording_is_read_however_twilio_answers() {
    let twilio = Twilio::after(FAMILIES).await;
    twilio.world.set_faults(trouble());
    let calls = twilio.calls().await;
    let expected: BTreeSet<String> =
        twilio.world.truth().into_iter().map(|leg| leg.call_sid.to_string()).collect();
    assert_eq!(calls.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (sid, call) in &calls {
        let read = Call::try_from(call).unwrap();
        let one = twilio.client.call(&sid.parse().unwrap()).await.unwrap();
        assert_eq!(Call::try_from(&one).unwrap().digest(), read.digest());
    }
    let filter = RecordingFilter { page_size: Some(5), ..RecordingFilter::default() };
    let recordings = twilio.all(twilio.client.recordings(&filter).await).await;
    assert!(!recordings.is_empty());
    for recording in recordings.values() {
        let recording = Recording::try_from(recording).unwrap();
        let of_call = twilio.client.recordings_of(recording.call_sid.as_ref().unwrap()).await.unwrap();
        let same = of_call.resources.iter().map(|value| Recording::try_from(value).unwrap());
        let urls: Vec<_> = same.filter(|same| same.sid == recording.sid).map(|same| same.status).collect();
        assert_eq!(urls, [recording.status]);
    }
    let numbers = twilio.client.incoming_numbers().await.unwrap().resources;
    assert_eq!(IncomingNumber::try_from(&numbers[0]).unwrap().phone_number, OURS);
}

#[tokio::test]
async fn a_window_and_a_status_leave_out_the_rest() {
    let twilio = Twilio::after(FAMILIES).await;
    let all: Vec<Call> = twilio.calls().await.values().map(|call| Call::try_from(call).unwrap()).collect();
    let mut starts: Vec<_> = all.iter().filter_map(|call| call.start_time).collect();
    starts.sort();
    let (from, before) = (starts[10], starts[30]);
    let filter = CallFilter {
        started_from: Some(from),
        started_before: Some(before),
        status: Some(domain::call::CallStatus::Completed),
        page_size: Some(3),
        ..CallFilter::default()
    };
    let found = twilio.all(twilio.client.calls(&filter).await).await;
    let expected: BTreeSet<String> = all
        .iter()
        .filter(|call| call.status == domain::call::CallStatus::Completed)
        .filter(|call| call.start_time.is_some_and(|at| (from..before).contains(&at)))
        .map(|call| call.sid.to_string())
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn what_is_created_is_there_once_whatever_becomes_of_the_answers() {
    const EACH: usize = 15;
    let twilio = Twilio::after(0).await;
    twilio.world.set_faults(Faults {
        lost_answers: 0.5,
        server_errors: 0.05,
        cut: 0.05,
        not_json: 0.02,
        ..trouble()
    });
    let mut sids = BTreeSet::new();
    for n in 0..EACH {
        // Twice to the same number, one right after the other.
        for _ in 0..2 {
            let call = NewCall {
                to: format!("+150855501{n:02}"),
                from: OURS.to_owned(),
                with: CallWith::Twiml("<Response/>".to_owned()),
                status_callback: None,
                recording_callback: None,
                timeout: None,
                record: false,
            };
            let created = twilio.client.create_call(&call).await.unwrap();
            assert!(
                sids.insert(created["sid"].as_str().unwrap().to_owned()),
                "{created} is handed out twice"
            );
        }
        let message = NewMessage {
            to: format!("+150855501{n:02}"),
            from: Sender::Number(OURS.to_owned()),
            body: "We missed your call.".to_owned(),
            status_callback: None,
        };
        let sent = twilio.client.create_message(&message).await.unwrap();
        assert_eq!(sent["body"], "We missed your call.");
    }
    twilio.world.set_faults(Faults::default());
    let there: BTreeSet<String> = twilio.calls().await.into_keys().collect();
    assert_eq!(there, sids);
}

#[tokio::test]
async fn the_media_of_a_recording_is_playable() {
    let twilio = Twilio::after(FAMILIES).await;
    twilio.world.set_faults(Faults { cut: 0.0, ..trouble() });
    let page = twilio.client.recordings(&RecordingFilter::default()).await.unwrap();
    let mut recordings = page.resources.iter().map(|value| Recording::try_from(value).unwrap());
    let recording = recordings.find(|recording| recording.duration.is_some()).unwrap();
    let media = twilio.client.media(&recording.sid, MediaFormat::Wav, Some("bytes=0-3")).await.unwrap();
    assert_eq!(media.status, 206);
    let bytes: Vec<_> = media.bytes.try_collect().await.unwrap();
    assert_eq!(bytes.concat(), b"RIFF");
}

#[tokio::test]
async fn a_suspended_account_and_wrong_credentials_are_told_apart() {
    let twilio = Twilio::after(1).await;
    let wrong = client(&twilio.api, "another").calls(&CallFilter::default()).await.unwrap_err();
    assert!(wrong.is_credentials() && !wrong.is_suspended(), "{wrong}");
    twilio.world.set_faults(Faults { suspended: true, ..Faults::default() });
    let suspended = twilio.client.calls(&CallFilter::default()).await.unwrap_err();
    assert!(suspended.is_credentials() && suspended.is_suspended(), "{suspended} {suspended:?}");
    twilio.world.set_faults(Faults { wrong_credentials: true, ..Faults::default() });
    let wrong = twilio.client.calls(&CallFilter::default()).await.unwrap_err();
    assert!(wrong.is_credentials() && !wrong.is_suspended(), "{wrong}");
    let none = "CA00000000000000000000000000000404".parse().unwrap();
    twilio.world.set_faults(Faults::default());
    assert!(twilio.client.call(&none).await.unwrap_err().is_not_found());
}
