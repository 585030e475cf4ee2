//! A simulated Twilio that knows calls and tells of them over its REST API, on the clock of the test.

use std::collections::BTreeMap;

use callbook::clock::Clock;
use callbook::simulator::{Account, RestApi, Script, World};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Callbook, account};

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
