//! The command line. What a command prints for people goes through here; everything else is a log line.

mod backup;
mod doctor;
pub mod events;
mod lint_log;
mod quarantine;
mod reconcile;
mod token;

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use clap::{Parser, Subcommand};
use domain::direction::Lines;
use domain::sid::CallSid;
use indicatif::{ProgressBar, ProgressStyle};
use percent_encoding::percent_decode_str;
use projections::ids::IdKey;
use projections::rebuild::{self, BuildProgress, Diff, TableDiff};
use secrecy::ExposeSecret;
use sqlx::PgPool;

use quarantine::QuarantineCommand;
use reconcile::{ReconcileArgs, ScorecardArgs};
use token::TokenCommand;

use crate::clock::Clock;
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
    /// Build the read model anew beside the one that serves, compare the two, and change over
    Rebuild {
        /// Build and show the difference, row by row; change nothing
        #[arg(long)]
        dry_run: bool,
        /// Drop the tables that served before at once, instead of a quarter of an hour later
        #[arg(long, conflicts_with = "dry_run")]
        drop_previous: bool,
    },
    /// Prove that the rows that serve are what a rebuild would make of the log
    Verify,
    /// Tell the story of a call: each request about it, what came of it, and what each event changed
    Events {
        /// The Call SID, of any leg
        #[arg(long)]
        call: CallSid,
    },
    /// Find what stands in the log and this callbook cannot read
    LintLog {
        /// Read every payload as well, not only types and versions
        #[arg(long)]
        deep: bool,
    },
    /// See to the calls that are not folded any further, because an event of theirs cannot be
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Ask Twilio for the calls of a span of time, and record what is not known of them
    Reconcile(ReconcileArgs),
    /// Say which facts webhooks told of, and which had to be asked for
    Scorecard(ScorecardArgs),
    /// Say who may use the API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look at everything that callbook stands on, and say what to do about what is wrong
    Doctor {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Write the book into one file, while callbook goes on
    Backup {
        /// The file, which must not be there yet
        #[arg(long)]
        to: PathBuf,
    },
    /// Put the book of a backup in the place of the one that is there; callbook must not run
    Restore {
        /// What `callbook backup` wrote
        file: PathBuf,
        /// Replace the book that is there, and everything else in its database, for good
        #[arg(long)]
        force: bool,
    },
    /// Open psql on callbook's database
    Psql {
        /// What psql is to be called with, such as -c 'select count(*) from messages'
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Runs a command to its end.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = match (Config::from_env(), &cli.command) {
        (Ok(config), _) => config,
        (Err(error), Some(Command::Doctor { json })) => return doctor::of_settings(&error, *json),
        (Err(error), _) => return Err(error.into()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // What the doctor finds is all that is said: log lines would stand between.
    let telemetry = (!matches!(cli.command, Some(Command::Doctor { .. })))
        .then(|| telemetry::init(config.log_format, config.traces_endpoint.as_deref(), runtime.handle()));
    let result = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::serve(config).await.map(|()| ExitCode::SUCCESS),
            Command::Simulate(args) => simulate(&config, args).await,
            Command::Reclassify => reclassify(&config).await,
            Command::Rebuild { dry_run: true, .. } => dry_run(&config).await,
            Command::Verify => dry_run(&config).await,
            Command::Rebuild { drop_previous, .. } => rebuild(&config, drop_previous).await,
            Command::Events { call } => events::events(&config, &call).await,
            Command::LintLog { deep } => lint_log::lint_log(&config, deep).await,
            Command::Quarantine(command) => quarantine::quarantine(&config, command).await,
            Command::Reconcile(args) => reconcile::reconcile(&config, args).await,
            Command::Scorecard(args) => reconcile::scorecard(&config, args).await,
            Command::Token(command) => token::token(&config, command).await,
            Command::Psql { args } => psql(&config, &args).await,
            Command::Backup { to } => backup::backup(&config, &to).await,
            Command::Restore { file, force } => backup::restore(&config, &file, force).await,
            Command::Doctor { json } => doctor::doctor(&config, json).await,
        }
    });
    if let Some(telemetry) = telemetry {
        telemetry.end();
    }
    result
}

