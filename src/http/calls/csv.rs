//! Calls as CSV, as many as there are: read a batch at a time from one snapshot, and sent as they are read.
//!
//! A client that reads slowly keeps a snapshot open. PostgreSQL ends one that nothing is asked of for half a minute,
//! and few are open at once, so that those who download leave connections to everybody else.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use projections::conversations::{Contact, Message};
use projections::generation::Snapshot;
use projections::queries::{Filter, ListedCall, Scope, Window};
use rust_decimal::Decimal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::AppState;
use crate::http::conversations::{iso, open, unreadable};
use crate::http::problem::ApiError;

/// Calls that are in memory at once.
const BATCH: i64 = 500;
/// Downloads at once; further ones wait. A connection each.
const AT_ONCE: usize = 2;

/// Who may download now.
#[derive(Clone, Debug)]
pub struct Downloads(Arc<Semaphore>);

impl Default for Downloads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Downloads {
    async fn next(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.0).acquire_owned().await.map_err(ApiError::internal)
    }
}

const HEADER: [&str; 23] = [
    "sid",
    "conversation_id",
    "start_time",
    "answered_at",
    "end_time",
    "direction",
    "status",
    "missed",
    "from",
    "to",
    "line",
    "contact_number",
    "contact_name",
    "caller_name",
    "total_duration",
    "talk_time",
    "wait_time",
    "recording_sid",
    "recording_url",
    "answered_by",
    "price",
    "price_unit",
    "updated_at",
];

/// All calls that a filter finds. It is answered once the first batch has been read, so what fails at once is told as
/// everything else; what fails later breaks the download off, which a client sees.
pub(super) async fn export(state: &AppState, filter: Filter) -> Result<Response, ApiError> {
    let permit = state.downloads.next().await?;
    let mut snapshot = open(state).await?;
    let scope = snapshot.scope(filter).await.map_err(unreadable)?;
    let first = Window::Offset { offset: 0, limit: BATCH };
    let first = snapshot.bare_calls(&scope, first).await.map_err(unreadable)?;
    let mut response = Body::from_stream(lines(permit, snapshot, scope, first)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"calls.csv\""));
    Ok(response)
}

type Batch = Vec<ListedCall<Message>>;

fn lines(
    permit: OwnedSemaphorePermit,
    mut snapshot: Snapshot,
    scope: Scope,
    first: Batch,
) -> impl futures::Stream<Item = std::io::Result<Vec<u8>>> {
    async_stream::try_stream! {
        // Both end with the stream, and the stream with its client.
        let _permit = permit;
        let mut head = Some(HEADER);
        let mut batch = first;
        loop {
            yield text(head.take(), &batch)?;
            let Some(last) = batch.last().filter(|_| batch.len() as i64 == BATCH) else { break };
            let window = Window::After { at: last.call.start_time, id: last.call.id, limit: BATCH };
            batch = snapshot.bare_calls(&scope, window).await.map_err(|error| {
                tracing::warn!(error = projections::chain(&error), "a download of calls was broken off");
                std::io::Error::other(error)
            })?;
            if batch.is_empty() {
                break;
            }
        }
    }
}

fn text(head: Option<[&str; 23]>, batch: &Batch) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if let Some(head) = head {
        writer.write_record(head)?;
    }
    for ListedCall { call, contact } in batch {
        writer.write_record(cells(call, contact.as_ref()).map(harmless))?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

/// The cells of a call, in the order of [`HEADER`].
fn cells(call: &Message, contact: Option<&Contact>) -> [String; 23] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let seconds = |seconds: Option<i32>| seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    [
        call.twilio_sid.clone(),
        call.conversation_id.map(|id| id.to_string()).unwrap_or_default(),
        iso(call.start_time),
        call.answered_at.map(iso).unwrap_or_default(),
        call.end_time.map(iso).unwrap_or_default(),
        call.direction.clone(),
        call.display_status.clone(),
        call.missed.to_string(),
        call.from_number.clone(),
        call.to_number.clone(),
        text(&call.line),
        contact.map(|contact| contact.phone_number.clone()).unwrap_or_default(),
        contact.and_then(|contact| contact.display_name.clone()).unwrap_or_default(),
        text(&call.metadata.caller_name),
        seconds(call.total_duration),
        seconds(call.talk_time),
        seconds(call.wait_time),
        text(&call.recording_sid),
        text(&call.recording_url),
        text(&call.metadata.answered_by),
        call.price.map(|price| price.to_string()).unwrap_or_default(),
        text(&call.price_unit),
        iso(call.updated_at),
    ]
}

/// A spreadsheet evaluates cells that begin so, and what callers call themselves is theirs to choose (OWASP, CSV
/// Injection). Numbers are what they look like.
fn harmless(cell: String) -> String {
    let begins_a_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let digits = cell.strip_prefix('+').unwrap_or_default();
    let is_phone_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !begins_a_formula || is_phone_number || cell.parse::<Decimal>().is_ok() {
        return cell;
    }
    format!("'{cell}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_numbers_stay_numbers() {
        for (cell, written) in [
            ("", ""),
            ("Jane Doe", "Jane Doe"),
            ("+15085140320", "+15085140320"),
            ("-0.00850", "-0.00850"),
            ("29", "29"),
            ("+1 (508) 514-0320", "'+1 (508) 514-0320"),
            ("=HYPERLINK(\"https://evil.example\")", "'=HYPERLINK(\"https://evil.example\")"),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("＝1", "'＝1"),
            ("-", "'-"),
            ("+", "'+"),
        ] {
            assert_eq!(harmless(cell.to_owned()), written, "{cell:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_begins_harmlessly_or_is_a_number(cell in "[-=+@\\t\\r0-9.a'|]{0,6}") {
            let written = harmless(cell.clone());
            if written.starts_with(['=', '+', '-', '@', '\t', '\r']) {
                let rest = &written[1..];
                prop_assert!(rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{}", written);
                prop_assert!(rest.bytes().any(|byte| byte.is_ascii_digit()), "{}", written);
            }
            prop_assert!(written == cell || written.strip_prefix('\'') == Some(&cell));
        }
    }
}
