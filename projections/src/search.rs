//! Looking for events in the whole log.
//!
//! No index beside the two that the log needs is kept for this: every append would pay for what is asked for now and
//! then. One stream is found by its key; everything else is looked for by going through the log, a bounded stretch
//! at a time, so that an answer may have few events, or none, and still say where to go on.

use std::ops::RangeInclusive;

use sqlx::{PgConnection, Postgres, QueryBuilder};
use time::OffsetDateTime;

use crate::log;

/// Positions that one search goes through.
const STRETCH: i64 = 100_000;

/// Which events are looked for; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<String>,
    pub event_type: Option<String>,
    pub source: Option<String>,
    /// Recorded then or later.
    pub from: Option<OffsetDateTime>,
    /// Recorded before then.
    pub before: Option<OffsetDateTime>,
}

/// In which order, from where on, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub newest_first: bool,
    /// The position after which it begins, in that order.
    pub after: Option<i64>,
    pub limit: i64,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Found {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    /// When it happened, where the event says so.
    pub event_time: Option<OffsetDateTime>,
    pub source: Option<String>,
    /// JSON text.
    pub payload: String,
    /// JSON text.
    pub metadata: String,
    pub recorded_at: OffsetDateTime,
}

/// What was found of a page.
#[derive(Clone, Debug)]
pub struct Search {
    pub events: Vec<Found>,
    /// Where to go on; nothing where the log was gone through to its end.
    pub next_after: Option<i64>,
    /// The last position of the log.
    pub head: i64,
}

/// Searches one page.
pub async fn search(connection: &mut PgConnection, filter: &Filter, page: Page) -> sqlx::Result<Search> {
    let head = log::last_position(&mut *connection).await?;
    let Some(whole) = span(connection, filter, page, head).await? else {
        return Ok(Search { events: Vec::new(), next_after: None, head });
    };
    let is_one_stream = filter.aggregate_type.is_some() && filter.aggregate_id.is_some();
    let stretch = match (is_one_stream, page.newest_first) {
        (true, _) => whole.clone(),
        (false, false) => *whole.start()..=whole.start().saturating_add(STRETCH - 1).min(*whole.end()),
        (false, true) => whole.end().saturating_sub(STRETCH - 1).max(*whole.start())..=*whole.end(),
    };
    let mut events = select(connection, filter, page, &stretch).await?;
    let is_more = i64::try_from(events.len()).is_ok_and(|count| count > page.limit);
    events.truncate(usize::try_from(page.limit).unwrap_or(0));
    let next_after = match (events.last(), page.newest_first) {
        (Some(last), _) if is_more => Some(last.position),
        (_, false) => (stretch.end() < whole.end()).then_some(*stretch.end()),
        (_, true) => (stretch.start() > whole.start()).then_some(*stretch.start()),
    };
    Ok(Search { events, next_after, head })
}

/// The positions that there are to go through.
async fn span(
    connection: &mut PgConnection,
    filter: &Filter,
    page: Page,
    head: i64,
) -> sqlx::Result<Option<RangeInclusive<i64>>> {
    let (mut first, mut last) = (1, head);
    if let Some(from) = filter.from {
        let before = from - time::Duration::MICROSECOND;
        first = log::last_position_at(&mut *connection, before).await?.saturating_add(1);
    }
    if let Some(before) = filter.before {
        let until = before - time::Duration::MICROSECOND;
        last = log::last_position_at(connection, until).await?.min(last);
    }
    match page.after {
        None => {}
        Some(after) if page.newest_first => last = last.min(after.saturating_sub(1)),
        Some(after) => first = first.max(after.saturating_add(1)),
    }
    Ok((first <= last).then_some(first..=last))
}

async fn select(
    connection: &mut PgConnection,
    filter: &Filter,
    page: Page,
    stretch: &RangeInclusive<i64>,
) -> sqlx::Result<Vec<Found>> {
    let mut query: QueryBuilder<Postgres> = QueryBuilder::new(
        "select id as position, aggregate_type, aggregate_id, sequence, event_type, event_version, event_time,
                source, payload::text as payload, metadata::text as metadata, created_at as recorded_at
           from call_events
          where id between ",
    );
    query.push_bind(*stretch.start()).push(" and ").push_bind(*stretch.end());
    let wanted = [
        (" and aggregate_type = ", &filter.aggregate_type),
        (" and aggregate_id = ", &filter.aggregate_id),
        (" and event_type = ", &filter.event_type),
        (" and source = ", &filter.source),
    ];
    for (condition, value) in wanted {
        if let Some(value) = value {
            query.push(condition).push_bind(value);
        }
    }
    query.push(if page.newest_first { " order by id desc" } else { " order by id" });
    query.push(" limit ").push_bind(page.limit.saturating_add(1));
    query.build_query_as().fetch_all(connection).await
}
