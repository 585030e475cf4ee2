//! Signed webhooks over HTTP to a durable row: the application's door, and the same handler with one transaction
//! a request.
//!
//! Two ways: the door alone, as an instance that does not hold the worker lease serves it, and with ingest and
//! projection of the same rows at work on the same cores, for both.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::from_fn;
use axum::routing::post;
use callbook::app::App;
use callbook::http::request_id::{self, RequestId};
use callbook::twilio::form::Form;
use callbook::twilio::signature::{self, SignedBody};
use secrecy::SecretString;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::Sizes;
use crate::family::{Cast, Parties};
use crate::forms::{self, STATUS_PATH};
use crate::http::{self, Answered};
use crate::measure::{median, quantile_ms, rate};
use crate::server::{AUTH_TOKEN, Database, Door, Server, serve, until_drained};
use crate::table::{Figure, Table, Target};

const CONNECTIONS: [usize; 2] = [64, 256];

/// Something that takes webhooks on a socket.
struct Subject {
    address: SocketAddr,
    /// What the signature is over.
    base_url: Arc<str>,
    database: Database,
    peer: Option<JoinHandle<()>>,
    callbook: Option<Callbook>,
}

/// The application, which decides and folds what is taken, or leaves that to another instance.
enum Callbook {
    Works(App),
    Door(Door),
}

impl Callbook {
    fn app(&self) -> &App {
        match self {
            Self::Works(app) | Self::Door(Door { app, .. }) => app,
        }
    }
}

impl Subject {
    async fn callbook(database: Database, works: bool) -> anyhow::Result<Self> {
        let callbook = match works {
            true => Callbook::Works(database.app().await?),
            false => Callbook::Door(database.door().await?),
        };
        let app = callbook.app();
        let (address, base_url) = (app.address, Arc::clone(&app.state.door.webhook_base_url));
        Ok(Self { address, base_url, database, peer: None, callbook: Some(callbook) })
    }

    /// The peer; with an application beside it that decides and folds, where that is asked for.
    async fn peer(database: Database, works: bool) -> anyhow::Result<Self> {
        let callbook = if works { Some(Callbook::Works(database.app().await?)) } else { None };
        let base_url: Arc<str> = "http://peer.example".into();
        let peer =
            Peer { pool: database.pool.clone(), base_url: Arc::clone(&base_url), token: AUTH_TOKEN.into() };
        let routes = Router::new()
            .route(STATUS_PATH, post(receive))
            .layer(DefaultBodyLimit::max(callbook::http::webhooks::LARGEST_BODY))
            .layer(from_fn(request_id::trace))
            .with_state(peer);
        let (address, server) = serve(routes).await?;
        Ok(Self { address, base_url, database, peer: Some(server), callbook })
    }

    /// Every webhook was answered, and every answered one is a row. `sent` counts both subjects.
    async fn must_have(&self, answered: usize, asked: u64, sent: u64) -> anyhow::Result<()> {
        anyhow::ensure!(answered as u64 == asked, "{answered} of {asked} webhooks were answered");
        if let Some(callbook) = &self.callbook {
            until_drained(callbook.app()).await?;
        }
        let rows: i64 = sqlx::query_scalar("select count(*) from twilio_webhook_inbox")
            .fetch_one(&self.database.pool)
            .await?;
        let expected = sent.div_ceil(2 * asked) * asked;
        anyhow::ensure!(
            u64::try_from(rows)? == expected,
            "{} has {rows} rows of {expected} webhooks",
            self.database.name
        );
        Ok(())
    }

    async fn stop(self, server: &Server) -> anyhow::Result<()> {
        if let Some(task) = self.peer {
            task.abort();
        }
        match self.callbook {
            Some(Callbook::Works(app)) => app.stop().await,
            Some(Callbook::Door(door)) => door.stop().await?,
            None => {}
        }
        server.drop(self.database).await
    }
}

#[derive(Clone)]
struct Peer {
    pool: PgPool,
    base_url: Arc<str>,
    token: SecretString,
}

