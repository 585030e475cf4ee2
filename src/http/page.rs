//! Which part of a list a caller wants, three ways: `page` as the seeds have it, `offset` for
//! tables, `cursor` for threads that grow while somebody reads them. A parameter that makes no sense
//! is answered with its name instead of being repaired, since a silently repaired page is a wrong one.

use axum::extract::{FromRequestParts, Path};
use axum::http::Uri;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::given::{Given, bad, number};
use super::problem::ApiError;

/// Entries a page, where the caller does not say.
pub const DEFAULT_LIMIT: i64 = 20;
/// The same for the calls of one conversation.
pub const DEFAULT_THREAD_LIMIT: i64 = 100;
const LARGEST_LIMIT: i64 = 200;

/// Which part of a list; `page`, `offset` and `cursor` exclude one another.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `ListQuery::from_uri` reads")]
pub struct PageParams {
    /// Which page, from 1.
    #[param(minimum = 1, default = 1)]
    page: Option<i64>,
    /// How many entries to pass over.
    #[param(minimum = 0)]
    offset: Option<i64>,
    /// `next_cursor` of an earlier answer.
    cursor: Option<String>,
    /// Entries a page.
    #[param(minimum = 1, maximum = 200, default = 20)]
    limit: Option<i64>,
}

/// The same for the calls of a conversation.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `ListQuery::from_uri` reads")]
pub struct ThreadParams {
    /// Which page, from 1.
    #[param(minimum = 1, default = 1)]
    page: Option<i64>,
    /// How many entries to pass over.
    #[param(minimum = 0)]
    offset: Option<i64>,
    /// `next_cursor` of an earlier answer.
    cursor: Option<String>,
    /// Entries a page.
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: Option<i64>,
}

/// The query parameters of a list, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListQuery {
    pub window: Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `limit` entries after the first `offset`; `page` counts from 1, and is there unless the
    /// caller asked by `offset`. `offset + limit` does not overflow.
    Offset { offset: i64, limit: i64, page: Option<i64> },
    /// `limit` entries after the one that the cursor names.
    After { cursor: Cursor, limit: i64 },
}

/// What a list says of itself, beside its entries.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Answered {
    /// Entries in the whole list.
    total: i64,
    /// From 1; absent where the page was asked for by `offset` or `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<i64>,
    /// Only where the page was asked for by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    limit: i64,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
    /// The last position of the log that this reflects.
    position: i64,
}

impl Answered {
    pub fn new(window: &Window, total: i64, next: Option<Cursor>, position: i64) -> Self {
        let (page, offset, limit) = match *window {
            Window::Offset { limit, page: Some(page), .. } => (Some(page), None, limit),
            Window::Offset { offset, limit, page: None } => (None, Some(offset), limit),
            Window::After { limit, .. } => (None, None, limit),
        };
        Self { total, page, offset, limit, next_cursor: next.map(|cursor| cursor.encode()), position }
    }
}

/// The place of an entry in a list ordered by time, then id. Opaque to callers: they hand back what
/// they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In UTC, to the microsecond, as PostgreSQL keeps it.
    pub at: OffsetDateTime,
    pub id: i64,
}

impl ListQuery {
    /// Reads `page`, `limit`, `offset` and `cursor`, and ignores any other parameter.
    pub fn from_uri(uri: &Uri, default_limit: i64) -> Result<Self, ApiError> {
        let given = Given::read(uri)?;
        let limit = match given.get("limit")? {
            None => default_limit,
            Some(text) => {
                let limit = number(text).filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
                limit.ok_or_else(|| bad("limit", text, "a whole number from 1 to 200"))?
            }
        };
        let window = match (given.get("cursor")?, given.get("offset")?, given.get("page")?) {
            (Some(text), None, None) => Window::After { cursor: Cursor::decode(text)?, limit },
            (None, Some(text), None) => {
                let offset = number(text).filter(|offset| offset.checked_add(limit).is_some());
                let offset = offset.ok_or_else(|| bad("offset", text, "a whole number from 0"))?;
                Window::Offset { offset, limit, page: None }
            }
            (None, None, None) => Window::Offset { offset: 0, limit, page: Some(1) },
            (None, None, Some(text)) => {
                let page = number(text).filter(|page| *page >= 1 && page.checked_mul(limit).is_some());
                let page = page.ok_or_else(|| bad("page", text, "a whole number from 1"))?;
                Window::Offset { offset: (page - 1) * limit, limit, page: Some(page) }
            }
            (None, Some(text), Some(_)) => return Err(bad("offset", text, "left out where `page` is given")),
            (Some(text), ..) => {
                return Err(bad("cursor", text, "left out where `page` or `offset` is given"));
            }
        };
        Ok(Self { window })
    }
}