async fn simulate(config: &Config, args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let home = Home::open(config)?;
    let account = home.simulated.context(
        "TWILIO_ACCOUNT_SID is set, so this callbook's account is real; unset it to simulate calls",
    )?;
    let world = simulator::World::open(&home.data_dir, account, Clock::System)?;
    let here = app::local_url(config.bind);
    let public = config.webhook_base_url.as_deref().unwrap_or(&here);
    let report = simulator::command(args, world, &here, public, &mut stdout()).await?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn reclassify(config: &Config) -> anyhow::Result<ExitCode> {
    let done = with_database(config, async |pool, _| {
        let lines = match &config.owned_numbers[..] {
            [] => Lines::new(crate::reconcile::owned_numbers(&pool).await?, &config.sip_domain),
            _ => app::lines(config),
        };
        ensure!(
            lines.has_numbers(),
            "OWNED_PHONE_NUMBERS is not set, and none were learnt from Twilio yet; set it, or start callbook first"
        );
        let progress = Progress::new("calls judged");
        let done = reclassify::reclassify(&pool, &lines, |done| {
            progress.show(done.judged, done.calls, &format!("{} changed", done.changed));
        })
        .await?;
        progress.finish();
        Ok(done)
    })
    .await?;
    writeln!(stdout(), "{} calls judged, {} changed", done.judged, done.changed)?;
    Ok(ExitCode::SUCCESS)
}

async fn rebuild(config: &Config, drop_previous: bool) -> anyhow::Result<ExitCode> {
    let position = with_database(config, async |pool, ids| {
        let progress = Progress::new("events");
        let position = rebuild::rebuild(&pool, &ids, |built| show(&progress, built)).await?;
        progress.finish();
        if drop_previous {
            rebuild::drop_previous(&pool).await?;
        }
        Ok(position)
    })
    .await?;
    writeln!(stdout(), "the read model was rebuilt up to position {position} and serves now")?;
    Ok(ExitCode::SUCCESS)
}

/// Exit code 1 where rows differ.
async fn dry_run(config: &Config) -> anyhow::Result<ExitCode> {
    let diff = with_database(config, async |pool, ids| {
        let progress = Progress::new("events");
        let diff = rebuild::dry_run(&pool, &ids, |built| show(&progress, built)).await?;
        progress.finish();
        Ok(diff)
    })
    .await?;
    print_diff(&diff, &mut stdout())?;
    Ok(if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_diff(diff: &Diff, out: &mut impl Write) -> std::io::Result<()> {
    for call_sid in &diff.quarantined {
        writeln!(out, "{call_sid} is quarantined; its family and its thread are left out")?;
    }
    if diff.is_empty() {
        return writeln!(out, "live equals rebuilt at position {}, row for row", diff.position);
    }
    writeln!(out, "live and rebuilt differ at position {}, in {} rows", diff.position, diff.rows())?;
    for table in diff.tables.iter().filter(|table| !table.samples.is_empty()) {
        let TableDiff { table, added, removed, changed, columns, unshared, samples } = table;
        writeln!(out, "{table}: {added} only rebuilt, {removed} only live, {changed} changed")?;
        for (column, rows) in columns {
            writeln!(out, "  {column} differs in {rows} rows")?;
        }
        if !unshared.is_empty() {
            writeln!(out, "  only one of the two has {}", unshared.join(", "))?;
        }
        for row in samples {
            match (&row.live, &row.rebuilt) {
                (Some(live), Some(rebuilt)) => {
                    for column in row.columns() {
                        writeln!(out, "  {} {column}: {} -> {}", row.key, live[column], rebuilt[column])?;
                    }
                }
                (None, _) => writeln!(out, "  {} only rebuilt", row.key)?,
                (_, None) => writeln!(out, "  {} only live", row.key)?,
            }
        }
    }
    Ok(())
}

fn show(progress: &Progress, built: BuildProgress) {
    progress.show(built.position.unsigned_abs(), built.head.unsigned_abs(), built.phase.as_str());
}

/// Runs a command on callbook's database, which is closed again whatever comes of it.
async fn with_database<T>(
    config: &Config,
    command: impl AsyncFnOnce(PgPool, IdKey) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let home = Home::open(config)?;
    let store = Store::open(config, &home).await?;
    let result = async {
        let pool = installation::connect(store.options.clone(), config.database_max_connections).await?;
        let ids = installation::prepare(&pool, &home.credentials.owner).await?;
        let result = command(pool.clone(), ids).await;
        pool.close().await;
        result
    }
    .await;
    let closed = store.close().await;
    let result = result?;
    closed?;
    Ok(result)
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

/// A bar where somebody watches; elsewhere a plain line every few seconds.
struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    last_line: Cell<Instant>,
}

const BETWEEN_LINES: Duration = Duration::from_secs(3);

impl Progress {
    fn new(what: &'static str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len} {prefix}, {per_sec}, {eta} left {msg}");
            ProgressBar::new(0)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(what)
        });
        Self { what, bar, last_line: Cell::new(Instant::now()) }
    }

    fn show(&self, done: u64, of: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(of);
                bar.set_position(done);
                bar.set_message(message.to_owned());
            }
            None if self.last_line.get().elapsed() >= BETWEEN_LINES => {
                self.last_line.set(Instant::now());
                // Nobody reads it if this fails, and the command goes on.
                let _ = writeln!(stderr(), "{done} of {of} {} {message}", self.what);
            }
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
