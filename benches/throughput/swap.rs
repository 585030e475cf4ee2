//! Reads while generations change over, under load and with one long export open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use projections::rebuild::Build;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::Sizes;
use crate::family::{Cast, Parties, Story, Template};
use crate::forms::{self, STATUS_PATH};
use crate::http::{self, Connection as Http};
use crate::measure::{median, ms};
use crate::server::{Database, Server};
use crate::table::{Figure, Table, Target};

const READERS: usize = 4;
/// Between a reader's answer and its next request.
const PAUSE: Duration = Duration::from_millis(2);
const WEBHOOKS_PER_SECOND: u32 = 100;
/// How long a swap may still be felt: the first requests on the new tables are planned anew.
const AFTERMATH: Duration = Duration::from_millis(500);
const PARTIES: Parties = Parties { count: 5_000, one_is_busy: false };

/// One read: when it began and how long it took.
type Read = (Instant, Duration);

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let template = Template::new(Story::Full)?;
    let database = server.database("swap").await?;
    template.load(&database.pool, sizes.backlog / template.events(), PARTIES).await?;
    database.fill().await?;
    server.settle().await?;

    let app = database.app().await?;
    let export = export(server, &database).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let readers = tokio::spawn(read(app.address, Arc::clone(&stop)));
    let load =
        tokio::spawn(webhooks(app.address, Arc::clone(&app.state.door.webhook_base_url), Arc::clone(&stop)));

    let mut windows = Vec::new();
    for _ in 0..sizes.swaps {
        let build = Build::run(database.pool.clone(), &database.ids, |_| {}).await?;
        let started = Instant::now();
        build.swap().await?;
        windows.push((started, started.elapsed()));
        // The next build would otherwise begin within the aftermath of this swap.
        tokio::time::sleep(AFTERMATH).await;
    }
    stop.store(true, Ordering::SeqCst);
    let reads = readers.await??;
    load.await??;
    export.close().await?;
    app.stop().await;
    server.drop(database).await?;

    let all: Vec<f64> = reads.iter().map(|(_, took)| ms(*took)).collect();
    let typical = median(&all);
    let during = reads.iter().filter(|(began, took)| {
        windows.iter().any(|(start, lasted)| *began < *start + *lasted + AFTERMATH && *began + *took > *start)
    });
    let slowest = |reads: &mut dyn Iterator<Item = f64>| reads.fold(0.0, f64::max) - typical;
    let at_swaps = slowest(&mut during.map(|(_, took)| ms(*took)));
    let ever = slowest(&mut all.iter().copied());
    let swaps: Vec<f64> = windows.iter().map(|(_, lasted)| ms(*lasted)).collect();
    let what = format!("{} swaps under load, one long export open", windows.len());
    table.alone(format!("{what}: median read"), Figure::Ms(typical), Target::None);
    table.alone(
        format!("{what}: slowest read at a swap, beyond the median"),
        Figure::Ms(at_swaps),
        Target::AtMost(Figure::Ms(50.0)),
    );
    table.alone(
        format!("{what}: slowest of all {} reads, also while building", reads.len()),
        Figure::Ms(ever),
        Target::None,
    );
    table.alone(format!("{what}: median swap"), Figure::Ms(median(&swaps)), Target::None);
    Ok(())
}

/// A transaction that reads the tables and goes on for as long as it is open.
async fn export(server: &Server, database: &Database) -> anyhow::Result<PgConnection> {
    let mut session = server.connect(&database.name).await?;
    sqlx::query("begin transaction isolation level repeatable read read only").execute(&mut session).await?;
    sqlx::query("declare export cursor for select * from messages order by id").execute(&mut session).await?;
    sqlx::query("fetch 1000 from export").execute(&mut session).await?;
    Ok(session)
}

async fn read(address: SocketAddr, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<Read>> {
    http::on_a_thread(async move {
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            let stop = Arc::clone(&stop);
            readers.spawn(async move {
                let mut connection = Http::open(address).await?;
                let request = http::get(address, "/api/conversations?limit=20");
                let mut reads = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    connection.exchange(&request).await?;
                    reads.push((began, began.elapsed()));
                    tokio::time::sleep(PAUSE).await;
                }
                anyhow::Ok(reads)
            });
        }
        let mut reads = Vec::new();
        while let Some(done) = readers.join_next().await {
            reads.extend(done??);
        }
        Ok(reads)
    })
    .await
}

/// New calls, a second's worth at a time, until it is told to stop.
async fn webhooks(address: SocketAddr, base_url: Arc<str>, stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    // Beyond the families of the log.
    let mut first = 1 << 32;
    while !stop.load(Ordering::SeqCst) {
        let calls = first..first + u64::from(WEBHOOKS_PER_SECOND);
        first = calls.end;
        let requests = calls.map(|call| {
            let form = forms::lone_callback(&Cast::of(call % (1 << 20) + (1 << 21), PARTIES))?;
            Ok(forms::request(&base_url, &address.to_string(), STATUS_PATH, &form))
        });
        let requests = requests.collect::<anyhow::Result<_>>()?;
        http::open(address, requests, WEBHOOKS_PER_SECOND, 8, |_, _| {}).await?;
    }
    Ok(())
}
