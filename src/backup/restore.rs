//! The way back: all of it in one transaction, so that a restore that fails leaves everything as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, PgConnection};
use time::OffsetDateTime;

use super::archive::{Member, Reader, failed};
use super::save::quoted;
use super::{BackupError, End, FORMAT, Manifest, Table};
use crate::installation::{MIGRATIONS, Owner};

/// Files that the spool looks for (`ingest/spool.rs`).
const SPOOL_FILES: u32 = 64;

/// What callbook has in `public`. One that is missing here has `restore --force` refuse callbook's own book, which the
/// tests do.
const OURS: [&str; 16] = [
    "_sqlx_migrations",
    "api_tokens",
    "call_events",
    "idempotency_keys",
    "installation",
    "read_model_current",
    "read_model_generations",
    "rebuilds",
    "sessions",
    "sync_state",
    "twilio_webhook_inbox",
    "worker_lease",
    // The views for psql.
    "call_legs",
    "contacts",
    "conversations",
    "messages",
];

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub manifest: Manifest,
    /// By table.
    pub rows: BTreeMap<String, u64>,
    /// Spool files that callbook takes over when it starts.
    pub spooled: usize,
}

/// What an archive says of itself, and the simulated account in it.
pub async fn peek(from: &Path) -> Result<(Manifest, Option<Vec<u8>>), BackupError> {
    let mut archive = Reader::open(from)?;
    let manifest = manifest(&mut archive).await?;
    let account = match archive.next().await? {
        Some(Member { name, bytes }) if name == "account.json" => Some(bytes),
        _ => None,
    };
    Ok((manifest, account))
}

/// Puts the book of an archive in the place of what the database has: nothing, unless `force` is given. The read model
/// is empty afterwards; see [`super::make_read_model`]. Whoever follows the live stream is told to load everything again.
pub async fn restore(
    database: &mut PgConnection,
    owner: &Owner,
    spool_dir: &Path,
    from: &Path,
    force: bool,
    tell: impl Fn(&str),
) -> Result<Restored, BackupError> {
    let mut archive = Reader::open(from)?;
    let manifest = manifest(&mut archive).await?;
    if manifest.account_sid != owner.account_sid || manifest.simulated != owner.simulated {
        return Err(BackupError::OtherAccount {
            theirs: manifest.account_sid,
            ours: owner.account_sid.clone(),
            simulated: manifest.simulated,
        });
    }
    let mut tx = database.begin().await?;
    nothing_of_others(&mut tx).await?;
    let epoch = nobody_works(&mut tx).await?.unwrap_or_default().max(manifest.epoch) + 1;
    if !force {
        nothing_is_there(&mut tx).await?;
    }
    let revoked = revoked(&mut tx).await?;
    clear(&mut tx).await?;
    // As it was when the backup was made: what a later migration makes of rows, it makes of these as well.
    up_to(manifest.migration).run(&mut *tx).await?;
    let mut spool =
        SpoolFiles { folder: spool_dir.to_owned(), account: owner.account_sid.clone(), made: Vec::new() };
    let mut found = BTreeMap::new();
    let mut end = fill(&mut tx, &mut archive, &manifest, &mut spool, &mut found, &tell).await?;
    for (table, expected) in &end.rows {
        let found = found.get(table).copied().unwrap_or_default();
        if found != *expected {
            return Err(BackupError::Incomplete { table: table.clone(), found, expected: *expected });
        }
    }
    MIGRATIONS.run(&mut *tx).await?;
    continue_numbering(&mut tx).await?;
    keep_out(&mut tx, revoked).await?;
    end.rows.remove("sessions");
    sqlx::query("update worker_lease set epoch = $1").bind(epoch).execute(&mut *tx).await?;
    // Positions will be used again for other events than the lost ones: this is another life of the log.
    sqlx::query("update installation set incarnation = default").execute(&mut *tx).await?;
    spool.sync()?;
    tx.commit().await?;
    Ok(Restored { manifest, rows: end.rows, spooled: spool.keep() })
}

async fn manifest(archive: &mut Reader) -> Result<Manifest, BackupError> {
    let first = archive.next().await?.filter(|member| member.name == "manifest.json");
    let first = first.ok_or_else(|| archive.damaged("it has no manifest"))?;
    let manifest: Manifest =
        serde_json::from_slice(&first.bytes).map_err(|error| archive.damaged(error.to_string()))?;
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    if manifest.format > FORMAT || manifest.migration > newest {
        return Err(BackupError::Newer { theirs: manifest.callbook });
    }
    Ok(manifest)
}

