//! Who may use the API: tokens that programs send with each request, and sessions of browsers that signed in with one.
//!
//! Of either only a digest is kept. A token is 32 random bytes, so nobody finds it by trying and a slow digest would
//! add nothing.

pub mod tokens;

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::config::{Account, Config};
use tokens::Digest;

/// How long a browser stays signed in.
const SESSION: Duration = Duration::days(14);

/// What somebody may do. Each may do what those before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads calls and threads, and listens.
    Viewer,
    /// Works with them.
    Dispatcher,
    /// Sees to what is odd: the inbox, the log, rebuilds.
    Engineer,
    /// Says who else may.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Dispatcher, Self::Engineer, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Dispatcher => "dispatcher",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; there are viewer, dispatcher, engineer and admin")]
pub struct UnknownRole(String);

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    pub identity: Identity,
    /// Of the token, for people.
    pub name: Arc<str>,
    pub role: Role,
    /// Of a browser that signed in; it may be signed out before its token is revoked.
    pub session: Option<Digest>,
}

/// What a caller is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Nobody need say who they are here.
    Anybody,
    /// The token of the environment.
    Environment,
    /// A row of `api_tokens`.
    Token(i64),
}

impl Caller {
    fn anybody() -> Self {
        Self::let_in(Identity::Anybody, "anybody".into(), Role::Admin)
    }

    fn environment() -> Self {
        Self::let_in(Identity::Environment, "CALLBOOK_ADMIN_TOKEN".into(), Role::Admin)
    }

    /// By a token, or by nothing.
    pub fn let_in(identity: Identity, name: Arc<str>, role: Role) -> Self {
        Self { identity, name, role, session: None }
    }
}

/// Lets callers in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    pool: PgPool,
    /// The digest of `CALLBOOK_ADMIN_TOKEN`.
    environment: Option<Digest>,
    /// Whether a caller must say who they are.
    required: bool,
}

/// Why callbook does not start: what would be open to everybody is closed to everybody.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "{why}, so callers have to show a token, and there is no admin token yet: run \
         `callbook token create --name <who it is for> --role admin`, or set CALLBOOK_ADMIN_TOKEN to a long random \
         text, and start callbook again"
    )]
    NoAdminToken { why: String },
    #[error("the tokens cannot be read")]
    Database(#[from] sqlx::Error),
}

/// Why callers must say who they are; nothing where calls are simulated and only this machine can ask.
pub fn why_required(config: &Config, address: IpAddr) -> Option<String> {
    match &config.twilio {
        Account::Real { .. } => Some("the Twilio account is a real one".to_owned()),
        Account::Simulated if !address.is_loopback() => {
            Some(format!("callbook listens on {address}, where others than this machine may reach it"))
        }
        Account::Simulated => None,
    }
}

/// A browser that has just signed in.
#[derive(Debug)]
pub struct SignedIn {
    pub caller: Caller,
    /// What the cookie holds.
    pub secret: SecretString,
    pub expires_at: OffsetDateTime,
}

impl Access {
    /// Refuses where callers must have a token and nobody could make one.
    pub async fn open(config: &Config, address: IpAddr, pool: PgPool) -> Result<Self, AccessError> {
        let environment = config.admin_token.as_ref().map(Digest::of);
        let why = why_required(config, address);
        if let (Some(why), None) = (&why, &environment)
            && !tokens::is_there_an_admin(&pool).await?
        {
            return Err(AccessError::NoAdminToken { why: why.clone() });
        }
        Ok(Self { pool, environment, required: why.is_some() })
    }

    /// Whether a caller must say who they are.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Whoever shows nothing, where that is enough.
    pub fn without_token(&self) -> Option<Caller> {
        (!self.required).then(Caller::anybody)
    }

    /// Nothing if no such token is valid. The one of the environment is known without a database.
    pub async fn by_token(&self, secret: &SecretString) -> sqlx::Result<Option<Caller>> {
        let digest = Digest::of(secret);
        if self.is_of_environment(&digest) {
            return Ok(Some(Caller::environment()));
        }
        tokens::find(&self.pool, &digest).await
    }

    /// Nothing if the session has ended, or its token is no longer valid.
    pub async fn by_session(&self, secret: &SecretString) -> sqlx::Result<Option<Caller>> {
        #[derive(sqlx::FromRow)]
        struct Session {
            token: Option<Vec<u8>>,
            environment: Option<Vec<u8>>,
        }
        let digest = Digest::of(secret);
        let session: Option<Session> = sqlx::query_as(
            "select t.digest as token, s.environment
               from sessions s left join api_tokens t on t.id = s.token_id
              where s.digest = $1 and s.expires_at > clock_timestamp()",
        )
        .bind(digest.as_bytes())
        .fetch_optional(&self.pool)
        .await?;
        let caller = match session {
            Some(Session { token: Some(token), .. }) => match Digest::from_bytes(&token) {
                Some(token) => tokens::find(&self.pool, &token).await?,
                None => None,
            },
            Some(Session { environment: Some(token), .. }) => {
                let same = Digest::from_bytes(&token).is_some_and(|token| self.is_of_environment(&token));
                same.then(Caller::environment)
            }
            _ => None,
        };
        Ok(caller.map(|caller| Caller { session: Some(digest), ..caller }))
    }

    /// Nothing if no such token is valid.
    pub async fn sign_in(&self, token: &SecretString) -> sqlx::Result<Option<SignedIn>> {
        let Some(caller) = self.by_token(token).await? else { return Ok(None) };
        let (secret, expires_at) = (tokens::random(), OffsetDateTime::now_utc() + SESSION);
        let (token_id, environment) = match caller.identity {
            Identity::Token(id) => (Some(id), None),
            Identity::Environment | Identity::Anybody => {
                (None, self.environment.as_ref().map(Digest::as_bytes))
            }
        };
        sqlx::query(
            "insert into sessions (digest, token_id, environment, expires_at) values ($1, $2, $3, $4)",
        )
        .bind(Digest::of(&secret).as_bytes())
        .bind(token_id)
        .bind(environment)
        .bind(expires_at)
        .execute(&self.pool)
        .await?;
        // What has expired lets nobody in; whoever comes next clears it away.
        sqlx::query("delete from sessions where expires_at <= clock_timestamp()").execute(&self.pool).await?;
        Ok(Some(SignedIn { caller, secret, expires_at }))
    }

    /// Ends a session, if it is one.
    pub async fn sign_out(&self, secret: &SecretString) -> sqlx::Result<()> {
        sqlx::query("delete from sessions where digest = $1")
            .bind(Digest::of(secret).as_bytes())
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Whether a caller who was let in still would be: a stream goes on for longer than a token or a session may.
    pub async fn still_admits(&self, caller: &Caller) -> sqlx::Result<bool> {
        if let Some(session) = &caller.session
            && !self.goes_on(session).await?
        {
            return Ok(false);
        }
        match caller.identity {
            Identity::Anybody | Identity::Environment => Ok(true),
            Identity::Token(id) => tokens::is_valid(&self.pool, id).await,
        }
    }

    async fn goes_on(&self, session: &Digest) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "select exists (select from sessions where digest = $1 and expires_at > clock_timestamp())",
        )
        .bind(session.as_bytes())
        .fetch_one(&self.pool)
        .await
    }

    fn is_of_environment(&self, digest: &Digest) -> bool {
        self.environment.as_ref().is_some_and(|ours| ours.as_bytes().ct_eq(digest.as_bytes()).into())
    }
}
