//! Server-sent events: each event of the log that the read model has passed, once and in order.
//!
//! One task reads the log as the projection advances and hands every frame, encoded once, to all clients. A
//! client that resumes, or falls behind, is served from the log until it has caught up. `id:` is the
//! position, on `connected` too, so a client that is cut off anywhere resumes exactly.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_stream::stream;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use domain::call::CallEvent;
use domain::contact::ContactEvent;
use domain::conversation::ConversationEvent;
use futures::Stream;
use projections::chain;
use projections::log::{self, StoredEvent};
use projections::runner::Progress;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::conversations::iso;
use super::problem::ApiError;
use crate::app::AppState;
use crate::twilio::form::Form;

const KEEPALIVE: Duration = Duration::from_secs(30);
/// Frames that a slow client may be behind before it is served from the log again.
const BUFFER: usize = 4_096;
/// Events read from the log at a time.
const PAGE: i64 = 500;

/// One event as clients get it.
#[derive(Debug)]
struct Frame {
    position: i64,
    name: &'static str,
    data: String,
}

impl Frame {
    /// Nothing for what this callbook does not know or cannot read: the projection says so.
    fn of(stored: &StoredEvent) -> Option<Self> {
        let (name, data) = match stored.aggregate_type.as_str() {
            "call" => Self::of_call(stored)?,
            "contact" => ("contact.updated", Self::of_contact(stored)?),
            "conversation" => ("conversation.updated", Self::of_conversation(stored)?),
            _ => return None,
        };
        Some(Self { position: stored.position, name, data: data.to_string() })
    }

    fn of_call(stored: &StoredEvent) -> Option<(&'static str, Value)> {
        let event = CallEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).ok()?;
        let name = if matches!(event, CallEvent::Created(_)) { "call.created" } else { "call.updated" };
        let change = event.change();
        let data = json!({
            "callSid": stored.aggregate_id,
            "status": change.summary.status,
            "direction": change.summary.direction,
            "from": change.summary.from,
            "to": change.summary.to,
            "duration": change.summary.duration,
            "timestamp": iso(change.occurred_at),
        });
        Some((name, data))
    }

    /// What was changed. Notes are long, so they are to be asked for.
    fn of_contact(stored: &StoredEvent) -> Option<Value> {
        let event = ContactEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).ok()?;
        let mut data = json!({ "handle": stored.aggregate_id, "timestamp": iso(event.occurred_at()) });
        match event {
            ContactEvent::Added { .. } => data["changed"] = "added".into(),
            ContactEvent::Renamed { name, .. } => {
                data["changed"] = "name".into();
                data["name"] = json!(name);
            }
            ContactEvent::NotesChanged { .. } => data["changed"] = "notes".into(),
            ContactEvent::TagsChanged { tags, .. } => {
                data["changed"] = "tags".into();
                data["tags"] = json!(tags);
            }
        }
        Some(data)
    }

    fn of_conversation(stored: &StoredEvent) -> Option<Value> {
        let event =
            ConversationEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).ok()?;
        let (changed, up_to) = match event {
            ConversationEvent::Archived { up_to, .. } => ("archived", Some(up_to)),
            ConversationEvent::Unarchived { .. } => ("unarchived", None),
            ConversationEvent::Read { up_to, .. } => ("read", Some(up_to)),
        };
        Some(json!({
            "externalId": stored.aggregate_id,
            "changed": changed,
            "upTo": up_to.map(iso),
            "timestamp": iso(event.occurred_at()),
        }))
    }

    fn event(&self) -> Event {
        Event::default().id(self.position.to_string()).event(self.name).data(&self.data)
    }
}

/// Hands frames to clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broadcaster {
    pool: PgPool,
    frames: broadcast::Sender<Arc<Frame>>,
    progress: watch::Receiver<Progress>,
    stopping: CancellationToken,
    stats: Arc<Stats>,
}

#[derive(Debug, Default)]
struct Stats {
    clients: AtomicUsize,
    connections: AtomicU64,
    frames_sent: AtomicU64,
    resets: AtomicU64,
}

impl Broadcaster {
    pub fn start(pool: PgPool, progress: watch::Receiver<Progress>, stopping: CancellationToken) -> Self {
        let (frames, _) = broadcast::channel(BUFFER);
        // Read here, so that nothing is passed over before the task first runs.
        let sent = progress.borrow().position;
        let broadcaster = Self { pool, frames, progress, stopping, stats: Arc::default() };
        tokio::spawn(broadcaster.clone().follow(sent));
        broadcaster
    }

    pub fn figures(&self) -> Figures {
        Figures {
            clients: self.stats.clients.load(Ordering::Relaxed) as u64,
            connections: self.stats.connections.load(Ordering::Relaxed),
            frames: self.stats.frames_sent.load(Ordering::Relaxed),
            resets: self.stats.resets.load(Ordering::Relaxed),
        }
    }

