//! On what terms something is changed: which version the caller has seen, and how they name their request.
//!
//! The entity tag of what can be edited is its version, which is the length of its stream. So `If-Match` is judged where
//! the optimistic lock is, and nothing can come between.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::conversations::unreadable;
use super::problem::ApiError;
use super::request_id::RequestId;
use crate::access::Caller;
use crate::event_store::{CommitError, LoadError};
use crate::people::{Edit, EditError, Expected, RequestKey};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Characters of a key.
const LONGEST_KEY: usize = 255;

/// What a request says of itself, beside its body.
#[derive(Clone, Debug)]
pub struct Terms {
    expected: Expected,
    key: Option<String>,
    /// Who asks, what for, and which version they have seen: what else must be the same under the same key.
    request: String,
    request_id: String,
    by: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Terms {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let expected = expected(&parts.headers)?;
        let by = parts.extensions.get::<Caller>().map_or("", |caller| &*caller.name).to_owned();
        let request_id = parts.extensions.get::<RequestId>().map_or("", |RequestId(id)| id).to_owned();
        let Parts { method, uri, .. } = parts;
        let request = format!("{by}\n{method} {}\n{expected:?}\n", uri.path());
        Ok(Self { expected, key: key(&parts.headers)?, request, request_id, by })
    }
}

impl Terms {
    /// The commands on these terms; `body` is what they were read from.
    pub fn edit<C>(self, commands: Vec<C>, body: &impl Serialize) -> Result<Edit<C>, ApiError> {
        let Self { expected, key, request, request_id, by } = self;
        let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
        let key = key.map(|key| RequestKey {
            key,
            digest: Sha256::new().chain_update(request).chain_update(body).finalize().into(),
        });
        Ok(Edit { commands, expected, key, request_id, by })
    }
}

/// The versions that `If-Match` names. A weak tag, or one that is no version, is of nothing that is here.
fn expected(headers: &HeaderMap) -> Result<Expected, ApiError> {
    let mut versions = Vec::new();
    for value in headers.get_all(IF_MATCH) {
        let text = value.to_str().unwrap_or_default();
        if text.trim() == "*" {
            return Ok(Expected::Any);
        }
        for tag in text.split(',').map(str::trim) {
            let is_tag = tag.parse::<ETag>().is_ok();
            if !is_tag {
                return Err(ApiError::BadParameter {
                    name: "If-Match",
                    value: text.to_owned(),
                    expected: "the ETag of an earlier answer, such as \"3\", or *",
                });
            }
            versions.extend(tag.trim_matches('"').parse::<i64>());
        }
    }
    Ok(if headers.contains_key(IF_MATCH) { Expected::OneOf(versions) } else { Expected::Any })
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let usable = (1..=LONGEST_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if usable && given.next().is_none() {
        return Ok(Some(text.to_owned()));
    }
    Err(ApiError::BadParameter {
        name: "Idempotency-Key",
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        expected: "given once, 1 to 255 visible ASCII characters, such as a UUID",
    })
}

/// An answer with the version that it is of as its entity tag.
#[derive(Debug)]
pub struct Versioned<T> {
    pub version: i64,
    pub body: T,
}

impl<T: Serialize> Versioned<T> {
    /// The answer to a request that may have it already (`If-None-Match`).
    pub fn unless_known(self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.version);
        let condition = headers.typed_get::<IfNoneMatch>().filter(|_| headers.contains_key(IF_NONE_MATCH));
        let known = match (condition, tag.parse()) {
            (Some(condition), Ok(tag)) => !condition.precondition_passes(&tag),
            _ => false,
        };
        let mut response = self.into_response();
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = axum::body::Body::empty();
            response.headers_mut().remove(axum::http::header::CONTENT_TYPE);
            response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
        }
        response
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let tag = HeaderValue::try_from(format!("\"{}\"", self.version));
        let mut response = axum::Json(self.body).into_response();
        response.headers_mut().extend(tag.ok().map(|tag| (ETAG, tag)));
        response
    }
}

impl<E: std::error::Error + Send + Sync + 'static> EditError<E> {
    /// What a caller is told; of what an aggregate refuses, the handler knows.
    pub fn into_problem(self, refused: impl FnOnce(E) -> ApiError) -> ApiError {
        match self {
            Self::Refused(error) => refused(error),
            Self::Changed { version } => ApiError::Changed { version },
            Self::KeyUsed => ApiError::KeyUsed,
            Self::Database(error) | Self::Load(LoadError::Database(error)) => unreadable(error),
            Self::Commit(error @ (CommitError::Locked(_) | CommitError::Stopping)) => {
                ApiError::Unavailable { what: "the log", source: error.into() }
            }
            Self::Commit(error) => ApiError::internal(error),
            Self::Load(error @ LoadError::Event { .. }) => {
                let reason =
                    format!("{error}, so nothing can be added to it; `callbook lint-log` says which it is");
                ApiError::StandsStill { reason }
            }
        }
    }
}

/// For a field that may be absent, null, or there: nothing inside is null.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    field: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// For a field that may be absent, and is not null where it is there.
pub fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}
