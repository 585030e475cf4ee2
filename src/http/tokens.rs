//! API tokens, for admins; the same as `callbook token`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::conversations::unreadable;
use super::json_body::JsonBody;
use super::problem::{ApiError, Problem};
use crate::access::Role;
use crate::access::tokens::{self, Token, TokenError};
use crate::app::AppState;

#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Revoked ones too, the newest first.
    tokens: Vec<Token>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Who or what it is for; 1 to 100 characters, and no other valid token has it.
    name: String,
    role: Role,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedToken {
    #[serde(flatten)]
    about: Token,
    /// The token itself. It is kept nowhere and cannot be had again.
    token: String,
}

/// All tokens, without the tokens themselves.
#[utoipa::path(get, path = "/api/tokens", tag = "access", responses((status = 200, body = Tokens)))]
pub async fn list(State(state): State<AppState>) -> Result<Json<Tokens>, ApiError> {
    Ok(Json(Tokens { tokens: tokens::list(&state.pool).await.map_err(unreadable)? }))
}

/// Makes a token, and shows it this once.
#[utoipa::path(
    post, path = "/api/tokens", tag = "access",
    request_body = NewToken,
    responses(
        (status = 201, body = CreatedToken),
        (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(state): State<AppState>,
    JsonBody(NewToken { name, role }): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), ApiError> {
    let (about, secret) = tokens::create(&state.pool, &name, role).await?;
    let token = secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(CreatedToken { about, token })))
}

/// Revokes a token, and ends the sessions that were signed in with it.
#[utoipa::path(
    delete, path = "/api/tokens/{name}", tag = "access",
    params(("name" = String, Path, description = "The token's name")),
    responses(
        (status = 200, body = Token),
        (status = 404, description = "There is no valid token of that name", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<Json<Token>, ApiError> {
    Ok(Json(tokens::revoke(&state.pool, &name).await?))
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::BadName => {
                Self::WrongField { pointer: "/name".to_owned(), reason: error.to_string() }
            }
            TokenError::NameTaken { .. } => Self::TokenNameTaken { reason: error.to_string() },
            TokenError::Unknown { name } => Self::UnknownToken { name },
            TokenError::Database(error) => unreadable(error),
        }
    }
}
