//! Writes rows into the inbox: those of requests at hand together, and after them those that wait in the spool.
//!
//! It has a connection of its own, so that nothing else that uses the database keeps a webhook waiting, and so that
//! one that hangs can be thrown away. Where the database cannot take rows it says so, and then requests go straight
//! to the spool; taking what is there is how it finds out that the database is back.

use std::time::Duration;

use projections::chain;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::row::{self, Known, Row};
use super::{DATABASE_PATIENCE, DISK_PATIENCE, Outage};
use crate::event_store::is_about_the_rows;
use crate::ingest::spool::{Spool, SpoolError, Status};

/// Rows in one insert at most.
const BATCH: usize = 500;
/// How long an insert may take for which no request waits: the way to the database may be long.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Between tries while the database is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) type Queued = (Row, oneshot::Sender<Result<(), Outage>>);

/// The one task that inserts. It does nothing until it has a database.
#[derive(Debug)]
pub struct Writer {
    waiting: mpsc::Receiver<Queued>,
    spool: Spool,
    kept: watch::Receiver<Status>,
    outage: watch::Sender<Option<Outage>>,
    /// Nothing after it failed.
    connection: Option<PgConnection>,
    /// Not before this is the spool looked at again.
    not_before: Instant,
    pause: Duration,
}

/// Why what waits in the spool stays there for now.
#[derive(Debug, thiserror::Error)]
enum DrainError {
    #[error("the inbox cannot be written")]
    Database(#[source] sqlx::Error),
    #[error("the database did not answer within {DRAIN_PATIENCE:?}")]
    Slow,
    #[error("the spool cannot be read")]
    Spool(#[from] SpoolError),
    #[error("the spool's disk did not answer within {DISK_PATIENCE:?}")]
    SlowSpool,
}

impl Writer {
    pub(super) fn new(
        waiting: mpsc::Receiver<Queued>,
        spool: Spool,
        outage: watch::Sender<Option<Outage>>,
    ) -> Self {
        let kept = spool.status();
        let (not_before, pause) = (Instant::now(), FIRST_PAUSE);
        Self { waiting, spool, kept, outage, connection: None, not_before, pause }
    }

    /// Inserts until it is dropped. `stored` is called after each insert. From the first moment on requests wait for
    /// this database: it must be known to be ours.
    pub async fn run(mut self, database: PgConnectOptions, stored: impl Fn()) {
        self.outage.send_replace(None);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let away = self.outage.borrow().is_some();
            tokio::select! {
                // Who waits for an answer comes first.
                biased;
                taken = self.waiting.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    self.take(&database, std::mem::take(&mut batch)).await;
                    stored();
                }
                () = time_to_drain(&mut self.kept, self.not_before, away) => {
                    self.drain(&database).await;
                    stored();
                }
            }
        }
    }

