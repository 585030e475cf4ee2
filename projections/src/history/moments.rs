//! When a thread changed: the places in the log that somebody who looks back at it can go to.

use sqlx::types::time::OffsetDateTime;

use crate::generation::Snapshot;

/// An event that a thread was shaped by.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ThreadEvent {
    pub position: i64,
    pub recorded_at: OffsetDateTime,
    pub event_type: String,
    /// Nothing where people did something to the thread, or wrote something down.
    pub call_sid: Option<String>,
    /// What the call was after it, in Twilio's words.
    pub status: Option<String>,
}

impl Snapshot {
    /// The events of a conversation's calls, and of what people did with it and its contact, the newest first.
    pub async fn thread_events(
        &mut self,
        conversation: i64,
        party: &str,
        before: i64,
        limit: i64,
    ) -> sqlx::Result<Vec<ThreadEvent>> {
        let query = format!(
            "select e.id as position, e.created_at as recorded_at, e.event_type,
                    case e.aggregate_type when 'call' then e.aggregate_id end as call_sid,
                    e.payload #>> '{{summary,status}}' as status
               from call_events e
              where (e.aggregate_type, e.aggregate_id) in (
                        select 'call', m.twilio_sid from {}.messages m where m.conversation_id = $1
                        union all
                        values ('contact', $2), ('conversation', $2))
                and e.id < $3 and e.id <= $4
              order by e.id desc limit $5",
            self.generation
        );
        let events = sqlx::query_as(&query).bind(conversation).bind(party).bind(before);
        events.bind(self.position()).bind(limit).fetch_all(&mut *self.tx).await
    }
}
