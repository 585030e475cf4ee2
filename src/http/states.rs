//! What people do with a thread: archive it, and say how far they have read it.
//!
//! Whoever changes it says what they have seen, so that a call which comes in between is neither put aside nor taken for
//! read. What it comes to for the thread (`status`, `unread_count`) is in the conversation.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use domain::conversation::{Conversation, ConversationCommand, ConversationError};
use domain::sid::CallSid;
use projections::conversations::is_archived;
use projections::generation::Snapshot;
use projections::people::EditableThread;
use serde::{Deserialize, Deserializer, Serialize};
use time::serde::rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa::ToSchema;

use super::conversations::{open, unreadable};
use super::editing::{Terms, Versioned, not_null};
use super::json_body::JsonBody;
use super::page::{Id, IdParam};
use super::problem::{ApiError, Problem};
use crate::app::AppState;
use crate::people::{EditError, Edited};

/// What people have done with a thread.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ConversationState {
    #[schema(example = "8172635482910384756")]
    conversation_id: String,
    /// It is put aside, as `archived` of the conversation says: somebody has archived it, nobody has taken that back, and
    /// no inbound call began after `archived_up_to`.
    archived: bool,
    /// When the newest call began that whoever archived it had seen. One that began later brings the thread back.
    #[serde(with = "rfc3339::option")]
    archived_up_to: Option<OffsetDateTime>,
    /// When the last call ended that somebody has seen. Missed calls that ended later are unread.
    #[serde(with = "rfc3339::option")]
    read_up_to: Option<OffsetDateTime>,
    /// What the ETag says.
    version: i64,
    /// The position of the log that this reflects: for `min_position`.
    position: i64,
}

/// What is to be so of a thread. What is absent stays as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConversationPatch {
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    archived: Option<bool>,
    /// With `archived`: `last_message_at` of the conversation as the caller has seen it, else as it is.
    #[serde(default, with = "time_not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    archived_up_to: Option<OffsetDateTime>,
    /// When the last call ended that the caller has seen, or whichever time they have seen the thread up to. The marker
    /// only ever moves on.
    #[serde(default, with = "time_not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    read_up_to: Option<OffsetDateTime>,
    /// The same by the SID of that call.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    read_up_to_call: Option<CallSid>,
}

