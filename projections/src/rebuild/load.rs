//! Fills the empty tables of a generation from the log, at the speed at which PostgreSQL takes rows.
//!
//! The log is read in two ranges at once, by binary copies in order of position. Each reader folds in memory
//! and hands on a family as soon as it is finished, so that memory does not grow with the log; the rows go
//! into the tables by binary copies too. What a reader cannot place (an event of a call that began before its
//! range, or whose family has been handed on) is *late*: its position is noted, and the live path folds it
//! when the tables stand.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::{StreamExt, TryStreamExt};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::entered::AllEntered;
use crate::conversations::family::Family;
use crate::conversations::rows::{self, Row};
use crate::conversations::sums::{Part, Sums};
use crate::conversations::thread::PartyOf;
use crate::conversations::{Contact, Fold, Leg, Message, is_poison, message};
use crate::copy::{Malformed, Tuples};
use crate::generation::Generation;
use crate::log::{self, CopiedEvent};

/// How a log is loaded; the result is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    /// Ranges of the log that are read at once.
    pub readers: NonZeroU16,
    /// Legs that a reader keeps because something may still be said about them. Beyond it, the families that were
    /// finished the longest ago are handed on.
    pub kept: usize,
}

impl Default for Loading {
    fn default() -> Self {
        Self { readers: NonZeroU16::MIN.saturating_add(1), kept: 20_000 }
    }
}

/// Bytes that are handed to a copy at a time, and how many such chunks may wait for it.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 4;
/// How often a reader says how far it is, in events.
const TELL: i64 = 256;
/// A chunk, and the family that fills it.
const ROOM: usize = CHUNK + 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the database sent a copy that cannot be read")]
    Malformed(#[from] Malformed),
    /// The other side has the reason.
    #[error("a copy ended before its time")]
    CutOff,
}

impl LoadError {
    /// Whether a row is at fault.
    pub(super) fn is_poison(&self) -> bool {
        matches!(self, Self::Database(error) if is_poison(error))
    }
}

/// What is left to the live path, which needs the indexes.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    /// Positions of events whose call was handed on before, in order.
    pub late: Vec<i64>,
    /// Calls whose family's topmost leg was not at hand.
    pub orphans: BTreeSet<String>,
}

/// How many events have been folded so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded(Arc<AtomicI64>);

impl Folded {
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Folds the log up to `last` into the tables of `generation`.
pub(super) async fn load(
    options: &PgConnectOptions,
    generation: Generation,
    fold: &Fold,
    last: i64,
    Loading { readers: count, kept }: Loading,
    folded: &Folded,
) -> Result<Leftover, LoadError> {
    let mut session = options.connect().await?;
    let entered = Arc::new(AllEntered::read(&mut session, &fold.ids, last).await?);
    entered.store(&mut session, generation).await?;
    let legs = Copy::start::<Leg>(options, generation).await?;
    let messages = Copy::start::<Message>(options, generation).await?;
    let mut readers = JoinSet::new();
    for range in ranges(last, count) {
        let output = Output::new(&legs, &messages);
        let reader = Reader::new(fold.clone(), Arc::clone(&entered), output, folded.clone(), kept);
        readers.spawn(reader.read(options.clone(), range));
    }
    let mut rest = Rest::new(Arc::clone(&entered), Output::new(&legs, &messages));
    let mut cut_off = None;
    while let Some(read) = readers.join_next().await {
        match read.map_err(|_| LoadError::CutOff).flatten() {
            Ok((from, reader)) => rest.take(from, reader),
            Err(error) => cut_off = cut_off.or(Some(error)),
        }
    }
    let leftover = match cut_off {
        None => rest.write(fold).await,
        Some(error) => {
            drop(rest);
            Err(error)
        }
    };
    // Why a copy ended is what a reader that was cut off by it does not know.
    let written = (legs.finish().await, messages.finish().await);
    let (mut leftover, threads) = match (leftover, written) {
        (_, (Err(error), _) | (_, Err(error))) => return Err(error.into()),
        (Err(error), _) => return Err(error),
        (Ok(all), _) => all,
    };
    write_threads(&mut session, generation, fold, threads, &entered).await?;
    leftover.late.extend(&entered.late);
    leftover.late.sort_unstable();
    Ok(leftover)
}

/// The log up to `last`, cut into ranges of positions: after the first, up to the second.
fn ranges(last: i64, count: NonZeroU16) -> Vec<(i64, i64)> {
    let count = i64::from(count.get());
    (0..count).map(|n| (last * n / count, last * (n + 1) / count)).collect()
}

/// A copy into one table.
struct Copy {
    chunks: mpsc::Sender<Tuples>,
    /// One task, which is ended with the rebuild.
    task: JoinSet<sqlx::Result<()>>,
}

impl Copy {
    async fn start<R: Row>(options: &PgConnectOptions, generation: Generation) -> sqlx::Result<Self> {
        let mut session = options.connect().await?;
        let (chunks, mut waiting) = mpsc::channel::<Tuples>(CHUNKS);
        let statement = R::TABLE.copy_in(generation);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut copy = session.copy_in_raw(&statement).await?;
            copy.send(Tuples::first().bytes()).await?;
            while let Some(tuples) = waiting.recv().await {
                copy.send(tuples.bytes()).await?;
            }
            let mut end = Tuples::default();
            end.end();
            copy.send(end.bytes()).await?;
            copy.finish().await.map(drop)
        });
        Ok(Self { chunks, task })
    }

    async fn finish(mut self) -> sqlx::Result<()> {
        drop(self.chunks);
        match self.task.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(sqlx::Error::WorkerCrashed),
        }
    }
}

