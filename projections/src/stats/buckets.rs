//! The hours and days of a span, as clocks on a wall show them.

use sqlx::types::time::{Date, OffsetDateTime};
use sqlx::{Postgres, QueryBuilder};

use super::{Span, TimeZone};
use crate::generation::Snapshot;

/// What calls are put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Day,
    Hour,
    /// The 168 hours of a week, all weeks of the span together.
    WeekdayHour,
}

/// An hour or a day.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Bucket {
    pub(super) key: i64,
    /// The part of it that is in the span; nothing for an hour of the week.
    pub from: Option<OffsetDateTime>,
    pub until: Option<OffsetDateTime>,
    /// On the wall.
    pub date: Option<Date>,
    /// From 1, Monday, to 7.
    pub weekday: i32,
    /// From 0 to 23; nothing for a day.
    pub hour: Option<i32>,
}

/// When the day begins in the time zone `$3`. An hour after 23 o'clock of the day before: where clocks are turned back to
/// midnight, midnight comes twice, and PostgreSQL would take the second one.
pub(super) fn midnight(day: &str) -> String {
    format!("((({day})::timestamp - interval '1 hour') at time zone $3 + interval '1 hour')")
}

impl By {
    /// An expression for the bucket of a moment.
    pub(super) fn push_key(self, query: &mut QueryBuilder<'_, Postgres>, at: &str, zone: &TimeZone) {
        let zone = zone.name().to_owned();
        match self {
            Self::Day => {
                query.push(format!("(({at} at time zone ")).push_bind(zone);
                query.push(")::date - date '1970-01-01')::bigint");
            }
            // Truncated with a zone, and not after a conversion, the hour that comes twice is two.
            Self::Hour => {
                query.push(format!("extract(epoch from date_trunc('hour', {at}, ")).push_bind(zone);
                query.push("))::bigint");
            }
            Self::WeekdayHour => {
                query.push(format!("(extract(isodow from {at} at time zone ")).push_bind(zone.clone());
                query.push(format!(") * 24 + extract(hour from {at} at time zone ")).push_bind(zone);
                query.push("))::bigint");
            }
        }
    }
}

/// `$1` and `$2` are the span.
const DAYS: &str = "
    with wall as (select generate_series(($1 at time zone $3)::date,
                                         (($2 - interval '1 microsecond') at time zone $3)::date, interval '1 day')::date
                         as day)
    select (day - date '1970-01-01')::bigint as key, greatest({begins}, $1) as \"from\", least({ends}, $2) as until,
           day as date, extract(isodow from day)::int as weekday, null::int as hour
      from wall order by day";

/// In steps of a half hour, because some zones turn their clocks by one.
const HOURS: &str = "
    with hours as (select distinct date_trunc('hour', at, $3) as begins
                     from generate_series(date_trunc('hour', $1, $3), $2 - interval '1 microsecond',
                                          interval '30 minutes') as at)
    select extract(epoch from begins)::bigint as key, greatest(begins, $1) as \"from\",
           least(lead(begins) over (order by begins), $2) as until,
           (begins at time zone $3)::date as date, extract(isodow from begins at time zone $3)::int as weekday,
           extract(hour from begins at time zone $3)::int as hour
      from hours order by begins";

const WEEK: &str = "
    select (weekday * 24 + hour)::bigint as key, null::timestamptz as \"from\", null::timestamptz as until,
           null::date as date, weekday, hour
      from generate_series(1, 7) as weekday, generate_series(0, 23) as hour order by weekday, hour";

impl Snapshot {
    pub(super) async fn buckets(
        &mut self,
        Span { from, until }: Span,
        zone: &TimeZone,
        by: By,
    ) -> sqlx::Result<Vec<Bucket>> {
        let query = match by {
            By::Day => DAYS.replace("{begins}", &midnight("day")).replace("{ends}", &midnight("day + 1")),
            By::Hour => HOURS.to_owned(),
            By::WeekdayHour => return sqlx::query_as(WEEK).fetch_all(&mut *self.tx).await,
        };
        sqlx::query_as(&query).bind(from).bind(until).bind(zone.name()).fetch_all(&mut *self.tx).await
    }
}
