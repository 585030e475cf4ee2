//! Server-sent events: each event of the log that the read model has passed, once and in order.
//!
//! One task reads the log as the projection advances and encodes what it read once, for all clients, a batch at a
//! time ([`batch`]). The last batches are kept ([`recent`]); a client that resumes from further back, or has fallen
//! further behind, is served from the log until it has caught up. So what a client costs does not depend on how
//! slow it is, and one that takes nothing at all loses its connection.
//!
//! There are two such streams ([`Telling`]): of what happened, and of what happened with where it has led, which a page
//! shows without asking. The second is several times as large, so only who wants it has it.
//!
//! `id:` is the incarnation of the log and the position in it, on `connected` too, so a client that is cut off
//! anywhere resumes exactly, and one that comes from a log that was restored since is told to begin anew.

mod batch;
mod recent;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_stream::stream;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use projections::chain;
use projections::generation::Snapshot;
use projections::log;
use projections::runner::Progress;
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use self::batch::{Batch, frame, id};
use self::recent::{Next, Recent};
use super::filter::{TRUTH, truth};
use super::given::Given;
use super::problem::ApiError;
use crate::access::{Access, Caller};
use crate::app::AppState;
use crate::twilio::form::Form;

const KEEPALIVE: Duration = Duration::from_secs(30);
/// The least time between two batches. What comes sooner is told together: a client costs a write a batch.
const APART: Duration = Duration::from_millis(50);
/// Events read from the log at a time.
const PAGE: i64 = 500;
/// Clients that are served from the log at a time: others need its connections too.
const READERS: usize = 3;
/// When clients come back that were told goodbye, in milliseconds; not all at once.
const COME_BACK: std::ops::Range<u64> = 1_000..5_000;

/// Tells clients of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Broadcaster {
    pool: PgPool,
    incarnation: Arc<str>,
    plain: Telling,
    with_entries: Telling,
    progress: watch::Receiver<Progress>,
    readers: Arc<Semaphore>,
    stopping: CancellationToken,
    stats: Arc<Stats>,
}

/// One of the two streams.
#[derive(Clone, Debug)]
struct Telling {
    has_entries: bool,
    recent: Arc<Recent>,
    clients: Arc<AtomicUsize>,
}

impl Telling {
    fn after(position: i64, has_entries: bool) -> Self {
        Self { has_entries, recent: Arc::new(Recent::after(position)), clients: Arc::default() }
    }
}

#[derive(Debug, Default)]
struct Stats {
    connections: AtomicU64,
    frames_sent: AtomicU64,
    resets: AtomicU64,
}

/// Where a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resume {
    FromNow,
    After(i64),
    /// After something that is no position of this log.
    Elsewhere,
}

impl Resume {
    /// What stood in an `id:`, or a position alone, which is taken for one of this log.
    fn read(text: &str, incarnation: &str) -> Option<Self> {
        let (life, position) = text.rsplit_once('-').unwrap_or((incarnation, text));
        let is_number = !position.is_empty() && position.bytes().all(|byte| byte.is_ascii_digit());
        let position = is_number.then(|| position.parse().ok())??;
        Some(if life == incarnation { Self::After(position) } else { Self::Elsewhere })
    }
}

impl Broadcaster {
    pub fn start(
        pool: PgPool,
        incarnation: &str,
        progress: watch::Receiver<Progress>,
        stopping: CancellationToken,
    ) -> Self {
        // Read here, so that nothing is passed over before the task first runs.
        let told = progress.borrow().position;
        let broadcaster = Self {
            pool,
            incarnation: incarnation.into(),
            plain: Telling::after(told, false),
            with_entries: Telling::after(told, true),
            progress,
            readers: Arc::new(Semaphore::new(READERS)),
            stopping,
            stats: Arc::default(),
        };
        for telling in [&broadcaster.plain, &broadcaster.with_entries] {
            tokio::spawn(broadcaster.clone().follow(telling.clone(), told));
        }
        broadcaster
    }

