//! From a webhook to the live stream, at 200 a second whatever the server does: each is timed from when it was
//! due to be sent until its event has arrived at a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;

use crate::Sizes;
use crate::family::{Cast, Parties};
use crate::forms::{self, STATUS_PATH};
use crate::http;
use crate::measure::{median, quantile_ms};
use crate::server::Server;
use crate::table::{Figure, Table, Target};

const PER_SECOND: u32 = 200;
const CONNECTIONS: usize = 64;
/// Nothing is timed by this: it turns an event that never comes into a message.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    let database = server.database("live").await?;
    let app = database.app().await?;
    let (mut p50, mut p99, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let each = sizes.live_seconds * u64::from(PER_SECOND);
    for round in 0..sizes.rounds as u64 {
        let calls = round * each..(round + 1) * each;
        let casts: Vec<Cast> =
            calls.map(|call| Cast::of(call, Parties { count: 5_000, one_is_busy: false })).collect();
        let mut requests = Vec::new();
        for cast in &casts {
            let form = forms::lone_callback(cast)?;
            let host = app.address.to_string();
            requests.push(forms::request(&app.state.door.webhook_base_url, &host, STATUS_PATH, &form));
        }
        let sids: Vec<String> = casts.into_iter().map(|cast| cast.parent).collect();
        let expected = sids.len();
        let (ready, listening) = tokio::sync::oneshot::channel();
        let arrivals = tokio::spawn(http::on_a_thread(listen(app.url(), expected, ready)));
        listening.await.context("the live stream did not begin")?;
        let due = Arc::new(std::sync::Mutex::new(vec![None; expected]));
        let times = Arc::clone(&due);
        let answered = http::open(app.address, requests, PER_SECOND, CONNECTIONS, move |number, at| {
            if let Ok(mut times) = times.lock() {
                times[number] = Some(at);
            }
        })
        .await?;
        let arrivals = arrivals.await??;
        let due = due.lock().map_err(|_| anyhow::anyhow!("a sender panicked"))?;
        let mut latencies = Vec::with_capacity(expected);
        for (sid, due) in sids.iter().zip(due.iter()) {
            let due = due.context("every webhook was due")?;
            let arrived = arrivals.get(sid).with_context(|| format!("{sid} never came"))?;
            latencies.push(arrived.duration_since(due));
        }
        p50.push(quantile_ms(&latencies, 0.5));
        p99.push(quantile_ms(&latencies, 0.99));
        answers.push(quantile_ms(&answered.latencies, 0.99));
    }
    app.stop().await;
    server.drop(database).await?;
    let what = format!("webhook to SSE at {PER_SECOND}/s");
    table.alone(format!("{what}, p50"), Figure::Ms(median(&p50)), Target::None);
    table.alone(format!("{what}, p99"), Figure::Ms(median(&p99)), Target::AtMost(Figure::Ms(100.0)));
    table.alone(format!("{what}: the webhook's own answer, p99"), Figure::Ms(median(&answers)), Target::None);
    Ok(())
}

/// When each call's event arrived, until so many have. `ready` is told when the stream has begun.
async fn listen(
    url: String,
    expected: usize,
    ready: tokio::sync::oneshot::Sender<()>,
) -> anyhow::Result<HashMap<String, Instant>> {
    let client = callbook::outgoing::local().build()?;
    let response = client.get(format!("{url}/events/calls")).send().await?.error_for_status()?;
    let mut bytes = response.bytes_stream();
    let mut ready = Some(ready);
    let mut buffer = Vec::new();
    let mut arrivals = HashMap::new();
    while arrivals.len() < expected {
        let next = tokio::time::timeout(PATIENCE, bytes.next()).await;
        let chunk = next
            .with_context(|| format!("{} of {expected} events arrived", arrivals.len()))?
            .context("the live stream ended")??;
        let now = Instant::now();
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let frame = std::str::from_utf8(&frame)?;
            if frame.contains("event: connected")
                && let Some(ready) = ready.take()
            {
                // Nobody waits any more if the run was stopped.
                let _ = ready.send(());
            }
            if let Some(sid) = call_sid(frame) {
                arrivals.insert(sid.to_owned(), now);
            }
        }
    }
    Ok(arrivals)
}

fn call_sid(frame: &str) -> Option<&str> {
    let (_, after) = frame.split_once("\"callSid\":\"")?;
    after.split_once('"').map(|(sid, _)| sid)
}
