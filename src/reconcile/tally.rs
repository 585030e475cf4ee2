//! What the inbox and the read model made of what was stored.

use std::collections::BTreeSet;
use std::time::Duration;

use projections::generation::Snapshot;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::outcome::Outcome;
use super::{ReconcileError, Reconciler};
use crate::ingest::inbox::Resource;

/// How long the worker or the projection may stand still before somebody is told instead of kept waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the inbox is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Rows of the inbox that are new, and the calls that were read with them.
#[derive(Debug)]
pub(super) struct Stored {
    pub rows: Vec<i64>,
    pub calls: Vec<String>,
}

/// What they came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    created: u64,
    updated: u64,
    recordings: u64,
    missing: u64,
    skipped: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct Decided {
    event_type: String,
    call_sid: Option<String>,
    processing_status: String,
    outcome: Option<Value>,
}

impl Reconciler {
    /// Waits for the decision; where `shown` matters, for the fold as well.
    pub(super) async fn tally(&self, stored: Stored, shown: bool) -> Result<Tally, ReconcileError> {
        let rows = self.decided(&stored.rows).await?;
        let mut tally = Tally::default();
        let mut created = BTreeSet::new();
        for row in rows {
            let events = row.outcome.as_ref().and_then(|outcome| outcome.get("events")?.as_array());
            let says =
                |name: &str| events.is_some_and(|events| events.iter().any(|event| event["type"] == name));
            let resource = Resource::ALL.into_iter().find(|kind| kind.event_type() == row.event_type);
            match resource {
                // A conference's recording is no call's; its row says so.
                Some(Resource::Recording) if row.processing_status != "completed" => {}
                _ if row.processing_status == "failed" => {
                    tally.skipped.push("failed, and tried again later".to_owned());
                }
                _ if row.processing_status != "completed" => tally.skipped.push("not readable".to_owned()),
                Some(Resource::Call) if says("call.created") => created.extend(row.call_sid),
                Some(Resource::Call) => tally.updated += u64::from(events.is_some_and(|all| !all.is_empty())),
                Some(Resource::Recording) => {
                    tally.recordings += u64::from(events.is_some_and(|all| !all.is_empty()));
                }
                Some(Resource::MissingCall) | None => tally.missing += 1,
            }
        }
        if shown && !stored.calls.is_empty() {
            self.folded().await?;
            let hidden = Snapshot::open(&self.pool).await?.hidden(&stored.calls).await?;
            created.retain(|sid| !hidden.contains_key(sid));
            tally.skipped.extend(hidden.into_values());
        }
        tally.created = created.len() as u64;
        Ok(tally)
    }

    async fn decided(&self, rows: &[i64]) -> Result<Vec<Decided>, ReconcileError> {
        // Mostly Twilio tells nothing new.
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let begun = Instant::now();
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from twilio_webhook_inbox
                  where id = any($1) and processing_status in ('pending', 'processing')",
            )
            .bind(rows)
            .fetch_one(&self.pool)
            .await?;
            if waiting == 0 {
                break;
            }
            if begun.elapsed() > PATIENCE {
                return Err(ReconcileError::NotDecided { waiting });
            }
            tokio::time::sleep(LOOK).await;
        }
        let decided = sqlx::query_as(
            "select event_type, call_sid, processing_status, outcome from twilio_webhook_inbox where id = any($1)",
        )
        .bind(rows)
        .fetch_all(&self.pool)
        .await?;
        Ok(decided)
    }

    /// Returns when everything that was decided so far is in the read model.
    async fn folded(&self) -> Result<(), ReconcileError> {
        let head: i64 =
            sqlx::query_scalar("select coalesce(max(id), 0) from call_events").fetch_one(&self.pool).await?;
        let mut progress = self.progress.clone();
        match timeout(PATIENCE, progress.wait_for(|progress| progress.position >= head)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReconcileError::Behind { position: self.progress.borrow().position }),
        }
    }
}

impl Tally {
    pub fn add_to(self, outcome: &mut Outcome) {
        outcome.synced += self.created;
        outcome.updated += self.updated;
        outcome.recordings += self.recordings;
        outcome.missing += self.missing;
        for reason in self.skipped {
            outcome.skip(&reason);
        }
    }
}
