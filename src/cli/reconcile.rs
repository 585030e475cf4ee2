//! `callbook reconcile` and `callbook scorecard`: what webhooks missed, asked for and counted.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use projections::generation::Snapshot;
use projections::scorecard::{self, Scorecard};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, UtcOffset};
use tokio::sync::watch;

use super::{Progress, with_database};
use crate::app::{Book, Rest};
use crate::clock::Clock;
use crate::config::Config;
use crate::door;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::reconcile::{Job, Outcome, Window};
use crate::serve::Home;

#[derive(Debug, Clone, clap::Args)]
pub struct ReconcileArgs {
    /// From when on calls started: a date (2026-02-08, UTC) or a time (2026-02-08T06:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: OffsetDateTime,
    /// Before when they started; now, where it is not given
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ScorecardArgs {
    /// The last days, by UTC
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=400))]
    pub days: i64,
}

/// Beside a running callbook, that one decides and folds what is read; else this does.
pub(super) async fn reconcile(config: &Config, args: ReconcileArgs) -> anyhow::Result<ExitCode> {
    let window = Window::try_new(args.since, args.until, OffsetDateTime::now_utc())?;
    let home = Home::open(config)?;
    let twilio = home.twilio(config).await?;
    let rest = Rest::new(config, &home.credentials, twilio.base_url(), Clock::System)?;
    let routing = watch::Sender::new(door::routing(config));
    let outcome = with_database(config, async |pool, _| {
        let book = Book::open(pool, &home.credentials.owner).await?;
        book.remind(&routing);
        let engine = Engine::start(book, routing.subscribe(), Some(rest.reconcile), &Metrics::new());
        let reconciler = engine.reconciler.clone().context("there is no Twilio to ask")?;
        if reconciler.learns_numbers {
            reconciler.learn_numbers_once(&routing).await?;
        }
        let progress = Progress::new("hours");
        let job = Job::Range(window);
        let result = reconciler
            .sync(job, None, |outcome| {
                let Outcome { total, synced, updated, .. } = outcome;
                let (hours, of) = outcome.hours_of(&window);
                progress.show(hours, of, &format!("{total} calls, {synced} new, {updated} updated"));
            })
            .await;
        progress.finish();
        engine.stop().await;
        Ok(result?)
    })
    .await?;
    print_outcome(&outcome, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn print_outcome(outcome: &Outcome, out: &mut impl Write) -> std::io::Result<()> {
    let Outcome { total, synced, updated, skipped, skipped_reasons, recordings, missing, .. } = outcome;
    writeln!(out, "{total} calls read: {synced} new, {updated} updated, {skipped} skipped")?;
    for (reason, calls) in skipped_reasons {
        writeln!(out, "  {calls} skipped: {reason}")?;
    }
    writeln!(out, "{recordings} recordings were not known")?;
    if *missing > 0 {
        writeln!(out, "{missing} calls are not known to Twilio")?;
    }
    Ok(())
}

pub(super) async fn scorecard(config: &Config, args: ScorecardArgs) -> anyhow::Result<ExitCode> {
    let card = with_database(config, async |pool, _| {
        let mut snapshot = Snapshot::open(&pool).await?;
        Ok(scorecard::scorecard(&mut snapshot, args.days, OffsetDateTime::now_utc()).await?)
    })
    .await?;
    print_scorecard(&card, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn print_scorecard(card: &Scorecard, out: &mut impl Write) -> std::io::Result<()> {
    if card.days.is_empty() {
        return writeln!(out, "nothing was recorded in these days");
    }
    for day in &card.days {
        writeln!(out, "{}: {} gaps healed", day.day, day.healed)?;
        for (name, fact) in &day.facts {
            write!(out, "  {name:<10} {:>7} by webhook {:>7} by asking", fact.webhook, fact.reconcile)?;
            let sources: Vec<String> = fact
                .sources
                .iter()
                .filter(|(source, _)| *source != "webhook")
                .map(|(source, facts)| format!("{source} {facts}"))
                .collect();
            if !sources.is_empty() {
                write!(out, " ({})", sources.join(", "))?;
            }
            if let Some(late) = fact.late {
                let span =
                    |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0).ceil()).unwrap_or_default();
                write!(
                    out,
                    ", late by {:?}, at most {:?}",
                    span(late.median_seconds),
                    span(late.most_seconds)
                )?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A date is its beginning by UTC.
fn moment(text: &str) -> anyhow::Result<OffsetDateTime> {
    let at = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) => at,
        Err(_) => Date::parse(text, format_description!("[year]-[month]-[day]"))
            .map_err(|_| anyhow!("give a date such as 2026-02-08 or a time such as 2026-02-08T06:00:00Z"))?
            .midnight()
            .assume_utc(),
    };
    let in_utc = at.checked_to_offset(UtcOffset::UTC).filter(|at| (2000..2200).contains(&at.year()));
    in_utc.ok_or_else(|| anyhow!("the year {} is none that Twilio has calls of", at.year()))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_date_is_its_beginning_and_a_time_may_be_of_any_zone() {
        assert_eq!(moment("2026-02-08").unwrap(), datetime!(2026-02-08 00:00 UTC));
        assert_eq!(moment("2026-02-08T06:00:00+01:00").unwrap(), datetime!(2026-02-08 05:00 UTC));
        assert_eq!(moment("2000-01-01").unwrap(), datetime!(2000-01-01 00:00 UTC));
    }

    #[test]
    fn a_time_that_twilio_has_no_calls_of_is_refused() {
        for text in [
            "9999-12-31T23:59:59-23:59",
            "0000-01-01T00:00:00+23:59",
            "2200-01-01T00:00:00Z",
            "1999-12-31T23:59:59Z",
            "9999-12-31",
            "1999-12-31",
        ] {
            let error = moment(text).unwrap_err().to_string();
            assert!(error.ends_with("is none that Twilio has calls of"), "{text}: {error}");
        }
        assert!(moment("yesterday").unwrap_err().to_string().starts_with("give a date such as"));
    }
}
