//! Conversations and their calls: seed 000's paths and fields, with seed 001's further ones.
//!
//! Times are ISO 8601 in UTC, durations seconds, ids and prices strings. Every answer carries the position
//! of the log that it reflects.

pub mod answer;
pub mod moments;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use projections::generation::Snapshot;
use projections::history::{Moment, Unreadable};
use projections::queries::{Entry, Thread, Threads, Window};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::as_of::{AsOf, AsOfParam};
use super::calls::answer::UnreadableEvent;
use super::filter::{self, CallParams, StateParams, TimeParams};
use super::page::{self, Cursor, Id, ListQuery};
use super::problem::{ApiError, Problem};
use crate::app::AppState;
use crate::installation;
use answer::{ActiveCall, ActiveCalls, Conversation, ListedConversation, Message, OneConversation};

/// A page of conversations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Conversations {
    conversations: Vec<ListedConversation>,
    #[serde(flatten)]
    page: page::Answered,
}

/// A page of a thread.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Messages {
    messages: Vec<Message>,
    /// A call of the thread is quarantined, or cannot be read up to there, so it may lack something.
    stale: bool,
    /// With `as_of` only.
    #[serde(flatten)]
    #[schema(value_type = Past)]
    past: Option<Past>,
    #[serde(flatten)]
    page: page::Answered,
}

/// What an answer about the past says of itself; all of it is absent in one about the present.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Past {
    /// The moment; null before the first event.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required = false)]
    as_of: Option<OffsetDateTime>,
    /// Calls of which no more is known than up to an event that cannot be read.
    #[schema(required = false)]
    unreadable: Vec<UnreadableEvent>,
}

impl Past {
    pub fn new(moment: Moment, unreadable: &[Unreadable]) -> Self {
        Self { as_of: moment.time, unreadable: unreadable.iter().map(UnreadableEvent::from).collect() }
    }
}

/// Conversations, the one with the newest call first. `archived` and `unread` ask for conversations that are so; with
/// other filters, they have a call of which all of these are true. They stand where their newest call puts them,
/// whichever call that is.
#[utoipa::path(
    get, path = "/api/conversations", tag = "conversations",
    params(StateParams, CallParams, TimeParams, page::PageParams),
    responses((status = 200, body = Conversations))
)]
pub async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<Conversations>, ApiError> {
    let query = ListQuery::from_uri(&uri, page::DEFAULT_LIMIT)?;
    let (filter, wanted) = (filter::from_uri(&uri)?, filter::state(&uri)?);
    let mut snapshot = open(&state).await?;
    let (window, limit) = one_more(&query.window);
    let scope = snapshot.scope(filter).await.map_err(unreadable)?;
    let threads = snapshot.conversations(&scope, wanted, window).await;
    let Threads { total, threads } = threads.map_err(unreadable)?;
    let (threads, next) = page_of(threads, limit, |thread| Cursor {
        at: thread.conversation.last_message_at,
        id: thread.conversation.id,
    });
    Ok(Json(Conversations {
        conversations: threads.iter().map(ListedConversation::from).collect(),
        page: page::Answered::new(&query.window, total, next, snapshot.position()),
    }))
}

/// Calls in progress, the newest first.
#[utoipa::path(
    get, path = "/api/conversations/active", tag = "conversations",
    responses((status = 200, body = ActiveCalls))
)]
pub async fn active(State(state): State<AppState>) -> Result<Json<ActiveCalls>, ApiError> {
    let mut snapshot = open(&state).await?;
    let calls: Vec<ActiveCall> = snapshot
        .active()
        .await
        .map_err(unreadable)?
        .iter()
        .map(|call| {
            let (thread, contact) = match &call.thread {
                Some((thread, contact)) => (Some(thread), contact.as_ref()),
                None => (None, None),
            };
            ActiveCall {
                message: Message::new(&call.entry, contact),
                conversation: thread.map(|thread| Conversation::new(thread, contact)),
            }
        })
        .collect();
    Ok(Json(ActiveCalls { total: calls.len(), calls, position: snapshot.position() }))
}

