//! The media of recordings, streamed.

use axum::body::Bytes;
use futures::stream::{BoxStream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED};

use super::error::ClientError;
use super::transport::{Ask, Transport, Tries};

/// Somebody waits for it.
const MOST_TRIES: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaFormat {
    Wav,
    Mp3,
}

impl MediaFormat {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
        }
    }
}

/// Media that is being read, at the reader's pace. It has been answered, and is no request under way any more.
pub struct Media {
    /// 200; 206 or 416 where a range was asked for.
    pub status: u16,
    pub content_type: Option<String>,
    /// Bytes.
    pub content_length: Option<u64>,
    pub content_range: Option<String>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    pub bytes: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Media").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Transport {
    /// Asks until the media begins to come; what is cut off afterwards is the reader's to ask for again.
    pub(super) async fn media(&self, ask: &Ask, range: Option<&str>) -> Result<Media, ClientError> {
        let url = self.url(ask)?;
        let mut tries = Tries::of(self.pace.tries.min(MOST_TRIES));
        let response = loop {
            match self.begin_media(ask, &url, range).await {
                Ok(response) => break response,
                Err(failure) => self.wait_after(failure, &mut tries).await?,
            }
        };
        let text = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let path = ask.path().to_owned();
        Ok(Media {
            status: response.status().as_u16(),
            content_type: text(CONTENT_TYPE),
            content_length: text(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            content_range: text(CONTENT_RANGE),
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
            bytes: response.bytes_stream().map(move |bytes| bytes.map_err(|error| cut(&path, error))).boxed(),
        })
    }
}

fn cut(path: &str, error: reqwest::Error) -> ClientError {
    let path = path.to_owned();
    if error.is_timeout() {
        ClientError::TimedOut { path }
    } else {
        ClientError::Unreachable { path, source: error.without_url() }
    }
}
