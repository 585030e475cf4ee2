//! Spans of start times. Twilio's lists filter by when a call started and by nothing that changes (contract section
//! 4.1), so a window is read again and again.

use time::{Duration, OffsetDateTime};

/// From a time on, up to another or to whatever is the newest. UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: OffsetDateTime,
    pub before: OffsetDateTime,
    /// Its end is now: calls that start while it is read belong to it.
    pub open: bool,
}

/// Why a span of time cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("{from} to {until} has no length; give a time that is later than where it begins")]
    Empty { from: OffsetDateTime, until: OffsetDateTime },
    #[error("{from} is in the future: now it is {now}")]
    Future { from: OffsetDateTime, now: OffsetDateTime },
}

impl Window {
    /// What an operator asks for; an end in the future is now.
    pub fn try_new(
        from: OffsetDateTime,
        until: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Result<Self, WindowError> {
        if from >= now {
            return Err(WindowError::Future { from, now });
        }
        match until.filter(|until| *until < now) {
            None => Ok(Self { from, before: now, open: true }),
            Some(until) if until > from => Ok(Self { from, before: until, open: false }),
            Some(until) => Err(WindowError::Empty { from, until }),
        }
    }

    /// The last `span`, and what came since `read_until` if that is longer ago, but no more than `most`.
    pub(super) fn trailing(
        now: OffsetDateTime,
        span: Duration,
        read_until: Option<OffsetDateTime>,
        most: Duration,
    ) -> Self {
        // A clock that was ahead has left a mark in the future.
        let since = read_until.map_or(now, |until| until.min(now));
        Self { from: (since - span).max(now - most), before: now, open: true }
    }

    pub fn length(&self) -> Duration {
        self.before - self.from
    }

    /// Parts of a day at most, the newest first: the shorter a list is, the less moves while it is read. The bounds
    /// are for Twilio, which has whole seconds: nothing falls between two parts.
    pub(super) fn parts(&self) -> Vec<(OffsetDateTime, Option<OffsetDateTime>)> {
        let mut parts = Vec::new();
        let mut before = self.before;
        while before > self.from {
            let from = (before - Duration::DAY).max(self.from).truncate_to_second();
            let is_newest = parts.is_empty();
            parts.push((from, (!is_newest || !self.open).then_some(before)));
            before = from;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-02-08 12:00 UTC);

    #[test]
    fn a_window_of_no_length_or_in_the_future_is_refused_and_one_that_reaches_there_ends_now() {
        let hour = |hour: u8| NOW.replace_hour(hour).unwrap();
        assert_eq!(
            Window::try_new(hour(9), Some(hour(9)), NOW).unwrap_err().to_string(),
            "2026-02-08 9:00:00.0 +00:00:00 to 2026-02-08 9:00:00.0 +00:00:00 has no length; give a time that is \
             later than where it begins"
        );
        assert!(matches!(Window::try_new(hour(9), Some(hour(8)), NOW), Err(WindowError::Empty { .. })));
        assert!(matches!(Window::try_new(NOW, None, NOW), Err(WindowError::Future { .. })));
        let open = Window { from: hour(9), before: NOW, open: true };
        assert_eq!(Window::try_new(hour(9), None, NOW), Ok(open));
        assert_eq!(Window::try_new(hour(9), Some(hour(18)), NOW), Ok(open));
        assert!(!Window::try_new(hour(9), Some(hour(10)), NOW).unwrap().open);
    }

    #[test]
    fn a_job_that_has_not_run_for_long_looks_as_much_further_back() {
        let trailing = |read_until| Window::trailing(NOW, Duration::HOUR, read_until, Duration::DAY).from;
        assert_eq!(trailing(None), NOW - Duration::HOUR);
        assert_eq!(trailing(Some(NOW - Duration::MINUTE)), NOW - Duration::minutes(61));
        assert_eq!(trailing(Some(NOW - Duration::WEEK)), NOW - Duration::DAY);
        assert_eq!(trailing(Some(NOW + Duration::WEEK)), NOW - Duration::HOUR);
    }

    #[test]
    fn the_parts_of_a_window_are_days_that_leave_nothing_out() {
        let window = Window { from: datetime!(2026-02-06 03:04:05.6 UTC), before: NOW, open: true };
        assert_eq!(
            window.parts(),
            [
                (datetime!(2026-02-07 12:00 UTC), None),
                (datetime!(2026-02-06 12:00 UTC), Some(datetime!(2026-02-07 12:00 UTC))),
                (datetime!(2026-02-06 03:04:05 UTC), Some(datetime!(2026-02-06 12:00 UTC))),
            ]
        );
        let closed = Window { open: false, ..window };
        assert_eq!(closed.parts()[0].1, Some(NOW));
    }
}
