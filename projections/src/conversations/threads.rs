//! What a batch makes of the threads it touches.
//!
//! What a batch takes from a thread and what it adds are known from the parts before and after, so that a thread's
//! cost does not grow with its length; a rebuild adds up all parts.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::entered::{self, Edited, Entered};
use super::rows;
use super::sums::{Newest, Part, Sums};
use super::thread::{Contact, Conversation, PartyOf};
use crate::generation::Generation;
use crate::ids::IdKey;

/// What a batch has changed that threads depend on.
#[derive(Debug)]
pub(crate) struct Batch<'b> {
    /// Parts before and after.
    pub old: &'b [Part],
    pub new: &'b [Part],
    /// The party of each conversation in `new`.
    pub parties: &'b HashMap<i64, PartyOf>,
    pub edited: &'b Edited,
}

/// What a batch makes of the threads it touches.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    contacts: Vec<Contact>,
    conversations: Vec<Conversation>,
    /// The rows that were there before, under these ids.
    old_contacts: Vec<i64>,
    old_conversations: Vec<i64>,
    /// How many threads there are more (or fewer) than before.
    grown: i64,
}

/// A touched thread: its parts before the batch and after it.
#[derive(Debug, Default)]
struct Touched<'p> {
    old: Vec<&'p Part>,
    new: Vec<&'p Part>,
}

impl<'p> Touched<'p> {
    fn now(&self, old: &Part) -> Option<&'p Part> {
        self.new.iter().copied().find(|new| new.message_id == old.message_id)
    }

    /// Whether the newest call of the thread was touched and is gone, or began earlier than was thought.
    fn may_lose_newest(&self, row: &Conversation) -> bool {
        let newest = self.old.iter().find(|old| old.message_id == row.last_message_id);
        newest.is_some_and(|old| self.now(old).is_none_or(|new| new.start_time < old.start_time))
    }

    /// The same of the newest inbound call, or it was found not to be inbound.
    fn may_lose_inbound(&self, row: &Conversation) -> bool {
        let was_newest = |old: &&&Part| old.inbound_at().is_some() && old.inbound_at() == row.last_inbound_at;
        let newest = self.old.iter().filter(was_newest);
        newest.into_iter().any(|old| self.now(old).and_then(Part::inbound_at) < old.inbound_at())
    }

    /// Whether the thread's first or last change may have gone with a part.
    fn may_lose_bounds(&self) -> bool {
        self.old.iter().any(|old| {
            self.now(old).is_none_or(|new| new.created_at > old.created_at || new.updated_at < old.updated_at)
        })
    }
}

