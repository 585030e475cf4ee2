//! Nothing is created twice, and nothing that was created is given up.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::fake::{Fake, Reply, Seen};
use super::*;

const TO: &str = "+15555550142";
const FROM: &str = "+15555550100";

fn call() -> NewCall {
    NewCall {
        to: TO.to_owned(),
        from: FROM.to_owned(),
        with: CallWith::Url("https://calls.example.com/twiml".to_owned()),
        status_callback: Some("https://calls.example.com/status".to_owned()),
        recording_callback: None,
        timeout: Some(20),
        record: true,
    }
}

fn text() -> NewMessage {
    NewMessage {
        to: TO.to_owned(),
        from: Sender::Service("MG1".to_owned()),
        body: "We missed your call.".to_owned(),
        status_callback: None,
    }
}

/// A call that the list has, created so many seconds ago.
fn placed(sid: &str, seconds_ago: i64) -> Value {
    let at = OffsetDateTime::now_utc() - time::Duration::seconds(seconds_ago);
    let created = at.format(&Rfc2822).unwrap();
    json!({ "sid": sid, "direction": "outbound-api", "status": "queued", "date_created": created, "start_time": null })
}

fn list(calls: &[Value]) -> Reply {
    Reply::Json(200, json!({ "calls": calls, "next_page_uri": null }))
}

/// Twilio whose answers to the first `lost` requests to create are lost, and whose list is as given for each look.
async fn twilio(lost: usize, look: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Fake {
    let (posts, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Fake::start(move |seen: &Seen| {
        if seen.method == "GET" {
            return look(looks.fetch_add(1, Ordering::Relaxed));
        }
        match posts.fetch_add(1, Ordering::Relaxed) {
            post if post < lost => Reply::Cut,
            post => Reply::Json(201, placed(&format!("CA{post}"), 0)),
        }
    })
    .await
}

fn posts(fake: &Fake) -> usize {
    fake.seen().iter().filter(|seen| seen.method == "POST").count()
}

#[tokio::test]
async fn a_call_is_posted_with_all_that_was_said() {
    let fake = twilio(0, |_| list(&[])).await;
    let created = client(&fake).create_call(&call()).await.unwrap();
    assert_eq!(created["sid"], "CA0");
    let seen = &fake.seen()[0];
    assert_eq!(seen.uri, format!("/2010-04-01/Accounts/{ACCOUNT}/Calls.json"));
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        seen.body,
        "To=%2B15555550142&From=%2B15555550100&Url=https%3A%2F%2Fcalls.example.com%2Ftwiml\
         &StatusCallback=https%3A%2F%2Fcalls.example.com%2Fstatus&StatusCallbackEvent=initiated\
         &StatusCallbackEvent=ringing&StatusCallbackEvent=answered&StatusCallbackEvent=completed&Timeout=20\
         &Record=true&RecordingChannels=dual&Trim=do-not-trim"
    );
}

#[tokio::test]
async fn what_twilio_never_looked_at_is_posted_again_without_looking() {
    let fake = Fake::replies([refusal(429, 20429, ""), Reply::Json(201, placed("CA1", 0))]).await;
    assert_eq!(client(&fake).create_call(&call()).await.unwrap()["sid"], "CA1");
    assert_eq!(posts(&fake), 2);
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let fake = Fake::replies([refusal(400, 21211, "no such number")]).await;
    let error = client(&fake).create_call(&call()).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 400, code: Some(21211), .. }));
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_is_found_and_not_placed_again() {
    // The list lags: the first look does not show it.
    let fake = twilio(1, |look| if look == 0 { list(&[]) } else { list(&[placed(CALL, 0)]) }).await;
    assert_eq!(client(&fake).create_call(&call()).await.unwrap()["sid"], CALL);
    assert_eq!(posts(&fake), 1);
    let look = "/Calls.json?To=%2B15555550142&From=%2B15555550100&PageSize=50";
    assert!(fake.seen()[1].uri.ends_with(look), "{}", fake.seen()[1].uri);
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_a_lost_one() {
    for answer in [
        refusal(500, 20500, "oops"),
        Reply::Text(201, "", HTML.to_owned()),
        Reply::Text(504, "", HTML.to_owned()),
        Reply::CutInBody,
    ] {
        let fake = Fake::replies([answer, list(&[placed(CALL, 0)])]).await;
        assert_eq!(client(&fake).create_call(&call()).await.unwrap()["sid"], CALL);
        assert_eq!(posts(&fake), 1);
    }
}

#[tokio::test]
async fn a_call_that_is_not_there_is_placed_again() {
    let fake = twilio(1, |_| list(&[])).await;
    assert_eq!(client(&fake).create_call(&call()).await.unwrap()["sid"], "CA1");
    assert_eq!(posts(&fake), 2);
}

#[tokio::test]
async fn another_call_with_the_same_numbers_is_not_taken_for_it() {
    let mut dialled = placed("CA90", 0);
    dialled["direction"] = "outbound-dial".into();
    let old = placed("CA91", 86_400);
    let fake = twilio(1, move |_| list(&[dialled.clone(), old.clone()])).await;
    assert_eq!(client(&fake).create_call(&call()).await.unwrap()["sid"], "CA1");
}

#[tokio::test]
async fn a_call_placed_a_moment_ago_is_not_taken_for_it() {
    let posts = AtomicUsize::new(0);
    let fake = Fake::start(move |seen| match seen.method.as_str() {
        "GET" => list(&[placed("CA2", 0), placed("CA1", 0)]),
        _ if posts.fetch_add(1, Ordering::Relaxed) == 0 => Reply::Json(201, placed("CA2", 0)),
        _ => Reply::Cut,
    })
    .await;
    let client = client(&fake);
    assert_eq!(client.create_call(&call()).await.unwrap()["sid"], "CA2");
    assert_eq!(client.create_call(&call()).await.unwrap()["sid"], "CA1");
}

#[tokio::test]
async fn if_nothing_can_be_found_out_the_error_says_so() {
    let always_lost = twilio(usize::MAX, |_| list(&[])).await;
    let error = client(&always_lost).create_call(&call()).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownOutcome { .. }), "{error:?}");
    assert_eq!(posts(&always_lost), 5);
    assert!(!chain(&error).contains("5555550142"), "{}", chain(&error));

    let blind = twilio(1, |_| Reply::Cut).await;
    let error = client(&blind).create_call(&call()).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownOutcome { .. }), "{error:?}");
    assert_eq!(posts(&blind), 1, "what may have been placed is not placed again unseen");
}

#[tokio::test]
async fn a_text_is_found_by_its_words_and_its_service() {
    let sent = |sid: &str, service: &str, body: &str| {
        let mut sent = placed(sid, 0);
        sent["messaging_service_sid"] = service.into();
        sent["body"] = body.into();
        sent
    };
    let preamble = "Sent from your Twilio trial account - We missed your call.";
    let fake = Fake::replies([
        Reply::Cut,
        Reply::Json(
            200,
            json!({ "messages": [
                sent("SM1", "MG1", "Something else"), sent("SM2", "MG2", "We missed your call."),
                sent("SM3", "MG1", preamble),
            ]}),
        ),
    ])
    .await;
    assert_eq!(client(&fake).create_message(&text()).await.unwrap()["sid"], "SM3");
    assert_eq!(fake.seen()[0].body, "To=%2B15555550142&MessagingServiceSid=MG1&Body=We+missed+your+call.");
    assert!(fake.seen()[1].uri.ends_with("/Messages.json?To=%2B15555550142&PageSize=50"));
}
