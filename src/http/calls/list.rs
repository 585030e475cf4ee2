//! Calls across conversations: a page as JSON, or all of them as CSV.

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use headers::HeaderMapExt;
use headers_accept::Accept;
use mediatype::names::{APPLICATION, CSV, JSON, Q, TEXT};
use mediatype::{MediaType, MediaTypeBuf, ReadParams};
use projections::queries::{Filter, ListedCall};
use serde::Serialize;
use utoipa::ToSchema;

use super::csv;
use crate::app::AppState;
use crate::http::conversations::answer::Message;
use crate::http::conversations::{one_more, open, page_of, place, unreadable};
use crate::http::filter::{self, CallParams, TimeParams};
use crate::http::given::Given;
use crate::http::page::{self, ListQuery};
use crate::http::problem::{ApiError, Problem};

/// A page of calls.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Calls {
    calls: Vec<Message>,
    #[serde(flatten)]
    page: page::Answered,
}

/// Calls of all conversations, legs merged, the newest first; what the sync filters hide is not among them.
///
/// With `Accept: text/csv`, or `format=csv` where no header can be set, every call that matches, in one file, whatever
/// its size: a header line, then a line a call. Such a file has no pages. Text in it that a spreadsheet would take for a
/// formula is preceded by an apostrophe.
#[utoipa::path(
    get, path = "/api/calls", tag = "calls",
    params(
        CallParams, TimeParams, page::PageParams,
        ("format" = Option<String>, Query, description = "`json` or `csv`, whatever the Accept header says"),
    ),
    responses(
        (status = 200, content((Calls = "application/json"), (String = "text/csv"))),
        (status = 406, description = "The Accept header takes neither", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(state): State<AppState>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let form = match Given::read(&uri)?.one("format", "json or csv", Form::named)? {
        Some(form) => form,
        None => Form::wanted(&headers)?,
    };
    let query = ListQuery::from_uri(&uri, page::DEFAULT_LIMIT)?;
    let filter = filter::from_uri(&uri)?;
    let mut response = match form {
        Form::Json => page(&state, &query, filter).await?.into_response(),
        Form::Csv => {
            without_pages(&uri)?;
            csv::export(&state, filter).await?
        }
    };
    response.headers_mut().insert(VARY, HeaderValue::from(ACCEPT));
    Ok(response)
}

async fn page(state: &AppState, query: &ListQuery, filter: Filter) -> Result<Json<Calls>, ApiError> {
    let mut snapshot = open(state).await?;
    let (window, limit) = one_more(&query.window);
    let scope = snapshot.scope(filter).await.map_err(unreadable)?;
    let total = snapshot.total_calls(&scope).await.map_err(unreadable)?;
    let calls = snapshot.calls(&scope, window).await.map_err(unreadable)?;
    let (calls, next) = page_of(calls, limit, |listed| place(&listed.call));
    let message = |ListedCall { call, contact }: &ListedCall<_>| Message::new(call, contact.as_ref());
    Ok(Json(Calls {
        calls: calls.iter().map(message).collect(),
        page: page::Answered::new(&query.window, total, next, snapshot.position()),
    }))
}

/// A page that was asked for and is not answered would pass for all there is.
fn without_pages(uri: &Uri) -> Result<(), ApiError> {
    let parameters = Given::read(uri)?;
    for name in ["page", "offset", "cursor", "limit"] {
        parameters.one(name, "left out where CSV is asked for, which has no pages", |_| None::<()>)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
}

impl Form {
    fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// JSON, unless the caller likes CSV better (RFC 9110, section 12.5.1). A header that cannot be read says nothing.
    fn wanted(headers: &HeaderMap) -> Result<Self, ApiError> {
        const OFFERED: [MediaType<'static>; 2] =
            [MediaType::new(APPLICATION, JSON), MediaType::new(TEXT, CSV)];
        let Ok(Some(accept)) = headers.typed_try_get::<Accept>() else { return Ok(Self::Json) };
        if accept.media_types().next().is_none() {
            return Ok(Self::Json);
        }
        let accept: Accept = accept.media_types().map(bare).collect();
        match accept.negotiate(&OFFERED) {
            Some(chosen) if chosen.subty == CSV => Ok(Self::Csv),
            Some(_) => Ok(Self::Json),
            None => Err(ApiError::NotAcceptable { offered: "application/json and text/csv" }),
        }
    }
}

/// A range with its quality alone: whoever names the charset, of which there is one, or anything else means the same.
fn bare(range: &MediaTypeBuf) -> MediaTypeBuf {
    let quality: Vec<_> = range.get_param(Q).map(|quality| (Q, quality)).into_iter().collect();
    MediaTypeBuf::from_parts(range.ty(), range.subty(), range.suffix(), &quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &[&str]) -> Result<Form, ApiError> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        Form::wanted(&headers)
    }

    #[test]
    fn csv_is_for_whoever_likes_it_better() {
        for (accept, form) in [
            (vec![], Form::Json),
            (vec![""], Form::Json),
            (vec!["*/*"], Form::Json),
            (vec!["application/json"], Form::Json),
            (vec!["text/csv"], Form::Csv),
            (vec!["TEXT/CSV"], Form::Csv),
            (vec!["text/csv; charset=utf-8"], Form::Csv),
            (vec!["application/json; charset=UTF-8, text/csv;q=0.9"], Form::Json),
            (vec!["text/*"], Form::Csv),
            (vec!["text/csv;q=0.5, application/json"], Form::Json),
            (vec!["text/csv;q=0.9, application/json;q=0.8"], Form::Csv),
            (vec!["text/csv, */*;q=0.1"], Form::Csv),
            (vec!["text/html, */*;q=0.1"], Form::Json),
            (vec!["application/json;q=0, */*"], Form::Csv),
            (vec!["text/html", "text/csv"], Form::Csv),
            (vec!["not a header"], Form::Json),
        ] {
            let found = wanted(&accept);
            assert!(matches!(found, Ok(found) if found == form), "{accept:?}: {found:?}");
        }
    }

    #[test]
    fn whoever_takes_neither_is_told_what_there_is() {
        for accept in ["text/html", "application/json;q=0", "text/csv;q=0, application/json;q=0", "image/*"] {
            let refused = wanted(&[accept]);
            assert!(matches!(refused, Err(ApiError::NotAcceptable { .. })), "{accept}: {refused:?}");
        }
    }
}
