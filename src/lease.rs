//! Who works: of many callbooks on one database, the one that holds the lease decides what is in the inbox
//! and folds the log. All of them answer webhooks and serve reads.
//!
//! The lease is a row with an *epoch*, raised whenever it changes hands. Work is fenced by it in the database:
//! a transaction of the worker or the projection names the epoch that it was decided under, and is refused
//! once that is over, however late it comes. So holding is only a matter of who does the work; it is the
//! fence that makes a paused or cut-off holder harmless.
//!
//! It is a row and not a session's advisory lock because such a lock has no epoch to fence with, outlives a
//! holder whose network is gone for as long as TCP takes to notice, and is lost with its connection while the
//! holder works on. What is good about it is kept: where the holder's session has ended, as after `kill -9`,
//! the next one does not wait for the time-out.

use std::sync::Arc;
use std::time::Duration;

use projections::chain;
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use utoipa::ToSchema;

/// What the lease changing hands raises. Work under an epoch that is over is refused.
pub type Epoch = i64;

/// How long the lease lasts without a renewal, by the database's clock.
const LASTS: Duration = Duration::from_secs(5);
/// How long the holder relies on a renewal, by its own clock and from before it asked: it stops first.
const RELIED_ON: Duration = Duration::from_secs(4);
/// How often the holder renews it, and how often the others look.
const EVERY: Duration = Duration::from_secs(1);

/// Seconds for which something may wait before it counts as standing still: longer than the lease takes to change hands.
pub const LONG: f64 = 15.0;

const OUT_OF_TIME: &str = "the lease could not be renewed in time";

/// Takes part in the lease. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lease {
    pool: PgPool,
    /// Who we are, for people.
    name: Arc<str>,
    held: Arc<watch::Sender<Option<Epoch>>>,
    released: Arc<Notify>,
}

/// Who holds the lease, as `/health` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, sqlx::FromRow)]
pub struct LeaseStatus {
    /// Host and process; null while nobody holds it.
    pub holder: Option<String>,
    pub epoch: Epoch,
    #[serde(with = "time::serde::rfc3339::option")]
    pub taken_at: Option<OffsetDateTime>,
    /// Nobody has renewed it in time.
    pub expired: bool,
}

impl Lease {
    pub fn new(pool: PgPool) -> Self {
        let (held, _) = watch::channel(None);
        Self { pool, name: name().into(), held: held.into(), released: Arc::default() }
    }

    /// Says that another instance has let go.
    pub fn look(&self) {
        self.released.notify_one();
    }

    /// The epoch that we hold the lease under, while we hold it.
    pub fn held(&self) -> watch::Receiver<Option<Epoch>> {
        self.held.subscribe()
    }

    /// Takes the lease when it is free and keeps it, until dropped.
    pub async fn run(self) {
        let mut session = Session { pool: self.pool.clone(), connection: None };
        let mut said = String::new();
        loop {
            let asked = Instant::now();
            let failed = match timeout(LASTS, session.take(&self.name)).await {
                Ok(Ok(Some(epoch))) => {
                    tracing::info!(
                        lease.epoch = epoch,
                        "this callbook works from now on, under epoch {epoch}"
                    );
                    self.held.send_replace(Some(epoch));
                    let why = session.keep(&self.name, epoch, asked + RELIED_ON).await;
                    self.held.send_replace(None);
                    tracing::warn!(
                        lease.epoch = epoch,
                        "this callbook stops working under epoch {epoch}: {why}"
                    );
                    String::new()
                }
                Ok(Ok(None)) => String::new(),
                Ok(Err(error)) => chain(&error),
                Err(_) => format!("the database did not answer within {LASTS:?}"),
            };
            if !failed.is_empty() && failed != said {
                tracing::warn!(
                    error = failed,
                    "the worker lease cannot be asked for; tried again every second"
                );
            }
            said = failed;
            // Either is reason enough to look again.
            let _ = timeout(EVERY, self.released.notified()).await;
        }
    }

