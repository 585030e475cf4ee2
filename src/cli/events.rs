//! `callbook events --call SID`: what [`explain()`] finds, as text for an engineer.

use std::io::{Write, stdout};
use std::process::ExitCode;

use anyhow::Context;
use domain::sid::CallSid;
use projections::history::EventStep;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::with_database;
use crate::config::Config;
use crate::explain::{Explanation, Received, Step, explain, without_media};

pub(super) async fn events(config: &Config, call_sid: &CallSid) -> anyhow::Result<ExitCode> {
    let explanation =
        with_database(config, async |pool, ids| Ok(explain(&pool, &ids, call_sid).await?)).await?;
    let explanation = explanation.with_context(|| {
        format!("nothing is recorded of a call {call_sid}, and nothing that was received names it")
    })?;
    print(&explanation, &mut stdout())?;
    Ok(ExitCode::SUCCESS)
}

/// The whole story; what differs from REST is only how it looks.
pub fn print(explanation: &Explanation, out: &mut impl Write) -> std::io::Result<()> {
    let Explanation { asked, root, calls, steps, position } = explanation;
    writeln!(out, "{asked}, as of position {position}")?;
    for sid in calls {
        let role = if sid == root { "root" } else { "child" };
        writeln!(out, "  {role} {sid}")?;
    }
    if !calls.contains(root) {
        writeln!(out, "  root {root}, of which nothing was heard")?;
    }
    for step in steps {
        writeln!(out)?;
        match step {
            Step::Received(row, events) => {
                received(row, out)?;
                for event in events {
                    happened(event, "  ", out)?;
                }
            }
            Step::Recorded(event) => {
                if let Some(id) = &event.event.inbox_id {
                    writeln!(out, "inbox {id}, which is no longer kept (RETENTION_INBOX_DAYS)")?;
                }
                happened(event, "", out)?;
            }
        }
    }
    Ok(())
}

fn received(row: &Received, out: &mut impl Write) -> std::io::Result<()> {
    let sid = row.call_sid.as_deref().unwrap_or("no call");
    writeln!(
        out,
        "{} inbox {}, {} of {sid}: {}",
        iso(row.received_at),
        row.id,
        row.event_type,
        row.result()
    )?;
    if let Some(reason) = &row.error {
        writeln!(out, "  because: {reason}")?;
    }
    if let Some(next) = row.next_attempt_at {
        writeln!(out, "  tried {} times, next at {}", row.retry_count, iso(next))?;
    }
    let said = without_media(row.payload.clone());
    let said: Vec<String> = said
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.as_str() != Some(""))
        .map(|(name, value)| format!("{name}={}", plain(value)))
        .collect();
    writeln!(out, "  Twilio said: {}", said.join(" "))
}

fn happened(step: &EventStep, margin: &str, out: &mut impl Write) -> std::io::Result<()> {
    let stored = &step.event.stored;
    writeln!(
        out,
        "{margin}position {}, {}: {} (version {}), number {} of {}, by {}",
        stored.position,
        iso(stored.recorded_at),
        stored.event_type,
        stored.event_version,
        stored.sequence,
        stored.aggregate_id,
        step.event.source.as_deref().unwrap_or("nobody known"),
    )?;
    if let Some(unreadable) = &step.unreadable {
        writeln!(
            out,
            "{margin}  changes nothing: position {} cannot be read: {}",
            unreadable.position, unreadable.reason
        )?;
    }
    for row in &step.changes {
        writeln!(out, "{margin}  {} {} {}", row.table, row.key, row.change)?;
        for field in &row.fields {
            let (before, after) = (without_media(field.before.clone()), without_media(field.after.clone()));
            match row.change {
                "added" => writeln!(out, "{margin}    {}: {after}", field.field)?,
                _ => writeln!(out, "{margin}    {}: {before} -> {after}", field.field)?,
            }
        }
    }
    Ok(())
}

/// Text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn iso(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
