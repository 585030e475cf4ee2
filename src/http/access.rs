//! Who is let in, and to what: by a bearer token, by the cookie of a browser that signed in, or, where calls are
//! simulated and only this machine can ask, by asking.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use axum_extra::extract::cookie::CookieJar;
use secrecy::SecretString;

use super::conversations::unreadable;
use super::problem::ApiError;
use crate::access::{Access, Caller, Role};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The cookie of a browser that signed in.
pub const COOKIE: &str = "callbook_session";

/// For `route_layer`: answers 401 to whoever is not known, and 403 to whoever may not.
pub async fn require(
    State((access, role)): State<(Access, Role)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = identify(&access, request.method(), request.headers()).await?;
    let caller = caller.ok_or(ApiError::Unauthenticated { reason: "this needs a token or a session" })?;
    if caller.role < role {
        return Err(ApiError::RoleTooLow { name: caller.name, has: caller.role, needs: role });
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Who makes a request; nobody where they do not say and have to.
pub async fn identify(
    access: &Access,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Caller>, ApiError> {
    if let Some(token) = bearer(headers)? {
        let caller = access.by_token(&token).await.map_err(unreadable)?;
        return caller.map(Some).ok_or(ApiError::Unauthenticated { reason: "the token is not valid" });
    }
    if let Some(secret) = session(headers)
        && let Some(caller) = access.by_session(&secret).await.map_err(unreadable)?
    {
        // A browser sends its cookies whatever page asked it to.
        if !method.is_safe() && !is_same_origin(headers) {
            return Err(ApiError::CrossSite);
        }
        return Ok(Some(caller));
    }
    // A page that somebody of this machine looks at must not act for them, whatever name it gave this address.
    let by_itself = is_for_this_machine(headers) && (method.is_safe() || is_same_origin(headers));
    Ok(access.without_token().filter(|_| by_itself))
}

/// Whether whoever asks knows callbook by an address of this machine.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// The token of the `Authorization` header, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() => Ok(Some(token.into())),
        _ => {
            Err(ApiError::Unauthenticated { reason: "the Authorization header must be `Bearer` and a token" })
        }
    }
}

/// What the cookie holds, if there is one.
pub fn session(headers: &HeaderMap) -> Option<SecretString> {
    CookieJar::from_headers(headers).get(COOKIE).map(|cookie| cookie.value().into())
}

/// Whether a page of ours asked, as the browser says; by `Sec-Fetch-Site`, or by `Origin` where a browser is too old
/// for that or the connection is not encrypted. What says neither is no browser.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text(SEC_FETCH_SITE) {
        return matches!(site, "same-origin" | "none");
    }
    match text(ORIGIN) {
        None => true,
        Some(origin) => {
            let authority = origin.parse::<Uri>().ok().and_then(|origin| origin.authority().cloned());
            authority.is_some_and(|authority| text(HOST) == Some(authority.as_str()))
        }
    }
}
