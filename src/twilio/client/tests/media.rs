//! Media comes as a stream.

use futures::TryStreamExt;

use super::fake::{Fake, Reply};
use super::*;

const RECORDING: &str = "RE27d559117edb45aac8a0270ac2f97b12";

async fn read(media: Media) -> Vec<u8> {
    let chunks: Vec<_> = media.bytes.try_collect().await.unwrap();
    chunks.concat()
}

fn recording() -> RecordingSid {
    RECORDING.parse().unwrap()
}

#[tokio::test]
async fn a_range_is_asked_for_and_its_headers_are_handed_on() {
    let headers = "content-type: audio/x-wav\r\ncontent-range: bytes 2-4/10\r\netag: \"1\"\r\n";
    let fake =
        Fake::replies([Reply::Text(500, "", String::new()), Reply::Text(206, headers, "cde".to_owned())])
            .await;
    let media = client(&fake).media(&recording(), MediaFormat::Wav, Some("bytes=2-4")).await.unwrap();
    assert_eq!((media.status, media.content_length), (206, Some(3)));
    assert_eq!(media.content_type.as_deref(), Some("audio/x-wav"));
    assert_eq!(media.content_range.as_deref(), Some("bytes 2-4/10"));
    assert_eq!(media.etag.as_deref(), Some("\"1\""));
    assert_eq!(read(media).await, b"cde");
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Recordings/{RECORDING}.wav");
    assert_eq!(fake.requests(), [format!("GET {path}"), format!("GET {path}")]);
    assert_eq!(fake.seen()[1].header("range"), Some("bytes=2-4"));
}

#[tokio::test]
async fn media_elsewhere_is_followed_without_our_credentials() {
    let store = Fake::replies([Reply::Text(200, "", "RIFF".to_owned())]).await;
    let location: &'static str = format!("location: {}/bucket/RE\r\n", store.url).leak();
    let fake = Fake::replies([Reply::Text(307, location, String::new())]).await;
    let media = client(&fake).media(&recording(), MediaFormat::Mp3, None).await.unwrap();
    assert_eq!(read(media).await, b"RIFF");
    assert!(fake.seen()[0].header("authorization").is_some());
    assert_eq!(store.requests(), ["GET /bucket/RE"]);
    assert_eq!(store.seen()[0].header("authorization"), None);
    assert_eq!(store.seen()[0].header("referer"), None);
}

#[tokio::test]
async fn media_that_is_not_there_is_known_as_such_in_whatever_form() {
    for reply in [refusal(404, 20404, ""), Reply::Text(404, "", HTML.to_owned())] {
        let fake = Fake::replies([reply]).await;
        let error = client(&fake).media(&recording(), MediaFormat::Wav, None).await.unwrap_err();
        assert!(error.is_no_media(), "{error}");
    }
}

#[tokio::test]
async fn media_that_is_cut_off_does_not_look_whole() {
    let fake = Fake::replies([Reply::CutInBody]).await;
    let media = client(&fake).media(&recording(), MediaFormat::Wav, None).await.unwrap();
    let read: Result<Vec<_>, _> = media.bytes.try_collect().await;
    assert!(matches!(read, Err(ClientError::Unreachable { .. })));
}

#[tokio::test]
async fn media_that_nobody_reads_keeps_nobody_waiting() {
    // No recording comes to its end before all have been asked for.
    let fake = Fake::start(|seen| {
        if seen.uri.ends_with(".wav") { Reply::OnceThereAre(4) } else { Reply::Json(200, json!({})) }
    })
    .await;
    let client = client_of(&fake.url, 1);
    let unread = async {
        let mut unread = Vec::new();
        for _ in 0..3 {
            unread.push(client.media(&recording(), MediaFormat::Wav, None).await.unwrap());
        }
        client.call(&CALL.parse().unwrap()).await.unwrap();
        unread
    };
    // Otherwise it would be waited for for ever.
    for media in tokio::time::timeout(Duration::from_secs(20), unread).await.unwrap() {
        assert_eq!(read(media).await, b"{}");
    }
}

#[tokio::test]
async fn media_that_does_not_begin_keeps_only_media_waiting() {
    let fake = Fake::start(|seen| {
        if seen.uri.ends_with(".wav") { Reply::HeadOnceThereAre(2) } else { Reply::Json(200, json!({})) }
    })
    .await;
    let client = client_of(&fake.url, 1);
    let listening = tokio::spawn({
        let client = client.clone();
        async move { client.media(&recording(), MediaFormat::Wav, None).await }
    });
    fake.has_come(1).await;
    client.call(&CALL.parse().unwrap()).await.unwrap();
    assert_eq!(read(listening.await.unwrap().unwrap()).await, b"{}");
    let asked: Vec<bool> = fake.seen().iter().map(|seen| seen.uri.ends_with(".wav")).collect();
    assert_eq!(asked, [true, false]);
}
