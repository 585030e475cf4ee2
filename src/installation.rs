//! Whose book a database is: migrations, the account it belongs to, and the key of its ids.

use projections::ids::IdKey;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The account whose calls a database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub account_sid: String,
    pub simulated: bool,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    #[error("the database cannot be reached; check DATABASE_URL and that the server runs")]
    Unreachable(#[source] sqlx::Error),
    #[error("the database's tables cannot be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error(
        "this database is the book of the {} account {}, but callbook was started for the {} account {}; \
         one database holds one account: set DATABASE_URL (or CALLBOOK_DATA_DIR) to another",
        kind(.theirs), .theirs.account_sid, kind(.ours), .ours.account_sid
    )]
    OtherAccount { theirs: Owner, ours: Owner },
    #[error("the installation row has an id key of {length} bytes instead of 32; restore it from a backup")]
    BadKey { length: usize },
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl InstallationError {
    /// Whether it is about the database's being away, and not about what is in it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Database(error)
            | Self::Migration(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                is_away(error)
            }
            Self::Migration(_) | Self::OtherAccount { .. } | Self::BadKey { .. } => false,
        }
    }
}

/// Whether the way to the database, its resources, or a person who stopped it is at fault, rather than what it was
/// asked.
pub fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // Connection, resources, intervention, system, a standby, and a lock that somebody else holds.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "58", "25006", "55P03"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Connects the pool that everything uses.
pub async fn connect(options: PgConnectOptions, most: u32) -> Result<PgPool, InstallationError> {
    // The append lock lives until commit, so whoever holds it idle, or waits for it for long, must end.
    let options = options
        .application_name("callbook")
        .options([("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "30s")]);
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_secs(5))
        // A ping before every use cost 28 to 50 % of the throughput.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(InstallationError::Unreachable)
}

/// How a database's tables and this callbook's migrations fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    UpToDate {
        newest: i64,
    },
    Behind {
        missing: usize,
    },
    /// By a newer callbook.
    Ahead {
        newest: i64,
    },
    /// Applied in another wording.
    Changed {
        version: i64,
    },
}

/// Looks, and applies nothing.
pub async fn migrated(connection: &mut PgConnection) -> sqlx::Result<Migrated> {
    let begun: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    let applied: Vec<(i64, Vec<u8>)> = if begun {
        sqlx::query_as("select version, checksum from _sqlx_migrations where success order by version")
            .fetch_all(connection)
            .await?
    } else {
        Vec::new()
    };
    let ours: BTreeMap<i64, &[u8]> =
        MIGRATIONS.iter().map(|migration| (migration.version, &*migration.checksum)).collect();
    if let Some((newest, _)) = applied.iter().rfind(|(version, _)| !ours.contains_key(version)) {
        return Ok(Migrated::Ahead { newest: *newest });
    }
    let changed = applied.iter().find(|(version, checksum)| ours.get(version) != Some(&&**checksum));
    if let Some((version, _)) = changed {
        return Ok(Migrated::Changed { version: *version });
    }
    let missing = ours.len() - applied.len();
    Ok(match applied.last() {
        Some((newest, _)) if missing == 0 => Migrated::UpToDate { newest: *newest },
        _ => Migrated::Behind { missing },
    })
}

/// Applies what migrations are missing, under a lock, and makes sure that the database is `owner`'s.
pub async fn prepare(pool: &PgPool, owner: &Owner) -> Result<IdKey, InstallationError> {
    // Another instance may be at it for longer than a lock is otherwise waited for.
    let mut connection = pool.acquire().await?;
    sqlx::query("set lock_timeout = 0").execute(&mut *connection).await?;
    MIGRATIONS.run(&mut *connection).await?;
    sqlx::query("reset lock_timeout").execute(&mut *connection).await?;
    drop(connection);
    let key: [u8; 32] = rand::random();
    sqlx::query(
        "insert into installation (account_sid, simulated, id_key) values ($1, $2, $3)
         on conflict (only_row) do nothing",
    )
    .bind(&owner.account_sid)
    .bind(owner.simulated)
    .bind(&key[..])
    .execute(pool)
    .await?;
    let key = open(pool, owner).await?;
    projections::generation::ensure_first(pool).await?;
    Ok(key)
}

/// Whether the database is `ours`; applies no migration.
pub async fn check(connection: &mut PgConnection, ours: &Owner) -> Result<(), InstallationError> {
    let (account_sid, simulated) =
        sqlx::query_as("select account_sid, simulated from installation").fetch_one(connection).await?;
    let theirs = Owner { account_sid, simulated };
    if theirs == *ours { Ok(()) } else { Err(InstallationError::OtherAccount { theirs, ours: ours.clone() }) }
}

/// Which life of the log this is: restored from a backup, it has another one.
pub async fn incarnation(pool: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar("select incarnation from installation").fetch_one(pool).await
}

async fn open(pool: &PgPool, ours: &Owner) -> Result<IdKey, InstallationError> {
    let (account_sid, simulated, key): (String, bool, Vec<u8>) =
        sqlx::query_as("select account_sid, simulated, id_key from installation").fetch_one(pool).await?;
    let theirs = Owner { account_sid, simulated };
    if theirs != *ours {
        return Err(InstallationError::OtherAccount { theirs, ours: ours.clone() });
    }
    let key: [u8; 32] =
        key.try_into().map_err(|key: Vec<u8>| InstallationError::BadKey { length: key.len() })?;
    Ok(IdKey::new(&key))
}

fn kind(owner: &Owner) -> &'static str {
    if owner.simulated { "simulated" } else { "real" }
}
