//! Conversations and their calls: seed 000's paths and fields, with seed 001's further ones.
//!
//! Times are ISO 8601 in UTC, durations seconds, ids and prices strings. Every answer carries the position
//! of the log that it reflects.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use domain::phone::Address;
use projections::conversations::{Contact, Conversation, Message};
use projections::generation::Snapshot;
use projections::queries::{Entry, Thread, Window};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::as_of::AsOf;
use super::calls;
use super::page::{self, Cursor, Id, ListQuery};
use super::problem::ApiError;
use crate::app::AppState;

/// `GET /api/conversations`: the one with the newest call first.
#[utoipa::path(get, path = "/api/conversations", tag = "conversations", responses((status = 200, body = Object)))]
pub async fn list(State(state): State<AppState>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let query = ListQuery::from_uri(&uri, page::DEFAULT_LIMIT)?;
    let mut snapshot = open(&state).await?;
    let (window, limit) = one_more(&query.window);
    let threads = snapshot.conversations(window).await.map_err(unreadable)?;
    let (threads, next) = page_of(threads, limit, |thread| Cursor {
        at: thread.conversation.last_message_at,
        id: thread.conversation.id,
    });
    let total = snapshot.total_conversations().await.map_err(unreadable)?;
    let conversations = threads.iter().map(conversation).collect();
    Ok(Json(listed("conversations", conversations, Some(total), &query.window, next, snapshot.position())))
}

/// `GET /api/conversations/active`: calls in progress, each with its conversation once it has one.
#[utoipa::path(get, path = "/api/conversations/active", tag = "conversations", responses((status = 200, body = Object)))]
pub async fn active(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    let mut snapshot = open(&state).await?;
    let calls: Vec<Value> = snapshot
        .active()
        .await
        .map_err(unreadable)?
        .into_iter()
        .map(|call| {
            let contact = call.thread.as_ref().and_then(|(_, contact)| contact.as_ref());
            let mut value = message(&call.entry, contact);
            value["conversation"] = call.thread.as_ref().map_or(Value::Null, |(thread, contact)| {
                Value::Object(conversation_fields(thread, contact.as_ref()))
            });
            value
        })
        .collect();
    Ok(Json(json!({ "total": calls.len(), "calls": calls, "position": snapshot.position() })))
}

/// `GET /api/conversations/:id`.
#[utoipa::path(get, path = "/api/conversations/{id}", tag = "conversations", responses((status = 200, body = Object)))]
pub async fn one(State(state): State<AppState>, Id(id): Id) -> Result<Json<Value>, ApiError> {
    let mut snapshot = open(&state).await?;
    let thread = known(&mut snapshot, id).await?;
    let mut value = conversation(&thread);
    value["position"] = snapshot.position().into();
    Ok(Json(value))
}

/// `GET /api/conversations/:id/messages`: its calls, newest first, legs merged (seed 000's note). With `as_of`,
/// as they were.
#[utoipa::path(get, path = "/api/conversations/{id}/messages", tag = "conversations", responses((status = 200, body = Object)))]
pub async fn messages(State(state): State<AppState>, Id(id): Id, uri: Uri) -> Result<Json<Value>, ApiError> {
    let query = ListQuery::from_uri(&uri, page::DEFAULT_THREAD_LIMIT)?;
    let as_of = AsOf::from_uri(&uri)?;
    let mut snapshot = open(&state).await?;
    let (window, limit) = one_more(&query.window);
    let Some(as_of) = as_of else {
        let thread = known(&mut snapshot, id).await?;
        let entries = snapshot.thread(id, window).await.map_err(unreadable)?;
        let total = thread.conversation.total_calls;
        let contact = thread.contact.as_ref();
        let mut body = thread_page(entries, limit, total, contact, &query.window, snapshot.position());
        body["stale"] = thread.stale.into();
        return Ok(Json(body));
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
    let contact = past.contact.as_ref();
    let mut body = thread_page(past.entries, limit, past.total, contact, &query.window, moment.position);
    // Live sets a call aside at an event that it cannot read; a replay ends there as well.
    body["stale"] = (!past.unreadable.is_empty()).into();
    body["as_of"] = moment.time.map(iso).into();
    body["unreadable"] = past.unreadable.iter().map(calls::unreadable_event).collect();
    Ok(Json(body))
}

fn thread_page(
    entries: Vec<Entry>,
    limit: usize,
    total: i64,
    contact: Option<&Contact>,
    window: &page::Window,
    position: i64,
) -> Value {
    let (entries, next) =
        page_of(entries, limit, |entry| Cursor { at: entry.message.start_time, id: entry.message.id });
    let messages = entries.iter().map(|entry| message(entry, contact)).collect();
    listed("messages", messages, Some(total), window, next, position)
}

pub(super) async fn open(state: &AppState) -> Result<Snapshot, ApiError> {
    Snapshot::open(&state.pool).await.map_err(unreadable)
}

async fn known(snapshot: &mut Snapshot, id: i64) -> Result<Thread, ApiError> {
    snapshot.conversation(id).await.map_err(unreadable)?.ok_or(ApiError::UnknownConversation { id })
}

pub(super) fn unreadable(error: sqlx::Error) -> ApiError {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            ApiError::Unavailable { what: "the database", source: error.into() }
        }
        _ => ApiError::internal(error),
    }
}

