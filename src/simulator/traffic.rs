//! The traffic of a callbook without credentials: what was in flight at the last stop is ended, then calls
//! are placed until the end.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use projections::chain;
use projections::generation::Snapshot;
use projections::runner::Progress;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::watch;

use super::{Account, Disturbance, Driver, DriverError, LegInFlight, World};
use crate::app::App;
use crate::config::Simulation;

/// How often a second callbook looks whether the first still places the calls.
const BETWEEN_TRIES: Duration = Duration::from_secs(2);

/// A simulated Twilio at work.
#[derive(Debug)]
pub struct Traffic {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
enum TrafficError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("the calls that were in flight cannot be read")]
    Legs(#[from] sqlx::Error),
}

impl Traffic {
    /// With a `world`, its REST API knows every call that is placed.
    pub fn start(
        account: Account,
        app: &App,
        simulation: Simulation,
        world: Option<World>,
    ) -> Result<Self, DriverError> {
        let mut driver = Driver::new(&app.url(), &app.state.door.webhook_base_url, account.clone())?;
        if let Some(world) = world {
            driver = driver.with_world(world);
        }
        let cancel = CancellationToken::new();
        let (pool, progress) = (app.state.pool.clone(), app.state.progress.clone());
        let stop = cancel.clone();
        let task = tokio::spawn(async move {
            let work = work(driver, account, pool, progress, simulation, stop.clone());
            let result = tokio::select! {
                result = work => result,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = result {
                tracing::error!(error = chain(&error), "the simulated account stands still");
            }
        });
        Ok(Self { cancel, task })
    }

    /// Places no further call; those in flight are ended at the next start.
    pub async fn stop(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(error = chain(&error), "the simulated account failed");
        }
    }
}

async fn work(
    driver: Driver,
    account: Account,
    pool: PgPool,
    progress: watch::Receiver<Progress>,
    simulation: Simulation,
    cancel: CancellationToken,
) -> Result<(), TrafficError> {
    // A lock of the session, held for as long as this runs: one callbook places the calls and ends what an
    // earlier one left; another on the same database must not end calls that are going on.
    let mut session = pool.acquire().await?.detach();
    let mut said = false;
    while !take_over(&mut session).await? {
        if !said {
            tracing::info!("another callbook on this database places the simulated calls; this one waits");
            said = true;
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    let legs = in_flight(&account, &pool, progress).await?;
    let count = legs.len();
    driver.end_calls_in_flight(legs, OffsetDateTime::now_utc()).await?;
    if count > 0 {
        tracing::info!(legs = count, "{count} legs that were in flight at the last stop have ended");
    }
    if simulation.calls_per_minute > 0.0 {
        let disturbance = Disturbance::default();
        driver
            .place_calls_forever(simulation.calls_per_minute, simulation.speed, disturbance, cancel)
            .await?;
    } else {
        cancel.cancelled().await;
    }
    session.close().await?;
    Ok(())
}

async fn take_over(session: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select pg_try_advisory_lock(append_lock() + 1)").fetch_one(session).await
}

/// What had not ended by the last report that was accepted before the stop.
async fn in_flight(
    account: &Account,
    pool: &PgPool,
    mut progress: watch::Receiver<Progress>,
) -> sqlx::Result<Vec<LegInFlight>> {
    settle(pool, &mut progress).await?;
    let messages = Snapshot::open(pool).await?.unfinished().await?;
    let legs = messages.into_iter().map(|message| LegInFlight {
        direction: message.metadata.0.twilio_direction.unwrap_or_else(|| "inbound".to_owned()),
        call_sid: message.twilio_sid,
        parent_call_sid: message.parent_call_sid,
        from: message.from_number,
        to: message.to_number,
        account_sid: account.sid.clone(),
        // An incoming call is on the line from its start: its duration counts from there.
        answered_at: message
            .answered_at
            .or((message.entry && message.direction == "inbound").then_some(message.start_time)),
    });
    Ok(legs.collect())
}

/// Waits until what waited in the inbox at the start is decided and folded.
async fn settle(pool: &PgPool, progress: &mut watch::Receiver<Progress>) -> sqlx::Result<()> {
    let newest: i64 =
        sqlx::query_scalar("select coalesce(max(id), 0) from twilio_webhook_inbox").fetch_one(pool).await?;
    loop {
        let (waiting, head): (bool, i64) = sqlx::query_as(
            "select exists (select from twilio_webhook_inbox
                             where id <= $1 and processing_status = 'pending'),
                    (select coalesce(max(id), 0) from call_events)",
        )
        .bind(newest)
        .fetch_one(pool)
        .await?;
        if waiting {
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            // The sender lives as long as the application; when it ends there is nothing left to wait for.
            let _ = progress.wait_for(|progress| progress.position >= head).await;
            return Ok(());
        }
    }
}
