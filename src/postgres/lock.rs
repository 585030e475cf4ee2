//! Who owns the cluster, decided by the kernel.
//!
//! A lock that is held means an owner that lives: the kernel releases it with the process, however that ends. A pid
//! file could not tell an owner from an unrelated process that later got its number.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::PostgresError;

/// The right to start a server on a data folder; released when dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: Flock<File>,
}

impl Lock {
    /// Takes the lock, or `None` if it is held, also by this process.
    pub fn try_take(path: &Path) -> Result<Option<Lock>, PostgresError> {
        let Some(file) = lock(path, FlockArg::LockExclusiveNonblock)? else { return Ok(None) };
        // The last owner may have been killed and so have left its announcement.
        file.set_len(0).map_err(PostgresError::io("write the lock file", path))?;
        Ok(Some(Lock { file }))
    }

    /// Tells those who wait for the lock where the server of its owner listens.
    pub fn announce(&self, socket_dir: &Path) -> std::io::Result<()> {
        (&*self.file).write_all(socket_dir.as_os_str().as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever reads it after all finds nobody there, or the next owner.
        let _ = self.file.set_len(0);
    }
}

/// Where the server of the lock's holder listens, if it is ready.
pub(super) fn announced(path: &Path) -> Option<PathBuf> {
    let socket_dir = fs::read(path).ok().filter(|bytes| !bytes.is_empty())?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(socket_dir)))
}

/// Whether an owner lives.
pub(super) fn is_held(path: &Path) -> Result<bool, PostgresError> {
    Ok(lock(path, FlockArg::LockSharedNonblock)?.is_none())
}

fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>, PostgresError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(PostgresError::io("open the lock file", path))?;
    match Flock::lock(file, how) {
        Ok(file) => Ok(Some(file)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(PostgresError::io("lock", path)(errno.into())),
    }
}
