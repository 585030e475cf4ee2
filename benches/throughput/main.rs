//! callbook beside PostgreSQL's own limit and beside the crates that do the same, in one run.
//!
//! `cargo bench --bench throughput` starts a PostgreSQL of its own (fsync on, default settings) and prints one
//! table. What is compared is measured in turn, A B C A B C …, and the table has the medians, so that noise hits
//! all alike. `-- --only units,pages` runs single parts and `-- --quick` a smoke check whose figures mean little.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod catch_up;
mod child;
mod family;
mod forms;
mod http;
mod import;
mod ingest;
mod live;
mod measure;
mod pages;
mod peers;
mod rebuild;
mod server;
mod stream;
mod swap;
mod table;
mod units;
mod webhooks;

use std::time::Instant;

use clap::{Parser, ValueEnum};

use server::Server;
use table::Table;

#[derive(Debug, Parser)]
#[command(about = "callbook beside PostgreSQL's own limit and beside its peers")]
struct Options {
    /// Only these parts, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Events in the log that is rebuilt, and messages that are paged through; five times as many events for the
    /// memory of a large rebuild.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// How often everything is measured; the table has the medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Small sizes: whether it runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    /// Measures one subject in a process of its own.
    #[arg(long, hide = true, value_enum, requires = "database")]
    child: Option<child::Subject>,
    #[arg(long, hide = true)]
    database: Option<String>,
    #[arg(long, hide = true)]
    twilio: Option<String>,
    /// Serves on this database, in a process of its own.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Listens to the live stream, in a process of its own.
    #[arg(long, hide = true)]
    listen: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Units of work committed per second.
    Units,
    /// Signed webhooks over HTTP to a durable row.
    Webhooks,
    /// Inbox rows to projected rows.
    Ingest,
    /// Calls over Twilio's REST API to projected rows.
    Import,
    /// Live, from a backlog.
    CatchUp,
    /// Rebuild, against replay, `insert … select` and reading.
    Rebuild,
    /// Memory of a rebuild five times as large.
    Memory,
    /// Reads while generations change over.
    Swap,
    /// Pages of REST by cursor.
    Pages,
    /// Webhook to SSE.
    Live,
    /// A thousand clients of SSE, and one that does not read.
    Stream,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    rounds: usize,
    /// Seconds of one measurement of units.
    seconds: f64,
    /// Webhooks in one measurement.
    webhooks: u64,
    /// Families whose webhooks wait in the inbox before ingest starts.
    ingest_families: u64,
    /// Calls that are asked for.
    imported: u64,
    backlog: u64,
    events: u64,
    /// Events that `QueryReplay` replays.
    slice: u64,
    messages: u64,
    page_reads: usize,
    swaps: usize,
    /// Seconds of webhooks at 200 a second.
    live_seconds: u64,
    /// The same with many clients.
    stream_seconds: u64,
    stream_clients: usize,
}

impl Sizes {
    fn of(options: &Options) -> Self {
        let full = Self {
            rounds: options.rounds,
            seconds: 2.0,
            webhooks: 12_000,
            ingest_families: 1_500,
            imported: 10_000,
            backlog: options.events.min(200_000),
            events: options.events,
            slice: 10_000,
            messages: options.events,
            page_reads: 400,
            swaps: 20,
            live_seconds: 10,
            stream_seconds: 60,
            stream_clients: 1_000,
        };
        if !options.quick {
            return full;
        }
        Self {
            rounds: options.rounds.min(2),
            seconds: 0.2,
            webhooks: 600,
            ingest_families: 50,
            imported: 400,
            backlog: 8_000,
            events: options.events.min(16_000),
            slice: 800,
            messages: 4_000,
            page_reads: 50,
            swaps: 3,
            live_seconds: 1,
            // Until a client that does not read is dropped.
            stream_seconds: 30,
            stream_clients: 100,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let (Some(subject), Some(database)) = (options.child, &options.database) {
        return runtime.block_on(child::run(subject, database, options.twilio.as_deref()));
    }
    if let Some(database) = &options.serve {
        return runtime.block_on(stream::serve(database));
    }
    if let Some(what) = &options.listen {
        return runtime.block_on(stream::listen(what));
    }
    runtime.block_on(async {
        tokio::select! {
            done = bench(&options) => done,
            // Leaves nothing behind: the cluster stops and its folder goes as this returns.
            stopped = tokio::signal::ctrl_c() => anyhow::bail!("stopped: {stopped:?}"),
        }
    })
}

async fn bench(options: &Options) -> anyhow::Result<()> {
    let sizes = Sizes::of(options);
    let server = Server::start().await?;
    let about = server.about().await?;
    let mut table = Table::default();
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(part) {
            continue;
        }
        let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("{name} …");
        let started = Instant::now();
        measure::reset_peak_memory();
        server.settle().await?;
        // An hour's other figures are not lost with one part.
        if let Err(error) = measure(*part, &server, &sizes, &mut table).await {
            eprintln!("{name} failed: {error:#}");
            failed.push(format!("{name} failed: {error:#}"));
        }
        let (took, peak) = (started.elapsed().as_secs_f64(), measure::peak_memory_mib());
        table.note(format!("{name}: {took:.0} s, peak memory of this process {peak:.0} MiB, load included"));
    }
    server.stop().await?;
    println!("{about}\n\n{table}");
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

async fn measure(part: Part, server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    match part {
        Part::Units => units::run(server, sizes, table).await,
        Part::Webhooks => Box::pin(webhooks::run(server, sizes, table)).await,
        Part::Ingest => ingest::run(server, sizes, table).await,
        Part::Import => import::run(server, sizes, table).await,
        Part::CatchUp => catch_up::run(server, sizes, table).await,
        Part::Rebuild => rebuild::run(server, sizes, table).await,
        Part::Memory => rebuild::memory(server, sizes, table).await,
        Part::Swap => swap::run(server, sizes, table).await,
        Part::Pages => pages::run(server, sizes, table).await,
        Part::Live => live::run(server, sizes, table).await,
        Part::Stream => stream::run(server, sizes, table).await,
    }
}
