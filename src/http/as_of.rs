//! `as_of`: the moment that somebody looks back at, a time or a position of the log.

use axum::http::Uri;
use projections::generation::Snapshot;
use projections::history::{Asked, Moment, NotPast};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa::IntoParams;

use super::conversations::{iso, unreadable};
use super::given::{Given, bad};
use super::problem::ApiError;

const EXPECTED: &str = "a position of the log such as 1042, or a time such as 2026-02-08T06:11:00Z \
                        (a plus sign in an address is written %2B)";

/// The parameter, as the document says it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `AsOf::from_uri` reads")]
pub struct AsOfParam {
    /// A position of the log, or a time (RFC 3339): how it was known then.
    #[param(example = "2026-02-08T06:11:00Z")]
    as_of: Option<String>,
}

/// The parameter, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    asked: Asked,
    /// As the caller wrote it.
    text: String,
}

impl AsOf {
    pub fn from_uri(uri: &Uri) -> Result<Option<Self>, ApiError> {
        let given = Given::read(uri)?;
        let Some(text) = given.get("as_of")? else { return Ok(None) };
        let asked = read(text).ok_or_else(|| bad("as_of", text, EXPECTED))?;
        Ok(Some(Self { asked, text: text.to_owned() }))
    }

    /// The place in the log. The future is refused: an answer of the present would change with every call.
    pub async fn find(self, snapshot: &mut Snapshot) -> Result<Moment, ApiError> {
        match snapshot.moment(self.asked).await.map_err(unreadable)? {
            Ok(moment) => Ok(moment),
            Err(NotPast::Future { now, head }) => {
                Err(ApiError::Future { value: self.text, now: iso(now), head })
            }
            Err(error @ NotPast::Ahead { .. }) => {
                Err(ApiError::Unavailable { what: "the read model of that moment", source: error.into() })
            }
        }
    }
}

fn read(text: &str) -> Option<Asked> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Asked::Position);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
    Some(Asked::Time(time))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        for (text, asked) in [
            ("0", Asked::Position(0)),
            ("1042", Asked::Position(1_042)),
            ("2026-02-08T06:11:00Z", Asked::Time(datetime!(2026-02-08 06:11 UTC))),
            ("2026-02-08T08:11:00.5+02:00", Asked::Time(datetime!(2026-02-08 06:11:00.5 UTC))),
        ] {
            assert_eq!(read(text), Some(asked), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "99999999999999999999",
            "yesterday",
            "2026-02-08",
            "2026-02-08T06:11:00",
            "2026-02-08T08:11:00 02:00",
            "2026-13-08T06:11:00Z",
            "١",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in prop_oneof![
            any::<String>(),
            "[0-9]{0,25}",
            "[+-]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?(Z|[+-][0-9]{2}:[0-9]{2})",
        ]) {
            if let Some(Asked::Time(at)) = read(&text) {
                prop_assert!(at.offset().is_utc());
            }
        }

        #[test]
        fn every_position_is_one(position in 0_i64..) {
            prop_assert_eq!(read(&position.to_string()), Some(Asked::Position(position)));
        }
    }
}
