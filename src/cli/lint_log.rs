//! `callbook lint-log`: whether this callbook can read the whole log, and what to do where it cannot.

use std::io::{Write, stdout};
use std::process::ExitCode;

use projections::lint::{self, Fault, Findings};

use super::{Progress, with_database};
use crate::config::Config;

/// Exit code 1 where something cannot be read.
pub(super) async fn lint_log(config: &Config, deep: bool) -> anyhow::Result<ExitCode> {
    let findings = with_database(config, async |pool, _| {
        let progress = Progress::new("positions");
        let findings = lint::lint(&pool, deep, |at| {
            progress.show(at.position.unsigned_abs(), at.head.unsigned_abs(), "");
        })
        .await?;
        progress.finish();
        Ok(findings)
    })
    .await?;
    print(&findings, deep, &mut stdout())?;
    Ok(if findings.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &Findings, deep: bool, out: &mut impl Write) -> std::io::Result<()> {
    let Findings { events, head, faults } = findings;
    let read = if deep { "every payload was read" } else { "types and versions; --deep reads every payload" };
    if faults.is_empty() {
        return writeln!(out, "all {events} events up to position {head} can be read ({read})");
    }
    for fault in faults {
        let Fault { aggregate_type, event_type, event_version, count, first, last, sample, reason } = fault;
        writeln!(
            out,
            "{event_type} in version {event_version}: {count} events, positions {first} to {last}, first of {aggregate_type} {sample}"
        )?;
        writeln!(out, "  {reason}")?;
    }
    let total: i64 = faults.iter().map(|fault| fault.count).sum();
    writeln!(out, "{total} of {events} events up to position {head} cannot be read ({read})")?;
    writeln!(
        out,
        "Events are never deleted: run the callbook that wrote them, or a newer one that has a step from that \
         version (domain/src/call/upcast.rs), and then `callbook rebuild`. Until then the calls above stand still."
    )
}
