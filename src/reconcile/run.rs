//! One run of a job: read the window, then what is beyond it, then leave alone what is settled.

use std::collections::{BTreeMap, HashSet};

use domain::call::{Call, CallCommand};
use domain::sid::CallSid;
use futures::future::join_all;
use futures::{StreamExt, stream};
use projections::generation::Snapshot;
use projections::unsettled::Unsettled;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::job::Reach;
use super::outcome::Outcome;
use super::state::{self, Cursor};
use super::tally::{Stored, Tally};
use super::window::Window;
use super::{Job, ReconcileError, Reconciler};
use crate::event_store::{CommitError, Unit, load_streams};
use crate::ingest::inbox::{self, Reading, Resource};
use crate::lease::Epoch;
use crate::twilio::client::{CallFilter, ClientError, Page, RecordingFilter};
use crate::twilio::resource;

/// How far two clocks are apart that show the same time.
const CLOCKS_AGREE: Duration = Duration::MINUTE;
/// Resources a page. Twilio gives a thousand at most.
const PAGE: u16 = 500;
/// Pages in a row that may hold nothing new, because new calls shift what was read to the next page.
const STALE_PAGES: u32 = 3;
/// Calls that are looked at, and asked for, together.
const CHUNK: usize = 500;
/// Twilio's resources are eventually consistent (contract section 4.1): a call that is younger may not be there yet.
const MAY_BE_NEW: Duration = Duration::HOUR;

pub(super) async fn run(
    reconciler: &Reconciler,
    job: Job,
    epoch: Option<Epoch>,
    tell: &impl Fn(&Outcome),
) -> Result<(Outcome, Cursor), ReconcileError> {
    let known = state::load(&reconciler.pool, job).await?.map(|(cursor, _)| cursor).unwrap_or_default();
    let mut off = reconciler.clock_is_off();
    let mut run = Run {
        reconciler,
        job,
        now: reconciler.clock.now() + off,
        tell,
        outcome: Outcome::default(),
        cursor: known,
        newest: None,
        seen: HashSet::new(),
        parents: BTreeMap::new(),
    };
    let read_until = run.cursor.until;
    let window = loop {
        let window = job.window(run.now, read_until, &reconciler.settings);
        run.read_window(&window).await?;
        // The answers have Twilio's time: with a clock that is off it was another hour that was asked for.
        let off_by = reconciler.clock_is_off();
        if (off_by - off).abs() < CLOCKS_AGREE {
            break window;
        }
        tracing::warn!(
            clock.behind_seconds = off_by.whole_seconds(),
            "this machine's clock is {}s behind Twilio's; set it right. Until then Twilio's is gone by",
            off_by.whole_seconds()
        );
        off = off_by;
        run.now = reconciler.clock.now() + off;
    };
    (run.cursor.from, run.cursor.until) = (Some(window.from), Some(window.before));
    run.read_recordings(&window).await?;
    run.read_unsettled().await?;
    run.read_parents().await?;
    if let Some(epoch) = epoch {
        run.freeze(epoch).await?;
    }
    Ok((run.outcome, run.cursor))
}

impl Reconciler {
    /// By how much our clock is behind Twilio's; nothing where they agree, or while that is not known.
    fn clock_is_off(&self) -> Duration {
        let there = self.client.now_there();
        let behind = there.map_or(Duration::ZERO, |there| there - self.clock.now());
        if behind.abs() < CLOCKS_AGREE { Duration::ZERO } else { behind }
    }
}

struct Run<'a, T> {
    reconciler: &'a Reconciler,
    job: Job,
    now: OffsetDateTime,
    tell: &'a T,
    outcome: Outcome,
    cursor: Cursor,
    /// When the newest call started that was read.
    newest: Option<OffsetDateTime>,
    /// The calls that were read, by what is behind the `CA` of their SIDs.
    seen: HashSet<u128>,
    /// Parents that were named; whether Twilio must know them by now.
    parents: BTreeMap<CallSid, bool>,
}

