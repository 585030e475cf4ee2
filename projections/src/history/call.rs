//! A call as of a position: its family is those legs that belonged to it by what had been told then.

use super::Unreadable;
use crate::conversations::{Leg, Message};
use crate::generation::Snapshot;
use crate::ids::IdKey;
use crate::queries::{CallFamily, Entry, Window};

/// A call's family as it was.
#[derive(Clone, Debug)]
pub struct PastCall {
    pub family: CallFamily,
    /// Legs of which no more is known than up to an event that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// Of a thread's answer only whose it was is wanted.
const NO_CALLS: Window = Window::Offset { offset: 0, limit: 0 };

impl Snapshot {
    /// The family of a call as of a position; nothing if nothing had been told of it yet.
    pub async fn call_as_of(
        &mut self,
        ids: &IdKey,
        call_sid: &str,
        up_to: i64,
    ) -> sqlx::Result<Option<PastCall>> {
        let replay = self.refold([call_sid.to_owned()].into(), up_to).await?;
        let root = replay.root(call_sid).to_owned();
        // Legs that have come since, or had gone by then, were replayed as well.
        let is_kin = |sid: &str| replay.root(sid) == root;
        let legs: Vec<Leg> = replay.legs().filter(|leg| is_kin(&leg.call_sid)).cloned().collect();
        if legs.is_empty() {
            return Ok(None);
        }
        let (messages, mut parties) = replay.messages(ids);
        let mut messages: Vec<Message> =
            messages.into_iter().filter(|message| message.root_call_sid == root).collect();
        messages.sort_by_key(|leg| (leg.parent_call_sid.is_some(), leg.start_time, leg.id));
        // Without a root each leg is an entry, so the one that was asked for.
        let entries = messages.iter().filter(|message| message.entry);
        let entry = entries
            .min_by_key(|message| (message.twilio_sid != call_sid, message.start_time, message.id))
            .cloned()
            .map(|message| Entry { message, legs: messages });
        let conversation = entry.as_ref().and_then(|entry| entry.message.conversation_id);
        let contact = match conversation.and_then(|id| parties.remove(&id)) {
            Some(party) => self.thread_as_of(ids, &party.key, NO_CALLS, up_to).await?.contact,
            None => None,
        };
        Ok(Some(PastCall {
            unreadable: replay.unreadable().filter(|event| is_kin(&event.call_sid)).cloned().collect(),
            family: CallFamily::new(root, legs, entry, contact),
        }))
    }
}
