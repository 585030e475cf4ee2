//! The OpenAPI document of the API, made of what the handlers say of themselves.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::http::Uri;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, OpenApi as Document, Ref, Required, ResponseBuilder, SecurityRequirement,
};
use utoipa_swagger_ui::Config;

use super::problem::{ApiError, PROBLEM, Problem};
use super::{access, router};
use crate::access::Role;

static DOCUMENT: LazyLock<Document> = LazyLock::new(router::document);

/// What is true of all routes.
#[derive(OpenApi)]
#[openapi(
    components(schemas(Problem)),
    info(
        title = "callbook",
        description = "The book of record for a business's phone traffic.\n\nTimes are ISO 8601 in UTC, durations \
            are seconds, ids and prices are strings. An answer carries the `position` of the log that it reflects. \
            Every refusal is `application/problem+json` (RFC 9457), with a stable `code` and the `request_id` under \
            which callbook's log tells of it."
    ),
    tags(
        (name = "conversations", description = "Threads with whom calls were exchanged"),
        (name = "contacts", description = "What people know of whom they talk with"),
        (name = "calls", description = "Calls, their legs, their events, and why they are what they are"),
        (name = "live", description = "What happens now, as server-sent events"),
        (name = "sync", description = "Asking Twilio for what webhooks did not tell"),
        (name = "access", description = "Who may do what"),
        (name = "operations", description = "How callbook itself is"),
    )
)]
struct Head;

/// How callers say who they are.
const BEARER: &str = "token";
const COOKIE: &str = "session";

pub fn head() -> Document {
    let mut head = Head::openapi();
    let components = head.components.get_or_insert_default();
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token"));
    let cookie = ApiKeyValue::with_description(access::COOKIE, "A browser that signed in at `/api/session`");
    components.add_security_scheme(BEARER, SecurityScheme::Http(token.build()));
    components.add_security_scheme(COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    head
}

/// Says of each route who may call it, and how whoever may not is refused.
pub fn restricted(mut routes: Document, role: Role) -> Document {
    for (unsafe_method, operation) in operations(&mut routes) {
        let requirement = |name: &str| SecurityRequirement::new::<_, [&str; 0], &str>(name, []);
        operation.security = Some(vec![requirement(BEARER), requirement(COOKIE)]);
        let needs = format!("Needs the role `{}`.", role.as_str());
        let description = operation.description.take();
        operation.description =
            Some(description.map_or(needs.clone(), |description| format!("{description}\n\n{needs}")));
        answer(operation, 401, "The caller is not known");
        if role > Role::Viewer || unsafe_method {
            answer(operation, 403, "The caller may not");
        }
        answer(operation, 429, "The caller asks too often; `Retry-After` says when to come back");
    }
    routes
}

/// Says of each route that reads that it can wait for what was just written.
pub fn with_min_position(mut routes: Document) -> Document {
    for (_, operation) in operations(&mut routes).filter(|(unsafe_method, _)| !unsafe_method) {
        let position = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0));
        let parameter = ParameterBuilder::new()
            .name("min_position")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "Waits until this position of the log is reflected, at most two seconds: `position` of the answer to a write",
            ))
            .schema(Some(position.build()))
            .build();
        operation.parameters.get_or_insert_default().push(parameter.into());
    }
    routes
}

/// What every route may answer.
pub fn with_common_answers(mut routes: Document) -> Document {
    for (_, operation) in operations(&mut routes) {
        if operation.parameters.is_some() || operation.request_body.is_some() {
            answer(operation, 400, "Something in the request cannot be used");
        }
        if operation.request_body.is_some() {
            answer(operation, 413, "The body is too large");
            answer(operation, 415, "The body is not JSON");
        }
        answer(operation, 500, "Something went wrong inside callbook");
        answer(operation, 503, "The database cannot be reached; try again in a few seconds");
    }
    routes
}

/// Each with whether it changes anything.
fn operations(document: &mut Document) -> impl Iterator<Item = (bool, &mut Operation)> {
    document.paths.paths.values_mut().flat_map(|item| {
        let safe = [&mut item.get, &mut item.head].into_iter().flatten().map(|operation| (false, operation));
        let unsafe_ones = [&mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        safe.chain(unsafe_ones.into_iter().flatten().map(|operation| (true, operation)))
    })
}

/// Unless the handler says more about it.
fn answer(operation: &mut Operation, status: u16, description: &str) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(description).content(PROBLEM, problem).build();
    operation.responses.responses.entry(status.to_string()).or_insert(response.into());
}

/// The OpenAPI 3.1 document of this API.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operations", responses((status = 200, body = Object)))]
pub async fn document() -> Json<&'static Document> {
    Json(&DOCUMENT)
}

/// What the viewer needs, and no more: its own scripts and styles, and our document.
const VIEWER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                             img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'";

static VIEWER: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["/api/openapi.json"]).validator_url("none")));

/// `/api/docs`: where a browser finds the viewer.
pub async fn viewer() -> Redirect {
    Redirect::permanent("/api/docs/")
}

/// The viewer, which is part of the binary.
pub async fn viewer_file(uri: Uri) -> Result<Response, ApiError> {
    let name = uri.path().strip_prefix("/api/docs/").unwrap_or_default();
    // It fails where the bundled page is not UTF-8 only.
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&VIEWER))
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let file = file.ok_or_else(|| ApiError::NotFound { path: uri.path().to_owned() })?;
    let headers = [(CONTENT_TYPE, file.content_type), (CONTENT_SECURITY_POLICY, VIEWER_POLICY.to_owned())];
    Ok((headers, file.bytes.into_owned()).into_response())
}
