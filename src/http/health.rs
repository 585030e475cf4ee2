//! Whether callbook works, in one line for a load balancer and a few for a person.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use projections::chain;
use projections::lag::{self, Lag};
use projections::quarantine;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::door::DoorState;
use crate::lease::{LONG, Lease, LeaseStatus};

/// How long the database may take to say how far it is. Whoever asks for our health decides quickly.
const PATIENCE: Duration = Duration::from_millis(500);

/// How callbook is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy` (seed 000), or `degraded` where something stands still.
    status: &'static str,
    /// What does, in sentences.
    why: Vec<String>,
    /// No call is real.
    simulated: bool,
    account_sid: String,
    version: &'static str,
    spool: SpoolHealth,
    /// Null without a database, as are the next two.
    inbox: Option<InboxHealth>,
    /// Which of the callbooks on this database decides and folds.
    worker: Option<LeaseStatus>,
    projection: Option<ProjectionHealth>,
}

/// Webhooks that wait on the disk.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SpoolHealth {
    waiting: u64,
    bytes: u64,
    #[serde(with = "time::serde::rfc3339::option")]
    oldest: Option<OffsetDateTime>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InboxHealth {
    /// For how long the oldest undecided webhook has waited; null when none waits.
    oldest_waiting_seconds: Option<f64>,
}

/// How far the read model is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProjectionHealth {
    position: i64,
    /// The last position of the log; null where the database does not say, as is what follows from it.
    head: Option<i64>,
    /// Events.
    behind: Option<i64>,
    /// For how long the oldest event that is not reflected has waited.
    behind_seconds: Option<f64>,
    #[serde(with = "time::serde::rfc3339::option")]
    oldest_unprojected_at: Option<OffsetDateTime>,
    /// Why it stands still.
    stopped: Option<String>,
    /// Calls.
    quarantined: Option<i64>,
}

/// Whether callbook works. The answer is 200 also where it is degraded, for as long as webhooks are taken: a load
/// balancer must not turn Twilio away.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = Health)))]
pub async fn health(State(state): State<AppState>) -> Json<Health> {
    let progress = state.progress.borrow().clone();
    let mut why: Vec<String> = progress.stopped.iter().map(ToString::to_string).collect();
    let log = match state.door.inbox.outage() {
        None => match tokio::time::timeout(PATIENCE, Log::read(&state)).await {
            Ok(Ok(log)) => Some(log),
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "the database does not say how far everything is");
                why.push("the database does not say how far everything is; the log has its error".to_owned());
                None
            }
            Err(_) => {
                why.push("the database does not answer in time".to_owned());
                None
            }
        },
        // It would only wait.
        Some(_) => None,
    };
    if let Some(calls) = log.as_ref().map(|log| log.quarantined).filter(|calls| *calls > 0) {
        why.push(format!("{calls} calls are quarantined; see `callbook quarantine list`"));
    }
    // Whichever instance has to see to it, and whatever it says itself.
    if let Some(seconds) = log.as_ref().and_then(|log| log.oldest_waiting).filter(|waited| *waited > LONG) {
        why.push(format!("a webhook has waited {seconds:.0} s to be decided"));
    }
    why.extend(log.iter().flat_map(|log| log.reconcile.clone()));
    let lag = log.as_ref().map(|log| &log.lag);
    if let Some(lag) = lag.filter(|lag| lag.seconds > LONG) {
        why.push(format!("the read model is {:.0} s behind the log", lag.seconds));
    }
    let projection = ProjectionHealth {
        position: progress.position,
        head: lag.map(|lag| lag.head),
        behind: lag.map(Lag::events),
        behind_seconds: lag.map(|lag| lag.seconds),
        oldest_unprojected_at: lag.and_then(|lag| lag.oldest_unprojected_at),
        stopped: progress.stopped.map(|reason| reason.to_string()),
        quarantined: log.as_ref().map(|log| log.quarantined),
    };
    Json(Health {
        inbox: Some(InboxHealth { oldest_waiting_seconds: log.as_ref().and_then(|log| log.oldest_waiting) }),
        worker: log.map(|log| log.worker),
        projection: Some(projection),
        ..report(&state.door, why)
    })
}

