//! One call: its legs, its events, and why its rows are what they are.
//!
//! Any leg of a family leads to the whole family; the answers say which SID is the root.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use domain::sid::CallSid;
use projections::conversations::Leg;
use projections::history::{EventStep, PastEvent, Unreadable};
use serde_json::{Map, Value, json};

use super::conversations::{iso, message, open, unreadable};
use super::page::whole_number;
use super::problem::ApiError;
use super::sid::Sid;
use crate::app::AppState;
use crate::explain::{self, Explanation, Received, Step, without_media};

/// Events a page, where the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
const LARGEST_LIMIT: i64 = 200;

/// `GET /api/calls/:sid`: the call with all legs of its family, its thread and its entry there.
#[utoipa::path(get, path = "/api/calls/{sid}", tag = "calls", responses((status = 200, body = Object)))]
pub async fn one(State(state): State<AppState>, Sid(sid): Sid<CallSid>) -> Result<Json<Value>, ApiError> {
    let mut snapshot = open(&state).await?;
    let family = snapshot.call(sid.as_str()).await.map_err(unreadable)?.ok_or_else(|| unknown(&sid))?;
    let conversation_id = family.entry.as_ref().and_then(|entry| entry.message.conversation_id);
    let hidden_reason = family.entry.as_ref().and_then(|entry| entry.message.hidden_reason.clone());
    Ok(Json(json!({
        "sid": sid,
        "root_sid": family.root,
        "is_root": family.root == sid.as_str(),
        "conversation_id": conversation_id.map(|id| id.to_string()),
        "hidden_reason": hidden_reason,
        "message": family.entry.as_ref().map(|entry| message(entry, family.contact.as_ref())),
        "legs": family.legs.iter().map(|row| leg(row, &family.root)).collect::<Vec<_>>(),
        "position": snapshot.position(),
    })))
}

/// `GET /api/calls/:sid/events`: the family's events in the order of the log, `limit` of them after the position
/// `after`.
#[utoipa::path(get, path = "/api/calls/{sid}/events", tag = "calls", responses((status = 200, body = Object)))]
pub async fn events(
    State(state): State<AppState>,
    Sid(sid): Sid<CallSid>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let (after, limit) = window(&uri)?;
    let mut snapshot = open(&state).await?;
    let mut events = snapshot.events(sid.as_str(), after, limit + 1).await.map_err(unreadable)?;
    if events.is_empty() && (after == 0 || snapshot.call(sid.as_str()).await.map_err(unreadable)?.is_none()) {
        return Err(unknown(&sid));
    }
    let size = usize::try_from(limit).unwrap_or(0);
    let more = events.len() > size;
    events.truncate(size);
    let next = events.last().filter(|_| more).map(|event| event.stored.position);
    let events: Vec<Value> = events
        .iter()
        .map(|event| {
            let payload = event.payload();
            let mut fields = event_fields(event);
            fields.insert("summary".to_owned(), payload.get("summary").cloned().unwrap_or_default());
            fields.insert("payload".to_owned(), without_media(payload));
            Value::Object(fields)
        })
        .collect();
    let position = snapshot.position();
    Ok(Json(json!({ "sid": sid, "events": events, "next_after": next, "position": position })))
}

/// `GET /api/calls/:sid/explain`: each request about the family in the order received, what came of it, and what
/// each event changed in the rows.
#[utoipa::path(get, path = "/api/calls/{sid}/explain", tag = "calls", responses((status = 200, body = Object)))]
pub async fn explain(State(state): State<AppState>, Sid(sid): Sid<CallSid>) -> Result<Json<Value>, ApiError> {
    let explained = explain::explain(&state.pool, &state.ids, &sid).await.map_err(unreadable)?;
    let Explanation { root, calls, steps, position, .. } = explained.ok_or_else(|| unknown(&sid))?;
    let steps: Vec<Value> = steps.iter().map(step).collect();
    Ok(Json(json!({ "sid": sid, "root_sid": root, "calls": calls, "steps": steps, "position": position })))
}

