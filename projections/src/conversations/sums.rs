//! What the families of one external party come to: sums, maxima and minima, whatever the order.
//!
//! A family contributes its entry message, its *part*.

use domain::direction::Direction;
use time::OffsetDateTime;

use super::message::Message;
use super::thread::{Conversation, ConversationMetadata};

/// One family's part in a thread: its entry message.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Part {
    pub conversation_id: i64,
    pub message_id: i64,
    pub start_time: OffsetDateTime,
    pub direction: String,
    /// An inbound call that has ended and that nobody answered.
    missed: bool,
    end_time: Option<OffsetDateTime>,
    /// Seconds.
    total_duration: Option<i32>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Part {
    pub fn of(message: &Message) -> Option<Self> {
        Some(Self {
            conversation_id: message.conversation_id.filter(|_| message.entry)?,
            message_id: message.id,
            start_time: message.start_time,
            direction: message.direction.clone(),
            missed: message.missed,
            end_time: message.end_time,
            total_duration: message.total_duration,
            created_at: message.created_at,
            updated_at: message.updated_at,
        })
    }

    pub fn seconds(&self) -> i64 {
        self.total_duration.unwrap_or(0).into()
    }

    /// When it began, of an inbound call.
    pub fn inbound_at(&self) -> Option<OffsetDateTime> {
        (self.direction == Direction::Inbound.as_str()).then_some(self.start_time)
    }

    /// Whether it is a missed call that ended after the read marker. One whose end nobody stated ended when it began.
    pub fn is_unread(&self, read_up_to: Option<OffsetDateTime>) -> bool {
        let ended_at = self.end_time.unwrap_or(self.start_time);
        self.missed && read_up_to.is_none_or(|marker| ended_at > marker)
    }

    fn newest(&self) -> Newest {
        Newest { start_time: self.start_time, message_id: self.message_id, direction: self.direction.clone() }
    }
}

/// The newest call of a thread, by which threads are sorted; ties by id.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    pub start_time: OffsetDateTime,
    pub message_id: i64,
    pub direction: String,
}

impl Newest {
    /// Of the same call, the later version.
    fn or(self, later: Self) -> Self {
        let is_newer = (later.start_time, later.message_id) >= (self.start_time, self.message_id);
        if is_newer { later } else { self }
    }
}

/// What the parts of a thread come to.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    pub total_calls: i64,
    pub total_duration: i64,
    pub newest: Newest,
    /// When the newest inbound call began.
    pub last_inbound_at: Option<OffsetDateTime>,
    /// Missed calls that ended after the read marker.
    pub unread: i64,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Sums {
    /// What is unread depends on how far the thread was read.
    pub fn of(part: &Part, read_up_to: Option<OffsetDateTime>) -> Self {
        Self {
            total_calls: 1,
            total_duration: part.seconds(),
            newest: part.newest(),
            last_inbound_at: part.inbound_at(),
            unread: part.is_unread(read_up_to).into(),
            created_at: part.created_at,
            updated_at: part.updated_at,
        }
    }

    pub fn and(self, other: Self) -> Self {
        Self {
            total_calls: self.total_calls + other.total_calls,
            total_duration: self.total_duration + other.total_duration,
            newest: self.newest.or(other.newest),
            last_inbound_at: self.last_inbound_at.max(other.last_inbound_at),
            unread: self.unread + other.unread,
            created_at: self.created_at.min(other.created_at),
            updated_at: self.updated_at.max(other.updated_at),
        }
    }

    pub fn metadata(&self) -> ConversationMetadata {
        ConversationMetadata {
            total_calls: self.total_calls,
            total_duration: self.total_duration,
            last_call_direction: self.newest.direction.clone(),
        }
    }
}

impl From<&Conversation> for Sums {
    fn from(row: &Conversation) -> Self {
        Self {
            total_calls: row.total_calls,
            total_duration: row.total_duration,
            newest: Newest {
                start_time: row.last_message_at,
                message_id: row.last_message_id,
                direction: row.last_call_direction.clone(),
            },
            last_inbound_at: row.last_inbound_at,
            unread: row.unread_count,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}
