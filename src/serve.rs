//! `callbook` alone: the database, the application on it, and the simulated account if there is no real one.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, anyhow};
use projections::chain;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::access::Access;
use crate::app::{self, App, Book, Credentials, Rest, StartError};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::door::Door;
use crate::installation::{self, Owner};
use crate::postgres::{self, Cluster, PostgresError};
use crate::simulator::{self, Service, Traffic, World};

/// How long to wait for a database that cannot be had.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Where things are on this machine, and whose they are.
#[derive(Debug)]
pub struct Home {
    pub data_dir: PathBuf,
    pub credentials: Credentials,
    /// The simulated Twilio, where there is no real one.
    pub simulated: Option<simulator::Account>,
}

impl Home {
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone().unwrap_or_else(postgres::default_data_dir);
        if matches!(config.database, config::Database::Embedded) {
            // Before anything else makes it, with rights that keep PostgreSQL's user out.
            postgres::create_data_dir(&data_dir)?;
        }
        match &config.twilio {
            config::Account::Real { sid, auth_token } => Ok(Self {
                data_dir,
                credentials: Credentials {
                    owner: Owner { account_sid: sid.clone(), simulated: false },
                    auth_token: auth_token.clone(),
                },
                simulated: None,
            }),
            config::Account::Simulated => {
                let account = simulator::Account::load_or_create(
                    &data_dir,
                    config.owned_numbers.iter().map(ToString::to_string).collect(),
                    &config.sip_user,
                    &config.sip_domain,
                )
                .with_context(|| format!("the simulated account in {}", data_dir.display()))?;
                Ok(Self::simulated(data_dir, account))
            }
        }
    }

    /// With an account that is not, or not yet, the one that is kept in the folder.
    pub fn simulated(data_dir: PathBuf, account: simulator::Account) -> Self {
        Self {
            data_dir,
            credentials: Credentials {
                owner: Owner { account_sid: account.sid.clone(), simulated: true },
                auth_token: account.auth_token.clone(),
            },
            simulated: Some(account),
        }
    }

    /// The Twilio to ask: the one that is configured, else the simulated account's own.
    pub async fn twilio(&self, config: &Config) -> anyhow::Result<Twilio> {
        match (&config.twilio_api.base_url, &self.simulated) {
            (Some(url), _) => Ok(Twilio::Configured(url.clone())),
            (None, Some(account)) => {
                let service = Service::start(account.clone(), &self.data_dir, Clock::System).await;
                Ok(Twilio::Simulated(service.context("the simulated Twilio")?))
            }
            (None, None) => Err(anyhow!("there is no Twilio to ask; set TWILIO_API_BASE_URL")),
        }
    }
}

/// Whose REST API is asked.
#[derive(Debug)]
pub enum Twilio {
    Configured(String),
    /// For as long as this lives.
    Simulated(Service),
}

impl Twilio {
    pub fn base_url(&self) -> &str {
        match self {
            Self::Configured(url) => url,
            Self::Simulated(service) => &service.base_url,
        }
    }

    /// Where simulated calls are placed.
    fn world(&self) -> Option<World> {
        match self {
            Self::Configured(_) => None,
            Self::Simulated(service) => Some(service.world.clone()),
        }
    }
}

/// A database to work on: the one that `DATABASE_URL` names, or one in the embedded cluster.
#[derive(Debug)]
pub struct Store {
    pub options: PgConnectOptions,
    /// For people with psql. A secret.
    pub url: SecretString,
    /// What to open again if it is lost, where the cluster is ours.
    cluster: Option<(postgres::Options, Cluster)>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("DATABASE_URL cannot be read")]
    Url(#[source] sqlx::Error),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

impl StoreError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Url(_) => false,
            Self::Postgres(error) => error.may_pass(),
        }
    }
}

impl Store {
    /// Attaches to the cluster that a running callbook owns, or starts it for as long as this lives.
    pub async fn open(config: &Config, home: &Home) -> Result<Self, StoreError> {
        match &config.database {
            config::Database::External { url } => {
                let options = url.expose_secret().parse().map_err(StoreError::Url)?;
                Ok(Self { options, url: url.clone(), cluster: None })
            }
            config::Database::Embedded => {
                let name = database_name(&home.credentials.owner);
                let options = postgres::Options { data_dir: home.data_dir.clone(), durable: true };
                let cluster = Cluster::open(options.clone()).await?;
                cluster.ensure_database(&name).await?;
                Ok(Self {
                    options: cluster.connect_options(&name),
                    url: SecretString::from(cluster.url(&name)),
                    cluster: Some((options, cluster)),
                })
            }
        }
    }

    pub async fn close(self) -> anyhow::Result<()> {
        match self.cluster {
            Some((_, cluster)) => Ok(cluster.stop().await?),
            None => Ok(()),
        }
    }

