//! What calls came to, by hour and day, by direction and line.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use projections::stats::{self, By, Span};
use serde::Serialize;
use time::serde::rfc3339;
use time::{Duration, OffsetDateTime};
use utoipa::{IntoParams, ToSchema};

use super::conversations::{open, unreadable};
use super::filter::{self, LATER, TIME};
use super::given::{Given, bad};
use super::problem::ApiError;
use crate::app::AppState;

/// Which span, put together by what. Beside these, every filter of the lists of calls.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what `Question::read` reads")]
pub struct StatsParams {
    /// By what calls are put together: days and hours of the span, or the 168 hours of a week.
    #[param(inline, default = "day")]
    by: Option<ByParam>,
    /// A time zone that PostgreSQL knows: whose days and hours.
    #[param(example = "Europe/Berlin", default = "UTC")]
    tz: Option<String>,
    /// Calls that began then or later: RFC 3339, or a date in that time zone. Six days before the end, if it is left out.
    #[param(example = "2026-02-01")]
    from: Option<String>,
    /// Calls that began before that time (RFC 3339), or on that date or before. Today, if it is left out. The span is at
    /// most 366 days, and 31 by hour.
    #[param(example = "2026-02-28")]
    to: Option<String>,
}

#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "says what `by` reads")]
enum ByParam {
    Day,
    Hour,
    WeekdayHour,
}

/// What the calls of a span came to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    #[serde(with = "rfc3339")]
    from: OffsetDateTime,
    /// Calls that began then are not in it.
    #[serde(with = "rfc3339")]
    to: OffsetDateTime,
    tz: String,
    /// `day`, `hour` or `weekday_hour`.
    by: &'static str,
    total: Figures,
    by_direction: Vec<OfDirection>,
    by_line: Vec<OfLine>,
    /// All hours or days of the span in order, also those without a call; or the hours of a week from Monday on.
    buckets: Vec<OfBucket>,
    /// The last position of the log that this reflects.
    position: i64,
}

/// The calls of one direction.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OfDirection {
    direction: String,
    #[serde(flatten)]
    figures: Figures,
}

/// The calls over one of our numbers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OfLine {
    /// Null for calls that show no number of ours.
    line: Option<String>,
    #[serde(flatten)]
    figures: Figures,
}

/// The calls of an hour or a day.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OfBucket {
    /// When it begins, or the span if that is later; null for an hour of the week.
    #[serde(with = "rfc3339::option")]
    start: Option<OffsetDateTime>,
    /// When it ends, or the span if that is earlier; null for an hour of the week.
    #[serde(with = "rfc3339::option")]
    end: Option<OffsetDateTime>,
    /// In the time zone; null for an hour of the week.
    #[schema(example = "2026-02-08")]
    date: Option<String>,
    /// From 1, Monday, to 7.
    weekday: i32,
    /// From 0 to 23, in the time zone; null for a day.
    hour: Option<i32>,
    #[serde(flatten)]
    figures: Figures,
}

/// How many calls, and how they ended. Calls that have not ended are in `calls` and `live`, and in `answered` once they are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Figures {
    calls: i64,
    live: i64,
    answered: i64,
    /// Inbound, and answered by nobody.
    missed: i64,
    no_answer: i64,
    busy: i64,
    failed: i64,
    canceled: i64,
    /// Of the calls that were answered or have ended, the part that was answered; null where there are none.
    #[schema(minimum = 0, maximum = 1)]
    answer_rate: Option<f64>,
    /// Of calls that were answered and have ended.
    talk_time: Times,
    /// Of calls that have ended: what was not talked.
    wait_time: Times,
}

/// Seconds; null where there is no call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Times {
    mean: Option<f64>,
    /// Half of the calls took no longer.
    p50: Option<i32>,
    p95: Option<i32>,
}

