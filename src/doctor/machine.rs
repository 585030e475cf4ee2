//! What this machine has for callbook: settings, a disk, and a callbook that runs.

use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use serde_json::Value;

use super::{Finding, State};
use crate::access;
use crate::app::local_url;
use crate::config::{Account, Config, Database, Mode};
use crate::outgoing;
use crate::serve::Home;

/// Room on a disk, in bytes: below the first somebody should know, below the second little goes on.
const LITTLE: u64 = 2 << 30;
const TOO_LITTLE: u64 = 200 << 20;
const PATIENCE: Duration = Duration::from_secs(3);

/// What was configured has been read, or we would not be here.
pub(super) fn configuration(config: &Config) -> Vec<Finding> {
    let mode = if config.mode == Mode::Production { "production" } else { "development" };
    let account = match &config.twilio {
        Account::Real { sid, .. } => format!("the Twilio account {sid}"),
        Account::Simulated => "a simulated account, so no call is real".to_owned(),
    };
    let database = match &config.database {
        Database::Embedded => "a PostgreSQL of its own",
        Database::External { .. } => "the PostgreSQL that DATABASE_URL names",
    };
    let said = format!("The settings can be read: {mode}, {account}, {database}.");
    let mut findings = vec![Finding::ok("settings", said)];
    if matches!(config.twilio, Account::Real { .. }) && config.mode == Mode::Development {
        findings.push(Finding::warn(
            "settings",
            "Calls are real, and NODE_ENV is not `production`, so that a missing setting does not stop the start.",
            "Set NODE_ENV=production where callbook serves a business.",
        ));
    }
    findings
}

pub(super) fn disk(config: &Config, home: &Home) -> Vec<Finding> {
    let mut folders = vec![("data folder", home.data_dir.as_path(), "CALLBOOK_DATA_DIR")];
    if let Some(spool) = &config.spool_dir {
        folders.push(("spool folder", spool, "SPOOL_DIR"));
    }
    folders.into_iter().map(|(about, folder, key)| room(about, folder, key)).collect()
}

fn room(about: &'static str, folder: &Path, key: &str) -> Finding {
    let shown = folder.display();
    if let Err(error) = can_be_written(folder) {
        return Finding::fail(
            about,
            format!("{shown} cannot be written: {error}."),
            format!("Let the user that callbook runs as write there, or set {key} to another folder."),
        );
    }
    let free = match statvfs(folder) {
        Ok(disk) => disk.blocks_available() * disk.fragment_size(),
        Err(error) => {
            return Finding::warn(
                about,
                format!("{shown} can be written, but how much room it has is not known: {error}."),
                "Look at the disk yourself.",
            );
        }
    };
    let said = format!("{shown} can be written and has {} MiB free.", free >> 20);
    if free < TOO_LITTLE {
        Finding::fail(about, said, "Make room: without it nothing can be recorded.")
    } else if free < LITTLE {
        Finding::warn(about, said, "Make room before it is needed.")
    } else {
        Finding::ok(about, said)
    }
}

/// By writing there.
fn can_be_written(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".doctor-{:08x}", rand::random::<u32>()));
    std::fs::write(&probe, b"callbook doctor")?;
    std::fs::remove_file(probe)
}

/// Whether a callbook listens where this one would, and what it says of itself.
pub(super) async fn running(config: &Config, home: &Home) -> (bool, Vec<Finding>) {
    const ABOUT: &str = "callbook";
    let url = local_url(config.bind);
    let health = match ask(&format!("{url}/health")).await {
        Some(health) => health,
        None => {
            let said = format!("No callbook answers at {url}.");
            return (
                false,
                vec![Finding::warn(ABOUT, said, "Start it with `callbook`, unless it runs elsewhere.")],
            );
        }
    };
    let account = health["account_sid"].as_str().unwrap_or_default();
    if account != home.credentials.owner.account_sid {
        let said = format!("What answers at {url} is not this callbook: it is for the account {account}.");
        let to_do = "Stop it, or set PORT or CALLBOOK_DATA_DIR as they are for the callbook that you mean.";
        return (false, vec![Finding::fail(ABOUT, said, to_do)]);
    }
    let version = health["version"].as_str().unwrap_or_default();
    let ours = env!("CARGO_PKG_VERSION");
    let mut findings = vec![if version == ours {
        Finding::ok(ABOUT, format!("callbook {version} runs at {url}."))
    } else {
        Finding::warn(
            ABOUT,
            format!("The callbook that runs at {url} is version {version}, and this is {ours}."),
            "Restart it if this is the one that should run.",
        )
    }];
    let waiting = health["spool"]["waiting"].as_u64().unwrap_or_default();
    findings.push(if waiting == 0 {
        Finding::ok("spool", "No webhook waits in its spool.")
    } else {
        Finding::warn(
            "spool",
            format!("{waiting} webhooks wait in its spool, because the database does not take them."),
            "See to the database; they come in by themselves, in order and once.",
        )
    });
    let why: Vec<&str> = health["why"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !why.is_empty() {
        findings.push(Finding {
            state: State::Warn,
            about: "health",
            said: format!("It says that it is degraded: {}.", why.join("; ")),
            to_do: Some("What follows here says more of each.".to_owned()),
        });
    }
    (true, findings)
}

/// JSON from a server of this machine, if there is one that answers with it.
async fn ask(url: &str) -> Option<Value> {
    let client = outgoing::local().timeout(PATIENCE).build().ok()?;
    client.get(url).send().await.ok()?.json().await.ok()
}

/// Whether somebody could sign in where they have to.
pub(super) fn admin_token(config: &Config, is_there: bool) -> Finding {
    const ABOUT: &str = "admin token";
    let of_environment = config.admin_token.is_some();
    match access::why_required(config, config.bind.ip()) {
        _ if is_there => Finding::ok(ABOUT, "There is an admin token."),
        _ if of_environment => Finding::ok(ABOUT, "CALLBOOK_ADMIN_TOKEN is an admin token."),
        None => Finding::ok(ABOUT, "None is needed: calls are simulated, and only this machine can ask."),
        Some(why) => Finding::fail(
            ABOUT,
            format!("There is none, and callbook does not start without one because {why}."),
            "Run `callbook token create --name <who it is for> --role admin`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_a_failure_that_names_its_key() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let finding = room("data folder", &file, "CALLBOOK_DATA_DIR");
        assert_eq!(finding.state, State::Fail);
        assert!(finding.to_do.unwrap().contains("CALLBOOK_DATA_DIR"));
        assert_ne!(room("data folder", folder.path(), "CALLBOOK_DATA_DIR").said, finding.said);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }
}
