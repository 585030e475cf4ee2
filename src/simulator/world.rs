//! What the simulated Twilio knows: its calls, recordings and messages, as they are at any moment.
//!
//! What happens is decided when a call is placed. From then on each resource is a pure function of the clock, so
//! it changes at the moment at which the webhook about it is sent, whether or not anybody sends that.

mod call;
mod faults;
mod journal;
mod ledger;
mod message;
mod number;
mod shelf;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

use self::call::{Moment, Pace};
use self::faults::Dice;
use self::journal::Journal;
use self::ledger::Entry;
use super::Account;
use super::script::{End, Leg, Script, Status};
use crate::clock::Clock;

pub use self::call::{Call, Recording, chance};
pub use self::faults::{ApiTraffic, Cut, Failure, Fate, Faults, Kind};
pub use self::journal::JournalError;
pub use self::ledger::Ledger;
pub use self::message::Message;
pub use self::number::OwnedNumber;
pub use self::shelf::{Resource, Shelf};

const FOLDER: &str = "simulated-twilio";
/// How long the journal remembers.
const KEPT: Duration = Duration::days(7);

/// The simulated Twilio's memory. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct World {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    account: Account,
    numbers: Vec<OwnedNumber>,
    clock: Clock,
    ledger: RwLock<Ledger>,
    /// `None`: it forgets all when it ends.
    journal: Option<Journal>,
    /// API keys besides the account's own credentials.
    keys: Mutex<Vec<(String, SecretString)>>,
    /// When what is too old was last dropped.
    swept: Mutex<OffsetDateTime>,
    dice: Mutex<Dice>,
    traffic: Mutex<ApiTraffic>,
}

/// What a leg is at Twilio once all is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub call_sid: String,
    pub parent_call_sid: Option<String>,
    /// `inbound`, `outbound-api` or `outbound-dial`.
    pub direction: String,
    pub from: String,
    pub to: String,
    pub status: Status,
    /// Call time, as in the resource, which gives whole seconds.
    pub start_time: OffsetDateTime,
    pub end_time: OffsetDateTime,
    /// Seconds from answer to end; 0 for what nobody answered, whatever the resource says of it.
    pub duration: i64,
    /// As in the resource, in US dollars: `-0.00850`; `None` for what nobody answered.
    pub price: Option<String>,
    pub recordings: Vec<TrueRecording>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueRecording {
    pub sid: String,
    /// Seconds.
    pub duration: i64,
    pub channels: u8,
}

impl World {
    /// One that is forgotten when its last clone is dropped.
    pub fn new(account: Account, clock: Clock) -> World {
        World::with(account, clock, None)
    }

    /// The one of a data folder, which every callbook and `callbook simulate` on that folder shares. What was placed
    /// more than seven days ago is dropped.
    pub fn open(data_dir: &Path, account: Account, clock: Clock) -> Result<World, JournalError> {
        let journal = Journal::open(data_dir.join(FOLDER))?;
        journal.drop_before((clock.now() - KEPT).date())?;
        Ok(World::with(account, clock, Some(journal)))
    }

    fn with(account: Account, clock: Clock, journal: Option<Journal>) -> World {
        let shared = Shared {
            numbers: OwnedNumber::of(&account),
            account,
            swept: Mutex::new(clock.now()),
            clock,
            ledger: RwLock::default(),
            journal,
            keys: Mutex::default(),
            dice: Mutex::default(),
            traffic: Mutex::default(),
        };
        World { shared: Arc::new(shared) }
    }

    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    pub(super) fn numbers(&self) -> &[OwnedNumber] {
        &self.shared.numbers
    }

    pub fn now(&self) -> OffsetDateTime {
        self.shared.clock.now()
    }

    /// Adds a family that begins at `begun` on the clock and passes `speed` times as fast as a real one. Its resources
    /// tell the script's own times.
    pub fn place(&self, script: &Script, begun: OffsetDateTime, speed: f64) {
        let pace = Pace { begun: Moment::new(script.started_at, begun), speed };
        self.add(&script.legs, pace);
    }

    /// Adds a single leg that begins now, at the speed of a real one.
    pub(super) fn add_now(&self, leg: &Leg) {
        self.add(std::slice::from_ref(leg), Pace { begun: Moment::real(self.now()), speed: 1.0 });
    }

    fn add(&self, legs: &[Leg], pace: Pace) {
        let calls = legs.iter().map(|leg| Call::of(leg, pace)).collect();
        let recordings = legs
            .iter()
            .filter_map(|leg| Some(Recording::of(leg.recording.as_ref()?, &leg.call_sid, pace)))
            .collect();
        self.record(Entry::Placed { calls, recordings });
    }

    pub fn send(&self, message: Message) {
        self.record(Entry::Sent(message));
    }

    /// Ends a call now, and with it what it dialled, unless it has ended by itself. Gives how it ended; `None` for a
    /// call that is not known.
    pub fn end(&self, call_sid: &str) -> Option<End> {
        let at = Moment::real(self.now());
        let is_over = self.read(|ledger, _| {
            let call = ledger.calls.get(call_sid)?;
            call.at(at.wall).map(|state| state.status.is_terminal())
        })?;
        if !is_over {
            self.record(Entry::Ended { sid: call_sid.to_owned(), at });
        }
        self.read(|ledger, _| ledger.calls.get(call_sid).map(Call::how_it_ends))
    }