/// Rows on their way into the copies.
struct Output {
    legs: Pipe,
    messages: Pipe,
}

struct Pipe {
    tuples: Tuples,
    chunks: mpsc::Sender<Tuples>,
}

impl Pipe {
    fn new(copy: &Copy) -> Self {
        Self { tuples: Tuples::with_room(ROOM), chunks: copy.chunks.clone() }
    }

    fn put(&mut self, row: &impl Row) -> Result<(), LoadError> {
        row.put(&mut self.tuples).map_err(|error| sqlx::Error::Encode(error).into())
    }

    async fn flush(&mut self, at: usize) -> Result<(), LoadError> {
        if self.tuples.len() < at.max(1) {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.tuples, Tuples::with_room(ROOM));
        self.chunks.send(full).await.map_err(|_| LoadError::CutOff)
    }
}

impl Output {
    fn new(legs: &Copy, messages: &Copy) -> Self {
        Self { legs: Pipe::new(legs), messages: Pipe::new(messages) }
    }

    async fn flush(&mut self, at: usize) -> Result<(), LoadError> {
        self.legs.flush(at).await?;
        self.messages.flush(at).await
    }
}

/// What the written families of each party come to.
type ThreadSums = HashMap<i64, (PartyOf, Sums)>;

fn add(threads: &mut ThreadSums, id: i64, party: PartyOf, sums: Sums) {
    match threads.remove(&id) {
        Some((known, so_far)) => threads.insert(id, (known, so_far.and(sums))),
        None => threads.insert(id, (party, sums)),
    };
}

/// Writes a family's messages, and adds its part to its thread.
fn write_family(
    family: &Family<'_>,
    fold: &Fold,
    entered: &AllEntered,
    output: &mut Output,
    threads: &mut ThreadSums,
) -> Result<(), LoadError> {
    for message in message::messages(family, &fold.ids) {
        output.messages.put(&message)?;
        if let Some((part, party)) = Part::of(&message).zip(family.placed_by().and_then(PartyOf::leg)) {
            let sums = Sums::of(&part, entered.read_up_to(part.conversation_id));
            add(threads, part.conversation_id, party, sums);
        }
    }
    Ok(())
}

/// Folds one range of the log.
struct Reader {
    fold: Fold,
    entered: Arc<AllEntered>,
    output: Output,
    folded: Folded,
    /// Events that are not in `folded` yet, which both readers write.
    untold: i64,
    kept: usize,
    legs: HashMap<String, Leg>,
    /// The legs at hand by the call that they name as their parent, or themselves.
    families: HashMap<String, Siblings>,
    /// Families in the order in which they were finished; an entry that is not the family's last is void.
    finished: VecDeque<(i64, String)>,
    threads: ThreadSums,
    late: Vec<i64>,
    /// Calls with an event that cannot be read: from there on, they are left to the live path.
    held: HashSet<String>,
}

#[derive(Debug, Default)]
struct Siblings {
    call_sids: Vec<String>,
    /// The position at which the family was last found to be finished.
    finished_at: i64,
}

/// How far a leg is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Going,
    /// It has ended by Twilio's word; price and recordings may follow.
    Ended,
    /// Nothing more is to come.
    Frozen,
}

