//! The socket: one task a connection, and for each the time and the room that its requests' heads may take.
//!
//! axum's own `serve` sets no time for a request's head, so that whoever sends a byte a minute keeps a connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::connection::{Connection, Taking};

/// What a connection may take before it is closed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request; an idle connection ends after as long, too.
    pub head: Duration,
    /// In bytes; a head that is larger is answered 431.
    pub largest_head: usize,
}

/// Longer than the idle time of the usual proxy's connections would be wasted on it; Twilio needs no second.
pub const PATIENCE: Patience = Patience { head: Duration::from_secs(30), largest_head: 64 * 1024 };

/// After the system has no descriptor left for a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers until `stop`, and returns when the last request at hand has been answered. Whatever stays open goes on by
/// itself only if this is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    service: Router,
    stop: CancellationToken,
    patience: Patience,
    taking: Taking,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = Connection::new(stream, taking.clone(), stop.clone());
                connections.spawn(talk(connection, peer, service.clone(), stop.clone(), patience));
            }
            // A client that went away before it was taken is nobody's trouble.
            Err(error) if went_away(&error) => {}
            Err(error) => {
                tracing::error!(error = error.to_string(), "no connection can be taken at the moment");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn talk(
    connection: Connection,
    peer: SocketAddr,
    service: Router,
    stop: CancellationToken,
    patience: Patience,
) {
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let service = service.clone();
        async move { service.oneshot(request).await.map_err(|never: Infallible| never) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(patience.largest_head)
        .serve_connection(TokioIo::new(connection), answer)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        // How a connection ends is the client's business.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn went_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;

    use super::*;

    async fn serving(
        patience: Patience,
        routes: Router,
    ) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let taking = Taking { patience: Duration::from_secs(20), stalled: Arc::default() };
        (address, stop.clone(), tokio::spawn(serve(listener, routes, stop, patience, taking)))
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
        let patience = Patience { head: Duration::from_millis(50), ..PATIENCE };
        let (address, _stop, _serving) = serving(patience, Router::new()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: cal").await.unwrap();
        // Closed by the server; without its patience this would never return.
        let answer = said(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let patience = Patience { largest_head: 8 * 1024, ..PATIENCE };
        let (address, _stop, _serving) = serving(patience, Router::new()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nX-Large: {}\r\n\r\n", "x".repeat(10_000));
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = said(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test]
    async fn a_request_at_hand_is_answered_after_the_stop_and_an_idle_connection_is_closed() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begins, goes_on) = (begun.clone(), go_on.clone());
        let slow = get(async move || {
            begins.notify_one();
            goes_on.notified().await;
            "answered"
        });
        let (address, stop, serving) = serving(PATIENCE, Router::new().route("/slow", slow)).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: callbook\r\n\r\n").await.unwrap();
        begun.notified().await;
        stop.cancel();
        assert_eq!(said(&mut idle).await, "");
        assert!(!serving.is_finished());
        go_on.notify_one();
        assert!(said(&mut busy).await.ends_with("answered"));
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "no further connection is taken");
    }
}
