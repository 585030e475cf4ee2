//! The application, put together the same way in production and in tests.
//!
//! What Twilio sends goes to the inbox; the worker decides it; the committer appends; the runner folds; REST
//! and the live stream read what was folded.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::runner::{Progress, Runner};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, RecordCalls};
use crate::event_store::Committer;
use crate::http::router::router;
use crate::http::stream::Broadcaster;
use crate::ingest::{Inbox, Worker};
use crate::installation::{self, InstallationError, Owner};
use crate::twilio::routing::Routing;
use crate::twilio::twiml::Callbacks;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    pub pool: PgPool,
    pub inbox: Inbox,
    pub progress: watch::Receiver<Progress>,
    pub broadcaster: Broadcaster,
    pub routing: Arc<Routing>,
    pub callbacks: Arc<Callbacks>,
    pub webhook_base_url: Arc<str>,
    pub auth_token: SecretString,
    pub account_sid: Arc<str>,
    pub simulated: bool,
}

/// Whose webhooks are taken, and with which key they are signed.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub owner: Owner,
    pub auth_token: SecretString,
}

/// A running callbook. Dropped, it stops at once; [`App::stop`] lets what runs finish.
#[derive(Debug)]
pub struct App {
    pub state: AppState,
    pub address: SocketAddr,
    stopping: CancellationToken,
    tasks: JoinSet<()>,
}

/// Why the application did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Installation(#[from] InstallationError),
    #[error("the read model cannot be read")]
    ReadModel(#[from] sqlx::Error),
    #[error("the listening socket has no address")]
    Socket(#[from] std::io::Error),
}

impl App {
    /// Starts everything on a connected database and a bound socket.
    pub async fn start(
        config: &Config,
        credentials: Credentials,
        pool: PgPool,
        listener: TcpListener,
    ) -> Result<Self, StartError> {
        let ids = installation::prepare(&pool, &credentials.owner).await?;
        let address = listener.local_addr()?;
        let stopping = CancellationToken::new();
        let mut tasks = JoinSet::new();

        let runner = Runner::init(pool.clone(), ids).await?;
        let progress = runner.progress();
        let poke = runner.clone();
        let committer = Committer::start(pool.clone(), move || poke.wake());
        let arrived = Arc::new(Notify::new());
        let knock = Arc::clone(&arrived);
        let inbox = Inbox::start(pool.clone(), move || knock.notify_one());
        let routing = routing(config);
        let worker = Worker::new(pool.clone(), committer.clone(), routing.lines.clone(), arrived);
        let broadcaster = Broadcaster::start(pool.clone(), progress.clone(), stopping.clone());
        tasks.spawn(runner.run());
        tasks.spawn(worker.run());

        let webhook_base_url = config.webhook_base_url.clone().unwrap_or_else(|| local_url(address));
        let state = AppState {
            pool,
            inbox,
            progress,
            broadcaster,
            routing: Arc::new(routing),
            callbacks: Arc::new(callbacks(&webhook_base_url)),
            webhook_base_url: webhook_base_url.into(),
            auth_token: credentials.auth_token,
            account_sid: credentials.owner.account_sid.into(),
            simulated: credentials.owner.simulated,
        };
        let router = router(state.clone());
        let stop = stopping.clone();
        tasks.spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(error = &error as &dyn std::error::Error, "callbook no longer listens");
            }
        });
        Ok(Self { state, address, stopping, tasks })
    }

    /// Where this process reaches itself.
    pub fn url(&self) -> String {
        local_url(self.address)
    }

    /// Takes no further request, lets those at hand finish, and stops. What waits in the inbox is decided
    /// after the next start.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        // The server's task ends by itself once its requests have; it was spawned last.
        while let Some(ended) = self.tasks.join_next().await {
            if ended.is_ok() {
                break;
            }
        }
        self.tasks.shutdown().await;
        self.state.pool.close().await;
    }
}

/// The lines that are ours, as configured.
pub fn lines(config: &Config) -> Lines {
    Lines::new(config.owned_numbers.iter().cloned(), &config.sip_domain)
}

fn routing(config: &Config) -> Routing {
    Routing {
        lines: lines(config),
        dispatcher: format!("sip:{}@{}", config.sip_user, config.sip_domain),
        caller_id: config.owned_numbers.first().map(PhoneNumber::to_string),
        record: config.record_calls == RecordCalls::Dual,
    }
}

fn callbacks(base: &str) -> Callbacks {
    let at = |path: &str| format!("{base}/webhooks/twilio/{path}");
    Callbacks {
        dial_action: at("dial-action"),
        voice_status: at("voice-status"),
        recording_status: at("recording-status"),
    }
}

/// A bound address as a URL that reaches it from this machine.
pub fn local_url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    }
}
