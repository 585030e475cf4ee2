//! `callbook quarantine`: the calls that are not folded any further, and folding them again.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::Subcommand;
use domain::sid::CallSid;
use projections::conversations::Fold;
use projections::quarantine::{self, Quarantined, Retried};

use super::with_database;
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// List the calls that are set aside, and why
    List,
    /// Fold them again from their whole history, once what was wrong is mended
    Retry {
        /// Only the family of this call
        #[arg(long)]
        call: Option<CallSid>,
    },
}

pub(super) async fn quarantine(config: &Config, command: QuarantineCommand) -> anyhow::Result<ExitCode> {
    match command {
        QuarantineCommand::List => list(config).await,
        QuarantineCommand::Retry { call } => retry(config, call.as_ref()).await,
    }
}

/// Exit code 1 where there are any, for a monitor.
async fn list(config: &Config) -> anyhow::Result<ExitCode> {
    let calls =
        with_database(config, async |pool, _| Ok(quarantine::list(&mut *pool.acquire().await?).await?))
            .await?;
    let mut out = stdout();
    for Quarantined { call_sid, position, reason, quarantined_at, .. } in &calls {
        writeln!(out, "{call_sid} since {quarantined_at}: the event at position {position}: {reason}")?;
    }
    if calls.is_empty() {
        writeln!(out, "no call is quarantined")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "{} calls stand still; `callbook events --call SID` tells a call's story, and `callbook quarantine retry` \
         folds them once this callbook can read the events",
        calls.len()
    )?;
    Ok(ExitCode::FAILURE)
}

/// Exit code 1 where some cannot be folded yet.
async fn retry(config: &Config, call: Option<&CallSid>) -> anyhow::Result<ExitCode> {
    let Retried { released, kept } = with_database(config, async |pool, ids| {
        Ok(quarantine::retry(&pool, &Fold::from(&ids), call.map(CallSid::as_str)).await?)
    })
    .await?;
    let mut out = stdout();
    for call_sid in &released {
        writeln!(out, "{call_sid} is folded again")?;
    }
    for (call_sid, reason) in &kept {
        writeln!(out, "{call_sid} stays: {reason}")?;
    }
    if released.is_empty() && kept.is_empty() {
        match call {
            Some(call) => writeln!(out, "{call} is not quarantined")?,
            None => writeln!(out, "no call is quarantined")?,
        }
    }
    Ok(if kept.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
