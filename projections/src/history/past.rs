//! A thread as of a position.
//!
//! Its cost grows with the length of the thread, not with the log: every family that may have belonged to it is
//! replayed, some at a time, and only where each stood in the list is kept; then the page that is asked for is
//! replayed once more, in full.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;

use super::Unreadable;
use crate::conversations::sums::{Part, Sums};
use crate::conversations::thread::PartyOf;
use crate::conversations::{Contact, Message};
use crate::generation::Snapshot;
use crate::ids::IdKey;
use crate::log;
use crate::queries::{Entry, Window};

/// Calls that are replayed together.
pub(super) const CHUNK: usize = 500;

/// As of when somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Position(i64),
    /// The last event that was recorded by then.
    Time(OffsetDateTime),
}

/// A place in the log, and the time that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub position: i64,
    /// The time that was asked for, else when the last event up to the position was recorded.
    pub time: Option<OffsetDateTime>,
}

/// Why a moment cannot be looked back at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPast {
    #[error("it is in the future")]
    Future { now: OffsetDateTime, head: i64 },
    #[error("the read model has come to position {reached} and not yet to {position}")]
    Ahead { position: i64, reached: i64 },
}

/// A page of a thread as it was.
#[derive(Clone, Debug, Default)]
pub struct PastThread {
    /// How many calls the thread had.
    pub total: i64,
    /// Nothing if neither a call nor a person had told of it yet, or nobody could be called back.
    pub contact: Option<Contact>,
    pub entries: Vec<Entry>,
    /// Calls of which no more is known than up to an event that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Snapshot {
    /// Finds what was asked for in the log. What is to come is refused rather than answered by the present:
    /// the same question has the same answer for ever.
    pub async fn moment(&mut self, asked: Asked) -> sqlx::Result<Result<Moment, NotPast>> {
        let (now, head): (OffsetDateTime, i64) =
            sqlx::query_as("select clock_timestamp(), (select coalesce(max(id), 0) from call_events)")
                .fetch_one(&mut *self.tx)
                .await?;
        let moment = match asked {
            Asked::Position(position) if position > head => return Ok(Err(NotPast::Future { now, head })),
            Asked::Time(time) if time > now => return Ok(Err(NotPast::Future { now, head })),
            Asked::Position(position) => {
                let time = sqlx::query_scalar(
                    "select created_at from call_events where id <= $1 order by id desc limit 1",
                )
                .bind(position)
                .fetch_optional(&mut *self.tx)
                .await?;
                Moment { position, time }
            }
            Asked::Time(time) => {
                Moment { position: log::last_position_at(&mut self.tx, time).await?, time: Some(time) }
            }
        };
        // The present rows say which calls to look at, so what they do not reflect yet could be missed.
        let (position, reached) = (moment.position, self.position());
        Ok(if position > reached { Err(NotPast::Ahead { position, reached }) } else { Ok(moment) })
    }

    /// The party of a conversation that all calls have left.
    pub async fn former_party(&mut self, ids: &IdKey, conversation: i64) -> sqlx::Result<Option<String>> {
        let query = format!(
            "select distinct unnest(former_parties) from {}.call_legs where former_parties <> '{{}}'",
            self.generation
        );
        let former: Vec<String> = sqlx::query_scalar(&query).fetch_all(&mut *self.tx).await?;
        Ok(former.into_iter().find(|party| ids.conversation(party) == conversation))
    }

