//! Events as clients get them, encoded once for all.

use axum::body::Bytes;
use domain::call::CallEvent;
use domain::contact::ContactEvent;
use domain::conversation::ConversationEvent;
use projections::log::StoredEvent;
use projections::queries::{CallStanding, Standings};
use serde_json::{Value, json};

use crate::http::conversations::iso;

/// Frames that belong together: all of the events after one position and up to another.
#[derive(Debug)]
pub(super) struct Batch {
    /// Up to where the log is told with this.
    pub through: i64,
    /// Each frame's position, and where it ends in the bytes.
    ends: Vec<(i64, usize)>,
    bytes: Bytes,
}

impl Batch {
    /// Nothing is told of what this callbook does not know or cannot read: the projection says so.
    pub fn of(
        events: &[StoredEvent],
        standings: Option<&Standings>,
        through: i64,
        incarnation: &str,
    ) -> Self {
        let (mut bytes, mut ends) = (String::new(), Vec::with_capacity(events.len()));
        for stored in events {
            if let Some((name, data)) = told(stored, standings) {
                bytes.push_str(&frame(&id(incarnation, stored.position), name, &data));
                ends.push((stored.position, bytes.len()));
            }
        }
        Self { through, ends, bytes: bytes.into() }
    }

    /// The frames after a position, and how many they are. What is handed out is shared, not copied.
    pub fn after(&self, position: i64) -> (Bytes, usize) {
        let passed = self.ends.partition_point(|(at, _)| *at <= position);
        let from = passed.checked_sub(1).map_or(0, |last| self.ends[last].1);
        (self.bytes.slice(from..), self.ends.len() - passed)
    }

    pub fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.ends.len() * size_of::<(i64, usize)>()
    }
}

/// What `id:` says of a position.
pub(super) fn id(incarnation: &str, position: i64) -> String {
    format!("{incarnation}-{position}")
}

/// One event of the stream. `data` is JSON text, in which a line break is never literal.
pub(super) fn frame(id: &str, name: &str, data: &str) -> String {
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

/// The name and the data of an event.
fn told(stored: &StoredEvent, standings: Option<&Standings>) -> Option<(&'static str, String)> {
    let (name, mut data) = match stored.aggregate_type.as_str() {
        "call" => of_call(stored)?,
        "contact" => ("contact.updated", of_contact(stored)?),
        "conversation" => ("conversation.updated", of_conversation(stored)?),
        _ => return None,
    };
    if let Some(standings) = standings {
        add_standing(&mut data, stored, standings);
    }
    Some((name, data.to_string()))
}

/// Where what happened has led by now.
fn add_standing(data: &mut Value, stored: &StoredEvent, standings: &Standings) {
    data["asOf"] = standings.position.into();
    if stored.aggregate_type == "call" {
        data["entry"] = json!(standings.call(&stored.aggregate_id).map(entry));
        return;
    }
    let thread = standings.thread(&stored.aggregate_id);
    data["conversationId"] = json!(thread.map(|thread| thread.conversation_id.to_string()));
    if stored.aggregate_type == "conversation" {
        data["unreadCount"] = json!(thread.map(|thread| thread.unread_count));
        data["archived"] = json!(thread.map(|thread| thread.archived));
    }
}

/// Seed 000's events and payload.
fn of_call(stored: &StoredEvent) -> Option<(&'static str, Value)> {
    let event = CallEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).ok()?;
    let name = if matches!(event, CallEvent::Created(_)) { "call.created" } else { "call.updated" };
    let change = event.change();
    let data = json!({
        "callSid": stored.aggregate_id,
        "status": change.summary.status,
        "direction": change.summary.direction,
        "from": change.summary.from,
        "to": change.summary.to,
        "duration": change.summary.duration,
        "timestamp": iso(change.occurred_at),
    });
    Some((name, data))
}

fn entry(standing: &CallStanding) -> Value {
    json!({
        "sid": standing.sid,
        "rootSid": standing.root_sid,
        "conversationId": standing.conversation_id.map(|id| id.to_string()),
        "name": standing.name,
        "handle": standing.handle,
        "number": standing.number,
        "direction": standing.direction,
        "status": standing.display_status,
        "missed": standing.missed,
        "live": standing.live,
        "line": standing.line,
        "startTime": iso(standing.start_time),
        "answeredAt": standing.answered_at.map(iso),
        "endTime": standing.end_time.map(iso),
        "duration": standing.duration,
        "unreadCount": standing.unread_count,
        "archived": standing.archived,
    })
}

/// What was changed. Notes are long, so they are to be asked for.
fn of_contact(stored: &StoredEvent) -> Option<Value> {
    let event = ContactEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).ok()?;
    let mut data = json!({ "handle": stored.aggregate_id, "timestamp": iso(event.occurred_at()) });
    match event {
        ContactEvent::Added { .. } => data["changed"] = "added".into(),
        ContactEvent::Renamed { name, .. } => {
            data["changed"] = "name".into();
            data["name"] = json!(name);
        }
        ContactEvent::NotesChanged { .. } => data["changed"] = "notes".into(),
        ContactEvent::TagsChanged { tags, .. } => {
            data["changed"] = "tags".into();
            data["tags"] = json!(tags);
        }
    }
    Some(data)
}

fn of_conversation(stored: &StoredEvent) -> Option<Value> {
    let event = ConversationEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).ok()?;
    let (changed, up_to) = match event {
        ConversationEvent::Archived { up_to, .. } => ("archived", Some(up_to)),
        ConversationEvent::Unarchived { .. } => ("unarchived", None),
        ConversationEvent::Read { up_to, .. } => ("read", Some(up_to)),
    };
    Some(json!({
        "externalId": stored.aggregate_id,
        "changed": changed,
        "upTo": up_to.map(iso),
        "timestamp": iso(event.occurred_at()),
    }))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn stored(position: i64) -> StoredEvent {
        let golden = include_str!("../../../domain/tests/golden/call.created.v1.json");
        StoredEvent {
            position,
            aggregate_type: "call".to_owned(),
            aggregate_id: format!("CA{position:032}"),
            sequence: 1,
            event_type: "call.created".to_owned(),
            event_version: "1".to_owned(),
            payload: golden.to_owned(),
            recorded_at: datetime!(2026-02-08 06:11:30 UTC),
        }
    }

    fn ids(bytes: &Bytes) -> Vec<String> {
        let text = std::str::from_utf8(bytes).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    }

    #[test]
    fn a_client_gets_the_frames_after_its_position_wherever_that_is() {
        let batch = Batch::of(&[stored(3), stored(5), stored(6)], None, 8, "abc");
        for (position, expected) in [
            (0, &["abc-3", "abc-5", "abc-6"][..]),
            (3, &["abc-5", "abc-6"]),
            (4, &["abc-5", "abc-6"]),
            (5, &["abc-6"]),
            (6, &[]),
            (8, &[]),
        ] {
            let (bytes, count) = batch.after(position);
            assert_eq!(
                (ids(&bytes), count),
                (expected.iter().map(|id| (*id).to_owned()).collect(), expected.len())
            );
        }
    }

    #[test]
    fn what_is_not_known_or_cannot_be_read_is_passed_over() {
        let other = StoredEvent { aggregate_type: "lead".to_owned(), ..stored(3) };
        let unheard_of = StoredEvent { event_type: "call.unheard_of".to_owned(), ..stored(4) };
        let events = [other, unheard_of, stored(5)];
        let (bytes, count) = Batch::of(&events, None, 5, "abc").after(0);
        assert_eq!((ids(&bytes), count), (vec!["abc-5".to_owned()], 1));
    }
}