    /// Starts the embedded PostgreSQL again whenever it ends although we did not stop it, on the same socket.
    async fn keep(&mut self) -> Infallible {
        let Some((options, cluster)) = &mut self.cluster else { return std::future::pending().await };
        loop {
            let lost = cluster.exited().await;
            tracing::error!(error = chain(&lost), "the database has gone and is started again");
            *cluster = loop {
                match Cluster::open(options.clone()).await {
                    Ok(again) => break again,
                    Err(error) => tracing::error!(error = chain(&error), "the database cannot be started"),
                }
                tokio::time::sleep(BETWEEN_TRIES).await;
            };
        }
    }
}

/// One database per account: a simulated account never shares one with a real account.
fn database_name(owner: &Owner) -> String {
    format!("callbook_{}", owner.account_sid.to_lowercase())
}

/// Serves until a signal asks it to stop.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let mut stop = pin!(asked_to_stop()?);
    allow_many_clients();
    // The socket first: a port that is taken is known before a database is started.
    let listener = bind(config.bind).await?;
    let home = Home::open(&config)?;
    let twilio = home.twilio(&config).await?;
    let rest = Rest::new(&config, &home.credentials, twilio.base_url(), Clock::System)?;
    let (door, writer) = Door::open(&config, home.credentials.clone(), listener).await?;
    tracing::info!("webhooks are taken at {}; the database comes next", app::local_url(door.address));
    let opened = tokio::select! {
        opened = open(&config, &home, door.address.ip()) => opened,
        () = &mut stop => {
            door.close().await;
            return Ok(());
        }
    };
    let (store, book, access) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            door.close().await;
            return Err(error);
        }
    };
    run(&config, &home, &twilio, store, App::behind(door, writer, book, access, Some(rest)), stop).await
}

/// The database, whenever it can be had. Callers are routed and webhooks kept meanwhile, so only what waiting cannot
/// help is an error: another account's book, tables that are not ours to change, a machine without PostgreSQL.
async fn open(config: &Config, home: &Home, address: IpAddr) -> anyhow::Result<(Store, Book, Access)> {
    let mut store = sooner_or_later(StoreError::may_pass, || Store::open(config, home)).await?;
    let options = store.options.clone();
    let opened = tokio::select! {
        opened = sooner_or_later(StartError::may_pass, || open_book(config, home, &options, address)) => opened,
        never = store.keep() => match never {},
    };
    match opened {
        Ok((book, access)) => Ok((store, book, access)),
        Err(error) => {
            // Why it did not start is what whoever started it needs.
            if let Err(error) = store.close().await {
                tracing::error!(error = format!("{error:#}"), "PostgreSQL could not be stopped");
            }
            Err(error.into())
        }
    }
}

async fn open_book(
    config: &Config,
    home: &Home,
    database: &PgConnectOptions,
    address: IpAddr,
) -> Result<(Book, Access), StartError> {
    // One connection is the inbox's own.
    let pool = installation::connect(database.clone(), config.database_max_connections - 1).await?;
    let book = Book::open(pool.clone(), &home.credentials.owner).await?;
    Ok((book, Access::open(config, address, pool).await?))
}

/// Tries again for as long as the error may pass, and says so once.
async fn sooner_or_later<T, E: Error>(
    may_pass: impl Fn(&E) -> bool,
    mut open: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut said = String::new();
    loop {
        match open().await {
            Err(error) if may_pass(&error) => {
                let error = chain(&error);
                if error != said {
                    tracing::error!(error, "callbook starts without its database, and goes on trying");
                    said = error;
                }
            }
            result => return result,
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

async fn run(
    config: &Config,
    home: &Home,
    twilio: &Twilio,
    mut store: Store,
    mut app: App,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    tracing::info!(data = %home.data_dir.display(), "callbook listens on {}", app.url());
    let traffic = match &home.simulated {
        None => None,
        Some(account) => {
            tracing::info!(
                simulated.calls_per_minute = config.simulation.calls_per_minute,
                "there are no Twilio credentials, so the account is simulated: no call is real"
            );
            Some(Traffic::start(account.clone(), &app, config.simulation, twilio.world())?)
        }
    };
    let result = tokio::select! {
        () = &mut stop => Ok(()),
        never = store.keep() => match never {},
        what = app.failed() => Err(anyhow!("{what} has ended; see the log lines before this one")),
    };
    tracing::info!("callbook is stopping");
    // A second Ctrl-C does not wait for what is at hand.
    let stopped = async {
        if let Some(traffic) = traffic {
            traffic.stop().await;
        }
        app.stop().await;
    };
    tokio::select! {
        () = stopped => {}
        () = &mut stop => tracing::warn!("callbook was asked twice and stops at once"),
    }
    let closed = store.close().await;
    result.and(closed)
}

/// Each client of the live stream is an open file, and what a process may open unless it asks is often 1,024.
fn allow_many_clients() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "port {} of {} is taken; stop what listens there (another callbook?) or set PORT to another",
            address.port(),
            address.ip()
        ),
        _ => anyhow!("cannot listen on {address}: {error}; check BIND_ADDRESS and PORT"),
    })
}

/// Ctrl-C, or SIGTERM from a service manager. Polled again after it resolved, it waits for the next.
fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(std::future::poll_fn(move |context| {
        if interrupt.poll_recv(context).is_ready() || terminate.poll_recv(context).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }))
}
