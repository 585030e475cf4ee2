//! The application, put together the same way in production and in tests.
//!
//! What Twilio sends goes to the inbox; the worker decides it; the committer appends; the runner folds; REST
//! and the live stream read what was folded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::direction::Lines;
use projections::chain;
use projections::ids::IdKey;
use projections::runner::{Progress, Runner};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::door::{Door, DoorState};
use crate::event_store::Committer;
use crate::http::router::router;
use crate::http::stream::Broadcaster;
use crate::ingest::Worker;
use crate::ingest::inbox::Writer;
use crate::installation::{self, InstallationError, Owner};
use crate::lease::Lease;
use crate::wakeup::Wakeup;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    pub door: DoorState,
    pub pool: PgPool,
    pub ids: IdKey,
    pub progress: watch::Receiver<Progress>,
    pub lease: Lease,
    pub broadcaster: Broadcaster,
}

/// Whose webhooks are taken, and with which key they are signed.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub owner: Owner,
    pub auth_token: SecretString,
}

/// A running callbook. Dropped, it ends what goes on in the background; [`App::stop`] stops it in order, and lets
/// what runs finish.
#[derive(Debug)]
pub struct App {
    pub state: AppState,
    pub address: SocketAddr,
    door: Door,
    /// What goes on in the background for as long as callbook runs.
    tasks: JoinSet<&'static str>,
}

/// How long queries at hand may take once callbook is stopping.
const LAST_QUERIES: Duration = Duration::from_secs(5);

/// Why the application did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Installation(#[from] InstallationError),
    #[error("the read model cannot be read")]
    ReadModel(#[from] sqlx::Error),
    #[error("the listening socket cannot be used")]
    Socket(#[from] std::io::Error),
}

impl StartError {
    /// Whether it is about the database's being away, and not about what is in it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Installation(error) => error.may_pass(),
            Self::ReadModel(error) => installation::is_away(error),
            Self::Socket(_) => false,
        }
    }
}

/// A database that is ours and up to date.
#[derive(Debug)]
pub struct Book {
    pool: PgPool,
    ids: IdKey,
    runner: Runner,
}

impl Book {
    pub async fn open(pool: PgPool, owner: &Owner) -> Result<Self, StartError> {
        let ids = installation::prepare(&pool, owner).await?;
        let runner = Runner::init(pool.clone(), &ids).await?;
        Ok(Self { pool, ids, runner })
    }
}

impl App {
    /// Starts everything on a connected database and a bound socket.
    pub async fn start(
        config: &Config,
        credentials: Credentials,
        pool: PgPool,
        listener: TcpListener,
    ) -> Result<Self, StartError> {
        let book = Book::open(pool, &credentials.owner).await?;
        let (door, writer) = Door::open(config, credentials, listener).await?;
        Ok(Self::behind(door, writer, book))
    }

    /// Starts what the door leads to.
    pub fn behind(door: Door, writer: Writer, book: Book) -> Self {
        let Book { pool, ids, runner } = book;
        let mut tasks = JoinSet::new();
        let progress = runner.progress();
        let lease = Lease::new(pool.clone());
        let wakeup = Arc::new(Wakeup::new(pool.clone(), lease.clone(), runner.clone()));
        let appended = Arc::clone(&wakeup);
        let committer = Committer::start(pool.clone(), move || appended.appended());
        let lines = door.state.routing.lines.clone();
        let worker = Worker::new(pool.clone(), committer, lines, wakeup.worker());
        let broadcaster = Broadcaster::start(pool.clone(), progress.clone(), door.stopping.clone());
        let options = (*pool.connect_options()).clone();
        let stored = Arc::clone(&wakeup);
        let (folding, working) = (lease.held(), lease.held());
        tasks.spawn(async move {
            writer.run(options, move || stored.stored()).await;
            "the inbox"
        });
        tasks.spawn(async move {
            runner.run(folding).await;
            "the projection"
        });
        tasks.spawn(async move {
            worker.run(working).await;
            "the inbox worker"
        });
        tasks.spawn(async move {
            wakeup.run().await;
            "the wake-up of other instances"
        });
        let holding = lease.clone();
        tasks.spawn(async move {
            holding.run().await;
            "the worker lease"
        });
        let state = AppState { door: door.state.clone(), pool, ids, progress, lease, broadcaster };
        door.lead_to(router(state.clone()));
        Self { state, address: door.address, door, tasks }
    }

    /// Where this process reaches itself.
    pub fn url(&self) -> String {
        local_url(self.address)
    }

    /// Resolves if something that must go on has ended; says what. Nothing would be decided or folded any more.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            _ = &mut self.door.server => "the server".to_owned(),
            ended = self.tasks.join_next() => match ended {
                Some(Ok(what)) => what.to_owned(),
                Some(Err(error)) => error.to_string(),
                None => "everything in the background".to_owned(),
            },
        }
    }

    /// Takes no further request, lets those at hand finish, and stops. What waits in the inbox or in the spool is
    /// decided after the next start.
    pub async fn stop(mut self) {
        self.door.stop().await;
        self.tasks.shutdown().await;
        let released = tokio::time::timeout(LAST_QUERIES, self.state.lease.release()).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(error = chain(&error), "the worker lease is kept until its time is out");
        }
        // A database that hangs does not give its connections back.
        let _ = tokio::time::timeout(LAST_QUERIES, self.state.pool.close()).await;
        self.door.close().await;
    }
}

/// The lines that are ours, as configured.
pub fn lines(config: &Config) -> Lines {
    Lines::new(config.owned_numbers.iter().cloned(), &config.sip_domain)
}

/// A bound address as a URL that reaches it from this machine.
pub fn local_url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}
