//! HTTP Basic: the account's SID and token, or an API key and its secret (CONTRACT §4).

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::VERSION;
use super::error::ApiError;
use crate::simulator::world::World;

/// Refuses who may not see what is at `path`; another account's resources are as good as a wrong password.
pub fn check(world: &World, headers: &HeaderMap, path: &str) -> Result<(), ApiError> {
    let (user, password) = credentials(headers).ok_or_else(ApiError::unauthorized)?;
    let account =
        path.strip_prefix(&format!("/{VERSION}/Accounts/")).and_then(|rest| rest.split(['/', '.']).next());
    let is_ours = account.is_none_or(|account| account == world.account().sid);
    if is_ours && world.is_allowed(&user, &password) { Ok(()) } else { Err(ApiError::unauthorized()) }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
