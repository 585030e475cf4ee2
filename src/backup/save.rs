//! Making a backup, while callbook goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use futures::TryStreamExt;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use super::archive::{PIECE, Pieces, Writer, failed};
use super::{BackupError, End, FORMAT, LEFT_OUT, Manifest, Table};

/// Everything that was acknowledged before this is called is in the archive. `account` is the file of a simulated
/// account, and `tell` hears which table is being read.
pub async fn save(
    database: &mut PgConnection,
    account: Option<&Path>,
    spool_dir: &Path,
    to: &Path,
    tell: impl Fn(&str),
) -> Result<Manifest, BackupError> {
    let archive = Writer::create(to)?;
    // Read to its end before the snapshot is taken: what has left the spool by then is in the database, and so in the
    // snapshot. What is in both is taken once, by its key.
    let spooled = spooled(spool_dir, to)?;
    let mut tx = database.begin_with("begin transaction isolation level repeatable read read only").await?;
    let manifest = describe(&mut tx).await?;
    archive.add("manifest.json", json(&manifest)).await?;
    if let Some(account) = account {
        let bytes = std::fs::read(account).map_err(|source| failed("read", account, source))?;
        archive.add("account.json", bytes).await?;
    }
    for (name, mut file) in spooled {
        let mut nth = 0;
        loop {
            let mut piece = Vec::new();
            let path = spool_dir.join(&name);
            // A spool file has some megabytes, unless the database was away for long.
            let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
            read.map_err(|source| failed("read", &path, source))?;
            if piece.is_empty() {
                break;
            }
            archive.add(format!("spool/{name}/{nth:08}"), piece).await?;
            nth += 1;
        }
    }
    let mut end = End::default();
    for table in &manifest.tables {
        tell(&table.name);
        let rows = copy(&mut tx, table, &archive).await?;
        end.rows.insert(table.name.clone(), rows);
    }
    tx.rollback().await?;
    archive.add("end.json", json(&end)).await?;
    archive.finish().await?;
    Ok(manifest)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value)
        .unwrap_or_else(|error| unreachable!("texts and numbers are JSON: {error}"))
}

async fn describe(connection: &mut PgConnection) -> sqlx::Result<Manifest> {
    let (account_sid, simulated, migration, position, epoch): (String, bool, i64, i64, i64) = sqlx::query_as(
        "select account_sid, simulated, (select max(version) from _sqlx_migrations where success),
                (select coalesce(max(id), 0) from call_events), (select epoch from worker_lease)
           from installation",
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(Manifest {
        format: FORMAT,
        callbook: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: OffsetDateTime::now_utc(),
        account_sid,
        simulated,
        migration,
        position,
        epoch,
        tables: tables(connection).await?,
    })
}

/// Every table of ours, those first that others refer to. A table that comes with a later migration is among them
/// without a word here.
async fn tables(connection: &mut PgConnection) -> sqlx::Result<Vec<Table>> {
    let columns: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select t.relname::text, array_agg(c.attname::text order by c.attnum)
           from pg_class t join pg_attribute c on c.attrelid = t.oid
          where t.relnamespace = 'public'::regnamespace and t.relkind = 'r' and t.relname <> all ($1)
            and c.attnum > 0 and not c.attisdropped and c.attgenerated = ''
          group by t.relname order by t.relname",
    )
    .bind(LEFT_OUT)
    .fetch_all(&mut *connection)
    .await?;
    let references: Vec<(String, String)> = sqlx::query_as(
        "select distinct t.relname::text, referred.relname::text
           from pg_constraint k
           join pg_class t on t.oid = k.conrelid
           join pg_class referred on referred.oid = k.confrelid
          where k.contype = 'f' and k.conrelid <> k.confrelid and t.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(connection)
    .await?;
    let mut left: BTreeMap<String, Vec<String>> = columns.into_iter().collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |name: &str| references.iter().any(|(from, to)| from == name && left.contains_key(to));
        let mut next: BTreeSet<String> = left.keys().filter(|name| !waits(name)).cloned().collect();
        if next.is_empty() {
            // They refer to each other in a circle, which only a deferred constraint allows.
            next = left.keys().cloned().collect();
        }
        for name in next {
            let columns = left.remove(&name).unwrap_or_default();
            ordered.push(Table { name, columns });
        }
    }
    Ok(ordered)
}

async fn copy(connection: &mut PgConnection, table: &Table, archive: &Writer) -> Result<u64, BackupError> {
    let name = quoted(&table.name);
    // Rows lie in the order in which they came, so this is the order of the log as well.
    let rows: i64 =
        sqlx::query_scalar(&format!("select count(*) from {name}")).fetch_one(&mut *connection).await?;
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    let statement = format!("copy {name} ({}) to stdout", columns.join(", "));
    let mut out = connection.copy_out_raw(&statement).await?;
    let (mut pieces, mut nth) = (Pieces::default(), 0);
    while let Some(bytes) = out.try_next().await? {
        if let Some(piece) = pieces.push(&bytes) {
            archive.add(format!("tables/{}/{nth:08}", table.name), piece).await?;
            nth += 1;
        }
    }
    drop(out);
    archive.add(format!("tables/{}/{nth:08}", table.name), pieces.rest()).await?;
    Ok(rows.unsigned_abs())
}

/// The spool's files, copied beside the archive, where there is room for them: callbook writes over the originals, and
/// they may be larger than the memory. The copies have no names, so they go with whoever reads them.
fn spooled(folder: &Path, to: &Path) -> Result<Vec<(String, File)>, BackupError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed("read", folder, source)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| failed("read", folder, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".spool") {
            let path = entry.path();
            let mut file = File::open(&path).map_err(|source| failed("read", &path, source))?;
            let mut first = [0; 1 << 10];
            let read = file.read_at(&mut first, 0).map_err(|source| failed("read", &path, source))?;
            // It is zeros where nothing was ever kept.
            if first[..read].iter().any(|byte| *byte != 0) {
                let copied = nameless(to).and_then(|mut copy| {
                    std::io::copy(&mut file, &mut copy)?;
                    copy.rewind()?;
                    Ok(copy)
                });
                files.push((name, copied.map_err(|source| failed("copied", &path, source))?));
            }
        }
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

fn nameless(beside: &Path) -> std::io::Result<File> {
    let mut name = beside.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:08x}.spooled", rand::random::<u32>()));
    let path = beside.with_file_name(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