/// The epoch of the worker lease, if there is one and nobody holds it.
async fn nobody_works(connection: &mut PgConnection) -> Result<Option<i64>, BackupError> {
    if !exists(connection, "worker_lease").await? {
        return Ok(None);
    }
    // Nobody takes it until this is over.
    sqlx::query("lock table worker_lease in access exclusive mode").execute(&mut *connection).await?;
    let (epoch, holder): (i64, Option<String>) = sqlx::query_as(
        "select epoch, case when expires_at > clock_timestamp() then holder end from worker_lease",
    )
    .fetch_one(connection)
    .await?;
    match holder {
        Some(holder) => Err(BackupError::InUse { holder }),
        None => Ok(Some(epoch)),
    }
}

/// Refuses where a relation stands in `public` that is not ours: it would go with the schema. A name of ours in a
/// database that callbook never migrated is somebody else's too.
async fn nothing_of_others(connection: &mut PgConnection) -> Result<(), BackupError> {
    let known = if migrated(connection).await? { &OURS[..] } else { &[] };
    let foreign: Option<String> = sqlx::query_scalar(
        "select r.relname::text
           from pg_class r join pg_namespace n on n.oid = r.relnamespace and n.nspname = 'public'
          where r.relkind not in ('i', 'I') and r.relname <> all ($1)
            -- What a column has its numbers from is told of by its table.
            and not exists (
                select from pg_depend d
                 where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype in ('a', 'i')
                   and r.relkind = 'S')
          order by r.relkind <> 'r', r.relname
          limit 1",
    )
    .bind(known)
    .fetch_optional(connection)
    .await?;
    foreign.map_or(Ok(()), |relation| Err(BackupError::Foreign { relation }))
}

/// Whether it was our first migration that was applied here, and not that of another program that uses sqlx.
async fn migrated(connection: &mut PgConnection) -> sqlx::Result<bool> {
    if !exists(connection, "_sqlx_migrations").await? {
        return Ok(false);
    }
    let first = MIGRATIONS.iter().min_by_key(|migration| migration.version);
    sqlx::query_scalar("select exists (select from _sqlx_migrations where version = $1 and checksum = $2)")
        .bind(first.map(|migration| migration.version))
        .bind(first.map(|migration| &*migration.checksum))
        .fetch_one(connection)
        .await
}

async fn nothing_is_there(connection: &mut PgConnection) -> Result<(), BackupError> {
    let (mut events, mut requests) = (0, 0);
    for (table, count) in [("call_events", &mut events), ("twilio_webhook_inbox", &mut requests)] {
        if exists(connection, table).await? {
            let counted = format!("select count(*) from {table}");
            *count = sqlx::query_scalar(&counted).fetch_one(&mut *connection).await?;
        }
    }
    if events + requests > 0 { Err(BackupError::BookExists { events, requests }) } else { Ok(()) }
}

/// Digests of the tokens that were revoked here, and when.
async fn revoked(connection: &mut PgConnection) -> sqlx::Result<Vec<(Vec<u8>, OffsetDateTime)>> {
    if !exists(connection, "api_tokens").await? {
        return Ok(Vec::new());
    }
    sqlx::query_as("select digest, revoked_at from api_tokens where revoked_at is not null")
        .fetch_all(connection)
        .await
}

/// A token that was revoked here stays so, and nobody is signed in: an older backup has the sessions too.
async fn keep_out(
    connection: &mut PgConnection,
    revoked: Vec<(Vec<u8>, OffsetDateTime)>,
) -> sqlx::Result<()> {
    let (digests, times): (Vec<_>, Vec<_>) = revoked.into_iter().unzip();
    sqlx::query(
        "update api_tokens t set revoked_at = r.revoked_at
           from unnest($1::bytea[], $2::timestamptz[]) r (digest, revoked_at)
          where t.digest = r.digest and t.revoked_at is null",
    )
    .bind(digests)
    .bind(times)
    .execute(&mut *connection)
    .await?;
    sqlx::query("delete from sessions").execute(connection).await.map(drop)
}

async fn exists(connection: &mut PgConnection, table: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select to_regclass('public.' || $1) is not null")
        .bind(table)
        .fetch_one(connection)
        .await
}

async fn clear(connection: &mut PgConnection) -> sqlx::Result<()> {
    let schemas: Vec<String> = sqlx::query_scalar(
        "select nspname::text from pg_namespace where nspname = 'public' or nspname ~ '^read_model_g[0-9]+$'",
    )
    .fetch_all(&mut *connection)
    .await?;
    for schema in schemas {
        let drop = format!("drop schema {} cascade", quoted(&schema));
        connection.execute(drop.as_str()).await?;
    }
    connection.execute("create schema public").await.map(drop)
}

fn up_to(newest: i64) -> Migrator {
    let migrations = MIGRATIONS.iter().filter(|migration| migration.version <= newest).cloned().collect();
    Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT }
}

