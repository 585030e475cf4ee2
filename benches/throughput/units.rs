//! Units of work committed per second: the committer, one INSERT a transaction, and `CqrsFramework`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callbook::event_store::{Committer, NewEvent, Unit};
use cqrs_es::Aggregate;
use domain::call::{Call, CallEvent};
use postgres_es::PostgresCqrs;
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::Sizes;
use crate::family;
use crate::measure::{median, rate};
use crate::peers::{self, Stored};
use crate::server::Server;
use crate::table::{Figure, Table, Target};

const WAITING: [usize; 5] = [1, 16, 64, 256, 1_000];
const METADATA: &str = r#"{"source":"webhook"}"#;

/// Somebody who commits one event to a new stream.
#[derive(Clone)]
enum Subject {
    Callbook(Committer),
    Insert(PgPool),
    Cqrs(Arc<PostgresCqrs<Stored>>),
}

impl Subject {
    async fn commit(&self, stream: String, event: CallEvent) -> anyhow::Result<()> {
        match self {
            Self::Callbook(committer) => {
                let event = NewEvent {
                    aggregate_type: Call::TYPE,
                    aggregate_id: stream,
                    sequence: 1,
                    event_type: event.type_name().to_owned(),
                    event_version: event.version().to_owned(),
                    payload: serde_json::to_string(&event)?,
                    metadata: METADATA.to_owned(),
                };
                committer.commit(Unit { events: vec![event], ..Unit::default() }).await?;
            }
            Self::Insert(pool) => {
                sqlx::query(
                    "insert into events
                            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                     values ('call', $1, 1, $2, $3, $4::json, $5::json)",
                )
                .bind(stream)
                .bind(event.type_name())
                .bind(event.version())
                .bind(serde_json::to_string(&event)?)
                .bind(METADATA)
                .execute(pool)
                .await?;
            }
            Self::Cqrs(cqrs) => cqrs.execute(&stream, event).await?,
        }
        Ok(())
    }
}

/// Units per second with so many callers, each waiting for its unit before it hands in the next.
async fn measure(
    subject: &Subject,
    callers: usize,
    seconds: f64,
    event: &CallEvent,
    streams: &Arc<AtomicU64>,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (subject, event, streams) = (subject.clone(), event.clone(), Arc::clone(streams));
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                let stream = family::call_sid(streams.fetch_add(1, Ordering::Relaxed));
                subject.commit(stream, event.clone()).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done??;
    }
    Ok(rate(count, started.elapsed()))
}

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let event = family::status_changed()?;
    let ours = server.database("units").await?;
    let (insert, plain, viewed) = (
        peers::stock_database(server, "units_insert").await?,
        peers::stock_database(server, "units_cqrs").await?,
        peers::stock_database(server, "units_view").await?,
    );
    let subjects = [
        Subject::Callbook(Committer::start(ours.pool.clone(), || {})),
        Subject::Insert(insert.clone()),
        Subject::Cqrs(Arc::new(peers::cqrs(&plain, false))),
        Subject::Cqrs(Arc::new(peers::cqrs(&viewed, true))),
    ];
    let streams = Arc::new(AtomicU64::new(0));
    for callers in WAITING {
        let mut rates = [const { Vec::new() }; 4];
        for _ in 0..sizes.rounds {
            for (subject, rates) in subjects.iter().zip(&mut rates) {
                rates.push(measure(subject, callers, sizes.seconds, &event, &streams).await?);
            }
        }
        let [ours, insert, plain, viewed] = rates.map(|rates| Figure::PerSecond(median(&rates)));
        let what = format!("units committed, {callers} waiting");
        let (against_insert, against_view) = match callers {
            1 => (Target::Times(0.8), Target::None),
            256 => (Target::Times(3.0), Target::Times(10.0)),
            _ => (Target::None, Target::None),
        };
        table.beside(&what, ours, "one INSERT per transaction, pool of 16", insert, against_insert);
        table.beside(&what, ours, "`CqrsFramework` over `postgres-es`", plain, Target::None);
        table.beside(&what, ours, "the same with a `GenericQuery`", viewed, against_view);
    }
    drop(subjects);
    server.drop(ours).await?;
    for (name, pool) in [("units_insert", insert), ("units_cqrs", plain), ("units_view", viewed)] {
        server.drop_pool(name, pool).await?;
    }
    Ok(())
}
