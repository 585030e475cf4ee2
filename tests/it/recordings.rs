//! Recordings to listen to: fetched once, kept, played in parts, and never by Twilio's address.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, StatusCode, header};
use futures::StreamExt;
use serde_json::Value;

use crate::support::client::http;
use crate::support::media::{Answer, Media};
use crate::support::{ACCOUNT_SID, AUTH_TOKEN, Callbook, call_sid, pairs};

fn recording_sid(n: u32) -> String {
    format!("RE{n:032}")
}

/// Any bytes, no two neighbours alike.
fn audio(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

async fn report(callbook: &Callbook, n: u32, status: &str) {
    let report = pairs(&[
        ("AccountSid", ACCOUNT_SID),
        ("CallSid", &call_sid(1)),
        ("RecordingSid", &recording_sid(n)),
        ("RecordingUrl", "https://api.twilio.com/2010-04-01/Accounts/AC/Recordings/RE"),
        ("RecordingStatus", status),
        ("RecordingDuration", "12"),
    ]);
    callbook.twilio().send("recording-status", &report).await;
    callbook.settled().await;
}

/// A callbook with one completed recording, which Twilio has like this.
async fn callbook_with(answer: Answer, further: &[(&str, &str)]) -> (Callbook, Media) {
    let media = Media::start(answer).await;
    let mut settings = vec![
        ("TWILIO_API_BASE_URL", media.url.as_str()),
        ("RECONCILE_HOT_SECONDS", "0"),
        ("RECONCILE_WARM_SECONDS", "0"),
        ("RECONCILE_COLD_SECONDS", "0"),
    ];
    settings.extend_from_slice(further);
    let callbook = Callbook::with(&settings).await;
    report(&callbook, 1, "completed").await;
    (callbook, media)
}

async fn ask(
    callbook: &Callbook,
    method: Method,
    n: u32,
    headers: &[(header::HeaderName, &str)],
) -> reqwest::Response {
    let url = format!("{}/api/recordings/{}/media", callbook.url, recording_sid(n));
    let mut request = http().request(method, url);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.send().await.unwrap()
}

async fn play(callbook: &Callbook, n: u32) -> reqwest::Response {
    ask(callbook, Method::GET, n, &[]).await
}

fn header_of(response: &reqwest::Response, name: header::HeaderName) -> &str {
    response.headers().get(&name).map_or("", |value| value.to_str().unwrap())
}

async fn problem(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(header_of(&response, header::CONTENT_TYPE), "application/problem+json");
    let body: Value = response.json().await.unwrap();
    (status, body["code"].as_str().unwrap().to_owned(), body["detail"].as_str().unwrap().to_owned())
}

/// What is in the folder of copies.
fn copies(callbook: &Callbook) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(callbook.data_dir().join("recordings"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_recording_is_fetched_once_and_played_from_the_copy() {
    let audio = audio(200_000);
    let (callbook, media) = callbook_with(Answer::Audio(audio.clone()), &[]).await;
    let first = play(&callbook, 1).await;
    assert_eq!(first.status(), 200);
    for (name, value) in [
        (header::CONTENT_TYPE, "audio/wav"),
        (header::CONTENT_LENGTH, "200000"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "private"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::ETAG, &format!("\"{}\"", recording_sid(1))),
    ] {
        assert_eq!(header_of(&first, name.clone()), value, "{name}");
    }
    let told = format!("{:?}", first.headers());
    assert_eq!(first.bytes().await.unwrap(), audio);
    let again = ask(&callbook, Method::GET, 1, &[(header::RANGE, "bytes=0-9")]).await;
    assert_eq!(again.bytes().await.unwrap(), audio[..10]);
    let path = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/{}.wav", recording_sid(1));
    assert_eq!(media.asked(), [(path, None)]);
    assert_eq!(copies(&callbook), [format!("{}.wav", recording_sid(1))]);
    assert!(!told.contains(&media.url) && !told.contains(AUTH_TOKEN), "{told}");

    // The copy is there after a restart, too, and Twilio need not be.
    let callbook = callbook.restart(&[("TWILIO_API_BASE_URL", "http://127.0.0.1:1")]).await;
    assert_eq!(play(&callbook, 1).await.bytes().await.unwrap(), audio);
}

#[tokio::test]
async fn everybody_hears_what_has_come_while_the_rest_still_comes() {
    let audio = audio(100_000);
    let (callbook, media) = callbook_with(Answer::HeldBack(audio.clone(), 30_000), &[]).await;
    let first = play(&callbook, 1).await;
    // As browsers ask.
    let second = ask(&callbook, Method::GET, 1, &[(header::RANGE, "bytes=0-")]).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 206));
    assert_eq!(header_of(&second, header::CONTENT_RANGE), "bytes 0-99999/100000");
    let url = format!("{}/api/recordings/{}/media", callbook.url, recording_sid(1));
    let part = http().get(url).header(header::RANGE, "bytes=-5").send();
    let part = tokio::spawn(part);
    let (mut first, mut second) = (first.bytes_stream(), second.bytes_stream());
    let listen = async |stream: &mut (dyn futures::Stream<Item = reqwest::Result<Bytes>> + Unpin), least| {
        let mut heard = Vec::new();
        while heard.len() < least {
            heard.extend_from_slice(&stream.next().await.unwrap().unwrap());
        }
        heard
    };
    let mut heard = [listen(&mut first, 30_000).await, listen(&mut second, 30_000).await];
    assert_eq!(heard[0], audio[..30_000]);
    // The first goes away; nobody misses anything.
    drop(first);
    media.release();
    heard[1].extend(listen(&mut second, 70_000).await);
    assert_eq!(heard[1], audio);
    let part = part.await.unwrap().unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), audio[99_995..]);
    assert_eq!(media.times(), 1);
}

