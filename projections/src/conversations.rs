//! The fold that makes contacts, conversations and messages of the log.
//!
//! Two levels, and only the first depends on order: [`leg`] folds each call's own events into a row;
//! [`family`], [`message`] and [`thread`] are order-free functions of those rows, and of what people have entered
//! ([`entered`]). Live, a batch loads the rows
//! it touches, folds, and stores what came out, in the caller's transaction ([`fold`]); a rebuild keeps them in
//! memory until they are finished ([`crate::rebuild`]).

pub(crate) mod entered;
pub(crate) mod family;
pub(crate) mod leg;
pub(crate) mod message;
pub(crate) mod rows;
pub(crate) mod sums;
#[cfg(test)]
mod tests;
pub(crate) mod thread;
pub(crate) mod threads;

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::call::event::Told;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use entered::{Entered, is_archived};
pub use leg::Leg;
pub use message::{Message, Metadata as MessageMetadata};
pub use thread::{Contact, ContactMetadata, Conversation, ConversationMetadata};

use crate::generation::{FOLD_VERSION, Generation};
use crate::ids::IdKey;
use crate::log::{StoredEvent, Unreadable};
use crate::quarantine;
use entered::Edited;
use family::Family;
use sums::Part;
use thread::PartyOf;
use threads::{Batch, Threads};

/// How rows are made of events.
#[derive(Clone, Debug)]
pub struct Fold {
    pub(crate) ids: IdKey,
    pub(crate) version: i32,
    amend: Option<fn(&mut Leg)>,
}

impl From<&IdKey> for Fold {
    /// The fold of this binary.
    fn from(ids: &IdKey) -> Self {
        Self { ids: ids.clone(), version: FOLD_VERSION, amend: None }
    }
}

impl Fold {
    /// A fold of another version, which makes something else of a leg: what a dry run is to show before it is
    /// written down as code, and what a newer or an older callbook beside this one would do.
    pub fn amended(self, version: i32, amend: fn(&mut Leg)) -> Self {
        Self { version, amend: Some(amend), ..self }
    }

    /// Folds the next event of a call into its row.
    pub(crate) fn apply(&self, leg: &mut Leg, event: Told, recorded_at: OffsetDateTime) {
        leg.apply(event, recorded_at);
        if let Some(amend) = self.amend {
            amend(leg);
        }
    }
}

/// Why a batch could not be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error(transparent)]
    Event(#[from] Unreadable),
    #[error("the read model's rows could not be read or stored")]
    Rows(#[from] sqlx::Error),
}

impl FoldError {
    /// Whether an event is at fault, rather than the database or the way to it.
    pub fn is_poison(&self) -> bool {
        match self {
            Self::Event(_) => true,
            Self::Rows(error) => is_poison(error),
        }
    }
}

/// Whether a row is at fault: it cannot be encoded, or it is refused with a data exception (SQLSTATE 22) or a
/// broken constraint (23).
pub(crate) fn is_poison(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
        }
        _ => false,
    }
}

/// Folds a batch of events, in log order, into the rows of a generation whose lock is held.
pub async fn fold(
    connection: &mut PgConnection,
    generation: Generation,
    fold: &Fold,
    events: &[StoredEvent],
) -> Result<(), FoldError> {
    let held = quarantine::held(connection, generation).await?;
    let edited = entered::fold(connection, generation, &fold.ids, events, &held).await?;
    let touched = fold_legs(connection, generation, fold, events, held).await?;
    Ok(refold(connection, generation, &fold.ids, touched, &edited).await?)
}

