//! A thousand clients of the live stream under 200 webhooks a second, and one that does not read.
//!
//! callbook, its clients and the load have a process each, so that each one's memory is its own. A frame's lag is
//! counted from when its webhook was due to be sent, by the one clock of the machine.

mod clients;
mod served;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::Sizes;
use crate::family::{Cast, Parties};
use crate::forms::{self, STATUS_PATH};
use crate::http;
use crate::server::Server;
use crate::table::{Figure, Table, Target};
use clients::Clients;
pub use clients::listen;
use served::Served;
pub use served::serve;

pub const PER_SECOND: u32 = 200;
const CONNECTIONS: usize = 64;
/// When memory is measured first, and what it is compared with.
const EARLY: Duration = Duration::from_secs(10);
/// Nothing is timed by this: it turns what never comes into a message.
const PATIENCE: Duration = Duration::from_secs(60);

/// The call of the webhook with this number.
fn cast(number: u64) -> Cast {
    Cast::of(number, Parties { count: 5_000, one_is_busy: false })
}

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let database = server.database("stream").await?;
    let mut served = Served::start(&server.url(&database.name)).await?;
    let webhooks = sizes.stream_seconds * u64::from(PER_SECOND);
    let mut requests = Vec::new();
    for number in 0..webhooks {
        let form = forms::lone_callback(&cast(number))?;
        requests.push(forms::request(&served.url(), &served.address.to_string(), STATUS_PATH, &form));
    }
    let mut clients = Clients::connect(served.address, sizes.stream_clients, webhooks).await?;
    let idle = idle(served.address).await?;
    until(served.address, |stats| stats["connected_clients"] == sizes.stream_clients + 1).await?;

    let first = Arc::new(Mutex::new(None));
    let begun = Arc::clone(&first);
    let load =
        tokio::spawn(http::open(served.address, requests, PER_SECOND, CONNECTIONS, move |number, at| {
            if number == 0
                && let Ok(mut begun) = begun.lock()
            {
                *begun = Some(SystemTime::now() + at.saturating_duration_since(Instant::now()));
            }
        }));
    let early = EARLY.min(Duration::from_secs(sizes.stream_seconds) / 6);
    tokio::time::sleep(early).await;
    let early_memory = served.memory_mib();
    let answered = load.await??;
    let late_memory = served.memory_mib();
    let first = first.lock().ok().and_then(|first| *first).context("the first webhook was due")?;
    let heard = clients.heard(first).await?;
    // The others have heard everything, and gone.
    let stats = until(served.address, |stats| stats["stalled"] != 0).await?;
    drop(idle);
    served.stop().await?;
    server.drop(database).await?;

    let dropped = stats["stalled"].as_u64().unwrap_or(0);
    anyhow::ensure!(dropped == 1, "{dropped} clients were dropped, instead of the one that does not read");
    let what =
        format!("{} SSE clients, {PER_SECOND} webhooks/s, {} s", sizes.stream_clients, sizes.stream_seconds);
    let alone = |table: &mut Table, name: &str, figure, target| {
        table.alone(format!("{what}: {name}"), figure, target)
    };
    alone(table, "frames received", Figure::Count(heard.frames as f64), Target::None);
    alone(table, "webhook to frame, p50", Figure::Ms(heard.p50_ms), Target::None);
    alone(table, "webhook to frame, p99", Figure::Ms(heard.p99_ms), Target::None);
    alone(
        table,
        "webhook to frame, the slowest of all",
        Figure::Ms(heard.max_ms),
        Target::AtMost(Figure::Ms(2_000.0)),
    );
    let answers = crate::measure::quantile_ms(&answered.latencies, 0.99);
    alone(table, "the webhook's own answer, p99", Figure::Ms(answers), Target::None);
    table.beside(
        format!("{what}: memory at the end"),
        Figure::Mib(late_memory),
        format!("after {} s", early.as_secs()),
        Figure::Mib(early_memory),
        Target::AtMostTimes(1.2),
    );
    table.note(format!(
        "stream: the client that does not read was dropped, and {} others lost nothing",
        sizes.stream_clients
    ));
    Ok(())
}

/// Asks for the stream and reads nothing of it.
async fn idle(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(&http::get(address, "/events/calls")).await?;
    Ok(stream)
}

/// What the stream says of itself, once it says that.
async fn until(address: SocketAddr, said: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let mut connection = http::Connection::open(address).await?;
    let started = Instant::now();
    loop {
        let body = connection.exchange(&http::get(address, "/events/stats")).await?;
        let stats: Value = serde_json::from_slice(body)?;
        if said(&stats) {
            return Ok(stats);
        }
        anyhow::ensure!(started.elapsed() < PATIENCE, "the stream's clients are not as expected: {stats}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
