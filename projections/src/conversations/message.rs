//! A message for each leg; the entry message stands for its whole family.

use domain::call::CallStatus;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::family::{Family, Merged, wait_time};
use super::leg::Leg;
use super::rows::row;
use crate::ids::IdKey;

/// A row of `messages`. Durations are seconds, times UTC.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Message {
    pub id: i64,
    pub conversation_id: Option<i64>,
    pub twilio_sid: String,
    pub root_call_sid: String,
    pub parent_call_sid: Option<String>,
    pub entry: bool,
    pub live: bool,
    pub hidden_reason: Option<String>,
    pub direction: String,
    pub status: String,
    pub display_status: String,
    pub missed: bool,
    pub from_number: String,
    pub to_number: String,
    pub duration: Option<i32>,
    pub total_duration: Option<i32>,
    pub talk_time: Option<i32>,
    pub wait_time: Option<i32>,
    pub line: Option<String>,
    pub caller_name: Option<String>,
    pub price: Option<Decimal>,
    pub price_unit: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub start_time: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub answered_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub end_time: Option<OffsetDateTime>,
    pub recording_sid: Option<String>,
    pub recording_url: Option<String>,
    pub metadata: Json<Metadata>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_event_time: Option<OffsetDateTime>,
    pub is_final: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finalized_at: Option<OffsetDateTime>,
    pub sync_state: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// `messages.metadata`: the fields of seeds 000 and 001 under the names that each has. In the order in which `jsonb`
/// keeps keys, shorter ones first, so that the database has nothing to sort.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MessageMetadata)]
pub struct Metadata {
    pub to: String,
    pub from: String,
    pub missed: bool,
    #[schema(value_type = String)]
    pub status: CallStatus,
    pub call_sid: String,
    pub duration: Option<i32>,
    #[serde(rename = "hasParent")]
    pub has_parent: bool,
    pub talk_time: Option<i32>,
    pub to_number: String,
    pub wait_time: Option<i32>,
    pub end_reason: Option<String>,
    pub queue_time: Option<i32>,
    pub answered_by: Option<String>,
    pub caller_name: Option<String>,
    pub from_number: String,
    pub recording_url: Option<String>,
    pub twilio_status: Option<String>,
    #[schema(value_type = String)]
    pub display_status: CallStatus,
    pub forwarded_from: Option<String>,
    pub total_duration: Option<i32>,
    pub parent_call_sid: Option<String>,
    /// Seed 000 has it under both spellings.
    #[serde(rename = "twilioDirection")]
    pub twilio_direction_again: Option<String>,
    pub actual_direction: String,
    pub twilio_direction: Option<String>,
    pub merged_from_parent: bool,
}

row!(
    Message,
    "messages",
    id,
    [
        id,
        conversation_id,
        twilio_sid,
        root_call_sid,
        parent_call_sid,
        entry,
        live,
        hidden_reason,
        direction,
        status,
        display_status,
        missed,
        from_number,
        to_number,
        duration,
        total_duration,
        talk_time,
        wait_time,
        line,
        caller_name,
        price,
        price_unit,
        start_time,
        answered_at,
        end_time,
        recording_sid,
        recording_url,
        metadata,
        last_event_time,
        is_final,
        finalized_at,
        sync_state,
        created_at,
        updated_at,
    ]
);

/// The part of a name that is searched; the whole one is in `metadata`. An index takes no more than 2,704 bytes, and what
/// networks send has no limit.
fn sought(name: &str) -> String {
    name.chars().take(200).collect()
}

/// What a family makes of one of its legs, where it differs between root, child and orphan.
struct Role {
    entry: bool,
    live: bool,
    display_status: CallStatus,
    missed: bool,
    total_duration: Option<i32>,
    talk_time: Option<i32>,
    wait_time: Option<i32>,
    merged_from_parent: bool,
}

/// The messages of a family: one a leg, in the order of the legs.
pub(crate) fn messages(family: &Family<'_>, ids: &IdKey) -> Vec<Message> {
    let merged = family.root.map(|root| (root, family.merged(root)));
    let conversation_id = match family.hidden_reason() {
        Some(_) => None,
        None => family.placed_by().and_then(|leg| leg.party_key.as_deref()).map(|key| ids.conversation(key)),
    };
    family
        .legs()
        .map(|leg| {
            let role = match &merged {
                Some((root, merged)) if root.call_sid == leg.call_sid => root_role(merged),
                Some((_, merged)) => child_role(family, leg, merged),
                None => orphan_role(family, leg),
            };
            message(family, leg, role, conversation_id, ids)
        })
        .collect()
}

