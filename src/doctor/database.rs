//! What the database is, and whether it still enforces what the log stands on.

use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::{Finding, State, unreadable};
use crate::config::Config;
use crate::installation::{self, Migrated};

const OLDEST: i32 = 140_000;
/// Clocks that are further apart are not the same time.
const APART: time::Duration = time::Duration::seconds(10);
const RESTRICT_VIOLATION: &str = "23001";

/// The triggers of the log (migration 0001).
const TRIGGERS: [&str; 2] = ["call_events_append_only", "call_events_in_order"];

/// Says as well whether all tables are there that callbook has.
pub(super) async fn examine(connection: &mut PgConnection, config: &Config) -> (Vec<Finding>, bool) {
    let mut findings = vec![server(connection, config).await.unwrap_or_else(|e| unreadable("database", &e))];
    findings.push(clock(connection).await.unwrap_or_else(|e| unreadable("clock", &e)));
    let migrated = migrations(connection).await.unwrap_or_else(|e| unreadable("migrations", &e));
    let is_there = migrated.state == State::Ok;
    findings.push(migrated);
    if is_there {
        findings.extend(triggers(connection).await.unwrap_or_else(|e| vec![unreadable("triggers", &e)]));
        findings.push(append(connection).await.unwrap_or_else(|e| unreadable("append", &e)));
    }
    (findings, is_there)
}

async fn server(connection: &mut PgConnection, config: &Config) -> sqlx::Result<Finding> {
    const ABOUT: &str = "database";
    let (version, number, most, used, reserved, recovering): (String, i32, i32, i64, i32, bool) =
        sqlx::query_as(
            "select current_setting('server_version'), current_setting('server_version_num')::integer,
                current_setting('max_connections')::integer,
                (select count(*) from pg_stat_activity where backend_type = 'client backend'),
                current_setting('superuser_reserved_connections')::integer, pg_is_in_recovery()",
        )
        .fetch_one(connection)
        .await?;
    let said = format!("PostgreSQL {version} answers; {used} of its {most} connections are in use.");
    if number < OLDEST {
        return Ok(Finding::fail(ABOUT, said, "callbook needs PostgreSQL 14 or later: upgrade it."));
    }
    if recovering {
        let to_do = "It is a standby, which takes no writes: set DATABASE_URL to the primary.";
        return Ok(Finding::fail(ABOUT, said, to_do));
    }
    let left = i64::from(most) - i64::from(reserved) - used;
    if left < 5 {
        let to_do = format!(
            "Raise max_connections, or lower DATABASE_MAX_CONNECTIONS ({} now): a callbook without a connection sends \
             webhooks to its spool.",
            config.database_max_connections
        );
        return Ok(Finding::warn(ABOUT, said, to_do));
    }
    Ok(Finding::ok(ABOUT, said))
}

async fn clock(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let before = OffsetDateTime::now_utc();
    let there: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()").fetch_one(connection).await?;
    let after = OffsetDateTime::now_utc();
    let apart = if there < before {
        before - there
    } else if there > after {
        there - after
    } else {
        time::Duration::ZERO
    };
    let said = format!("This machine's clock and the database's are {:.1} s apart.", apart.as_seconds_f64());
    Ok(if apart < APART {
        Finding::ok("clock", said)
    } else {
        Finding::warn("clock", said, "Have both kept by NTP: times in the log are the database's.")
    })
}

async fn migrations(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    const ABOUT: &str = "migrations";
    Ok(match installation::migrated(connection).await? {
        Migrated::UpToDate { newest } => {
            Finding::ok(ABOUT, format!("All migrations are applied, up to {newest:04}."))
        }
        Migrated::Behind { missing } => Finding::warn(
            ABOUT,
            format!("{missing} migrations are not applied yet."),
            "Start callbook: it applies them. Until then there is nothing more to look at here.",
        ),
        Migrated::Ahead { newest } => Finding::fail(
            ABOUT,
            format!("The database has migration {newest:04}, which this callbook does not know."),
            "A newer callbook has used it: run that one.",
        ),
        Migrated::Changed { version } => Finding::fail(
            ABOUT,
            format!("Migration {version:04} is applied in another wording than this callbook has."),
            "Run the callbook that applied it, or restore a backup; an applied migration is never edited.",
        ),
    })
}

async fn triggers(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let enabled: Vec<(String, bool)> = sqlx::query_as(
        "select tgname::text, tgenabled in ('O', 'A')
           from pg_trigger where tgrelid = 'call_events'::regclass and not tgisinternal",
    )
    .fetch_all(connection)
    .await?;
    Ok(TRIGGERS
        .into_iter()
        .map(|name| match enabled.iter().find(|(found, _)| found == name) {
            Some((_, true)) => Finding::ok("triggers", format!("The log's trigger {name} is enabled.")),
            Some((_, false)) => Finding::fail(
                "triggers",
                format!("The log's trigger {name} is disabled, so nothing protects the log."),
                format!("Run `callbook psql -c 'alter table call_events enable trigger {name}'`, and find out who disabled it."),
            ),
            None => Finding::fail(
                "triggers",
                format!("The log's trigger {name} is gone, so nothing protects the log."),
                "Restore a backup, or create it again as migrations/0001_call_events.sql does.",
            ),
        })
        .collect())
}

/// Appends and rewrites, and takes both back.
async fn append(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    const ABOUT: &str = "append";
    let mut tx = connection.begin().await?;
    let appended = sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('doctor', 'probe', 1, 'doctor.looked', '1', '{}', '{}')",
    )
    .execute(&mut *tx)
    .await;
    if let Err(error) = appended {
        return Ok(Finding::fail(
            ABOUT,
            format!("The log cannot be appended to: {}.", projections::chain(&error)),
            "See to what the database says; `select * from pg_locks` shows who holds the append lock, if that is it.",
        ));
    }
    let locked: bool = sqlx::query_scalar(
        "select exists (select from pg_locks
                         where locktype = 'advisory' and pid = pg_backend_pid() and granted
                           and (classid::bigint << 32) | objid::bigint = append_lock())",
    )
    .fetch_one(&mut *tx)
    .await?;
    // It names no row, and is refused all the same.
    let rewritten =
        sqlx::query("update call_events set payload = payload where false").execute(&mut *tx).await;
    tx.rollback().await?;
    let refused =
        rewritten.err().and_then(|error| error.as_database_error()?.code().map(|code| code.to_string()));
    Ok(match (locked, refused.as_deref()) {
        (true, Some(RESTRICT_VIOLATION)) => {
            Finding::ok(ABOUT, "The log takes events one after another, and refuses to be rewritten.")
        }
        (false, _) => Finding::fail(
            ABOUT,
            "An append does not take the append lock, so readers may miss events.",
            "Stop callbook, and create the function call_events_in_order again as migrations/0001_call_events.sql does.",
        ),
        (true, _) => Finding::fail(
            ABOUT,
            "The log lets itself be rewritten.",
            "Stop callbook, and create the function call_events_append_only again as migrations/0001_call_events.sql does.",
        ),
    })
}
