//! The files of a cluster, and the folders made for it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use sha2::{Digest, Sha256};

use super::PostgresError;
use super::account::Account;

/// A socket's path has 104 to 108 bytes, depending on the system, and PostgreSQL appends `/.s.PGSQL.5432.lock`.
const SOCKET_DIR_BYTES: usize = 80;

/// A log larger than this is set aside when the next server starts; the one set aside before it goes.
const LOG_BYTES: u64 = 8 << 20;

/// The data folder, absolute and without symbolic links.
#[derive(Clone, Debug)]
pub(super) struct Files {
    data_dir: PathBuf,
}

impl Files {
    /// Creates the data folder if it is missing. Root's is one that the server's user can enter, but not list.
    pub fn create(data_dir: &Path) -> Result<Files, PostgresError> {
        if let Some(parent) = data_dir.parent() {
            fs::create_dir_all(parent).map_err(PostgresError::io("create the folder", parent))?;
        }
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(data_dir) {
            // Once more, because root's umask may have closed it to the server's user.
            Ok(()) => fs::set_permissions(data_dir, Permissions::from_mode(mode))
                .map_err(PostgresError::io("open up the data folder", data_dir))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(PostgresError::io("create the data folder", data_dir)(error)),
        }
        let data_dir =
            data_dir.canonicalize().map_err(PostgresError::io("find the data folder", data_dir))?;
        Ok(Files { data_dir })
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub fn cluster(&self) -> PathBuf {
        self.data_dir.join("postgres")
    }

    pub fn lock(&self) -> PathBuf {
        self.data_dir.join("postgres.lock")
    }

    pub fn log(&self) -> PathBuf {
        self.data_dir.join("postgres.log")
    }

    pub fn binaries(&self) -> PathBuf {
        self.data_dir.join("binaries")
    }

    /// Opens the log for the server to append to, setting a large one aside.
    pub fn open_log(&self) -> Result<File, PostgresError> {
        let log = self.log();
        if fs::metadata(&log).is_ok_and(|metadata| metadata.len() > LOG_BYTES) {
            fs::rename(&log, log.with_extension("log.1")).map_err(PostgresError::io("set aside", &log))?;
        }
        let open = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        open.map_err(PostgresError::io("open the log", &log))
    }

    /// The last lines of the log, or why they cannot be read.
    pub fn log_tail(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(self.log())?;
            let start = file.metadata()?.len().saturating_sub(4096);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            let lines = text.lines().collect::<Vec<_>>();
            Ok(lines[lines.len().saturating_sub(10)..].join("\n"))
        };
        read().unwrap_or_else(|error| error.to_string())
    }

    /// Makes the folder of the socket, 0700: below the data folder, or, where that is too long or holds what
    /// PostgreSQL would take for a separator, in the temp folder.
    pub fn create_socket_dir(&self, account: &Account) -> Result<PathBuf, PostgresError> {
        let folder = self.socket_dir();
        if let Err(error) = DirBuilder::new().mode(0o700).create(&folder) {
            let existing = fs::symlink_metadata(&folder);
            let ours = existing.is_ok_and(|it| it.is_dir() && account.may_use_files_of(it.uid()));
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(PostgresError::io("create the socket folder", &folder)(error));
            }
            // Everybody may create things in the temp folder, also one of this name.
            if !ours {
                return Err(PostgresError::SocketFolder { folder });
            }
        }
        account.give(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))
            .map_err(PostgresError::io("protect the socket folder", &folder))?;
        Ok(folder)
    }

    /// Removes the folder of a socket that is gone, if it is outside the data folder.
    pub fn remove_socket_dir(&self, socket_dir: &Path) {
        if !socket_dir.starts_with(&self.data_dir) {
            let _ = fs::remove_dir(socket_dir);
        }
    }

    fn socket_dir(&self) -> PathBuf {
        let here = self.data_dir.join("run");
        if fits_a_socket(&here) {
            return here;
        }
        let name =
            format!("callbook-{:.16}", format!("{:x}", Sha256::digest(self.data_dir.as_os_str().as_bytes())));
        let in_temp = std::env::temp_dir().join(&name);
        if in_temp.is_absolute() && fits_a_socket(&in_temp) { in_temp } else { Path::new("/tmp").join(name) }
    }
}

fn fits_a_socket(folder: &Path) -> bool {
    let path = folder.as_os_str().as_bytes();
    path.len() <= SOCKET_DIR_BYTES && !path.iter().any(|byte| b"\", ".contains(byte))
}

/// Makes a folder `<name>.<n>` in `parent` to work in, 0700, and removes those that killed predecessors have left.
///
/// A process of a predecessor may still write into its folder, so a name is never used again while it is there.
pub(super) fn working_folder(parent: &Path, name: &str) -> Result<PathBuf, PostgresError> {
    let prefix = format!("{name}.");
    for entry in fs::read_dir(parent).map_err(PostgresError::io("list", parent))?.flatten() {
        if entry.file_name().as_bytes().starts_with(prefix.as_bytes()) {
            let path = entry.path();
            tracing::info!(path = %path.display(), "removing what an interrupted start has left in {}", path.display());
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, path = %path.display(), "cannot remove {}", path.display());
            }
        }
    }
    let mut number = 0;
    loop {
        let folder = parent.join(format!("{prefix}{number}"));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(PostgresError::io("create the folder", &folder)(error)),
        }
    }
}
