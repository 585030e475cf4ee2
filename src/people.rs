//! What people enter: commands that are decided on what stands in the log and committed with the name of the request.
//!
//! An editor may say which version it has seen; without that, a command that loses against another is decided again.
//! A request that names itself has one effect, however often it comes.

use cqrs_es::Aggregate;
use domain::decider::Decider;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;

use crate::event_store::idempotency::{self, Answered, Digest};
use crate::event_store::{CommitError, Committer, LoadError, StreamState, Unit, load_streams};

/// Hands what people enter to the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Editor {
    pool: PgPool,
    committer: Committer,
}

/// What somebody asks for, and on what terms.
#[derive(Clone, Debug)]
pub struct Edit<C> {
    /// One after another, all of them or none.
    pub commands: Vec<C>,
    /// Whether the version that is there is one the caller has seen.
    pub expected: Expected,
    /// Where the caller has named the request.
    pub key: Option<RequestKey>,
    /// Under which our log tells of the request.
    pub request_id: String,
    /// Who asks, by the name of their token.
    pub by: String,
}

/// Which versions a caller expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    Any,
    OneOf(Vec<i64>),
}

/// A caller's name of a request, and the digest of what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    pub key: String,
    pub digest: Digest,
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited<A> {
    pub aggregate: A,
    /// How long the stream is: what [`Expected`] is compared with.
    pub version: i64,
    /// Something was recorded, now or when the request came first.
    pub recorded: bool,
    /// Of the last event of the stream, 0 where there is none.
    pub position: i64,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum EditError<E> {
    #[error(transparent)]
    Refused(E),
    #[error("it is at version {version}, which the caller has not seen")]
    Changed { version: i64 },
    #[error("the key was used for another request")]
    KeyUsed,
    #[error("what was entered before cannot be read")]
    Load(#[from] LoadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
}

/// What is kept under a key: everything that an answer is made of but the position, which is known by the version.
#[derive(Serialize, Deserialize)]
struct Kept<A> {
    aggregate: A,
    version: i64,
    recorded: bool,
}

impl Editor {
    pub fn new(pool: PgPool, committer: Committer) -> Self {
        Self { pool, committer }
    }

    /// Decides the commands on an aggregate and commits what they add.
    pub async fn edit<A>(
        &self,
        aggregate_id: &str,
        edit: Edit<A::Command>,
    ) -> Result<Edited<A>, EditError<A::Error>>
    where
        A: Decider,
        A::Command: Clone,
    {
        let metadata = json!({ "source": "rest", "request_id": edit.request_id, "by": edit.by }).to_string();
        loop {
            let mut state = self.load::<A>(aggregate_id).await?;
            // After the load: what was committed under the key since is a conflict, and is found the next time. The
            // other way round, our own effect could be taken for somebody else's.
            if let Some(request) = &edit.key
                && let Some(known) = idempotency::find(&self.pool, &request.key).await?
            {
                return self.repeat(aggregate_id, request, known).await;
            }
            let version = state.sequence;
            if let Expected::OneOf(versions) = &edit.expected
                && !versions.contains(&version)
            {
                return Err(EditError::Changed { version });
            }
            let mut unit = Unit::default();
            for command in edit.commands.iter().cloned() {
                let events = state.aggregate.decide(command).map_err(EditError::Refused)?;
                unit.events.extend(state.extend(aggregate_id, events, &metadata));
            }
            let recorded = !unit.events.is_empty();
            let kept = Kept { aggregate: state.aggregate, version: state.sequence, recorded };
            unit.answered = edit.key.as_ref().map(|request| Answered {
                key: request.key.clone(),
                request_digest: request.digest,
                answer: json!(kept),
            });
            if recorded || unit.answered.is_some() {
                match self.committer.commit(unit).await {
                    Ok(()) => {}
                    // Somebody has appended, or answered under the same key: either is there to be found now.
                    Err(CommitError::Conflict) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            return self.edited(aggregate_id, kept).await;
        }
    }

    /// Answers what was answered before.
    async fn repeat<A: Decider>(
        &self,
        aggregate_id: &str,
        request: &RequestKey,
        known: Answered,
    ) -> Result<Edited<A>, EditError<A::Error>> {
        if known.request_digest != request.digest {
            return Err(EditError::KeyUsed);
        }
        let kept: Kept<A> =
            serde_json::from_value(known.answer).map_err(|error| sqlx::Error::Decode(error.into()))?;
        self.edited(aggregate_id, kept).await
    }

    async fn edited<A: Aggregate>(
        &self,
        aggregate_id: &str,
        kept: Kept<A>,
    ) -> Result<Edited<A>, EditError<A::Error>> {
        let Kept { aggregate, version, recorded } = kept;
        let position: Option<i64> = sqlx::query_scalar(
            "select id from call_events where aggregate_type = $1 and aggregate_id = $2 and sequence = $3",
        )
        .bind(A::TYPE)
        .bind(aggregate_id)
        .bind(version)
        .fetch_optional(&self.pool)
        .await?;
        Ok(Edited { aggregate, version, recorded, position: position.unwrap_or(0) })
    }

    async fn load<A: Decider>(&self, aggregate_id: &str) -> Result<StreamState<A>, LoadError> {
        let mut connection = self.pool.acquire().await?;
        let mut streams = load_streams::<A>(&mut connection, &[aggregate_id]).await?;
        let nothing = || StreamState { aggregate: A::default(), sequence: 0 };
        Ok(streams.remove(aggregate_id).unwrap_or_else(nothing))
    }
}