impl Stage {
    fn of(leg: &Leg) -> Self {
        match () {
            () if leg.frozen => Self::Frozen,
            () if leg.announced && leg.status().is_final() && !leg.provisional => Self::Ended,
            () => Self::Going,
        }
    }
}

impl Reader {
    fn new(fold: Fold, entered: Arc<AllEntered>, output: Output, folded: Folded, kept: usize) -> Self {
        Self {
            fold,
            entered,
            output,
            folded,
            untold: 0,
            kept,
            legs: HashMap::new(),
            families: HashMap::new(),
            finished: VecDeque::new(),
            threads: HashMap::new(),
            late: Vec::new(),
            held: HashSet::new(),
        }
    }

    async fn read(
        mut self,
        options: PgConnectOptions,
        (after, last): (i64, i64),
    ) -> Result<(i64, Self), LoadError> {
        let mut session = options.connect().await?;
        let mut copy = session.copy_out_raw(&log::copy_out(after, last)).await?;
        while let Some(message) = copy.next().await {
            let message = message?;
            let Some(event) = CopiedEvent::read(&message)? else { break };
            self.take(&event)?;
            self.output.flush(CHUNK).await?;
        }
        // To the end of the protocol, which reports a failure that came after the last row.
        while copy.try_next().await?.is_some() {}
        self.output.flush(0).await?;
        Ok((after, self))
    }

    fn take(&mut self, event: &CopiedEvent<'_>) -> Result<(), LoadError> {
        self.untold += 1;
        if self.untold == TELL {
            self.untold = 0;
            self.folded.0.fetch_add(TELL, Ordering::Relaxed);
        }
        let call_sid = event.call_sid;
        if !self.held.is_empty() && self.held.contains(call_sid) {
            self.late.push(event.position);
            return Ok(());
        }
        let known = self.legs.get_mut(call_sid);
        let is_new = known.is_none();
        if is_new && event.sequence > 1 {
            self.late.push(event.position);
            return Ok(());
        }
        let Ok(told) = event.told() else {
            // The live path meets it again, knows why, and quarantines the call.
            self.held.insert(call_sid.to_owned());
            self.late.push(event.position);
            return Ok(());
        };
        let leg = match known {
            Some(leg) => leg,
            None => self
                .legs
                .entry(call_sid.to_owned())
                .or_insert_with(|| Leg::unknown(call_sid, event.recorded_at)),
        };
        let names_parent = told.facts.parent_call_sid.is_some();
        let old_root = (names_parent && !is_new).then(|| leg.root_call_sid.clone());
        let old_stage = Stage::of(leg);
        self.fold.apply(leg, told, event.recorded_at);
        let stage = Stage::of(leg);
        if is_new || names_parent {
            self.relate(call_sid, old_root);
        }
        // A family can only be finished by a leg that comes to a further stage, or to the family.
        if stage > old_stage || (stage > Stage::Going && (is_new || names_parent)) {
            self.see_to(call_sid, event.position)?;
        }
        Ok(())
    }

    /// Notes which family a leg belongs to, where that is new.
    fn relate(&mut self, call_sid: &str, old_root: Option<String>) {
        let Some(root) = self.legs.get(call_sid).map(|leg| leg.root_call_sid.as_str()) else { return };
        if old_root.as_deref() == Some(root) {
            return;
        }
        if let Some(old_root) = old_root
            && let Some(left) = self.families.get_mut(&old_root)
        {
            left.call_sids.retain(|sid| sid != call_sid);
            if left.call_sids.is_empty() {
                self.families.remove(&old_root);
            }
        }
        self.families.entry(root.to_owned()).or_default().call_sids.push(call_sid.to_owned());
    }

    /// Hands on what is finished: this leg's family if nothing more is to come, else the oldest ones if there is
    /// no more room.
    fn see_to(&mut self, call_sid: &str, position: i64) -> Result<(), LoadError> {
        let Some(root) = self.legs.get(call_sid).map(|leg| leg.root_call_sid.clone()) else { return Ok(()) };
        match self.stage(&root) {
            Stage::Going => {}
            Stage::Frozen => self.hand_on(&root)?,
            Stage::Ended => {
                if let Some(family) = self.families.get_mut(&root) {
                    family.finished_at = position;
                }
                self.finished.push_back((position, root));
            }
        }
        while self.legs.len() > self.kept || self.finished.len() > self.kept {
            let Some((position, root)) = self.finished.pop_front() else { break };
            let is_last = self.families.get(&root).is_some_and(|family| family.finished_at == position);
            if is_last && self.stage(&root) > Stage::Going {
                self.hand_on(&root)?;
            }
        }
        Ok(())
    }

