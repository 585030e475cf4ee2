//! `callbook doctor`: what was found, a line each.

use std::io::{Write, stdout};
use std::process::ExitCode;

use serde_json::json;

use crate::config::{Config, ConfigError};
use crate::doctor::{self, Finding, State};

/// Exit code 1 where something does not work.
pub(super) async fn doctor(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    tell(&doctor::examine(config).await, as_json)
}

/// There is nothing to look at without settings.
pub(super) fn of_settings(error: &ConfigError, as_json: bool) -> anyhow::Result<ExitCode> {
    let finding = Finding::fail(
        "settings",
        format!("callbook cannot start with these settings: {error}."),
        "Mend that setting; config/default.toml lists every key with what it may be.",
    );
    tell(&[finding], as_json)
}

fn tell(findings: &[Finding], as_json: bool) -> anyhow::Result<ExitCode> {
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    let out = &mut stdout();
    if as_json {
        writeln!(out, "{:#}", json!({ "state": worst, "findings": findings }))?;
    } else {
        print(findings, out)?;
    }
    Ok(if worst == State::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(findings: &[Finding], out: &mut impl Write) -> std::io::Result<()> {
    for Finding { state, about, said, to_do } in findings {
        let state = match state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        writeln!(out, "{state}  {about:<15} {said}")?;
        if let Some(to_do) = to_do {
            writeln!(out, "{:>21} -> {to_do}", "")?;
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (failures, warnings) = (count(State::Fail), count(State::Warn));
    writeln!(out)?;
    match (failures, warnings) {
        (0, 0) => writeln!(out, "Everything is as it should be."),
        (0, warnings) => writeln!(out, "It works; {warnings} of the lines above want to be looked at."),
        (failures, _) => {
            writeln!(out, "{failures} of the lines above say FAIL: see to these first, from the top.")
        }
    }
}