/// The same checks and the same row, in a transaction of its own.
async fn receive(
    State(peer): State<Peer>,
    axum::Extension(RequestId(request_id)): axum::Extension<RequestId>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let Ok(form) = Form::parse(&body) else { return StatusCode::BAD_REQUEST };
    let url = signature::public_url(&peer.base_url, uri.path());
    let given = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
    if !given.is_some_and(|given| signature::verify(&peer.token, &url, SignedBody::Form(&form.0), given)) {
        return StatusCode::FORBIDDEN;
    }
    let get = |name| form.get(name).unwrap_or_default();
    let key = format!(
        "call:{}:{}:{}:{}",
        get("AccountSid"),
        get("CallSid"),
        get("CallStatus"),
        get("SequenceNumber")
    );
    let stored = sqlx::query(
        "insert into twilio_webhook_inbox
                (source, event_type, call_sid, recording_sid, dedupe_key, payload, received_at, request_id,
                 idempotency_token)
         values ('twilio_voice', 'call-status', $1, null, $2, $3, $4, $5, null)
         on conflict (dedupe_key) do nothing",
    )
    .bind(get("CallSid"))
    .bind(key)
    .bind(form.to_json())
    .bind(OffsetDateTime::now_utc())
    .bind(request_id)
    .execute(&peer.pool)
    .await;
    if stored.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The figures of one subject at one number of connections.
#[derive(Default)]
struct Samples {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Samples {
    fn add(&mut self, answered: &Answered) {
        self.rates.push(rate(answered.latencies.len() as u64, answered.took));
        self.p50.push(quantile_ms(&answered.latencies, 0.5));
        self.p99.push(quantile_ms(&answered.latencies, 0.99));
    }
}

pub async fn run(server: &Server, sizes: &Sizes, table: &mut Table) -> anyhow::Result<()> {
    for ingests in [false, true] {
        let ours = Subject::callbook(server.database("webhooks").await?, ingests).await?;
        let peer = Subject::peer(server.database("webhooks_peer").await?, ingests).await?;
        compare(sizes, table, &ours, &peer, ingests).await?;
        ours.stop(server).await?;
        peer.stop(server).await?;
    }
    Ok(())
}

async fn compare(
    sizes: &Sizes,
    table: &mut Table,
    ours: &Subject,
    peer: &Subject,
    ingests: bool,
) -> anyhow::Result<()> {
    let mut sent = 0;
    for connections in CONNECTIONS {
        let mut samples = [Samples::default(), Samples::default()];
        for _ in 0..sizes.rounds {
            for (subject, samples) in [ours, peer].into_iter().zip(&mut samples) {
                let requests = requests(subject, sent..sent + sizes.webhooks)?;
                sent += sizes.webhooks;
                let answered = http::closed(subject.address, requests, connections).await?;
                samples.add(&answered);
                subject.must_have(answered.latencies.len(), sizes.webhooks, sent).await?;
            }
        }
        let [ours, peer] = samples;
        let while_ingesting = if ingests { ", ingest and projection at work" } else { "" };
        let what = format!("signed webhooks to durable row, {connections} connections{while_ingesting}");
        let other = "one transaction per request, pool of 16";
        let (times, p99) = match (ingests, connections) {
            (false, 64) => (Target::Times(1.0), Target::AtMost(Figure::Ms(30.0))),
            (false, _) => (Target::Times(2.0), Target::None),
            (true, _) => (Target::None, Target::None),
        };
        let per_second = |samples: &Samples| Figure::PerSecond(median(&samples.rates));
        table.beside(&what, per_second(&ours), other, per_second(&peer), times);
        let ms = |samples: &[f64]| Figure::Ms(median(samples));
        table.beside(format!("{what}: p50"), ms(&ours.p50), other, ms(&peer.p50), Target::None);
        table.beside(format!("{what}: p99"), ms(&ours.p99), other, ms(&peer.p99), p99);
    }
    Ok(())
}

fn requests(subject: &Subject, calls: std::ops::Range<u64>) -> anyhow::Result<Vec<Vec<u8>>> {
    let parties = Parties { count: 5_000, one_is_busy: false };
    let host = subject.address.to_string();
    calls
        .map(|call| {
            let form = forms::lone_callback(&Cast::of(call, parties))?;
            Ok(forms::request(&subject.base_url, &host, STATUS_PATH, &form))
        })
        .collect()
}
