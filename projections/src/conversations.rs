//! The fold that makes contacts, conversations and messages of the log.
//!
//! Two levels, and only the first depends on order: [`leg`] folds each call's own events into a row;
//! [`family`], [`message`] and [`thread`] are order-free functions of those rows. A batch loads the rows it
//! touches, folds, and stores what came out, in the caller's transaction.

mod family;
mod leg;
pub(crate) mod message;
mod rows;
#[cfg(test)]
mod tests;
pub(crate) mod thread;

use std::collections::{BTreeSet, HashMap};

use domain::call::CallEvent;
use domain::call::event::DecodeError;
use sqlx::PgConnection;

pub use leg::Leg;
pub use message::Message;
pub use thread::{Contact, Conversation};

use crate::generation::Generation;
use crate::ids::IdKey;
use crate::log::StoredEvent;
use family::Family;
use thread::{PartyOf, Threads};

/// Why a batch could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error("the event at position {position} ({aggregate_id}, number {sequence}) cannot be read")]
    Event {
        position: i64,
        aggregate_id: String,
        sequence: i64,
        #[source]
        source: DecodeError,
    },
    #[error("the read model's rows could not be read or stored")]
    Rows(#[from] sqlx::Error),
}

/// Folds a batch of events, in log order, into the rows of a generation.
pub async fn fold(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    events: &[StoredEvent],
) -> Result<(), FoldError> {
    let touched = fold_legs(connection, generation, events).await?;
    Ok(refold(connection, generation, ids, touched).await?)
}

/// Level one. Returns the SIDs whose families are to be computed again.
async fn fold_legs(
    connection: &mut PgConnection,
    generation: Generation,
    events: &[StoredEvent],
) -> Result<BTreeSet<String>, FoldError> {
    let calls: Vec<&StoredEvent> = events.iter().filter(|event| event.aggregate_type == "call").collect();
    let sids: BTreeSet<&str> = calls.iter().map(|event| event.aggregate_id.as_str()).collect();
    let sids: Vec<&str> = sids.into_iter().collect();
    let mut legs: HashMap<&str, Option<Leg>> = sids.iter().map(|sid| (*sid, None)).collect();
    let mut touched = BTreeSet::new();
    for leg in leg::load(connection, generation, &sids).await? {
        // A leg whose parent turns out to be another leaves a family behind.
        touched.insert(leg.root_call_sid.clone());
        if let Some(known) = legs.get_mut(leg.call_sid.as_str()) {
            *known = Some(leg);
        }
    }
    for stored in calls {
        let event = CallEvent::decode(&stored.event_type, &stored.event_version, &stored.payload).map_err(
            |source| FoldError::Event {
                position: stored.position,
                aggregate_id: stored.aggregate_id.clone(),
                sequence: stored.sequence,
                source,
            },
        )?;
        let row = legs.entry(stored.aggregate_id.as_str()).or_default();
        Leg::fold(row, &stored.aggregate_id, event, stored.recorded_at);
    }
    let legs: Vec<Leg> = legs.into_values().flatten().collect();
    rows::upsert(connection, generation, &leg::TABLE, &legs).await?;
    touched.extend(legs.into_iter().flat_map(|leg| [leg.root_call_sid, leg.call_sid]));
    Ok(touched)
}

/// Level two: computes the families of these calls again, from their legs.
async fn refold(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    touched: BTreeSet<String>,
) -> sqlx::Result<()> {
    let legs = load_families(connection, generation, touched).await?;
    let families = Family::assemble(&legs);
    let mut parties = HashMap::new();
    let mut after = Vec::new();
    for family in &families {
        let messages = message::messages(family, ids);
        if let Some(party) = family.placed_by().and_then(PartyOf::leg) {
            parties.insert(ids.conversation(&party.key), party);
        }
        after.extend(messages);
    }
    let message_ids: Vec<i64> = after.iter().map(|message| message.id).collect();
    let before: Vec<Message> =
        rows::load(connection, generation, &message::TABLE, "id", &message_ids).await?;
    let threads = Threads::compute(connection, generation, ids, &before, &after, &parties).await?;
    threads.store(connection, generation).await?;
    rows::upsert(connection, generation, &message::TABLE, &after).await?;
    threads.prune(connection, generation).await
}

/// All legs that are connected to these calls by parent SIDs, however far up or down.
async fn load_families(
    connection: &mut PgConnection,
    generation: Generation,
    mut wanted: BTreeSet<String>,
) -> sqlx::Result<HashMap<String, Leg>> {
    let mut legs: HashMap<String, Leg> = HashMap::new();
    let mut asked = BTreeSet::new();
    while !wanted.is_empty() {
        let keys: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut found = leg::load_families(connection, generation, &keys).await?;
        // A child that is somebody's parent is not among its own children.
        found.extend(leg::load(connection, generation, &keys).await?);
        asked.append(&mut wanted);
        for leg in found {
            for sid in [&leg.call_sid, &leg.root_call_sid] {
                if !asked.contains(sid) {
                    wanted.insert(sid.clone());
                }
            }
            legs.insert(leg.call_sid.clone(), leg);
        }
    }
    Ok(legs)
}
