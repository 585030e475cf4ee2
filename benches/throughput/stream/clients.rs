//! The clients, in a process of their own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use super::{PATIENCE, PER_SECOND, cast};
use crate::http;
use crate::measure::quantile_ms;

/// What they have heard.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// By all clients together; each has heard every event once.
    pub frames: u64,
    /// Of the oldest frame of each piece that a client read, from when its webhook was due.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

#[derive(Debug)]
pub struct Clients {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Clients {
    /// Returns when all are connected. They listen until each has heard of so many webhooks.
    pub async fn connect(address: SocketAddr, clients: usize, webhooks: u64) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--listen", &format!("{address}/{clients}/{webhooks}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("their output is ours")?);
        let mut line = String::new();
        output.read_line(&mut line).await?;
        anyhow::ensure!(line.trim() == "connected", "the clients did not connect: {line}");
        Ok(Self { child, output })
    }

    /// Waits until they have heard everything. The first webhook was due then.
    pub async fn heard(&mut self, first: SystemTime) -> anyhow::Result<Heard> {
        let since_epoch = first.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos();
        let mut input = self.child.stdin.take().context("their input is ours")?;
        input.write_all(since_epoch.to_string().as_bytes()).await?;
        drop(input);
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "the clients ended with {status}");
        serde_json::from_str(&line).context("what the clients have heard cannot be read")
    }
}

/// When pieces were read, and the webhook of the oldest frame in each.
type Read = Vec<(Duration, u32)>;

/// The child's side: `address/clients/webhooks`.
pub async fn listen(what: &str) -> anyhow::Result<()> {
    let mut parts = what.split('/');
    let mut part = || parts.next().context("address/clients/webhooks");
    let (address, clients, webhooks): (SocketAddr, usize, u32) =
        (part()?.parse()?, part()?.parse()?, part()?.parse()?);
    let numbers: HashMap<String, u32> =
        (0..webhooks).map(|number| (cast(number.into()).parent, number)).collect();
    let numbers = Arc::new(numbers);
    let mut listening = JoinSet::new();
    for _ in 0..clients {
        let client = Client::connect(address).await?;
        listening.spawn(client.listen(Arc::clone(&numbers)));
    }
    println!("connected");
    let (mut frames, mut read) = (0, Vec::new());
    while let Some(heard) = listening.join_next().await {
        let (count, times) = heard??;
        frames += count;
        read.extend(times);
    }
    let first = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    let first = Duration::from_nanos(first.trim().parse()?);
    let lags: Vec<Duration> = read
        .into_iter()
        .map(|(at, number)| at.saturating_sub(first + Duration::from_secs(1) * number / PER_SECOND))
        .collect();
    let quantile = |share| quantile_ms(&lags, share);
    let heard = Heard { frames, p50_ms: quantile(0.5), p99_ms: quantile(0.99), max_ms: quantile(1.0) };
    println!("{}", serde_json::to_string(&heard)?);
    Ok(())
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Returns when the server has said so.
    async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&http::get(address, "/events/calls")).await?;
        let mut client = Self { stream, buffer: Vec::with_capacity(16 * 1024) };
        loop {
            client.read().await?;
            let text = std::str::from_utf8(&client.buffer)?;
            if let Some((_, rest)) = text.split_once("event: connected\n")
                && let Some((_, rest)) = rest.split_once("\n\n")
            {
                client.buffer = rest.as_bytes().to_vec();
                return Ok(client);
            }
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        anyhow::ensure!(read.context("nothing more came")?? > 0, "the server hung up");
        Ok(())
    }

    /// Until every webhook was told of, once.
    async fn listen(mut self, numbers: Arc<HashMap<String, u32>>) -> anyhow::Result<(u64, Read)> {
        let (mut frames, mut times) = (0, Vec::new());
        let mut told = vec![false; numbers.len()];
        while frames < numbers.len() as u64 {
            self.read().await?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            let Some(end) = self.buffer.windows(2).rposition(|pair| pair == b"\n\n") else { continue };
            let mut oldest: Option<u32> = None;
            let whole = std::str::from_utf8(&self.buffer[..end])?;
            for (_, sid) in
                whole.match_indices("\"callSid\":\"").map(|(at, name)| whole.split_at(at + name.len()))
            {
                let number = sid.get(..34).and_then(|sid| numbers.get(sid)).context("a call of this run")?;
                let place = &mut told[usize::try_from(*number)?];
                anyhow::ensure!(!std::mem::replace(place, true), "webhook {number} was told of twice");
                oldest = Some(oldest.map_or(*number, |oldest| oldest.min(*number)));
                frames += 1;
            }
            times.extend(oldest.map(|oldest| (now, oldest)));
            self.buffer.drain(..end + 2);
        }
        Ok((frames, times))
    }
}