/// The same window with room for one more row, which tells whether there is a next page.
fn one_more(window: &page::Window) -> (Window, usize) {
    let wanted = match window {
        page::Window::Offset { offset, limit, .. } => Window::Offset { offset: *offset, limit: limit + 1 },
        page::Window::After { cursor, limit } => {
            Window::After { at: cursor.at, id: cursor.id, limit: limit + 1 }
        }
    };
    (wanted, usize::try_from(wanted.limit() - 1).unwrap_or(0))
}

/// Cuts off the one row more, and says where the next page begins if it was there.
fn page_of<T>(mut rows: Vec<T>, limit: usize, cursor: impl Fn(&T) -> Cursor) -> (Vec<T>, Option<Cursor>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor);
    (rows, next)
}

fn listed(
    name: &str,
    items: Vec<Value>,
    total: Option<i64>,
    window: &page::Window,
    next: Option<Cursor>,
    position: i64,
) -> Value {
    let mut body = Map::new();
    body.insert(name.to_owned(), items.into());
    body.insert("total".to_owned(), total.into());
    match window {
        page::Window::Offset { offset, limit, page } => {
            match page {
                Some(page) => body.insert("page".to_owned(), (*page).into()),
                None => body.insert("offset".to_owned(), (*offset).into()),
            };
            body.insert("limit".to_owned(), (*limit).into());
        }
        page::Window::After { limit, .. } => {
            body.insert("limit".to_owned(), (*limit).into());
        }
    }
    body.insert("next_cursor".to_owned(), next.map(|cursor| cursor.encode()).into());
    body.insert("position".to_owned(), position.into());
    Value::Object(body)
}

fn conversation(thread: &Thread) -> Value {
    let mut fields = conversation_fields(&thread.conversation, thread.contact.as_ref());
    let last = thread.last.as_ref().map(|entry| message(entry, None));
    fields.insert("last_message".to_owned(), last.into());
    fields.insert("stale".to_owned(), thread.stale.into());
    Value::Object(fields)
}

fn conversation_fields(row: &Conversation, contact: Option<&Contact>) -> Map<String, Value> {
    let value = json!({
        "id": row.id.to_string(),
        "external_id": row.external_id,
        "subject": row.subject,
        "status": row.status,
        "last_message_at": iso(row.last_message_at),
        "unread_count": 0,
        "contact": contact.map(self::contact),
        "metadata": row.metadata,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    });
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn contact(row: &Contact) -> Value {
    json!({
        "id": row.id.to_string(),
        "handle": row.phone_number,
        "name": row.display_name,
        "display_name": row.display_name,
        "phone_number": row.formatted_number,
        "avatar_url": null,
        "metadata": row.metadata,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    })
}

/// One call of a thread, its legs beside it.
pub(super) fn message(entry: &Entry, contact: Option<&Contact>) -> Value {
    let mut value = leg(&entry.message);
    value["contact"] = contact.map_or(Value::Null, self::contact);
    value["legs"] = entry.legs.iter().map(leg).collect();
    value
}

fn leg(row: &Message) -> Value {
    let words = Words::of(row);
    json!({
        "id": row.id.to_string(),
        "external_id": row.twilio_sid,
        "type": "call",
        "conversation_id": row.conversation_id.map(|id| id.to_string()),
        "subject": words.subject,
        "body": words.body,
        "blurb": words.blurb,
        "created_at": iso(row.start_time),
        "updated_at": iso(row.updated_at),
        "direction": row.direction,
        "call_status": row.display_status,
        "duration": row.duration,
        "missed": row.missed,
        "live": row.live,
        "call": {
            "sid": row.twilio_sid,
            "from": row.from_number,
            "to": row.to_number,
            "duration": row.duration,
            "status": row.status,
            "direction": row.direction,
            "recording_url": row.recording_url,
            "price": row.price.map(|price| price.to_string()),
            "price_unit": row.price_unit,
            "answered_by": row.metadata.answered_by,
            "start_time": iso(row.start_time),
            "answered_at": row.answered_at.map(iso),
            "end_time": row.end_time.map(iso),
        },
        "metadata": row.metadata,
    })
}

/// What a person reads of a call.
struct Words {
    subject: String,
    body: String,
    blurb: String,
}

impl Words {
    fn of(row: &Message) -> Self {
        let kind = match row.direction.as_str() {
            "inbound" if row.missed => "Missed Call",
            "inbound" => "Incoming Call",
            "outbound" => "Outgoing Call",
            "internal" => "Internal Call",
            _ => "Call",
        };
        let state = match (row.display_status.as_str(), row.duration) {
            ("completed", Some(seconds)) => spoken(seconds),
            (status, _) => status.replace('-', " "),
        };
        let mut body = format!(
            "**From:** {}\n**To:** {}\n**Status:** {}",
            Address::caller(&row.from_number).display(),
            Address::callee(&row.to_number).display(),
            row.display_status,
        );
        for (name, seconds) in
            [("Duration", row.duration), ("Talk time", row.talk_time), ("Wait time", row.wait_time)]
        {
            if let Some(seconds) = seconds {
                body.push_str(&format!("\n**{name}:** {}", spoken(seconds)));
            }
        }
        let mut blurb = format!("{kind}, {state}").to_lowercase();
        if let Some(first) = blurb.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { subject: format!("📞 {kind} - {state}"), body, blurb }
    }
}

/// `29s`, `5m 50s`, `1h 2m 3s`.
fn spoken(seconds: i32) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {seconds}s"),
        _ => format!("{hours}h {minutes}m {seconds}s"),
    }
}

pub(super) fn iso(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
