//! The door: a webhook is answered when its row in `twilio_webhook_inbox` is durable, or, while the database cannot
//! take it, when it is in the spool.
//!
//! A repeated request is the same row, because its key is derived from what it says (contract section 3). So
//! nothing is lost or doubled where it is not known whether an insert came through.

pub mod desk;
mod reading;
mod row;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::reading::{Reading, Resource, store};
use self::row::Row;
use self::writer::Queued;
pub use self::writer::Writer;
use super::spool::{Spool, SpoolError};
use crate::twilio::form::Form;

/// Requests that may wait for the database; whoever comes then waits for room.
const QUEUE: usize = 4_096;
/// How long a request waits for the database before it goes to the spool.
const DATABASE_PATIENCE: Duration = Duration::from_millis(500);
/// How long it then waits for the disk. Twilio tries a refused callback again within 15 seconds.
const DISK_PATIENCE: Duration = Duration::from_secs(3);
/// The width of the column.
const LONGEST_KEY: usize = 255;

/// Where Twilio sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// A request whose signature was right. It is kept in the spool as it is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub endpoint: Endpoint,
    pub form: Form,
    pub idempotency_token: Option<String>,
    pub request_id: String,
    /// UTC, whole microseconds: what the database stores is what is decided with.
    #[serde(with = "time::serde::rfc3339")]
    pub received_at: OffsetDateTime,
}

/// Why the database takes no rows, in words for anybody; the log has the details.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    #[error("the database has not been opened yet")]
    NotOpen,
    #[error("the database cannot be reached")]
    Unreachable,
    #[error("the database does not answer in time")]
    Slow,
    #[error("the database has no room left on its disk")]
    Full,
    #[error("the database is read-only")]
    ReadOnly,
    #[error("the database refuses to write, with SQLSTATE {code}")]
    Refusing { code: String },
}

/// Where a delivery is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Inbox,
    Spool,
}

/// Neither the inbox nor the spool has the delivery.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    #[error("{database}, and the spool cannot keep the webhook")]
    Nowhere {
        database: Outage,
        #[source]
        spool: SpoolError,
    },
}

/// Takes deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    queue: mpsc::Sender<Queued>,
    spool: Spool,
    outage: watch::Receiver<Option<Outage>>,
}

impl Inbox {
    /// Everything goes to the spool until the writer has a database.
    pub fn new(spool: Spool) -> (Self, Writer) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (outage, seen) = watch::channel(Some(Outage::NotOpen));
        let writer = Writer::new(waiting, spool.clone(), outage);
        (Self { queue, spool, outage: seen }, writer)
    }

    /// Returns when the delivery is durable, or was before.
    pub async fn accept(&self, delivery: Delivery) -> Result<Taken, InboxError> {
        let delivery = Arc::new(delivery);
        let known = self.outage.borrow().clone();
        let database = match known {
            Some(outage) => outage,
            None => match tokio::time::timeout(DATABASE_PATIENCE, self.insert(&delivery)).await {
                Ok(Ok(())) => return Ok(Taken::Inbox),
                Ok(Err(outage)) => outage,
                Err(_) => Outage::Slow,
            },
        };
        // Its row may come through all the same; it has the same key.
        let kept = tokio::time::timeout(DISK_PATIENCE, self.spool.append(&delivery)).await;
        match kept.unwrap_or(Err(SpoolError::Slow)) {
            Ok(()) => Ok(Taken::Spool),
            Err(spool) => Err(InboxError::Nowhere { database, spool }),
        }
    }

    /// Why everything goes to the spool at the moment, if it does.
    pub fn outage(&self) -> Option<Outage> {
        self.outage.borrow().clone()
    }

    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    async fn insert(&self, delivery: &Arc<Delivery>) -> Result<(), Outage> {
        let (answer, answered) = oneshot::channel();
        let queued = (Row::of(Arc::clone(delivery)), answer);
        // The writer ends with callbook.
        self.queue.send(queued).await.map_err(|_| Outage::NotOpen)?;
        answered.await.map_err(|_| Outage::NotOpen)?
    }
}
