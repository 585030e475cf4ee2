//! Recordings to listen to: fetched from Twilio once, kept on the local disk, and played from there, so that nobody
//! who listens sees Twilio's address or credentials.
//!
//! Whoever listens first hears what has come while the rest still comes; whoever asks meanwhile joins in. The
//! download does not depend on any of them. Where the disk takes no copy, each is led to Twilio directly.

mod download;
mod folder;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use domain::sid::RecordingSid;

use crate::twilio::client::{Client, ClientError, Media, MediaFormat};

pub use download::Coming;

use download::{Download, End};
use folder::Folder;

/// What is asked of Twilio, and what the copies hold.
pub const FORMAT: MediaFormat = MediaFormat::Wav;
pub const CONTENT_TYPE: &str = "audio/wav";

/// Why there is nothing to hear.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordingError {
    /// It was never made, is not ready, or was deleted.
    #[error("Twilio does not have the audio of this recording, or not yet")]
    NotAvailable,
    #[error("Twilio does not hand out the audio of this recording")]
    Twilio(#[source] Arc<ClientError>),
    #[error("what Twilio has for this recording is {content_type}, and not audio")]
    NotAudio { content_type: String },
    #[error("a part of this recording came although all of it was asked for")]
    PartOnly,
    #[error("the copy of this recording cannot be read")]
    Disk(#[source] Arc<io::Error>),
    /// A bug, or callbook is stopping.
    #[error("the download has ended without saying how")]
    Abandoned,
}

/// The recordings that can be had. Cheap to clone; clones share what is under way.
#[derive(Clone, Debug)]
pub struct Recordings {
    client: Client,
    folder: Arc<Folder>,
    under_way: UnderWay,
}

/// One download of each recording at most.
type UnderWay = Arc<Mutex<HashMap<RecordingSid, Download>>>;

/// Where to listen.
#[derive(Debug)]
pub enum Playable {
    /// A whole copy. It may be gone by the time it is opened, and can be asked for again.
    Kept(PathBuf),
    /// It is on its way, and its beginning is here.
    Coming(Coming),
    /// The disk takes no copy: [`Recordings::direct`].
    NoCopy,
}

impl Recordings {
    /// Copies are kept in the folder, `RE….wav` each, and take `most_bytes` together, unless one alone is larger.
    /// What an earlier callbook did not finish there is removed once it is a day old.
    pub fn new(client: Client, folder: PathBuf, most_bytes: u64) -> Self {
        Self { client, folder: Arc::new(Folder::open(folder, most_bytes)), under_way: Arc::default() }
    }

    /// As soon as there is something to hear.
    pub async fn begin(&self, sid: &RecordingSid) -> Result<Playable, RecordingError> {
        match self.find(sid) {
            Found::Kept(path) => Ok(Playable::Kept(self.used(path).await)),
            Found::UnderWay(download) => match download.begun().await {
                None => Ok(Playable::Coming(Coming::new(self.clone(), sid.clone(), download))),
                Some(end) => self.ended(sid, end),
            },
        }
    }

    /// As soon as all of it is here, for whoever wants a part of it.
    pub async fn whole(&self, sid: &RecordingSid) -> Result<Playable, RecordingError> {
        match self.find(sid) {
            Found::Kept(path) => Ok(Playable::Kept(self.used(path).await)),
            Found::UnderWay(download) => self.ended(sid, download.ended().await),
        }
    }

    /// From Twilio without a copy, all of it or the bytes that a `Range` header names.
    pub async fn direct(&self, sid: &RecordingSid, range: Option<&str>) -> Result<Media, RecordingError> {
        let media = self.client.media(sid, FORMAT, range).await.map_err(RecordingError::from)?;
        match &media.content_type {
            _ if media.status == 206 && range.is_none() => Err(RecordingError::PartOnly),
            Some(kind) if media.status < 300 && !is_audio(kind) => {
                Err(RecordingError::NotAudio { content_type: kind.chars().take(80).collect() })
            }
            _ => Ok(media),
        }
    }

    fn ended(&self, sid: &RecordingSid, end: End) -> Result<Playable, RecordingError> {
        match end {
            End::Kept => Ok(Playable::Kept(self.folder.path(sid))),
            End::NoCopy => Ok(Playable::NoCopy),
            End::Failed(error) => Err(error),
        }
    }

    /// A copy, or the download of one, which begins now if there is none.
    fn find(&self, sid: &RecordingSid) -> Found {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(download) = under_way.get(sid) {
            return Found::UnderWay(download.clone());
        }
        // Asked while nobody can begin or end one, so that no copy is missed.
        if let Some(path) = self.folder.kept(sid) {
            return Found::Kept(path);
        }
        let (download, job) = download::new(self.clone(), sid.clone());
        under_way.insert(sid.clone(), download.clone());
        tokio::spawn(job.run());
        Found::UnderWay(download)
    }

    /// The copies that were not used for longest go first.
    async fn used(&self, path: PathBuf) -> PathBuf {
        let touched = path.clone();
        // A copy that cannot be marked is only removed earlier.
        let _ = tokio::task::spawn_blocking(move || folder::touch(&touched)).await;
        path
    }
}

enum Found {
    Kept(PathBuf),
    UnderWay(Download),
}

impl From<ClientError> for RecordingError {
    fn from(error: ClientError) -> Self {
        if error.is_no_media() { Self::NotAvailable } else { Self::Twilio(Arc::new(error)) }
    }
}

/// A proxy's page, say, must not be kept as a recording.
fn is_audio(content_type: &str) -> bool {
    let kind = content_type.to_ascii_lowercase();
    kind.starts_with("audio/") || kind.starts_with("application/octet-stream") || kind.starts_with("binary/")
}
