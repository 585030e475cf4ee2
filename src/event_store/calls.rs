//! `cqrs-es`'s view of the stream of a call.

use std::collections::HashMap;

use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent, EventEnvelope, EventStore};
use domain::call::{Call, CallError, CallEvent};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;

use super::streams::{LoadError, StreamState};
use super::{CommitError, Committer, NewEvent, Unit};

/// `cqrs-es`'s event store over the committer: history is read by `postgres-es`, and what is decided is
/// appended like everything else.
#[derive(Clone)]
pub struct CallStore {
    repository: std::sync::Arc<PostgresEventRepository>,
    committer: Committer,
}

/// One loaded call.
#[derive(Debug)]
pub struct CallContext {
    call_sid: String,
    state: StreamState<Call>,
}

impl AggregateContext<Call> for CallContext {
    fn aggregate(&mut self) -> &mut Call {
        &mut self.state.aggregate
    }
}

impl CallStore {
    pub fn new(pool: PgPool, committer: Committer) -> Self {
        // No snapshots are kept, so the second name is never used.
        let repository = PostgresEventRepository::new(pool).with_tables("call_events", "no_snapshots");
        Self { repository: repository.into(), committer }
    }
}

impl std::fmt::Debug for CallStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallStore")
    }
}

impl EventStore<Call> for CallStore {
    type AC = CallContext;

    async fn load_events(
        &self,
        call_sid: &str,
    ) -> Result<Vec<EventEnvelope<Call>>, AggregateError<CallError>> {
        let stored = self.repository.get_events::<Call>(call_sid).await?;
        Ok(stored.into_iter().map(loaded).collect::<Result<_, PersistenceError>>()?)
    }

    async fn load_aggregate(&self, call_sid: &str) -> Result<CallContext, AggregateError<CallError>> {
        let mut state = StreamState::<Call>::default();
        for envelope in self.load_events(call_sid).await? {
            state.sequence = envelope.sequence.try_into().unwrap_or(i64::MAX);
            state.aggregate.apply(envelope.payload);
        }
        Ok(CallContext { call_sid: call_sid.to_owned(), state })
    }

    async fn commit(
        &self,
        events: Vec<CallEvent>,
        context: CallContext,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<Call>>, AggregateError<CallError>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let CallContext { call_sid, state } = context;
        let envelopes: Vec<EventEnvelope<Call>> = (1..)
            .zip(events)
            .map(|(nth, payload)| EventEnvelope {
                aggregate_id: call_sid.clone(),
                sequence: usize::try_from(state.sequence).unwrap_or(usize::MAX).saturating_add(nth),
                payload,
                metadata: metadata.clone(),
            })
            .collect();
        let events = envelopes.iter().map(placed).collect::<Result<_, _>>()?;
        let unit = Unit { events, ..Unit::default() };
        match self.committer.commit(unit).await {
            Ok(()) => Ok(envelopes),
            Err(CommitError::Conflict) => Err(AggregateError::AggregateConflict),
            Err(CommitError::Database(error)) => {
                Err(AggregateError::DatabaseConnectionError(Box::new(error)))
            }
            Err(error @ (CommitError::Fenced | CommitError::Locked(_) | CommitError::Stopping)) => {
                Err(AggregateError::UnexpectedError(Box::new(error)))
            }
        }
    }
}

/// What `postgres-es` has read. Its own conversion would take every payload for one of today's version, so the
/// payload is written out once more and read like all others.
fn loaded(stored: SerializedEvent) -> Result<EventEnvelope<Call>, PersistenceError> {
    let SerializedEvent { aggregate_id, sequence, event_type, event_version, payload, metadata, .. } = stored;
    let payload = CallEvent::decode(&event_type, &event_version, &payload.to_string())
        .map_err(|source| LoadError::Event {
            aggregate_id: aggregate_id.clone(),
            sequence: sequence.try_into().unwrap_or(i64::MAX),
            source,
        })
        .map_err(|error| PersistenceError::DeserializationError(error.into()))?;
    Ok(EventEnvelope { aggregate_id, sequence, payload, metadata: serde_json::from_value(metadata)? })
}

fn placed(envelope: &EventEnvelope<Call>) -> Result<NewEvent, PersistenceError> {
    Ok(NewEvent {
        aggregate_type: Call::TYPE,
        aggregate_id: envelope.aggregate_id.clone(),
        sequence: envelope.sequence.try_into().unwrap_or(i64::MAX),
        event_type: envelope.payload.event_type(),
        event_version: envelope.payload.event_version(),
        payload: serde_json::to_string(&envelope.payload)?,
        metadata: serde_json::to_string(&envelope.metadata)?,
    })
}
