//! Wake-ups across instances: what one of them stored or folded, the others need not wait for a poll to see.
//!
//! A notification is sent outside the transaction that it tells of, because a commit with a pending NOTIFY
//! takes a lock on the whole database, and many are sent as one. It may be lost, with its connection for
//! instance; whoever waits for it polls as well.

use std::sync::Arc;
use std::time::Duration;

use projections::chain;
use projections::runner::Runner;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::lease::{Epoch, Lease};

pub const CHANNEL: &str = "callbook";

/// The least time between two notifications about one topic: what comes sooner is told of together.
const APART: Duration = Duration::from_millis(10);
/// How long to wait before a lost connection is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What there is to tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Rows came into the inbox.
    Inbox,
    /// Events came into the log.
    Events,
    /// The projection advanced.
    Folded,
    /// The worker lease was let go of.
    Lease,
}

impl Topic {
    const ALL: [Self; 4] = [Self::Inbox, Self::Events, Self::Folded, Self::Lease];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Events => "events",
            Self::Folded => "folded",
            Self::Lease => "lease",
        }
    }
}

/// Wakes who waits: in this process at once, in the others by notification. The holder of the worker lease
/// waits for what comes in, the others wait for what it folds.
#[derive(Debug)]
pub struct Wakeup {
    pool: PgPool,
    lease: Lease,
    held: watch::Receiver<Option<Epoch>>,
    runner: Runner,
    worker: Arc<Notify>,
    inbox_told: Notify,
    events_told: Notify,
}

impl Wakeup {
    pub fn new(pool: PgPool, lease: Lease, runner: Runner) -> Self {
        Self {
            pool,
            held: lease.held(),
            lease,
            runner,
            worker: Arc::default(),
            inbox_told: Notify::new(),
            events_told: Notify::new(),
        }
    }

    /// What the inbox worker waits for.
    pub fn worker(&self) -> Arc<Notify> {
        Arc::clone(&self.worker)
    }

    /// Rows came into the inbox.
    pub fn stored(&self) {
        self.worker.notify_one();
        if !self.is_holder() {
            self.inbox_told.notify_one();
        }
    }

    /// Events came into the log.
    pub fn appended(&self) {
        self.runner.wake();
        if !self.is_holder() {
            self.events_told.notify_one();
        }
    }

    fn is_holder(&self) -> bool {
        self.held.borrow().is_some()
    }

    fn heard(&self, topic: Topic) {
        match topic {
            Topic::Inbox => self.worker.notify_one(),
            Topic::Events => self.runner.wake(),
            // Only the holder tells of it, and it hears itself.
            Topic::Folded if self.is_holder() => {}
            Topic::Folded => self.runner.wake(),
            Topic::Lease => self.lease.look(),
        }
    }

    /// Tells and listens, until dropped.
    pub async fn run(&self) {
        tokio::join!(
            self.listen(),
            self.tell_when(Topic::Inbox, &self.inbox_told),
            self.tell_when(Topic::Events, &self.events_told),
            self.tell_of_folds(),
        );
    }

    async fn tell_when(&self, topic: Topic, told: &Notify) {
        loop {
            told.notified().await;
            self.tell(topic).await;
        }
    }

    async fn tell_of_folds(&self) {
        let mut progress = self.runner.progress();
        while progress.changed().await.is_ok() {
            if self.is_holder() {
                self.tell(Topic::Folded).await;
            }
        }
    }

    /// What is to be told while this runs, is told together by the next.
    async fn tell(&self, topic: Topic) {
        // Lost where the database is away; then nobody could read what it tells of either.
        let _ = sqlx::query("select pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(topic.as_str())
            .execute(&self.pool)
            .await;
        sleep(APART).await;
    }

    async fn listen(&self) {
        // Its connection is its own: it waits for as long as callbook runs.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with((*self.pool.connect_options()).clone());
        let mut said = false;
        loop {
            let error = match self.listen_on(&pool, &mut said).await {
                Ok(()) => "its connection was lost".to_owned(),
                Err(error) => chain(&error),
            };
            if !said {
                tracing::warn!(
                    error,
                    "other instances are heard by polling only, until the database is back"
                );
            }
            said = true;
            sleep(PAUSE).await;
        }
    }

    /// Returns when the connection is lost.
    async fn listen_on(&self, pool: &PgPool, said: &mut bool) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        *said = false;
        // Whatever was told while nobody listened.
        Topic::ALL.into_iter().for_each(|topic| self.heard(topic));
        while let Some(notification) = listener.try_recv().await? {
            let told = notification.payload();
            if let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.as_str() == told) {
                self.heard(topic);
            }
        }
        Ok(())
    }
}
