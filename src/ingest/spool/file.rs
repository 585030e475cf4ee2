//! One spool file: deliveries one after another, each framed so that a torn end shows.
//!
//! ```text
//! length of the record, 4 bytes │ epoch, 8 │ checksum of both and of the record, 8 │ the record, JSON
//! ```
//!
//! The file is zeros where nothing was written yet, so that an append needs neither room nor a change of the
//! file's length. It ends, for us, at the first frame that does not check. What was worked off is not erased:
//! the next record starts at the beginning again under a new epoch, and frames of another epoch than the first
//! one's are old.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Length, epoch and checksum.
const HEADER: usize = 20;
/// A longer record was not written by us; a webhook's body has 256 KiB at most.
const LONGEST: usize = 8 << 20;
/// Zeros written at a time.
const ZEROS: usize = 1 << 20;

/// A spool file that this process has locked.
#[derive(Debug)]
pub(super) struct SpoolFile {
    file: File,
    path: PathBuf,
    /// What the file is made longer by, in bytes.
    step: u64,
    length: u64,
    epoch: u64,
    /// Where the oldest record that waits begins.
    head: u64,
    /// Where the next record goes.
    tail: u64,
    waiting: u64,
}

impl SpoolFile {
    /// Opens or creates the file and finds what waits in it; `None` if another process has it.
    pub fn open(path: &Path, step: u64) -> io::Result<Option<Self>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = file.metadata()?.len();
        let mut this = Self {
            file,
            path: path.to_owned(),
            step,
            length,
            epoch: rand::random(),
            head: 0,
            tail: 0,
            waiting: 0,
        };
        this.recover()?;
        if let Some(folder) = path.parent() {
            // A file whose name is not durable is lost, with all that is durable in it.
            File::open(folder)?.sync_all()?;
        }
        if this.length < step
            && let Err(error) = this.grow(step)
        {
            tracing::warn!(
                %error,
                path = %path.display(),
                "the spool cannot set aside {step} bytes in {}; webhooks may be refused while the database is away",
                path.display()
            );
        }
        Ok(Some(this))
    }

    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// What the waiting records take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tail - self.head
    }

    /// Writes the records after one another and returns when they are durable. On an error none of them counts.
    pub fn append<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let (mut frames, mut count) = (Vec::new(), 0);
        for record in records {
            let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= LONGEST);
            let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            frames.extend(header(length, self.epoch, record));
            frames.extend(record);
            count += 1;
        }
        let end = self.tail + frames.len() as u64;
        if end > self.length {
            // Without room for a whole step there may still be room for these records.
            let _ = self.grow(end.next_multiple_of(self.step));
        }
        self.file.write_all_at(&frames, self.tail)?;
        self.file.sync_data()?;
        self.length = self.length.max(end);
        self.tail = end;
        self.waiting += count;
        Ok(())
    }

    /// The oldest waiting records, `most` at most. They go on waiting.
    pub fn oldest(&self, most: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut records = Vec::new();
        let mut at = self.head;
        while at < self.tail && records.len() < most {
            let (_, record) = self.frame(at)?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the record at byte {at} has changed"))
            })?;
            at += (HEADER + record.len()) as u64;
            records.push(record);
        }
        Ok(records)
    }

    /// Forgets these records, which are the oldest ones. When none is left, the file starts anew.
    pub fn release(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        self.head += records.iter().map(|record| (HEADER + record.len()) as u64).sum::<u64>();
        self.waiting -= records.len() as u64;
        if self.head < self.tail {
            return Ok(());
        }
        (self.head, self.tail, self.waiting) = (0, 0, 0);
        self.epoch = rand::random();
        // Were this lost in a crash, the records would be inserted again, which is harmless.
        self.file.write_all_at(&[0; HEADER], 0)?;
        self.file.sync_data()
    }

    /// Finds the end of what was written, and the epoch.
    fn recover(&mut self) -> io::Result<()> {
        let Some((epoch, _)) = self.frame(0)? else { return Ok(()) };
        self.epoch = epoch;
        while let Some((epoch, record)) = self.frame(self.tail)? {
            if epoch != self.epoch {
                break;
            }
            self.tail += (HEADER + record.len()) as u64;
            self.waiting += 1;
        }
        tracing::info!(
            path = %self.path.display(),
            webhooks = self.waiting,
            "{} webhooks wait in the spool {}",
            self.waiting,
            self.path.display()
        );
        Ok(())
    }

    /// The epoch and the record of the frame at `at`, unless there is no whole one.
    fn frame(&self, at: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        if at + HEADER as u64 > self.length {
            return Ok(None);
        }
        let mut found = [0; HEADER];
        self.file.read_exact_at(&mut found, at)?;
        let (length, rest) = found.split_at(4);
        let length = length.try_into().map_or(0, u32::from_be_bytes);
        let epoch = rest[..8].try_into().map_or(0, u64::from_be_bytes);
        let fits = at + HEADER as u64 + u64::from(length) <= self.length;
        if length == 0 || length as usize > LONGEST || !fits {
            return Ok(None);
        }
        let mut record = vec![0; length as usize];
        self.file.read_exact_at(&mut record, at + HEADER as u64)?;
        Ok((header(length, epoch, &record) == found).then_some((epoch, record)))
    }

    /// Makes the file at least this long, in zeros that are really written: a sparse file sets nothing aside.
    fn grow(&mut self, to: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS];
        while self.length < to {
            let part = (to - self.length).min(ZEROS as u64);
            self.file.write_all_at(&zeros[..part as usize], self.length)?;
            self.length += part;
        }
        self.file.sync_all()
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // Closing is not enough: a child that is being started has the file too, until it executes its program.
        let _ = self.file.unlock();
    }
}

