//! What works without a database: the socket, and the webhooks that come through it.
//!
//! It opens first and closes last. Until the book behind it is open, webhooks are answered and wait in the spool,
//! `/health` says so, and everything else is told to come back.

mod connection;
mod listener;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use domain::phone::PhoneNumber;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::app::{Credentials, lines, local_url};
use crate::config::{self, Account, Config, RecordCalls};
use crate::http::limits::Limits;
use crate::http::router;
use crate::ingest::inbox::Writer;
use crate::ingest::spool;
use crate::ingest::{Inbox, Spool};
use crate::metrics::Metrics;
use crate::postgres;
use crate::twilio::routing::Routing;
use crate::twilio::twiml::Callbacks;
use connection::Taking;

/// How long requests at hand may take once callbook is stopping.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// How long the disk may take then.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Has Twilio send a callback again that we answer with 5xx or that does not reach us, twice at most (contract
/// section 3). A fragment is no part of what is signed.
pub(crate) const TRY_AGAIN: &str = "#rc=2&rp=5xx,ct";

/// What answers a webhook. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DoorState {
    pub inbox: Inbox,
    /// Where calls go; what it says of our lines may still be learnt.
    pub routing: watch::Sender<Routing>,
    pub callbacks: Arc<Callbacks>,
    pub webhook_base_url: Arc<str>,
    pub auth_token: SecretString,
    pub account_sid: Arc<str>,
    pub simulated: bool,
    pub metrics: Metrics,
    pub limits: Limits,
    /// How many connections were ended because their client took nothing of what it asked for.
    pub stalled: Arc<AtomicU64>,
}

/// An open socket, and who answers at it.
#[derive(Debug)]
pub struct Door {
    pub state: DoorState,
    pub address: SocketAddr,
    /// Cancelled when no further request is taken.
    pub stopping: CancellationToken,
    pub(crate) retention: config::Retention,
    /// What is answered once the book is open.
    book: Arc<OnceLock<Router>>,
    /// Ends when the last request has been answered after `stopping`.
    pub server: JoinHandle<()>,
}

impl Door {
    /// Takes webhooks from now on. The writer brings them into the inbox, once it has a database.
    pub async fn open(
        config: &Config,
        credentials: Credentials,
        listener: TcpListener,
    ) -> std::io::Result<(Self, Writer)> {
        let address = listener.local_addr()?;
        let spool = Spool::open(spool::Options {
            folder: spool_dir(config),
            account_sid: credentials.owner.account_sid.clone(),
            set_aside: config.spool_bytes,
        });
        let (inbox, writer) = Inbox::new(spool.await?);
        let routing = routing(config);
        advise(config);
        let webhook_base_url = config.webhook_base_url.clone().unwrap_or_else(|| local_url(address));
        let state = DoorState {
            inbox,
            routing: watch::Sender::new(routing),
            callbacks: Arc::new(callbacks(&webhook_base_url)),
            webhook_base_url: webhook_base_url.into(),
            auth_token: credentials.auth_token,
            account_sid: credentials.owner.account_sid.into(),
            simulated: credentials.owner.simulated,
            metrics: Metrics::new(),
            limits: Limits::new(&config.limits),
            stalled: Arc::default(),
        };
        let stopping = CancellationToken::new();
        let taking = Taking { patience: config.client_patience, stalled: Arc::clone(&state.stalled) };
        let book = Arc::new(OnceLock::new());
        let server = tokio::spawn(serve(
            listener,
            router::without_book(state.clone()),
            Arc::clone(&book),
            stopping.clone(),
            taking,
        ));
        Ok((Self { state, address, stopping, retention: config.retention, book, server }, writer))
    }

    /// Has this answer everything from now on.
    pub fn lead_to(&self, book: Router) {
        // There is one book, and it stays.
        let _ = self.book.set(book);
    }

    /// Takes no further request and lets those at hand finish.
    pub async fn stop(&mut self) {
        self.stopping.cancel();
        if !self.server.is_finished() && tokio::time::timeout(LAST_REQUESTS, &mut self.server).await.is_err()
        {
            tracing::warn!("some requests were not answered within {LAST_REQUESTS:?} of the stop");
            self.server.abort();
        }
    }

    /// The last thing: lets go of the spool, which another process may have then.
    pub async fn close(mut self) {
        self.stop().await;
        if tokio::time::timeout(LAST_WRITES, self.state.inbox.spool().close()).await.is_err() {
            tracing::warn!("the disk did not answer within {LAST_WRITES:?}, and the spool is left as it is");
        }
    }
}

async fn serve(
    listener: TcpListener,
    without_book: Router,
    book: Arc<OnceLock<Router>>,
    stop: CancellationToken,
    taking: Taking,
) {
    let answer = async move |request: Request| {
        let routes = book.get().unwrap_or(&without_book).clone();
        routes.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {})
    };
    let service = Router::new().fallback(answer);
    listener::serve(listener, service, stop, listener::PATIENCE, taking).await;
}

/// `spool` in the data folder, unless it is to be elsewhere.
pub(crate) fn spool_dir(config: &Config) -> PathBuf {
    config
        .spool_dir
        .clone()
        .unwrap_or_else(|| config.data_dir.clone().unwrap_or_else(postgres::default_data_dir).join("spool"))
}

/// What a real account in development may do without, and what then does not work.
fn advise(config: &Config) {
    if matches!(config.twilio, Account::Simulated) {
        return;
    }
    if config.webhook_base_url.is_none() {
        tracing::warn!(
            "WEBHOOK_BASE_URL is not set: Twilio's signatures will not fit, and all webhooks are refused"
        );
    }
}

/// Where calls go, as configured.
pub fn routing(config: &Config) -> Routing {
    Routing {
        lines: lines(config),
        sip_domain: config.sip_domain.clone(),
        dispatcher: format!("sip:{}@{}", config.sip_user, config.sip_domain),
        caller_id: config.owned_numbers.first().map(PhoneNumber::to_string),
        record: config.record_calls == RecordCalls::Dual,
    }
}

fn callbacks(base: &str) -> Callbacks {
    let at = |path: &str| format!("{base}/webhooks/twilio/{path}{TRY_AGAIN}");
    Callbacks {
        dial_action: at("dial-action"),
        voice_status: at("voice-status"),
        recording_status: at("recording-status"),
    }
}
