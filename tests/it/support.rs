//! What tests start and what they send.

pub mod client;
pub mod database;
pub mod media;
pub mod twilio_api;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callbook::access::Access;
use callbook::app::{App, Book, Credentials, Rest};
use callbook::clock::Clock;
use callbook::config::Config;
use callbook::door::Door;
use callbook::ingest::inbox::Writer;
use callbook::installation::{self, Owner};
use callbook::simulator::Account;
use secrecy::SecretString;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub use client::{Twilio, pairs};
use database::{OwnServer, TestDatabase};
use twilio_api::TwilioApi;

pub const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
pub const AUTH_TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Shown by whatever [`client::http`] asks.
pub const ADMIN_TOKEN: &str = "a-token-that-only-tests-know";
pub const OURS: &str = "+16175006181";
pub const CUSTOMER: &str = "+15085140320";
pub const DISPATCHER: &str = "sip:dispatcher@abchomes.sip.us1.twilio.com";

/// A running callbook with a simulated account, on a database of its own.
pub struct Callbook {
    pub app: App,
    pub pool: PgPool,
    pub url: String,
    database: Arc<TestDatabase>,
    data_dir: Arc<TempDir>,
}

impl Callbook {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        Self::on(database, Arc::new(TempDir::new().unwrap()), settings).await
    }

    /// Stops, and starts again on the same data with these settings.
    pub async fn restart(self, settings: &[(&str, &str)]) -> Self {
        self.stop().await.start(settings).await
    }

    /// What it keeps on its disk.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    pub async fn ids(&self) -> projections::ids::IdKey {
        installation::prepare(&self.pool, &owner()).await.unwrap()
    }

    /// Live equals rebuilt, row for row.
    pub async fn verify(&self) {
        let diff = projections::rebuild::dry_run(&self.pool, &self.ids().await, |_| {}).await.unwrap();
        assert!(diff.is_empty(), "live differs from rebuilt: {diff:#?}");
    }

    /// On a PostgreSQL that this test may stop.
    pub async fn on_its_own_server(settings: &[(&str, &str)]) -> Self {
        let database = Arc::new(TestDatabase::on_its_own_server().await);
        Self::on(database, Arc::new(TempDir::new().unwrap()), settings).await
    }

    /// The PostgreSQL of [`Callbook::on_its_own_server`].
    pub fn server(&self) -> &OwnServer {
        self.database.own_server()
    }

    /// Forgets the connections to a PostgreSQL that is gone.
    pub async fn reconnect(&mut self) {
        self.pool = installation::connect(self.database.options(), 10).await.unwrap();
    }

    /// What waits in the spool.
    pub fn spooled(&self) -> u64 {
        self.app.state.door.inbox.spool().status().borrow().waiting
    }

    /// Returns when nothing waits in the spool, where a busy machine may have sent some.
    pub async fn drained(&self) {
        let mut spool = self.app.state.door.inbox.spool().status();
        spool.wait_for(|spool| spool.waiting == 0).await.unwrap();
    }

    /// What it says when it is healthy. A busy machine may look like a database that does not answer for a while.
    pub async fn healthy(&self) -> serde_json::Value {
        self.health_once(|health| health["status"] == "healthy").await
    }

    /// What it says, healthy or not, when the database has answered in time.
    pub async fn health(&self) -> serde_json::Value {
        self.health_once(|health| health["projection"]["head"].is_i64()).await
    }

    async fn health_once(&self, said: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let until_said = async {
            loop {
                let health = self.get("/health").await;
                if said(&health) {
                    return health;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(FOREVER, until_said).await {
            Ok(health) => health,
            Err(_) => panic!("not so after {FOREVER:?}: {}", self.get("/health").await),
        }
    }

    /// Another callbook on the same database.
    pub async fn beside(&self) -> Self {
        Self::on(Arc::clone(&self.database), Arc::clone(&self.data_dir), &[]).await
    }

    /// What it is on, also after it has stopped.
    pub fn database(&self) -> Arc<TestDatabase> {
        Arc::clone(&self.database)
    }

    pub async fn on(database: Arc<TestDatabase>, data_dir: Arc<TempDir>, settings: &[(&str, &str)]) -> Self {
        let (config, credentials, listener) = settle_in(&data_dir, settings).await;
        let pool = installation::connect(database.options(), 10).await.unwrap();
        let app = App::start(&config, credentials, pool.clone(), listener).await.unwrap();
        Self::of(app, pool, database, data_dir)
    }

    /// As [`Callbook::on`], beside a Twilio that can be asked, and on its clock. Jobs run only if settings say so.
    async fn asking_on(
        database: Arc<TestDatabase>,
        data_dir: Arc<TempDir>,
        twilio: &TwilioApi,
        clock: Clock,
        settings: &[(&str, &str)],
    ) -> Self {
        let never = ["RECONCILE_HOT_SECONDS", "RECONCILE_WARM_SECONDS", "RECONCILE_COLD_SECONDS"];
        let mut all: Vec<(&str, &str)> = never.iter().map(|key| (*key, "0")).collect();
        all.push(("TWILIO_API_BASE_URL", &twilio.url));
        all.extend(settings);
        let (config, credentials, listener) = settle_in(&data_dir, &all).await;
        let pool = installation::connect(database.options(), 10).await.unwrap();
        let asked = Rest::new(&config, &credentials, &twilio.url, clock).unwrap();
        let book = Book::open(pool.clone(), &owner()).await.unwrap();
        let (door, writer) = Door::open(&config, credentials, listener).await.unwrap();
        let access = Access::open(&config, door.address.ip(), pool.clone()).await.unwrap();
        let app = App::behind(door, writer, book, access, Some(asked));
        Self::of(app, pool, database, data_dir)
    }

    pub async fn asking(twilio: &TwilioApi, settings: &[(&str, &str)]) -> Self {
        let database = Arc::new(TestDatabase::create().await);
        Self::asking_on(database, Arc::new(TempDir::new().unwrap()), twilio, twilio.clock.clone(), settings)
            .await
    }

    /// With a clock that is ahead of Twilio's by that much, and stands.
    pub async fn asking_by(twilio: &TwilioApi, ahead: time::Duration) -> Self {
        let (_, clock) = Clock::set(twilio.now() + ahead);
        let database = Arc::new(TestDatabase::create().await);
        Self::asking_on(database, Arc::new(TempDir::new().unwrap()), twilio, clock, &[]).await
    }

    /// Another callbook on the same database that asks the same Twilio.
    pub async fn beside_asking(&self, twilio: &TwilioApi) -> Self {
        let (database, data_dir) = (Arc::clone(&self.database), Arc::clone(&self.data_dir));
        Self::asking_on(database, data_dir, twilio, twilio.clock.clone(), &[]).await
    }

    fn of(app: App, pool: PgPool, database: Arc<TestDatabase>, data_dir: Arc<TempDir>) -> Self {
        let url = app.url();
        Self { app, pool, url, database, data_dir }
    }

    /// Of the worker lease, once it has it.
    pub async fn epoch(&self) -> i64 {
        let mut held = self.app.state.lease.held();
        held.wait_for(Option::is_some).await.unwrap().unwrap()
    }

    /// Returns when a job has succeeded at that time of its clock or later.
    pub async fn has_succeeded(&self, job: &str, at: time::OffsetDateTime) {
        let until = async {
            loop {
                let last: Option<Option<time::OffsetDateTime>> =
                    sqlx::query_scalar("select last_success_at from sync_state where job_name = $1")
                        .bind(job)
                        .fetch_optional(&self.pool)
                        .await
                        .unwrap();
                // The database keeps microseconds.
                if last.flatten().is_some_and(|last| last + time::Duration::MICROSECOND >= at) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(FOREVER, until).await.is_err() {
            panic!("{job} has not succeeded after {FOREVER:?}: {}", self.get("/health").await);
        }
    }

    pub async fn post(&self, path: &str) -> (u16, serde_json::Value) {
        let response = client::http().post(format!("{}{path}", self.url)).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Stops, and keeps what it has on its disk and in its database.
    pub async fn stop(self) -> Stopped {
        let Self { app, database, data_dir, .. } = self;
        app.stop().await;
        Stopped { database, data_dir }
    }

    pub fn twilio(&self) -> Twilio {
        Twilio::new(&self.url)
    }

    /// Connections of their own to the same database.
    pub async fn another_pool(&self, most: u32) -> PgPool {
        installation::connect(self.database.options(), most).await.unwrap()
    }

    /// Returns when everything that was accepted so far is decided and folded; gives the position.
    pub async fn settled(&self) -> i64 {
        match tokio::time::timeout(FOREVER, self.settle()).await {
            Ok(position) => position,
            Err(_) => panic!("not settled after {FOREVER:?}: {}", self.waiting().await),
        }
    }

    async fn waiting(&self) -> String {
        let rows: Vec<String> = sqlx::query_scalar(
            "select concat_ws(' ', id, event_type, processing_status, error) from twilio_webhook_inbox
              where processing_status in ('pending', 'failed') order by id limit 10",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        format!("waiting {rows:?}, {:?}", self.app.state.progress.borrow().clone())
    }

    async fn settle(&self) -> i64 {
        let mut progress = self.app.state.progress.clone();
        loop {
            self.drained().await;
            let (waiting, head): (i64, i64) = sqlx::query_as(
                "select (select count(*) from twilio_webhook_inbox where processing_status in ('pending', 'failed')),
                        (select coalesce(max(id), 0) from call_events)",
            )
            .fetch_one(&self.pool)
            .await
            .unwrap();
            if waiting == 0 {
                progress.wait_for(|progress| progress.position >= head).await.unwrap();
                return head;
            }
            // The worker commits rows with their events, so the next batch is what there is to wait for.
            tokio::task::yield_now().await;
        }
    }

    pub async fn get(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.fetch(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub async fn fetch(&self, path: &str) -> (u16, serde_json::Value) {
        let response = client::http().get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    pub async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }
}

/// What a callbook that was stopped has left.
pub struct Stopped {
    database: Arc<TestDatabase>,
    data_dir: Arc<TempDir>,
}

impl Stopped {
    pub async fn start(self, settings: &[(&str, &str)]) -> Callbook {
        Callbook::on(self.database, self.data_dir, settings).await
    }

    pub async fn asking(self, twilio: &TwilioApi, settings: &[(&str, &str)]) -> Callbook {
        Callbook::asking_on(self.database, self.data_dir, twilio, twilio.clock.clone(), settings).await
    }

    /// The PostgreSQL of [`Callbook::on_its_own_server`].
    pub fn server(&self) -> &OwnServer {
        self.database.own_server()
    }

    /// Starts as far as it goes without a database.
    pub async fn open_door(&self) -> (Door, Writer) {
        let (config, credentials, listener) = settle_in(&self.data_dir, &[]).await;
        Door::open(&config, credentials, listener).await.unwrap()
    }

    /// Goes on with the start.
    pub async fn behind(self, (door, writer): (Door, Writer)) -> Callbook {
        let pool = installation::connect(self.database.options(), 10).await.unwrap();
        let book = Book::open(pool.clone(), &owner()).await.unwrap();
        let (config, ..) = settle_in(&self.data_dir, &[]).await;
        let access = Access::open(&config, door.address.ip(), pool.clone()).await.unwrap();
        let app = App::behind(door, writer, book, access, None);
        Callbook::of(app, pool, self.database, self.data_dir)
    }
}

/// The same account, as the simulated Twilio has it.
pub fn account() -> Account {
    Account {
        sid: ACCOUNT_SID.to_owned(),
        auth_token: SecretString::from(AUTH_TOKEN),
        owned_numbers: vec![OURS.to_owned()],
        sip_user: "dispatcher".to_owned(),
        sip_domain: "abchomes.sip.us1.twilio.com".to_owned(),
    }
}

fn owner() -> Owner {
    Owner { account_sid: ACCOUNT_SID.to_owned(), simulated: true }
}

async fn settle_in(data_dir: &TempDir, settings: &[(&str, &str)]) -> (Config, Credentials, TcpListener) {
    let mut environment = vec![
        ("DATABASE_URL".to_owned(), "postgres://test".to_owned()),
        ("SIMULATE".to_owned(), "true".to_owned()),
        ("PORT".to_owned(), "0".to_owned()),
        ("SIMULATION_CALLS_PER_MINUTE".to_owned(), "0".to_owned()),
        ("CALLBOOK_DATA_DIR".to_owned(), data_dir.path().display().to_string()),
        ("SPOOL_MEBIBYTES".to_owned(), "1".to_owned()),
        // What is waited for is asked for again and again.
        ("RATE_LIMIT_PER_SECOND".to_owned(), "0".to_owned()),
        ("CALLBOOK_ADMIN_TOKEN".to_owned(), ADMIN_TOKEN.to_owned()),
    ];
    for (name, value) in settings {
        environment.push(((*name).to_owned(), (*value).to_owned()));
    }
    let config = Config::from_sources(environment).unwrap();
    let listener = TcpListener::bind(config.bind).await.unwrap();
    let credentials = Credentials { owner: owner(), auth_token: SecretString::from(AUTH_TOKEN) };
    (config, credentials, listener)
}

/// Nothing is timed by this: it turns a test that would hang into one that says what it waits for.
const FOREVER: Duration = Duration::from_secs(120);

/// A Call SID of 32 digits that ends in `n`.
pub fn call_sid(n: u32) -> String {
    format!("CA{n:032}")
}