fn header(length: u32, epoch: u64, record: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&length.to_be_bytes());
    header[4..12].copy_from_slice(&epoch.to_be_bytes());
    let sum = Sha256::new().chain_update(&header[..12]).chain_update(record).finalize();
    header[12..].copy_from_slice(&sum[..8]);
    header
}

/// Makes the folder, 0700, and those above it with the usual rights: PostgreSQL's user must pass through them.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = 64 << 10;

    fn open(folder: &Path) -> SpoolFile {
        SpoolFile::open(&folder.join("a.spool"), STEP).unwrap().unwrap()
    }

    fn append(file: &mut SpoolFile, records: &[&str]) {
        file.append(records.iter().map(|record| record.as_bytes())).unwrap();
    }

    fn texts(file: &SpoolFile) -> Vec<String> {
        let records = file.oldest(usize::MAX).unwrap();
        records.into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn what_was_written_is_found_again_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path());
        append(&mut file, &["one", "two"]);
        append(&mut file, &["three"]);
        drop(file);
        let mut file = open(folder.path());
        assert_eq!((texts(&file), file.waiting()), (vec!["one".into(), "two".into(), "three".into()], 3));
        let first = file.oldest(2).unwrap();
        file.release(&first).unwrap();
        append(&mut file, &["four"]);
        assert_eq!((texts(&file), file.waiting()), (vec!["three".to_owned(), "four".into()], 2));
    }

    #[test]
    fn a_torn_end_is_ignored_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.spool");
        let mut file = open(folder.path());
        append(&mut file, &["whole", "torn by a crash"]);
        drop(file);
        let written = std::fs::read(&path).unwrap();
        let (first, last) = (HEADER + "whole".len(), "torn by a crash".len() + HEADER);
        for kept in 0..last {
            // The disk has a part of it, and zeros or the wrong bytes where the rest was to be.
            for rest in [0, 0xa5] {
                let mut torn = written.clone();
                torn[first + kept..first + last].fill(rest);
                std::fs::write(&path, torn).unwrap();
                let mut file = open(folder.path());
                assert_eq!(texts(&file), ["whole"], "{kept} bytes of the last frame");
                append(&mut file, &["next"]);
                drop(file);
                assert_eq!(texts(&open(folder.path())), ["whole", "next"]);
            }
        }
        // Nor is what the file system has cut off.
        std::fs::write(&path, &written[..first + last - 1]).unwrap();
        assert_eq!(texts(&open(folder.path())), ["whole"]);
    }

    #[test]
    fn what_was_released_does_not_come_back_behind_what_came_after() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path());
        // Frames of equal length, so that the old ones fit exactly behind the new one.
        append(&mut file, &["old 1", "old 2", "old 3"]);
        let all = file.oldest(3).unwrap();
        file.release(&all).unwrap();
        assert_eq!((texts(&file), file.bytes()), (Vec::<String>::new(), 0));
        drop(file);
        let mut file = open(folder.path());
        assert_eq!(texts(&file), Vec::<String>::new());
        append(&mut file, &["new 1"]);
        drop(file);
        assert_eq!(texts(&open(folder.path())), ["new 1"]);
    }

    #[test]
    fn it_is_as_long_as_was_set_aside_and_grows_by_as_much() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.spool");
        let mut file = open(folder.path());
        let length = || std::fs::metadata(&path).unwrap().len();
        assert_eq!(length(), STEP);
        let record = "x".repeat(50_000);
        append(&mut file, &[&record, &record]);
        assert_eq!(length(), 2 * STEP);
        drop(file);
        assert_eq!(open(folder.path()).waiting(), 2);
    }

    #[test]
    fn only_one_process_has_a_file_and_only_its_user_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("spool");
        create_folder(&spool).unwrap();
        let first = open(&spool);
        assert!(SpoolFile::open(&spool.join("a.spool"), STEP).unwrap().is_none());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&spool), mode(&spool.join("a.spool"))), (0o700, 0o600));
        drop(first);
        assert!(SpoolFile::open(&spool.join("a.spool"), STEP).unwrap().is_some());
    }
}
