//! How callbook's own work stands, as the database has it.

use projections::generation::FOLD_VERSION;
use projections::quarantine;
use sqlx::PgConnection;

use super::{Finding, machine, unreadable};
use crate::config::Config;
use crate::serve::Home;

/// In seconds; longer than the worker lease takes to change hands.
const LONG: f64 = 15.0;

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
        sqlx::query_scalar(
            "select exists (select from api_tokens where role = 'admin' and revoked_at is null)",
        )
        .fetch_one(connection)
        .await
    };
    match is_there.await {
        Ok(is_there) => machine::admin_token(config, is_there),
        Err(error) => unreadable("admin token", &error),
    }
}

async fn lease(connection: &mut PgConnection, running: bool) -> sqlx::Result<Finding> {
    let (holder, expired, epoch): (Option<String>, bool, i64) =
        sqlx::query_as("select holder, expires_at <= clock_timestamp(), epoch from worker_lease")
            .fetch_one(connection)
            .await?;
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
    let (waiting, oldest, failed, dead): (i64, f64, i64, i64) = sqlx::query_as(
        "select count(*) filter (where processing_status = 'pending'),
                coalesce(extract(epoch from clock_timestamp()
                         - min(received_at) filter (where processing_status = 'pending')), 0)::float8,
                count(*) filter (where processing_status = 'failed'),
                (select count(*) from twilio_webhook_inbox where processing_status = 'dead_letter')
           from twilio_webhook_inbox where processing_status in ('pending', 'failed')",
    )
    .fetch_one(connection)
    .await?;
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
    let current: Option<(i32, i64, i64, f64)> = sqlx::query_as(
        "select g.fold_version, g.position, coalesce((select max(id) from call_events), 0),
                coalesce((select extract(epoch from clock_timestamp() - created_at)::float8 from call_events
                           where id > g.position order by id limit 1), 0)
           from read_model_current join read_model_generations g using (generation)",
    )
    .fetch_optional(connection)
    .await?;
    let Some((version, position, head, seconds)) = current else {
        return Ok(Finding::warn(ABOUT, "There is no read model yet.", "Start callbook: it makes one."));
    };
    let behind = (head - position).max(0);
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
    } else if running && seconds > LONG {
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
