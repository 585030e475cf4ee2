//! Why the rows of a call are what they are: what each event changed in them, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::entered::PastEntered;
use super::past::CHUNK;
use super::{PastEvent, Replay, Unreadable};
use crate::conversations::sums::{Part, Sums};
use crate::conversations::thread::PartyOf;
use crate::conversations::{Entered, Message};
use crate::generation::Snapshot;
use crate::ids::IdKey;

/// All events of a family, each with what it did, and what they come to.
#[derive(Clone, Debug)]
pub struct History {
    /// The SID at the top, whether that call has been seen or not.
    pub root: String,
    /// The calls of which there are events, by SID.
    pub calls: Vec<String>,
    /// In the order of the log.
    pub events: Vec<EventStep>,
}

/// An event and what it changed.
#[derive(Clone, Debug)]
pub struct EventStep {
    pub event: PastEvent,
    /// Why it changed nothing: it, or one before it, cannot be read.
    pub unreadable: Option<Unreadable>,
    pub changes: Vec<RowChange>,
}

/// A row of the read model that came, went or became another.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RowChange {
    pub table: &'static str,
    pub key: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    pub fields: Vec<FieldChange>,
}

/// A field that differs. What lies inside an object is a field of its own, `metadata.missed`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FieldChange {
    pub field: String,
    pub before: Value,
    pub after: Value,
}

/// Rows by table and key.
type Rows = BTreeMap<(Table, String), Map<String, Value>>;

/// The tables in the order in which an event gets to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Legs,
    Messages,
    Conversations,
    Contacts,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Legs => "call_legs",
            Self::Messages => "messages",
            Self::Conversations => "conversations",
            Self::Contacts => "contacts",
        }
    }
}

/// What else makes the rows of a thread, at each event: the other families, and what people had entered.
struct Others {
    party: PartyOf,
    at: Vec<(Option<Sums>, Option<Entered>)>,
}

impl Snapshot {
    /// What each event of a call's family changed in the family's rows and in those of its thread.
    pub async fn explain(&mut self, ids: &IdKey, call_sid: &str) -> sqlx::Result<History> {
        let (events, whole) = self.history([call_sid.to_owned()].into(), i64::MAX).await?;
        let positions: Vec<i64> = events.iter().map(|event| event.stored.position).collect();
        let own: BTreeSet<String> = whole.legs.keys().cloned().collect();
        let mut others = BTreeMap::new();
        for (id, party) in threads(ids, &events) {
            let entered = self.entered(ids, &party.key).await?;
            let moments = Moments { positions: &positions, entered: &entered };
            let sums = self.others(ids, id, &party.key, &own, moments).await?;
            let entered = positions.iter().map(|position| entered.as_of(*position).cloned());
            let at = sums.into_iter().zip(entered).collect();
            others.insert(id, Others { party, at });
        }
        let mut replay = Replay::default();
        let mut before = rows(&replay, ids, &others, 0);
        let mut steps = Vec::with_capacity(events.len());
        for (nth, event) in events.into_iter().enumerate() {
            // The others may have changed their threads since the last event; that was not this event's doing.
            before.retain(|(table, _), _| matches!(table, Table::Legs | Table::Messages));
            before.extend(thread_rows(&replay, ids, &others, nth));
            let unreadable = replay.apply(&event.stored).err().cloned();
            let after = rows(&replay, ids, &others, nth);
            steps.push(EventStep { event, unreadable, changes: changes(&before, &after) });
            before = after;
        }
        let calls: BTreeSet<String> =
            steps.iter().map(|step| step.event.stored.aggregate_id.clone()).collect();
        Ok(History {
            root: whole.root(call_sid).to_owned(),
            calls: calls.into_iter().collect(),
            events: steps,
        })
    }

    /// What the families of a thread other than this one came to, as each of these positions was reached.
    async fn others(
        &mut self,
        ids: &IdKey,
        conversation: i64,
        party: &str,
        own: &BTreeSet<String>,
        moments: Moments<'_>,
    ) -> sqlx::Result<Vec<Option<Sums>>> {
        let mut sums: Vec<Option<Sums>> = vec![None; moments.positions.len()];
        let (Some(first), Some(last)) = (moments.positions.first(), moments.positions.last()) else {
            return Ok(sums);
        };
        let mut candidates = self.candidates(party, *last).await?;
        candidates.retain(|sid| !own.contains(sid));
        while !candidates.is_empty() {
            let rest = candidates.iter().nth(CHUNK).cloned().map(|next| candidates.split_off(&next));
            let (events, whole) = self.history(candidates, *last).await?;
            candidates = rest.unwrap_or_default();
            candidates.retain(|sid| !whole.legs.contains_key(sid));
            let meanwhile = events.last().is_some_and(|event| event.stored.position > *first);
            if !meanwhile {
                // Most calls of a thread had ended before this one began, and nothing of them changed since.
                let messages = whole.messages(ids).0;
                for ((_, read_up_to), sums) in moments.iter().zip(&mut sums) {
                    *sums = joined(sums.take(), sums_of(&messages, conversation, read_up_to));
                }
                continue;
            }
            let mut events = events.iter().map(|event| &event.stored).peekable();
            let mut replay = Replay::default();
            let mut messages = Vec::new();
            for ((position, read_up_to), sums) in moments.iter().zip(&mut sums) {
                let mut stands = true;
                while let Some(event) = events.next_if(|event| event.position < position) {
                    let _ = replay.apply(event);
                    stands = false;
                }
                if !stands {
                    messages = replay.messages(ids).0;
                }
                *sums = joined(sums.take(), sums_of(&messages, conversation, read_up_to));
            }
        }
        Ok(sums)
    }
}