/// The `{id}` of a path, for handlers.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => parse_id(&text).map(Self),
            // Bytes that are not UTF-8.
            Err(_) => Err(bad("id", parts.uri.path(), "a positive whole number below 2^63")),
        }
    }
}

/// The same, as the document says it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "says what `Id` reads")]
pub struct IdParam {
    /// Decimal, below 2^63.
    #[param(pattern = "^[1-9][0-9]{0,18}$", example = "8172635482910384756")]
    id: String,
}

/// The id in a path: decimal, positive, below 2^63, and written the one way it is printed.
pub fn parse_id(text: &str) -> Result<i64, ApiError> {
    let id = number(text).filter(|id| *id >= 1 && !text.starts_with('0'));
    id.ok_or_else(|| bad("id", text, "a positive whole number below 2^63"))
}

impl Cursor {
    /// The version, then `at` and `id` big-endian, then a checksum; 18 bytes are 24 characters
    /// without padding.
    const VERSION: u8 = 1;
    const LENGTH: usize = 18;

    pub fn encode(&self) -> String {
        let micros = self.at.unix_timestamp() * 1_000_000 + i64::from(self.at.microsecond());
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        bytes.push(Self::VERSION);
        bytes.extend(micros.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.push(crc8(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Takes exactly what [`Cursor::encode`] gives.
    pub fn decode(text: &str) -> Result<Self, ApiError> {
        Self::from_text(text)
            .ok_or_else(|| bad("cursor", text, "a cursor from an earlier answer, passed on unchanged"))
    }

    fn from_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (checksum, content) = bytes.split_last()?;
        let (version, fields) = content.split_first()?;
        if *version != Self::VERSION || *checksum != crc8(content) {
            return None;
        }
        let (micros, id) = fields.split_first_chunk()?;
        let nanos = i128::from(i64::from_be_bytes(*micros)) * 1_000;
        // A call's time; PostgreSQL has no others near the ends of the calendar.
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        if !(1800..2300).contains(&at.year()) {
            return None;
        }
        Some(Self { at, id: i64::from_be_bytes(id.try_into().ok()?) })
    }
}

/// CRC-8 (polynomial 0x07) notices every burst of up to eight bits, so every single wrong character.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    fn window(query: &str) -> Window {
        let uri = format!("/api/conversations?{query}").parse().unwrap();
        ListQuery::from_uri(&uri, DEFAULT_LIMIT).unwrap_or_else(|error| panic!("{query}: {error}")).window
    }

    fn at_fault(query: &str) -> &'static str {
        let uri = format!("/api/conversations?{query}").parse().unwrap();
        match ListQuery::from_uri(&uri, DEFAULT_LIMIT) {
            Err(ApiError::BadParameter { name, .. }) => name,
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_list_is_asked_for_by_page_or_by_offset() {
        let offset = |offset, limit, page| Window::Offset { offset, limit, page };
        for (query, expected) in [
            ("", offset(0, 20, Some(1))),
            ("page=1", offset(0, 20, Some(1))),
            ("page=3&limit=50", offset(100, 50, Some(3))),
            ("limit=1", offset(0, 1, Some(1))),
            ("limit=200", offset(0, 200, Some(1))),
            ("offset=0", offset(0, 20, None)),
            ("offset=7&limit=3", offset(7, 3, None)),
            ("%70age=%32", offset(20, 20, Some(2))),
            (
                "page=46116860184273879&limit=200",
                offset(9_223_372_036_854_775_600, 200, Some(46_116_860_184_273_879)),
            ),
            ("sort=up&sort=down&x=%ff&=&&page=2", offset(20, 20, Some(2))),
        ] {
            assert_eq!(window(query), expected, "{query}");
        }
        let uri = "/api/conversations/7/messages".parse().unwrap();
        let thread = ListQuery::from_uri(&uri, DEFAULT_THREAD_LIMIT).unwrap().window;
        assert_eq!(thread, offset(0, 100, Some(1)));
    }

    #[test]
    fn a_list_is_continued_after_a_cursor() {
        let cursor = Cursor { at: datetime!(2026-02-08 06:11:00.123456 UTC), id: 42 };
        assert_eq!(window(&format!("cursor={}", cursor.encode())), Window::After { cursor, limit: 20 });
        assert_eq!(
            window(&format!("limit=5&cursor={}", cursor.encode())),
            Window::After { cursor, limit: 5 }
        );
    }

    #[test]
    fn a_parameter_that_makes_no_sense_is_named() {
        for (query, name) in [
            ("page=0", "page"),
            ("page=-1", "page"),
            ("page=", "page"),
            ("page", "page"),
            ("page=1.5", "page"),
            ("page=+1", "page"),
            ("page=%2B1", "page"),
            ("page=%D9%A1", "page"),
            ("page=%ff", "page"),
            ("page=%zz", "page"),
            ("page=9223372036854775807", "page"),
            ("page=9223372036854775808", "page"),
            ("page=1&page=1", "page"),
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=-5", "limit"),
            ("limit=ten", "limit"),
            ("limit=5&limit=", "limit"),
            ("offset=-1", "offset"),
            ("offset=9223372036854775807", "offset"),
            ("offset=99999999999999999999", "offset"),
            ("offset=0&page=1", "offset"),
            ("cursor=", "cursor"),
            ("cursor=%ff", "cursor"),
            ("cursor=AAAA", "cursor"),
            ("cursor=x&page=1", "cursor"),
            ("cursor=x&offset=0", "cursor"),
        ] {
            assert_eq!(at_fault(query), name, "{query}");
        }
    }

    #[test]
    fn an_id_is_a_positive_decimal_below_two_to_the_63() {
        for (text, id) in [("1", 1), ("42", 42), ("9223372036854775807", i64::MAX)] {
            assert_eq!(parse_id(text).unwrap(), id);
        }
        for text in
            ["", "0", "-1", "+1", "007", "1.0", "0x1", "abc", " 1", "١", "9223372036854775808", "null"]
        {
            let error = parse_id(text).unwrap_err();
            assert!(matches!(error, ApiError::BadParameter { name: "id", .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_cursor_looks_the_same_in_every_release() {
        let cursor = Cursor { at: datetime!(2026-02-08 06:11:00.123456 UTC), id: 42 };
        assert_eq!(cursor.encode(), "AQAGSkni5wdAAAAAAAAAACou");
        assert_eq!(
            Cursor { at: cursor.at + time::Duration::nanoseconds(999), ..cursor }.encode(),
            cursor.encode()
        );
    }

    #[test]
    fn a_cursor_with_any_one_character_changed_is_refused() {
        let text = Cursor { at: datetime!(2026-02-08 06:11:00 UTC), id: i64::MAX }.encode();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ ";
        for (place, right) in text.char_indices() {
            for wrong in alphabet.chars().filter(|wrong| *wrong != right) {
                let mut changed = text.clone();
                changed.replace_range(place..=place, &wrong.to_string());
                assert!(Cursor::decode(&changed).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn a_cursor_of_another_version_or_beyond_the_calendar_is_refused() {
        for (version, micros) in [(0, 0), (2, 0), (1, i64::MAX), (1, i64::MIN), (1, 10_413_792_000_000_000)] {
            let mut bytes = vec![version];
            bytes.extend(i64::to_be_bytes(micros));
            bytes.extend(1_i64.to_be_bytes());
            bytes.push(crc8(&bytes));
            assert!(Cursor::decode(&URL_SAFE_NO_PAD.encode(bytes)).is_err(), "{version} {micros}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(micros in -5_364_662_400_000_000_i64..10_413_792_000_000_000, id: i64) {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).unwrap();
            let cursor = Cursor { at, id };
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn garbage_is_refused_and_never_panics(text in ".*", bytes: Vec<u8>) {
            for text in [text, URL_SAFE_NO_PAD.encode(bytes)] {
                match Cursor::decode(&text) {
                    Ok(cursor) => prop_assert_eq!(cursor.encode(), &*text),
                    Err(error) => {
                        let is_named = matches!(error, ApiError::BadParameter { name: "cursor", .. });
                        prop_assert!(is_named);
                    }
                }
                let _ = parse_id(&text);
            }
        }

        #[test]
        fn no_query_panics_and_no_window_overflows(query in "((page|limit|offset|cursor|x)=[0-9a-zA-Z%+-]{0,20}&?){0,4}") {
            let uri: Uri = format!("/?{query}").parse().unwrap();
            if let Ok(ListQuery { window: Window::Offset { offset, limit, .. } }) = ListQuery::from_uri(&uri, 20) {
                prop_assert!(offset >= 0 && (1..=200).contains(&limit) && offset.checked_add(limit).is_some());
            }
        }
    }
}