    /// The calls of a party's conversation as of a position, newest first, each with its legs.
    pub async fn thread_as_of(
        &mut self,
        ids: &IdKey,
        party: &str,
        window: Window,
        up_to: i64,
    ) -> sqlx::Result<PastThread> {
        let conversation = ids.conversation(party);
        let mut thread = PastThread::default();
        let mut places = Places::new();
        let mut named: Option<PartyOf> = None;
        let mut sums: Option<Sums> = None;
        let mut candidates = self.candidates(party, up_to).await?;
        while !candidates.is_empty() {
            let rest = candidates.iter().nth(CHUNK).cloned().map(|next| candidates.split_off(&next));
            let replay = self.refold(candidates, up_to).await?;
            candidates = rest.unwrap_or_default();
            // Kin is replayed together, so none of it needs to be looked at again.
            candidates.retain(|sid| !replay.legs.contains_key(sid));
            let (messages, mut parties) = replay.messages(ids);
            let mut families: HashMap<&str, Vec<String>> = HashMap::new();
            for leg in &messages {
                families.entry(&leg.root_call_sid).or_default().push(leg.twilio_sid.clone());
            }
            for message in &messages {
                let Some(part) = Part::of(message) else { continue };
                if part.conversation_id == conversation {
                    sums = sums.into_iter().chain([Sums::of(&part, None)]).reduce(Sums::and);
                    let legs = families.remove(message.root_call_sid.as_str()).unwrap_or_default();
                    let known = places.entry((message.start_time, message.id)).or_default();
                    // A leg that has gone to another family since leads to both, but neither leads to it.
                    if legs.len() > known.len() {
                        *known = legs;
                    }
                }
            }
            named = named.or(parties.remove(&conversation));
            thread.unreadable.extend(replay.unreadable.into_values());
        }
        thread.total = places.len().try_into().unwrap_or(i64::MAX);
        let entered = self.entered(ids, party).await?.as_of(up_to).cloned();
        let named = named.or_else(|| entered.as_ref().and_then(PartyOf::entered));
        let since = sums.map(|sums| sums.created_at);
        thread.contact = named.and_then(|party| party.contact(ids, since, entered.as_ref()));
        thread.entries = self.page_as_of(ids, conversation, page(places, window), up_to).await?;
        Ok(thread)
    }

    /// The entries of these families, in this order.
    async fn page_as_of(
        &mut self,
        ids: &IdKey,
        conversation: i64,
        page: Vec<(i64, Vec<String>)>,
        up_to: i64,
    ) -> sqlx::Result<Vec<Entry>> {
        let replay = self.refold(page.iter().flat_map(|(_, legs)| legs).cloned().collect(), up_to).await?;
        let mut families: HashMap<String, Vec<Message>> = HashMap::new();
        for message in replay.messages(ids).0 {
            families.entry(message.root_call_sid.clone()).or_default().push(message);
        }
        let mut entries: HashMap<i64, Entry> = HashMap::new();
        for mut legs in families.into_values() {
            legs.sort_by_key(|leg| (leg.parent_call_sid.is_some(), leg.start_time, leg.id));
            let ours = |leg: &&Message| leg.entry && leg.conversation_id == Some(conversation);
            if let Some(message) = legs.iter().find(ours).cloned() {
                entries.insert(message.id, Entry { message, legs });
            }
        }
        Ok(page.into_iter().filter_map(|(id, _)| entries.remove(&id)).collect())
    }

    /// The calls whose families may have belonged to a party's thread at a position, maybe more.
    ///
    /// A family is placed by one of its legs, so that leg was of this party then: it is now, or it was before it
    /// was classified anew.
    pub(super) async fn candidates(&mut self, party: &str, up_to: i64) -> sqlx::Result<BTreeSet<String>> {
        let query = format!(
            "select call_sid from {}.call_legs
              where (party_key = $1 or former_parties <> '{{}}' and former_parties @> array[$1])
                and created_at <= (select created_at from call_events where id <= $2 order by id desc limit 1)",
            self.generation
        );
        let calls: Vec<String> =
            sqlx::query_scalar(&query).bind(party).bind(up_to).fetch_all(&mut *self.tx).await?;
        Ok(calls.into_iter().collect())
    }
}

/// Where each call of a thread stands, by start and id as the list is ordered, and the SIDs of its legs.
type Places = BTreeMap<(OffsetDateTime, i64), Vec<String>>;

/// The calls of the wanted page, newest first.
fn page(places: Places, window: Window) -> Vec<(i64, Vec<String>)> {
    let size = usize::try_from(window.limit()).unwrap_or(0);
    let newest_first = places.into_iter().rev();
    let wanted: Vec<_> = match window {
        Window::Offset { offset, .. } => {
            newest_first.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(size).collect()
        }
        Window::After { at, id, .. } => {
            newest_first.skip_while(|(place, _)| *place >= (at, id)).take(size).collect()
        }
    };
    wanted.into_iter().map(|((_, id), legs)| (id, legs)).collect()
}