    pub fn figures(&self) -> Figures {
        Figures {
            clients: [&self.plain, &self.with_entries]
                .iter()
                .map(|telling| telling.clients.load(Ordering::Relaxed) as u64)
                .sum(),
            connections: self.stats.connections.load(Ordering::Relaxed),
            frames: self.stats.frames_sent.load(Ordering::Relaxed),
            resets: self.stats.resets.load(Ordering::Relaxed),
        }
    }

    /// Cancelled when streams are to end.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Tells what the projection passes after `told`.
    async fn follow(mut self, telling: Telling, mut told: i64) {
        let stopping = self.stopping.clone();
        let mut failed = false;
        loop {
            let reached = self.progress.borrow_and_update().position;
            let pause = match self.tell(&telling, told, reached).await {
                Ok(through) => {
                    failed = false;
                    told = through;
                    if told < reached { Duration::ZERO } else { APART }
                }
                Err(error) => {
                    if !failed {
                        tracing::warn!(error = chain(&error), "the live stream waits for the database");
                    }
                    failed = true;
                    Duration::from_secs(1)
                }
            };
            let next = async {
                tokio::time::sleep(pause).await;
                if told < reached { Ok(()) } else { self.progress.changed().await }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                changed = next => if changed.is_err() { return },
            }
        }
    }

    /// Tells of a page of what is between the two positions; says up to where.
    async fn tell(&self, telling: &Telling, told: i64, reached: i64) -> sqlx::Result<i64> {
        if told >= reached {
            return Ok(told);
        }
        if telling.clients.load(Ordering::Relaxed) == 0 {
            // Whoever comes meanwhile finds it in the log.
            telling.recent.skip_to(reached);
            return Ok(reached);
        }
        let batch = self.read(telling.has_entries, told, reached).await?;
        let through = batch.through;
        telling.recent.push(batch);
        Ok(through)
    }

    /// The next events after `after`, none beyond `reached`; with entries, also where what they are about stands by now.
    async fn read(&self, has_entries: bool, after: i64, reached: i64) -> sqlx::Result<Batch> {
        // The read model has come to `reached`, so whoever opens it now finds these events reflected.
        let (events, standings) = if has_entries {
            let mut snapshot = Snapshot::open(&self.pool).await?;
            let events = log::read_after(snapshot.connection(), after, reached, PAGE).await?;
            let standings = snapshot.standings(&events).await?;
            (events, Some(standings))
        } else {
            (log::read_after(&mut *self.pool.acquire().await?, after, reached, PAGE).await?, None)
        };
        let is_full = i64::try_from(events.len()).is_ok_and(|count| count >= PAGE);
        let through = events.last().filter(|_| is_full).map_or(reached, |event| event.position);
        Ok(Batch::of(&events, standings.as_ref(), through, &self.incarnation))
    }

    /// Where the client begins, and whether that is elsewhere than it wanted.
    async fn place(&self, resume: Resume) -> sqlx::Result<(i64, bool)> {
        let reached = self.progress.borrow().position;
        match resume {
            Resume::FromNow => Ok((reached, false)),
            Resume::After(position) if position <= reached => Ok((position, false)),
            // Another instance may have told of more than this one has seen.
            Resume::After(position) => {
                let head = log::last_position(&mut *self.pool.acquire().await?).await?;
                Ok(if position <= head { (position, false) } else { (reached, true) })
            }
            Resume::Elsewhere => Ok((reached, true)),
        }
    }

