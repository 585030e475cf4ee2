//! What calls came to: how many, how they ended, how long was talked and waited.
//!
//! Counted are families as threads show them, from the rows that serve, so a call is in here as soon as it is in its
//! thread. Hours and days are PostgreSQL's, in the time zone that is asked for: a day has 23, 24 or 25 hours, and the
//! hour that is turned back is there twice.

mod buckets;

use std::collections::HashMap;

use sqlx::QueryBuilder;
use sqlx::types::time::{Date, OffsetDateTime};

pub use buckets::{Bucket, By};

use crate::generation::Snapshot;
use crate::queries::Filter;

/// The name of a time zone that PostgreSQL knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeZone(String);

impl TimeZone {
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One end of a span as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    At(OffsetDateTime),
    /// The whole day, in the time zone of the question.
    Day(Date),
}

impl Bound {
    fn parts(bound: Option<Self>) -> (Option<OffsetDateTime>, Option<Date>) {
        match bound {
            None => (None, None),
            Some(Self::At(at)) => (Some(at), None),
            Some(Self::Day(day)) => (None, Some(day)),
        }
    }
}

/// From a moment to before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Span {
    pub from: OffsetDateTime,
    pub until: OffsetDateTime,
}

/// What some calls came to. Calls that have not ended are in `calls` and `live`, and in `answered` once they are.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct Figures {
    pub calls: i64,
    pub live: i64,
    pub answered: i64,
    /// Inbound, and answered by nobody.
    pub missed: i64,
    pub no_answer: i64,
    pub busy: i64,
    pub failed: i64,
    pub canceled: i64,
    #[sqlx(flatten)]
    pub talk: Talk,
    #[sqlx(flatten)]
    pub wait: Wait,
}

/// Of calls that were answered and have ended. Seconds; nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct Talk {
    #[sqlx(rename = "talk_mean")]
    pub mean: Option<f64>,
    /// The median and the 95th percentile, each the time of a call.
    #[sqlx(rename = "talk_percentiles")]
    pub percentiles: Option<Vec<i32>>,
}

/// Of all calls that have ended. Seconds; nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct Wait {
    #[sqlx(rename = "wait_mean")]
    pub mean: Option<f64>,
    #[sqlx(rename = "wait_percentiles")]
    pub percentiles: Option<Vec<i32>>,
}

/// The calls of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    pub total: Figures,
    pub by_direction: Vec<(String, Figures)>,
    /// By our number; nothing for calls that show none.
    pub by_line: Vec<(Option<String>, Figures)>,
    /// All of the span in order, also those without a call.
    pub buckets: Vec<(Bucket, Figures)>,
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    /// Bits say what the row is not about: bucket, direction, line.
    beyond: i32,
    bucket: Option<i64>,
    direction: Option<String>,
    line: Option<String>,
    #[sqlx(flatten)]
    figures: Figures,
}

/// `grouping(bucket, direction, line)` of each kind of row.
const OF_A_BUCKET: i32 = 0b011;
const OF_A_DIRECTION: i32 = 0b101;
const OF_A_LINE: i32 = 0b110;

const FIGURES: &str = "
    count(*) as calls,
    count(*) filter (where display_status in ('queued', 'initiated', 'ringing', 'in-progress')) as live,
    count(*) filter (where display_status in ('completed', 'in-progress')) as answered,
    count(*) filter (where missed) as missed,
    count(*) filter (where display_status = 'no-answer') as no_answer,
    count(*) filter (where display_status = 'busy') as busy,
    count(*) filter (where display_status = 'failed') as failed,
    count(*) filter (where display_status = 'canceled') as canceled,
    (avg(talk_time) filter (where display_status = 'completed'))::float8 as talk_mean,
    percentile_disc(array[0.5, 0.95]) within group (order by talk_time)
        filter (where display_status = 'completed') as talk_percentiles,
    avg(wait_time)::float8 as wait_mean,
    percentile_disc(array[0.5, 0.95]) within group (order by wait_time) as wait_percentiles";

impl Snapshot {
    /// The time zone of this name, if PostgreSQL has it. It would take more, such as `EST+5`, and mean the opposite.
    pub async fn time_zone(&mut self, name: &str) -> sqlx::Result<Option<TimeZone>> {
        // Text with U+0000 could not be sent.
        if name.contains('\0') {
            return Ok(None);
        }
        let found: Option<String> = sqlx::query_scalar("select name from pg_timezone_names where name = $1")
            .bind(name)
            .fetch_optional(&mut *self.tx)
            .await?;
        Ok(found.map(TimeZone))
    }

    /// The moments of a span. Open ends are the end of today, and the beginning of the day six days before the end.
    pub async fn span(
        &mut self,
        from: Option<Bound>,
        to: Option<Bound>,
        zone: &TimeZone,
    ) -> sqlx::Result<Span> {
        let ((from_at, from_day), (to_at, to_day)) = (Bound::parts(from), Bound::parts(to));
        let last = buckets::midnight("coalesce($5, (now() at time zone $3)::date) + 1");
        let first = buckets::midnight("day");
        let query = format!(
            "with ending as (select coalesce($2, {last}) as until),
                  beginning as (select coalesce($4, ((until - interval '1 microsecond') at time zone $3)::date - 6) as day
                                  from ending)
             select coalesce($1, {first}) as \"from\", until from ending, beginning"
        );
        sqlx::query_as(&query)
            .bind(from_at)
            .bind(to_at)
            .bind(zone.name())
            .bind(from_day)
            .bind(to_day)
            .fetch_one(&mut *self.tx)
            .await
    }

    /// What the calls of a span came to, of those that a filter leaves. The filter's own times are not looked at.
    pub async fn stats(
        &mut self,
        filter: Filter,
        span: Span,
        zone: &TimeZone,
        by: By,
    ) -> sqlx::Result<Stats> {
        let filter = Filter { from: Some(span.from), until: Some(span.until), ..filter };
        let scope = self.scope(filter).await?;
        // The calls of a month are sorted in memory, sooner than a program for it would be compiled.
        sqlx::query("select set_config('work_mem', '64MB', true), set_config('jit', 'off', true)")
            .execute(&mut *self.tx)
            .await?;
        let mut query =
            QueryBuilder::new("select grouping(bucket, direction, line) as beyond, bucket, direction, line,");
        query.push(FIGURES).push(
            " from (select m.direction, m.line, m.display_status, m.missed, m.talk_time, m.wait_time, ",
        );
        by.push_key(&mut query, "m.start_time", zone);
        query.push(format!(" as bucket from {}.messages m where true", self.generation));
        scope.push_calls(&mut query);
        query.push(
            ") as call group by grouping sets ((), (bucket), (direction), (line)) order by direction, line",
        );
        let rows: Vec<Row> = query.build_query_as().persistent(false).fetch_all(&mut *self.tx).await?;
        let mut stats = Stats::default();
        let mut found: HashMap<i64, Figures> = HashMap::new();
        for Row { beyond, bucket, direction, line, figures } in rows {
            match (beyond, bucket, direction) {
                (OF_A_BUCKET, Some(bucket), _) => {
                    found.insert(bucket, figures);
                }
                (OF_A_DIRECTION, _, Some(direction)) => stats.by_direction.push((direction, figures)),
                (OF_A_LINE, ..) => stats.by_line.push((line, figures)),
                _ => stats.total = figures,
            }
        }
        for bucket in self.buckets(span, zone, by).await? {
            let figures = found.remove(&bucket.key).unwrap_or_default();
            stats.buckets.push((bucket, figures));
        }
        Ok(stats)
    }
}
