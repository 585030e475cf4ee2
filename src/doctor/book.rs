//! How callbook's own work stands, as the database has it.

use projections::generation::{self, FOLD_VERSION};
use projections::lag::{self, Lag};
use projections::quarantine;
use sqlx::PgConnection;

use super::{Finding, machine, unreadable};
use crate::access::tokens;
use crate::config::Config;
use crate::ingest::inbox::desk::{self, Standing};
use crate::lease::{LONG, Lease, LeaseStatus};
use crate::serve::Home;

pub(super) async fn examine(connection: &mut PgConnection, home: &Home, running: bool) -> Vec<Finding> {
    vec![
        owner(connection, home).await.unwrap_or_else(|e| unreadable("account", &e)),
        lease(connection, running).await.unwrap_or_else(|e| unreadable("worker", &e)),
        inbox(connection, running).await.unwrap_or_else(|e| unreadable("inbox", &e)),
        read_model(connection, running).await.unwrap_or_else(|e| unreadable("read model", &e)),
        quarantined(connection).await.unwrap_or_else(|e| unreadable("quarantine", &e)),
        jobs(connection).await.unwrap_or_else(|e| unreadable("jobs", &e)),
    ]
}

async fn owner(connection: &mut PgConnection, home: &Home) -> sqlx::Result<Finding> {
    let owner: Option<(String, bool)> =
        sqlx::query_as("select account_sid, simulated from installation").fetch_optional(connection).await?;
    let ours = &home.credentials.owner;
    Ok(match owner {
        None => Finding::warn(
            "account",
            "The book belongs to nobody yet.",
            "Start callbook: it writes down whose it is.",
        ),
        Some((sid, simulated)) if sid == ours.account_sid && simulated == ours.simulated => {
            Finding::ok("account", format!("The book is that of {sid}, as configured."))
        }
        Some((sid, _)) => Finding::fail(
            "account",
            format!("The book is that of {sid}, and callbook is configured for {}.", ours.account_sid),
            "Set the credentials of that account, or DATABASE_URL to another database: one holds one account.",
        ),
    })
}

/// Also where callbook has not started yet: without one it may not be able to.
pub(super) async fn admin_token(connection: &mut PgConnection, config: &Config) -> Finding {
    let is_there = async {
        let begun: bool = sqlx::query_scalar("select to_regclass('api_tokens') is not null")
            .fetch_one(&mut *connection)
            .await?;
        if !begun {
            return Ok(false);
        }
        tokens::is_there_an_admin(connection).await
    };
    match is_there.await {
        Ok(is_there) => machine::admin_token(config, is_there),
        Err(error) => unreadable("admin token", &error),
    }
}

async fn lease(connection: &mut PgConnection, running: bool) -> sqlx::Result<Finding> {
    let LeaseStatus { holder, expired, epoch, .. } = Lease::status(connection).await?;
    Ok(match holder {
        Some(holder) if !expired => Finding::ok(
            "worker",
            format!("{holder} decides and folds, under epoch {epoch} of the worker lease."),
        ),
        _ if running => Finding::warn(
            "worker",
            "Nobody holds the worker lease: webhooks are taken, and nothing comes of them.",
            "Look again in ten seconds, as it may be changing hands; if it stays so, see callbook's log.",
        ),
        _ => Finding::ok("worker", "Nobody holds the worker lease, as no callbook runs."),
    })
}

async fn inbox(connection: &mut PgConnection, running: bool) -> sqlx::Result<Finding> {
    let Standing { waiting, failed, dead_letters: dead, oldest_waiting_seconds: oldest } =
        desk::standing(connection).await?;
    if running && oldest > LONG {
        return Ok(Finding::fail(
            "inbox",
            format!("{waiting} webhooks wait to be decided, the oldest for {oldest:.0} s."),
            "See callbook's log for what holds the worker up.",
        ));
    }
    if failed + dead > 0 {
        return Ok(Finding::warn(
            "inbox",
            format!(
                "{dead} requests were given up or refused, and {failed} have failed and are tried again."
            ),
            "See why: `callbook psql -c \"select id, event_type, call_sid, error from twilio_webhook_inbox where \
             processing_status in ('failed', 'dead_letter')\"`.",
        ));
    }
    Ok(Finding::ok("inbox", format!("{waiting} requests wait to be decided, and none has failed.")))
}

async fn read_model(connection: &mut PgConnection, running: bool) -> sqlx::Result<Finding> {
    const ABOUT: &str = "read model";
    let Some(version) = generation::serving(connection).await? else {
        return Ok(Finding::warn(ABOUT, "There is no read model yet.", "Start callbook: it makes one."));
    };
    let lag = lag::lag(&mut *connection).await?;
    let (Lag { head, position, seconds, .. }, behind) = (&lag, lag.events());
    Ok(if version < FOLD_VERSION {
        Finding::warn(
            ABOUT,
            format!("It was made by fold version {version}, and this callbook has {FOLD_VERSION}."),
            "It is rebuilt by itself when this callbook runs; `callbook rebuild` does it now.",
        )
    } else if version > FOLD_VERSION {
        Finding::fail(
            ABOUT,
            format!(
                "It was made by fold version {version}, which is newer than this callbook's {FOLD_VERSION}."
            ),
            "Run the newer callbook, and stop this one.",
        )
    } else if running && *seconds > LONG {
        Finding::fail(
            ABOUT,
            format!("It is {behind} events and {seconds:.0} s behind the log."),
            "See callbook's log for what holds the projection up; `callbook lint-log` finds what cannot be read.",
        )
    } else {
        Finding::ok(ABOUT, format!("It reflects the log up to position {position} of {head}."))
    })
}

async fn quarantined(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let calls = quarantine::count(connection).await?;
    Ok(if calls == 0 {
        Finding::ok("quarantine", "No call is quarantined.")
    } else {
        Finding::warn(
            "quarantine",
            format!("{calls} calls stand still, because of an event that cannot be folded."),
            "See why with `callbook quarantine list`.",
        )
    })
}

async fn jobs(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let failed: Vec<(String, String)> = sqlx::query_as(
        "select job_name, last_error from sync_state where last_error is not null order by job_name",
    )
    .fetch_all(connection)
    .await?;
    Ok(match failed.first() {
        None => Finding::ok("jobs", "No job that asks Twilio has failed the last time."),
        Some((job, error)) => Finding::warn(
            "jobs",
            format!("{job} has failed the last time: {error}."),
            "It is tried again by itself; what it says is what to see to.",
        ),
    })
}