/// One conversation.
#[utoipa::path(
    get, path = "/api/conversations/{id}", tag = "conversations",
    params(page::IdParam),
    responses(
        (status = 200, body = OneConversation),
        (status = 404, description = "There is no such conversation", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(State(state): State<AppState>, Id(id): Id) -> Result<Json<OneConversation>, ApiError> {
    let mut snapshot = open(&state).await?;
    let thread = known(&mut snapshot, id).await?;
    Ok(Json(OneConversation {
        conversation: ListedConversation::from(&thread),
        position: snapshot.position(),
    }))
}

/// The calls of a conversation, newest first, legs merged (seed 000's note). With `as_of`, as they were.
#[utoipa::path(
    get, path = "/api/conversations/{id}/messages", tag = "conversations",
    params(
        page::IdParam,
        page::ThreadParams,
        AsOfParam,
    ),
    responses(
        (status = 200, body = Messages),
        (status = 404, description = "There is no such conversation", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn messages(
    State(state): State<AppState>,
    Id(id): Id,
    uri: Uri,
) -> Result<Json<Messages>, ApiError> {
    let query = ListQuery::from_uri(&uri, page::DEFAULT_THREAD_LIMIT)?;
    let as_of = AsOf::from_uri(&uri)?;
    let mut snapshot = open(&state).await?;
    let (window, limit) = one_more(&query.window);
    let Some(as_of) = as_of else {
        let thread = known(&mut snapshot, id).await?;
        let entries = snapshot.thread(id, window).await.map_err(unreadable)?;
        let (entries, next) = page_of(entries, limit, place);
        let contact = thread.contact.as_ref();
        return Ok(Json(Messages {
            messages: entries.iter().map(|entry| Message::new(entry, contact)).collect(),
            stale: thread.stale,
            past: None,
            page: page::Answered::new(
                &query.window,
                thread.conversation.total_calls,
                next,
                snapshot.position(),
            ),
        }));
    };
    // A conversation that all calls have left was one all the same.
    let party = match snapshot.conversation(id).await.map_err(unreadable)? {
        Some(thread) => Some(thread.conversation.external_id),
        None => snapshot.former_party(&state.ids, id).await.map_err(unreadable)?,
    };
    let party = party.ok_or(ApiError::UnknownConversation { id })?;
    let moment = as_of.find(&mut snapshot).await?;
    let past = snapshot.thread_as_of(&state.ids, &party, window, moment.position);
    let past = past.await.map_err(unreadable)?;
    let (entries, next) = page_of(past.entries, limit, place);
    let contact = past.contact.as_ref();
    Ok(Json(Messages {
        messages: entries.iter().map(|entry| Message::new(entry, contact)).collect(),
        // Live sets a call aside at an event that it cannot read; a replay ends there as well.
        stale: !past.unreadable.is_empty(),
        past: Some(Past::new(moment, &past.unreadable)),
        page: page::Answered::new(&query.window, past.total, next, moment.position),
    }))
}

pub(super) fn place(entry: &Entry) -> Cursor {
    Cursor { at: entry.message.start_time, id: entry.message.id }
}

pub(super) async fn open(state: &AppState) -> Result<Snapshot, ApiError> {
    Snapshot::open(&state.pool).await.map_err(unreadable)
}

pub(super) async fn known(snapshot: &mut Snapshot, id: i64) -> Result<Thread, ApiError> {
    snapshot.conversation(id).await.map_err(unreadable)?.ok_or(ApiError::UnknownConversation { id })
}

pub(super) fn unreadable(error: sqlx::Error) -> ApiError {
    match error {
        // Its statements are ended after a while, and by whoever stops it.
        error if installation::is_away(&error) => {
            ApiError::Unavailable { what: "the database", source: error.into() }
        }
        _ => ApiError::internal(error),
    }
}

/// The same window with room for one more row, which tells whether there is a next page.
pub(super) fn one_more(window: &page::Window) -> (Window, usize) {
    let wanted = match window {
        page::Window::Offset { offset, limit, .. } => Window::Offset { offset: *offset, limit: limit + 1 },
        page::Window::After { cursor, limit } => {
            Window::After { at: cursor.at, id: cursor.id, limit: limit + 1 }
        }
    };
    (wanted, usize::try_from(wanted.limit() - 1).unwrap_or(0))
}

/// Cuts off the one row more, and says where the next page begins if it was there.
pub(super) fn page_of<T, C>(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> (Vec<T>, Option<C>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

pub(super) fn iso(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
