//! A simulated Twilio that knows calls and tells of them over its REST API, on the clock of the test.

use std::collections::BTreeMap;

use callbook::clock::Clock;
use callbook::reconcile::{Job, Outcome, Reconciler};
use callbook::simulator::{Account, RestApi, Script, World};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{ACCOUNT_SID, AUTH_TOKEN, Callbook, account, client};

pub struct TwilioApi {
    pub world: World,
    pub account: Account,
    pub clock: Clock,
    pub url: String,
    hand: watch::Sender<OffsetDateTime>,
    _api: RestApi,
}

impl TwilioApi {
    /// Its clock stands where the machine's is, until it is moved.
    pub async fn start() -> Self {
        let (hand, clock) = Clock::set(OffsetDateTime::now_utc());
        let account = account();
        let world = World::new(account.clone(), clock.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = RestApi::start(world.clone(), listener).unwrap();
        Self { world, account, clock, url: api.base_url.clone(), hand, _api: api }
    }

    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    pub fn pass(&self, time: Duration) {
        self.hand.send_modify(|now| *now += time);
    }

    /// A family of calls that begins then, at the speed of a real one.
    pub fn place(&self, seed: u64, index: u64, begun: OffsetDateTime) -> Script {
        let script = Script::generate(seed, index, &self.account, begun);
        self.world.place(&script, begun, 1.0);
        script
    }

    /// Families that begin one after the other, evenly from `from` on.
    pub fn place_many(&self, seed: u64, families: u64, from: OffsetDateTime, over: Duration) -> Vec<Script> {
        let step = over / i32::try_from(families).unwrap();
        (0..families)
            .map(|index| self.place(seed, index, from + step * i32::try_from(index).unwrap()))
            .collect()
    }
}

/// What callbook has of a call, in the words of [`callbook::simulator::Truth`].
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Known {
    pub call_sid: String,
    pub parent_call_sid: Option<String>,
    pub status: Option<String>,
    pub provisional: bool,
    /// Seconds, 0 where nobody spoke.
    pub duration: i32,
    pub price: Option<String>,
    /// Those that can be played.
    pub recordings: Vec<String>,
}

impl Callbook {
    /// Every call that it knows, by SID.
    pub async fn known(&self) -> BTreeMap<String, Known> {
        let generation: i32 = sqlx::query_scalar("select generation from read_model_current")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let rows: Vec<Known> = sqlx::query_as(&format!(
            "select call_sid, parent_call_sid, status, provisional, coalesce(duration, 0) as duration,
                    price::text as price,
                    array(select key from jsonb_each(recordings) where value ->> 'status' = 'completed' order by key)
                        as recordings
               from read_model_g{generation}.call_legs"
        ))
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.into_iter().map(|row| (row.call_sid.clone(), row)).collect()
    }

    /// Every call is in the state and has the price that Twilio holds.
    pub async fn agrees_with(&self, twilio: &TwilioApi) {
        self.settled().await;
        let known = self.known().await;
        let truth = twilio.world.truth();
        assert_eq!(known.len(), truth.len(), "callbook and Twilio know as many calls");
        for told in truth {
            let mut recordings: Vec<String> = told.recordings.iter().map(|made| made.sid.clone()).collect();
            recordings.sort();
            let expected = Known {
                call_sid: told.call_sid.clone(),
                parent_call_sid: told.parent_call_sid,
                status: Some(told.status.name().to_owned()),
                provisional: false,
                duration: i32::try_from(told.duration).unwrap(),
                price: told.price,
                recordings,
            };
            assert_eq!(known.get(&told.call_sid), Some(&expected));
        }
    }
}

pub fn reconciler(callbook: &Callbook) -> Reconciler {
    callbook.app.state.reconciler.clone().unwrap()
}

pub async fn perform(callbook: &Callbook, job: Job) -> Outcome {
    let epoch = callbook.epoch().await;
    let outcome = reconciler(callbook).perform(job, Some(epoch), |_| {}).await.unwrap();
    callbook.settled().await;
    outcome
}

pub async fn every_job(callbook: &Callbook) {
    for job in [Job::Hot, Job::Warm, Job::Cold] {
        perform(callbook, job).await;
    }
}

/// Sends these scripts' webhooks in a random order, some not at all and some twice.
pub async fn send_shuffled(callbook: &Callbook, scripts: &[Script], drop: f64, repeat: f64) {
    let mut rng = StdRng::seed_from_u64(4);
    let mut requests = Vec::new();
    for request in scripts.iter().flat_map(|script| &script.requests) {
        if rng.random::<f64>() >= drop {
            requests.push(request.clone());
            if rng.random::<f64>() < repeat {
                requests.push(request.clone());
            }
        }
    }
    requests.shuffle(&mut rng);
    let twilio = callbook.twilio();
    for chunk in requests.chunks(32) {
        futures::future::join_all(
            chunk.iter().map(|request| twilio.send(request.endpoint.name(), &request.params)),
        )
        .await;
    }
}

/// Has Twilio call somebody, as its console could.
pub async fn create_call(twilio: &TwilioApi, from: &str, to: &str) -> serde_json::Value {
    let created = client::http()
        .post(format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Calls.json", twilio.url))
        .basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN))
        .form(&[("To", to), ("From", from), ("Url", "https://calls.example.com/twiml")])
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    created.json().await.unwrap()
}
