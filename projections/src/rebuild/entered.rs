//! What people have entered, read before the calls: how far a thread was read decides which of its calls count.
//!
//! It is kept in memory while the calls are loaded. People type it, so it is small beside what calls say.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::conversations::entered::{Edit, Entered};
use crate::conversations::rows;
use crate::generation::Generation;
use crate::ids::IdKey;
use crate::log;

/// Rows that are stored at a time.
const CHUNK: usize = 1_000;

/// What was entered up to a position, by conversation.
#[derive(Debug, Default)]
pub(super) struct AllEntered {
    rows: Vec<Entered>,
    by_conversation: HashMap<i64, usize>,
    /// Positions of the events about parties of which an event cannot be read: the live path knows what to do.
    pub late: Vec<i64>,
}

impl AllEntered {
    pub async fn read(session: &mut PgConnection, ids: &IdKey, last: i64) -> sqlx::Result<Self> {
        let mut parties: HashMap<String, Entered> = HashMap::new();
        let mut unreadable = BTreeSet::new();
        let query = log::entered_in_streams();
        let mut events = log::stream(&mut *session, &query, last);
        while let Some(event) = events.try_next().await? {
            match Edit::read(&event) {
                Some(Ok(edit)) => {
                    let party = &event.aggregate_id;
                    let row = match parties.get_mut(party) {
                        Some(row) => row,
                        None => parties.entry(party.clone()).or_insert_with(|| Entered::nothing(ids, party)),
                    };
                    row.apply(edit, event.sequence, event.recorded_at);
                }
                Some(Err(_)) => {
                    unreadable.insert(event.aggregate_id);
                }
                None => {}
            }
        }
        drop(events);
        parties.retain(|party, _| !unreadable.contains(party));
        let unreadable: Vec<String> = unreadable.into_iter().collect();
        let late = log::read_entered(session, &unreadable, last).await?;
        let rows: Vec<Entered> = parties.into_values().collect();
        let by_conversation = (0..).zip(&rows).map(|(nth, row)| (row.conversation_id, nth)).collect();
        Ok(Self { rows, by_conversation, late: late.iter().map(|event| event.position).collect() })
    }

    pub async fn store(&self, session: &mut PgConnection, generation: Generation) -> sqlx::Result<()> {
        for rows in self.rows.chunks(CHUNK) {
            rows::insert(session, generation, rows).await?;
        }
        Ok(())
    }

    pub fn get(&self, conversation: i64) -> Option<&Entered> {
        self.by_conversation.get(&conversation).and_then(|nth| self.rows.get(*nth))
    }

    pub fn read_up_to(&self, conversation: i64) -> Option<OffsetDateTime> {
        self.get(conversation)?.read_up_to
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entered> {
        self.rows.iter()
    }
}