/// What calls came to, right after they ended: counted when asked, as threads show them.
///
/// Every filter of `GET /api/calls` can be given beside the span.
#[utoipa::path(
    get, path = "/api/stats", tag = "calls",
    params(StatsParams, filter::CallParams),
    responses((status = 200, body = Stats))
)]
pub async fn stats(State(state): State<AppState>, uri: Uri) -> Result<Json<Stats>, ApiError> {
    let parameters = Given::read(&uri)?;
    let filter = filter::calls(&parameters)?;
    let by = parameters.one("by", "day, hour or weekday_hour", by)?.unwrap_or(By::Day);
    let from = parameters.one("from", TIME, filter::bound)?;
    let to = parameters.one("to", TIME, filter::bound)?;
    let name = parameters.get("tz")?.unwrap_or("UTC");

    let mut snapshot = open(&state).await?;
    let zone = snapshot.time_zone(name).await.map_err(unreadable)?;
    let zone = zone.ok_or_else(|| bad("tz", name, "the name of a time zone, such as Europe/Berlin"))?;
    let span = snapshot.span(from, to, &zone).await.map_err(unreadable)?;
    within_bounds(span, by, &parameters)?;
    let stats = snapshot.stats(filter, span, &zone, by).await.map_err(unreadable)?;
    let stats::Stats { total, by_direction, by_line, buckets } = stats;
    let of_direction = |(direction, figures)| OfDirection { direction, figures: Figures::from(figures) };
    let of_line = |(line, figures)| OfLine { line, figures: Figures::from(figures) };
    Ok(Json(Stats {
        from: span.from,
        to: span.until,
        tz: zone.name().to_owned(),
        by: name_of(by),
        total: total.into(),
        by_direction: by_direction.into_iter().map(of_direction).collect(),
        by_line: by_line.into_iter().map(of_line).collect(),
        buckets: buckets.into_iter().map(OfBucket::from).collect(),
        position: snapshot.position(),
    }))
}

fn by(text: &str) -> Option<By> {
    [By::Day, By::Hour, By::WeekdayHour].into_iter().find(|by| name_of(*by) == text)
}

fn name_of(by: By) -> &'static str {
    match by {
        By::Day => "day",
        By::Hour => "hour",
        By::WeekdayHour => "weekday_hour",
    }
}

/// So that one question reads so many calls at most, and an answer has at most some hundred buckets.
fn within_bounds(span: Span, by: By, parameters: &Given) -> Result<(), ApiError> {
    let (days, expected) = match by {
        By::Hour => (31, "at most 31 days before the end, which is `to` or today"),
        By::Day | By::WeekdayHour => (366, "at most 366 days before the end, which is `to` or today"),
    };
    if span.until <= span.from {
        let (name, at_fault) = match parameters.get("to")? {
            Some(to) => ("to", to),
            None => ("from", parameters.get("from")?.unwrap_or_default()),
        };
        return Err(bad(name, at_fault, if name == "to" { LATER } else { "before the end of today" }));
    }
    // A day may have 25 hours.
    if span.until - span.from > Duration::days(days) + Duration::HOUR {
        return Err(bad("from", parameters.get("from")?.unwrap_or_default(), expected));
    }
    Ok(())
}

impl From<(stats::Bucket, stats::Figures)> for OfBucket {
    fn from((bucket, figures): (stats::Bucket, stats::Figures)) -> Self {
        Self {
            start: bucket.from,
            end: bucket.until,
            date: bucket.date.map(|date| date.to_string()),
            weekday: bucket.weekday,
            hour: bucket.hour,
            figures: figures.into(),
        }
    }
}

impl From<stats::Figures> for Figures {
    fn from(figures: stats::Figures) -> Self {
        let stats::Figures { calls, live, answered, missed, no_answer, busy, failed, canceled, talk, wait } =
            figures;
        let settled = answered + no_answer + busy + failed + canceled;
        Self {
            calls,
            live,
            answered,
            missed,
            no_answer,
            busy,
            failed,
            canceled,
            answer_rate: (settled > 0).then(|| rounded(answered as f64 / settled as f64, 4)),
            talk_time: Times::new(talk.mean, talk.percentiles),
            wait_time: Times::new(wait.mean, wait.percentiles),
        }
    }
}

impl Times {
    fn new(mean: Option<f64>, percentiles: Option<Vec<i32>>) -> Self {
        let (p50, p95) = match percentiles.as_deref() {
            Some([p50, p95]) => (Some(*p50), Some(*p95)),
            _ => (None, None),
        };
        Self { mean: mean.map(|mean| rounded(mean, 1)), p50, p95 }
    }
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10_f64.powi(decimals);
    (value * factor).round() / factor
}
