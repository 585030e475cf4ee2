//! What was placed, and what became of it.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::call::{Call, Moment, Recording};
use super::message::Message;
use super::shelf::Shelf;

/// One change of the world, a line of its journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Placed {
        calls: Vec<Call>,
        recordings: Vec<Recording>,
    },
    /// A call was ended before its time, and with it what it had dialled.
    Ended {
        sid: String,
        at: Moment,
    },
    Sent(Message),
    /// Deleted: unknown from then on.
    Forgotten {
        sid: String,
    },
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub calls: Shelf<Call>,
    pub recordings: Shelf<Recording>,
    pub messages: Shelf<Message>,
    /// Kept apart, so that a page that ended at one of them can be followed.
    forgotten: HashSet<String>,
}

impl Ledger {
    /// What is applied twice changes nothing.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Placed { calls, recordings } => {
                calls.into_iter().for_each(|call| self.calls.insert(call));
                recordings.into_iter().for_each(|recording| self.recordings.insert(recording));
            }
            Entry::Ended { sid, at } => self.end(&sid, at),
            Entry::Sent(message) => self.messages.insert(message),
            Entry::Forgotten { sid } => {
                self.forgotten.insert(sid);
            }
        }
    }

    pub fn is_known(&self, sid: &str) -> bool {
        !self.forgotten.contains(sid)
    }

    /// Each call's recordings.
    pub fn recordings_by_call(&self) -> BTreeMap<&str, Vec<&Recording>> {
        let mut by_call: BTreeMap<&str, Vec<&Recording>> = BTreeMap::new();
        for recording in self.recordings.all().filter(|recording| self.is_known(&recording.sid)) {
            by_call.entry(&recording.call_sid).or_default().push(recording);
        }
        by_call
    }

    /// Drops what began before `at`.
    pub fn drop_older_than(&mut self, at: OffsetDateTime) {
        self.calls.retain(|call| call.created.wall >= at);
        self.recordings.retain(|recording| recording.started.wall >= at);
        self.messages.retain(|message| message.created_at >= at);
    }

    fn end(&mut self, sid: &str, at: Moment) {
        let Some(call) = self.calls.get_mut(sid) else { return };
        call.cut_short(at);
        for child in self.calls.all_mut().filter(|call| call.parent_sid.as_deref() == Some(sid)) {
            child.cut_short(at);
        }
        // What was never begun never was.
        self.calls.retain(|call| call.parent_sid.as_deref() != Some(sid) || call.has_begun(at.wall));
        let mut lost = HashSet::new();
        for recording in self.recordings.all_mut().filter(|recording| recording.call_sid == sid) {
            if !recording.cut_short(at) {
                lost.insert(recording.sid.clone());
            }
        }
        self.recordings.retain(|recording| !lost.contains(&recording.sid));
    }
}
