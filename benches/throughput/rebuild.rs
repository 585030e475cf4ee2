//! A rebuild, beside `QueryReplay`, one `insert … select` of the same rows, and just reading the log.

use std::time::Instant;

use futures::TryStreamExt;
use sqlx::{Executor, PgPool};

use crate::Sizes;
use crate::child::{self, Measured, Subject};
use crate::family::{Parties, Story, Template};
use crate::measure::median;
use crate::peers;
use crate::server::{Database, Server};
use crate::table::{Figure, Table, Target, thousands};

const PARTIES: Parties = Parties { count: 5_000, one_is_busy: false };

/// The tables in an order in which rows find what they refer to.
const TABLES: [&str; 4] = ["call_legs", "contacts", "conversations", "messages"];

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let template = Template::new(Story::Full)?;
    let database = server.database("rebuild").await?;
    let events = template.load(&database.pool, sizes.events / template.events(), PARTIES).await?;
    database.fill().await?;
    let stock = peers::stock_database(server, "rebuild_replay").await?;
    let slice = copy_slice(&database.pool, &stock, sizes.slice).await?;
    server.settle().await?;

    let mut rebuilds = Vec::new();
    let (mut reads, mut copies, mut indexed, mut replays, mut replay_memory) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let per_second = |seconds: f64| events as f64 / seconds;
    for _ in 0..sizes.rounds {
        rebuilds.push(rebuild(server, &database).await?);
        let read = child::measure(Subject::Read, &server.url(&database.name)).await?;
        reads.push(per_second(read.seconds));
        let (rows, with_indexes) = insert_select(&database.pool).await?;
        copies.push(per_second(rows));
        indexed.push(per_second(with_indexes));
        stock.execute("truncate call_view").await?;
        let replay = child::measure(Subject::Replay, &server.url("rebuild_replay")).await?;
        replays.push(slice as f64 / replay.seconds);
        replay_memory.push(replay.memory_mib);
    }
    let total = Figure::PerSecond(median_of(&rebuilds, |it| per_second(it.seconds)));
    let loaded = Figure::PerSecond(median_of(&rebuilds, |it| per_second(it.loaded_seconds)));
    let [reads, copies, indexed, replays] =
        [reads, copies, indexed, replays].map(|rates| Figure::PerSecond(median(&rates)));
    let count = thousands(events as f64);
    let replay =
        format!("`QueryReplay` with a `GenericQuery`, extrapolated from {}", thousands(slice as f64));
    let what = format!("rebuild of {count} events, fold and load");
    table.alone(&what, loaded, Target::AtLeast(300_000.0));
    table.beside(&what, loaded, "just reading the log in order (COPY)", reads, Target::Times(0.3));
    table.beside(&what, loaded, "`insert … select` of the same rows", copies, Target::None);
    // Like for like: a replay makes no index, verifies nothing and changes nothing over.
    table.beside(&what, loaded, &replay, replays, Target::Times(100.0));
    let what = format!("rebuild of {count} events, start to swap");
    table.alone(&what, total, Target::AtLeast(120_000.0));
    table.beside(&what, total, "`insert … select` of the same rows, and indexes", indexed, Target::None);
    table.beside(&what, total, &replay, replays, Target::Times(100.0));
    table.beside(
        format!("rebuild of {count} events: peak memory"),
        Figure::Mib(median_of(&rebuilds, |it| it.memory_mib)),
        format!("`QueryReplay`, {} events", thousands(slice as f64)),
        Figure::Mib(median(&replay_memory)),
        Target::None,
    );
    server.drop(database).await?;
    server.drop_pool("rebuild_replay", stock).await
}

/// Memory must not grow with the log.
pub async fn memory(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let template = Template::new(Story::Full)?;
    let mut figures = Vec::new();
    for times in [1, 5] {
        let database = server.database("memory").await?;
        let families = times * sizes.events / template.events();
        let events = template.load(&database.pool, families, PARTIES).await?;
        database.fill().await?;
        server.settle().await?;
        let measured = rebuild(server, &database).await?;
        let count = thousands(events as f64);
        table.alone(
            format!("rebuild of {count} events, start to swap, once"),
            Figure::PerSecond(events as f64 / measured.seconds),
            Target::None,
        );
        figures.push((count, Figure::Mib(measured.memory_mib)));
        server.drop(database).await?;
    }
    if let [(small, few), (large, many)] = &figures[..] {
        let what = format!("rebuild of {large} events: peak memory");
        table.alone(&what, *many, Target::AtMost(Figure::Mib(300.0)));
        table.beside(&what, *many, format!("the same of {small}"), *few, Target::AtMostTimes(1.3));
    }
    Ok(())
}

fn median_of(measured: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    median(&measured.iter().map(figure).collect::<Vec<_>>())
}

async fn rebuild(server: &Server, database: &Database) -> anyhow::Result<Measured> {
    let measured = child::measure(Subject::Rebuild, &server.url(&database.name)).await?;
    projections::rebuild::drop_previous(&database.pool).await?;
    Ok(measured)
}

/// Copies the rows that serve into empty tables of the same make; says how many seconds the rows took, and the
/// rows with their indexes.
async fn insert_select(pool: &PgPool) -> anyhow::Result<(f64, f64)> {
    /// A generation that no rebuild reaches.
    const ASIDE: i32 = 999_999;
    let current: i32 =
        sqlx::query_scalar("select generation from read_model_current").fetch_one(pool).await?;
    // Dropped with its session, unless the transaction below commits.
    let mut tx = pool.begin().await?;
    sqlx::query("select create_read_model($1, 1)").bind(ASIDE).execute(&mut *tx).await?;
    let started = Instant::now();
    for table in TABLES {
        let copy =
            format!("insert into read_model_g{ASIDE}.{table} select * from read_model_g{current}.{table}");
        sqlx::query(&copy).execute(&mut *tx).await?;
    }
    let rows = started.elapsed();
    sqlx::query("select index_read_model($1)").bind(ASIDE).execute(&mut *tx).await?;
    tx.commit().await?;
    let with_indexes = started.elapsed();
    sqlx::query("select drop_read_model($1)").bind(ASIDE).execute(pool).await?;
    Ok((rows.as_secs_f64(), with_indexes.as_secs_f64()))
}

/// The first events of the log as the peers keep them.
async fn copy_slice(from: &PgPool, to: &PgPool, count: u64) -> anyhow::Result<u64> {
    const COLUMNS: &str =
        "aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata";
    let mut source = from.acquire().await?;
    let mut target = to.acquire().await?;
    let mut rows = source
        .copy_out_raw(&format!(
            "copy (select {COLUMNS} from call_events order by id limit {count}) to stdout"
        ))
        .await?;
    let mut copy = target.copy_in_raw(&format!("copy events ({COLUMNS}) from stdin")).await?;
    while let Some(chunk) = rows.try_next().await? {
        copy.send(chunk).await?;
    }
    let copied = copy.finish().await?;
    drop(rows);
    to.execute("vacuum analyze events").await?;
    Ok(copied)
}
