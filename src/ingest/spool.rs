//! Where deliveries wait on this machine's disk while the database cannot take them.
//!
//! A thread of its own writes them, because files block: whatever requests came while it last waited for the disk
//! share the next `fdatasync`. A request may be answered when [`Spool::append`] returns; the inbox takes its row
//! from here later, under the same key, so taking one twice is harmless.
//!
//! Each process has a file of its own, `<account>.<n>.spool` with the first `n` that no other process has locked.
//! What a process that is gone has left in another one is taken over.

mod file;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};

use self::file::SpoolFile;
use super::inbox::Delivery;

/// Deliveries that share one `fdatasync` at most.
const BATCH: usize = 512;
/// Requests that may wait for the disk; whoever comes then is refused.
const QUEUE: usize = 4_096;
/// Files that are looked for; as many processes can share a folder.
const FILES: u32 = 64;
/// How often the files of processes that are gone are looked for, and a disk that failed is tried.
const LOOK_AROUND: Duration = Duration::from_secs(5);

/// Where deliveries wait, and whose they are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Created if missing, 0700.
    pub folder: PathBuf,
    pub account_sid: String,
    /// What is set aside at the start, in bytes; the file grows by as much when it is full.
    pub set_aside: u64,
}

/// What waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub waiting: u64,
    pub bytes: u64,
    /// When the oldest that waits was received.
    pub oldest: Option<OffsetDateTime>,
    /// Whether the disk takes what is written.
    pub works: bool,
}

/// What was kept: a delivery, or what only a newer callbook can read.
#[derive(Debug)]
pub enum Kept {
    Delivery(Box<Delivery>),
    Unreadable(String),
}

/// Why a delivery was not kept, or cannot be had back.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the disk failed")]
    Disk(#[from] io::Error),
    #[error("the disk is too slow: {QUEUE} webhooks wait for it")]
    Busy,
    #[error("the disk did not answer in time")]
    Slow,
    #[error("callbook is stopping")]
    Stopping,
}

enum Job {
    Append { record: Vec<u8>, received_at: OffsetDateTime, answer: Answer<()> },
    Oldest { most: usize, answer: Answer<Vec<Vec<u8>>> },
    Release { records: Vec<Vec<u8>>, answer: Answer<()> },
    Close { answer: oneshot::Sender<()> },
}

type Answer<T> = oneshot::Sender<io::Result<T>>;

/// Keeps deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spool {
    jobs: SyncSender<Job>,
    status: watch::Receiver<Status>,
}

/// The oldest deliveries, which go on waiting until they are released.
#[derive(Debug)]
pub struct Oldest {
    records: Vec<Vec<u8>>,
}

impl Oldest {
    pub fn read(&self) -> impl Iterator<Item = Kept> {
        self.records.iter().map(|record| match serde_json::from_slice(record) {
            Ok(delivery) => Kept::Delivery(Box::new(delivery)),
            Err(_) => Kept::Unreadable(String::from_utf8_lossy(record).into_owned()),
        })
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Spool {
    /// Returns when it is known what waits. A disk that fails is no reason not to start: the status says so, and it
    /// is tried again.
    pub async fn open(options: Options) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(QUEUE);
        let (status, seen) = watch::channel(Status::default());
        let (opened, open) = oneshot::channel();
        thread::Builder::new().name("spool".to_owned()).spawn(move || {
            let mut keeper = Keeper { options, file: None, oldest: None, status, said: String::new() };
            keeper.look_around();
            // Whoever opened it may have gone away.
            let _ = opened.send(());
            keeper.work(&waiting);
        })?;
        open.await.map_err(|_| io::Error::other("the thread of the spool ended"))?;
        Ok(Self { jobs, status: seen })
    }

    /// Returns when the delivery is on the disk.
    pub async fn append(&self, delivery: &Delivery) -> Result<(), SpoolError> {
        let record = serde_json::to_vec(delivery).map_err(io::Error::from)?;
        let received_at = delivery.received_at;
        self.ask(|answer| Job::Append { record, received_at, answer }).await
    }

    /// The oldest deliveries, `most` at most.
    pub async fn oldest(&self, most: usize) -> Result<Oldest, SpoolError> {
        let records = self.ask(|answer| Job::Oldest { most, answer }).await?;
        Ok(Oldest { records })
    }

    /// Forgets what [`Spool::oldest`] gave, once it is durable elsewhere.
    pub async fn release(&self, Oldest { records }: Oldest) -> Result<(), SpoolError> {
        self.ask(|answer| Job::Release { records, answer }).await
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Returns when the file is closed, and another process may have it.
    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        let jobs = self.jobs.clone();
        // Where the disk hangs, the queue may be full.
        if tokio::task::spawn_blocking(move || jobs.send(Job::Close { answer })).await.is_ok() {
            let _ = closed.await;
        }
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, SpoolError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(job(answer)).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Busy,
            TrySendError::Disconnected(_) => SpoolError::Stopping,
        })?;
        Ok(answered.await.map_err(|_| SpoolError::Stopping)??)
    }
}

