//! A text message that was sent over the REST API (CONTRACT §4.5).

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::shelf::Resource;

/// Times are the clock's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub sid: String,
    pub from: Option<String>,
    pub messaging_service_sid: Option<String>,
    pub to: String,
    pub body: String,
    pub media: usize,
    #[serde(with = "time::serde::timestamp::milliseconds")]
    pub created_at: OffsetDateTime,
}

impl Resource for Message {
    fn sid(&self) -> &str {
        &self.sid
    }

    fn created_at(&self) -> OffsetDateTime {
        self.created_at
    }
}

impl Message {
    const SENT_AFTER: Duration = Duration::seconds(1);
    const DELIVERED_AFTER: Duration = Duration::seconds(3);

    pub fn sent_at(&self) -> OffsetDateTime {
        self.created_at + Self::SENT_AFTER
    }

    /// The status at `now`, and since when; `None` before there is a message.
    pub fn at(&self, now: OffsetDateTime) -> Option<(&'static str, OffsetDateTime)> {
        let delivered_at = self.created_at + Self::DELIVERED_AFTER;
        if now < self.created_at {
            None
        } else if now < self.sent_at() {
            Some(("queued", self.created_at))
        } else if now < delivered_at {
            Some(("sent", self.sent_at()))
        } else {
            Some(("delivered", delivered_at))
        }
    }

    /// 160 characters a segment; what a rarer alphabet costs is not simulated.
    pub fn segments(&self) -> usize {
        self.body.chars().count().div_ceil(160).max(1)
    }
}
