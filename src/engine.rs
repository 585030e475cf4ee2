//! What goes on behind the door: whatever comes into the inbox is decided, appended and folded, and what did not come
//! in is asked for. The same in a serving callbook and in a command that needs it for a while.

use std::sync::Arc;
use std::time::Duration;

use projections::chain;
use projections::ids::IdKey;
use projections::runner::Progress;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::Book;
use crate::clock::Clock;
use crate::config;
use crate::event_store::Committer;
use crate::ingest::Worker;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::reconcile::{self, Reconciler};
use crate::retention::Retention;
use crate::twilio::routing::Routing;
use crate::wakeup::Wakeup;

/// How long queries at hand may take once callbook is stopping.
const LAST_QUERIES: Duration = Duration::from_secs(5);

/// How often what was measured is summed up, whether somebody asks for it or not.
const SUM_UP: Duration = Duration::from_secs(10);

/// Dropped, it ends what goes on; [`Engine::stop`] ends it in order.
#[derive(Debug)]
pub struct Engine {
    pub pool: PgPool,
    pub ids: IdKey,
    pub progress: watch::Receiver<Progress>,
    pub lease: Lease,
    pub committer: Committer,
    /// Nothing where there is no Twilio to ask.
    pub reconciler: Option<Reconciler>,
    pub wakeup: Arc<Wakeup>,
    /// What goes on for as long as callbook runs; each says what has ended.
    pub tasks: JoinSet<&'static str>,
}

impl Engine {
    /// Works whenever it holds the worker lease. Calls are judged by the lines that `routing` has at the time.
    pub fn start(
        book: Book,
        routing: watch::Receiver<Routing>,
        twilio: Option<reconcile::Settings>,
        metrics: &Metrics,
    ) -> Self {
        let Book { pool, ids, runner, .. } = book;
        let mut tasks = JoinSet::new();
        let progress = runner.progress();
        let lease = Lease::new(pool.clone());
        let wakeup = Arc::new(Wakeup::new(pool.clone(), lease.clone(), runner.clone()));
        let appended = Arc::clone(&wakeup);
        let committer = Committer::measured(pool.clone(), metrics.commits(), move || appended.appended());
        let worker = Worker::new(pool.clone(), committer.clone(), routing, wakeup.worker());
        let worker = worker.measured(metrics.ingest());
        let reconciler = twilio.map(|settings| {
            let stored = Arc::clone(&wakeup);
            Reconciler::new(settings, pool.clone(), committer.clone(), progress.clone(), move || {
                stored.stored()
            })
            .measured(metrics.runs())
        });
        let (folding, working) = (lease.held(), lease.held());
        tasks.spawn(async move {
            runner.run(folding).await;
            "the projection"
        });
        tasks.spawn(async move {
            worker.run(working).await;
            "the inbox worker"
        });
        let (telling, holding) = (Arc::clone(&wakeup), lease.clone());
        tasks.spawn(async move {
            telling.run().await;
            "the wake-up of other instances"
        });
        tasks.spawn(async move {
            holding.run().await;
            "the worker lease"
        });
        let summed_up = metrics.clone();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(SUM_UP).await;
                summed_up.sum_up();
            }
        });
        Self { pool, ids, progress, lease, committer, reconciler, wakeup, tasks }
    }

    /// Asks Twilio by itself from now on, while it holds the worker lease. Lines that nobody configured are learnt
    /// first: what is judged without them stays so.
    pub fn reconcile(&mut self, routing: watch::Sender<Routing>) {
        let Some(reconciler) = self.reconciler.clone() else { return };
        let (known, mut lines_known) = watch::channel(routing.borrow().caller_id.is_some());
        if reconciler.learns_numbers {
            let reconciler = reconciler.clone();
            self.tasks.spawn(async move {
                reconciler.learn_numbers(routing, known).await;
                "the learning of owned numbers"
            });
        }
        let held = self.lease.held();
        self.tasks.spawn(async move {
            // Where they are configured nobody is left to say so, and nobody need.
            let _ = lines_known.wait_for(|known| *known).await;
            reconciler.run(held).await;
            "what asks Twilio"
        });
    }

    /// Clears away what need not be kept, while it holds the worker lease.
    pub fn clear_away(&mut self, clock: Clock, settings: config::Retention) {
        let (retention, held) = (Retention::new(self.pool.clone(), clock, settings), self.lease.held());
        self.tasks.spawn(async move {
            retention.run(held).await;
            "what clears away"
        });
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let released = tokio::time::timeout(LAST_QUERIES, self.lease.release()).await;
        if let Ok(Err(error)) = released {
            tracing::warn!(error = chain(&error), "the worker lease is kept until its time is out");
        }
        // A database that hangs does not give its connections back.
        let _ = tokio::time::timeout(LAST_QUERIES, self.pool.close()).await;
    }
}
