//! Reading the log in its one total order.

use domain::call::CallEvent;
use domain::call::event::{DecodeError, Told};
use domain::sid::CallSid;
use futures::stream::BoxStream;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::copy::{Fields, Malformed};

/// An event as it is stored; whoever folds it decodes it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredEvent {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    /// JSON text.
    pub payload: String,
    /// When it was recorded; in position order.
    pub recorded_at: OffsetDateTime,
}

/// How a stream is called where anybody may read it: a call's SID says nothing of a person, a party's number does.
pub fn nameable(aggregate_id: &str) -> &str {
    if CallSid::try_new(aggregate_id).is_ok() { aggregate_id } else { "of a party" }
}

/// An event that the log holds and this binary cannot read.
#[derive(Debug, thiserror::Error)]
#[error("the event at position {position} ({}, number {sequence}) cannot be read", nameable(aggregate_id))]
pub struct Unreadable {
    pub position: i64,
    pub aggregate_id: String,
    pub sequence: i64,
    #[source]
    pub source: DecodeError,
}

impl StoredEvent {
    /// What the event says.
    pub fn decode(&self) -> Result<CallEvent, Unreadable> {
        CallEvent::decode(&self.event_type, &self.event_version, &self.payload)
            .map_err(|source| self.unreadable(source))
    }

    /// What a fold takes of it.
    pub fn told(&self) -> Result<Told, Unreadable> {
        CallEvent::told(&self.event_type, &self.event_version, &self.payload)
            .map_err(|source| self.unreadable(source))
    }

    pub(crate) fn unreadable(&self, source: DecodeError) -> Unreadable {
        Unreadable {
            position: self.position,
            aggregate_id: self.aggregate_id.clone(),
            sequence: self.sequence,
            source,
        }
    }
}

const COLUMNS: &str = "id as position, aggregate_type, aggregate_id, sequence, event_type, event_version,
     payload::text as payload, created_at as recorded_at";

/// The events after `position` and up to `last`, in order, at most `limit` of them.
///
/// A reader that has seen position P has seen everything up to P: appends commit in position order.
pub async fn read_after(
    connection: &mut PgConnection,
    position: i64,
    last: i64,
    limit: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!("select {COLUMNS} from call_events where id > $1 and id <= $2 order by id limit $3");
    sqlx::query_as(&query).bind(position).bind(last).bind(limit).fetch_all(connection).await
}

/// The events at these positions, in order.
pub(crate) async fn read_at(
    connection: &mut PgConnection,
    positions: &[i64],
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!("select {COLUMNS} from call_events where id = any($1) order by id");
    sqlx::query_as(&query).bind(positions).fetch_all(connection).await
}

/// The events of these calls up to `last`, in order.
pub(crate) async fn read_calls(
    connection: &mut PgConnection,
    call_sids: &[String],
    last: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!(
        "select {COLUMNS} from call_events
          where aggregate_type = 'call' and aggregate_id = any($1) and id <= $2
          order by id"
    );
    sqlx::query_as(&query).bind(call_sids).bind(last).fetch_all(connection).await
}

/// The events that people made about these parties up to `last`, in order.
pub(crate) async fn read_entered(
    connection: &mut PgConnection,
    parties: &[String],
    last: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!(
        "select {COLUMNS} from call_events
          where aggregate_type in ('contact', 'conversation') and aggregate_id = any($1) and id <= $2
          order by id"
    );
    sqlx::query_as(&query).bind(parties).bind(last).fetch_all(connection).await
}

/// The query of all events that people made up to a position, stream by stream as the primary key has them.
pub(crate) fn entered_in_streams() -> String {
    format!(
        "select {COLUMNS} from call_events
          where aggregate_type in ('contact', 'conversation') and id <= $1
          order by aggregate_type, aggregate_id, sequence"
    )
}

/// What a query finds up to `last`, as it comes.
pub(crate) fn stream<'c>(
    connection: &'c mut PgConnection,
    query: &'c str,
    last: i64,
) -> BoxStream<'c, sqlx::Result<StoredEvent>> {
    sqlx::query_as(query).bind(last).fetch(connection)
}

/// The position of the last event, 0 for an empty log.
pub async fn last_position(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select coalesce(max(id), 0) from call_events").fetch_one(connection).await
}

/// The position of the last event that was recorded at that time or before, 0 if there is none.
///
/// Recorded times ascend with positions, so it is found by halving, without an index of its own to be kept.
pub async fn last_position_at(connection: &mut PgConnection, time: OffsetDateTime) -> sqlx::Result<i64> {
    let (mut before, mut after) = (0, last_position(&mut *connection).await?.saturating_add(1));
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        // Positions have gaps: what stands nearest below speaks for the middle.
        let nearest: Option<(i64, OffsetDateTime)> = sqlx::query_as(
            "select id, created_at from call_events where id <= $1 and id > $2 order by id desc limit 1",
        )
        .bind(middle)
        .bind(before)
        .fetch_optional(&mut *connection)
        .await?;
        match nearest {
            Some((position, recorded_at)) if recorded_at > time => after = position,
            _ => before = middle,
        }
    }
    let last: Option<i64> = sqlx::query_scalar("select max(id) from call_events where id <= $1")
        .bind(before)
        .fetch_one(connection)
        .await?;
    Ok(last.unwrap_or(0))
}

/// The statement that copies out the events of calls after `position` and up to `last`, in order: what a whole log
/// is read by. In order, because a scan that is not told so really came out of order.
pub fn copy_out(position: i64, last: i64) -> String {
    format!(
        "copy (select id, aggregate_id, sequence, event_type, event_version, payload, created_at
                 from call_events
                where id > {position} and id <= {last} and aggregate_type = 'call'
                order by id)
           to stdout (format binary)"
    )
}

/// An event on its way out of a copy.
#[derive(Debug)]
pub(crate) struct CopiedEvent<'a> {
    pub position: i64,
    pub call_sid: &'a str,
    pub sequence: i64,
    event_type: &'a str,
    event_version: &'a str,
    payload: &'a str,
    pub recorded_at: OffsetDateTime,
}

impl<'a> CopiedEvent<'a> {
    /// Nothing after the last event.
    pub fn read(message: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Some(mut fields) = Fields::of(message)? else { return Ok(None) };
        Ok(Some(Self {
            position: fields.number()?,
            call_sid: fields.text()?,
            sequence: fields.number()?,
            event_type: fields.text()?,
            event_version: fields.text()?,
            payload: fields.text()?,
            recorded_at: fields.time()?,
        }))
    }

    /// What a fold takes of it.
    pub fn told(&self) -> Result<Told, DecodeError> {
        CallEvent::told(self.event_type, self.event_version, self.payload)
    }
}
