//! The application, put together the same way in production and in tests.
//!
//! What Twilio sends goes to the inbox; the worker decides it; the committer appends; the runner folds; REST
//! and the live stream read what was folded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::direction::Lines;
use domain::phone::PhoneNumber;
use projections::chain;
use projections::runner::{Progress, Runner};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::{Account, Config, RecordCalls};
use crate::event_store::Committer;
use crate::http::router::router;
use crate::http::stream::Broadcaster;
use crate::ingest::{Inbox, Worker};
use crate::installation::{self, InstallationError, Owner};
use crate::lease::Lease;
use crate::twilio::routing::Routing;
use crate::twilio::twiml::Callbacks;
use crate::wakeup::Wakeup;

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppState {
    pub pool: PgPool,
    pub inbox: Inbox,
    pub progress: watch::Receiver<Progress>,
    pub lease: Lease,
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
    /// Ends when the last request has been answered after `stopping`.
    server: JoinHandle<()>,
    /// What goes on in the background for as long as callbook runs.
    tasks: JoinSet<&'static str>,
}

/// How long requests at hand may take once callbook is stopping.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

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

        let runner = Runner::init(pool.clone(), &ids).await?;
        let progress = runner.progress();
        let lease = Lease::new(pool.clone());
        let wakeup = Arc::new(Wakeup::new(pool.clone(), lease.clone(), runner.clone()));
        let appended = Arc::clone(&wakeup);
        let committer = Committer::start(pool.clone(), move || appended.appended());
        let stored = Arc::clone(&wakeup);
        let inbox = Inbox::start(pool.clone(), move || stored.stored());
        let routing = routing(config);
        let worker = Worker::new(pool.clone(), committer.clone(), routing.lines.clone(), wakeup.worker());
        let broadcaster = Broadcaster::start(pool.clone(), progress.clone(), stopping.clone());
        let (folding, working) = (lease.held(), lease.held());
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

        advise(config, &routing);
        let webhook_base_url = config.webhook_base_url.clone().unwrap_or_else(|| local_url(address));
        let state = AppState {
            pool,
            inbox,
            progress,
            lease,
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
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(error = chain(&error), "callbook no longer listens");
            }
        });
        Ok(Self { state, address, stopping, server, tasks })
    }

    /// Where this process reaches itself.
    pub fn url(&self) -> String {
        local_url(self.address)
    }

    /// Resolves if something that must go on has ended; says what. Nothing would be decided or folded any more.
    pub async fn failed(&mut self) -> String {
        tokio::select! {
            _ = &mut self.server => "the server".to_owned(),
            ended = self.tasks.join_next() => match ended {
                Some(Ok(what)) => what.to_owned(),
                Some(Err(error)) => error.to_string(),
                None => "everything in the background".to_owned(),
            },
        }
    }

    /// Takes no further request, lets those at hand finish, and stops. What waits in the inbox is decided
    /// after the next start.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if !self.server.is_finished() && tokio::time::timeout(LAST_REQUESTS, &mut self.server).await.is_err()
        {
            tracing::warn!("some requests were not answered within {LAST_REQUESTS:?} of the stop");
            self.server.abort();
        }
        self.tasks.shutdown().await;
        if let Err(error) = self.state.lease.release().await {
            tracing::warn!(error = chain(&error), "the worker lease is kept until its time is out");
        }
        self.state.pool.close().await;
    }
}

/// The lines that are ours, as configured.
pub fn lines(config: &Config) -> Lines {
    Lines::new(config.owned_numbers.iter().cloned(), &config.sip_domain)
}

/// What a real account in development may do without, and what then does not work.
fn advise(config: &Config, routing: &Routing) {
    if matches!(config.twilio, Account::Simulated) {
        return;
    }
    if config.webhook_base_url.is_none() {
        tracing::warn!(
            "WEBHOOK_BASE_URL is not set: Twilio's signatures will not fit, and all webhooks are refused"
        );
    }
    if routing.caller_id.is_none() {
        tracing::warn!(
            "OWNED_PHONE_NUMBERS is not set: nobody can be called, and Twilio says which way calls go"
        );
    }
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