impl<T: Fn(&Outcome)> Run<'_, T> {
    async fn read_window(&mut self, window: &Window) -> Result<(), ReconcileError> {
        let page_size = self.job.limit().map_or(Some(PAGE), |limit| u16::try_from(limit).ok());
        // With a limit, the newest of all are wanted.
        let parts = match self.job.limit() {
            Some(_) => vec![(window.from, None)],
            None => window.parts(),
        };
        for (from, before) in parts {
            let filter = CallFilter {
                started_from: Some(from),
                started_before: before,
                page_size,
                ..CallFilter::default()
            };
            self.read_calls(&filter).await?;
            self.outcome.read_from = Some(from);
            (self.tell)(&self.outcome);
        }
        if self.job.asks_by_status() {
            use domain::call::CallStatus::{InProgress, Queued, Ringing};
            for status in [Queued, Ringing, InProgress] {
                let filter = CallFilter { status: Some(status), page_size, ..CallFilter::default() };
                self.read_calls(&filter).await?;
            }
        }
        Ok(())
    }

    async fn read_calls(&mut self, filter: &CallFilter) -> Result<(), ReconcileError> {
        let client = &self.reconciler.client;
        let mut page = client.calls(filter).await?;
        let mut stale = 0;
        loop {
            let left = self.job.limit().map(|limit| limit.saturating_sub(self.seen.len()));
            let (came, known) = (page.resources.len(), self.seen.len());
            page.resources.truncate(left.unwrap_or(usize::MAX));
            let stored = self.store_calls(page.resources).await?;
            let next = page.next.filter(|_| left.is_none_or(|left| left > came));
            // While what was read is decided, the next page comes.
            let (tally, coming) = futures::join!(self.tally(stored), async {
                match &next {
                    Some(next) => client.next(next).await.map(Some),
                    None => Ok(None),
                }
            });
            self.count(tally?);
            stale = if came > 0 && self.seen.len() == known { stale + 1 } else { 0 };
            if stale > STALE_PAGES {
                return Err(ReconcileError::PagesRepeat { what: "calls" });
            }
            match coming? {
                Some(next) => page = next,
                None => return Ok(()),
            }
        }
    }

    /// Recordings by when they were made: their calls may be older.
    async fn read_recordings(&mut self, window: &Window) -> Result<(), ReconcileError> {
        let client = &self.reconciler.client;
        for (from, before) in window.parts() {
            let filter =
                RecordingFilter { created_from: Some(from), created_before: before, page_size: Some(PAGE) };
            self.read_recording_pages(client.recordings(&filter).await?).await?;
        }
        Ok(())
    }

    async fn read_recording_pages(&mut self, mut page: Page) -> Result<(), ReconcileError> {
        let mut seen = HashSet::new();
        let mut stale = 0;
        loop {
            let (came, known) = (page.resources.len(), seen.len());
            let mut readings = Vec::with_capacity(came);
            for payload in page.resources {
                let (sid, reading) = self.recording(payload);
                if seen.insert(sid) {
                    readings.push(reading);
                }
            }
            let stored = self.store(readings, Vec::new()).await?;
            let tally = self.tally(stored).await?;
            self.count(tally);
            stale = if came > 0 && seen.len() == known { stale + 1 } else { 0 };
            if stale > STALE_PAGES {
                return Err(ReconcileError::PagesRepeat { what: "recordings" });
            }
            match page.next {
                Some(next) => page = self.reconciler.client.next(&next).await?,
                None => return Ok(()),
            }
        }
    }

    /// Calls of which more is expected and which the window did not bring.
    async fn read_unsettled(&mut self) -> Result<(), ReconcileError> {
        let reach = self.job.reach();
        if reach == Reach::Window {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let chunk = self.unsettled(&after).await?;
            let Some(last) = chunk.last() else { return Ok(()) };
            after.clone_from(&last.call_sid);
            let (mut calls, mut recordings) = (Vec::new(), Vec::new());
            for call in chunk {
                let must_be_there = self.now - call.last_heard_at >= MAY_BE_NEW;
                let Ok(sid) = CallSid::try_new(&call.call_sid) else { continue };
                let wanted = match reach {
                    Reach::Window => false,
                    Reach::Unfinished => call.unfinished,
                    Reach::Unpriced(within) => {
                        call.unfinished
                            || call.unpriced && call.ended_at.is_some_and(|ended| self.now - ended <= within)
                    }
                    Reach::Everything => call.unfinished || call.unpriced,
                };
                if let Some(parent) = call.missing_parent.and_then(|sid| CallSid::try_new(&sid).ok()) {
                    *self.parents.entry(parent).or_default() |= must_be_there;
                }
                if call.recording && reach > Reach::Unfinished {
                    recordings.push(sid.clone());
                }
                if wanted && !self.seen.contains(&number(&sid)) {
                    calls.push((sid, must_be_there));
                }
            }
            self.read_each(calls).await?;
            for sid in recordings {
                match self.reconciler.client.recordings_of(&sid).await {
                    Ok(page) => self.read_recording_pages(page).await?,
                    // The call itself tells of it.
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn unsettled(&self, after: &str) -> sqlx::Result<Vec<Unsettled>> {
        Snapshot::open(&self.reconciler.pool).await?.unsettled(after, CHUNK as i64).await
    }

    /// Parents that nobody has told of, and theirs.
    async fn read_parents(&mut self) -> Result<(), ReconcileError> {
        loop {
            let named: Vec<(CallSid, bool)> = std::mem::take(&mut self.parents)
                .into_iter()
                .filter(|(sid, _)| !self.seen.contains(&number(sid)))
                .collect();
            if named.is_empty() {
                return Ok(());
            }
            for named in named.chunks(CHUNK) {
                let sids: Vec<&str> = named.iter().map(|(sid, _)| sid.as_str()).collect();
                let known: Vec<String> = sqlx::query_scalar(
                    "select distinct aggregate_id from call_events
                      where aggregate_type = 'call' and aggregate_id = any($1)
                        and event_type in ('call.created', 'call.frozen')",
                )
                .bind(&sids)
                .fetch_all(&self.reconciler.pool)
                .await?;
                let unknown =
                    named.iter().filter(|(sid, _)| !known.iter().any(|known| known == sid.as_str()));
                self.read_each(unknown.cloned().collect()).await?;
            }
        }
    }

    /// Asks for calls one by one, as many at a time as may be. What was read is stored also where another fails.
    async fn read_each(&mut self, calls: Vec<(CallSid, bool)>) -> Result<(), ReconcileError> {
        let client = &self.reconciler.client;
        let mut answers = stream::iter(calls)
            .map(async |(sid, must_be_there)| {
                let answer = client.call(&sid).await;
                (sid, must_be_there, answer)
            })
            .buffer_unordered(self.reconciler.requests_at_once);
        let (mut found, mut missing, mut failed) = (Vec::new(), Vec::new(), None);
        while let Some((sid, must_be_there, answer)) = answers.next().await {
            match answer {
                Ok(call) => found.push(call),
                Err(error) if is_unknown(&error) => {
                    if must_be_there {
                        missing.push(self.missing(&sid));
                    }
                }
                Err(error) if error.is_credentials() => {
                    failed = Some(error);
                    break;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        drop(answers);
        let stored = self.store_calls(found).await?;
        self.count(self.tally(stored).await?);
        let stored = self.store(missing, Vec::new()).await?;
        self.count(self.tally(stored).await?);
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Leaves alone what is settled, under the epoch that this was found out in.
    async fn freeze(&mut self, epoch: Epoch) -> Result<(), ReconcileError> {
        if self.job.reach() <= Reach::Unfinished {
            return Ok(());
        }
        let bound = |span: std::time::Duration| Duration::try_from(span).unwrap_or(Duration::MAX);
        let settled_after = bound(self.reconciler.settings.settled_after);
        let given_up_after = bound(self.reconciler.settings.cold_window);
        let metadata = json!({ "source": self.job.name() }).to_string();
        let mut after = String::new();
        loop {
            let chunk = self.unsettled(&after).await?;
            let Some(last) = chunk.last() else { return Ok(()) };
            after.clone_from(&last.call_sid);
            let aged: Vec<&str> = chunk
                .iter()
                .filter(|call| call.ended_at.is_some_and(|ended| self.now - ended >= settled_after))
                .map(|call| call.call_sid.as_str())
                .collect();
            let mut connection = self.reconciler.pool.acquire().await?;
            let streams = load_streams(&mut connection, &aged).await?;
            drop(connection);
            let commits = streams.into_iter().filter_map(|(sid, mut state)| {
                let call: &Call = &state.call;
                if call.frozen || !call.is_settled(self.now, settled_after, given_up_after) {
                    return None;
                }
                let events = call.decide(CallCommand::Freeze { at: self.now }).ok()?;
                let events = state.extend(&sid, events, &metadata);
                let unit = Unit { epoch: Some(epoch), events, ..Unit::default() };
                Some(self.reconciler.committer.commit(unit))
            });
            for committed in join_all(commits).await {
                match committed {
                    Ok(()) => self.outcome.frozen += 1,
                    // Something was told of it just now; the next run looks again.
                    Err(CommitError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Stores those that this run has not read before.
    async fn store_calls(&mut self, calls: Vec<Value>) -> Result<Stored, ReconcileError> {
        let (mut readings, mut sids) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
        for payload in calls {
            let read = resource::Call::try_from(&payload);
            let (sid, digest) = match &read {
                Ok(call) => (call.sid.as_str().to_owned(), call.digest()),
                // The worker reads it again and says what is wrong with it, for people to see.
                Err(_) => (text(&payload, "sid"), digest(&payload)),
            };
            if let Ok(sid) = CallSid::try_new(&sid)
                && !self.seen.insert(number(&sid))
            {
                continue;
            }
            self.outcome.total += 1;
            if let Ok(call) = read {
                self.note(call);
            }
            sids.push(sid.clone());
            readings.push(Reading {
                job: self.job.name(),
                resource: Resource::Call,
                call_sid: Some(sid),
                recording_sid: None,
                digest,
                payload,
                read_at: self.now,
            });
        }
        self.store(readings, sids).await
    }

    /// What a call says of the cursor and of its parent.
    fn note(&mut self, call: resource::Call) {
        self.cursor.last_updated_at = self.cursor.last_updated_at.max(call.date_updated);
        if call.start_time > self.newest {
            self.newest = call.start_time;
            self.cursor.last_call_sid = Some(call.sid.as_str().to_owned());
        }
        if let Some(parent) = call.parent_call_sid {
            let age = call.start_time.or(call.date_created).map(|at| self.now - at);
            *self.parents.entry(parent).or_default() |= age.is_some_and(|age| age >= MAY_BE_NEW);
        }
    }

    fn recording(&self, payload: Value) -> (String, Reading) {
        let (sid, digest) = match resource::Recording::try_from(&payload) {
            Ok(recording) => (recording.sid.as_str().to_owned(), recording.digest()),
            Err(_) => (text(&payload, "sid"), digest(&payload)),
        };
        let reading = Reading {
            job: self.job.name(),
            resource: Resource::Recording,
            call_sid: Some(text(&payload, "call_sid")).filter(|sid| !sid.is_empty()),
            recording_sid: Some(sid.clone()),
            digest,
            payload,
            read_at: self.now,
        };
        (sid, reading)
    }

    fn missing(&self, sid: &CallSid) -> Reading {
        Reading {
            job: self.job.name(),
            resource: Resource::MissingCall,
            call_sid: Some(sid.as_str().to_owned()),
            recording_sid: None,
            digest: "20404".to_owned(),
            payload: json!({ "sid": sid, "status": 404, "code": 20404 }),
            read_at: self.now,
        }
    }

    async fn store(&self, readings: Vec<Reading>, calls: Vec<String>) -> Result<Stored, ReconcileError> {
        let rows = inbox::store(&self.reconciler.pool, readings).await?;
        if !rows.is_empty() {
            (self.reconciler.stored)();
        }
        Ok(Stored { rows, calls })
    }

    /// Waits until what was stored is decided: so live webhooks never wait behind more than one page.
    fn tally(&self, stored: Stored) -> impl Future<Output = Result<Tally, ReconcileError>> + use<T> {
        let (reconciler, shown) = (self.reconciler.clone(), self.job.tells_what_is_hidden());
        async move { reconciler.tally(stored, shown).await }
    }

    fn count(&mut self, tally: Tally) {
        tally.add_to(&mut self.outcome);
        (self.tell)(&self.outcome);
    }
}

/// Twilio itself says that it has no such call; a proxy's 404 does not count.
fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 404, code: Some(20404), .. })
}

/// A SID is 128 bits in hexadecimal digits.
fn number(sid: &CallSid) -> u128 {
    u128::from_str_radix(&sid.as_str()[2..], 16).unwrap_or_default()
}

/// Of what cannot be read: all of it.
fn digest(payload: &Value) -> String {
    format!("{:x}", Sha256::digest(payload.to_string()))
}

fn text(resource: &Value, name: &str) -> String {
    resource.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
