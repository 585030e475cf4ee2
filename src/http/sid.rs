//! The `{sid}` of a path, read as what the route is about.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use domain::sid::{CallSid, RecordingSid};
use utoipa::IntoParams;

use super::problem::ApiError;

#[derive(Clone, Debug)]
pub struct Sid<T>(pub T);

/// The path of a route about a call.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "says what `Sid<CallSid>` reads")]
pub struct OfCall {
    /// The Call SID of any leg.
    #[param(pattern = "^CA[0-9a-fA-F]{32}$", example = "CA00000000000000000000000000000001")]
    sid: String,
}

/// The path of a route about a recording.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "says what `Sid<RecordingSid>` reads")]
pub struct OfRecording {
    /// The Recording SID.
    #[param(pattern = "^RE[0-9a-fA-F]{32}$", example = "RE00000000000000000000000000000001")]
    sid: String,
}

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