/// Level one. Returns the SIDs whose families are to be computed again.
async fn fold_legs(
    connection: &mut PgConnection,
    generation: Generation,
    fold: &Fold,
    events: &[StoredEvent],
    mut held: HashSet<String>,
) -> Result<BTreeSet<String>, FoldError> {
    let calls: Vec<&StoredEvent> = events
        .iter()
        .filter(|event| event.aggregate_type == "call" && !held.contains(&event.aggregate_id))
        .collect();
    let sids: BTreeSet<&str> = calls.iter().map(|event| event.aggregate_id.as_str()).collect();
    let sids: Vec<&str> = sids.into_iter().collect();
    let mut legs: HashMap<&str, Option<Leg>> = sids.iter().map(|sid| (*sid, None)).collect();
    let (mut touched, mut old) = (BTreeSet::new(), Vec::new());
    for leg in leg::load(connection, generation, &sids).await? {
        // A leg whose parent turns out to be another leaves a family behind.
        touched.insert(leg.root_call_sid.clone());
        old.push(leg.call_sid.clone());
        if let Some(known) = legs.get_mut(leg.call_sid.as_str()) {
            *known = Some(leg);
        }
    }
    for stored in calls {
        if held.contains(&stored.aggregate_id) {
            continue;
        }
        let event = stored.told()?;
        if let Some(parent) = &event.facts.parent_call_sid
            && held.contains(parent.as_str())
        {
            quarantine::join(connection, generation, &stored.aggregate_id, parent.as_str(), stored).await?;
            held.insert(stored.aggregate_id.clone());
            continue;
        }
        let row = legs.entry(stored.aggregate_id.as_str()).or_default();
        let leg = row.get_or_insert_with(|| Leg::unknown(&stored.aggregate_id, stored.recorded_at));
        fold.apply(leg, event, stored.recorded_at);
    }
    let legs: Vec<Leg> = legs.into_values().flatten().collect();
    rows::replace(connection, generation, &old, &legs).await?;
    touched.extend(legs.into_iter().flat_map(|leg| [leg.root_call_sid, leg.call_sid]));
    Ok(touched)
}

/// Puts legs in the place of those that are stored for these calls, and computes their families again.
pub(crate) async fn replace_legs(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    call_sids: &[String],
    legs: Vec<Leg>,
) -> Result<(), FoldError> {
    let keys: Vec<&str> = call_sids.iter().map(String::as_str).collect();
    let old = leg::load(connection, generation, &keys).await?;
    rows::replace(connection, generation, call_sids, &legs).await?;
    let touched = old.into_iter().chain(legs).flat_map(|leg| [leg.root_call_sid, leg.call_sid]).collect();
    Ok(refold(connection, generation, ids, touched, &Edited::new()).await?)
}

/// Puts what was entered about a party in the place of what is stored, and computes its thread again.
pub(crate) async fn replace_entered(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    party: &str,
    row: Option<Entered>,
) -> Result<(), FoldError> {
    let edited = entered::replace(connection, generation, ids.conversation(party), row).await?;
    Ok(refold(connection, generation, ids, BTreeSet::new(), &edited).await?)
}

/// Level two: computes the families of these calls again, from their legs as they are stored, and the threads about
/// which anything was entered.
pub(crate) async fn refold(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    touched: BTreeSet<String>,
    edited: &Edited,
) -> sqlx::Result<()> {
    if touched.is_empty() && edited.is_empty() {
        return Ok(());
    }
    let legs = load_families(connection, generation, touched).await?;
    let (messages, parties) = level_two(&legs, ids);
    let keys: Vec<i64> = messages.iter().map(|message| message.id).collect();
    let old = threads::stored_parts(connection, generation, &keys).await?;
    let new: Vec<Part> = messages.iter().filter_map(Part::of).collect();
    let batch = Batch { old: &old, new: &new, parties: &parties, edited };
    let threads = Threads::compute(connection, generation, ids, batch).await?;
    threads.store(connection, generation).await?;
    rows::replace(connection, generation, &keys, &messages).await
}

/// The messages of the families that these legs make, and the party of each thread that they belong to.
pub(crate) fn level_two(legs: &HashMap<String, Leg>, ids: &IdKey) -> (Vec<Message>, HashMap<i64, PartyOf>) {
    let mut parties = HashMap::new();
    let mut messages = Vec::new();
    for family in Family::assemble(legs) {
        if let Some(party) = family.placed_by().and_then(PartyOf::leg) {
            parties.insert(ids.conversation(&party.key), party);
        }
        messages.extend(message::messages(&family, ids));
    }
    (messages, parties)
}

/// All legs that are connected to these calls by parent SIDs, however far up or down.
pub(crate) async fn load_families(
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