/// The positions of a family's events, and how far a thread had been read at each.
#[derive(Clone, Copy)]
struct Moments<'m> {
    positions: &'m [i64],
    entered: &'m PastEntered,
}

impl Moments<'_> {
    fn iter(&self) -> impl Iterator<Item = (i64, Option<OffsetDateTime>)> {
        let read_up_to = |position| self.entered.as_of(position).and_then(|entered| entered.read_up_to);
        self.positions.iter().map(move |position| (*position, read_up_to(*position)))
    }
}

/// Every thread that the family belonged to at some event, with its party.
fn threads(ids: &IdKey, events: &[PastEvent]) -> BTreeMap<i64, PartyOf> {
    let mut threads = BTreeMap::new();
    let mut replay = Replay::default();
    for event in events {
        let _ = replay.apply(&event.stored);
        threads.extend(replay.messages(ids).1);
    }
    threads
}

fn sums_of(messages: &[Message], conversation: i64, read_up_to: Option<OffsetDateTime>) -> Option<Sums> {
    let ours = messages.iter().filter_map(Part::of).filter(|part| part.conversation_id == conversation);
    ours.map(|part| Sums::of(&part, read_up_to)).reduce(Sums::and)
}

fn joined(one: Option<Sums>, other: Option<Sums>) -> Option<Sums> {
    one.into_iter().chain(other).reduce(Sums::and)
}

fn rows(replay: &Replay, ids: &IdKey, others: &BTreeMap<i64, Others>, nth: usize) -> Rows {
    let mut rows = thread_rows(replay, ids, others, nth);
    for leg in replay.legs() {
        rows.insert((Table::Legs, leg.call_sid.clone()), fields(leg));
    }
    for message in replay.messages(ids).0 {
        rows.insert((Table::Messages, message.twilio_sid.clone()), fields(&message));
    }
    rows
}

/// The rows of the threads as the event `nth` finds or leaves them.
fn thread_rows(replay: &Replay, ids: &IdKey, others: &BTreeMap<i64, Others>, nth: usize) -> Rows {
    let mut rows = Rows::new();
    let messages = replay.messages(ids).0;
    for (id, Others { party, at }) in others {
        let (rest, entered) = at.get(nth).cloned().unwrap_or_default();
        let entered = entered.as_ref();
        let read_up_to = entered.and_then(|entered| entered.read_up_to);
        let Some(sums) = joined(rest, sums_of(&messages, *id, read_up_to)) else { continue };
        let (thread, contact) = party.rows(ids, &sums, entered);
        rows.insert((Table::Conversations, id.to_string()), fields(&thread));
        rows.extend(contact.map(|row| ((Table::Contacts, row.id.to_string()), fields(&row))));
    }
    rows
}

/// A row's fields; those of an object inside it beside them. Ids are text, as everywhere outside the database.
fn fields(row: &impl Serialize) -> Map<String, Value> {
    let Ok(Value::Object(row)) = serde_json::to_value(row) else { return Map::new() };
    let mut fields = Map::new();
    for (name, value) in row {
        match value {
            Value::Object(inner) => {
                fields.extend(inner.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            Value::Number(id) if name == "id" || name.ends_with("_id") => {
                fields.insert(name, id.to_string().into());
            }
            value => {
                fields.insert(name, value);
            }
        }
    }
    fields
}

fn changes(before: &Rows, after: &Rows) -> Vec<RowChange> {
    let keys: BTreeSet<&(Table, String)> = before.keys().chain(after.keys()).collect();
    let nothing = Map::new();
    keys.into_iter()
        .filter_map(|row| {
            let (old, new) = (before.get(row), after.get(row));
            let change = match (old, new) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "changed",
            };
            let fields = differing(old.unwrap_or(&nothing), new.unwrap_or(&nothing));
            (!fields.is_empty()).then(|| RowChange {
                table: row.0.name(),
                key: row.1.clone(),
                change,
                fields,
            })
        })
        .collect()
}

fn differing(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<FieldChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let of = |row: &Map<String, Value>, name: &str| row.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .map(|name| FieldChange { field: name.clone(), before: of(old, name), after: of(new, name) })
        .filter(|change| change.before != change.after)
        .collect()
}
