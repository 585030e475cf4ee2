//! Families, and what people entered about a party, that are not folded any further, because an event of theirs cannot be.
//!
//! What cannot be read or stored (decoding, SQLSTATE 22 and 23) would stop the fold; so the family it belongs
//! to is set aside as it was before that event, its thread is marked stale, and everything else goes on.
//! Nothing is lost: the events stay in the log, and [`retry`] folds them once what was wrong is mended.

use std::collections::{BTreeSet, HashMap, HashSet};

use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use crate::begin::begin;
use crate::conversations::entered::{self, Edit};
use crate::conversations::{self, Fold, FoldError, Leg};
use crate::generation::Generation;
use crate::ids::IdKey;
use crate::log::{self, StoredEvent};
use crate::projector::ProjectError;

/// A call that was set aside with its family, or what people have entered about a party.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Quarantined {
    /// `call`, else the aggregate whose event it was: `contact` or `conversation`.
    pub aggregate_type: String,
    /// The natural key of the party where it is no call.
    pub call_sid: String,
    pub root_call_sid: String,
    /// The thread that is stale meanwhile.
    pub conversation_id: Option<i64>,
    /// The event that could not be folded.
    pub position: i64,
    /// Why; may quote what the event says.
    pub reason: String,
    pub quarantined_at: OffsetDateTime,
}

/// What became of a retry. Calls and parties, not families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    pub released: Vec<String>,
    /// Those that still cannot be folded, and why.
    pub kept: Vec<(String, String)>,
}

/// What is set aside in the build that serves, in the order of the log.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<Quarantined>> {
    let generation = Generation::current(connection).await?;
    list_in(connection, generation).await
}

/// How many calls are set aside in the build that serves.
pub async fn count(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let generation = Generation::current(connection).await?;
    let query = format!("select count(*) from {generation}.quarantine");
    sqlx::query_scalar(&query).fetch_one(connection).await
}

pub(crate) async fn list_in(
    connection: &mut PgConnection,
    generation: Generation,
) -> sqlx::Result<Vec<Quarantined>> {
    let query = format!(
        "select aggregate_type, call_sid, root_call_sid, conversation_id, position, reason, quarantined_at
           from {generation}.quarantine
          order by position, call_sid"
    );
    sqlx::query_as(&query).fetch_all(connection).await
}

/// The calls and parties that a fold passes over.
pub(crate) async fn held(
    connection: &mut PgConnection,
    generation: Generation,
) -> sqlx::Result<HashSet<String>> {
    let query = format!("select call_sid from {generation}.quarantine");
    let held: Vec<String> = sqlx::query_scalar(&query).fetch_all(connection).await?;
    Ok(held.into_iter().collect())
}

/// Sets the family of an event aside, as it was before.
pub(crate) async fn set_aside(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    event: &StoredEvent,
    error: &FoldError,
) -> sqlx::Result<()> {
    if Edit::is(event) {
        return set_party_aside(connection, generation, ids, event, error).await;
    }
    let legs =
        conversations::load_families(connection, generation, BTreeSet::from([event.aggregate_id.clone()]))
            .await?;
    let mut family: BTreeSet<&str> = legs.keys().map(String::as_str).collect();
    family.insert(&event.aggregate_id);
    // The reason may quote the event, so the line has the place alone.
    tracing::error!(
        call.sid = event.aggregate_id,
        event.position = event.position,
        calls = family.len(),
        "the event at position {} cannot be folded; its call is quarantined: see `callbook quarantine list`",
        event.position
    );
    let root = legs.get(&event.aggregate_id).map_or(event.aggregate_id.as_str(), |leg| &leg.root_call_sid);
    let family: Vec<&str> = family.into_iter().collect();
    insert(connection, generation, &family, root, event.position, &crate::chain(error)).await
}

/// Sets aside what people have entered about a party. Its calls are folded on.
async fn set_party_aside(
    connection: &mut PgConnection,
    generation: Generation,
    ids: &IdKey,
    event: &StoredEvent,
    error: &FoldError,
) -> sqlx::Result<()> {
    // The party is a person, so the line has the place alone.
    tracing::error!(
        event.position = event.position,
        "the event at position {} cannot be folded; what people enter about its {} is quarantined: see \
         `callbook quarantine list`",
        event.position,
        event.aggregate_type
    );
    let query = format!(
        "insert into {generation}.quarantine
                (aggregate_type, call_sid, root_call_sid, conversation_id, position, reason)
         values ($1, $2, $2, $3, $4, $5)
         on conflict (call_sid) do nothing"
    );
    sqlx::query(&query)
        .bind(&event.aggregate_type)
        .bind(&event.aggregate_id)
        .bind(ids.conversation(&event.aggregate_id))
        .bind(event.position)
        .bind(crate::chain(error).replace('\0', ""))
        .execute(connection)
        .await
        .map(drop)
}

