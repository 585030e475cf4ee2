//! The surface: webhooks for Twilio, REST and SSE for everybody else.

pub mod access;
pub mod as_of;
pub mod calls;
pub mod contacts;
pub mod conversations;
pub mod editing;
pub mod filter;
pub mod given;
pub mod health;
pub mod json_body;
pub mod limits;
pub mod metrics;
pub mod min_position;
pub mod openapi;
pub mod operations;
pub mod page;
pub mod problem;
pub mod recordings;
pub mod request_id;
pub mod router;
pub mod security;
pub mod session;
pub mod sid;
pub mod states;
pub mod stats;
pub mod stream;
pub mod sync;
pub mod tokens;
pub mod webhooks;

/// The routes on a free port of the loopback, so that tests see what a client sees.
#[cfg(test)]
async fn serve_for_test(routes: axum::Router) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}
