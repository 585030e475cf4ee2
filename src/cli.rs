//! The command line. What a command prints for people goes through here; everything else is a log line.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, anyhow};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;

use crate::config::Config;
use crate::serve::{Home, Store};
use crate::simulator::SimulateArgs;
use crate::{app, installation, reclassify, serve, simulator, telemetry};

/// The book of record for a business's phone traffic.
///
/// Without a command it serves: on a PostgreSQL of its own unless DATABASE_URL is set, with a simulated
/// Twilio account unless TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are. config/default.toml lists every setting.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve webhooks, REST and the live stream (the default)
    Serve,
    /// Place calls against a running, simulated callbook, and say what each must end as
    Simulate(SimulateArgs),
    /// Judge recorded calls by the lines configured now (OWNED_PHONE_NUMBERS, SIP_DOMAIN)
    Reclassify,
    /// Open psql on callbook's database
    Psql {
        /// What psql is to be called with, such as -c 'select count(*) from messages'
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Runs a command to its end.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = Config::from_env()?;
    telemetry::init(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::serve(config).await.map(|()| ExitCode::SUCCESS),
            Command::Simulate(args) => simulate(&config, args).await,
            Command::Reclassify => reclassify(&config).await,
            Command::Psql { args } => psql(&config, &args).await,
        }
    })
}

async fn simulate(config: &Config, args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let account = Home::open(config)?.simulated.context(
        "TWILIO_ACCOUNT_SID is set, so this callbook's account is real; unset it to simulate calls",
    )?;
    let here = app::local_url(config.bind);
    let public = config.webhook_base_url.as_deref().unwrap_or(&here);
    let report = simulator::command(args, account, &here, public, &mut stdout()).await?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn reclassify(config: &Config) -> anyhow::Result<ExitCode> {
    let home = Home::open(config)?;
    let store = Store::open(config, &home).await?;
    let result = async {
        let pool = installation::connect(store.options.clone(), config.database_max_connections).await?;
        installation::prepare(&pool, &home.credentials.owner).await?;
        let bar = progress("calls judged");
        let done = reclassify::reclassify(&pool, &app::lines(config), |done| {
            bar.set_position(done.judged);
            bar.set_message(format!("{} changed", done.changed));
        })
        .await?;
        bar.finish_and_clear();
        pool.close().await;
        anyhow::Ok(done)
    }
    .await;
    let closed = store.close().await;
    let done = result?;
    closed?;
    writeln!(stdout(), "{} calls judged, {} changed", done.judged, done.changed)?;
    Ok(ExitCode::SUCCESS)
}

async fn psql(config: &Config, args: &[String]) -> anyhow::Result<ExitCode> {
    let home = Home::open(config)?;
    let store = Store::open(config, &home).await?;
    let status = run_psql(&store, args).await;
    let closed = store.close().await;
    let status = status?;
    closed?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

async fn run_psql(store: &Store, args: &[String]) -> anyhow::Result<ExitStatus> {
    let mut command = tokio::process::Command::new("psql");
    // What stands in a command line is for every user of the machine to read, so the password does not.
    let mut url = reqwest::Url::parse(store.url.expose_secret()).context("DATABASE_URL cannot be read")?;
    if let Some(password) = url.password() {
        command.env("PGPASSWORD", percent_decode_str(password).decode_utf8()?.as_ref());
        url.set_password(None).map_err(|()| anyhow!("DATABASE_URL has a password and no host"))?;
    }
    let status = command.arg(url.as_str()).args(args).status().await;
    status.map_err(|error| anyhow!("psql cannot be run: {error}; install postgresql-client"))
}

/// A bar where somebody watches, nothing where output is collected.
fn progress(what: &'static str) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{{pos}} {what}, {{per_sec}}, {{msg}}"));
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}