/// Whether the process answers at all. What it stands on is another matter: whoever restarts it because its database is
/// away only loses the calls at hand.
#[utoipa::path(
    get, path = "/livez", tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain", example = "ok"))
)]
pub async fn live() -> &'static str {
    "ok"
}

/// Whether reads can be served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    /// Why not, in sentences.
    why: Vec<String>,
}

/// Whether this instance can serve reads: 200, or 503 with `why`. Webhooks are taken either way, so it is not for the
/// balancer that Twilio comes through.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "It cannot"))
)]
pub async fn ready(State(state): State<AppState>) -> Response {
    let mut why: Vec<String> = state.progress.borrow().stopped.iter().map(ToString::to_string).collect();
    match (state.door.inbox.outage(), tokio::time::timeout(PATIENCE, lag::lag(&state.pool)).await) {
        (Some(outage), _) => why.push(outage.to_string()),
        (None, Err(_)) => why.push("the database does not answer in time".to_owned()),
        (None, Ok(Err(_))) => why.push("the database does not say how far everything is".to_owned()),
        (None, Ok(Ok(lag))) if lag.seconds > LONG => {
            why.push(format!("the read model is {:.0} s behind the log", lag.seconds));
        }
        (None, Ok(Ok(_))) => {}
    }
    readiness(why)
}

/// While there is no book to read.
#[utoipa::path(get, path = "/readyz", responses((status = 503, body = Readiness)))]
pub async fn not_ready() -> Response {
    readiness(vec!["the database has not been opened yet".to_owned()])
}

fn readiness(why: Vec<String>) -> Response {
    let status = if why.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: why.is_empty(), why })).into_response()
}

/// The same while the database has not been opened yet.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health)))]
pub async fn without_book(State(door): State<DoorState>) -> Json<Health> {
    Json(report(&door, Vec::new()))
}

/// What is known without a database.
fn report(door: &DoorState, mut why: Vec<String>) -> Health {
    let spool = door.inbox.spool().status().borrow().clone();
    why.extend(door.inbox.outage().map(|outage| outage.to_string()));
    if spool.waiting > 0 {
        why.push(format!("{} webhooks wait in the spool", spool.waiting));
    }
    if !spool.works {
        why.push("the spool cannot be written".to_owned());
    }
    Health {
        status: if why.is_empty() { "healthy" } else { "degraded" },
        why,
        simulated: door.simulated,
        account_sid: door.account_sid.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        spool: SpoolHealth { waiting: spool.waiting, bytes: spool.bytes, oldest: spool.oldest },
        inbox: None,
        worker: None,
        projection: None,
    }
}

/// What the database knows of how far everything is.
struct Log {
    lag: Lag,
    /// Who holds the worker lease.
    worker: LeaseStatus,
    /// In seconds.
    oldest_waiting: Option<f64>,
    /// Calls.
    quarantined: i64,
    /// What is wrong with asking Twilio.
    reconcile: Vec<String>,
}

impl Log {
    async fn read(state: &AppState) -> sqlx::Result<Self> {
        let pool = &state.pool;
        let oldest_waiting = sqlx::query_scalar(
            "select extract(epoch from clock_timestamp() - min(received_at))::float8
               from twilio_webhook_inbox where processing_status = 'pending'",
        )
        .fetch_one(pool)
        .await?;
        let quarantined = quarantine::count(&mut *pool.acquire().await?).await?;
        Ok(Self {
            lag: lag::lag(pool).await?,
            worker: Lease::status(pool).await?,
            oldest_waiting,
            quarantined,
            reconcile: match &state.reconciler {
                None => Vec::new(),
                Some(reconciler) => reconciler.troubles().await?,
            },
        })
    }
}
