//! From inbox row to projected row: the inbox is filled, then the application starts.

use std::time::Instant;

use crate::Sizes;
use crate::family::{Cast, Parties};
use crate::forms;
use crate::http;
use crate::measure::{median, rate};
use crate::server::{Database, Server, until_drained};
use crate::table::{Figure, Table, Target};

/// A full inbox; each round works off a copy of it.
const FULL: &str = "ingest_full";

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let full = server.database(FULL).await?;
    let rows = fill(&full, sizes.ingest_families).await?;
    full.pool.close().await;
    let mut rates = Vec::new();
    for _ in 0..sizes.rounds {
        let database = server.copy(FULL, "ingest").await?;
        server.settle().await?;
        let started = Instant::now();
        let app = database.app().await?;
        until_projected(&database, &app, rows).await?;
        rates.push(rate(rows, started.elapsed()));
        app.stop().await;
        server.drop(database).await?;
    }
    server.drop(full).await?;
    table.alone(
        format!("ingest: inbox row to projected row, {rows} waiting"),
        Figure::PerSecond(median(&rates)),
        Target::None,
    );
    Ok(())
}

/// Through the door itself, so that the rows are what it stores.
async fn fill(database: &Database, families: u64) -> anyhow::Result<u64> {
    let door = database.door().await?;
    let (address, base_url) = (door.app.address, &door.app.state.door.webhook_base_url);
    let host = address.to_string();
    let mut requests = Vec::new();
    for family in 0..families {
        let cast = Cast::of(family, Parties { count: 5_000, one_is_busy: false });
        for (endpoint, form) in forms::family(&cast)? {
            requests.push(forms::request(base_url, &host, forms::path(endpoint), &form));
        }
    }
    let rows = requests.len() as u64;
    http::closed(address, requests, 64).await?;
    until_drained(&door.app).await?;
    door.stop().await?;
    Ok(rows)
}

/// Returns when every row is decided and the projection has passed every event; all rows must have been good.
async fn until_projected(database: &Database, app: &callbook::app::App, rows: u64) -> anyhow::Result<()> {
    let mut progress = app.state.progress.clone();
    loop {
        let at = progress.borrow_and_update().position;
        // Only from here: counting an inbox again and again would be a load of its own.
        let waiting: bool = sqlx::query_scalar(
            "select exists (select from twilio_webhook_inbox where processing_status in ('pending', 'failed'))",
        )
        .fetch_one(&database.pool)
        .await?;
        let head: i64 = sqlx::query_scalar("select coalesce(max(id), 0) from call_events")
            .fetch_one(&database.pool)
            .await?;
        if !waiting && at >= head {
            break;
        }
        progress.changed().await?;
    }
    let done: i64 =
        sqlx::query_scalar("select count(*) from twilio_webhook_inbox where processing_status = 'completed'")
            .fetch_one(&database.pool)
            .await?;
    anyhow::ensure!(u64::try_from(done)? == rows, "{done} of {rows} inbox rows were decided");
    Ok(())
}
