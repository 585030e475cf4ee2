//! Whether callbook works, in one line for a load balancer and a few for a person.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::conversations::iso;
use crate::app::AppState;
use crate::door::DoorState;

/// How long the database may take to say how far it is. Whoever asks for our health decides quickly.
const PATIENCE: Duration = Duration::from_millis(500);

/// `status` is "healthy" (seed 000), or "degraded" where something stands still, and `why` says what. The answer is
/// 200 all the same, for as long as webhooks are taken: a load balancer must not turn Twilio away.
pub async fn health(State(state): State<AppState>) -> Json<Value> {
    let progress = state.progress.borrow().clone();
    let log = match state.door.inbox.outage() {
        None => tokio::time::timeout(PATIENCE, Log::read(&state.pool)).await.ok().and_then(Result::ok),
        // It would only wait.
        Some(_) => None,
    };
    let mut why: Vec<String> = progress.stopped.iter().map(ToString::to_string).collect();
    if log.is_none() && state.door.inbox.outage().is_none() {
        why.push("the database does not answer in time".to_owned());
    }
    let projection = json!({
        "position": progress.position,
        "behind": log.as_ref().map(|log| (log.head - progress.position).max(0)),
        "stopped": progress.stopped.map(|reason| reason.to_string()),
    });
    // Seconds that the oldest undecided webhook has waited; null when none waits.
    let inbox = json!({ "oldest_waiting_seconds": log.and_then(|log| log.oldest_waiting) });
    Json(report(&state.door, why, inbox, projection))
}

/// The same while the database has not been opened yet.
pub async fn without_book(State(door): State<DoorState>) -> Json<Value> {
    Json(report(&door, Vec::new(), Value::Null, Value::Null))
}

fn report(door: &DoorState, mut why: Vec<String>, inbox: Value, projection: Value) -> Value {
    let spool = door.inbox.spool().status().borrow().clone();
    why.extend(door.inbox.outage().map(|outage| outage.to_string()));
    if spool.waiting > 0 {
        why.push(format!("{} webhooks wait in the spool", spool.waiting));
    }
    if !spool.works {
        why.push("the spool cannot be written".to_owned());
    }
    json!({
        "status": if why.is_empty() { "healthy" } else { "degraded" },
        "why": why,
        "simulated": door.simulated,
        "account_sid": door.account_sid,
        "version": env!("CARGO_PKG_VERSION"),
        "inbox": inbox,
        "spool": {
            "waiting": spool.waiting,
            "bytes": spool.bytes,
            "oldest": spool.oldest.map(iso),
        },
        "projection": projection,
    })
}

/// How far the log is, and what waits to become part of it.
#[derive(sqlx::FromRow)]
struct Log {
    head: i64,
    /// In seconds.
    oldest_waiting: Option<f64>,
}

impl Log {
    async fn read(pool: &PgPool) -> sqlx::Result<Self> {
        sqlx::query_as(
            "select (select coalesce(max(id), 0) from call_events) as head,
                    (select extract(epoch from clock_timestamp() - min(received_at))::float8
                       from twilio_webhook_inbox where processing_status = 'pending') as oldest_waiting",
        )
        .fetch_one(pool)
        .await
    }
}
