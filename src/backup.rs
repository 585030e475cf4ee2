//! A backup of the book in one file, and the way back.
//!
//! What is kept is what cannot be made again: the log, the inbox, whose book it is, tokens, cursors, and whatever else
//! stands in a table of ours; the read model is rebuilt. It is read in one snapshot while callbook goes on, by `COPY`
//! in text, so that neither a tool of PostgreSQL's is needed (the packaged PostgreSQL has none) nor the same version
//! of it on the way back. What waits in this machine's spool is acknowledged too, and goes along.
//!
//! ```text
//! manifest.json            what the archive is, and the columns of each table
//! account.json             the simulated account, if it is one
//! spool/<file>/<n>         what waited in the spool
//! tables/<table>/<n>       rows, in pieces of some megabytes
//! end.json                 how many rows each table has; an archive without it is not whole
//! ```

mod archive;
mod read_model;
mod restore;
mod save;

use std::collections::BTreeMap;
use std::path::PathBuf;

use projections::projector::ProjectError;
use projections::rebuild::RebuildError;
use serde::{Deserialize, Serialize};
use sqlx::migrate::MigrateError;
use time::OffsetDateTime;

pub use read_model::{ReadModel, make_read_model};
pub use restore::{Restored, peek, restore};
pub use save::save;

/// Of this layout. A newer one is refused.
const FORMAT: u32 = 1;

/// What can be made again, or is about processes that run, or about browsers that are signed in.
const LEFT_OUT: [&str; 5] =
    ["_sqlx_migrations", "worker_lease", "read_model_current", "read_model_generations", "sessions"];

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    pub callbook: String,
    #[serde(with = "time::serde::rfc3339")]
    pub made_at: OffsetDateTime,
    pub account_sid: String,
    pub simulated: bool,
    /// The newest migration that was applied.
    migration: i64,
    /// The position of the last event.
    pub position: i64,
    /// Of the worker lease: the restored book begins with a later one.
    epoch: i64,
    /// Those that others refer to come first.
    tables: Vec<Table>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    name: String,
    /// Without those that the database makes of others.
    columns: Vec<String>,
}

/// The last thing in an archive: how many rows each table has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    rows: BTreeMap<String, u64>,
}

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} cannot be {what}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is there already; name another file", path.display())]
    FileExists { path: PathBuf },
    #[error("{} is not a backup of callbook's, or it is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("the backup was made by a newer callbook ({theirs}) than this one; restore it with that one")]
    Newer { theirs: String },
    #[error(
        "the backup is the book of the {} account {theirs}, and callbook is configured for {ours}; set the credentials \
         of that account", if *.simulated { "simulated" } else { "real" }
    )]
    OtherAccount { theirs: String, ours: String, simulated: bool },
    #[error(
        "there is a book already, with {events} events and {requests} requests; `--force` replaces it for good, so make \
         a backup of it first"
    )]
    BookExists { events: i64, requests: i64 },
    #[error(
        "the database has {relation} in its schema public, which is not callbook's and would be lost, with `--force` or \
         without; restore into a database of its own"
    )]
    Foreign { relation: String },
    #[error("a callbook works on this database ({holder}); stop it first")]
    InUse { holder: String },
    #[error("the table {table} came back with {found} rows instead of {expected}; nothing was changed")]
    Incomplete { table: String, found: u64, expected: u64 },
    #[error("the read model came to position {position} of {head}; `callbook rebuild` shows why")]
    Behind { position: i64, head: i64 },
    #[error("the book is back, and its read model cannot be folded; `callbook rebuild` tries again")]
    Fold(#[from] ProjectError),
    #[error(
        "the book is back, and its read model cannot be compared with a rebuild; `callbook rebuild --dry-run` tries again"
    )]
    ReadModel(#[from] RebuildError),
    #[error("the tables cannot be made")]
    Migration(#[from] MigrateError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the thread that reads and writes the file ended")]
    Thread,
}
