//! A subject in a process of its own, so that its peak memory is its own.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use callbook::app::{Book, Rest};
use callbook::clock::Clock;
use callbook::config::Config;
use callbook::door;
use callbook::engine::Engine;
use callbook::installation;
use callbook::metrics::Metrics;
use callbook::reconcile::{Job, Window};
use clap::ValueEnum;
use cqrs_es::persist::QueryReplay;
use futures::TryStreamExt;
use postgres_es::PostgresEventRepository;
use projections::ids::IdKey;
use projections::rebuild::Phase;
use projections::runner::Runner;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::import::{AT_ONCE, HISTORY};
use crate::measure::{memory_mib, peak_memory_mib, reset_peak_memory};
use crate::peers::{self, Stored};
use crate::server::{CONNECTIONS, credentials};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The projection, from where it stands to the end of the log.
    CatchUp,
    /// A rebuild with comparison and swap.
    Rebuild,
    /// `COPY` of the log in order, discarded.
    Read,
    /// The calls that a Twilio tells of, to projected rows.
    Import,
    /// `QueryReplay` of a stock `events` table into a view.
    Replay,
}

/// What a subject tells of itself.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    pub seconds: f64,
    /// Of a rebuild: until everything is folded and loaded.
    pub loaded_seconds: f64,
    /// At most, beyond what the process had when it began; of an import all that the process had.
    pub memory_mib: f64,
}

/// Runs a subject in a child process.
pub async fn measure(subject: Subject, url: &str) -> anyhow::Result<Measured> {
    measure_with(subject, &["--database", url]).await
}

/// The same for one that asks a Twilio.
pub async fn measure_asking(subject: Subject, url: &str, twilio: &str) -> anyhow::Result<Measured> {
    measure_with(subject, &["--database", url, "--twilio", twilio]).await
}

async fn measure_with(subject: Subject, arguments: &[&str]) -> anyhow::Result<Measured> {
    let name = subject.to_possible_value().context("a subject has a name")?;
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--child", name.get_name()])
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    anyhow::ensure!(
        output.status.success(),
        "the child that measures {subject:?} ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("the child's measurements cannot be read")
}

/// The child's side: measures and prints.
pub async fn run(subject: Subject, url: &str, twilio: Option<&str>) -> anyhow::Result<()> {
    let pool = installation::connect(PgConnectOptions::from_str(url)?, CONNECTIONS).await?;
    reset_peak_memory();
    let before = if subject == Subject::Import { 0.0 } else { memory_mib() };
    let started = Instant::now();
    let mut loaded = Duration::ZERO;
    match subject {
        Subject::CatchUp => catch_up(&pool).await?,
        Subject::Rebuild => loaded = rebuild(&pool).await?,
        Subject::Import => import(pool, twilio.context("an import asks a Twilio")?).await?,
        Subject::Read => read(&pool).await?,
        Subject::Replay => replay(&pool).await?,
    }
    let measured = Measured {
        seconds: started.elapsed().as_secs_f64(),
        loaded_seconds: loaded.as_secs_f64(),
        memory_mib: peak_memory_mib() - before,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn ids(pool: &PgPool) -> anyhow::Result<IdKey> {
    let key: Vec<u8> = sqlx::query_scalar("select id_key from installation").fetch_one(pool).await?;
    let key: [u8; 32] = key.try_into().ok().context("an id key has 32 bytes")?;
    Ok(IdKey::new(&key))
}

async fn catch_up(pool: &PgPool) -> anyhow::Result<()> {
    Runner::init(pool.clone(), &ids(pool).await?).await?.catch_up(None).await?;
    Ok(())
}

/// Says when the log was folded and loaded.
async fn rebuild(pool: &PgPool) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let loaded = std::sync::Mutex::new(None);
    projections::rebuild::rebuild(pool, &ids(pool).await?, |progress| {
        if progress.phase > Phase::Loading
            && let Ok(mut loaded) = loaded.lock()
        {
            loaded.get_or_insert(started.elapsed());
        }
    })
    .await?;
    loaded.into_inner().ok().flatten().context("a rebuild says when it has read the log")
}

/// As `callbook reconcile` does it.
async fn import(pool: PgPool, twilio: &str) -> anyhow::Result<()> {
    let config = Config::from_sources([
        ("TWILIO_API_BASE_URL".to_owned(), twilio.to_owned()),
        ("TWILIO_REQUESTS_AT_ONCE".to_owned(), AT_ONCE.to_string()),
    ])?;
    let rest = Rest::new(&config, &credentials(), twilio, Clock::System)?;
    let routing = watch::Sender::new(door::routing(&config));
    let book = Book::open(pool, &credentials().owner).await?;
    let engine = Engine::start(book, routing.subscribe(), Some(rest.reconcile), &Metrics::new());
    let reconciler = engine.reconciler.clone().context("it asks")?;
    let now = OffsetDateTime::now_utc();
    let window = Window::try_new(now - HISTORY, None, now)?;
    reconciler.sync(Job::Range(window), None, |_| {}).await?;
    engine.stop().await;
    Ok(())
}

async fn read(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut copy = connection
        .copy_out_raw(
            "copy (select id, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, created_at
                     from call_events order by id) to stdout (format binary)",
        )
        .await?;
    while copy.try_next().await?.is_some() {}
    Ok(())
}

async fn replay(pool: &PgPool) -> anyhow::Result<()> {
    let repository = PostgresEventRepository::new(pool.clone());
    let mut replay = QueryReplay::<_, _, Stored>::new(repository, peers::query(pool));
    replay.use_error_handler(Box::new(|error| panic!("the peer's replay failed: {error}")));
    replay.replay_all().await?;
    Ok(())
}