fn root_role(merged: &Merged) -> Role {
    Role {
        entry: true,
        live: merged.live,
        display_status: merged.display_status,
        missed: merged.missed,
        total_duration: merged.total_duration,
        talk_time: merged.talk_time,
        wait_time: wait_time(merged.total_duration, merged.talk_time),
        merged_from_parent: false,
    }
}

/// Seed 000: a child inherits its parent's duration as the total, and its own becomes talk time.
fn child_role(family: &Family<'_>, leg: &Leg, merged: &Merged) -> Role {
    let reached = family.reached(leg);
    let talk_time = match reached.status.is_final() {
        true if reached.connected => reached.duration,
        true => Some(0),
        false => None,
    };
    Role {
        entry: false,
        live: !reached.status.is_final(),
        display_status: reached.status,
        missed: false,
        total_duration: merged.total_duration,
        talk_time,
        wait_time: wait_time(merged.total_duration, talk_time),
        merged_from_parent: true,
    }
}

/// The root has not been seen: the leg shows as live, in no thread, until it comes.
fn orphan_role(family: &Family<'_>, leg: &Leg) -> Role {
    let reached = family.reached(leg);
    Role {
        entry: true,
        live: !reached.status.is_final(),
        display_status: reached.status,
        missed: false,
        total_duration: None,
        talk_time: None,
        wait_time: None,
        merged_from_parent: false,
    }
}

fn message(family: &Family<'_>, leg: &Leg, role: Role, conversation_id: Option<i64>, ids: &IdKey) -> Message {
    let reached = family.reached(leg);
    let recording_sid = leg
        .playable()
        .or_else(|| role.entry.then(|| family.legs().find_map(Leg::playable)).flatten())
        .map(|sid| sid.as_str().to_owned());
    let recording_url = recording_sid.as_ref().map(|sid| format!("/api/recordings/{sid}/media"));
    let (from, to) = (leg.from_number.clone().unwrap_or_default(), leg.to_number.clone().unwrap_or_default());
    let direction = leg.direction.clone().unwrap_or_default();
    let is_final = reached.status.is_final();
    let created_at = if role.entry {
        family.legs().map(|leg| leg.created_at).min().unwrap_or(leg.created_at)
    } else {
        leg.created_at
    };
    let updated_at = family.legs().map(|leg| leg.updated_at).max().unwrap_or(leg.updated_at);
    let metadata = Json(Metadata {
        actual_direction: direction.clone(),
        answered_by: leg.answered_by.clone(),
        call_sid: leg.call_sid.clone(),
        caller_name: leg.caller_name.clone(),
        display_status: role.display_status,
        duration: reached.duration,
        end_reason: leg.end_reason.clone(),
        forwarded_from: leg.forwarded_from.clone(),
        from: from.clone(),
        from_number: from.clone(),
        has_parent: leg.parent_call_sid.is_some(),
        merged_from_parent: role.merged_from_parent,
        missed: role.missed,
        parent_call_sid: leg.parent_call_sid.clone(),
        queue_time: leg.queue_time,
        recording_url: recording_url.clone(),
        status: reached.status,
        talk_time: role.talk_time,
        to: to.clone(),
        to_number: to.clone(),
        total_duration: role.total_duration,
        twilio_direction_again: leg.twilio_direction.clone(),
        twilio_direction: leg.twilio_direction.clone(),
        twilio_status: leg.status.clone(),
        wait_time: role.wait_time,
    });
    Message {
        id: ids.message(&leg.call_sid),
        conversation_id,
        twilio_sid: leg.call_sid.clone(),
        root_call_sid: family.key.to_owned(),
        parent_call_sid: leg.parent_call_sid.clone(),
        entry: role.entry,
        live: role.live,
        hidden_reason: family.hidden_reason().map(str::to_owned),
        direction,
        status: reached.status.as_str().to_owned(),
        display_status: role.display_status.as_str().to_owned(),
        missed: role.missed,
        from_number: from,
        to_number: to,
        duration: reached.duration,
        total_duration: role.total_duration,
        talk_time: role.talk_time,
        wait_time: role.wait_time,
        caller_name: leg.caller_name.as_deref().filter(|_| role.entry).map(sought),
        line: family.line().filter(|_| role.entry).map(str::to_owned),
        price: leg.price,
        price_unit: leg.price_unit.clone(),
        // What has no start is hidden, and is here in the order in which it was heard of.
        start_time: leg.started_at.unwrap_or(leg.created_at),
        answered_at: leg.answered_at,
        end_time: reached.ended_at,
        recording_sid,
        recording_url,
        metadata,
        last_event_time: leg.last_event_time,
        is_final,
        finalized_at: reached.ended_at,
        sync_state: if leg.frozen { "frozen" } else { "active" }.to_owned(),
        created_at,
        updated_at,
    }
}
