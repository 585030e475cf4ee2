//! The application, put together the same way in production and in tests.
//!
//! What Twilio sends goes to the inbox; the worker decides it; the committer appends; the runner folds; REST
//! and the live stream read what was folded.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::conversations::Fold;
use projections::ids::IdKey;
use projections::runner::{Progress, Runner};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access::{Access, AccessError};
use crate::clock::Clock;
use crate::config::Config;
use crate::door::{Door, DoorState};
use crate::engine::Engine;
use crate::http::calls::csv::Downloads;
use crate::http::router::router;
use crate::http::stream::Broadcaster;
use crate::ingest::inbox::Writer;
use crate::installation::{self, InstallationError, Owner};
use crate::lease::Lease;
use crate::people::Editor;
use crate::postgres;
use crate::rebuilds::Rebuilds;
use crate::reconcile::{self, Reconciler};
use crate::recordings::Recordings;
use crate::twilio::client::{self, Client, ClientError};
use crate::twilio::routing::Routing;
use crate::wakeup::Wakeup;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    pub door: DoorState,
    pub pool: PgPool,
    pub ids: IdKey,
    pub progress: watch::Receiver<Progress>,
    pub lease: Lease,
    pub editor: Editor,
    pub broadcaster: Broadcaster,
    pub access: Access,
    pub downloads: Downloads,
    /// Nothing where there is no Twilio to ask.
    pub reconciler: Option<Reconciler>,
    /// The same.
    pub recordings: Option<Recordings>,
    pub rebuilds: Rebuilds,
    pub wakeup: Arc<Wakeup>,
}

/// Whose webhooks are taken, and with which key they are signed.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub owner: Owner,
    pub auth_token: SecretString,
}

/// What is asked of Twilio's REST API.
#[derive(Clone, Debug)]
pub struct Rest {
    pub reconcile: reconcile::Settings,
    pub recordings: Recordings,
}

impl Rest {
    /// At `base_url`, with the API key that is configured, else with the account's own credentials. Copies of
    /// recordings are kept in `recordings` in the data folder.
    pub fn new(
        config: &Config,
        credentials: &Credentials,
        base_url: &str,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let account_sid = credentials.owner.account_sid.clone();
        let (username, password) = match &config.twilio_api.key {
            Some(key) => key.clone(),
            None => (account_sid.clone(), credentials.auth_token.clone()),
        };
        let requests_at_once = config.twilio_api.requests_at_once;
        let client = Client::new(client::Settings {
            base_url: base_url.to_owned(),
            account_sid,
            username,
            password,
            at_once: requests_at_once,
        })?;
        let data_dir = config.data_dir.clone().unwrap_or_else(postgres::default_data_dir);
        let recordings =
            Recordings::new(client.clone(), data_dir.join("recordings"), config.recordings_cache_bytes);
        let reconcile = reconcile::Settings {
            client,
            clock,
            jobs: config.reconcile,
            requests_at_once,
            learns_numbers: config.owned_numbers.is_empty(),
        };
        Ok(Self { reconcile, recordings })
    }
}

/// A running callbook. Dropped, it ends what goes on in the background; [`App::stop`] stops it in order, and lets
/// what runs finish.
#[derive(Debug)]
pub struct App {
    pub state: AppState,
    pub address: SocketAddr,
    door: Door,
    engine: Engine,
}

/// Why the application did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Installation(#[from] InstallationError),
    #[error("the read model cannot be read")]
    ReadModel(#[from] sqlx::Error),
    #[error("the listening socket cannot be used")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("Twilio cannot be asked")]
    Twilio(#[from] ClientError),
}

impl StartError {
    /// Whether it is about the database's being away, and not about what is in it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Installation(error) => error.may_pass(),
            Self::ReadModel(error) | Self::Access(AccessError::Database(error)) => {
                installation::is_away(error)
            }
            Self::Socket(_) | Self::Twilio(_) | Self::Access(AccessError::NoAdminToken { .. }) => false,
        }
    }
}

