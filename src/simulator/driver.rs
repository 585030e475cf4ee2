//! Sends scripts to a callbook over HTTP: the only part of the simulated account that waits and talks.

mod address;
mod family;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::address::Addresses;
use self::webhook::TIME_LIMIT;
use super::Account;
use super::disturbance::Disturbance;
use super::report::{News, Report, Sent};
use super::script::{self, End, Endpoint, ExpectedCall, LegInFlight, Request, Script};
use super::world::World;

/// Requests that wait for an answer at the same time; well below a usual limit of open files.
const CONNECTIONS: usize = 256;
/// Families that are played at the same time, so that a slow callbook does not fill our memory.
const FAMILIES: usize = 10_000;

/// A simulated Twilio that serves one callbook. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Driver {
    account: Arc<Account>,
    addresses: Addresses,
    client: reqwest::Client,
    connections: Arc<Semaphore>,
    /// Whether the callbook may say that its account is real.
    made_up_account: bool,
    /// What the REST API of this Twilio tells, if it has one.
    world: Option<World>,
}

/// How a run goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Families of calls to place.
    pub calls: u64,
    /// Families begun per second of wall time.
    pub rate_per_second: f64,
    /// Call time is divided by this; 1 is real time.
    pub speed: f64,
    pub seed: u64,
    pub disturbance: Disturbance,
    /// The first family; a second run with the same seed goes on at `first_index + calls`.
    pub first_index: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("no callbook answers at {url}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error(
        "{url} does not say that its account is simulated; simulated calls are only placed where no real ones are"
    )]
    NotSimulated { url: String },
    #[error("{what} must be a number from 0.001 to 1000000000, not {given}")]
    OutOfRange { what: &'static str, given: f64 },
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// The part of `GET /health` that matters here.
#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    simulated: bool,
}

impl Driver {
    /// A Twilio for the callbook that listens at `target_base_url` and is known to Twilio, and therefore signed,
    /// as `webhook_base_url`.
    pub fn new(target_base_url: &str, webhook_base_url: &str, account: Account) -> Result<Self, DriverError> {
        // A redirect or a proxy could lead simulated calls away from the callbook that was asked.
        let client = crate::outgoing::local()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("TwilioProxy/1.1 (simulated)")
            .build()
            .map_err(DriverError::Client)?;
        Ok(Driver {
            account: Arc::new(account),
            addresses: Addresses::new(target_base_url, webhook_base_url),
            client,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            made_up_account: false,
            world: None,
        })
    }

    /// For a callbook that was started on an account which nobody has, and takes it for a real one: it then places and
    /// ends no call by itself.
    pub fn of_made_up_account(self) -> Self {
        Driver { made_up_account: true, ..self }
    }

    /// Every call is placed in `world` before its first webhook is sent, and passes by the clock of that world.
    pub fn with_world(self, world: World) -> Self {
        Driver { world: Some(world), ..self }
    }

    /// Places calls and waits until each has ended. `on_progress` sees the report grow, request by request.
    ///
    /// Refuses a callbook whose account is real. Requests that fail are counted, not returned as an error.
    pub async fn run(
        &self,
        options: Options,
        mut on_progress: impl FnMut(&Report),
    ) -> Result<Report, DriverError> {
        self.listen_to(options, |_, report| on_progress(report)).await
    }

    /// The same for somebody who wants to know what was sent, and what became of each request.
    pub async fn run_and_tell(
        &self,
        options: Options,
        mut tell: impl FnMut(&Sent),
    ) -> Result<Report, DriverError> {
        let tell = |news: &News, _: &Report| {
            if let News::Sent(sent) = news {
                tell(sent);
            }
        };
        self.listen_to(options, tell).await
    }

    async fn listen_to(
        &self,
        options: Options,
        mut hear: impl FnMut(&News, &Report),
    ) -> Result<Report, DriverError> {
        in_range("the rate", options.rate_per_second)?;
        in_range("the speed", options.speed)?;
        self.ensure_simulated().await?;
        let (news, mut inbox) = mpsc::unbounded_channel();
        let listen = async {
            let mut report = Report::default();
            while let Some(news) = inbox.recv().await {
                report.add(&news);
                hear(&news, &report);
            }
            report
        };
        let (expected, mut report) = tokio::join!(self.place(&options, news), listen);
        report.expected = expected;
        Ok(report)
    }