/// The thread's own.
struct Keeper {
    options: Options,
    /// Nothing where the disk failed when it was opened.
    file: Option<SpoolFile>,
    oldest: Option<OffsetDateTime>,
    status: watch::Sender<Status>,
    /// The last complaint, so that it is not repeated.
    said: String,
}

impl Keeper {
    /// Works until everybody who could ask has gone, or it is closed.
    fn work(&mut self, jobs: &Receiver<Job>) {
        let mut look_around = Instant::now() + LOOK_AROUND;
        loop {
            if Instant::now() >= look_around {
                self.look_around();
                look_around = Instant::now() + LOOK_AROUND;
            }
            let first = match jobs.recv_timeout(look_around.saturating_duration_since(Instant::now())) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut appends = Vec::new();
            let mut next = Some(first);
            let mut other = None;
            while let Some(job) = next {
                match job {
                    Job::Append { record, received_at, answer } => {
                        appends.push((record, received_at, answer));
                    }
                    job => {
                        other = Some(job);
                        break;
                    }
                }
                next = if appends.len() < BATCH { jobs.try_recv().ok() } else { None };
            }
            self.append(appends);
            match other {
                Some(Job::Close { answer }) => {
                    self.file = None;
                    let _ = answer.send(());
                    return;
                }
                Some(job) => self.serve(job),
                None => {}
            }
        }
    }

    fn append(&mut self, appends: Vec<(Vec<u8>, OffsetDateTime, Answer<()>)>) {
        if appends.is_empty() {
            return;
        }
        let together = self.write(&appends.iter().map(|(record, ..)| &**record).collect::<Vec<_>>());
        // What does not fit together may fit one by one.
        let alone = together.is_err() && appends.len() > 1;
        for (record, received_at, answer) in appends {
            let result = match &together {
                _ if alone => self.write(&[&*record]),
                Ok(()) => Ok(()),
                Err(error) => Err(copy(error)),
            };
            if result.is_ok() {
                self.oldest = Some(self.oldest.map_or(received_at, |oldest| oldest.min(received_at)));
            }
            self.report(result.as_ref().err());
            // Whoever asked may have gone away; the delivery is kept either way.
            let _ = answer.send(result);
        }
    }

    fn write(&mut self, records: &[&[u8]]) -> io::Result<()> {
        self.open_file()?.append(records.iter().copied())
    }

    fn serve(&mut self, job: Job) {
        match job {
            Job::Oldest { most, answer } => {
                let result = self.file.as_ref().map_or(Ok(Vec::new()), |file| file.oldest(most));
                if let Err(error) = &result {
                    self.report(Some(error));
                }
                let _ = answer.send(result);
            }
            Job::Release { records, answer } => {
                let result = self.file.as_mut().map_or(Ok(()), |file| file.release(&records));
                self.oldest = self.read_oldest();
                self.report(result.as_ref().err());
                let _ = answer.send(result);
            }
            Job::Append { .. } | Job::Close { .. } => {}
        }
    }

    /// Opens our file if it is not open yet, and takes over what others have left.
    fn look_around(&mut self) {
        let result = self.open_file().map(drop).and_then(|()| self.take_over());
        self.report(result.as_ref().err());
    }

    fn open_file(&mut self) -> io::Result<&mut SpoolFile> {
        if self.file.is_none() {
            file::create_folder(&self.options.folder)?;
            for number in 1..=FILES {
                self.file = SpoolFile::open(&self.path(number), self.options.set_aside)?;
                if self.file.is_some() {
                    break;
                }
            }
            self.oldest = self.read_oldest();
        }
        self.file.as_mut().ok_or_else(|| {
            io::Error::other(format!("{FILES} processes use {}", self.options.folder.display()))
        })
    }

    /// Moves what waits in files that no process has locked into ours.
    fn take_over(&mut self) -> io::Result<()> {
        for number in 1..=FILES {
            let path = self.path(number);
            // Ours is locked too; only one that a process has left can be had.
            if !path.exists() {
                continue;
            }
            let Some(mut left) = SpoolFile::open(&path, 0)? else { continue };
            while left.waiting() > 0 {
                let records = left.oldest(BATCH)?;
                self.open_file()?.append(records.iter().map(|record| &**record))?;
                left.release(&records)?;
            }
            self.oldest = self.read_oldest();
        }
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        self.options.folder.join(format!("{}.{number}.spool", self.options.account_sid))
    }

