//! A delivery as `twilio_webhook_inbox` has it.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Delivery, Endpoint, Reading};
use crate::ingest::spool::Kept;

/// The width of the columns; what is longer is kept in the payload alone.
const LONGEST_SID: usize = 100;

#[derive(Debug)]
pub(super) struct Row {
    source: &'static str,
    event_type: &'static str,
    call_sid: Option<String>,
    recording_sid: Option<String>,
    dedupe_key: String,
    payload: Value,
    received_at: OffsetDateTime,
    request_id: Option<String>,
    idempotency_token: Option<String>,
    /// Why this is a dead letter, if it is one.
    error: Option<String>,
    /// What it was made from, unless it is a dead letter.
    delivery: Option<Arc<Delivery>>,
}

impl Row {
    pub fn of(delivery: Arc<Delivery>) -> Self {
        let Delivery { endpoint, form, idempotency_token, request_id, received_at } = &*delivery;
        let sid = |name: &str| form.get(name).filter(|sid| fits(sid)).map(str::to_owned);
        Self {
            source: endpoint.source(),
            event_type: endpoint.event_type(),
            call_sid: sid("CallSid"),
            recording_sid: sid("RecordingSid"),
            dedupe_key: endpoint.dedupe_key(form),
            payload: form.to_json(),
            received_at: *received_at,
            request_id: Some(request_id.clone()),
            idempotency_token: idempotency_token.clone(),
            error: None,
            delivery: Some(delivery),
        }
    }

    /// What the REST API said. A reading that says the same is the same row.
    pub fn of_reading(reading: Reading) -> Self {
        let Reading { job, resource, call_sid, recording_sid, digest, payload, read_at } = reading;
        let event_type = resource.event_type();
        let (call_sid, recording_sid) =
            (call_sid.filter(|sid| fits(sid)), recording_sid.filter(|sid| fits(sid)));
        let sid = recording_sid.as_deref().or(call_sid.as_deref()).unwrap_or_default();
        Self {
            source: job,
            event_type,
            dedupe_key: format!("{event_type}:{sid}:{digest}"),
            call_sid,
            recording_sid,
            payload,
            received_at: read_at,
            request_id: None,
            idempotency_token: None,
            error: None,
            delivery: None,
        }
    }

    pub fn of_kept(kept: Kept) -> Self {
        match kept {
            Kept::Delivery(delivery) => Self::of(delivery.into()),
            Kept::Unreadable(text) => Self::dead_letter(
                Endpoint::VoiceInbound.source(),
                "unreadable",
                format!("unreadable:{:x}", Sha256::digest(&text)),
                json!({ "spooled": text.replace('\0', "\u{FFFD}") }),
                OffsetDateTime::now_utc(),
                "this callbook cannot read what another version has spooled".to_owned(),
            ),
        }
    }

    /// The same request for an operator to look at, in a row that no database has a reason to refuse. Nothing if
    /// this is such a row.
    pub fn refused(&self, reason: &sqlx::Error) -> Option<Self> {
        let form = &self.delivery.as_ref()?.form;
        Some(Self::dead_letter(
            self.source,
            self.event_type,
            format!("refused:{}:{}", self.event_type, form.digest()),
            json!({ "form": form.encode() }),
            self.received_at,
            format!("the database refuses its row: {reason}").replace('\0', "\u{FFFD}"),
        ))
    }

    fn dead_letter(
        source: &'static str,
        event_type: &'static str,
        dedupe_key: String,
        payload: Value,
        received_at: OffsetDateTime,
        error: String,
    ) -> Self {
        Self {
            source,
            event_type,
            call_sid: None,
            recording_sid: None,
            dedupe_key,
            payload,
            received_at,
            request_id: None,
            idempotency_token: None,
            error: Some(error),
            delivery: None,
        }
    }
}

/// Sorted by key, so that two instances could only wait for each other, not deadlock.
pub(super) fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| a.dedupe_key.cmp(&b.dedupe_key));
}

/// Whether a column can have it.
fn fits(sid: &str) -> bool {
    !sid.is_empty() && sid.len() <= LONGEST_SID && !sid.contains('\0')
}

/// What becomes of a row that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It stays as it is.
    Stays,
    /// One that was given up undecided is tried again: the REST API still says so.
    Revives,
}

/// Where rows are revived, gives the ids of those that wait to be decided because of this, in no order; else nothing,
/// as nobody asks which webhooks were new.
pub(super) async fn insert(
    connection: &mut PgConnection,
    rows: &[Row],
    known: Known,
) -> sqlx::Result<Vec<i64>> {
    let on_conflict = match known {
        Known::Stays => "do nothing",
        Known::Revives => {
            "do update set processing_status = 'pending', retry_count = 0, error = null, processed_at = null,
                    next_attempt_at = null
              where twilio_webhook_inbox.processing_status = 'dead_letter'
                and twilio_webhook_inbox.outcome is null
             returning id"
        }
    };
    let insert = format!(
        "insert into twilio_webhook_inbox
                (source, event_type, call_sid, recording_sid, dedupe_key, payload, received_at, request_id,
                 idempotency_token, error, processing_status, processed_at)
         select row.*, case when row.error is null then 'pending' else 'dead_letter' end,
                case when row.error is not null then clock_timestamp() end
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[],
                       $7::timestamptz[], $8::text[], $9::text[], $10::text[])
                as row (source, event_type, call_sid, recording_sid, dedupe_key, payload, received_at, request_id,
                        idempotency_token, error)
         on conflict (dedupe_key) {on_conflict}"
    );
    sqlx::query_scalar(&insert)
        .bind(rows.iter().map(|row| row.source).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.event_type).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.call_sid.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.recording_sid.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.dedupe_key.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.payload).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.received_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.request_id.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.idempotency_token.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.error.as_deref()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
}
