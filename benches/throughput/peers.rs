//! The peers: `cqrs-es` over `postgres-es` on its stock schema, with and without a view, and plain SQL.

use std::sync::Arc;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::GenericQuery;
use cqrs_es::{Aggregate, EventEnvelope, Query, View};
use domain::call::{CallEvent, CallStatus};
use domain::direction::Direction;
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::{Executor, PgPool};

use crate::server::Server;

/// `postgres-es` 0.5's `db/init.sql`, without its example rows.
const STOCK_SCHEMA: &str = "
    CREATE TABLE events
    (
        aggregate_type text                         NOT NULL,
        aggregate_id   text                         NOT NULL,
        sequence       bigint CHECK (sequence >= 0) NOT NULL,
        event_type     text                         NOT NULL,
        event_version  text                         NOT NULL,
        payload        json                         NOT NULL,
        metadata       json                         NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    );
    CREATE TABLE call_view
    (
        view_id text                        NOT NULL,
        version bigint CHECK (version >= 0) NOT NULL,
        payload json                        NOT NULL,
        PRIMARY KEY (view_id)
    );";

/// A database as `postgres-es` documents it.
pub async fn stock_database(server: &Server, name: &str) -> anyhow::Result<PgPool> {
    let pool = server.bare(name).await?;
    pool.execute(STOCK_SCHEMA).await?;
    Ok(pool)
}

/// An aggregate that decides nothing: its command is the event, so that what is measured is the store.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stored {
    status: Option<CallStatus>,
}

impl Aggregate for Stored {
    const TYPE: &'static str = "call";
    type Command = CallEvent;
    type Event = CallEvent;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(&mut self, event: CallEvent, (): &(), sink: &EventSink<Self>) -> Result<(), Self::Error> {
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: CallEvent) {
        self.status = event.change().summary.status;
    }
}

/// What a list of calls would show.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CallView {
    status: Option<CallStatus>,
    direction: Option<Direction>,
    from: Option<String>,
    to: Option<String>,
    duration: Option<u32>,
    events: u64,
}

impl View<Stored> for CallView {
    fn update(&mut self, event: &EventEnvelope<Stored>) {
        let summary = event.payload.change().summary.clone();
        *self = Self {
            status: summary.status,
            direction: summary.direction,
            from: summary.from,
            to: summary.to,
            duration: summary.duration,
            events: self.events + 1,
        };
    }
}

pub type CallQuery = GenericQuery<PostgresViewRepository<CallView, Stored>, CallView, Stored>;

pub fn query(pool: &PgPool) -> CallQuery {
    let mut query = CallQuery::new(Arc::new(PostgresViewRepository::new("call_view", pool.clone())));
    query.use_error_handler(Box::new(|error| panic!("the peer's view failed: {error}")));
    query
}

pub fn cqrs(pool: &PgPool, with_view: bool) -> PostgresCqrs<Stored> {
    let queries: Vec<Box<dyn Query<Stored>>> =
        if with_view { vec![Box::new(query(pool))] } else { Vec::new() };
    postgres_cqrs(pool.clone(), queries, ())
}
