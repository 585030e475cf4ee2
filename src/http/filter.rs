//! What calls are looked for, under the same names wherever that is asked: lists of conversations and of calls,
//! statistics, and the page's own address.
//!
//! What makes no sense is answered with the parameter's name, never left out: a list that is filtered by less than was
//! asked is a wrong one.

use axum::http::Uri;
use domain::call::CallStatus;
use domain::direction::Direction;
use domain::phone::PhoneNumber;
use projections::queries::{Filter, Search, SearchError, State};
use projections::stats::Bound;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, UtcOffset};
use utoipa::{IntoParams, ToSchema};

use super::given::{Given, bad};
use super::problem::ApiError;

/// Which calls. Whatever is given must be true of one and the same call.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `calls` reads")]
pub struct CallParams {
    #[param(inline)]
    direction: Option<ShownDirection>,
    /// What became of the whole call, as people are shown it.
    #[param(inline)]
    status: Option<ShownStatus>,
    /// Inbound, and answered by nobody.
    missed: Option<bool>,
    /// The whole number of the customer or of our line: E.164, or ten digits of North America.
    #[param(example = "+15085140320")]
    number: Option<String>,
    /// A part of the customer's name or number, in any case; for a number, in any spelling. Names are the contact's and
    /// those that the network gave for a caller.
    #[param(max_length = 100, example = "514-0320")]
    search: Option<String>,
    /// Whether there is something to hear.
    has_recording: Option<bool>,
}

/// Which conversations, by what people have done with them; their calls have no say in it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `state` reads")]
pub struct StateParams {
    /// Whether it is put aside: `archived` of the conversation. Lists of calls do not ask for it.
    archived: Option<bool>,
    /// Whether a missed call is unread: `unread_count` of the conversation is more than 0. Lists of calls do not ask for
    /// it.
    unread: Option<bool>,
}

/// When the calls began.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `from_uri` reads")]
pub struct TimeParams {
    /// Calls that began then or later: RFC 3339, or a date in UTC.
    #[param(example = "2026-02-01")]
    from: Option<String>,
    /// Calls that began before that time (RFC 3339), or on that date in UTC or before.
    #[param(example = "2026-02-28")]
    to: Option<String>,
}

/// The directions of calls that threads show.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "says what `direction` reads")]
enum ShownDirection {
    Inbound,
    Outbound,
    External,
}

/// Twilio's words.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "says what `status` reads")]
enum ShownStatus {
    Queued,
    Initiated,
    Ringing,
    InProgress,
    Canceled,
    NoAnswer,
    Busy,
    Failed,
    Completed,
}

const DIRECTIONS: &str = "inbound, outbound or external; internal calls are in no thread";
const STATUSES: &str =
    "queued, initiated, ringing, in-progress, completed, busy, no-answer, canceled or failed";
const NUMBER: &str = "a phone number such as +15085140320 (a plus sign in an address is written %2B)";
pub(super) const TRUTH: &str = "true or false";
pub(super) const TIME: &str = "a date such as 2026-02-08, or a time such as 2026-02-08T06:11:00Z \
                               (a plus sign in an address is written %2B)";
pub(super) const LATER: &str = "later than `from`";

/// Reads the parameters of [`CallParams`] and [`TimeParams`], and ignores any other.
pub fn from_uri(uri: &Uri) -> Result<Filter, ApiError> {
    let parameters = Given::read(uri)?;
    let filter = calls(&parameters)?;
    let from = parameters.one("from", TIME, bound)?.map(begins);
    let until = parameters.one("to", TIME, bound)?.map(ends);
    if let (Some(from), Some(until), Some(to)) = (from, until, parameters.get("to")?)
        && until <= from
    {
        return Err(bad("to", to, LATER));
    }
    Ok(Filter { from, until, ..filter })
}

/// Reads the parameters of [`StateParams`].
pub fn state(uri: &Uri) -> Result<State, ApiError> {
    let parameters = Given::read(uri)?;
    Ok(State {
        archived: parameters.one("archived", TRUTH, truth)?,
        unread: parameters.one("unread", TRUTH, truth)?,
    })
}

/// The part of a filter that is not about time.
pub(super) fn calls(parameters: &Given) -> Result<Filter, ApiError> {
    let search = match parameters.get("search")?.map(|text| (text, Search::try_new(text))) {
        None | Some((_, Err(SearchError::Blank))) => None,
        Some((_, Ok(search))) => Some(search),
        Some((text, Err(SearchError::TooLong))) => {
            return Err(bad("search", text, "at most 100 characters"));
        }
    };
    Ok(Filter {
        direction: parameters.one("direction", DIRECTIONS, |text| {
            Direction::parse(text).filter(|direction| *direction != Direction::Internal)
        })?,
        status: parameters.one("status", STATUSES, CallStatus::parse)?,
        missed: parameters.one("missed", TRUTH, truth)?,
        number: parameters.one("number", NUMBER, |text| PhoneNumber::try_new(text).ok())?,
        search,
        from: None,
        until: None,
        has_recording: parameters.one("has_recording", TRUTH, truth)?,
    })
}

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// One end of a span, of years that calls are from and that every calendar in use here can say.
pub(super) fn bound(text: &str) -> Option<Bound> {
    // The format takes a sign before the year.
    let is_date = text.len() == 10 && text.starts_with(|first: char| first.is_ascii_digit());
    let (bound, year) = if is_date {
        let day = Date::parse(text, DATE).ok()?;
        (Bound::Day(day), day.year())
    } else {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
        (Bound::At(at), at.year())
    };
    (1800..2300).contains(&year).then_some(bound)
}