    /// Every event after where the client resumes, for as long as it would be let in.
    fn serve(
        self,
        telling: Telling,
        resume: Resume,
        access: Access,
        caller: Caller,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream! {
            let _counted = Counted::new(&self.stats, &telling);
            let mut told = telling.recent.through();
            let Ok((mut after, is_reset)) = self.place(resume).await else { return };
            yield Ok(self.greeting(after, is_reset));
            let mut keepalive = tokio::time::interval_at(Instant::now() + KEEPALIVE, KEEPALIVE);
            while !self.stopping.is_cancelled() {
                told.mark_unchanged();
                let batch = match telling.recent.next(after) {
                    Next::Batch(batch) => batch,
                    Next::InTheLog { floor } => {
                        let Ok(_turn) = self.readers.acquire().await else { return };
                        let Ok(batch) = self.read(telling.has_entries, after, floor).await else { return };
                        Arc::new(batch)
                    }
                    Next::Nothing => {
                        tokio::select! {
                            () = self.stopping.cancelled() => {}
                            _ = keepalive.tick() => {
                                // A database that does not answer says nothing about the caller.
                                if matches!(access.still_admits(&caller).await, Ok(false)) {
                                    return;
                                }
                                yield Ok(Bytes::from_static(b"event: keepalive\ndata: {}\n\n"));
                            }
                            told = told.changed() => if told.is_err() { return },
                        }
                        continue;
                    }
                };
                let (bytes, count) = batch.after(after);
                after = batch.through;
                if count > 0 {
                    self.stats.frames_sent.fetch_add(count as u64, Ordering::Relaxed);
                    yield Ok(bytes);
                }
            }
            yield Ok(self.goodbye(after));
        }
    }

    fn greeting(&self, after: i64, is_reset: bool) -> Bytes {
        let id = id(&self.incarnation, after);
        let mut greeting = String::new();
        if is_reset {
            self.stats.resets.fetch_add(1, Ordering::Relaxed);
            let reason = "this log does not know that position; load everything again";
            let data = json!({ "reason": reason, "position": after });
            greeting.push_str(&frame(&id, "reset", &data.to_string()));
        }
        let data = json!({ "position": after, "incarnation": &*self.incarnation });
        greeting.push_str(&frame(&id, "connected", &data.to_string()));
        greeting.into()
    }

    /// The last that a client hears of a callbook that stops, so that it need not find out.
    fn goodbye(&self, after: i64) -> Bytes {
        let retry = rand::random_range(COME_BACK);
        let data = json!({ "reason": "callbook is stopping", "position": after, "retry_ms": retry });
        format!("retry: {retry}\n{}", frame(&id(&self.incarnation, after), "goodbye", &data.to_string()))
            .into()
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
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(stats: &Stats, telling: &Telling) -> Self {
        telling.clients.fetch_add(1, Ordering::Relaxed);
        stats.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&telling.clients))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What happens to calls and threads, as server-sent events.
///
/// `connected` says from where on; `call.created`, `call.updated`, `contact.updated` and `conversation.updated` are one
/// event of the log each; `keepalive` comes every 30 seconds; `reset` says that the position is not one of this log, so
/// that everything must be loaded again; `goodbye` is the last before callbook stops, with the time to wait in `retry`.
/// `id` is to be sent back as `Last-Event-ID`, which browsers do, and then nothing is missed and nothing comes twice. A
/// token that is revoked, and a browser that signs out, end their streams within about 30 seconds.
///
/// With `entries=true` what happened comes with where it had led by `asOf`, a position of the log that is the event's or
/// a later one: of two frames that differ the one with the greater `asOf` holds. A frame of a call has `entry`, the call
/// as lists show it: `sid` is the entry's `external_id`, `rootSid` the call at the top of the family, and
/// `conversationId`, `name`, `handle`, `number`, `direction`, `status` (as people are shown it), `missed`, `live`,
/// `line`, `startTime`, `answeredAt`, `endTime`, `duration` (seconds), and of the conversation `unreadCount` and
/// `archived`; what is not known is null. `entry` is null where no list shows the call. While the call at the top has
/// not been seen, each leg is an entry of its own, without a conversation; the entry whose `sid` is `rootSid` takes the
/// place of all of them. A frame of a contact has `conversationId`, one of a conversation `unreadCount` and `archived`
/// besides; they are null before the first call.
#[utoipa::path(
    get,
    path = "/events/calls",
    tag = "live",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The last `id` received; resumes after it"),
        ("after" = Option<String>, Query, description = "The same, or a position, where headers cannot be set"),
        ("entries" = Option<bool>, Query, description = "Whether frames say where what happened has led"),
    ),
    responses((status = 200, description = "The stream, without an end", body = String, content_type = "text/event-stream")),
)]
pub async fn calls(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let incarnation = &state.broadcaster.incarnation;
    let resume = match headers.get("last-event-id") {
        // What is no position of any log is reset, like one that this log does not know.
        Some(id) if !id.is_empty() => {
            id.to_str().ok().and_then(|id| Resume::read(id, incarnation)).unwrap_or(Resume::Elsewhere)
        }
        _ => after(&uri, incarnation)?,
    };
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        // A proxy that collects the answer would hold the events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let has_entries = Given::read(&uri)?.one("entries", TRUTH, truth)?.unwrap_or(false);
    let broadcaster = state.broadcaster;
    let telling = if has_entries { broadcaster.with_entries.clone() } else { broadcaster.plain.clone() };
    let stream = broadcaster.serve(telling, resume, state.access, caller);
    Ok((headers, Body::from_stream(stream)).into_response())
}

