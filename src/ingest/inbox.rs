//! The door: a webhook is answered when its row in `twilio_webhook_inbox` is durable.
//!
//! A repeated request is the same row, because its key is derived from what it says (contract section 3).
//! Rows of concurrent requests are inserted together.

use std::sync::Arc;

use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::twilio::form::Form;

/// Rows in one insert at most.
const BATCH: usize = 500;
/// Requests that may wait; whoever comes then waits for room.
const QUEUE: usize = 4_096;
/// Widths of the columns; what is longer is kept in the payload alone.
const LONGEST_SID: usize = 100;
const LONGEST_KEY: usize = 255;

/// Where Twilio sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    VoiceInbound,
    VoiceStatus,
    RecordingStatus,
    DialAction,
}

impl Endpoint {
    pub const ALL: [Self; 4] =
        [Self::VoiceInbound, Self::VoiceStatus, Self::RecordingStatus, Self::DialAction];

    /// Seed 000's `event_type`.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::VoiceInbound => "call-inbound",
            Self::VoiceStatus => "call-status",
            Self::RecordingStatus => "recording-complete",
            Self::DialAction => "dial-action",
        }
    }

    pub fn of_event_type(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.event_type() == event_type)
    }

    /// Seed 000's `source`.
    fn source(self) -> &'static str {
        match self {
            Self::RecordingStatus => "twilio_recording",
            Self::VoiceInbound | Self::VoiceStatus | Self::DialAction => "twilio_voice",
        }
    }

    /// What makes two requests the same one. Twilio's idempotency token is not signed, so it has no part in it:
    /// with tokens of its own, one captured request could be stored without end.
    fn dedupe_key(self, form: &Form) -> String {
        let get = |name| form.get(name).unwrap_or_default();
        let call = get("CallSid");
        let key = match self {
            Self::VoiceStatus if !call.is_empty() && form.get("SequenceNumber").is_some() => {
                let (account, status, sequence) =
                    (get("AccountSid"), get("CallStatus"), get("SequenceNumber"));
                format!("call:{account}:{call}:{status}:{sequence}")
            }
            Self::DialAction if !get("DialCallSid").is_empty() => {
                format!("dial:{call}:{}:{}", get("DialCallSid"), get("DialCallStatus"))
            }
            Self::RecordingStatus if !get("RecordingSid").is_empty() => {
                format!("recording:{}:{}", get("RecordingSid"), get("RecordingStatus"))
            }
            _ => {
                format!("{}:{call}:{}", self.event_type(), form.digest())
            }
        };
        if key.len() <= LONGEST_KEY && !key.contains('\0') {
            key
        } else {
            format!("{}:{}", self.event_type(), form.digest())
        }
    }
}

/// A request whose signature was right.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub endpoint: Endpoint,
    pub form: Form,
    pub idempotency_token: Option<String>,
    pub request_id: String,
    /// UTC, whole microseconds: what the database stores is what is decided with.
    pub received_at: OffsetDateTime,
}

/// A delivery as the table has it.
#[derive(Debug)]
struct Row {
    endpoint: Endpoint,
    call_sid: Option<String>,
    recording_sid: Option<String>,
    dedupe_key: String,
    payload: Value,
    received_at: OffsetDateTime,
    request_id: String,
    idempotency_token: Option<String>,
}

impl From<Delivery> for Row {
    fn from(delivery: Delivery) -> Self {
        let Delivery { endpoint, form, idempotency_token, request_id, received_at } = delivery;
        let sid = |name: &str| {
            form.get(name)
                .filter(|sid| !sid.is_empty() && sid.len() <= LONGEST_SID && !sid.contains('\0'))
                .map(str::to_owned)
        };
        Self {
            endpoint,
            call_sid: sid("CallSid"),
            recording_sid: sid("RecordingSid"),
            dedupe_key: endpoint.dedupe_key(&form),
            payload: form.to_json(),
            received_at,
            request_id,
            idempotency_token,
        }
    }
}

type Queued = (Row, oneshot::Sender<Result<(), Arc<sqlx::Error>>>);

/// Takes deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    queue: mpsc::Sender<Queued>,
}

/// The inbox cannot take a delivery; nothing was stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InboxError {
    #[error("the inbox cannot be written")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("callbook is stopping")]
    Stopping,
}

impl Inbox {
    /// Starts the task that inserts. `stored` is called after each insert.
    pub fn start(pool: PgPool, stored: impl Fn() + Send + Sync + 'static) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(insert_all(pool, waiting, stored));
        Self { queue }
    }

    /// Returns when the delivery is durable, or was before.
    pub async fn accept(&self, delivery: Delivery) -> Result<(), InboxError> {
        let (answer, answered) = oneshot::channel();
        self.queue.send((delivery.into(), answer)).await.map_err(|_| InboxError::Stopping)?;
        answered.await.map_err(|_| InboxError::Stopping)?.map_err(InboxError::Database)
    }
}

async fn insert_all(pool: PgPool, mut waiting: mpsc::Receiver<Queued>, stored: impl Fn()) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let (rows, answers): (Vec<Row>, Vec<_>) = std::mem::take(&mut batch).into_iter().unzip();
        let result = insert_on_a_live_connection(&pool, rows).await.map_err(Arc::new);
        for answer in answers {
            // Whoever asked may have gone away; the row is stored either way.
            let _ = answer.send(result.clone());
        }
        stored();
    }
}

/// After a restart of the database every pooled connection fails once. A row's key makes a second insert
/// harmless, so the rows are inserted again until the pool has none of those connections left.
async fn insert_on_a_live_connection(pool: &PgPool, mut rows: Vec<Row>) -> sqlx::Result<()> {
    // Sorted by key, so that two instances could only wait for each other, not deadlock.
    rows.sort_by(|a, b| a.dedupe_key.cmp(&b.dedupe_key));
    for _ in 0..pool.options().get_max_connections() {
        match insert(pool, &rows).await {
            Err(sqlx::Error::Io(_)) => {}
            result => return result,
        }
    }
    insert(pool, &rows).await
}

async fn insert(pool: &PgPool, rows: &[Row]) -> sqlx::Result<()> {
    sqlx::query(
        "insert into twilio_webhook_inbox
                (source, event_type, call_sid, recording_sid, dedupe_key, payload, received_at, request_id,
                 idempotency_token)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[],
                              $7::timestamptz[], $8::text[], $9::text[])
         on conflict (dedupe_key) do nothing",
    )
    .bind(rows.iter().map(|row| row.endpoint.source()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.endpoint.event_type()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.call_sid.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.recording_sid.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.dedupe_key.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.payload).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.received_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.request_id.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.idempotency_token.as_deref()).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map(drop)
}