    /// Sends what the projection passes after `sent`.
    async fn follow(mut self, mut sent: i64) {
        let mut failed = false;
        loop {
            let reached = self.progress.borrow_and_update().position;
            while sent < reached {
                match self.page(sent, reached).await {
                    Ok(events) => {
                        failed = false;
                        for frame in events.iter().filter_map(Frame::of) {
                            // Without a client there is nobody to tell.
                            let _ = self.frames.send(Arc::new(frame));
                        }
                        sent = events.last().map_or(reached, |event| event.position);
                    }
                    Err(error) => {
                        if !failed {
                            tracing::warn!(error = chain(&error), "the live stream waits for the database");
                        }
                        failed = true;
                        tokio::select! {
                            () = self.stopping.cancelled() => return,
                            () = tokio::time::sleep(Duration::from_secs(1)) => {}
                        }
                    }
                }
            }
            tokio::select! {
                () = self.stopping.cancelled() => return,
                changed = self.progress.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The next events after `after`, none beyond `reached`.
    async fn page(&self, after: i64, reached: i64) -> sqlx::Result<Vec<StoredEvent>> {
        let mut connection = self.pool.acquire().await?;
        log::read_after(&mut connection, after, reached, PAGE).await
    }

    /// Every event after `after`; from now on if that is nothing. `resume` is what the client says it had.
    fn serve(self, resume: Option<i64>) -> impl Stream<Item = Result<Event, Infallible>> {
        stream! {
            let _counted = Counted::new(&self.stats);
            let mut live = self.frames.subscribe();
            let reached = self.progress.borrow().position;
            let mut after = resume.unwrap_or(reached);
            // A position this log has not got: it was restored, or the client comes from another one.
            let head = match self.pool.acquire().await {
                Ok(mut connection) => log::last_position(&mut connection).await,
                Err(error) => Err(error),
            };
            let Ok(head) = head else { return };
            if after > head || after < 0 {
                self.stats.resets.fetch_add(1, Ordering::Relaxed);
                after = reached;
                yield Ok(Event::default().id(after.to_string()).event("reset").data(
                    json!({ "reason": "this log does not know that position; load everything again", "position": after }).to_string(),
                ));
            }
            yield Ok(Event::default().id(after.to_string()).event("connected").data(
                json!({ "position": after }).to_string(),
            ));
            let mut keepalive = tokio::time::interval_at(tokio::time::Instant::now() + KEEPALIVE, KEEPALIVE);
            let mut behind = true;
            loop {
                while behind {
                    let reached = self.progress.borrow().position;
                    let Ok(events) = self.page(after, reached).await else { return };
                    behind = !events.is_empty();
                    for stored in events {
                        after = stored.position;
                        if let Some(frame) = Frame::of(&stored) {
                            self.stats.frames_sent.fetch_add(1, Ordering::Relaxed);
                            yield Ok(frame.event());
                        }
                    }
                }
                tokio::select! {
                    () = self.stopping.cancelled() => return,
                    _ = keepalive.tick() => yield Ok(Event::default().event("keepalive").data("{}")),
                    frame = live.recv() => match frame {
                        Ok(frame) if frame.position <= after => {}
                        Ok(frame) => {
                            after = frame.position;
                            self.stats.frames_sent.fetch_add(1, Ordering::Relaxed);
                            yield Ok(frame.event());
                        }
                        Err(broadcast::error::RecvError::Lagged(_)) => behind = true,
                        Err(broadcast::error::RecvError::Closed) => return,
                    },
                }
            }
        }
    }
}

/// What the live stream does and has done, for whoever monitors it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub clients: u64,
    pub connections: u64,
    pub frames: u64,
    pub resets: u64,
}

/// Counts a client for as long as it is connected.
struct Counted(Arc<Stats>);

impl Counted {
    fn new(stats: &Arc<Stats>) -> Self {
        stats.clients.fetch_add(1, Ordering::Relaxed);
        stats.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(stats))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /events/calls`: `connected`, `call.created`, `call.updated`, `contact.updated`,
/// `conversation.updated`, `keepalive` and `reset`.
///
/// `Last-Event-ID`, or `?after=` where a client cannot set headers, resumes after that position.
#[utoipa::path(get, path = "/events/calls", tag = "live", responses((status = 200, body = Object)))]
pub async fn calls(
    State(state): State<AppState>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let resume = match headers.get("last-event-id") {
        // What is no position of any log is reset, like one that this log does not know.
        Some(id) if !id.is_empty() => Some(id.to_str().ok().and_then(|id| id.parse().ok()).unwrap_or(-1)),
        _ => after(&uri)?,
    };
    let mut response = Sse::new(state.broadcaster.serve(resume)).into_response();
    // A proxy that collects the answer would hold the events back.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

fn after(uri: &Uri) -> Result<Option<i64>, ApiError> {
    let bad = |value: &str| ApiError::BadParameter {
        name: "after",
        value: value.to_owned(),
        expected: "a position of the log, such as the last id received",
    };
    let query = uri.query().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).map_err(|_| bad(query))?;
    match form.get("after") {
        None => Ok(None),
        Some(text) => text.parse().ok().filter(|after| *after >= 0).map(Some).ok_or_else(|| bad(text)),
    }
}

/// `GET /events/stats`: what the live stream does.
#[utoipa::path(get, path = "/events/stats", tag = "live", responses((status = 200, body = Object)))]
pub async fn stats(State(state): State<AppState>) -> Json<Value> {
    let stats = &state.broadcaster.stats;
    let named: BTreeMap<&str, u64> = [
        ("connected_clients", stats.clients.load(Ordering::Relaxed) as u64),
        ("total_connections", stats.connections.load(Ordering::Relaxed)),
        ("events_sent", stats.frames_sent.load(Ordering::Relaxed)),
        ("resets", stats.resets.load(Ordering::Relaxed)),
    ]
    .into();
    let mut body = json!(named);
    body["position"] = state.progress.borrow().position.into();
    Json(body)
}
