//! The query parameters of a request: each is given at most once, and what makes no sense is named. Those that nobody
//! asks for are ignored.

use std::ops::RangeInclusive;

use axum::extract::Query;
use axum::http::Uri;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use super::problem::ApiError;

/// The parameters, decoded.
#[derive(Debug)]
pub struct Given(Vec<(String, String)>);

impl Given {
    /// Bytes that are not UTF-8 come out as U+FFFD.
    pub fn read(uri: &Uri) -> Result<Self, ApiError> {
        let Query(pairs) = Query::try_from_uri(uri).map_err(ApiError::internal)?;
        Ok(Self(pairs))
    }

    /// As it came.
    pub fn get(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(again) => Err(bad(name, again, "given once")),
        }
    }

    /// For what is compared with a column: none can have U+0000, and PostgreSQL does not take it.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, ApiError> {
        match self.get(name)? {
            Some(text) if text.contains('\0') => Err(bad(name, text, "text without the character U+0000")),
            text => Ok(text),
        }
    }

    /// What `read` makes of it.
    pub fn one<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name)? else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| bad(name, text, expected))
    }

    pub fn number(
        &self,
        name: &'static str,
        allowed: RangeInclusive<i64>,
        expected: &'static str,
    ) -> Result<Option<i64>, ApiError> {
        self.one(name, expected, |text| number(text).filter(|number| allowed.contains(number)))
    }

    pub fn time(&self, name: &'static str) -> Result<Option<OffsetDateTime>, ApiError> {
        self.one(name, TIME, time)
    }
}

/// A single number; `default` where it is not given.
pub fn whole_number(
    uri: &Uri,
    name: &'static str,
    default: i64,
    allowed: RangeInclusive<i64>,
    expected: &'static str,
) -> Result<i64, ApiError> {
    Ok(Given::read(uri)?.number(name, allowed, expected)?.unwrap_or(default))
}

/// Digits only: `i64::from_str` takes a plus sign as well.
pub fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What a time looks like.
pub const TIME: &str = "a time with its zone, such as 2026-02-08T06:11:30Z, between the years 1800 and 2300";

/// RFC 3339; what is far from the calendar of calls, PostgreSQL may not have.
pub fn time(text: &str) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    (1800..2300).contains(&time.year()).then_some(time)
}

pub fn bad(name: &'static str, value: &str, expected: &'static str) -> ApiError {
    ApiError::BadParameter { name, value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn given(query: &str) -> Given {
        Given::read(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn what_is_given_is_read() {
        let given = given("source=a%20b&type=&limit=7&from=2026-02-08T07:11:30%2B01:00");
        assert_eq!(given.text("source").unwrap(), Some("a b"));
        assert_eq!(given.text("type").unwrap(), Some(""));
        assert_eq!(given.text("other").unwrap(), None);
        assert_eq!(given.number("limit", 1..=9, "").unwrap(), Some(7));
        assert_eq!(given.time("from").unwrap(), Some(datetime!(2026-02-08 06:11:30 UTC)));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for query in
            ["limit=0", "limit=", "limit=%2B7", "limit=x", "limit=1&limit=1", "limit=99999999999999999999"]
        {
            let refused = given(query).number("limit", 1..=9, "a number");
            assert!(matches!(refused, Err(ApiError::BadParameter { name: "limit", .. })), "{query}");
        }
        for query in ["from=yesterday", "from=2026-02-08", "from=1799-12-31T00:00:00Z", "from=%00"] {
            let refused = given(query).time("from");
            assert!(matches!(refused, Err(ApiError::BadParameter { name: "from", .. })), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reading_of_a_time_panic(text in "\\PC*") {
            let _ = time(&text);
        }
    }
}
