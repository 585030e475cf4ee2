//! `callbook simulate`: places calls at a running callbook and says what each must end as.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Disturbance, Driver, DriverError, ExpectedCall, Options, Report, World};

/// Between lines of progress where there is no screen.
const BETWEEN_LINES: Duration = Duration::from_secs(3);

/// Place simulated calls at a callbook whose account is simulated.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// Families of calls to place; one has one or two legs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub calls: u64,
    /// Families begun per second.
    #[arg(long, value_name = "R", default_value_t = 5.0)]
    pub rate: f64,
    /// Equal seeds place equal calls; drawn and printed when not given.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// How many times faster than real a call goes.
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    pub speed: f64,
    /// The first family of the seed's sequence, to go on where a run with the same seed ended.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u64,
    /// Share of requests that are sent twice.
    #[arg(long, value_name = "SHARE", default_value_t = Disturbance::default().repeat)]
    pub repeat: f64,
    /// Share of requests that are sent late.
    #[arg(long, value_name = "SHARE", default_value_t = Disturbance::default().late)]
    pub late: f64,
    /// Share of requests that change places with their neighbour.
    #[arg(long, value_name = "SHARE", default_value_t = Disturbance::default().reorder)]
    pub reorder: f64,
    /// Share of requests that are never sent, for callbook to find by asking.
    #[arg(long, value_name = "SHARE", default_value_t = Disturbance::default().drop)]
    pub drop: f64,
    /// The callbook that is called, instead of the one that is configured here.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// What the target is called from outside, over which webhooks are signed; as configured when not given.
    #[arg(long, value_name = "URL")]
    pub webhook_base_url: Option<String>,
    /// Writes what each call must end as, as a JSON array.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("the report cannot be written")]
    Out(#[source] io::Error),
    #[error("{} cannot be written", path.display())]
    Json { path: PathBuf, source: io::Error },
}

/// Runs the command as the account of `world`, where the calls are placed as well; the URLs are the configured ones, which the arguments override.
///
/// The report goes to `out`, progress to stderr. A report that is not clean is for the caller to fail on.
pub async fn command(
    args: SimulateArgs,
    world: World,
    target_base_url: &str,
    webhook_base_url: &str,
    out: &mut impl Write,
) -> Result<Report, CommandError> {
    let target = args.target.as_deref().unwrap_or(target_base_url);
    let webhook = args.webhook_base_url.as_deref().unwrap_or(webhook_base_url);
    let driver = Driver::new(target, webhook, world.account().clone())?.with_world(world);
    let options = Options {
        calls: args.calls,
        rate_per_second: args.rate,
        speed: args.speed,
        seed: args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        disturbance: Disturbance {
            repeat: args.repeat,
            late: args.late,
            reorder: args.reorder,
            drop: args.drop,
        },
        first_index: args.first,
    };
    let seed = options.seed;
    let mut progress = Progress::new(args.calls);
    let report = driver.run(options, |report| progress.show(report)).await;
    progress.finish();
    let report = report?;

    writeln!(out, "{target}, seed {seed}").and_then(|()| report.write_to(out)).map_err(CommandError::Out)?;
    if let Some(path) = args.json {
        write_json(&path, &report.expected).map_err(|source| CommandError::Json { path, source })?;
    }
    Ok(report)
}

fn write_json(path: &Path, expected: &[ExpectedCall]) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut file, expected)?;
    file.write_all(b"\n")?;
    file.flush()
}

/// A bar on a screen, a line now and then elsewhere.
enum Progress {
    Bar(ProgressBar),
    Lines { calls: u64, last: Instant },
}

impl Progress {
    fn new(calls: u64) -> Progress {
        if !io::stderr().is_terminal() {
            return Progress::Lines { calls, last: Instant::now() };
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} calls ended, {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Progress::Bar(ProgressBar::new(calls).with_style(style))
    }

    fn show(&mut self, report: &Report) {
        let requests = || {
            let refused = report.sent - report.accepted;
            format!("{} requests sent, {refused} not accepted", report.sent)
        };
        match self {
            Progress::Bar(bar) => {
                bar.set_position(report.calls_ended);
                bar.set_message(requests());
            }
            Progress::Lines { calls, last } if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                // A closed stderr is no reason to stop the calls.
                let _ =
                    writeln!(io::stderr(), "{} of {calls} calls ended, {}", report.calls_ended, requests());
            }
            Progress::Lines { .. } => {}
        }
    }

    fn finish(&self) {
        if let Progress::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
