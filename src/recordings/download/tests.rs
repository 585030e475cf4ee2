use std::io::Write;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::twilio::client::{Client, Settings};

const AUDIO: &[u8] = b"RIFF and much more";

/// What each request asked for, and whether ranges are heeded.
#[derive(Clone)]
struct Twilio {
    asked: Arc<Mutex<Vec<String>>>,
    heeds_ranges: bool,
}

async fn media(State(twilio): State<Twilio>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).map_or("", |range| range.to_str().unwrap());
    twilio.asked.lock().unwrap().push(range.to_owned());
    match range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')) {
        Some(at) if twilio.heeds_ranges => {
            (StatusCode::PARTIAL_CONTENT, AUDIO[at.parse().unwrap()..].to_vec()).into_response()
        }
        _ => AUDIO.to_vec().into_response(),
    }
}

impl Twilio {
    fn new(heeds_ranges: bool) -> Self {
        Self { asked: Arc::default(), heeds_ranges }
    }

    async fn recordings(&self, folder: &TempDir) -> Recordings {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(media).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let account = "AC27d559117edb45aac8a0270ac2f97b10".to_owned();
        let client = Client::new(Settings {
            base_url,
            account_sid: account.clone(),
            username: account,
            password: "secret".into(),
            at_once: 4,
        });
        Recordings::new(client.unwrap(), folder.path().to_owned(), 1 << 20)
    }
}

/// A listener to a download that has come so far, and who reports about it.
async fn listener(
    twilio: &Twilio,
    folder: &TempDir,
    progress: Progress,
) -> (watch::Sender<Progress>, Coming) {
    let recordings = twilio.recordings(folder).await;
    let sid = "RE27d559117edb45aac8a0270ac2f97b12".parse().unwrap();
    let (sender, receiver) = watch::channel(progress);
    (sender, Coming::new(recordings, sid, Download(receiver)))
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

async fn heard(coming: Coming) -> Result<Vec<u8>, RecordingError> {
    Ok(coming.bytes().try_collect::<Vec<_>>().await?.concat())
}

#[tokio::test]
async fn a_disk_that_fills_up_does_not_interrupt_the_listener() {
    for heeds_ranges in [true, false] {
        let (twilio, folder) = (Twilio::new(heeds_ranges), TempDir::new().unwrap());
        let so_far = Progress { file: Some(file_of(&AUDIO[..4])), written: 4, ..Progress::default() };
        let (sender, coming) = listener(&twilio, &folder, so_far).await;
        let hearing = tokio::spawn(heard(coming));
        sender.send_modify(|progress| progress.end = Some(End::NoCopy));
        assert_eq!(hearing.await.unwrap().unwrap(), AUDIO);
        assert_eq!(*twilio.asked.lock().unwrap(), ["bytes=4-"]);
    }
}

#[tokio::test]
async fn what_is_complete_is_heard_to_its_end_whether_it_can_be_kept_or_not() {
    let (twilio, folder) = (Twilio::new(true), TempDir::new().unwrap());
    let all = Progress {
        file: Some(file_of(AUDIO)),
        written: AUDIO.len() as u64,
        complete: true,
        end: Some(End::NoCopy),
        ..Progress::default()
    };
    let (_sender, coming) = listener(&twilio, &folder, all).await;
    assert_eq!(heard(coming).await.unwrap(), AUDIO);
    assert!(twilio.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_download_that_fails_or_is_given_up_does_not_sound_complete() {
    for end in [Some(End::Failed(RecordingError::NotAvailable)), None] {
        let (twilio, folder) = (Twilio::new(true), TempDir::new().unwrap());
        let so_far = Progress { file: Some(file_of(&AUDIO[..4])), written: 4, ..Progress::default() };
        let (sender, coming) = listener(&twilio, &folder, so_far).await;
        let hearing = tokio::spawn(heard(coming));
        sender.send_modify(|progress| progress.end = end);
        drop(sender);
        assert!(hearing.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn those_who_come_at_once_share_one_download_and_the_next_one_begins_anew() {
    let (twilio, folder) = (Twilio::new(true), TempDir::new().unwrap());
    let recordings = twilio.recordings(&folder).await;
    let sid: RecordingSid = "RE27d559117edb45aac8a0270ac2f97b12".parse().unwrap();
    let together = futures::future::join_all((0..20).map(|_| recordings.whole(&sid))).await;
    let path = recordings.folder.path(&sid);
    for playable in together {
        assert!(matches!(playable.unwrap(), crate::recordings::Playable::Kept(kept) if kept == path));
    }
    assert_eq!(std::fs::read(&path).unwrap(), AUDIO);
    assert_eq!(twilio.asked.lock().unwrap().len(), 1);
    std::fs::remove_file(&path).unwrap();
    recordings.whole(&sid).await.unwrap();
    assert_eq!(twilio.asked.lock().unwrap().len(), 2);
}
