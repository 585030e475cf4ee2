//! The times that Twilio writes.

use time::OffsetDateTime;
use time::UtcOffset;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// Reads `Fri, 20 Aug 2010 01:13:42 +0000`, as webhooks and resources have it (contract section 1): UTC, whole seconds.
pub fn rfc2822(text: &str) -> Option<OffsetDateTime> {
    usable(OffsetDateTime::parse(text, &Rfc2822).ok()?)
}

/// The same, or ISO 8601 as in `2010-08-20T01:13:42Z`.
pub fn any(text: &str) -> Option<OffsetDateTime> {
    rfc2822(text).or_else(|| usable(OffsetDateTime::parse(text, &Rfc3339).ok()?))
}

fn usable(at: OffsetDateTime) -> Option<OffsetDateTime> {
    at.checked_to_offset(UtcOffset::UTC)
        // What is near the ends of the calendar could not be reckoned with.
        .filter(|at| (1970..2200).contains(&at.year()))
        // Twilio's times are whole seconds; a leap second would read as a fraction of one.
        .map(OffsetDateTime::truncate_to_second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::{OffsetDateTime, Rfc2822, any, rfc2822};

    #[test]
    fn every_way_in_which_twilio_and_its_servers_write_a_time_is_read() {
        let at = Some(datetime!(2010-08-20 01:13:42 UTC));
        assert_eq!(rfc2822("Fri, 20 Aug 2010 01:13:42 +0000"), at);
        assert_eq!(rfc2822("Fri, 20 Aug 2010 01:13:42 GMT"), at, "an HTTP date");
        assert_eq!(rfc2822("Thu, 19 Aug 2010 18:13:42 -0700"), at);
        assert_eq!(any("2010-08-20T01:13:42.9Z"), at);
        assert_eq!(any("Fri, 20 Aug 2010 01:13:42 +0000"), at);
        assert_eq!(rfc2822("2010-08-20T01:13:42Z"), None);
        for text in ["", "now", "Fri, 20 Aug 1910 01:13:42 +0000", "9999-12-31T23:59:59-23:00", "2010-08-20"]
        {
            assert_eq!(any(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in prop_oneof![
            "(?s).*",
            "[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} -?[0-9]{1,6} [0-9]{2}:[0-9]{2}(:[0-9]{2})? [+-]?[0-9A-Z]{3,5}",
            "[+-]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})",
        ]) {
            for at in [rfc2822(&text), any(&text)].into_iter().flatten() {
                prop_assert!(at.offset().is_utc() && at.nanosecond() == 0 && (1970..2200).contains(&at.year()));
            }
        }

        #[test]
        fn what_twilio_writes_is_read(seconds in 0_i64..4_000_000_000) {
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            prop_assert_eq!(rfc2822(&at.format(&Rfc2822).unwrap()), Some(at));
        }
    }
}
