//! Signing a browser in and out. A token is shown once; from then on the browser has a cookie that no script reads.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::access::{COOKIE, identify, is_same_origin, session};
use super::conversations::unreadable;
use super::json_body::JsonBody;
use super::problem::{ApiError, Problem};
use crate::access::{Caller, Role, SignedIn};
use crate::app::AppState;

/// Whose browser it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Session {
    /// Whether callers have to say who they are. They need not where calls are simulated and only this machine can ask.
    sign_in_required: bool,
    /// Null where nobody is signed in, and somebody has to be.
    caller: Option<CallerShown>,
    /// With a sign-in: when it ends.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    expires_at: Option<OffsetDateTime>,
    /// The account is simulated: no call is real.
    simulated: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CallerShown {
    /// The token's.
    name: String,
    role: Role,
}

impl From<Caller> for CallerShown {
    fn from(caller: Caller) -> Self {
        Self { name: caller.name.to_string(), role: caller.role }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// As `callbook token create` showed it.
    #[schema(value_type = String, format = Password)]
    token: SecretString,
}

/// Who asks.
#[utoipa::path(get, path = "/api/session", tag = "access", responses((status = 200, body = Session)))]
pub async fn who(
    State(state): State<AppState>,
    method: Method,
    headers: HeaderMap,
) -> Result<Json<Session>, ApiError> {
    let caller = identify(&state.access, &method, &headers).await?;
    Ok(Json(Session {
        sign_in_required: state.access.is_required(),
        caller: caller.map(CallerShown::from),
        expires_at: None,
        simulated: state.door.simulated,
    }))
}

/// Signs a browser in for 14 days, or until the token is revoked.
#[utoipa::path(
    post, path = "/api/session", tag = "access",
    request_body = SignIn,
    responses(
        (status = 200, body = Session, headers(("set-cookie" = String, description = "`callbook_session`"))),
        (status = 401, description = "The token is not valid", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site asked", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many sign-ins from there", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn sign_in(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    JsonBody(SignIn { token }): JsonBody<SignIn>,
) -> Result<impl IntoResponse, ApiError> {
    if !is_same_origin(&headers) {
        return Err(ApiError::CrossSite);
    }
    state.door.limits.sign_in(peer.ip())?;
    let signed_in = state.access.sign_in(&token).await.map_err(unreadable)?;
    let SignedIn { caller, secret, expires_at } =
        signed_in.ok_or(ApiError::Unauthenticated { reason: "the token is not valid" })?;
    let mut cookie = cookie(&state, &headers, secret.expose_secret().to_owned());
    cookie.set_expires(expires_at);
    let body = Session {
        sign_in_required: state.access.is_required(),
        caller: Some(caller.into()),
        expires_at: Some(expires_at),
        simulated: state.door.simulated,
    };
    Ok((CookieJar::new().add(cookie), Json(body)))
}

/// Signs a browser out.
#[utoipa::path(
    delete, path = "/api/session", tag = "access",
    responses(
        (status = 204, description = "Signed out, or never in"),
        (status = 403, description = "A page of another site asked", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn sign_out(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    if !is_same_origin(&headers) {
        return Err(ApiError::CrossSite);
    }
    if let Some(secret) = session(&headers) {
        state.access.sign_out(&secret).await.map_err(unreadable)?;
    }
    let mut gone = cookie(&state, &headers, String::new());
    gone.make_removal();
    Ok((CookieJar::new().add(gone), StatusCode::NO_CONTENT))
}

/// No script reads it, and no page of another site has it sent.
fn cookie(state: &AppState, headers: &HeaderMap, value: String) -> Cookie<'static> {
    Cookie::build((COOKIE, value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_encrypted(&state.door.webhook_base_url, headers))
        .build()
}

/// Whether the browser came by https: what is in front of callbook says so, or it came to the public address.
fn is_encrypted(public: &str, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(scheme) = text("x-forwarded-proto") {
        return scheme.eq_ignore_ascii_case("https");
    }
    let Ok(public) = public.parse::<Uri>() else { return false };
    public.scheme_str() == Some("https")
        && public.authority().map(|authority| authority.as_str()) == text(HOST.as_str())
}
