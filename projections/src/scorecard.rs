//! How well webhooks tell of calls: which facts came by them first, which had to be asked for, and how late.
//!
//! A fact is counted once, on the day on which it happened by Twilio's clock, for the source of the first event that
//! told of it. It is read from the log, so it needs no table and holds for the past as well.

use std::collections::BTreeMap;

use domain::call::CallStatus;
use serde::Serialize;
use time::{Date, Duration, OffsetDateTime};
use utoipa::ToSchema;

use crate::generation::Snapshot;
use crate::log;

const WEBHOOK: &str = "webhook";

/// Days, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Scorecard {
    pub days: Vec<Day>,
    /// The last position of the log that is counted.
    pub position: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Day {
    /// UTC, as in `2026-02-08`.
    pub day: String,
    /// Facts that a webhook should have told of and that were found by asking: those from before the book began are
    /// history, and a webhook never tells of a price.
    pub healed: i64,
    /// `announced`, `ended`, `recording` and `price`; only those that something was told of.
    pub facts: BTreeMap<String, Fact>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Fact {
    /// First told by a webhook.
    pub webhook: i64,
    /// First found by asking Twilio.
    pub reconcile: i64,
    /// The same by source: `webhook`, `reconcile_hot`, …
    pub sources: BTreeMap<String, i64>,
    /// How late what was found by asking was, in seconds after it happened; without history.
    pub late: Option<Late>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Late {
    /// Over all sources, the greatest of their medians.
    pub median_seconds: f64,
    pub most_seconds: f64,
}

#[derive(sqlx::FromRow)]
struct Counted {
    day: Date,
    fact: String,
    source: String,
    /// From before the book began.
    history: bool,
    facts: i64,
    median_late: f64,
    most_late: f64,
}

/// The last `days` days up to and with that of `now`.
pub async fn scorecard(snapshot: &mut Snapshot, days: i64, now: OffsetDateTime) -> sqlx::Result<Scorecard> {
    let first = now.date() - Duration::days(days - 1);
    let position = snapshot.position();
    // What happened since then was recorded since then.
    let before = log::last_position_at(&mut snapshot.tx, first.midnight().assume_utc()).await?;
    let ended: Vec<&str> =
        CallStatus::ALL.iter().filter(|status| status.is_final()).map(|status| status.as_str()).collect();
    // Whoever asks for too much at once gives the connection back.
    sqlx::query("set local statement_timeout = '30s'").execute(&mut *snapshot.tx).await?;
    let rows: Vec<Counted> = sqlx::query_as(
        "with told as (
             select e.aggregate_id, e.sequence, e.created_at, coalesce(e.source, 'unknown') as source, fact.name,
                    coalesce(fact.happened_at, e.event_time, e.created_at) as happened_at
               from call_events e
              cross join lateral (values
                    ('announced', e.event_type = 'call.created',
                     (e.payload #>> '{facts,started,at}')::timestamptz),
                    ('ended', e.payload #>> '{facts,status,status}' = any($3)
                              and not exists (select from call_events p
                                               where p.aggregate_type = 'call' and p.aggregate_id = e.aggregate_id
                                                 and p.sequence < e.sequence
                                                 and p.payload #>> '{facts,status,status}' = any($3)),
                     (e.payload #>> '{facts,ended,at}')::timestamptz),
                    ('recording', e.event_type = 'recording.ready',
                     (select (made.value ->> 'started_at')::timestamptz
                             + make_interval(secs => coalesce((made.value ->> 'seconds')::integer, 0))
                        from json_each(e.payload #> '{facts,recordings}') as made limit 1)),
                    ('price', e.payload #> '{facts,price}' is not null
                              and not exists (select from call_events p
                                               where p.aggregate_type = 'call' and p.aggregate_id = e.aggregate_id
                                                 and p.sequence < e.sequence
                                                 and p.payload #> '{facts,price}' is not null),
                     null)
                    ) as fact (name, told, happened_at)
              where e.id > $1 and e.id <= $2 and e.aggregate_type = 'call' and fact.told
         )
         select (happened_at at time zone 'utc')::date as day, name as fact, source,
                happened_at < (select min(created_at) from (select created_at from call_events order by id limit 1) as first)
                    as history,
                count(*) as facts,
                percentile_cont(0.5) within group (order by late) as median_late, max(late) as most_late
           from (select *, extract(epoch from created_at - happened_at)::double precision as late from told) as told
          where happened_at >= $4
          group by 1, 2, 3, 4
          order by 1 desc, 2, 3, 4",
    )
    .bind(before)
    .bind(position)
    .bind(ended)
    .bind(first.midnight().assume_utc())
    .fetch_all(&mut *snapshot.tx)
    .await?;
    Ok(Scorecard { days: by_day(rows), position })
}

fn by_day(rows: Vec<Counted>) -> Vec<Day> {
    let mut days: Vec<Day> = Vec::new();
    for Counted { day, fact, source, history, facts, median_late, most_late } in rows {
        let day = day.to_string();
        if days.last().is_none_or(|last| last.day != day) {
            days.push(Day { day, healed: 0, facts: BTreeMap::new() });
        }
        let Some(day) = days.last_mut() else { continue };
        let asked_for = source != WEBHOOK;
        if asked_for && !history && fact != "price" {
            day.healed += facts;
        }
        let told = day.facts.entry(fact).or_default();
        if asked_for {
            told.reconcile += facts;
        } else {
            told.webhook += facts;
        }
        if asked_for && !history {
            let late = told.late.get_or_insert(Late { median_seconds: median_late, most_seconds: most_late });
            late.median_seconds = late.median_seconds.max(median_late);
            late.most_seconds = late.most_seconds.max(most_late);
        }
        *told.sources.entry(source).or_default() += facts;
    }
    days
}