    /// Begins each family at its time and waits for the last; returns what all of them must end as.
    async fn place(&self, options: &Options, news: mpsc::UnboundedSender<News>) -> Vec<ExpectedCall> {
        let begun = Instant::now();
        let room = Arc::new(Semaphore::new(FAMILIES));
        let mut expected = Vec::new();
        // Dropping the set gives up what it still plays.
        let mut families = JoinSet::new();
        for nth in 0..options.calls {
            tokio::time::sleep_until(begun + Duration::from_secs_f64(nth as f64 / options.rate_per_second))
                .await;
            let permit = room.clone().acquire_owned().await.ok();
            let script = self.script(options.seed, options.first_index + nth, options.speed);
            // A callbook with a Twilio to ask knows more in the end.
            expected.extend(match &self.world {
                Some(_) => script.expected_when_asked(),
                None => script.expected.clone(),
            });
            let play = self.begin(script, options.seed, options.speed, options.disturbance, &news);
            families.spawn(holding(permit, play));
            while families.try_join_next().is_some() {}
        }
        while families.join_next().await.is_some() {}
        expected
    }

    /// A family whose last event happens, in call time, when its last request is sent, in wall time: so a fast run
    /// tells of calls that lie behind, and no timestamp is ever in the future.
    fn script(&self, seed: u64, index: u64, speed: f64) -> Script {
        let now = self.now();
        let length = Script::generate(seed, index, &self.account, now).length();
        let head_start = length.mul_f64((1.0 - 1.0 / speed).max(0.0));
        Script::generate(seed, index, &self.account, now - head_start)
    }

    /// Makes a family known to the REST API, and gives the sending of its webhooks.
    fn begin(
        &self,
        script: Script,
        seed: u64,
        speed: f64,
        disturbance: Disturbance,
        news: &mpsc::UnboundedSender<News>,
    ) -> impl Future<Output = ()> + use<> {
        if let Some(world) = &self.world {
            world.place(&script, world.now(), speed);
        }
        let deliveries = disturbance.apply(&script, seed);
        let sent = deliveries.iter().filter(|delivery| !delivery.repeated).count();
        // Nobody listens any more when the run was given up.
        let _ = news.send(News::Dropped((script.requests.len() - sent) as u64));
        self.clone().play(script, deliveries, speed, news.clone())
    }

    fn now(&self) -> OffsetDateTime {
        self.world.as_ref().map_or_else(OffsetDateTime::now_utc, World::now)
    }