/// Takes what the archive has, table by table. Gives its last word; an archive without one was cut off.
async fn fill(
    connection: &mut PgConnection,
    archive: &mut Reader,
    manifest: &Manifest,
    spool: &mut SpoolFiles,
    found: &mut BTreeMap<String, u64>,
    tell: &impl Fn(&str),
) -> Result<End, BackupError> {
    let mut next = archive.next().await?;
    while let Some(Member { name, bytes }) = next {
        let parts: Vec<&str> = name.split('/').collect();
        match parts[..] {
            ["end.json"] => {
                // Nothing follows but the checksum of the whole, which is looked at on the way to the end.
                return match archive.next().await? {
                    None => {
                        serde_json::from_slice(&bytes).map_err(|error| archive.damaged(error.to_string()))
                    }
                    Some(member) => Err(archive.damaged(format!("{} follows its end", member.name))),
                };
            }
            ["account.json"] => next = archive.next().await?,
            ["spool", file, _] => {
                spool.write(file, &bytes)?;
                next = archive.next().await?;
            }
            ["tables", table, _] => {
                let table = manifest.tables.iter().find(|known| known.name == table);
                let table =
                    table.ok_or_else(|| archive.damaged(format!("its manifest does not name {name}")))?;
                tell(&table.name);
                let prefix = format!("tables/{}/", table.name);
                let (rows, following) = copy(connection, archive, table, &prefix, bytes).await?;
                *found.entry(table.name.clone()).or_default() += rows;
                next = following;
            }
            _ => return Err(archive.damaged(format!("{name} has no place in it"))),
        }
    }
    Err(archive.damaged("it was cut off"))
}

/// Copies the pieces of one table; gives how many rows they were, and what follows them.
async fn copy(
    connection: &mut PgConnection,
    archive: &mut Reader,
    table: &Table,
    prefix: &str,
    first: Vec<u8>,
) -> Result<(u64, Option<Member>), BackupError> {
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let statement = format!("copy {} ({}) from stdin", quoted(&table.name), columns.join(", "));
    let mut into = connection.copy_in_raw(&statement).await?;
    into.send(first).await?;
    loop {
        match archive.next().await {
            Ok(Some(member)) if member.name.starts_with(prefix) => drop(into.send(member.bytes).await?),
            Ok(following) => return Ok((into.finish().await?, following)),
            Err(error) => {
                into.abort("the archive is damaged").await?;
                return Err(error);
            }
        }
    }
}

/// New rows get numbers after those that came back.
async fn continue_numbering(connection: &mut PgConnection) -> sqlx::Result<()> {
    let numbered: Vec<(String, String)> = sqlx::query_as(
        "select table_name::text, column_name::text from information_schema.columns
          where table_schema = 'public' and is_identity = 'YES'",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, column) in numbered {
        let set = format!(
            "select setval(pg_get_serial_sequence($1, $2), coalesce(max({column}), 1), max({column}) is not null) from {table}",
            column = quoted(&column),
            table = quoted(&table),
        );
        sqlx::query(&set).bind(quoted(&table)).bind(&column).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Spool files that come back, beside those that are there. They are taken away again unless they are kept.
struct SpoolFiles {
    folder: PathBuf,
    account: String,
    /// By the name that each had: where it is now.
    made: Vec<(String, PathBuf)>,
}

impl SpoolFiles {
    fn write(&mut self, name: &str, piece: &[u8]) -> Result<(), BackupError> {
        let known = self.made.iter().find(|(made, _)| made == name).map(|(_, path)| path.clone());
        let path = match known {
            Some(path) => path,
            None => {
                let path = self.make()?;
                self.made.push((name.to_owned(), path.clone()));
                path
            }
        };
        let file = OpenOptions::new().append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(piece).and_then(|()| file.sync_all()));
        written.map_err(|source| failed("written", &path, source))
    }

    fn make(&self) -> Result<PathBuf, BackupError> {
        std::fs::create_dir_all(&self.folder).map_err(|source| failed("made", &self.folder, source))?;
        let mut last = None;
        for n in 1..=SPOOL_FILES {
            let path = self.folder.join(format!("{}.{n}.spool", self.account));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => last = Some(error),
                Err(source) => return Err(failed("written", &path, source)),
            }
        }
        let full = last.unwrap_or_else(|| std::io::Error::other("it has no room"));
        Err(failed("written", &self.folder, full))
    }

    /// Returns when their names are on the disk.
    fn sync(&self) -> Result<(), BackupError> {
        if self.made.is_empty() {
            return Ok(());
        }
        let synced = std::fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| failed("written", &self.folder, source))
    }

    /// Leaves them where they are; says how many.
    fn keep(mut self) -> usize {
        std::mem::take(&mut self.made).len()
    }
}

impl Drop for SpoolFiles {
    fn drop(&mut self) {
        for (_, path) in &self.made {
            // What cannot be removed is taken in by the book that is there, where it tells nothing new.
            let _ = std::fs::remove_file(path);
        }
    }
}
