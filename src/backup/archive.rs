//! The file itself: a tar, compressed, read and written by a thread of its own because files block.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::BackupError;

/// A piece of what is large, in bytes: as much is in memory, a few times.
pub(super) const PIECE: usize = 4 << 20;
/// Pieces that may wait for the other side.
const AHEAD: usize = 2;

/// A member of the archive: its name, and all of it.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Writes an archive that has its name only when it is whole.
#[derive(Debug)]
pub(super) struct Writer {
    members: mpsc::Sender<Member>,
    written: JoinHandle<io::Result<()>>,
    unfinished: PathBuf,
    path: PathBuf,
}

impl Writer {
    /// 0600: it holds what customers said, and everybody's numbers.
    pub fn create(path: &Path) -> Result<Self, BackupError> {
        if path.exists() {
            return Err(BackupError::FileExists { path: path.to_owned() });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:08x}.unfinished", rand::random::<u32>()));
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.map_err(|source| failed("written", path, source))?;
        let (members, mut coming) = mpsc::channel::<Member>(AHEAD);
        let written = tokio::task::spawn_blocking(move || {
            let mut tar = tar::Builder::new(GzEncoder::new(BufWriter::new(file), Compression::fast()));
            while let Some(member) = coming.blocking_recv() {
                let mut header = tar::Header::new_gnu();
                header.set_size(member.bytes.len() as u64);
                header.set_mode(0o600);
                tar.append_data(&mut header, &member.name, &*member.bytes)?;
            }
            let file = tar.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()
        });
        Ok(Self { members, written, unfinished, path: path.to_owned() })
    }

    pub async fn add(&self, name: impl Into<String>, bytes: Vec<u8>) -> Result<(), BackupError> {
        let member = Member { name: name.into(), bytes };
        // Why the thread has ended is told by `finish`.
        self.members.send(member).await.map_err(|_| BackupError::Thread)
    }

    /// Returns when the file is on the disk, whole, and has its name.
    pub async fn finish(mut self) -> Result<(), BackupError> {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.members, closed));
        let written = (&mut self.written).await.map_err(|_| BackupError::Thread)?;
        let named = written.and_then(|()| {
            // Not over a file that somebody made meanwhile.
            std::fs::hard_link(&self.unfinished, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
        named.map_err(|source| failed("written", &self.path, source))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It has its name by now, or is good for nothing.
        let _ = std::fs::remove_file(&self.unfinished);
    }
}

/// Reads an archive from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    members: mpsc::Receiver<io::Result<Member>>,
    path: PathBuf,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(|source| failed("read", path, source))?;
        let (members, coming) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(file, &members) {
                // Whoever reads may have enough.
                let _ = members.blocking_send(Err(error));
            }
        });
        Ok(Self { members: coming, path: path.to_owned() })
    }

    /// Nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Member>, BackupError> {
        self.members.recv().await.transpose().map_err(|error| self.damaged(error.to_string()))
    }

    pub fn damaged(&self, why: impl Into<String>) -> BackupError {
        BackupError::Damaged { path: self.path.clone(), why: why.into() }
    }
}

fn read(file: File, members: &mpsc::Sender<io::Result<Member>>) -> io::Result<()> {
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if entry.size() > 2 * PIECE as u64 {
            return Err(io::Error::other(format!("{name} is larger than callbook makes it")));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size()).unwrap_or(PIECE));
        entry.read_to_end(&mut bytes)?;
        if members.blocking_send(Ok(Member { name, bytes })).is_err() {
            return Ok(());
        }
    }
    // What follows the last member is checked as well: the checksum of the whole stands at the end.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map(drop)
}

pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> BackupError {
    BackupError::File { what, path: path.to_owned(), source }
}

/// Cuts a stream of bytes into pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    bytes: Vec<u8>,
}

impl Pieces {
    /// A piece, when there is one.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        // A write to memory takes everything.
        let _ = self.bytes.write_all(bytes);
        (self.bytes.len() >= PIECE).then(|| std::mem::take(&mut self.bytes))
    }

    /// What is left.
    pub fn rest(self) -> Vec<u8> {
        self.bytes
    }
}
