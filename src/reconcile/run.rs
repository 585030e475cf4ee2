//! One run of a job: read the window, then what is beyond it, then leave alone what is settled.

mod freeze;
mod take;

use std::collections::{BTreeMap, HashSet};

use domain::sid::CallSid;
use futures::{StreamExt, stream};
use projections::generation::Snapshot;
use projections::unsettled::After;
use time::{Duration, OffsetDateTime};

use super::job::Reach;
use super::list::List;
use super::outcome::Outcome;
use super::state::{self, Cursor};
use super::window::Window;
use super::{Job, ReconcileError, Reconciler};
use crate::lease::Epoch;
use crate::twilio::client::{CallFilter, ClientError, Page, RecordingFilter};

/// How far two clocks are apart that show the same time.
pub(crate) const CLOCKS_AGREE: Duration = Duration::MINUTE;
/// Resources a page. Twilio gives a thousand at most.
const PAGE: u16 = 200;
/// Single calls that may fail before it is Twilio that fails.
const FAILURES: u32 = 10;
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
    let off = reconciler.clock_is_off();
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
        failed: None,
        failures: 0,
    };
    let read_until = run.cursor.until;
    let mut window = job.window(run.now, read_until, &reconciler.settings);
    run.read_window(&window).await?;
    // The answers have Twilio's time: with a clock that is off it was another hour that was asked for.
    let off_by = reconciler.clock_is_off();
    if (off_by - off).abs() >= CLOCKS_AGREE {
        if !off_by.is_zero() {
            tracing::warn!(
                clock.behind_seconds = off_by.whole_seconds(),
                "this machine's clock is {}s behind Twilio's; set it right. Until then Twilio's is gone by",
                off_by.whole_seconds()
            );
        }
        run.now = reconciler.clock.now() + off_by;
        window = job.window(run.now, read_until, &reconciler.settings);
        run.read_window(&window).await?;
    }
    (run.cursor.from, run.cursor.until) = (Some(window.from), Some(window.before));
    run.read_recordings(&window).await?;
    // Before what is not settled is asked for: what is too old for more to come need not be.
    if let Some(epoch) = epoch {
        run.freeze(epoch).await?;
    }
    run.read_unsettled().await?;
    run.read_parents().await?;
    if let Some(error) = run.failed {
        return Err(error.into());
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
    /// Why something could not be had, and how often that was so.
    failed: Option<ClientError>,
    failures: u32,
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
        let mut list = List::of("calls", client, client.calls(filter).await?);
        let mut coming = list.next().await?;
        while let Some(mut calls) = coming {
            let left = self.job.limit().map_or(usize::MAX, |limit| limit.saturating_sub(self.seen.len()));
            let is_enough = calls.len() >= left;
            calls.truncate(left);
            let stored = self.store_calls(calls).await?;
            // While what was read is decided, the next page comes.
            let (tally, next) = futures::join!(self.tally(stored), async {
                if is_enough { Ok(None) } else { list.next().await }
            });
            self.count(tally?);
            coming = next?;
        }
        let seen = &self.seen;
        self.parents.retain(|sid, _| !seen.contains(&number(sid)));
        Ok(())
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

    async fn read_recording_pages(&mut self, first: Page) -> Result<(), ReconcileError> {
        let mut list = List::of("recordings", &self.reconciler.client, first);
        while let Some(recordings) = list.next().await? {
            let readings = recordings.into_iter().map(|payload| self.recording(payload)).collect();
            let stored = self.store(readings, Vec::new()).await?;
            self.count(self.tally(stored).await?);
        }
        Ok(())
    }

    /// Calls of which more is expected and which the window did not bring.
    async fn read_unsettled(&mut self) -> Result<(), ReconcileError> {
        let reach = self.job.reach();
        if reach == Reach::Window {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let mut snapshot = Snapshot::open(&self.reconciler.pool).await?;
            let chunk = snapshot.unsettled(chunk_after(&after), reach > Reach::Unfinished).await?;
            drop(snapshot);
            let Some(last) = chunk.last().filter(|_| self.failures < FAILURES) else { return Ok(()) };
            after.clone_from(&last.call_sid);
            let (mut calls, mut recordings) = (Vec::new(), Vec::new());
            for call in chunk {
                // That was by our clock or by Twilio's: where they differ, by the one that is behind.
                let now = self.now.min(self.reconciler.clock.now());
                let must_be_there = now - call.last_heard_at >= MAY_BE_NEW;
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
                    Err(error) => {
                        self.failures += 1;
                        self.failed.get_or_insert(error);
                    }
                }
            }
        }
    }

    /// Parents that nobody has told of, and theirs.
    async fn read_parents(&mut self) -> Result<(), ReconcileError> {
        loop {
            let named: Vec<(CallSid, bool)> = std::mem::take(&mut self.parents)
                .into_iter()
                .filter(|(sid, _)| !self.seen.contains(&number(sid)))
                .collect();
            if named.is_empty() || self.failures >= FAILURES {
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

    /// Asks for calls one by one, as many at a time as may be. One that cannot be had holds up no other; where too many
    /// cannot, nothing more is asked for.
    async fn read_each(&mut self, calls: Vec<(CallSid, bool)>) -> Result<(), ReconcileError> {
        let client = &self.reconciler.client;
        let mut answers = stream::iter(calls)
            .map(async |(sid, must_be_there)| {
                let answer = client.call(&sid).await;
                (sid, must_be_there, answer)
            })
            .buffer_unordered(self.reconciler.requests_at_once);
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        while let Some((sid, must_be_there, answer)) = answers.next().await {
            match answer {
                Ok(call) => found.push(call),
                Err(error) if error.is_not_found() => {
                    if must_be_there {
                        missing.push(self.missing(&sid));
                    }
                }
                // One that Twilio does not hand out holds up no other.
                Err(ClientError::Refused { status: 400 | 403..=499, .. }) => {
                    tracing::warn!(call.sid = sid.as_str(), "Twilio does not hand out {sid}; it is left out");
                    self.outcome.skip("not handed out by Twilio");
                }
                Err(error) => {
                    self.failures += if error.is_credentials() { FAILURES } else { 1 };
                    self.failed.get_or_insert(error);
                    if self.failures >= FAILURES {
                        break;
                    }
                }
            }
        }
        drop(answers);
        let stored = self.store_calls(found).await?;
        self.count(self.tally(stored).await?);
        let stored = self.store(missing, Vec::new()).await?;
        self.count(self.tally(stored).await?);
        Ok(())
    }
}

fn chunk_after(call_sid: &str) -> After<'_> {
    After { call_sid, limit: CHUNK as i64 }
}

/// A SID is 128 bits in hexadecimal digits.
fn number(sid: &CallSid) -> u128 {
    u128::from_str_radix(&sid.as_str()[2..], 16).unwrap_or_default()
}