impl Threads {
    /// Works out the threads from what the batch has changed; what people have entered is stored already.
    pub async fn compute(
        connection: &mut PgConnection,
        generation: Generation,
        ids: &IdKey,
        batch: Batch<'_>,
    ) -> sqlx::Result<Self> {
        let mut touched: HashMap<i64, Touched<'_>> = HashMap::new();
        for id in batch.edited.keys() {
            touched.entry(*id).or_default();
        }
        for part in batch.old {
            touched.entry(part.conversation_id).or_default().old.push(part);
        }
        for part in batch.new {
            touched.entry(part.conversation_id).or_default().new.push(part);
        }
        let keys: Vec<i64> = touched.keys().copied().collect();
        let entered = entered::load(connection, generation, &keys).await?;
        let entered: HashMap<i64, Entered> =
            entered.into_iter().map(|row| (row.conversation_id, row)).collect();
        let stored: Vec<Conversation> = rows::load(connection, generation, "id", &keys).await?;
        let mut stored: HashMap<i64, Conversation> = stored.into_iter().map(|row| (row.id, row)).collect();
        let untouched = Untouched { touched: &touched, stored: &stored, entered: &entered };
        let mut untouched = untouched.sums(connection, generation, batch.edited).await?;
        // A thread that has only lost parts is not named by the batch, but by its rows.
        let unnamed: Vec<i64> = keys
            .iter()
            .filter(|id| !batch.parties.contains_key(id))
            .filter_map(|id| stored.get(id)?.contact_id)
            .collect();
        let contacts: Vec<Contact> = rows::load(connection, generation, "id", &unnamed).await?;
        let mut contacts: HashMap<i64, Contact> = contacts.into_iter().map(|row| (row.id, row)).collect();

        let mut threads = Self::default();
        for (id, parts) in &touched {
            let (row, entered) = (stored.remove(id), entered.get(id));
            let party = batch.parties.get(id);
            threads.grown -= i64::from(row.is_some());
            threads.old_conversations.extend(row.as_ref().map(|row| row.id));
            // A contact may be there without a thread.
            let key = party.map(|party| &party.key).or(entered.map(|entered| &entered.party_key));
            let key = key.or(row.as_ref().map(|row| &row.external_id));
            threads.old_contacts.extend(key.map(|key| ids.contact(key)));
            let read_up_to = entered.and_then(|entered| entered.read_up_to);
            let added = parts.new.iter().map(|part| Sums::of(part, read_up_to));
            let Some(sums) = untouched.remove(id).into_iter().chain(added).reduce(Sums::and) else {
                let party = entered.and_then(PartyOf::entered);
                threads.contacts.extend(party.and_then(|party| party.contact(ids, None, entered)));
                continue;
            };
            let (conversation, contact) = match (party, row) {
                (Some(party), _) => party.rows(ids, &sums, entered),
                (None, Some(row)) => {
                    let contact = row.contact_id.and_then(|id| contacts.remove(&id));
                    let contact = contact.and_then(|row| row.renewed(Some(sums.created_at), entered));
                    (row.renewed(&sums, entered), contact)
                }
                (None, None) => continue,
            };
            threads.grown += 1;
            threads.conversations.push(conversation);
            threads.contacts.extend(contact);
        }
        Ok(threads)
    }

    pub async fn store(self, connection: &mut PgConnection, generation: Generation) -> sqlx::Result<()> {
        rows::replace(connection, generation, &self.old_contacts, &self.contacts).await?;
        rows::replace(connection, generation, &self.old_conversations, &self.conversations).await?;
        if self.grown != 0 {
            let query =
                format!("update {generation}.totals set rows = rows + $1 where name = 'conversations'");
            sqlx::query(&query).bind(self.grown).execute(connection).await?;
        }
        Ok(())
    }
}

/// What a batch leaves alone of the threads it touches.
struct Untouched<'t> {
    touched: &'t HashMap<i64, Touched<'t>>,
    stored: &'t HashMap<i64, Conversation>,
    entered: &'t HashMap<i64, Entered>,
}

impl Untouched<'_> {
    /// What those parts come to. Counters are subtracted; a maximum that may have gone is looked up, and so is what is
    /// unread where the read marker has moved.
    async fn sums(
        &self,
        connection: &mut PgConnection,
        generation: Generation,
        edited: &Edited,
    ) -> sqlx::Result<HashMap<i64, Sums>> {
        let mut sums = HashMap::new();
        let (mut of_newest, mut of_inbound, mut of_bounds) = (Vec::new(), Vec::new(), Vec::new());
        let (mut of_unread, mut markers) = (Vec::new(), Vec::new());
        for (id, row) in self.stored {
            let Some(parts) = self.touched.get(id) else { continue };
            let read_up_to = self.entered.get(id).and_then(|entered| entered.read_up_to);
            let mut rest = Sums::from(row);
            for part in &parts.old {
                rest.total_calls -= 1;
                rest.total_duration -= part.seconds();
                rest.unread -= i64::from(part.is_unread(read_up_to));
            }
            if rest.total_calls == 0 {
                continue;
            }
            if parts.may_lose_newest(row) {
                of_newest.push(*id);
            }
            if parts.may_lose_inbound(row) {
                of_inbound.push(*id);
            }
            if parts.may_lose_bounds() {
                of_bounds.push(*id);
            }
            if edited.get(id).is_some_and(|before| *before != read_up_to) {
                of_unread.push(*id);
                markers.push(read_up_to);
            }
            sums.insert(*id, rest);
        }
        let newest = untouched_newest(connection, generation, &of_newest, &self.messages(&of_newest)).await?;
        for (id, newest) in newest {
            sums.entry(id).and_modify(|rest| rest.newest = newest);
        }
        let inbound =
            untouched_inbound(connection, generation, &of_inbound, &self.messages(&of_inbound)).await?;
        for (id, last_inbound_at) in inbound {
            sums.entry(id).and_modify(|rest| rest.last_inbound_at = last_inbound_at);
        }
        let touched = self.messages(&of_unread);
        for (id, unread) in untouched_unread(connection, generation, (&of_unread, &markers), &touched).await?
        {
            sums.entry(id).and_modify(|rest| rest.unread = unread);
        }
        let bounds = untouched_bounds(connection, generation, &of_bounds, &self.messages(&of_bounds)).await?;
        for (id, created_at, updated_at) in bounds {
            sums.entry(id).and_modify(|rest| (rest.created_at, rest.updated_at) = (created_at, updated_at));
        }
        Ok(sums)
    }

    /// The messages that the batch touches in these conversations.
    fn messages(&self, conversations: &[i64]) -> Vec<i64> {
        let parts = conversations.iter().filter_map(|id| self.touched.get(id));
        let messages: HashSet<i64> = parts.flat_map(|parts| &parts.old).map(|part| part.message_id).collect();
        messages.into_iter().collect()
    }
}