    fn read_oldest(&self) -> Option<OffsetDateTime> {
        let oldest = self.file.as_ref()?.oldest(1).ok()?.pop()?;
        serde_json::from_slice::<Delivery>(&oldest).ok().map(|delivery| delivery.received_at)
    }

    fn report(&mut self, error: Option<&io::Error>) {
        match error {
            None => self.said.clear(),
            Some(error) => {
                let error = error.to_string();
                if error != self.said {
                    let folder = self.options.folder.display();
                    tracing::error!(error, %folder, "the spool in {folder} cannot be written");
                    self.said = error;
                }
            }
        }
        self.status.send_replace(Status {
            waiting: self.file.as_ref().map_or(0, SpoolFile::waiting),
            bytes: self.file.as_ref().map_or(0, SpoolFile::bytes),
            oldest: self.oldest,
            works: error.is_none(),
        });
    }
}

/// Each who waits gets it.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::ingest::Endpoint;
    use crate::twilio::form::Form;

    /// What an earlier callbook has left must be read by every later one.
    const RECORD: &str = r#"{"endpoint":"dial-action","form":[["CallSid","CA1"],["To",""],["To","a\u0000b"]],"idempotency_token":"t","request_id":"r","received_at":"2026-11-21T10:11:12.123456Z"}"#;

    fn delivery() -> Delivery {
        let pairs = [("CallSid", "CA1"), ("To", ""), ("To", "a\0b")];
        Delivery {
            endpoint: Endpoint::DialAction,
            form: Form(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            idempotency_token: Some("t".to_owned()),
            request_id: "r".to_owned(),
            received_at: datetime!(2026-11-21 10:11:12.123456 UTC),
        }
    }

    #[test]
    fn a_delivery_is_kept_in_a_form_that_later_versions_can_read() {
        assert_eq!(serde_json::to_string(&delivery()).unwrap(), RECORD);
        let oldest = Oldest { records: vec![RECORD.into()] };
        let Some(Kept::Delivery(read)) = oldest.read().next() else { panic!("unreadable") };
        assert_eq!(*read, delivery());
    }

    #[test]
    fn what_a_later_version_has_kept_is_not_lost_but_shown() {
        let other = RECORD.replace("dial-action", "fax-inbound");
        let oldest = Oldest { records: vec![other.clone().into(), RECORD.into()] };
        let read: Vec<Kept> = oldest.read().collect();
        assert!(matches!(&read[..], [Kept::Unreadable(text), Kept::Delivery(_)] if *text == other));
    }

    fn options(folder: &std::path::Path) -> Options {
        Options { folder: folder.join("spool"), account_sid: "AC1".to_owned(), set_aside: 1 << 16 }
    }

    #[tokio::test]
    async fn many_at_once_are_all_there_after_a_restart_and_leave_when_they_are_released() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(options(folder.path())).await.unwrap();
        let numbered = |n: i64| Delivery {
            received_at: delivery().received_at + Duration::from_secs(n.unsigned_abs()),
            ..delivery()
        };
        let appended = (0..1_000).map(|n| {
            let (spool, delivery) = (spool.clone(), numbered(n));
            async move { spool.append(&delivery).await }
        });
        for result in futures::future::join_all(appended).await {
            result.unwrap();
        }
        spool.close().await;
        assert!(matches!(spool.append(&delivery()).await, Err(SpoolError::Stopping)));

        let spool = Spool::open(options(folder.path())).await.unwrap();
        let status = spool.status().borrow().clone();
        assert_eq!(
            (status.waiting, status.oldest, status.works),
            (1_000, Some(delivery().received_at), true)
        );
        let mut seen = Vec::new();
        loop {
            let oldest = spool.oldest(300).await.unwrap();
            if oldest.is_empty() {
                break;
            }
            seen.extend(oldest.read().map(|kept| match kept {
                Kept::Delivery(delivery) => delivery.received_at,
                Kept::Unreadable(text) => panic!("{text}"),
            }));
            spool.release(oldest).await.unwrap();
        }
        seen.sort();
        assert_eq!(seen, (0..1_000).map(|n| numbered(n).received_at).collect::<Vec<_>>());
        assert_eq!(*spool.status().borrow(), Status { works: true, ..Status::default() });
    }
}
