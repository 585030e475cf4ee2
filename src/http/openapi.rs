//! The OpenAPI document of the API, made of what the handlers say of themselves.

use std::sync::LazyLock;

use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::router;

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| router::api().1);

/// What is true of all routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "callbook",
        description = "The book of record for a business's phone traffic.\n\nTimes are ISO 8601 in UTC, durations \
            are seconds, ids and prices are strings. An answer carries the `position` of the log that it reflects. \
            Every refusal is `application/problem+json` (RFC 9457), with a stable `code` and the `request_id` under \
            which callbook's log tells of it."
    ),
    tags(
        (name = "conversations", description = "Threads with whom calls were exchanged"),
        (name = "calls", description = "Calls, their legs, their events, and why they are what they are"),
        (name = "live", description = "What happens now, as server-sent events"),
        (name = "sync", description = "Asking Twilio for what webhooks did not tell"),
        (name = "operations", description = "How callbook itself is"),
    )
)]
struct Head;

pub fn head() -> Document {
    Head::openapi()
}

/// The OpenAPI 3.1 document of this API.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operations", responses((status = 200, body = Object)))]
pub async fn document() -> Json<&'static Document> {
    Json(&DOCUMENT)
}
