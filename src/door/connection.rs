//! Connections that end where their client takes nothing of what it asked for.
//!
//! HTTP asks a handler for no more while a client does not read, so no handler can notice it; what is under way to
//! the client would be kept for as long as the client likes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// What the kernel keeps for a client and has not sent, where it can be told so. What is sent and not confirmed
/// counts apart, so this bounds no client's speed.
const UNSENT: u32 = 128 * 1024;
/// How long a client may take nothing once callbook is stopping.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// How long a client may take nothing, and how many were dropped for it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    pub patience: Duration,
    pub stalled: Arc<AtomicU64>,
}

pub(super) struct Connection {
    stream: TcpStream,
    taking: Taking,
    stopping: CancellationToken,
    /// Ends when the client has taken nothing for too long; there while something waits to be taken.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Connection {
    pub fn new(stream: TcpStream, taking: Taking, stopping: CancellationToken) -> Self {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a connection is used as it is");
        }
        Self { stream, taking, stopping, waiting: None }
    }

    fn taken<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let (patience, stopping) = (self.taking.patience, &self.stopping);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(lose_patience(patience, stopping.clone())));
        ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        self.taking.stalled.fetch_add(1, Ordering::Relaxed);
        tracing::info!("a client that takes nothing of what it asked for is dropped");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    // Frames of the live stream are small, and must not wait for each other.
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    SockRef::from(stream).set_send_buffer_size(UNSENT as usize)?;
    Ok(())
}

async fn lose_patience(patience: Duration, stopping: CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(patience) => {}
        () = stopping.cancelled() => tokio::time::sleep(LAST_PATIENCE.min(patience)).await,
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.taken(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::door::listener;

    /// Serves more than any buffer holds, to whoever asks.
    async fn endless(patience: Duration, stopping: CancellationToken) -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stalled = Arc::new(AtomicU64::new(0));
        let taking = Taking { patience, stalled: Arc::clone(&stalled) };
        let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
        let body = move || {
            Body::from_stream(futures::stream::repeat_with({
                let chunk = chunk.clone();
                move || Ok::<_, io::Error>(chunk.clone())
            }))
        };
        let routes = Router::new().route("/", get(async move || body()));
        tokio::spawn(listener::serve(listener, routes, stopping, listener::PATIENCE, taking));
        (address, stalled)
    }

    async fn ask(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        stream
    }

    async fn until_stalled(stalled: &AtomicU64, count: u64) {
        while stalled.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_dropped_and_one_that_reads_is_not() {
        let (address, stalled) = endless(Duration::from_millis(300), CancellationToken::new()).await;
        let idle = ask(address).await;
        let mut reading = ask(address).await;
        let mut buffer = vec![0; 1 << 16];
        while stalled.load(Ordering::Relaxed) == 0 {
            assert!(reading.read(&mut buffer).await.unwrap() > 0);
        }
        assert!(reading.read(&mut buffer).await.unwrap() > 0, "it goes on");
        assert_eq!(stalled.load(Ordering::Relaxed), 1);
        drop(idle);
    }

    #[tokio::test]
    async fn nobody_waits_for_such_a_client_once_it_stops() {
        let stopping = CancellationToken::new();
        let (address, stalled) = endless(Duration::from_secs(3_600), stopping.clone()).await;
        let mut idle = ask(address).await;
        // What has not been accepted by then is not answered at all.
        assert!(idle.read(&mut [0; 64]).await.unwrap() > 0);
        stopping.cancel();
        until_stalled(&stalled, 1).await;
    }
}
