//! What came of a job, in calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use super::window::Window;

/// Each call that Twilio told of is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Outcome {
    /// Calls that Twilio told of.
    pub total: u64,
    /// Those of them that nobody had told of, and that are shown.
    pub synced: u64,
    /// Those that were known, and of which something was not.
    pub updated: u64,
    /// Calls that are recorded and hidden (seed 000, "Sync Filters"), or that could not be read.
    pub skipped: u64,
    pub skipped_reasons: BTreeMap<String, u64>,
    /// Recordings that nobody had told of so.
    pub recordings: u64,
    /// Calls that Twilio does not know, although it was they who told of them.
    pub missing: u64,
    /// Calls that are left alone from now on.
    pub frozen: u64,
    /// From when on the window has been read so far; it is read from its end.
    #[serde(skip)]
    pub read_from: Option<OffsetDateTime>,
}

impl Outcome {
    /// How much of the window has been read, and how long it is, in hours.
    pub fn hours_of(&self, window: &Window) -> (u64, u64) {
        let hours = |span: Duration| span.whole_hours().max(0).unsigned_abs();
        let read = self.read_from.map_or(Duration::ZERO, |from| window.before - from);
        (hours(read), hours(window.length()).max(1))
    }

    pub(super) fn skip(&mut self, reason: &str) {
        self.skipped += 1;
        *self.skipped_reasons.entry(reason.to_owned()).or_default() += 1;
    }
}
