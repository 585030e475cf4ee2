//! Filters on times: `StartTime=`, `StartTime>=` (on or after) and `StartTime<=` (before) (CONTRACT §4.1).

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Iso8601;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime};

use super::error::ApiError;
use crate::twilio::form::Form;

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// Which times match; everything, when nothing was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// On or after.
    pub from: Option<OffsetDateTime>,
    /// Before.
    pub to: Option<OffsetDateTime>,
}

impl Window {
    /// Reads the three filters on `name`, which must be dates or ISO 8601 times in UTC.
    pub fn read(query: &Form, name: &str) -> Result<Window, ApiError> {
        let given = |suffix: &str| {
            let name = format!("{name}{suffix}");
            match query.get(&name).filter(|value| !value.is_empty()) {
                None => Ok(None),
                Some(value) => parse(value).map(Some).ok_or_else(|| {
                    ApiError::invalid(
                        20001,
                        format!("{name} must be a date or an ISO 8601 time, not {value}"),
                    )
                }),
            }
        };
        let (at, after, before) = (given("")?, given(">")?, given("<")?);
        Ok(Window {
            from: at.map(|(from, _)| from).max(after.map(|(from, _)| from)),
            to: [at.map(|(from, length)| from + length), before.map(|(from, _)| from)]
                .into_iter()
                .flatten()
                .min(),
        })
    }

    pub fn is_open(&self) -> bool {
        *self == Window::default()
    }

    /// Times are compared as they are shown, in whole seconds. What has no time matches only an open window.
    pub fn holds(&self, time: Option<OffsetDateTime>) -> bool {
        let Some(time) = time else { return self.is_open() };
        let time = time.replace_nanosecond(0).unwrap_or(time);
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }
}

/// The first moment that is meant, and how long it goes on: a day or a second.
fn parse(value: &str) -> Option<(OffsetDateTime, Duration)> {
    if let Ok(day) = Date::parse(value, DAY) {
        return Some((day.midnight().assume_utc(), Duration::DAY));
    }
    let time = OffsetDateTime::parse(value, &Iso8601::PARSING)
        .or_else(|_| PrimitiveDateTime::parse(value, &Iso8601::PARSING).map(PrimitiveDateTime::assume_utc))
        .ok()?;
    Some((time, Duration::SECOND))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn window(query: &str) -> Result<Window, ApiError> {
        Window::read(&Form::parse(query.as_bytes()).unwrap(), "StartTime")
    }

    #[test]
    fn on_or_after_is_inclusive_and_before_is_not() {
        let window = window("StartTime%3E=2026-02-08&StartTime%3C=2026-02-09T06:00:00Z").unwrap();
        assert!(window.holds(Some(datetime!(2026-02-08 00:00 UTC))));
        assert!(!window.holds(Some(datetime!(2026-02-07 23:59:59 UTC))));
        assert!(window.holds(Some(datetime!(2026-02-09 05:59:59.9 UTC))));
        assert!(!window.holds(Some(datetime!(2026-02-09 06:00 UTC))));
        assert!(!window.holds(None));
    }

    #[test]
    fn a_date_is_a_whole_day_and_a_time_is_a_second() {
        let day = window("StartTime=2026-02-08").unwrap();
        assert!(day.holds(Some(datetime!(2026-02-08 23:59:59 UTC))));
        assert!(!day.holds(Some(datetime!(2026-02-09 00:00 UTC))));
        let second = window("StartTime=2026-02-08T06%3A00%3A00Z").unwrap();
        assert!(second.holds(Some(datetime!(2026-02-08 06:00:00.7 UTC))));
        assert!(!second.holds(Some(datetime!(2026-02-08 06:00:01 UTC))));
    }

    #[test]
    fn nothing_asked_for_matches_everything_and_nonsense_is_refused() {
        assert!(window("").unwrap().holds(None));
        let error = window("StartTime%3E=yesterday").unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (400, 20001));
        assert!(error.message.contains("yesterday"), "{}", error.message);
    }
}
