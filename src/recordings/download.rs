//! One download, and those who listen to it while it goes on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};

use async_stream::try_stream;
use axum::body::Bytes;
use domain::sid::RecordingSid;
use futures::{Stream, StreamExt};
use projections::chain;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::folder::Part;
use super::{RecordingError, Recordings};
use crate::twilio::client::{ClientError, Media};

/// What is read of the disk at a time.
const CHUNK: u64 = 64 << 10;

/// A download that somebody runs. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Download(watch::Receiver<Progress>);

#[derive(Clone, Debug, Default)]
struct Progress {
    /// Once Twilio has begun to answer.
    file: Option<Arc<File>>,
    /// Bytes in all, where Twilio says.
    length: Option<u64>,
    /// Bytes that are in the file.
    written: u64,
    /// Nothing more will be written, and nothing is missing.
    complete: bool,
    end: Option<End>,
}

#[derive(Clone, Debug)]
pub(super) enum End {
    Kept,
    /// The disk did not take it.
    NoCopy,
    Failed(RecordingError),
}

/// What downloads. It goes on when nobody listens any more: somebody may come back.
pub(super) struct Job {
    recordings: Recordings,
    sid: RecordingSid,
    progress: watch::Sender<Progress>,
}

/// A download, and what does it.
pub(super) fn new(recordings: Recordings, sid: RecordingSid) -> (Download, Job) {
    let (progress, receiver) = watch::channel(Progress::default());
    (Download(receiver), Job { recordings, sid, progress })
}

impl Job {
    pub(super) async fn run(self) {
        let end = self.fetch().await.unwrap_or_else(End::Failed);
        self.progress.send_modify(|progress| progress.end = Some(end));
    }

    async fn fetch(&self) -> Result<End, RecordingError> {
        let folder = Arc::clone(&self.recordings.folder);
        let sid = self.sid.clone();
        let Some(part) = self.on_disk(move || folder.begin(&sid)).await else { return Ok(End::NoCopy) };
        let media = self.recordings.direct(&self.sid, None).await?;
        self.progress.send_modify(|progress| {
            progress.file = Some(Arc::clone(&part.file));
            progress.length = media.content_length;
        });
        if !self.write(media, &part).await? {
            return Ok(End::NoCopy);
        }
        let folder = Arc::clone(&self.recordings.folder);
        let sid = self.sid.clone();
        let kept = self.on_disk(move || folder.keep(part, &sid)).await;
        Ok(if kept.is_some() { End::Kept } else { End::NoCopy })
    }

    /// Whether the disk has taken all of it.
    async fn write(&self, mut media: Media, part: &Part) -> Result<bool, RecordingError> {
        let mut written = 0;
        while let Some(chunk) = media.bytes.next().await {
            let chunk = chunk.map_err(RecordingError::from)?;
            let (file, length) = (Arc::clone(&part.file), chunk.len() as u64);
            let done = self.on_disk(move || file.write_all_at(&chunk, written)).await;
            if done.is_none() {
                return Ok(false);
            }
            written += length;
            self.progress.send_modify(|progress| progress.written = written);
        }
        if written == 0 {
            return Err(RecordingError::NotAvailable);
        }
        self.progress.send_modify(|progress| progress.complete = true);
        Ok(true)
    }

    /// Nothing where the disk does not do it.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        match spawn_blocking(work).await.map_err(io::Error::other).flatten() {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::warn!(
                    recording.sid = %self.sid,
                    error = chain(&error),
                    "the recording {} cannot be kept and is played without a copy; see to the disk",
                    self.sid
                );
                None
            }
        }
    }
}

impl Drop for Job {
    /// However it ended, another may begin.
    fn drop(&mut self) {
        self.recordings.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.sid);
    }
}

impl Download {
    /// Waits until there is something to hear; says how it ended where there is not.
    pub(super) async fn begun(&self) -> Option<End> {
        let mut progress = self.0.clone();
        let ready = progress.wait_for(|progress| progress.end.is_some() || progress.written > 0).await;
        match ready {
            Ok(progress) if progress.written > 0 => None,
            Ok(progress) => progress.end.clone(),
            Err(_) => Some(End::Failed(RecordingError::Abandoned)),
        }
    }

    pub(super) async fn ended(&self) -> End {
        let mut progress = self.0.clone();
        let ended = progress.wait_for(|progress| progress.end.is_some()).await;
        ended.ok().and_then(|progress| progress.end.clone()).unwrap_or(End::Failed(RecordingError::Abandoned))
    }
}

/// A recording that has begun to come.
#[derive(Debug)]
pub struct Coming {
    /// Bytes in all, where Twilio says.
    pub length: Option<u64>,
    recordings: Recordings,
    sid: RecordingSid,
    download: Download,
}

impl Coming {
    pub(super) fn new(recordings: Recordings, sid: RecordingSid, download: Download) -> Self {
        let length = download.0.borrow().length;
        Self { length, recordings, sid, download }
    }

    /// From its beginning to its end, as fast as it comes and is read.
    pub fn bytes(self) -> impl Stream<Item = Result<Bytes, RecordingError>> + Send + 'static {
        let Self { recordings, sid, download: Download(mut progress), .. } = self;
        try_stream! {
            let mut at = 0;
            loop {
                let now = progress.borrow_and_update().clone();
                while let Some(file) = now.file.clone().filter(|_| at < now.written) {
                    let chunk = read(file, at, (now.written - at).min(CHUNK)).await?;
                    at += chunk.len() as u64;
                    yield chunk;
                }
                match now.end {
                    _ if now.complete => return,
                    None if progress.changed().await.is_ok() => {}
                    None => Err(RecordingError::Abandoned)?,
                    Some(End::Failed(error)) => Err(error)?,
                    // The disk is full: the rest comes past it.
                    Some(End::Kept | End::NoCopy) => break,
                }
            }
            let mut rest = rest_of(recordings, sid, at).await?;
            while let Some(chunk) = rest.next().await {
                yield chunk?;
            }
        }
    }
}

async fn read(file: Arc<File>, at: u64, length: u64) -> Result<Bytes, RecordingError> {
    let read = move || {
        let mut chunk = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut chunk, at)?;
        Ok::<_, io::Error>(Bytes::from(chunk))
    };
    let read = spawn_blocking(read).await.map_err(io::Error::other).flatten();
    read.map_err(|error| RecordingError::Disk(Arc::new(error)))
}

/// What comes from the given byte on, also where the range that is asked for is not heeded.
async fn rest_of(
    recordings: Recordings,
    sid: RecordingSid,
    at: u64,
) -> Result<impl Stream<Item = Result<Bytes, ClientError>>, RecordingError> {
    let media = recordings.direct(&sid, Some(&format!("bytes={at}-"))).await?;
    let mut heard = if media.status == 206 { 0 } else { at };
    Ok(media.bytes.map(move |chunk| {
        let mut chunk = chunk?;
        let skipped = heard.min(chunk.len() as u64);
        heard -= skipped;
        Ok(chunk.split_off(usize::try_from(skipped).unwrap_or(chunk.len())))
    }))
}

#[cfg(test)]
mod tests;
