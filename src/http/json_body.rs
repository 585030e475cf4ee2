//! A JSON body, read as what the route takes; what is wrong with it is told by its JSON pointer.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::problem::ApiError;

/// The largest body of a request to the API, in bytes.
pub const LARGEST: usize = 256 << 10;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The extractor. Fields that a type does not know are refused where it says `deny_unknown_fields`.
#[derive(Clone, Copy, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType { expected: "application/json" });
        }
        let arrived = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await;
        let arrived = arrived
            .map_err(|_| ApiError::UnreadableJson { reason: "it did not arrive in time".to_owned() })?;
        let bytes = arrived.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(error) if error.status() == 413 => {
                ApiError::PayloadTooLarge { limit: LARGEST }
            }
            _ => ApiError::UnreadableJson { reason: "the connection ended before it did".to_owned() },
        })?;
        read(&bytes).map(Self)
    }
}

/// `application/json` and everything that ends in `+json`, such as a merge patch (RFC 7396).
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        if error.is_data() {
            ApiError::WrongField { pointer, reason: without_place(&error) }
        } else {
            ApiError::UnreadableJson { reason: error.to_string() }
        }
    })?;
    deserializer.end().map_err(|error| ApiError::UnreadableJson { reason: error.to_string() })?;
    // serde takes a list of a type's fields as well.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        let reason = "it must be a JSON object".to_owned();
        return Err(ApiError::WrongField { pointer: String::new(), reason });
    }
    Ok(read)
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// The line and the column say less than the pointer.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Patch {
        #[serde(default)]
        tags: Vec<String>,
    }

    fn refused(body: &str) -> (String, String) {
        match read::<Patch>(body.as_bytes()) {
            Err(ApiError::WrongField { pointer, reason }) => (pointer, reason),
            Err(ApiError::UnreadableJson { reason }) => ("unreadable".to_owned(), reason),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_pointer() {
        assert_eq!(read::<Patch>(br#"{"tags":["a"]}"#).unwrap().tags, ["a"]);
        assert_eq!(
            refused(r#"{"tags":["a",1]}"#),
            ("/tags/1".to_owned(), "invalid type: integer `1`, expected a string".to_owned())
        );
        let (pointer, reason) = refused(r#"{"a/b~c":1}"#);
        assert_eq!(pointer, "/a~1b~0c");
        assert!(reason.starts_with("unknown field `a/b~c`"), "{reason}");
        assert_eq!(refused("[]").0, "");
        for body in ["", "{", "{\"tags\":[]}}", "{\"tags\":[]} x", "\u{feff}{}"] {
            assert_eq!(refused(body).0, "unreadable", "{body}");
        }
        assert!(matches!(read::<Patch>(b"{\"tags\":[\"\xff\"]}"), Err(ApiError::UnreadableJson { .. })));
    }
}
