//! The copies on the disk: each complete or not there, and no more than agreed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use domain::sid::RecordingSid;
use projections::chain;

/// What is being written, beside the copies.
const PART: &str = "part";
const COPY: &str = "wav";
/// Nobody writes any more to what was not written to for so long: a day.
const FORSAKEN: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    most_bytes: u64,
}

/// A copy that is not complete. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Part {
    pub file: Arc<File>,
    path: PathBuf,
}

impl Folder {
    /// Says in the log what does not work; recordings are then played without copies.
    pub(super) fn open(path: PathBuf, most_bytes: u64) -> Self {
        let folder = Self { path, most_bytes };
        if let Err(error) = folder.prepare().and_then(|()| folder.clear()) {
            tracing::warn!(
                error = chain(&error),
                path = %folder.path.display(),
                "recordings cannot be kept here, and are fetched anew each time"
            );
        }
        folder
    }

    /// Where a complete copy is or will be.
    pub(super) fn path(&self, sid: &RecordingSid) -> PathBuf {
        self.path.join(format!("{sid}.{COPY}"))
    }

    pub(super) fn kept(&self, sid: &RecordingSid) -> Option<PathBuf> {
        Some(self.path(sid)).filter(|path| path.is_file())
    }

    /// Begins a copy. Other callbooks on this folder begin their own.
    pub(super) fn begin(&self, sid: &RecordingSid) -> io::Result<Part> {
        self.prepare()?;
        let path = self.path.join(format!("{sid}.{:016x}.{PART}", rand::random::<u64>()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Part { file: Arc::new(file), path })
    }

    /// Makes it a copy that is complete whatever happens, and removes others if they have become too many.
    pub(super) fn keep(&self, part: Part, sid: &RecordingSid) -> io::Result<()> {
        part.file.sync_data()?;
        let path = self.path(sid);
        fs::rename(&part.path, &path)?;
        // What takes too much is no reason not to play this one.
        if let Err(error) = self.make_room(&path) {
            tracing::warn!(error = chain(&error), "recordings that were not used for long cannot be removed");
        }
        Ok(())
    }

    /// Nobody but us may listen there.
    fn prepare(&self) -> io::Result<()> {
        if self.path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        fs::set_permissions(&self.path, Permissions::from_mode(0o700))
    }

    /// Removes what an earlier callbook did not finish. Another may be writing now: a command beside a server.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == PART) && is_forsaken(&path)? {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the copies that were not used for longest, but never the newest.
    fn make_room(&self, newest: &Path) -> io::Result<()> {
        let mut copies: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != COPY) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) => copies.push((metadata.modified()?, metadata.len(), path)),
                // Somebody else has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        copies.sort();
        let mut taken: u64 = copies.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in copies {
            if taken <= self.most_bytes {
                break;
            }
            if path != newest {
                remove(&path)?;
                taken = taken.saturating_sub(bytes);
            }
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is not there any more where it has become a copy.
        let _ = fs::remove_file(&self.path);
    }
}

/// Notes that a copy was used.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    File::open(path)?.set_modified(SystemTime::now())
}

fn is_forsaken(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        // A time to come is no age.
        Ok(metadata) => Ok(metadata.modified()?.elapsed().is_ok_and(|age| age >= FORSAKEN)),
        // It is finished by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::TempDir;

    use super::*;

    fn sid(n: u8) -> RecordingSid {
        format!("RE{n:032}").parse().unwrap()
    }

    fn keep(folder: &Folder, n: u8, bytes: usize) {
        let part = folder.begin(&sid(n)).unwrap();
        part.file.as_ref().write_all(&vec![n; bytes]).unwrap();
        assert!(folder.kept(&sid(n)).is_none(), "not before it is complete");
        folder.keep(part, &sid(n)).unwrap();
    }

    /// Each later than the last, whatever the clock's steps are.
    fn used(folder: &Folder, n: u8, second: u64) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        File::open(folder.path(&sid(n))).unwrap().set_modified(at).unwrap();
    }

    fn names(folder: &Folder) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&folder.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn copies_and_their_folder_are_for_our_eyes_only() {
        let temp = TempDir::new().unwrap();
        let folder = Folder::open(temp.path().join("a/recordings"), 100);
        keep(&folder, 1, 10);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path), 0o700);
        assert_eq!(mode(&folder.path(&sid(1))), 0o600);
    }

    #[test]
    fn what_was_not_finished_is_removed_once_nobody_can_be_writing_it() {
        let temp = TempDir::new().unwrap();
        let folder = Folder::open(temp.path().to_owned(), 100);
        drop(folder.begin(&sid(1)).unwrap());
        assert_eq!(names(&folder), Vec::<String>::new());
        keep(&folder, 2, 10);
        let part = folder.begin(&sid(3)).unwrap();
        assert_eq!(names(&folder).len(), 2);
        let beside = Folder::open(temp.path().to_owned(), 100);
        assert_eq!(names(&beside).len(), 2, "it is being written");
        part.file.set_modified(SystemTime::now() - FORSAKEN).unwrap();
        let later = Folder::open(temp.path().to_owned(), 100);
        assert_eq!(names(&later), [format!("{}.wav", sid(2))]);
    }

    #[test]
    fn the_copies_that_were_not_used_for_longest_make_room() {
        let temp = TempDir::new().unwrap();
        let folder = Folder::open(temp.path().to_owned(), 100);
        for n in 1..=3 {
            keep(&folder, n, 30);
            used(&folder, n, n.into());
        }
        // The first was listened to again.
        used(&folder, 1, 9);
        keep(&folder, 4, 30);
        let left = |n: u8| folder.kept(&sid(n)).is_some();
        assert_eq!([1, 2, 3, 4].map(left), [true, false, true, true]);
        keep(&folder, 5, 1000);
        assert_eq!([1, 3, 4, 5].map(left), [false, false, false, true], "the newest stays");
    }

    #[test]
    fn a_folder_that_cannot_be_had_is_no_reason_not_to_start() {
        let temp = TempDir::new().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let folder = Folder::open(file.join("recordings"), 100);
        assert!(folder.kept(&sid(1)).is_none());
        assert!(folder.begin(&sid(1)).is_err());
    }
}