fn unknown(sid: &CallSid) -> ApiError {
    ApiError::UnknownCall { sid: sid.as_str().to_owned() }
}

fn leg(row: &Leg, root: &str) -> Value {
    let recordings: Vec<Value> = row
        .recordings
        .iter()
        .map(|(sid, recording)| {
            json!({
                "sid": sid,
                "status": recording.status,
                "duration": recording.seconds,
                "channels": recording.channels,
                "started_at": recording.started_at.map(iso),
                "source": recording.source,
                "track": recording.track,
            })
        })
        .collect();
    json!({
        "sid": row.call_sid,
        "parent_sid": row.parent_call_sid,
        "is_root": row.call_sid == root,
        "announced": row.announced,
        "direction": row.direction,
        "party": row.party_key.as_ref().map(|key| json!({
            "key": key, "kind": row.party_kind, "display": row.party_display
        })),
        "rule": row.rule,
        "twilio_direction": row.twilio_direction,
        "from": row.from_number,
        "to": row.to_number,
        "forwarded_from": row.forwarded_from,
        "caller_name": row.caller_name,
        "status": row.status,
        "provisional": row.provisional,
        "started_at": row.started_at.map(iso),
        "answered_at": row.answered_at.map(iso),
        "ended_at": row.ended_at.map(iso),
        "end_reason": row.end_reason,
        "duration": row.duration,
        "price": row.price.map(|price| price.to_string()),
        "price_unit": row.price_unit,
        "answered_by": row.answered_by,
        "queue_time": row.queue_time,
        "last_event_time": row.last_event_time.map(iso),
        "dials": row.dials,
        "recordings": recordings,
        "frozen": row.frozen,
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
    })
}

fn step(step: &Step) -> Value {
    match step {
        Step::Recorded(event) => {
            let mut value = explained(event);
            value["kind"] = "recorded".into();
            value
        }
        Step::Received(row, events) => {
            let mut value = received(row);
            value["events"] = events.iter().map(explained).collect();
            value
        }
    }
}

fn received(row: &Received) -> Value {
    json!({
        "kind": "received",
        "inbox_id": row.id.to_string(),
        "source": row.source,
        "type": row.event_type,
        "call_sid": row.call_sid,
        "received_at": iso(row.received_at),
        "processed_at": row.processed_at.map(iso),
        "request_id": row.request_id,
        "said": without_media(row.payload.clone()),
        "result": row.result(),
        "reason": row.error,
        "tries": row.retry_count,
        "next_attempt_at": row.next_attempt_at.map(iso),
    })
}

fn explained(step: &EventStep) -> Value {
    let mut fields = event_fields(&step.event);
    fields.insert("summary".to_owned(), step.event.payload().get("summary").cloned().unwrap_or_default());
    fields.insert("unreadable".to_owned(), step.unreadable.as_ref().map(unreadable_event).into());
    fields.insert("changes".to_owned(), without_media(json!(step.changes)));
    Value::Object(fields)
}

fn event_fields(event: &PastEvent) -> Map<String, Value> {
    let stored = &event.stored;
    let value = json!({
        "position": stored.position,
        "recorded_at": iso(stored.recorded_at),
        "event_time": event.event_time.map(iso),
        "call_sid": stored.aggregate_id,
        "sequence": stored.sequence,
        "type": stored.event_type,
        "version": stored.event_version,
        "source": event.source,
    });
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A call of which no more is known than up to an event that cannot be read.
pub(super) fn unreadable_event(unreadable: &Unreadable) -> Value {
    let Unreadable { call_sid, position, reason } = unreadable;
    json!({ "call_sid": call_sid, "position": position, "reason": reason })
}

fn window(uri: &Uri) -> Result<(i64, i64), ApiError> {
    let expected = "a position of the log, such as `next_after` of an earlier answer";
    let after = whole_number(uri, "after", 0, 0..=i64::MAX, expected)?;
    let limit = whole_number(uri, "limit", DEFAULT_LIMIT, 1..=LARGEST_LIMIT, "a whole number from 1 to 200")?;
    Ok((after, limit))
}