fn after(uri: &Uri, incarnation: &str) -> Result<Resume, ApiError> {
    let bad = |value: &str| ApiError::BadParameter {
        name: "after",
        value: value.to_owned(),
        expected: "a position of the log, or the last id received",
    };
    let query = uri.query().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).map_err(|_| bad(query))?;
    match form.get("after") {
        None => Ok(Resume::FromNow),
        Some(text) => Resume::read(text, incarnation).ok_or_else(|| bad(text)),
    }
}

/// What the live stream does, since this process began.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamStats {
    /// Clients that are connected to this process now.
    connected_clients: u64,
    total_connections: u64,
    /// To all clients together.
    events_sent: u64,
    /// Clients that came with a position that this log does not know.
    resets: u64,
    /// Connections of any kind that were ended because their client took nothing of what it asked for.
    stalled: u64,
    /// Which life of the log this is: another one after a restore.
    #[schema(example = "5e0f3c9ab12d")]
    incarnation: String,
    /// The position up to which clients are told.
    position: i64,
}

/// What the live stream does.
#[utoipa::path(get, path = "/events/stats", tag = "live", responses((status = 200, body = StreamStats)))]
pub async fn stats(State(state): State<AppState>) -> Json<StreamStats> {
    let Figures { clients, connections, frames, resets } = state.broadcaster.figures();
    Json(StreamStats {
        connected_clients: clients,
        total_connections: connections,
        events_sent: frames,
        resets,
        stalled: state.door.stalled.load(Ordering::Relaxed),
        incarnation: state.broadcaster.incarnation.to_string(),
        position: state.progress.borrow().position,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_resumes_from_an_id_of_this_life_of_the_log_or_from_a_bare_position() {
        for (text, expected) in [
            ("abc-17", Some(Resume::After(17))),
            ("17", Some(Resume::After(17))),
            ("0", Some(Resume::After(0))),
            ("abd-17", Some(Resume::Elsewhere)),
            ("-17", Some(Resume::Elsewhere)),
            ("abc-", None),
            ("abc", None),
            ("+17", None),
            ("", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(Resume::read(text, "abc"), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_is_read_or_refused(text in any::<String>()) {
            let _ = Resume::read(&text, "abc");
        }

        #[test]
        fn every_id_that_was_given_out_is_taken_back(position in 0..i64::MAX) {
            prop_assert_eq!(Resume::read(&id("abc", position), "abc"), Some(Resume::After(position)));
        }
    }
}
