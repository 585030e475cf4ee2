//! `GET /metrics`, and the layer that measures every request.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use projections::lag::{self, Lag};
use projections::{chain, quarantine};
use sqlx::PgPool;

use crate::app::AppState;
use crate::ingest::inbox::desk;
use crate::lease::Lease;
use crate::metrics::Metrics;

/// How long the database may take to say where everything stands. Whoever asks gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// For `Router::layer(from_fn_with_state(metrics, metrics::measure))`: it reads the route that the router matched.
pub async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    metrics.answered(&method, route, response.status(), begun.elapsed());
    response
}

/// What is counted and measured, in Prometheus' text format. What only the database knows is NaN while it does not
/// answer.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4"))
)]
pub async fn tell(State(state): State<AppState>) -> Response {
    let metrics = &state.door.metrics;
    read(&state);
    let standing = match tokio::time::timeout(PATIENCE, Standing::read(&state.pool)).await {
        Ok(Ok(standing)) => Some(standing),
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "the database does not say what is to be measured");
            None
        }
        Err(_) => None,
    };
    Standing::tell(standing.as_ref(), metrics);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.tell()).into_response()
}

/// What this process knows by itself.
fn read(state: &AppState) {
    let metrics = &state.door.metrics;
    let spool = state.door.inbox.spool().status().borrow().clone();
    metrics.gauge("callbook_spool_waiting", &[], spool.waiting as f64);
    metrics.gauge("callbook_spool_bytes", &[], spool.bytes as f64);
    metrics.gauge("callbook_spool_works", &[], one_if(spool.works));
    let stopped = state.progress.borrow().stopped.is_some();
    metrics.gauge("callbook_projection_stopped", &[], one_if(stopped));
    let held = state.lease.held().borrow().is_some();
    metrics.gauge("callbook_lease_held", &[], one_if(held));
    let (all, idle) = (state.pool.size(), u32::try_from(state.pool.num_idle()).unwrap_or(u32::MAX));
    metrics.gauge("callbook_database_connections", &[("state", "idle")], idle.into());
    metrics.gauge("callbook_database_connections", &[("state", "used")], all.saturating_sub(idle).into());
    let stream = state.broadcaster.figures();
    metrics.gauge("callbook_sse_clients", &[], stream.clients as f64);
    metrics.total("callbook_sse_connections_total", &[], stream.connections);
    metrics.total("callbook_sse_frames_total", &[], stream.frames);
    metrics.total("callbook_sse_resets_total", &[], stream.resets);
    let stalled = state.door.stalled.load(Ordering::Relaxed);
    metrics.total("callbook_stalled_connections_total", &[], stalled);
    if let Some(reconciler) = &state.reconciler {
        let asked = reconciler.asked();
        let requests = [
            ("answered", asked.answered),
            ("refused", asked.refused),
            ("busy", asked.busy),
            ("lost", asked.lost),
        ];
        for (result, count) in requests {
            metrics.total("callbook_twilio_requests_total", &[("result", result)], count);
        }
    }
}

/// What only the database knows, and every instance on it tells alike.
struct Standing {
    inbox: desk::Standing,
    lag: Lag,
    quarantined: i64,
    epoch: i64,
    /// When each job last succeeded, in seconds since 1970.
    succeeded: Vec<(String, f64)>,
}

impl Standing {
    async fn read(pool: &PgPool) -> sqlx::Result<Self> {
        let succeeded = sqlx::query_as(
            "select job_name, extract(epoch from last_success_at)::float8
               from sync_state where last_success_at is not null",
        )
        .fetch_all(pool)
        .await?;
        Ok(Self {
            inbox: desk::standing(pool).await?,
            lag: lag::lag(pool).await?,
            quarantined: quarantine::count(&mut *pool.acquire().await?).await?,
            epoch: Lease::status(pool).await?.epoch,
            succeeded,
        })
    }

    fn tell(standing: Option<&Self>, metrics: &Metrics) {
        let gauge =
            |name, value: fn(&Self) -> f64| metrics.gauge(name, &[], standing.map_or(f64::NAN, value));
        metrics.gauge("callbook_database_up", &[], one_if(standing.is_some()));
        gauge("callbook_inbox_waiting", |it| it.inbox.waiting as f64);
        gauge("callbook_inbox_failed", |it| it.inbox.failed as f64);
        gauge("callbook_inbox_dead_letters", |it| it.inbox.dead_letters as f64);
        gauge("callbook_inbox_oldest_waiting_seconds", |it| it.inbox.oldest_waiting_seconds);
        gauge("callbook_log_head_position", |it| it.lag.head as f64);
        gauge("callbook_projection_position", |it| it.lag.position as f64);
        gauge("callbook_projection_lag_events", |it| it.lag.events() as f64);
        gauge("callbook_projection_lag_seconds", |it| it.lag.seconds);
        gauge("callbook_quarantined_calls", |it| it.quarantined as f64);
        gauge("callbook_lease_epoch", |it| it.epoch as f64);
        for (job, at) in standing.iter().flat_map(|it| &it.succeeded) {
            metrics.gauge("callbook_reconcile_last_success_timestamp_seconds", &[("job", job)], *at);
        }
    }
}

fn one_if(so: bool) -> f64 {
    if so { 1.0 } else { 0.0 }
}
