//! The streams of aggregates: loading many at once, and giving decided events their places.

use std::collections::HashMap;

use cqrs_es::DomainEvent;
use domain::decider::Decider;
use domain::upcast::DecodeError;
use projections::log::nameable;
use sqlx::PgConnection;

use super::NewEvent;

/// An aggregate and how long its stream is.
#[derive(Clone, Debug, Default)]
pub struct StreamState<A> {
    pub aggregate: A,
    /// The sequence of the last event; 0 for a stream that does not exist yet.
    pub sequence: i64,
}

/// Why a stream cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("event {sequence} ({}) cannot be read", nameable(aggregate_id))]
    Event {
        aggregate_id: String,
        sequence: i64,
        #[source]
        source: DecodeError,
    },
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
}

impl<A: Decider> StreamState<A> {
    /// Applies decided events and gives them their places after what is there.
    pub fn extend(&mut self, aggregate_id: &str, events: Vec<A::Event>, metadata: &str) -> Vec<NewEvent> {
        let mut placed = Vec::with_capacity(events.len());
        for event in events {
            self.sequence += 1;
            placed.push(NewEvent {
                aggregate_type: A::TYPE,
                aggregate_id: aggregate_id.to_owned(),
                sequence: self.sequence,
                event_type: event.event_type(),
                event_version: event.event_version(),
                payload: serde_json::to_string(&event)
                    .unwrap_or_else(|error| unreachable!("an event is always JSON: {error}")),
                metadata: metadata.to_owned(),
            });
            self.aggregate.apply(event);
        }
        placed
    }
}

/// Loads many streams in one query. An aggregate without events is not in the answer.
pub async fn load_streams<A: Decider>(
    connection: &mut PgConnection,
    aggregate_ids: &[&str],
) -> Result<HashMap<String, StreamState<A>>, LoadError> {
    let rows: Vec<(String, i64, String, String, String)> = sqlx::query_as(
        "select aggregate_id, sequence, event_type, event_version, payload::text
           from call_events
          where aggregate_type = $1 and aggregate_id = any($2)
          order by aggregate_id, sequence",
    )
    .bind(A::TYPE)
    .bind(aggregate_ids)
    .fetch_all(connection)
    .await?;
    let mut streams: HashMap<String, StreamState<A>> = HashMap::new();
    for (aggregate_id, sequence, event_type, event_version, payload) in rows {
        let event = A::decode(&event_type, &event_version, &payload).map_err(|source| LoadError::Event {
            aggregate_id: aggregate_id.clone(),
            sequence,
            source,
        })?;
        let stream = streams
            .entry(aggregate_id)
            .or_insert_with(|| StreamState { aggregate: A::default(), sequence: 0 });
        stream.sequence = sequence;
        stream.aggregate.apply(event);
    }
    Ok(streams)
}