fn begins(bound: Bound) -> OffsetDateTime {
    match bound {
        Bound::At(at) => at,
        Bound::Day(day) => day.midnight().assume_utc(),
    }
}

/// A day is in the span, a moment is not.
fn ends(bound: Bound) -> OffsetDateTime {
    match bound {
        Bound::At(at) => at,
        Bound::Day(day) => day.midnight().assume_utc() + Duration::DAY,
    }
}

pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;
    use utoipa::PartialSchema;

    use super::*;

    fn filter(query: &str) -> Filter {
        from_uri(&format!("/?{query}").parse().unwrap()).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    fn at_fault(query: &str) -> &'static str {
        match from_uri(&format!("/?{query}").parse().unwrap()) {
            Err(ApiError::BadParameter { name, .. }) => name,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn nothing_given_is_everything() {
        for query in ["", "page=2&sort=up", "search=", "search=%20"] {
            assert_eq!(filter(query), Filter::default(), "{query}");
        }
    }

    #[test]
    fn what_is_given_is_looked_for() {
        let everything = "direction=inbound&status=no-answer&missed=true&number=%2B1%20508%20514%200320&search=Jane\
                          &from=2026-02-01&to=2026-02-28&has_recording=false";
        let expected = Filter {
            direction: Some(Direction::Inbound),
            status: Some(CallStatus::NoAnswer),
            missed: Some(true),
            number: Some(PhoneNumber::try_new("+15085140320").unwrap()),
            search: Some(Search::try_new("Jane").unwrap()),
            from: Some(datetime!(2026-02-01 00:00 UTC)),
            until: Some(datetime!(2026-03-01 00:00 UTC)),
            has_recording: Some(false),
        };
        assert_eq!(filter(everything), expected);
    }

    #[test]
    fn a_day_is_in_the_span_and_a_moment_ends_it() {
        let at = datetime!(2026-02-08 06:11 UTC);
        let found = filter("from=2026-02-08T07:11:00%2B01:00&to=2026-02-08T06:12:00Z");
        assert_eq!((found.from, found.until), (Some(at), Some(at + time::Duration::MINUTE)));
        let found = filter("from=2026-02-08&to=2026-02-08");
        assert_eq!(
            (found.from, found.until),
            (Some(datetime!(2026-02-08 00:00 UTC)), Some(datetime!(2026-02-09 00:00 UTC)))
        );
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_its_parameter() {
        for (query, name) in [
            ("direction=", "direction"),
            ("direction=sideways", "direction"),
            ("direction=internal", "direction"),
            ("direction=inbound&direction=inbound", "direction"),
            ("status=answered", "status"),
            ("status=Completed", "status"),
            ("missed=yes", "missed"),
            ("missed=1", "missed"),
            ("number=12", "number"),
            ("number=Jane", "number"),
            ("search=a&search=b", "search"),
            ("from=yesterday", "from"),
            ("from=2026-02-30", "from"),
            ("from=1770530000", "from"),
            ("to=2026-02-08T06:11:00", "to"),
            ("to=-026-02-08", "to"),
            ("to=9999-12-31", "to"),
            ("from=2026-02-09&to=2026-02-08", "to"),
            ("from=2026-02-08T06:11:00Z&to=2026-02-08T06:11:00Z", "to"),
            ("has_recording=", "has_recording"),
        ] {
            assert_eq!(at_fault(query), name, "{query}");
        }
        assert_eq!(at_fault(&format!("search={}", "a".repeat(101))), "search");
    }

    /// The values that a type is documented with.
    fn documented<T: PartialSchema>() -> Vec<String> {
        let schema = serde_json::to_value(T::schema()).unwrap();
        serde_json::from_value(schema["enum"].clone()).unwrap()
    }

    #[test]
    fn every_documented_value_is_read_and_no_other() {
        for direction in documented::<ShownDirection>() {
            assert_eq!(filter(&format!("direction={direction}")).direction.unwrap().as_str(), direction);
        }
        let mut statuses = documented::<ShownStatus>();
        for status in &statuses {
            assert_eq!(filter(&format!("status={status}")).status.unwrap().as_str(), status);
        }
        let mut all: Vec<&str> = CallStatus::ALL.iter().map(|status| status.as_str()).collect();
        all.sort_unstable();
        statuses.sort_unstable();
        assert_eq!(statuses, all);
    }

    proptest! {
        #[test]
        fn no_query_panics_and_every_span_has_a_length(
            query in "((direction|status|missed|number|search|from|to|has_recording)=[0-9a-zA-Z%+:.-]{0,24}&?){0,4}"
        ) {
            if let Ok(uri) = format!("/?{query}").parse::<Uri>()
                && let Ok(Filter { from: Some(from), until: Some(until), .. }) = from_uri(&uri)
            {
                prop_assert!(from < until);
            }
        }

        #[test]
        fn a_bound_is_a_time_that_can_be_said(text in "\\PC{0,30}") {
            if let Some(bound) = bound(&text) {
                prop_assert!(begins(bound) <= ends(bound));
            }
        }

        #[test]
        fn every_day_of_two_centuries_can_be_given(days in 0..73_000_i64) {
            let day = datetime!(1900-01-01 00:00 UTC) + time::Duration::days(days);
            prop_assert_eq!(bound(&day.date().to_string()), Some(Bound::Day(day.date())));
        }
    }
}