/// Sets a leg aside that has come to a family which is.
pub(crate) async fn join(
    connection: &mut PgConnection,
    generation: Generation,
    call_sid: &str,
    parent: &str,
    event: &StoredEvent,
) -> sqlx::Result<()> {
    let reason = format!("its parent {parent} is quarantined");
    insert(connection, generation, &[call_sid], parent, event.position, &reason).await
}

async fn insert(
    connection: &mut PgConnection,
    generation: Generation,
    call_sids: &[&str],
    root: &str,
    position: i64,
    reason: &str,
) -> sqlx::Result<()> {
    let query = format!(
        "insert into {generation}.quarantine
                (aggregate_type, call_sid, root_call_sid, conversation_id, position, reason)
         select 'call', call_sid, $2, (select max(conversation_id) from {generation}.messages
                                where twilio_sid = any($1 || $2::text)), $3, $4
           from unnest($1::text[]) as call_sid
         on conflict (call_sid) do nothing"
    );
    sqlx::query(&query)
        .bind(call_sids)
        .bind(root)
        .bind(position)
        // A message of the database may hold what a text cannot.
        .bind(reason.replace('\0', ""))
        .execute(connection)
        .await
        .map(drop)
}

/// Folds again from its whole history what is quarantined: everything, or the family or party of `call_sid`.
///
/// What still cannot be folded stays where it is.
pub async fn retry(pool: &PgPool, fold: &Fold, call_sid: Option<&str>) -> Result<Retried, ProjectError> {
    let mut retried = Retried::default();
    let all = list(&mut *pool.acquire().await?).await?;
    let (calls, parties): (Vec<_>, Vec<_>) = all.into_iter().partition(|held| held.aggregate_type == "call");
    let families = families(calls).into_iter().map(|family| (Kind::Family, family));
    let parties = parties.into_iter().map(|party| (Kind::Party, BTreeSet::from([party.call_sid])));
    for (kind, family) in families.chain(parties) {
        if call_sid.is_some_and(|wanted| !family.contains(wanted)) {
            continue;
        }
        match release(pool, fold, kind, &family).await {
            Ok(()) => retried.released.extend(family),
            Err(ProjectError::Fold(error)) if error.is_poison() => {
                let reason = crate::chain(&error);
                retried.kept.extend(family.into_iter().map(|sid| (sid, reason.clone())));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(retried)
}

/// Calls that were set aside together, or because of one another.
fn families(calls: Vec<Quarantined>) -> Vec<BTreeSet<String>> {
    let mut families: Vec<BTreeSet<String>> = Vec::new();
    for call in calls {
        let names = BTreeSet::from([call.call_sid, call.root_call_sid]);
        let (mut together, apart): (Vec<_>, Vec<_>) =
            families.into_iter().partition(|family| !family.is_disjoint(&names));
        together.push(names);
        families = apart;
        families.push(together.into_iter().flatten().collect());
    }
    families
}

/// What is folded again together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Calls.
    Family,
    /// What people have entered about one party.
    Party,
}

async fn release(
    pool: &PgPool,
    fold: &Fold,
    kind: Kind,
    family: &BTreeSet<String>,
) -> Result<(), ProjectError> {
    let mut tx = begin(pool, "begin").await?;
    let (generation, checkpoint) = Generation::lock_current(&mut tx).await?;
    if checkpoint.fold_version != fold.version {
        return Err(ProjectError::OtherFold { tables: checkpoint.fold_version, ours: fold.version });
    }
    let keys: Vec<String> = family.iter().cloned().collect();
    match kind {
        Kind::Family => {
            let events = log::read_calls(&mut tx, &keys, checkpoint.position).await?;
            let legs = history(fold, &events)?;
            conversations::replace_legs(&mut tx, generation, &fold.ids, &keys, legs).await?;
        }
        Kind::Party => {
            let events = log::read_entered(&mut tx, &keys, checkpoint.position).await?;
            for party in &keys {
                let row = entered::history(&fold.ids, &events).map_err(FoldError::from)?;
                conversations::replace_entered(&mut tx, generation, &fold.ids, party, row).await?;
            }
        }
    }
    let query = format!("delete from {generation}.quarantine where call_sid = any($1)");
    sqlx::query(&query).bind(&keys).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// The legs that a history makes, from nothing.
fn history(fold: &Fold, events: &[StoredEvent]) -> Result<Vec<Leg>, FoldError> {
    let mut legs: HashMap<&str, Leg> = HashMap::new();
    for stored in events {
        let event = stored.told()?;
        let leg = legs
            .entry(&stored.aggregate_id)
            .or_insert_with(|| Leg::unknown(&stored.aggregate_id, stored.recorded_at));
        fold.apply(leg, event, stored.recorded_at);
    }
    Ok(legs.into_values().collect())
}