    /// Lets go at once, so that another instance need not notice first. For after [`Lease::run`] has ended.
    pub async fn release(&self) -> sqlx::Result<()> {
        let Some(epoch) = self.held.send_replace(None) else { return Ok(()) };
        sqlx::query(
            "with released as (
                 update worker_lease
                    set holder = null, session_pid = null, session_started = null, expires_at = '-infinity'
                  where epoch = $1
              returning epoch
             )
             select pg_notify($2, $3) from released",
        )
        .bind(epoch)
        .bind(crate::wakeup::CHANNEL)
        .bind(crate::wakeup::Topic::Lease.as_str())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    pub async fn status(database: impl PgExecutor<'_>) -> sqlx::Result<LeaseStatus> {
        sqlx::query_as(
            "select holder, epoch, taken_at, expires_at <= clock_timestamp() as expired from worker_lease",
        )
        .fetch_one(database)
        .await
    }
}

/// The connection that the lease is renewed on: not one of the pool's, which may all be busy.
struct Session {
    pool: PgPool,
    connection: Option<PgConnection>,
}

impl Session {
    /// The connection is taken out while it is used, so that one that failed, or whose query was abandoned, is
    /// not used again.
    async fn connection(&mut self) -> sqlx::Result<PgConnection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => PgConnection::connect_with(&self.pool.connect_options()).await,
        }
    }

    /// The new epoch, or nothing while another instance holds the lease.
    async fn take(&mut self, name: &str) -> sqlx::Result<Option<Epoch>> {
        let mut connection = self.connection().await?;
        // A session that we may not look at shows no start; that its number is in use must be enough then.
        let free: Option<Epoch> = sqlx::query_scalar(
            "select epoch from worker_lease
              where expires_at <= clock_timestamp()
                 or not exists (select from pg_stat_activity
                                 where pid = session_pid
                                   and (backend_start = session_started or backend_start is null))",
        )
        .fetch_optional(&mut connection)
        .await?;
        let taken = match free {
            None => None,
            // Whoever else saw it free may be faster: the epoch is compared and set.
            Some(epoch) => {
                sqlx::query_scalar(
                    "update worker_lease
                        set epoch = epoch + 1, holder = $2, taken_at = clock_timestamp(),
                            expires_at = clock_timestamp() + $3, session_pid = pg_backend_pid(),
                            session_started = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
                      where epoch = $1
                  returning epoch",
                )
                .bind(epoch)
                .bind(name)
                .bind(LASTS)
                .fetch_optional(&mut connection)
                .await?
            }
        };
        self.connection = Some(connection);
        Ok(taken)
    }

    /// Renews until that fails for too long, or somebody else has the lease; says which.
    async fn keep(&mut self, name: &str, epoch: Epoch, mut until: Instant) -> &'static str {
        loop {
            sleep_until(until.min(Instant::now() + EVERY)).await;
            let asked = Instant::now();
            // A database that refuses at once leaves the time-out below no chance.
            if asked >= until {
                return OUT_OF_TIME;
            }
            match timeout_at(until, self.renew(name, epoch)).await {
                Ok(Ok(true)) => until = asked + RELIED_ON,
                Ok(Ok(false)) => return "another instance has taken the lease",
                // The connection may have broken; there is time for another.
                Ok(Err(_)) => {}
                Err(_) => return OUT_OF_TIME,
            }
        }
    }

    async fn renew(&mut self, name: &str, epoch: Epoch) -> sqlx::Result<bool> {
        let mut connection = self.connection().await?;
        let renewed = sqlx::query(
            "update worker_lease
                set expires_at = clock_timestamp() + $3, session_pid = pg_backend_pid(),
                    session_started = (select backend_start from pg_stat_activity where pid = pg_backend_pid())
              where epoch = $1 and holder = $2",
        )
        .bind(epoch)
        .bind(name)
        .bind(LASTS)
        .execute(&mut connection)
        .await?;
        self.connection = Some(connection);
        Ok(renewed.rows_affected() == 1)
    }
}

/// Which host, which process, and which of its callbooks.
fn name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    format!("{host}/{}/{:08x}", std::process::id(), rand::random::<u32>())
}