async fn untouched_newest(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<Vec<(i64, Newest)>> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "select c.id, m.start_time, m.id, m.direction
           from unnest($1::bigint[]) as c(id)
          cross join lateral (
                select id, start_time, direction
                  from {generation}.messages
                 where conversation_id = c.id and entry and id <> all($2)
                 order by start_time desc, id desc
                 limit 1
          ) m"
    );
    let rows: Vec<(i64, OffsetDateTime, i64, String)> =
        sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await?;
    let newest = rows
        .into_iter()
        .map(|(id, start_time, message_id, direction)| (id, Newest { start_time, message_id, direction }));
    Ok(newest.collect())
}

async fn untouched_inbound(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<Vec<(i64, Option<OffsetDateTime>)>> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "select c.id, (
                select start_time
                  from {generation}.messages
                 where conversation_id = c.id and entry and direction = 'inbound' and id <> all($2)
                 order by start_time desc
                 limit 1)
           from unnest($1::bigint[]) as c(id)"
    );
    sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await
}

/// Counts the missed calls that ended after each conversation's read marker: as many as are unread, whatever the
/// length of the thread.
async fn untouched_unread(
    connection: &mut PgConnection,
    generation: Generation,
    (conversations, markers): (&[i64], &[Option<OffsetDateTime>]),
    messages: &[i64],
) -> sqlx::Result<Vec<(i64, i64)>> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "select c.id, (
                select count(*)
                  from {generation}.messages
                 where conversation_id = c.id and entry and missed and id <> all($3)
                   and coalesce(end_time, start_time) > coalesce(c.read_up_to, '-infinity'))
           from unnest($1::bigint[], $2::timestamptz[]) as c(id, read_up_to)"
    );
    sqlx::query_as(&query).bind(conversations).bind(markers).bind(messages).fetch_all(connection).await
}

async fn untouched_bounds(
    connection: &mut PgConnection,
    generation: Generation,
    conversations: &[i64],
    messages: &[i64],
) -> sqlx::Result<Vec<(i64, OffsetDateTime, OffsetDateTime)>> {
    if conversations.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "select conversation_id, min(created_at), max(updated_at)
           from {generation}.messages
          where conversation_id = any($1) and entry and id <> all($2)
          group by conversation_id"
    );
    sqlx::query_as(&query).bind(conversations).bind(messages).fetch_all(connection).await
}

/// The parts that these messages have in threads as they are stored, by message.
pub(crate) async fn stored_parts(
    connection: &mut PgConnection,
    generation: Generation,
    messages: &[i64],
) -> sqlx::Result<Vec<Part>> {
    let query = format!(
        "select conversation_id, id as message_id, start_time, direction, missed, end_time, total_duration, created_at,
                updated_at
           from {generation}.messages
          where id = any($1) and entry and conversation_id is not null"
    );
    sqlx::query_as(&query).bind(messages).fetch_all(connection).await
}
