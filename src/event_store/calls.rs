//! The streams of calls: loading many at once, and `cqrs-es`'s view of one.

use std::collections::HashMap;

use cqrs_es::persist::{PersistedEventRepository, PersistenceError, SerializedEvent};
use cqrs_es::{Aggregate, AggregateContext, AggregateError, DomainEvent, EventEnvelope, EventStore};
use domain::call::event::DecodeError;
use domain::call::{Call, CallError, CallEvent};
use postgres_es::PostgresEventRepository;
use sqlx::{PgConnection, PgPool};

use super::{CommitError, Committer, NewEvent, Unit};

/// A call and how long its stream is.
#[derive(Clone, Debug, Default)]
pub struct StreamState {
    pub call: Call,
    /// The sequence of the last event; 0 for a stream that does not exist yet.
    pub sequence: i64,
}

/// Why a stream cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("event {sequence} of {aggregate_id} cannot be read")]
    Event {
        aggregate_id: String,
        sequence: i64,
        #[source]
        source: DecodeError,
    },
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
}

impl StreamState {
    /// Applies decided events and gives them their places after what is there.
    pub fn extend(&mut self, call_sid: &str, events: Vec<CallEvent>, metadata: &str) -> Vec<NewEvent> {
        let mut placed = Vec::with_capacity(events.len());
        for event in events {
            self.sequence += 1;
            placed.push(NewEvent {
                aggregate_type: Call::TYPE,
                aggregate_id: call_sid.to_owned(),
                sequence: self.sequence,
                event_type: event.type_name().to_owned(),
                event_version: event.version().to_owned(),
                payload: serde_json::to_string(&event)
                    .unwrap_or_else(|error| unreachable!("an event is always JSON: {error}")),
                metadata: metadata.to_owned(),
            });
            self.call.apply(event);
        }
        placed
    }
}

/// Loads the streams of many calls in one query. A call without events is not in the answer.
pub async fn load_streams(
    connection: &mut PgConnection,
    call_sids: &[&str],
) -> Result<HashMap<String, StreamState>, LoadError> {
    let rows: Vec<(String, i64, String, String, String)> = sqlx::query_as(
        "select aggregate_id, sequence, event_type, event_version, payload::text
           from call_events
          where aggregate_type = $1 and aggregate_id = any($2)
          order by aggregate_id, sequence",
    )
    .bind(Call::TYPE)
    .bind(call_sids)
    .fetch_all(connection)
    .await?;
    let mut streams: HashMap<String, StreamState> = HashMap::new();
    for (aggregate_id, sequence, event_type, event_version, payload) in rows {
        let event = CallEvent::decode(&event_type, &event_version, &payload)
            .map_err(|source| LoadError::Event { aggregate_id: aggregate_id.clone(), sequence, source })?;
        let stream = streams.entry(aggregate_id).or_default();
        stream.sequence = sequence;
        stream.call.apply(event);
    }
    Ok(streams)
}

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
    state: StreamState,
}

impl AggregateContext<Call> for CallContext {
    fn aggregate(&mut self) -> &mut Call {
        &mut self.state.call
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
        let mut state = StreamState::default();
        for envelope in self.load_events(call_sid).await? {
            state.sequence = envelope.sequence.try_into().unwrap_or(i64::MAX);
            state.call.apply(envelope.payload);
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
