//! Listening to a call.

use axum::body::Bytes;

use crate::browser::Browser;
use crate::browser::Seen::{Like, Named};
use crate::phone::Call;
use crate::support::client::pairs;
use crate::support::media::{Answer, Media};
use crate::support::{ACCOUNT_SID, CUSTOMER, Callbook};

const SECONDS: u32 = 2;

/// A tone, as telephones have it: mono, 16 bits, 8,000 a second.
fn wave() -> Bytes {
    const A_SECOND: u32 = 8_000;
    let length = SECONDS * A_SECOND * 2;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(A_SECOND.to_le_bytes());
    file.extend((2 * A_SECOND).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    for at in 0..SECONDS * A_SECOND {
        let tone = (f64::from(at) / f64::from(A_SECOND) * 440.0 * std::f64::consts::TAU).sin();
        file.extend(((tone * 12_000.0) as i16).to_le_bytes());
    }
    file.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_listened_to_in_its_thread() {
    let media = Media::start(Answer::Audio(wave())).await;
    let never =
        ["RECONCILE_HOT_SECONDS", "RECONCILE_WARM_SECONDS", "RECONCILE_COLD_SECONDS"].map(|key| (key, "0"));
    let settings: Vec<_> = never.into_iter().chain([("TWILIO_API_BASE_URL", media.url.as_str())]).collect();
    let callbook = Callbook::with(&settings).await;
    let call = Call::begins(&callbook, 1, CUSTOMER).await;
    call.rings().await;
    call.is_answered().await;
    call.ends(SECONDS).await;
    let recorded = pairs(&[
        ("AccountSid", ACCOUNT_SID),
        ("CallSid", call.sid()),
        ("RecordingSid", "RE00000000000000000000000000000001"),
        ("RecordingUrl", "https://api.twilio.com/2010-04-01/Accounts/AC/Recordings/RE"),
        ("RecordingStatus", "completed"),
        ("RecordingDuration", &SECONDS.to_string()),
    ]);
    callbook.twilio().send("recording-status", &recorded).await;
    let head = callbook.settled().await;
    let thread =
        callbook.get("/api/conversations").await["conversations"][0]["id"].as_str().unwrap().to_owned();
    let browser = Browser::open(&callbook.url, &format!("/inbox/{thread}")).await;
    browser.at_position(head).await;
    browser.click(Named("button", "Listen")).await;
    browser.find(Like("group", "Recording of Incoming call")).await;
    browser.says("/ 0:02").await;
    browser.choose("Speed", "1.5").await;
    let speed = browser.by_role("combobox", "Speed").await;
    assert_eq!(speed.prop("value").await.unwrap().as_deref(), Some("1.5"));
    browser.find(Named("slider", "Place in the recording")).await;
    browser.find(Named("link", "Download the recording")).await;
    browser.close().await;
    callbook.stop().await;
}
