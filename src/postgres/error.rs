//! What can go wrong with our own PostgreSQL, in sentences that say what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::PATIENCE;
use super::binaries::{Rejected, Wanted};

/// Why there is no PostgreSQL to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error(
        "PostgreSQL does not run as root, and the user {user}, as whom it would run, may not enter {}: \
         let it (`chmod o+x`), or set CALLBOOK_DATA_DIR to a folder elsewhere, such as /var/lib/callbook",
        folder.display()
    )]
    NotTraversable { folder: PathBuf, user: String },

    #[error(
        "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor `nobody`: \
         create one (`useradd --system postgres`), or run callbook as an ordinary user"
    )]
    NoUser,

    #[error(
        "the PostgreSQL data in {} belongs to root, as whom PostgreSQL does not run: \
         give it to the user that shall run it (`chown -R postgres` it)",
        cluster.display()
    )]
    OwnedByRoot { cluster: PathBuf },

    #[error("{} holds something that is not PostgreSQL data: move it away, or set CALLBOOK_DATA_DIR", folder.display())]
    NotACluster { folder: PathBuf },

    #[error("the socket folder {} belongs to somebody else: remove it, or set CALLBOOK_DATA_DIR", folder.display())]
    SocketFolder { folder: PathBuf },

    #[error(
        "found no {wanted}: install it (on Debian and Ubuntu `apt install postgresql`), or set DATABASE_URL{rejected}"
    )]
    NoBinaries { wanted: Wanted, rejected: Rejected },

    #[error("cannot run {} as the user {user}", program.display())]
    Spawn { program: PathBuf, user: String, source: io::Error },

    #[error("initdb could not create a cluster ({status}); {} ends with:\n{tail}", log.display())]
    Initdb { status: ExitStatus, log: PathBuf, tail: String },

    #[error("PostgreSQL exited ({status}); {} ends with:\n{tail}", log.display())]
    Exited { status: ExitStatus, log: PathBuf, tail: String },

    #[error(
        "PostgreSQL has been starting for {} s and is not ready: see {}, then start callbook again",
        PATIENCE.as_secs(), log.display()
    )]
    NotReady { log: PathBuf },

    #[error(
        "another callbook holds {}, but no PostgreSQL of its was ready within {} s: see {}, or stop that callbook",
        lock.display(), PATIENCE.as_secs(), log.display()
    )]
    OwnerNotReady { lock: PathBuf, log: PathBuf },

    #[error(
        "the callbook that ran this PostgreSQL has ended, and its server with it ({} is free): start this one again",
        lock.display()
    )]
    OwnerGone { lock: PathBuf },

    #[error(
        "a PostgreSQL that callbook no longer owns (process {pid}) has not left {} within {} s: \
         see what it does with `ps -fp {pid}`, and stop it with `kill -INT {pid}`",
        cluster.display(), PATIENCE.as_secs()
    )]
    StillInUse { cluster: PathBuf, pid: i32 },

    #[error("PostgreSQL says it is ready, but refuses a connection through {}", socket_dir.display())]
    Connect { socket_dir: PathBuf, source: sqlx::Error },

    #[error("cannot create the database {name}")]
    CreateDatabase { name: String, source: sqlx::Error },

    #[error("{name:?} cannot name a database: a name has 1 to 63 bytes, none of them zero")]
    DatabaseName { name: String },
}

impl PostgresError {
    /// Whether a server was there, or could be started, and another try may succeed: what is wrong is not the machine.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Exited { .. }
                | Self::NotReady { .. }
                | Self::OwnerNotReady { .. }
                | Self::OwnerGone { .. }
                | Self::StillInUse { .. }
                | Self::Connect { .. }
                | Self::CreateDatabase { .. }
        )
    }

    /// For `map_err`: what was tried, and on what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PostgresError {
        move |source| PostgresError::Io { action, path: path.to_owned(), source }
    }
}