#[tokio::test]
async fn a_download_goes_on_when_nobody_listens_any_more() {
    let audio = audio(100_000);
    let (callbook, media) = callbook_with(Answer::HeldBack(audio.clone(), 30_000), &[]).await;
    drop(play(&callbook, 1).await);
    media.release();
    let part = ask(&callbook, Method::GET, 1, &[(header::RANGE, "bytes=50000-50009")]).await;
    assert_eq!(part.bytes().await.unwrap(), audio[50_000..50_010]);
    assert_eq!(media.times(), 1);
}

#[tokio::test]
async fn any_one_range_can_be_had() {
    let audio = audio(1_000);
    let (callbook, media) = callbook_with(Answer::Audio(audio.clone()), &[]).await;
    for (range, content_range, expected) in [
        // The first comes before there is a copy.
        ("bytes=2-4", "bytes 2-4/1000", &audio[2..5]),
        ("bytes=0-0", "bytes 0-0/1000", &audio[..1]),
        ("bytes=990-", "bytes 990-999/1000", &audio[990..]),
        ("bytes=990-5000", "bytes 990-999/1000", &audio[990..]),
        ("bytes=-10", "bytes 990-999/1000", &audio[990..]),
        ("bytes=0-", "bytes 0-999/1000", &audio[..]),
    ] {
        let part = ask(&callbook, Method::GET, 1, &[(header::RANGE, range)]).await;
        assert_eq!(part.status(), 206, "{range}");
        assert_eq!(header_of(&part, header::CONTENT_RANGE), content_range);
        assert_eq!(header_of(&part, header::CONTENT_LENGTH), expected.len().to_string());
        assert_eq!(header_of(&part, header::CONTENT_TYPE), "audio/wav");
        assert_eq!(part.bytes().await.unwrap(), expected, "{range}");
    }
    for range in ["bytes=1000-", "bytes=5-2", "bytes=x-y"] {
        let none = ask(&callbook, Method::GET, 1, &[(header::RANGE, range)]).await;
        assert_eq!(none.status(), 416, "{range}");
        assert_eq!(header_of(&none, header::CONTENT_RANGE), "bytes */1000");
    }
    for range in ["bytes=0-1,5-6", "seconds=1-2"] {
        let all = ask(&callbook, Method::GET, 1, &[(header::RANGE, range)]).await;
        assert_eq!(all.status(), 200, "{range}");
        assert_eq!(all.bytes().await.unwrap(), audio);
    }
    assert_eq!(media.times(), 1);
}