    /// Inserts the rows of requests that wait for it.
    async fn take(&mut self, database: &PgConnectOptions, batch: Vec<Queued>) {
        let (mut rows, answers): (Vec<Row>, Vec<_>) = batch.into_iter().unzip();
        let known = self.outage.borrow().clone();
        let result = match known {
            // They came just before it was known.
            Some(outage) => Err(outage),
            None => match timeout(DATABASE_PATIENCE, self.write(database, &mut rows)).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(self.away(Outage::from(&error), &chain(&error))),
                Err(_) => Err(self.away(Outage::Slow, &format!("nothing within {DATABASE_PATIENCE:?}"))),
            },
        };
        for answer in answers {
            // Whoever asked may have gone away; the row is stored either way.
            let _ = answer.send(result.clone());
        }
    }

    /// Moves the oldest of what waits in the spool into the inbox. With nothing in it this asks only whether the
    /// database is back.
    async fn drain(&mut self, database: &PgConnectOptions) {
        match self.try_drain(database).await {
            Ok(moved) => {
                self.pause = FIRST_PAUSE;
                self.not_before = Instant::now();
                if self.outage.send_replace(None).is_some() {
                    tracing::info!("the inbox takes webhooks again");
                }
                if moved > 0 {
                    let left = self.kept.borrow().waiting;
                    tracing::info!(
                        moved,
                        left,
                        "{moved} webhooks went from the spool into the inbox, {left} are left"
                    );
                }
            }
            Err(DrainError::Database(error)) => {
                self.away(Outage::from(&error), &chain(&error));
            }
            Err(DrainError::Slow) => {
                self.away(Outage::Slow, &DrainError::Slow.to_string());
            }
            // The database has no part in it, and may well be back.
            Err(error @ (DrainError::Spool(_) | DrainError::SlowSpool)) => {
                tracing::error!(
                    error = chain(&error),
                    "what waits in the spool cannot be read and stays there"
                );
                match timeout(DRAIN_PATIENCE, self.write(database, &mut [])).await {
                    Ok(Ok(())) => drop(self.outage.send_replace(None)),
                    Ok(Err(error)) => drop(self.away(Outage::from(&error), &chain(&error))),
                    Err(_) => drop(self.away(Outage::Slow, &DrainError::Slow.to_string())),
                }
                self.put_off();
            }
        }
    }

    async fn try_drain(&mut self, database: &PgConnectOptions) -> Result<usize, DrainError> {
        let oldest =
            timeout(DISK_PATIENCE, self.spool.oldest(BATCH)).await.map_err(|_| DrainError::SlowSpool)??;
        let mut rows: Vec<Row> = oldest.read().map(Row::of_kept).collect();
        timeout(DRAIN_PATIENCE, self.write(database, &mut rows))
            .await
            .map_err(|_| DrainError::Slow)?
            .map_err(DrainError::Database)?;
        if !oldest.is_empty() {
            timeout(DISK_PATIENCE, self.spool.release(oldest)).await.map_err(|_| DrainError::SlowSpool)??;
        }
        Ok(rows.len())
    }

    /// Inserts the rows. One that the database refuses for what it holds becomes a dead letter, and harms no other.
    async fn write(&mut self, database: &PgConnectOptions, rows: &mut [Row]) -> sqlx::Result<()> {
        row::sort(rows);
        let mut parts: Vec<&[Row]> = vec![rows];
        while let Some(part) = parts.pop() {
            match (self.insert(database, part).await, part) {
                (Ok(()), _) => {}
                (Err(error), [row]) if is_about_the_rows(&error) => {
                    let dead_letter = row.refused(&error).ok_or(error)?;
                    self.insert(database, &[dead_letter]).await?;
                    tracing::error!(
                        "the database refuses a webhook's row; the dead letter in its place says why"
                    );
                }
                (Err(error), [_, _, ..]) if is_about_the_rows(&error) => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(())
    }

    /// After a restart of the database the connection fails once. A row's key makes a second insert harmless.
    async fn insert(&mut self, database: &PgConnectOptions, rows: &[Row]) -> sqlx::Result<()> {
        // Taken out, so that a connection on which something was given up is not used again.
        if let Some(mut connection) = self.connection.take() {
            match row::insert(&mut connection, rows, Known::Stays).await {
                Err(error) if !is_about_the_rows(&error) => {}
                result => {
                    self.connection = Some(connection);
                    return result.map(drop);
                }
            }
        }
        let mut connection = PgConnection::connect_with(database).await?;
        let result = row::insert(&mut connection, rows, Known::Stays).await.map(drop);
        self.connection = Some(connection);
        result
    }

    /// From now on requests go straight to the spool.
    fn away(&mut self, outage: Outage, error: &str) -> Outage {
        let before = self.outage.send_replace(Some(outage.clone()));
        if before.as_ref() != Some(&outage) {
            tracing::error!(error, "{outage}; webhooks are answered and wait in the spool");
        }
        self.put_off();
        outage
    }

    fn put_off(&mut self) {
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// While the database is away, at the next try; else as soon as something waits in the spool.
async fn time_to_drain(kept: &mut watch::Receiver<Status>, not_before: Instant, away: bool) {
    sleep_until(not_before).await;
    // Whoever writes the spool ends with callbook.
    if !away && kept.wait_for(|kept| kept.waiting > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl From<&sqlx::Error> for Outage {
    fn from(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else { return Self::Unreachable };
        match database.code().as_deref() {
            Some("53100") => Self::Full,
            Some("25006") => Self::ReadOnly,
            // It is starting, stopping, or has no room for a further connection.
            Some("53300" | "57P01" | "57P02" | "57P03") | None => Self::Unreachable,
            Some(code) => Self::Refusing { code: code.to_owned() },
        }
    }
}