/// A database that is ours and up to date.
#[derive(Debug)]
pub struct Book {
    pub(crate) pool: PgPool,
    pub(crate) ids: IdKey,
    pub(crate) runner: Runner,
    /// Our numbers, as Twilio told them the last time.
    learnt: Vec<PhoneNumber>,
    /// Which life of the log this is.
    incarnation: String,
}

impl Book {
    pub async fn open(pool: PgPool, owner: &Owner) -> Result<Self, StartError> {
        let ids = installation::prepare(&pool, owner).await?;
        let runner = Runner::init(pool.clone(), &ids).await?;
        let learnt = reconcile::owned_numbers(&pool).await?;
        let incarnation = installation::incarnation(&pool).await?;
        Ok(Self { pool, ids, runner, learnt, incarnation })
    }

    /// Before anything is judged: where nobody configured our numbers, they are those of the last time.
    pub fn remind(&self, routing: &watch::Sender<Routing>) {
        routing.send_if_modified(|routing| {
            routing.caller_id.is_none() && !self.learnt.is_empty() && routing.own(self.learnt.clone())
        });
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
        let twilio = config.twilio_api.base_url.as_deref();
        let rest = twilio.map(|url| Rest::new(config, &credentials, url, Clock::System)).transpose()?;
        let book = Book::open(pool, &credentials.owner).await?;
        let access = Access::open(config, listener.local_addr()?.ip(), book.pool.clone()).await?;
        let (door, writer) = Door::open(config, credentials, listener).await?;
        Ok(Self::behind(door, writer, book, access, rest))
    }

    /// Starts what the door leads to. Without a Twilio to ask, only webhooks tell of calls.
    pub fn behind(door: Door, writer: Writer, mut book: Book, access: Access, rest: Option<Rest>) -> Self {
        let routing = door.state.routing.clone();
        book.remind(&routing);
        let incarnation = book.incarnation.clone();
        book.runner = book.runner.keeping(door.retention.previous_generation);
        let clock = rest.as_ref().map_or(Clock::System, |rest| rest.reconcile.clock.clone());
        let (reconcile, recordings) = rest.map(|rest| (rest.reconcile, rest.recordings)).unzip();
        let mut engine = Engine::start(book, routing.subscribe(), reconcile, &door.state.metrics);
        engine.reconcile(routing);
        engine.clear_away(clock, door.retention);
        let (pool, progress) = (engine.pool.clone(), engine.progress.clone());
        let broadcaster =
            Broadcaster::start(pool.clone(), &incarnation, progress.clone(), door.stopping.clone());
        let options = (*pool.connect_options()).clone();
        let stored = Arc::clone(&engine.wakeup);
        engine.tasks.spawn(async move {
            writer.run(options, move || stored.stored()).await;
            "the inbox"
        });
        let state = AppState {
            door: door.state.clone(),
            pool,
            ids: engine.ids.clone(),
            progress,
            lease: engine.lease.clone(),
            editor: Editor::new(engine.pool.clone(), engine.committer.clone()),
            broadcaster,
            access,
            downloads: Downloads::default(),
            reconciler: engine.reconciler.clone(),
            recordings,
            rebuilds: Rebuilds::new(engine.pool.clone(), Fold::from(&engine.ids)),
            wakeup: Arc::clone(&engine.wakeup),
        };
        door.lead_to(router(state.clone()));
        Self { state, address: door.address, door, engine }
    }

    /// Where this process reaches itself.
    pub fn url(&self) -> String {
        local_url(self.address)
    }

    /// Resolves if something that must go on has ended; says what. Nothing would be decided or folded any more.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            _ = &mut self.door.server => "the server".to_owned(),
            ended = self.engine.tasks.join_next() => match ended {
                Some(Ok(what)) => what.to_owned(),
                Some(Err(error)) => error.to_string(),
                None => "everything in the background".to_owned(),
            },
        }
    }

    /// Takes no further request, lets those at hand finish, and stops. What waits in the inbox or in the spool is
    /// decided after the next start.
    pub async fn stop(mut self) {
        // Side by side: whoever watches a rebuild is told that it ends.
        tokio::join!(self.door.stop(), self.state.rebuilds.stop());
        self.engine.stop().await;
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
