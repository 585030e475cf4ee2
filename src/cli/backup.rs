//! `callbook backup` and `callbook restore`.

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use projections::rebuild;
use sqlx::{Connection, PgConnection};

use super::{Progress, print_diff, show};
use crate::backup;
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
    if let (Account::Simulated, true, Some(account)) = (&config.twilio, manifest.simulated, account) {
        take_account(config, &manifest.account_sid, &account, force)?;
    }
    let home = Home::open(config)?;
    let store = Store::open(config, &home).await?;
    let equal = async {
        let mut database = PgConnection::connect_with(&store.options).await?;
        let owner = &home.credentials.owner;
        let spool = door::spool_dir(config);
        let restored = backup::restore(&mut database, owner, &spool, from, force, |table| {
            tracing::debug!(table, "writing {table}");
        });
        let restored = restored.await?;
        database.close().await?;
        let rows: u64 = restored.rows.values().sum();
        writeln!(
            stdout(),
            "{rows} rows of {} tables came back, the log up to position {}, as of {}",
            restored.rows.len(),
            restored.manifest.position,
            restored.manifest.made_at
        )?;
        if restored.spooled > 0 {
            writeln!(stdout(), "the spool came along; what waited in it is taken in when callbook starts")?;
        }
        let pool = installation::connect(store.options.clone(), config.database_max_connections).await?;
        let ids = installation::prepare(&pool, owner).await?;
        let progress = Progress::new("events");
        rebuild::rebuild(&pool, &ids, |built| show(&progress, built)).await?;
        rebuild::drop_previous(&pool).await?;
        let diff = rebuild::dry_run(&pool, &ids, |built| show(&progress, built)).await?;
        progress.finish();
        pool.close().await;
        print_diff(&diff, &mut stdout())?;
        anyhow::Ok(diff.is_empty())
    }
    .await;
    let closed = store.close().await;
    let equal = equal?;
    closed?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A simulated account is a file in the data folder, and the book of another one is no use to it.
fn take_account(config: &Config, sid: &str, account: &[u8], force: bool) -> anyhow::Result<()> {
    let data_dir = config.data_dir.clone().unwrap_or_else(postgres::default_data_dir);
    postgres::create_data_dir(&data_dir)?;
    let path = data_dir.join(ACCOUNT_FILE);
    match std::fs::read_to_string(&path) {
        Ok(there) if there.contains(sid) => return Ok(()),
        Ok(_) => ensure!(
            force,
            "{} is another simulated account than that of the backup; `--force` replaces it",
            path.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(format!("{} cannot be read", path.display())),
    }
    Ok(simulator::Account::replace(&data_dir, account)?)
}
