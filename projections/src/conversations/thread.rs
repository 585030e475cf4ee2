//! Contacts and conversations: what the families of one external party come to, and what people have entered about it.

use domain::direction::Party;
use domain::phone::PhoneNumber;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::entered::{Entered, is_archived};
use super::leg::Leg;
use super::rows::row;
use super::sums::Sums;
use crate::ids::IdKey;

/// A row of `contacts`.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Contact {
    pub id: i64,
    pub phone_number: String,
    pub formatted_number: Option<String>,
    /// The name that people gave it, else the number as people read it.
    pub display_name: Option<String>,
    /// What people have entered, and nothing else.
    pub name: Option<String>,
    pub notes: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Json<ContactMetadata>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// `contacts.metadata`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContactMetadata {
    pub formatted_number: String,
    pub country_code: Option<String>,
}

row!(
    Contact,
    "contacts",
    id,
    [id, phone_number, formatted_number, display_name, name, notes, tags, metadata, created_at, updated_at,]
);

/// A row of `conversations`. `total_duration` is in seconds and `total_calls` counts families.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Conversation {
    pub id: i64,
    pub contact_id: Option<i64>,
    pub external_id: String,
    pub subject: Option<String>,
    pub status: String,
    #[serde(with = "time::serde::rfc3339")]
    pub last_message_at: OffsetDateTime,
    pub last_message_id: i64,
    pub total_calls: i64,
    pub total_duration: i64,
    pub last_call_direction: String,
    /// When the newest inbound call began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_inbound_at: Option<OffsetDateTime>,
    /// Missed calls that ended after the read marker.
    pub unread_count: i64,
    pub metadata: Json<ConversationMetadata>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// `conversations.metadata`: seed 001's counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConversationMetadata {
    pub total_calls: i64,
    pub total_duration: i64,
    pub last_call_direction: String,
}

row!(
    Conversation,
    "conversations",
    id,
    [
        id,
        contact_id,
        external_id,
        subject,
        status,
        last_message_at,
        last_message_id,
        total_calls,
        total_duration,
        last_call_direction,
        last_inbound_at,
        unread_count,
        metadata,
        created_at,
        updated_at,
    ]
);

/// The external party of a thread, as a leg has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartyOf {
    pub key: String,
    pub kind: String,
    pub display: String,
}

impl PartyOf {
    pub fn leg(leg: &Leg) -> Option<Self> {
        Some(Self {
            key: leg.party_key.clone()?,
            kind: leg.party_kind.clone()?,
            display: leg.party_display.clone()?,
        })
    }

    /// Of a number, where it tells. Asked once a thread, because it takes as long as everything else about a leg.
    fn country(&self) -> Option<String> {
        let number = (self.kind == "number").then(|| PhoneNumber::try_new(&self.key).ok()).flatten()?;
        number.country()
    }

    /// Of whom people have entered anything.
    pub fn entered(entered: &Entered) -> Option<Self> {
        Some(Self {
            key: entered.party_key.clone(),
            kind: entered.party_kind.clone()?,
            display: entered.party_display.clone()?,
        })
    }

    /// The rows of this party's thread.
    pub fn rows(
        &self,
        ids: &IdKey,
        sums: &Sums,
        entered: Option<&Entered>,
    ) -> (Conversation, Option<Contact>) {
        let contact = self.contact(ids, Some(sums.created_at), entered);
        let conversation = Conversation {
            id: ids.conversation(&self.key),
            contact_id: contact.as_ref().map(|contact| contact.id),
            external_id: self.key.clone(),
            subject: Some(format!("Calls with {}", self.display)),
            status: String::new(),
            last_message_at: sums.newest.start_time,
            last_message_id: sums.newest.message_id,
            total_calls: sums.total_calls,
            total_duration: sums.total_duration,
            last_call_direction: sums.newest.direction.clone(),
            last_inbound_at: sums.last_inbound_at,
            unread_count: sums.unread,
            metadata: Json(sums.metadata()),
            created_at: sums.created_at,
            updated_at: sums.updated_at,
        };
        (conversation.renewed(sums, entered), contact)
    }

    /// The contact, whose first call was heard of at `since`.
    pub fn contact(
        &self,
        ids: &IdKey,
        since: Option<OffsetDateTime>,
        entered: Option<&Entered>,
    ) -> Option<Contact> {
        // Withheld callers cannot be told apart, so nobody can be named or called back.
        if self.kind == Party::Withheld.kind() {
            return None;
        }
        let contact = Contact {
            id: ids.contact(&self.key),
            phone_number: self.key.clone(),
            formatted_number: Some(self.display.clone()),
            display_name: None,
            name: None,
            notes: None,
            tags: Vec::new(),
            metadata: Json(ContactMetadata {
                formatted_number: self.display.clone(),
                country_code: self.country(),
            }),
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
        };
        contact.renewed(since, entered)
    }
}

impl Contact {
    /// The same party's contact now. Calls make a contact, and do not change it; nothing is left without either.
    pub(crate) fn renewed(self, since: Option<OffsetDateTime>, entered: Option<&Entered>) -> Option<Self> {
        let entered = entered.filter(|entered| entered.contact_version > 0);
        let first = since.into_iter().chain(entered.and_then(|entered| entered.contact_created_at)).min()?;
        let last = since.into_iter().chain(entered.and_then(|entered| entered.contact_updated_at)).max()?;
        let name = entered.and_then(|entered| entered.name.clone());
        Some(Self {
            display_name: name.clone().or_else(|| self.formatted_number.clone()),
            name,
            notes: entered.and_then(|entered| entered.notes.clone()),
            tags: entered.map(|entered| entered.tags.clone()).unwrap_or_default(),
            created_at: first,
            updated_at: last,
            ..self
        })
    }
}

impl Conversation {
    /// The same party's thread now. What people do with it changes it too.
    pub(crate) fn renewed(self, sums: &Sums, entered: Option<&Entered>) -> Self {
        let is_archived =
            is_archived(entered.and_then(|entered| entered.archived_up_to), sums.last_inbound_at);
        let done_at = entered.and_then(|entered| entered.state_updated_at);
        Self {
            status: if is_archived { "archived" } else { "active" }.to_owned(),
            last_message_at: sums.newest.start_time,
            last_message_id: sums.newest.message_id,
            total_calls: sums.total_calls,
            total_duration: sums.total_duration,
            last_call_direction: sums.newest.direction.clone(),
            last_inbound_at: sums.last_inbound_at,
            unread_count: sums.unread,
            metadata: Json(sums.metadata()),
            created_at: sums.created_at,
            updated_at: done_at.map_or(sums.updated_at, |at| at.max(sums.updated_at)),
            ..self
        }
    }
}
