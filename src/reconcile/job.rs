//! What is done, how often, and how far back it looks.

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::window::Window;
use crate::config;

/// Twilio keeps calls for thirteen months (contract section 4.8).
const OLDEST: Duration = Duration::days(400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The last hour, and every call that has not ended.
    Hot,
    /// The last day, and what has ended since without a price.
    Warm,
    /// The last days, and every call of which more is expected.
    Cold,
    /// The first start on an empty database (seed 001: 7 days, 100 calls).
    Initial,
    /// `POST /api/sync/today` (seed 001: 3 days, 500 calls).
    Today,
    /// `POST /api/sync/recent` (seed 001: 1 hour, 50 calls).
    Recent,
    /// `callbook reconcile`.
    Range(Window),
}

/// Which calls beyond its window a job asks for one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Parents of the calls that it read, and no more.
    Window,
    /// Calls that have not ended, and parents that are missing.
    Unfinished,
    /// Those, and calls without a price that ended within this time.
    Unpriced(Duration),
    /// Every call of which more is expected.
    Everything,
}

impl Job {
    /// The jobs that run by themselves.
    pub(super) const SCHEDULED: [Self; 3] = [Self::Hot, Self::Warm, Self::Cold];

    /// Those that need no more than their name to be done, in the order in which people read them.
    pub const NAMED: [Self; 6] =
        [Self::Hot, Self::Warm, Self::Cold, Self::Initial, Self::Today, Self::Recent];

    pub fn of_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|job| job.name() == name)
    }

    /// As `sync_state`, the inbox and the log name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "reconcile_hot",
            Self::Warm => "reconcile_warm",
            Self::Cold => "reconcile_cold",
            Self::Initial => "sync_initial",
            Self::Today => "sync_today",
            Self::Recent => "sync_recent",
            Self::Range(_) => "reconcile_range",
        }
    }

    /// How often it runs by itself.
    pub(super) fn every(self, settings: &config::Reconcile) -> Option<std::time::Duration> {
        match self {
            Self::Hot => settings.hot,
            Self::Warm => settings.warm,
            Self::Cold => settings.cold,
            Self::Initial | Self::Today | Self::Recent | Self::Range(_) => None,
        }
    }

    /// What it reads, where it has read up to `read_until` before.
    pub(super) fn window(
        self,
        now: OffsetDateTime,
        read_until: Option<OffsetDateTime>,
        settings: &config::Reconcile,
    ) -> Window {
        let cold = Duration::try_from(settings.cold_window).unwrap_or(OLDEST);
        let trailing = |span, most| Window::trailing(now, span, read_until, most);
        match self {
            Self::Hot => trailing(Duration::HOUR, Duration::DAY),
            Self::Warm => trailing(Duration::DAY, cold.max(Duration::DAY)),
            Self::Cold => trailing(cold, OLDEST),
            // These are asked for anew each time.
            Self::Initial => Window::trailing(now, Duration::WEEK, None, OLDEST),
            Self::Today => Window::trailing(now, Duration::days(3), None, OLDEST),
            Self::Recent => Window::trailing(now, Duration::HOUR, None, OLDEST),
            Self::Range(window) => window,
        }
    }

    /// Calls that it reads at most, the newest.
    pub(super) fn limit(self) -> Option<usize> {
        match self {
            Self::Initial => Some(100),
            Self::Today => Some(500),
            Self::Recent => Some(50),
            Self::Hot | Self::Warm | Self::Cold | Self::Range(_) => None,
        }
    }

    pub(super) fn reach(self) -> Reach {
        match self {
            Self::Hot => Reach::Unfinished,
            Self::Warm => Reach::Unpriced(Duration::days(2)),
            Self::Cold => Reach::Everything,
            Self::Initial | Self::Today | Self::Recent | Self::Range(_) => Reach::Window,
        }
    }

    /// Whether somebody wants to know what the sync filters hide; that is known only once it is folded.
    pub(super) fn tells_what_is_hidden(self) -> bool {
        self.reach() == Reach::Window
    }

    /// Whether calls are asked for by status too: those that have not started are in no window.
    pub(super) fn asks_by_status(self) -> bool {
        self == Self::Hot
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