    /// How far the least of a family is; a family whose root is not at hand goes on.
    fn stage(&self, root: &str) -> Stage {
        let Some(family) = self.families.get(root) else { return Stage::Going };
        let with_root = self.legs.get(root).is_some_and(|leg| leg.root_call_sid == root && leg.announced);
        let stages = family.call_sids.iter().map(|sid| match self.held.contains(sid) {
            true => Stage::Going,
            false => self.legs.get(sid).map_or(Stage::Going, Stage::of),
        });
        if with_root { stages.min().unwrap_or(Stage::Going) } else { Stage::Going }
    }

    fn hand_on(&mut self, root: &str) -> Result<(), LoadError> {
        let Some(family) = self.families.remove(root) else { return Ok(()) };
        let legs: HashMap<String, Leg> =
            family.call_sids.into_iter().filter_map(|sid| self.legs.remove_entry(&sid)).collect();
        for leg in legs.values() {
            self.output.legs.put(leg)?;
        }
        for family in Family::assemble(&legs) {
            write_family(&family, &self.fold, &self.entered, &mut self.output, &mut self.threads)?;
        }
        Ok(())
    }
}

/// What the readers have left in memory.
struct Rest {
    entered: Arc<AllEntered>,
    output: Output,
    legs: HashMap<String, Leg>,
    threads: ThreadSums,
    /// By the beginning of the range.
    late: Vec<(i64, Vec<i64>)>,
}

impl Rest {
    fn new(entered: Arc<AllEntered>, output: Output) -> Self {
        Self { entered, output, legs: HashMap::new(), threads: HashMap::new(), late: Vec::new() }
    }

    fn take(&mut self, from: i64, reader: Reader) {
        let Reader { legs, threads, late, .. } = reader;
        self.legs.extend(legs);
        for (id, (party, sums)) in threads {
            add(&mut self.threads, id, party, sums);
        }
        self.late.push((from, late));
    }

    /// Writes all legs, and the families whose topmost leg is among them.
    async fn write(mut self, fold: &Fold) -> Result<(Leftover, ThreadSums), LoadError> {
        let mut leftover = Leftover::default();
        for leg in self.legs.values() {
            self.output.legs.put(leg)?;
            self.output.flush(CHUNK).await?;
        }
        for family in Family::assemble(&self.legs) {
            if family.root.is_some() {
                write_family(&family, fold, &self.entered, &mut self.output, &mut self.threads)?;
                self.output.flush(CHUNK).await?;
            } else {
                leftover.orphans.extend(family.legs().map(|leg| leg.call_sid.clone()));
            }
        }
        self.output.flush(0).await?;
        self.late.sort_unstable();
        leftover.late = self.late.into_iter().flat_map(|(_, late)| late).collect();
        Ok((leftover, self.threads))
    }
}

/// Threads at a time; a party more is a few hundred bytes more.
const THREADS: usize = 10_000;

async fn write_threads(
    session: &mut PgConnection,
    generation: Generation,
    fold: &Fold,
    threads: ThreadSums,
    entered: &AllEntered,
) -> sqlx::Result<()> {
    let total = i64::try_from(threads.len()).unwrap_or(i64::MAX);
    // People enter contacts that have not called.
    let uncalled = entered.iter().filter(|row| !threads.contains_key(&row.conversation_id));
    let uncalled: Vec<Contact> =
        uncalled.filter_map(|row| PartyOf::entered(row)?.contact(&fold.ids, None, Some(row))).collect();
    rows::insert(session, generation, &uncalled).await?;
    let threads: Vec<(i64, (PartyOf, Sums))> = threads.into_iter().collect();
    for threads in threads.chunks(THREADS) {
        let (conversations, contacts): (Vec<_>, Vec<_>) =
            threads.iter().map(|(id, (party, sums))| party.rows(&fold.ids, sums, entered.get(*id))).unzip();
        let contacts: Vec<_> = contacts.into_iter().flatten().collect();
        rows::insert(session, generation, &conversations).await?;
        rows::insert(session, generation, &contacts).await?;
    }
    let query = format!("update {generation}.totals set rows = $1 where name = 'conversations'");
    sqlx::query(&query).bind(total).execute(session).await.map(drop)
}
