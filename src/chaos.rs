//! The crash test: callbook and its PostgreSQL are killed at random moments under simulated load, and nothing that
//! was answered may be lost or doubled.
//!
//! The load keeps a [`Ledger`] of what it sent and what it was answered, which knows nothing of the database. After
//! each round, when everything has settled, it is held against the inbox, the inbox against the log, and the log
//! against the read model. The moments and the calls are drawn from a seed, which is printed.

mod check;
mod ledger;
mod plan;
mod subject;

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::ledger::Ledger;
use self::plan::{Fault, Plan};
use self::subject::Subject;
use crate::simulator::{Disturbance, Options};

/// The first argument with which the chaos binary is callbook itself.
pub const AS_CALLBOOK: &str = "callbook";

/// Families of calls in one round, and how they are placed: half a thousand webhooks in a few seconds.
const CALLS: u64 = 60;
const CALLS_PER_SECOND: f64 = 15.0;
const SPEED: f64 = 60.0;

/// Kill callbook and its PostgreSQL at random moments under load, and check that nothing answered is lost.
///
/// Everything happens in a temporary folder, on a port of its own, with an account that nobody has.
#[derive(Debug, clap::Parser)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// How often both are killed
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u64,
    /// Equal seeds draw equal moments and calls; drawn and printed when not given
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Exit code 1 where something was lost, doubled, or did not come back.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        writeln!(stdout(), "seed {seed}, {} rounds", args.rounds)?;
        let mut subject = Subject::start().await?;
        let result = rounds(&mut subject, args.rounds, seed).await;
        match result {
            Ok(()) => {
                subject.stop().await?;
                writeln!(stdout(), "{} rounds, and nothing was lost or doubled", args.rounds)?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => {
                let left = subject.leave();
                writeln!(
                    stdout(),
                    "FAILED with seed {seed}: {error:#}\nlook into {}; callbook.log is what it said",
                    left.display()
                )?;
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

async fn rounds(subject: &mut Subject, rounds: u64, seed: u64) -> anyhow::Result<()> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut ledger = Ledger::default();
    for round in 0..rounds {
        let said = play(subject, &mut ledger, Plan::draw(&mut chance), seed, round)
            .await
            .with_context(|| format!("round {}", round + 1))?;
        writeln!(stdout(), "round {}: {said}", round + 1)?;
    }
    Ok(())
}

/// One round; says what happened in it.
async fn play(
    subject: &mut Subject,
    ledger: &mut Ledger,
    plan: Plan,
    seed: u64,
    round: u64,
) -> anyhow::Result<String> {
    let driver = subject.driver()?;
    let options = Options {
        calls: CALLS,
        rate_per_second: CALLS_PER_SECOND,
        speed: SPEED,
        seed,
        disturbance: Disturbance { repeat: 0.1, late: 0.1, reorder: 0.2, drop: 0.0 },
        first_index: round * CALLS,
    };
    let begun = ledger.counts();
    let mut slowest = Duration::ZERO;
    let load = driver.run_and_tell(options, |sent| {
        if sent.is_accepted() {
            slowest = slowest.max(sent.took);
        }
        ledger.note(sent);
    });
    let most_spooled = subject.watch_spool();
    let (load, faults) = tokio::join!(load, inflict(subject, &plan));
    load.context("the load")?;
    let faults = faults.context("killing")?;
    subject.settled().await?;
    let most_spooled = most_spooled.stop();
    let checked = check::check(subject, ledger).await?;
    let now = ledger.counts();
    // Or a callbook that takes nothing would lose nothing.
    anyhow::ensure!(now.accepted > begun.accepted, "no webhook was answered 2xx");
    Ok(format!(
        "{faults}; {} of {} webhooks answered 2xx, the slowest after {} ms, {most_spooled} at most in the spool; {checked}",
        now.accepted - begun.accepted,
        now.sent - begun.sent,
        slowest.as_millis(),
    ))
}

async fn inflict(subject: &mut Subject, plan: &Plan) -> anyhow::Result<String> {
    let begun = Instant::now();
    let mut said = Vec::new();
    for (wait, fault) in &plan.faults {
        tokio::time::sleep(*wait).await;
        let at = begun.elapsed().as_secs_f64();
        match fault {
            Fault::KillCallbook { away } => {
                subject.kill_callbook().await?;
                tokio::time::sleep(*away).await;
                subject.start_callbook().await?;
            }
            Fault::KillPostgres => subject.kill_postgres().await?,
            Fault::KillBoth => {
                subject.kill_postgres().await?;
                subject.kill_callbook().await?;
                subject.start_callbook().await?;
            }
            Fault::FreezePostgres { how_long } => subject.freeze_postgres(*how_long).await?,
        }
        said.push(format!("{fault} at {at:.1} s"));
    }
    Ok(said.join(", "))
}
