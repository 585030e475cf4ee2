//! API tokens: made, listed, found and revoked.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sha2::Sha256;
use sqlx::{PgExecutor, PgPool};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Caller, Identity, Role};

/// What a token begins with, so that people and scanners of leaked secrets know what they have found.
const PREFIX: &str = "callbook_";
/// The longest name, in characters.
const LONGEST_NAME: usize = 100;

/// SHA-256 of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(secret: &SecretString) -> Self {
        Self(<Sha256 as sha2::Digest>::digest(secret.expose_secret()).into())
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is known of a token, without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Token {
    pub id: i64,
    pub name: String,
    pub role: Role,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// To the minute; null if it never was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// Why a token cannot be made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("a token's name must have 1 to {LONGEST_NAME} characters and none that is not shown")]
    BadName,
    #[error("there is a token named `{name}` already; revoke it first, or choose another name")]
    NameTaken { name: String },
    #[error("there is no valid token named `{name}`; `callbook token list` shows those there are")]
    Unknown { name: String },
    #[error("the tokens cannot be read or written")]
    Database(#[from] sqlx::Error),
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    role: String,
    created_at: OffsetDateTime,
    last_used_at: Option<OffsetDateTime>,
    revoked_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Token {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let Row { id, name, role, created_at, last_used_at, revoked_at } = row;
        Ok(Self { id, name, role: read_role(&role)?, created_at, last_used_at, revoked_at })
    }
}

/// A secret that nobody had before: 32 random bytes in URL-safe base 64.
pub fn random() -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// Makes a token. What is returned is not kept anywhere, and cannot be had again.
pub async fn create(pool: &PgPool, name: &str, role: Role) -> Result<(Token, SecretString), TokenError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(TokenError::BadName);
    }
    let secret = SecretString::from(format!("{PREFIX}{}", random().expose_secret()));
    let made: Result<Row, sqlx::Error> = sqlx::query_as(
        "insert into api_tokens (name, role, digest) values ($1, $2, $3)
         returning id, name, role, created_at, last_used_at, revoked_at",
    )
    .bind(name)
    .bind(role.as_str())
    .bind(Digest::of(&secret).as_bytes())
    .fetch_one(pool)
    .await;
    match made {
        Ok(row) => Ok((row.try_into()?, secret)),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_unique_violation()) => {
            Err(TokenError::NameTaken { name: name.to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

/// All of them, revoked ones too, the newest first.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Token>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, name, role, created_at, last_used_at, revoked_at from api_tokens order by id desc",
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(Token::try_from).collect()
}

/// Lets nobody in by it from now on, nor by the sessions that were signed in with it.
pub async fn revoke(pool: &PgPool, name: &str) -> Result<Token, TokenError> {
    // No token has such a name, and PostgreSQL does not take every one.
    if name.chars().any(char::is_control) {
        return Err(TokenError::Unknown { name: name.to_owned() });
    }
    let row: Option<Row> = sqlx::query_as(
        "update api_tokens set revoked_at = clock_timestamp() where name = $1 and revoked_at is null
         returning id, name, role, created_at, last_used_at, revoked_at",
    )
    .bind(name)
    .fetch_optional(pool)
    .await?;
    let row = row.ok_or_else(|| TokenError::Unknown { name: name.to_owned() })?;
    Ok(row.try_into()?)
}

pub(crate) async fn is_there_an_admin(database: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from api_tokens where role = 'admin' and revoked_at is null)")
        .fetch_one(database)
        .await
}

pub(super) async fn is_valid(pool: &PgPool, id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select from api_tokens where id = $1 and revoked_at is null)")
        .bind(id)
        .fetch_one(pool)
        .await
}

pub(super) async fn find(pool: &PgPool, digest: &Digest) -> sqlx::Result<Option<Caller>> {
    let found: Option<(i64, String, String, bool)> = sqlx::query_as(
        "select id, name, role, coalesce(last_used_at < clock_timestamp() - interval '1 minute', true)
           from api_tokens where digest = $1 and revoked_at is null",
    )
    .bind(digest.as_bytes())
    .fetch_optional(pool)
    .await?;
    let Some((id, name, role, touch)) = found else { return Ok(None) };
    if touch {
        tokio::spawn(touched(pool.clone(), id));
    }
    Ok(Some(Caller::let_in(Identity::Token(id), name.into(), read_role(&role)?)))
}

/// Nobody waits for it, and where it cannot be written the token is valid all the same.
async fn touched(pool: PgPool, id: i64) {
    let _ = sqlx::query("update api_tokens set last_used_at = clock_timestamp() where id = $1")
        .bind(id)
        .execute(&pool)
        .await;
}

fn read_role(text: &str) -> Result<Role, sqlx::Error> {
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