/// What people have done with a conversation.
#[utoipa::path(
    get, path = "/api/conversations/{id}/state", tag = "conversations",
    params(
        IdParam,
        ("If-None-Match" = Option<String>, Header, description = "ETags that the caller has the answer to"),
    ),
    responses(
        (status = 200, body = ConversationState, headers(("ETag", description = "The version"))),
        (status = 304, description = "It is as the caller knows it; not while `archived_up_to` is there, because a call may have changed `archived`"),
        (status = 404, description = "There is no such conversation", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn one(
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut snapshot = open(&state).await?;
    let thread = known(&mut snapshot, id).await?;
    let EditableThread { archived_up_to, read_up_to, version, last_inbound_at, .. } = thread;
    let body = ConversationState {
        conversation_id: id.to_string(),
        archived: is_archived(archived_up_to, last_inbound_at),
        archived_up_to,
        read_up_to,
        version,
        position: snapshot.position(),
    };
    let answer = Versioned { version, body };
    // A call that brings the thread back makes no version of what people have done with it.
    Ok(if archived_up_to.is_some() { answer.into_response() } else { answer.unless_known(&headers) })
}

/// Archives a conversation or takes it back, and moves its read marker.
#[utoipa::path(
    patch, path = "/api/conversations/{id}/state", tag = "conversations",
    params(
        IdParam,
        ("If-Match" = Option<String>, Header, description = "The ETag of what the caller has seen"),
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name of this request; once done, it is answered the same for a day"),
    ),
    request_body(content((ConversationPatch = "application/merge-patch+json"), (ConversationPatch = "application/json"))),
    responses(
        (status = 200, body = ConversationState, headers(("ETag", description = "The version"))),
        (status = 404, description = "There is no such conversation", body = Problem, content_type = "application/problem+json"),
        (status = 412, description = "Somebody has changed it since; `version` says to which version", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another request", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn change(
    State(state): State<AppState>,
    Id(id): Id,
    terms: Terms,
    JsonBody(patch): JsonBody<ConversationPatch>,
) -> Result<Versioned<ConversationState>, ApiError> {
    let at = OffsetDateTime::now_utc();
    let mut snapshot = open(&state).await?;
    let thread = known(&mut snapshot, id).await?;
    let read_up_to = read_up_to(&mut snapshot, id, &patch).await?;
    drop(snapshot);
    let archive = match (patch.archived, patch.archived_up_to) {
        (Some(true), up_to) => {
            let newest = thread.newest_at;
            Some(ConversationCommand::Archive { up_to: up_to.unwrap_or(newest), newest, at })
        }
        (_, Some(_)) => return Err(wrong("/archived_up_to", "it goes with `archived`, which must be true")),
        (Some(false), None) => Some(ConversationCommand::Unarchive { at }),
        (None, None) => None,
    };
    // Where Twilio's clock is ahead of ours, a call may have ended in what is the future here.
    let known_until =
        thread.newest_ended_at.map_or(thread.newest_at, |ended| ended.max(thread.newest_at)).max(at);
    let read = read_up_to.map(|up_to| ConversationCommand::Read { up_to, known_until, at });
    let edit = terms.edit(archive.into_iter().chain(read).collect(), &patch)?;
    let edited: Edited<Conversation> = state.editor.edit(&thread.party_key, edit).await?;
    let Edited { aggregate: Conversation { archived_up_to, read_up_to }, version, position, .. } = edited;
    let body = ConversationState {
        conversation_id: id.to_string(),
        archived: is_archived(archived_up_to, thread.last_inbound_at),
        archived_up_to,
        read_up_to,
        version,
        position,
    };
    Ok(Versioned { version, body })
}

async fn known(snapshot: &mut Snapshot, id: i64) -> Result<EditableThread, ApiError> {
    let thread = snapshot.editable_thread(id).await.map_err(unreadable)?;
    thread.ok_or(ApiError::UnknownConversation { id })
}

/// How far the thread was read: up to a time, or up to the end of a call.
async fn read_up_to(
    snapshot: &mut Snapshot,
    id: i64,
    patch: &ConversationPatch,
) -> Result<Option<OffsetDateTime>, ApiError> {
    let Some(sid) = &patch.read_up_to_call else { return Ok(patch.read_up_to) };
    if patch.read_up_to.is_some() {
        return Err(wrong(
            "/read_up_to_call",
            "it says the same as `read_up_to`; only one of them can be given",
        ));
    }
    let family = snapshot.call(sid.as_str()).await.map_err(unreadable)?;
    let entry = family.and_then(|family| family.entry).map(|entry| entry.message);
    match entry.filter(|entry| entry.conversation_id == Some(id)) {
        // What has not ended was seen as far as it has come.
        Some(entry) => Ok(Some(entry.end_time.unwrap_or(entry.start_time))),
        None => Err(wrong("/read_up_to_call", "it is no call of this conversation")),
    }
}

fn wrong(pointer: &str, reason: &str) -> ApiError {
    ApiError::WrongField { pointer: pointer.to_owned(), reason: reason.to_owned() }
}

impl From<EditError<ConversationError>> for ApiError {
    fn from(error: EditError<ConversationError>) -> Self {
        error.into_problem(|refused| {
            let pointer = match refused {
                ConversationError::ReadTooFar { .. } => "/read_up_to",
                ConversationError::ArchivedTooFar { .. } => "/archived_up_to",
            };
            wrong(pointer, &refused.to_string())
        })
    }
}

/// A time that is not null where it is there, in UTC and as exact as the database is.
mod time_not_null {
    use serde::de::Error;

    use super::*;

    /// Before there were telephones to be read of, and where the year has four digits in every time zone.
    const YEARS: std::ops::Range<i32> = 1970..9999;

    pub fn deserialize<'de, D: Deserializer<'de>>(field: D) -> Result<Option<OffsetDateTime>, D::Error> {
        let given = rfc3339::deserialize(field)?;
        let utc = given.checked_to_offset(UtcOffset::UTC).filter(|utc| YEARS.contains(&utc.year()));
        let utc = utc.ok_or_else(|| D::Error::custom("this is no time that a call can have"))?;
        Ok(Some(utc.truncate_to_microsecond()))
    }

    pub fn serialize<S: serde::Serializer>(
        time: &Option<OffsetDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        rfc3339::option::serialize(time, serializer)
    }
}
