//! `callbook backup` and `callbook restore`.

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};

use super::{Progress, print_diff, show};
use crate::backup::{self, Restored};
use crate::config::{Account, Config};
use crate::serve::{Home, Store};
use crate::simulator::{self, ACCOUNT_FILE};
use crate::{door, installation, postgres};

pub(super) async fn backup(config: &Config, to: &Path) -> anyhow::Result<ExitCode> {
    let home = Home::open(config)?;
    let store = Store::open(config, &home).await?;
    let made = async {
        let mut database = PgConnection::connect_with(&store.options).await?;
        installation::check(&mut database, &home.credentials.owner).await?;
        let account = home.simulated.as_ref().map(|_| home.data_dir.join(ACCOUNT_FILE));
        let spool = door::spool_dir(config);
        let made = backup::save(&mut database, account.as_deref(), &spool, to, |table| {
            tracing::debug!(table, "reading {table}");
        });
        let made = made.await?;
        database.close().await?;
        anyhow::Ok(made)
    }
    .await;
    let closed = store.close().await;
    let made = made?;
    closed?;
    let bytes = std::fs::metadata(to)?.len();
    writeln!(
        stdout(),
        "{} is the book of {} up to position {}, {} KiB; keep it where this machine's disk is not",
        to.display(),
        made.account_sid,
        made.position,
        bytes.div_ceil(1024)
    )?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn restore(config: &Config, from: &Path, force: bool) -> anyhow::Result<ExitCode> {
    let (manifest, account) = backup::peek(from).await?;
    let taken = match (&config.twilio, manifest.simulated, account) {
        (Account::Simulated, true, Some(account)) => {
            take_account(config, &manifest.account_sid, account, force)?
        }
        _ => None,
    };
    let home = match &taken {
        Some((home, _)) => home,
        None => &Home::open(config)?,
    };
    let store = Store::open(config, home).await?;
    let equal = async {
        let mut database = PgConnection::connect_with(&store.options).await?;
        let owner = &home.credentials.owner;
        let spool = door::spool_dir(config);
        let restored = backup::restore(&mut database, owner, &spool, from, force, |table| {
            tracing::debug!(table, "writing {table}");
        });
        let restored = restored.await?;
        // Not before the book is there: without it the account that was here is still the right one.
        if let Some((home, account)) = &taken {
            simulator::Account::replace(&home.data_dir, account)?;
        }
        database.close().await?;
        tell(&restored, &mut stdout())?;
        let pool = installation::connect(store.options.clone(), config.database_max_connections).await?;
        let ids = installation::prepare(&pool, owner).await?;
        let progress = Progress::new("events");
        let made = backup::make_read_model(&pool, &ids, |built| show(&progress, built)).await;
        progress.finish();
        pool.close().await;
        let made = made?;
        print_diff(&made.diff, &mut stdout())?;
        writeln!(stdout(), "the read model is at position {}, which is the log's last", made.position)?;
        anyhow::Ok(made.diff.is_empty())
    }
    .await;
    let closed = store.close().await;
    let equal = equal?;
    closed?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(restored: &Restored, out: &mut impl Write) -> std::io::Result<()> {
    let rows: u64 = restored.rows.values().sum();
    writeln!(
        out,
        "{rows} rows of {} tables came back, the log up to position {}, as of {}",
        restored.rows.len(),
        restored.manifest.position,
        restored.manifest.made_at
    )?;
    if restored.spooled > 0 {
        writeln!(out, "the spool came along; what waited in it is taken in when callbook starts")?;
    }
    writeln!(
        out,
        "tokens that were revoked after the backup was made may be valid again: look at `callbook token list`, and \
         revoke them again; everybody has to sign in again"
    )
}

/// The home of a backup's simulated account, and that account as it is kept, unless it is the one that is here: a
/// simulated account is a file in the data folder, and the book of another one is no use to it.
fn take_account(
    config: &Config,
    sid: &str,
    kept: Vec<u8>,
    force: bool,
) -> anyhow::Result<Option<(Home, Vec<u8>)>> {
    let data_dir = config.data_dir.clone().unwrap_or_else(postgres::default_data_dir);
    postgres::create_data_dir(&data_dir)?;
    let path = data_dir.join(ACCOUNT_FILE);
    match std::fs::read_to_string(&path) {
        Ok(there) if there.contains(sid) => return Ok(None),
        Ok(_) => ensure!(
            force,
            "{} is another simulated account than that of the backup; `--force` replaces it",
            path.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(format!("{} cannot be read", path.display())),
    }
    let account = simulator::Account::read(
        &kept,
        config.owned_numbers.iter().map(ToString::to_string).collect(),
        &config.sip_user,
        &config.sip_domain,
    )
    .context("the simulated account in the backup")?;
    Ok(Some((Home::simulated(data_dir, account), kept)))
}
