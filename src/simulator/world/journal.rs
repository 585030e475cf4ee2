//! What the simulated Twilio knows, kept on the disk: a file a day, one line a change.
//!
//! A callbook and a `callbook simulate` beside it append to the same files, each line with one write, and each
//! follows what the other wrote. A day that is old enough is a file that can be deleted, so nothing is ever
//! rewritten under anybody's feet.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

use super::ledger::Entry;

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
const ENDING: &str = ".jsonl";

#[derive(Debug, thiserror::Error)]
#[error("what the simulated Twilio knows cannot be kept in {}", path.display())]
pub struct JournalError {
    pub path: PathBuf,
    pub source: io::Error,
}

#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    /// How far each file has been read.
    read: Mutex<BTreeMap<PathBuf, u64>>,
}

impl Journal {
    /// The journal in `folder`, which is made if need be.
    pub fn open(folder: PathBuf) -> Result<Journal, JournalError> {
        fs::create_dir_all(&folder).map_err(|source| JournalError { path: folder.clone(), source })?;
        Ok(Journal { folder, read: Mutex::default() })
    }

    /// Deletes the days before `day`.
    pub fn drop_before(&self, day: Date) -> Result<(), JournalError> {
        for path in self.files()? {
            if day_of(&path).is_some_and(|of_file| of_file < day) {
                match fs::remove_file(&path) {
                    // Another callbook on this folder was first.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    result => result.map_err(|source| JournalError { path, source })?,
                }
            }
        }
        Ok(())
    }

    pub fn append(&self, entry: &Entry, now: OffsetDateTime) -> Result<(), JournalError> {
        // Formatting a date fails only for components that it does not have.
        let day = now.date().format(DAY).unwrap_or_default();
        let path = self.folder.join(format!("{day}{ENDING}"));
        append_line(&path, entry).map_err(|source| JournalError { path, source })
    }

    /// Gives `take` what was written since the last time, by anybody; nobody else reads before that has returned. A line
    /// that cannot be read is passed over; one that is not complete is left for the next time.
    pub fn follow(&self, take: impl FnOnce(Vec<Entry>)) -> Result<(), JournalError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        for path in self.files()? {
            let from = read.entry(path.clone()).or_default();
            read_lines(&path, from, &mut entries).map_err(|source| JournalError { path, source })?;
        }
        if !entries.is_empty() {
            take(entries);
        }
        Ok(())
    }

    /// The oldest day first.
    fn files(&self) -> Result<Vec<PathBuf>, JournalError> {
        let listed = fs::read_dir(&self.folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
        let mut files = listed.map_err(|source| JournalError { path: self.folder.clone(), source })?;
        files.retain(|path| day_of(path).is_some());
        files.sort();
        Ok(files)
    }
}

fn day_of(path: &Path) -> Option<Date> {
    let name = path.file_name()?.to_str()?;
    Date::parse(name.strip_suffix(ENDING)?, DAY).ok()
}

/// One write, so that the lines of two processes do not mix.
fn append_line(path: &Path, entry: &Entry) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
    let mut line = Vec::new();
    if is_torn(&mut file)? {
        // What a crash left of the last line stays a line of its own.
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, entry)?;
    line.push(b'\n');
    file.write_all(&line)
}

fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn read_lines(path: &Path, from: &mut u64, entries: &mut Vec<Entry>) -> io::Result<()> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if file.metadata()?.len() <= *from {
        return Ok(());
    }
    file.seek(SeekFrom::Start(*from))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        *from += length as u64;
        match serde_json::from_slice(&line) {
            Ok(entry) => entries.push(entry),
            Err(error) if line.trim_ascii().is_empty() => drop(error),
            Err(error) => tracing::warn!(
                error = error.to_string(),
                "a line of {} cannot be read: the simulated Twilio does not know what it tells",
                path.display()
            ),
        }
    }
}
