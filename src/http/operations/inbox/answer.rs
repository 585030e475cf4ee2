//! What a row of the inbox looks like, and what is asked for many.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::serde::rfc3339;
use utoipa::ToSchema;

use crate::explain::without_media;
use crate::http::given;
use crate::http::page::Cursor;
use crate::http::problem::ApiError;
use crate::ingest::inbox::desk::{Filter, Item, Status, WholeItem};

/// A page of the inbox.
#[derive(Debug, Serialize, ToSchema)]
pub struct InboxPage {
    /// The newest first.
    items: Vec<InboxItem>,
    limit: i64,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

impl InboxPage {
    /// Of one item more than the limit, where there are more.
    pub fn new(mut items: Vec<Item>, limit: i64) -> Self {
        let size = usize::try_from(limit).unwrap_or(0);
        let more = items.len() > size;
        items.truncate(size);
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|last| Cursor { at: last.received_at, id: last.id }.encode());
        Self { items: items.into_iter().map(InboxItem::from).collect(), limit, next_cursor }
    }
}

/// A request, or an answer of Twilio's REST API, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct InboxItem {
    id: String,
    /// `twilio_voice` and `twilio_recording` for webhooks, else the job that asked.
    source: String,
    #[serde(rename = "type")]
    #[schema(example = "call-status")]
    kind: String,
    call_sid: Option<String>,
    recording_sid: Option<String>,
    /// `pending`, `completed`, `failed` (tried again at `next_attempt_at`) or `dead_letter`.
    status: String,
    /// Why it failed, was refused or was given up.
    error: Option<String>,
    /// `result` is `recorded`, `already_so` or `refused`, and `events` are the places of what was recorded.
    #[schema(value_type = Option<Object>)]
    outcome: Option<Value>,
    tries: i32,
    #[serde(with = "rfc3339")]
    received_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    processed_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    next_attempt_at: Option<OffsetDateTime>,
    /// The request that brought it.
    request_id: Option<String>,
    /// When somebody had it tried again that was given up, and by which request.
    #[serde(with = "rfc3339::option")]
    retried_at: Option<OffsetDateTime>,
    retried_by: Option<String>,
}

/// The same with what was said.
#[derive(Debug, Serialize, ToSchema)]
pub struct InboxRow {
    #[serde(flatten)]
    item: InboxItem,
    /// What makes a repeat the same row.
    dedupe_key: String,
    /// The parameters, or the resource, as they came; addresses of recordings are not shown.
    #[schema(value_type = Object)]
    payload: Value,
}

/// Which rows are to be tried again: those that have failed or were given up, and that the filter names.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// `failed` or `dead_letter`; left out: either.
    status: Option<String>,
    source: Option<String>,
    r#type: Option<String>,
    call_sid: Option<String>,
    /// Received then or later (RFC 3339).
    from: Option<String>,
    /// Received before then.
    to: Option<String>,
    /// Only counts them.
    dry_run: bool,
    /// How many they must be; what `dry_run` counted. Needed without it.
    #[schema(minimum = 0)]
    expected: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RetryOutcome {
    /// Rows that can be tried again.
    pub matching: i64,
    /// Those that are.
    pub retried: i64,
}

impl Retry {
    pub fn filter(&self) -> Result<Filter, ApiError> {
        let status = |text: &str| Status::of(text).filter(|status| status.is_retriable());
        Ok(Filter {
            status: one("/status", self.status.as_deref(), "`failed` or `dead_letter`", status)?,
            source: text("/source", self.source.as_deref())?,
            event_type: text("/type", self.r#type.as_deref())?,
            call_sid: text("/call_sid", self.call_sid.as_deref())?,
            from: one("/from", self.from.as_deref(), given::TIME, given::time)?,
            before: one("/to", self.to.as_deref(), given::TIME, given::time)?,
        })
    }

    /// Nothing for a dry run.
    pub fn expected(&self) -> Result<Option<i64>, ApiError> {
        match (self.dry_run, self.expected) {
            (true, None) => Ok(None),
            (true, Some(_)) => Err(wrong("/expected", "a dry run expects no number")),
            (false, Some(number)) if number >= 0 => Ok(Some(number)),
            (false, Some(number)) => Err(wrong("/expected", format!("{number} is no number of rows"))),
            (false, None) => {
                Err(wrong("/expected", "the number of rows that a dry run has counted is missing"))
            }
        }
    }
}

fn one<T>(
    pointer: &'static str,
    text: Option<&str>,
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    let wrong = || wrong(pointer, format!("it must be {expected}"));
    text.map(|text| read(text).ok_or_else(wrong)).transpose()
}

fn text(pointer: &'static str, text: Option<&str>) -> Result<Option<String>, ApiError> {
    let read = |text: &str| (!text.contains('\0')).then(|| text.to_owned());
    one(pointer, text, "a text without the character U+0000", read)
}

fn wrong(pointer: &str, reason: impl Into<String>) -> ApiError {
    ApiError::WrongField { pointer: pointer.to_owned(), reason: reason.into() }
}

impl From<Item> for InboxItem {
    fn from(item: Item) -> Self {
        Self {
            id: item.id.to_string(),
            source: item.source,
            kind: item.event_type,
            call_sid: item.call_sid,
            recording_sid: item.recording_sid,
            status: item.processing_status,
            error: item.error,
            outcome: item.outcome,
            tries: item.retry_count,
            received_at: item.received_at,
            processed_at: item.processed_at,
            next_attempt_at: item.next_attempt_at,
            request_id: item.request_id,
            retried_at: item.retried_at,
            retried_by: item.retried_by,
        }
    }
}

impl From<WholeItem> for InboxRow {
    fn from(WholeItem { item, dedupe_key, payload }: WholeItem) -> Self {
        Self { item: item.into(), dedupe_key, payload: without_media(payload) }
    }
}