    /// Deletes a call or a recording: it is not in lists any more, and its own URL answers 404.
    pub fn forget(&self, sid: &str) {
        self.record(Entry::Forgotten { sid: sid.to_owned() });
    }

    /// What every leg ends as once all is in, the oldest first, forgotten ones left out.
    pub fn truth(&self) -> Vec<Truth> {
        self.read(|ledger, _| {
            let recordings = ledger.recordings_by_call();
            let known = ledger.calls.all().filter(|call| ledger.is_known(&call.sid));
            known
                .map(|call| Truth {
                    call_sid: call.sid.clone(),
                    parent_call_sid: call.parent_sid.clone(),
                    direction: call.direction.clone(),
                    from: call.from.clone(),
                    to: call.to.clone(),
                    status: call.status,
                    start_time: call.start_time(),
                    end_time: call.ended.call,
                    duration: call.seconds,
                    price: call.answered.map(|_| call.price()),
                    recordings: recordings
                        .get(call.sid.as_str())
                        .into_iter()
                        .flatten()
                        .map(|recording| TrueRecording {
                            sid: recording.sid.clone(),
                            duration: recording.seconds,
                            channels: recording.channels,
                        })
                        .collect(),
                })
                .collect()
        })
    }

    /// Accepts an API key beside the account's own credentials.
    pub fn add_api_key(&self, sid: &str, secret: &str) {
        locked(&self.shared.keys).push((sid.to_owned(), SecretString::from(secret)));
    }

    /// Whether these are the account's SID and token, or an API key and its secret.
    pub fn is_allowed(&self, user: &str, password: &str) -> bool {
        let is = |sid: &str, secret: &SecretString| {
            sid == user && bool::from(secret.expose_secret().as_bytes().ct_eq(password.as_bytes()))
        };
        let account = &self.shared.account;
        is(&account.sid, &account.auth_token)
            || locked(&self.shared.keys).iter().any(|(sid, secret)| is(sid, secret))
    }

    /// From the next request on.
    pub fn set_faults(&self, faults: Faults) {
        *locked(&self.shared.dice) = Dice::new(faults);
    }

    pub fn faults(&self) -> Faults {
        locked(&self.shared.dice).faults.clone()
    }

    /// What was asked of the API so far.
    pub fn traffic(&self) -> ApiTraffic {
        locked(&self.shared.traffic).clone()
    }

    pub(super) fn roll(&self) -> (Faults, Fate) {
        let mut dice = locked(&self.shared.dice);
        let fate = dice.roll();
        (dice.faults.clone(), fate)
    }

    pub(super) fn count<T>(&self, count: impl FnOnce(&mut ApiTraffic) -> T) -> T {
        count(&mut locked(&self.shared.traffic))
    }

    /// Reads what there is; `see` gets the time that is shown, which lags where the faults say so.
    pub(super) fn read<T>(&self, see: impl FnOnce(&Ledger, OffsetDateTime) -> T) -> T {
        self.follow();
        let shown = self.now() - locked(&self.shared.dice).faults.lag;
        see(&self.shared.ledger.read().unwrap_or_else(PoisonError::into_inner), shown)
    }

    /// Takes in what this or another process has written. The first time this reads everything that is kept.
    pub fn follow(&self) {
        let Some(journal) = &self.shared.journal else { return };
        self.sweep(journal);
        if let Err(error) = journal.follow(|news| self.apply(news)) {
            tracing::error!(error = projections::chain(&error), "the simulated Twilio knows nothing new");
        }
    }

    /// Once a day, so that one that runs for long does not grow for as long.
    fn sweep(&self, journal: &Journal) {
        let now = self.now();
        {
            let mut swept = locked(&self.shared.swept);
            if now - *swept < Duration::DAY {
                return;
            }
            *swept = now;
        }
        if let Err(error) = journal.drop_before((now - KEPT).date()) {
            tracing::error!(
                error = projections::chain(&error),
                "what the simulated Twilio knew stays on the disk"
            );
        }
        self.shared.ledger.write().unwrap_or_else(PoisonError::into_inner).drop_older_than(now - KEPT);
    }

    /// A change that cannot be kept happens all the same, until the next start.
    fn record(&self, entry: Entry) {
        let kept = match &self.shared.journal {
            None => false,
            Some(journal) => match journal.append(&entry, self.now()) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(
                        error = projections::chain(&error),
                        "what happens at the simulated Twilio is forgotten at the next start"
                    );
                    false
                }
            },
        };
        // What was kept is taken in when somebody asks, with what others wrote.
        if !kept {
            self.apply(vec![entry]);
        }
    }

    fn apply(&self, entries: Vec<Entry>) {
        let mut ledger = self.shared.ledger.write().unwrap_or_else(PoisonError::into_inner);
        entries.into_iter().for_each(|entry| ledger.apply(entry));
    }
}

/// What panicked while it held one of these had not begun to change it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