    /// The traffic of a callbook without credentials, until `cancel`: about `calls_per_minute` of wall time, each of
    /// which passes `speed` times as fast as a real one. At 0 calls a minute it only waits.
    ///
    /// Calls in flight are given up then, as by a power cut; [`Driver::end_calls_in_flight`] ends them next time.
    pub async fn place_calls_forever(
        &self,
        calls_per_minute: f64,
        speed: f64,
        disturbance: Disturbance,
        cancel: CancellationToken,
    ) -> Result<(), DriverError> {
        if calls_per_minute <= 0.0 {
            cancel.cancelled().await;
            return Ok(());
        }
        in_range("calls per minute", calls_per_minute)?;
        in_range("the speed", speed)?;
        self.ensure_simulated().await?;
        let (news, mut inbox) = mpsc::unbounded_channel();
        let mut trouble = Trouble::default();
        let mut families = JoinSet::new();
        let seed = rand::rng().random();
        let mut index = 0;
        let mut next_call = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                Some(news) = inbox.recv() => trouble.hear(&news),
                Some(_) = families.join_next() => {}
                () = tokio::time::sleep_until(next_call), if families.len() < FAMILIES => {
                    let script = self.script(seed, index, speed);
                    families.spawn(self.begin(script, seed, speed, disturbance, &news));
                    index += 1;
                    next_call += time_to_next_call(calls_per_minute);
                }
            }
        }
    }

    /// Tells callbook that the calls in flight when it stopped have ended, children first: at `ended_at`, unless this
    /// Twilio knows that they had ended before. Legs of another account are left alone, and counted as unexpected.
    pub async fn end_calls_in_flight(
        &self,
        mut legs: Vec<LegInFlight>,
        ended_at: OffsetDateTime,
    ) -> Result<Report, DriverError> {
        let mut report = Report::default();
        if legs.is_empty() {
            return Ok(report);
        }
        self.ensure_simulated().await?;
        legs.sort_by_key(|leg| leg.parent_call_sid.is_none());
        let destination = self.addresses.standard(Endpoint::VoiceStatus);
        for leg in legs {
            if leg.account_sid != self.account.sid {
                report.complain("a call in flight belongs to another account and was not ended");
                continue;
            }
            let end = self
                .world
                .as_ref()
                .and_then(|world| world.end(&leg.call_sid))
                .unwrap_or_else(|| End::cut_short(ended_at, &leg.direction, leg.answered_at));
            let request = Request {
                at: Duration::ZERO,
                endpoint: Endpoint::VoiceStatus,
                params: script::ended(&self.account, &leg, end),
                idempotency_token: format!("ended-{}", leg.call_sid),
            };
            let delivered = self.deliver(&request, &destination).await;
            report.add(&News::Sent(Sent {
                endpoint: Endpoint::VoiceStatus,
                request,
                took: delivered.took,
                repeated: false,
                late: false,
                reordered: false,
                retries: delivered.retries,
                answer: delivered.answer.status(),
                complaint: delivered.answer.failure().map(str::to_owned),
            }));
        }
        Ok(report)
    }

    /// Refuses any target whose health does not say `"simulated": true`, in whatever health it is.
    async fn ensure_simulated(&self) -> Result<(), DriverError> {
        if self.made_up_account {
            return Ok(());
        }
        let url = self.addresses.target("/health");
        let answer = self.client.get(&url).timeout(TIME_LIMIT).send().await;
        let answer = answer.map_err(|source| DriverError::Unreachable { url: url.clone(), source })?;
        match answer.json::<Health>().await {
            Ok(Health { simulated: true }) => Ok(()),
            _ => Err(DriverError::NotSimulated { url }),
        }
    }
}

async fn holding(_permit: Option<OwnedSemaphorePermit>, work: impl Future<Output = ()>) {
    work.await;
}

/// Exponential, as the time between independent callers is, and never more than five times the mean.
fn time_to_next_call(calls_per_minute: f64) -> Duration {
    let uniform: f64 = rand::rng().random_range(f64::EPSILON..1.0);
    Duration::from_secs_f64(60.0 / calls_per_minute * (-uniform.ln()).min(5.0))
}

/// Rates and speeds whose times a clock can still count.
fn in_range(what: &'static str, given: f64) -> Result<(), DriverError> {
    if (0.001..=1e9).contains(&given) { Ok(()) } else { Err(DriverError::OutOfRange { what, given }) }
}

/// Webhooks that were not accepted, logged now and then: a callbook that refuses one refuses thousands.
#[derive(Default)]
struct Trouble {
    logged_at: Option<Instant>,
    not_logged: u64,
}

impl Trouble {
    const BETWEEN_LINES: Duration = Duration::from_secs(10);

    fn hear(&mut self, news: &News) {
        let News::Sent(sent) = news else { return };
        let Some(trouble) = sent.trouble() else { return };
        if self.logged_at.is_some_and(|at| at.elapsed() < Self::BETWEEN_LINES) {
            self.not_logged += 1;
            return;
        }
        tracing::warn!(
            webhook.endpoint = sent.endpoint.name(),
            webhooks.more = self.not_logged,
            "a simulated webhook was not accepted: {trouble}"
        );
        *self = Trouble { logged_at: Some(Instant::now()), not_logged: 0 };
    }
}
