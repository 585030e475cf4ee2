//! The `{sid}` of a path, read as what the route is about.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use domain::sid::{CallSid, RecordingSid};

use super::problem::ApiError;

#[derive(Clone, Debug)]
pub struct Sid<T>(pub T);

/// A SID that a route may be about.
pub trait OfPath: FromStr {
    /// What somebody is told who gave something else.
    const EXPECTED: &'static str;
}

impl OfPath for CallSid {
    const EXPECTED: &'static str = "a Call SID: CA and 32 hexadecimal digits";
}

impl OfPath for RecordingSid {
    const EXPECTED: &'static str = "a Recording SID: RE and 32 hexadecimal digits";
}

impl<T: OfPath, S: Send + Sync> FromRequestParts<S> for Sid<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        // Bytes that are not UTF-8 are shown as the path has them.
        let text = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => text,
            Err(_) => parts.uri.path().to_owned(),
        };
        text.parse().map(Self).map_err(|_| ApiError::BadParameter {
            name: "sid",
            value: text,
            expected: T::EXPECTED,
        })
    }
}
