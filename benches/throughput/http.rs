//! A client that costs little, as it shares the cores with the server: requests made beforehand, written to
//! connections that stay open, answers read no further than they must be.
//!
//! It has a thread of its own, so that what it measures is not its place in the server's queue.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What became of a load.
#[derive(Debug, Default)]
pub struct Answered {
    pub took: Duration,
    pub latencies: Vec<Duration>,
}

/// One connection that stays open.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request and gives the body of its answer, which must be a success.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (head, length) = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.buffer[..end])?;
                anyhow::ensure!(head.starts_with("HTTP/1.1 2"), "a request was answered {head}");
                let length = header(head, "content-length").map(str::parse).transpose()?;
                break (end + 4, length.unwrap_or(0));
            }
            self.read().await?;
        };
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok(&self.buffer[head..])
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(read > 0, "the server hung up");
        Ok(())
    }
}

/// A `GET` as bytes.
pub fn get(address: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()
}

/// Sends these requests through so many connections, each sending its next when it has an answer.
pub async fn closed(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    connections: usize,
) -> anyhow::Result<Answered> {
    on_a_thread(async move {
        let requests: Arc<[Vec<u8>]> = requests.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::open(address).await?);
        }
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in open {
            let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    connection.exchange(request).await?;
                    latencies.push(sent.elapsed());
                }
                anyhow::Ok(latencies)
            });
        }
        let mut latencies = Vec::with_capacity(requests.len());
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done??);
        }
        Ok(Answered { took: started.elapsed(), latencies })
    })
    .await
}

/// Sends so many a second, whatever becomes of those before; latencies count from when each was due. `due` is
/// told the number of a request as its time comes.
pub async fn open(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    per_second: u32,
    connections: usize,
    due: impl Fn(usize, Instant) + Send + Sync + 'static,
) -> anyhow::Result<Answered> {
    on_a_thread(async move {
        let requests: Arc<[Vec<u8>]> = requests.into();
        let next = Arc::new(AtomicUsize::new(0));
        let due = Arc::new(due);
        let started = tokio::time::Instant::now() + Duration::from_millis(50);
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let mut connection = Connection::open(address).await?;
            let (requests, next, due) = (Arc::clone(&requests), Arc::clone(&next), Arc::clone(&due));
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(number) else { return anyhow::Ok(latencies) };
                    let at = started + Duration::from_secs(1) * u32::try_from(number)? / per_second;
                    due(number, at.into_std());
                    tokio::time::sleep_until(at).await;
                    connection.exchange(request).await?;
                    latencies.push(at.elapsed());
                }
            });
        }
        let mut latencies = Vec::with_capacity(requests.len());
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done??);
        }
        Ok(Answered { took: started.elapsed(), latencies })
    })
    .await
}

/// Runs a future on a thread with a runtime of its own.
pub async fn on_a_thread<T: Send + 'static>(
    future: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result =
            runtime.context("no runtime for the client").and_then(|runtime| runtime.block_on(future));
        // Nobody waits any more if the run was stopped.
        let _ = done.send(result);
    });
    result.await.context("the client's thread panicked")?
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = head
        .lines()
        .find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))?;
    line.split_once(':').map(|(_, value)| value.trim())
}
