//! What people have entered about a party and done with its thread: a row a party, folded from the events of its
//! contact and of its conversation in order.
//!
//! It enters the fold at level two, and is kept although there may be no call yet, or none any more. The two kinds of
//! events shape different columns, so that only the order within a stream matters.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::contact::ContactEvent;
use domain::conversation::ConversationEvent;
use serde::Serialize;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::FoldError;
use super::rows::{self, row};
use crate::generation::Generation;
use crate::ids::IdKey;
use crate::log::{StoredEvent, Unreadable};

/// A row of `entered`. Versions are those of the streams, 0 where there is none.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Entered {
    pub conversation_id: i64,
    pub party_key: String,
    /// Known once anything was entered about the contact; so are the next five.
    pub party_kind: Option<String>,
    pub party_display: Option<String>,
    pub name: Option<String>,
    pub notes: Option<String>,
    pub tags: Vec<String>,
    pub contact_version: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub contact_created_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub contact_updated_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub archived_up_to: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub read_up_to: Option<OffsetDateTime>,
    pub state_version: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub state_updated_at: Option<OffsetDateTime>,
}

row!(
    Entered,
    "entered",
    conversation_id,
    [
        conversation_id,
        party_key,
        party_kind,
        party_display,
        name,
        notes,
        tags,
        contact_version,
        contact_created_at,
        contact_updated_at,
        archived_up_to,
        read_up_to,
        state_version,
        state_updated_at,
    ]
);

/// An event of a contact or of a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Contact(ContactEvent),
    Conversation(ConversationEvent),
}

impl Edit {
    /// Whether an event is about what people enter.
    pub fn is(stored: &StoredEvent) -> bool {
        matches!(stored.aggregate_type.as_str(), "contact" | "conversation")
    }

    /// Nothing for what is about something else.
    pub fn read(stored: &StoredEvent) -> Option<Result<Self, Unreadable>> {
        let StoredEvent { event_type, event_version, payload, .. } = stored;
        let edit = match stored.aggregate_type.as_str() {
            "contact" => ContactEvent::decode(event_type, event_version, payload).map(Self::Contact),
            "conversation" => {
                ConversationEvent::decode(event_type, event_version, payload).map(Self::Conversation)
            }
            _ => return None,
        };
        Some(edit.map_err(|source| stored.unreadable(source)))
    }
}

impl Entered {
    /// Before anybody entered anything.
    pub(crate) fn nothing(ids: &IdKey, party_key: &str) -> Self {
        Self {
            conversation_id: ids.conversation(party_key),
            party_key: party_key.to_owned(),
            party_kind: None,
            party_display: None,
            name: None,
            notes: None,
            tags: Vec::new(),
            contact_version: 0,
            contact_created_at: None,
            contact_updated_at: None,
            archived_up_to: None,
            read_up_to: None,
            state_version: 0,
            state_updated_at: None,
        }
    }

    /// Folds the next event, which is number `sequence` of its stream.
    pub(crate) fn apply(&mut self, edit: Edit, sequence: i64, recorded_at: OffsetDateTime) {
        match edit {
            Edit::Contact(event) => {
                self.contact_version = sequence;
                self.contact_created_at.get_or_insert(recorded_at);
                self.contact_updated_at = Some(recorded_at);
                let party = event.party();
                self.party_kind = Some(party.kind().to_owned());
                self.party_display = Some(party.display());
                match event {
                    ContactEvent::Added { .. } => {}
                    ContactEvent::Renamed { name, .. } => {
                        self.name = name.map(|name| name.as_str().to_owned())
                    }
                    ContactEvent::NotesChanged { notes, .. } => {
                        self.notes = notes.map(|notes| notes.as_str().to_owned());
                    }
                    ContactEvent::TagsChanged { tags, .. } => {
                        self.tags = tags.iter().map(str::to_owned).collect();
                    }
                }
            }
            Edit::Conversation(event) => {
                self.state_version = sequence;
                self.state_updated_at = Some(recorded_at);
                match event {
                    ConversationEvent::Archived { up_to, .. } => self.archived_up_to = Some(up_to),
                    ConversationEvent::Unarchived { .. } => self.archived_up_to = None,
                    ConversationEvent::Read { up_to, .. } => self.read_up_to = Some(up_to),
                }
            }
        }
    }
}

/// Whether a thread is put aside that somebody has archived up to a time. An inbound call that began after what they had
/// seen brings it back.
pub fn is_archived(archived_up_to: Option<OffsetDateTime>, last_inbound_at: Option<OffsetDateTime>) -> bool {
    archived_up_to.is_some_and(|seen| last_inbound_at.is_none_or(|last| last <= seen))
}

/// What a party's events come to, in the order of the log.
pub(crate) fn history(ids: &IdKey, events: &[StoredEvent]) -> Result<Option<Entered>, Unreadable> {
    let mut row = None;
    for event in events {
        let Some(edit) = Edit::read(event) else { continue };
        let row = row.get_or_insert_with(|| Entered::nothing(ids, &event.aggregate_id));
        row.apply(edit?, event.sequence, event.recorded_at);
    }
    Ok(row)
}

/// The parties of a batch about which anything was entered, by conversation, with the read markers that they had
/// before.
pub(crate) type Edited = HashMap<i64, Option<OffsetDateTime>>;

/// Folds the events of a batch that people made into the rows of their parties.
pub(super) async fn fold(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    events: &[StoredEvent],
    held: &HashSet<String>,
) -> Result<Edited, FoldError> {
    let edits: Vec<&StoredEvent> =
        events.iter().filter(|event| Edit::is(event) && !held.contains(&event.aggregate_id)).collect();
    if edits.is_empty() {
        return Ok(Edited::new());
    }
    let keys: BTreeSet<&str> = edits.iter().map(|event| event.aggregate_id.as_str()).collect();
    let keys: Vec<i64> = keys.into_iter().map(|party| ids.conversation(party)).collect();
    let stored: Vec<Entered> = load(connection, generation, &keys).await?;
    let mut edited: Edited = keys.iter().map(|id| (*id, None)).collect();
    edited.extend(stored.iter().map(|row| (row.conversation_id, row.read_up_to)));
    let mut parties: HashMap<i64, Entered> =
        stored.into_iter().map(|row| (row.conversation_id, row)).collect();
    for event in edits {
        let Some(edit) = Edit::read(event) else { continue };
        let party = &event.aggregate_id;
        let row = parties.entry(ids.conversation(party)).or_insert_with(|| Entered::nothing(ids, party));
        row.apply(edit?, event.sequence, event.recorded_at);
    }
    let rows: Vec<Entered> = parties.into_values().collect();
    rows::replace(connection, generation, &keys, &rows).await?;
    Ok(edited)
}

/// Puts a row in the place of what is stored for a party.
pub(crate) async fn replace(
    connection: &mut PgConnection,
    generation: Generation,
    conversation_id: i64,
    row: Option<Entered>,
) -> sqlx::Result<Edited> {
    let before = load(connection, generation, &[conversation_id]).await?.pop();
    let row: Vec<Entered> = row.into_iter().collect();
    rows::replace(connection, generation, &[conversation_id], &row).await?;
    Ok(Edited::from([(conversation_id, before.and_then(|row| row.read_up_to))]))
}

/// What was entered about the parties of these conversations.
pub(crate) async fn load(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
) -> sqlx::Result<Vec<Entered>> {
    rows::load(connection, generation, "conversation_id", conversations).await
}