#[tokio::test]
async fn conditions_are_heeded() {
    let audio = audio(1_000);
    let (callbook, media) = callbook_with(Answer::Audio(audio.clone()), &[]).await;
    let tag = format!("\"{}\"", recording_sid(1));
    // Whoever has it need not have it fetched.
    for condition in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let same = ask(&callbook, Method::GET, 1, &[(header::IF_NONE_MATCH, &condition)]).await;
        assert_eq!(same.status(), 304, "{condition}");
        assert_eq!(header_of(&same, header::ETAG), tag);
        assert_eq!(same.bytes().await.unwrap().len(), 0);
    }
    let gone = ask(&callbook, Method::GET, 1, &[(header::IF_MATCH, "\"other\"")]).await;
    assert_eq!(gone.status(), 412);
    assert_eq!(media.times(), 0);

    let range = (header::RANGE, "bytes=1-2");
    for (condition, status) in [
        (tag.as_str(), 206),
        ("\"other\"", 200),
        (&format!("W/{tag}"), 200),
        ("Fri, 20 Aug 2100 01:13:42 GMT", 200),
        ("neither", 200),
    ] {
        let part = ask(&callbook, Method::GET, 1, &[range.clone(), (header::IF_RANGE, condition)]).await;
        assert_eq!(part.status(), status, "{condition}");
    }
    let other = ask(&callbook, Method::GET, 1, &[(header::IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!((other.status().as_u16(), other.bytes().await.unwrap()), (200, audio));
}

#[tokio::test]
async fn a_head_tells_as_much_without_the_audio() {
    let (callbook, media) = callbook_with(Answer::Audio(audio(1_000)), &[]).await;
    for _ in 0..2 {
        let head = ask(&callbook, Method::HEAD, 1, &[]).await;
        assert_eq!(head.status(), 200);
        assert_eq!(header_of(&head, header::CONTENT_LENGTH), "1000");
        assert_eq!(header_of(&head, header::ACCEPT_RANGES), "bytes");
        assert_eq!(head.bytes().await.unwrap().len(), 0);
    }
    assert_eq!(media.times(), 1);
    let wrong = ask(&callbook, Method::POST, 1, &[]).await;
    assert_eq!((wrong.status().as_u16(), header_of(&wrong, header::ALLOW)), (405, "GET,HEAD"));
}

#[tokio::test]
async fn only_what_the_log_knows_is_asked_for() {
    let (callbook, media) = callbook_with(Answer::Audio(audio(10)), &[]).await;
    let (status, code, detail) = problem(play(&callbook, 7).await).await;
    assert_eq!((status, code.as_str()), (404, "unknown-recording"));
    assert_eq!(detail, format!("nothing is recorded of a recording {}", recording_sid(7)));
    let url = format!("{}/api/recordings/RE..%2Fx/media", callbook.url);
    let (status, code, detail) = problem(http().get(url).send().await.unwrap()).await;
    assert_eq!((status, code.as_str()), (400, "bad-parameter"));
    assert!(detail.contains("a Recording SID"), "{detail}");

    report(&callbook, 2, "in-progress").await;
    let (status, code, detail) = problem(play(&callbook, 2).await).await;
    assert_eq!((status, code.as_str()), (404, "not-playable"));
    assert!(detail.ends_with("the call is still being recorded"), "{detail}");
    report(&callbook, 3, "absent").await;
    let (_, _, detail) = problem(play(&callbook, 3).await).await;
    assert!(detail.ends_with("nothing was recorded"), "{detail}");
    assert_eq!(media.times(), 0);
}

#[tokio::test]
async fn what_twilio_does_not_have_yet_may_be_there_later() {
    let (callbook, media) = callbook_with(Answer::Refused(StatusCode::NOT_FOUND), &[]).await;
    for range in ["bytes=0-", "bytes=5-"] {
        let none = ask(&callbook, Method::GET, 1, &[(header::RANGE, range)]).await;
        let (status, code, detail) = problem(none).await;
        assert_eq!((status, code.as_str()), (404, "not-playable"));
        assert!(detail.ends_with("Twilio does not have its audio, or not yet"), "{detail}");
    }
    media.answer(Answer::Audio(Bytes::new()));
    assert_eq!(play(&callbook, 1).await.status(), 404, "no audio at all");
    media.answer(Answer::Audio(audio(10)));
    assert_eq!(play(&callbook, 1).await.bytes().await.unwrap(), audio(10));
}

#[tokio::test]
async fn what_is_wrong_between_us_and_twilio_is_not_the_listeners_business() {
    let (callbook, media) = callbook_with(Answer::Html, &[]).await;
    for answer in [
        Answer::Html,
        Answer::Refused(StatusCode::UNAUTHORIZED),
        Answer::Refused(StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        media.answer(answer);
        let (status, code, detail) = problem(play(&callbook, 1).await).await;
        assert_eq!((status, code.as_str()), (502, "twilio-failed"));
        let expected = format!(
            "Twilio does not hand out the recording {} at the moment; try again in a minute",
            recording_sid(1)
        );
        assert_eq!(detail, expected);
    }
    assert_eq!(copies(&callbook), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_cut_off_is_neither_kept_nor_taken_for_whole() {
    let audio = audio(100_000);
    let (callbook, media) = callbook_with(Answer::Cut(audio.slice(..40_000), 100_000), &[]).await;
    let response = play(&callbook, 1).await;
    assert_eq!(response.status(), 200);
    let whole = tokio::spawn({
        let url = format!("{}/api/recordings/{}/media", callbook.url, recording_sid(1));
        async move { http().get(url).header(header::RANGE, "bytes=5-6").send().await.unwrap() }
    });
    media.release();
    assert!(response.bytes().await.is_err());
    assert_eq!(problem(whole.await.unwrap()).await.0, 502);
    assert_eq!(copies(&callbook), Vec::<String>::new());
    media.answer(Answer::Audio(audio.clone()));
    assert_eq!(play(&callbook, 1).await.bytes().await.unwrap(), audio);
}

#[tokio::test]
async fn without_room_for_a_copy_a_recording_is_played_all_the_same() {
    let audio = audio(100_000);
    let (callbook, media) = callbook_with(Answer::Audio(audio.clone()), &[]).await;
    // Nothing can be made in what is a file.
    let folder = callbook.data_dir().join("recordings");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    for _ in 0..2 {
        let response = play(&callbook, 1).await;
        assert_eq!(header_of(&response, header::CONTENT_TYPE), "audio/wav");
        assert_eq!(header_of(&response, header::CONTENT_LENGTH), "100000");
        assert_eq!(response.bytes().await.unwrap(), audio);
    }
    let part = ask(&callbook, Method::GET, 1, &[(header::RANGE, "bytes=2-4")]).await;
    assert_eq!((part.status().as_u16(), header_of(&part, header::CONTENT_RANGE)), (206, "bytes 2-4/100000"));
    assert_eq!(part.bytes().await.unwrap(), audio[2..5]);
    assert_eq!(media.times(), 3);
}

#[tokio::test]
async fn listeners_who_do_not_go_on_keep_nobody_from_listening() {
    let audio = audio(100_000);
    let (callbook, media) =
        callbook_with(Answer::HeldBack(audio.clone(), 30_000), &[("TWILIO_REQUESTS_AT_ONCE", "1")]).await;
    let folder = callbook.data_dir().join("recordings");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    let mut listeners = Vec::new();
    for _ in 0..3 {
        let listener = tokio::time::timeout(Duration::from_secs(20), play(&callbook, 1)).await;
        listeners.push(listener.expect("it begins while the others have not ended"));
    }
    media.release();
    for listener in listeners {
        assert_eq!(listener.bytes().await.unwrap(), audio);
    }
}

#[tokio::test]
async fn a_recording_that_may_not_be_ready_is_played_but_not_kept() {
    let (callbook, media) = callbook_with(Answer::Audio(audio(10)), &[]).await;
    // A call's own callback mentions its recording.
    let mut ended = crate::support::client::status(
        &call_sid(1),
        None,
        crate::support::CUSTOMER,
        crate::support::OURS,
        "completed",
        0,
        "Sun, 08 Feb 2026 06:11:29 +0000",
    );
    ended.extend(pairs(&[("RecordingSid", &recording_sid(2))]));
    callbook.twilio().send("voice-status", &ended).await;
    callbook.settled().await;
    for _ in 0..2 {
        assert_eq!(play(&callbook, 2).await.bytes().await.unwrap(), audio(10));
    }
    assert_eq!(media.times(), 2);
    assert_eq!(copies(&callbook), Vec::<String>::new());
}

#[tokio::test]
async fn copies_make_room_for_one_another() {
    let audio = audio(700_000);
    let (callbook, media) =
        callbook_with(Answer::Audio(audio.clone()), &[("RECORDINGS_CACHE_MEBIBYTES", "1")]).await;
    report(&callbook, 2, "completed").await;
    for n in [1, 2, 1] {
        assert_eq!(play(&callbook, n).await.bytes().await.unwrap(), audio);
        // The copy is there when all of it can be had.
        let part = ask(&callbook, Method::GET, n, &[(header::RANGE, "bytes=-1")]).await;
        assert_eq!(part.status(), 206);
        assert_eq!(copies(&callbook), [format!("{}.wav", recording_sid(n))]);
    }
    assert_eq!(media.times(), 3);
}

#[tokio::test]
async fn without_a_twilio_the_answer_says_so() {
    let callbook = Callbook::start().await;
    report(&callbook, 1, "completed").await;
    assert!(callbook.app.state.recordings.is_none());
    let (status, code, _) = problem(play(&callbook, 1).await).await;
    assert_eq!((status, code.as_str()), (503, "no-twilio"));
}
