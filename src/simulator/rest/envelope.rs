//! Pages of a list: where one begins, where it ends, and how it says so (CONTRACT §4.1).

use std::ops::Bound;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::dates::Window;
use super::error::ApiError;
use super::parse_form;
use super::trouble::PageFate;
use crate::simulator::world::{Resource, Shelf};
use crate::twilio::form::Form;

const LARGEST: usize = 1_000;
const USUAL: usize = 50;
const PAGING: [&str; 3] = ["PageSize", "Page", "PageToken"];

/// Which page of which list is asked for.
#[derive(Debug)]
pub struct Paging {
    path: String,
    filters: Form,
    size: usize,
    number: usize,
    token: Option<Token>,
    fate: PageFate,
}

/// What every list is asked: which page, and by what.
#[derive(Debug)]
pub struct Listing {
    pub query: Form,
    pub paging: Paging,
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parse_form(parts.uri.query().unwrap_or_default().as_bytes())?;
        let fate = parts.extensions.get::<PageFate>().copied().unwrap_or_default();
        let paging = Paging::read(&parts.uri, &query, fate)?;
        Ok(Self { query, paging })
    }
}

/// A token names the row at which it was given, so that what comes in later moves no page.
#[derive(Debug)]
enum Token {
    /// `PA` and a SID: what is older.
    After(String),
    /// `PB` and a SID: what is newer.
    Before(String),
}

/// Which part of a list can match at all, by creation: from the first on, and before the second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
}

impl Span {
    /// Where what is asked for is the creation itself; a second more, as times are shown without their fractions.
    pub fn of(created: Window) -> Span {
        Span { from: created.from, to: created.to.map(|to| to + time::Duration::SECOND) }
    }
}

#[derive(Debug)]
pub struct Page<R> {
    rows: Vec<(String, R)>,
    has_more: bool,
}

impl Paging {
    fn read(uri: &Uri, query: &Form, fate: PageFate) -> Result<Paging, ApiError> {
        let number = |name: &str, usual: usize, most: usize| match query.get(name) {
            None | Some("") => Ok(usual),
            Some(text) => text.parse().ok().filter(|number| *number <= most).ok_or_else(|| {
                ApiError::invalid(20001, format!("{name} must be a number up to {most}, not {text}"))
            }),
        };
        let size = number("PageSize", USUAL, LARGEST)?;
        if size == 0 {
            return Err(ApiError::invalid(20001, "PageSize must be at least 1"));
        }
        let token = query.get("PageToken").filter(|token| !token.is_empty());
        let token = match token.map(|token| token.split_at_checked(2)) {
            None => None,
            Some(Some(("PA", sid))) => Some(Token::After(sid.to_owned())),
            Some(Some(("PB", sid))) => Some(Token::Before(sid.to_owned())),
            Some(_) => return Err(bad_token()),
        };
        let filters = query.0.iter().filter(|(name, _)| !PAGING.contains(&name.as_str()));
        Ok(Paging {
            path: uri.path().to_owned(),
            filters: Form(filters.cloned().collect()),
            size,
            number: number("Page", 0, usize::MAX)?,
            token,
            fate,
        })
    }

    /// The rows of the page, the newest first. `show` gives what a row is listed as, and nothing for one that does not
    /// match; it sees no more rows than it takes to fill the page.
    pub fn cut<'a, T: Resource, R>(
        &self,
        shelf: &'a Shelf<T>,
        span: Span,
        mut show: impl FnMut(&'a T) -> Option<R>,
    ) -> Result<Page<R>, ApiError> {
        let place = |sid: &str| shelf.place(sid).ok_or_else(bad_token);
        let mut from = span.from.map_or(Bound::Unbounded, |from| Bound::Included((from, String::new())));
        let mut to = span.to.map_or(Bound::Unbounded, |to| Bound::Excluded((to, String::new())));
        match &self.token {
            Some(Token::Before(sid)) => from = Bound::Excluded(place(sid)?),
            Some(Token::After(sid)) if self.fate.shifts => to = Bound::Included(place(sid)?),
            Some(Token::After(sid)) => to = Bound::Excluded(place(sid)?),
            None => {}
        }
        let mut shown = |row: &'a T| Some((row.sid().to_owned(), show(row)?));
        let rows = shelf.between(from, to);
        if let Some(Token::Before(_)) = self.token {
            let mut rows: Vec<_> = rows.filter_map(&mut shown).take(self.size).collect();
            rows.reverse();
            return Ok(Page { rows, has_more: true });
        }
        let skipped = if self.token.is_none() { self.number.saturating_mul(self.size) } else { 0 };
        let mut rows: Vec<_> = rows.rev().filter_map(&mut shown).skip(skipped).take(self.size + 1).collect();
        let has_more = rows.len() > self.size;
        rows.truncate(self.size);
        Ok(Page { rows, has_more })
    }

    /// `name` is what the list is called: `calls`, `recordings` and so on.
    pub fn answer<R: Serialize>(&self, name: &'static str, page: &Page<R>) -> Response {
        Json(Envelope { paging: self, name, page }).into_response()
    }

    fn uri(&self, number: usize, token: Option<String>) -> String {
        let mut query = self.filters.clone();
        let mut push = |name: &str, value: String| query.0.push((name.to_owned(), value));
        push("PageSize", self.size.to_string());
        push("Page", number.to_string());
        if let Some(token) = token {
            push("PageToken", token);
        }
        format!("{}?{}", self.path, query.encode())
    }
}

fn bad_token() -> ApiError {
    ApiError::invalid(20001, "PageToken is not one that a page of this list gave")
}

impl Token {
    fn text(&self) -> String {
        match self {
            Token::After(sid) => format!("PA{sid}"),
            Token::Before(sid) => format!("PB{sid}"),
        }
    }
}

struct Envelope<'a, R> {
    paging: &'a Paging,
    name: &'static str,
    page: &'a Page<R>,
}

impl<R: Serialize> Serialize for Envelope<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Envelope { paging, name, page } = self;
        let (number, size) = (paging.number, paging.size);
        let rows: Vec<&R> = page.rows.iter().map(|(_, row)| row).collect();
        let uri = paging.uri(number, paging.token.as_ref().map(Token::text));
        let next = page.rows.last().filter(|_| page.has_more);
        let next = next.map(|(last, _)| paging.uri(number + 1, Some(Token::After(last.clone()).text())));
        let previous = page.rows.first().filter(|_| number > 0);
        let previous =
            previous.map(|(first, _)| paging.uri(number - 1, Some(Token::Before(first.clone()).text())));
        let start = number * size;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(name, &rows)?;
        map.serialize_entry("start", &start)?;
        map.serialize_entry("end", &(start + rows.len().saturating_sub(1)))?;
        map.serialize_entry("page", &number)?;
        map.serialize_entry("page_size", &size)?;
        map.serialize_entry("uri", &uri)?;
        map.serialize_entry("first_page_uri", &paging.uri(0, None))?;
        map.serialize_entry("next_page_uri", &if paging.fate.repeats { Some(uri) } else { next })?;
        map.serialize_entry("previous_page_uri", &previous)?;
        map.end()
    }
}
