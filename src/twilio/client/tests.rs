mod creating;
mod fake;
mod media;
mod pages;

use std::time::Duration;

use domain::call::CallStatus;
use projections::chain;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use fake::{Fake, Reply};

const ACCOUNT: &str = "AC27d559117edb45aac8a0270ac2f97b10";
const CALL: &str = "CA27d559117edb45aac8a0270ac2f97b10";
const HTML: &str = "<html>Bad gateway</html>";
const TRIES: usize = 4;

/// Patient, and quick.
fn quick() -> Pace {
    let moment = Duration::from_millis(1);
    let whole_request = Duration::from_secs(30);
    Pace { first: moment, longest: moment, longest_asked_for: moment, tries: TRIES as u32, whole_request }
}

fn client_of(url: &str, at_once: usize) -> Client {
    client_with(url, at_once, quick())
}

fn client_with(url: &str, at_once: usize, pace: Pace) -> Client {
    let settings = Settings {
        base_url: url.to_owned(),
        account_sid: ACCOUNT.to_owned(),
        username: "SKuser".to_owned(),
        password: "very secret".into(),
        at_once,
    };
    Client::with_pace(settings, pace).unwrap()
}

fn client(fake: &Fake) -> Client {
    client_of(&fake.url, 4)
}

fn refusal(status: u16, code: u32, message: &str) -> Reply {
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    Reply::Json(status, json!({ "code": code, "message": message, "more_info": more_info, "status": status }))
}

fn some_calls() -> Reply {
    Reply::Json(200, json!({ "calls": [{ "sid": CALL }], "next_page_uri": null }))
}

async fn calls(fake: &Fake) -> Result<Page, ClientError> {
    client(fake).calls(&CallFilter::default()).await
}

#[tokio::test]
async fn twilio_is_asked_as_the_account_with_the_filter_in_the_query() {
    let fake = Fake::replies([some_calls()]).await;
    let filter = CallFilter {
        status: Some(CallStatus::Queued),
        page_size: Some(2),
        parent: Some(CALL.parse().unwrap()),
        ..CallFilter::default()
    };
    let page = client(&fake).calls(&filter).await.unwrap();
    assert_eq!(page, Page { resources: vec![json!({ "sid": CALL })], next: None });
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Calls.json");
    assert_eq!(fake.requests(), [format!("GET {path}?Status=queued&ParentCallSid={CALL}&PageSize=2")]);
    let seen = &fake.seen()[0];
    assert_eq!(seen.header("authorization"), Some("Basic U0t1c2VyOnZlcnkgc2VjcmV0"));
    assert_eq!(seen.header("user-agent"), Some(concat!("callbook/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn each_resource_has_its_path() {
    let fake = Fake::start(|seen| {
        let key = if seen.uri.contains("Incoming") { "incoming_phone_numbers" } else { "recordings" };
        Reply::Json(200, json!({ key: [] }))
    })
    .await;
    let client = client(&fake);
    let sid = CALL.parse().unwrap();
    client.call(&sid).await.unwrap();
    client.recordings(&RecordingFilter { page_size: Some(7), ..Default::default() }).await.unwrap();
    client.recordings_of(&sid).await.unwrap();
    client.incoming_numbers().await.unwrap();
    let root = format!("GET /2010-04-01/Accounts/{ACCOUNT}");
    assert_eq!(
        fake.requests(),
        [
            format!("{root}/Calls/{CALL}.json"),
            format!("{root}/Recordings.json?PageSize=7"),
            format!("{root}/Calls/{CALL}/Recordings.json"),
            format!("{root}/IncomingPhoneNumbers.json?PageSize=1000"),
        ]
    );
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    let busy = |headers| Reply::Text(429, headers, r#"{"code":20429,"status":429}"#.to_owned());
    let failures = [
        busy(""),
        busy("retry-after: 1\r\n"),
        busy("retry-after: Fri, 20 Aug 2100 01:13:42 GMT\r\n"),
        refusal(500, 20500, "oops"),
        Reply::Text(502, "", HTML.to_owned()),
        Reply::Text(503, "retry-after: soon\r\n", String::new()),
        Reply::Text(200, "", HTML.to_owned()),
        Reply::Cut,
        Reply::CutInBody,
    ];
    for failure in failures {
        let fake = Fake::replies([failure, some_calls()]).await;
        assert_eq!(calls(&fake).await.unwrap().resources.len(), 1);
        assert_eq!(fake.requests().len(), 2);
    }
}

#[tokio::test]
async fn patience_ends() {
    let busy = Fake::replies([refusal(429, 20429, "")]).await;
    assert!(matches!(calls(&busy).await, Err(ClientError::Busy { .. })));
    assert_eq!(busy.requests().len(), TRIES);
    let broken = Fake::replies([refusal(500, 20500, "")]).await;
    assert!(matches!(calls(&broken).await, Err(ClientError::Refused { status: 500, .. })));
    let proxy = Fake::replies([Reply::Text(502, "", HTML.to_owned())]).await;
    assert!(matches!(calls(&proxy).await, Err(ClientError::NotJson { status: 502, .. })));
    let portal = Fake::replies([Reply::Text(200, "", HTML.to_owned())]).await;
    assert!(matches!(calls(&portal).await, Err(ClientError::NotJson { status: 200, .. })));
    let cut = Fake::replies([Reply::Cut]).await;
    assert!(matches!(calls(&cut).await, Err(ClientError::Unreachable { .. })));
    assert_eq!(cut.requests().len(), TRIES);
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_where_to_look_and_not_whom_was_asked_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let filter = CallFilter { to: Some("+15555550142".to_owned()), ..CallFilter::default() };
    let error = client_of(&url, 1).calls(&filter).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let said = format!("{} {error:?}", chain(&error));
    assert!(said.contains("TWILIO_API_BASE_URL") && said.contains("/Calls.json"), "{said}");
    assert!(!said.contains("5555550142"), "{said}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_to_its_end_is_not_waited_for_for_ever() {
    let fake = Fake::replies([Reply::OnceThereAre(usize::MAX)]).await;
    let client = client_with(&fake.url, 1, Pace { whole_request: Duration::from_millis(50), ..quick() });
    let error = client.calls(&CallFilter::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    assert_eq!(fake.requests().len(), TRIES);
}

#[tokio::test]
async fn after_twilio_was_too_busy_nobody_asks_for_as_long_as_it_said() {
    let fake = Fake::replies([Reply::Text(429, "retry-after: 3600\r\n", "{}".to_owned())]).await;
    let client =
        client_with(&fake.url, 4, Pace { longest_asked_for: Duration::from_secs(10_000), ..quick() });
    let other = client.clone();
    let asking = tokio::spawn(async move { other.calls(&CallFilter::default()).await });
    let long_after = Instant::now() + Duration::from_secs(3_000);
    let mut pause = client.transport.not_before_for_test();
    assert!(*pause.wait_for(|not_before| *not_before > Instant::now()).await.unwrap() > long_after);
    asking.abort();
}

#[tokio::test]
async fn what_twilio_refuses_is_not_asked_again_and_says_what_to_do() {
    let about = |status, code, message: &'static str| async move {
        let fake = Fake::replies([refusal(status, code, message)]).await;
        let error = calls(&fake).await.unwrap_err();
        assert_eq!(fake.requests().len(), 1);
        error
    };
    let missing = about(404, 20404, "The requested resource was not found").await;
    assert!(missing.is_not_found() && !missing.is_credentials());
    let elsewhere = about(404, 0, "no Route matched with those values").await;
    assert!(!elsewhere.is_not_found(), "a gateway answers in JSON, too");
    let wrong = about(401, 20003, "Authenticate").await;
    assert!(wrong.is_credentials() && !wrong.is_suspended());
    assert!(wrong.to_string().contains("check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"), "{wrong}");
    let suspended = about(403, 20003, "Account is suspended").await;
    assert!(suspended.is_credentials() && suspended.is_suspended());
    assert!(suspended.to_string().contains("the account is suspended or closed"), "{suspended}");
    let bad = about(400, 21211, "The 'To' number +15555550142 is not a valid phone number.").await;
    assert!(!bad.is_credentials() && !bad.is_not_found());
    assert_eq!(
        bad.to_string(),
        format!(
            "Twilio refuses /2010-04-01/Accounts/{ACCOUNT}/Calls.json with status 400 and error 21211 \
             (https://www.twilio.com/docs/errors/21211)"
        )
    );
    assert!(bad.twilios_words().unwrap().contains("+15555550142"), "for whoever may see it");
}

#[tokio::test]
async fn what_a_proxy_does_not_find_twilio_may_have() {
    for body in [HTML, "{}", "null", r#"{"status":404,"message":"not here"}"#] {
        let fake = Fake::replies([Reply::Text(404, "", body.to_owned())]).await;
        assert!(!calls(&fake).await.unwrap_err().is_not_found(), "{body}");
    }
}

#[tokio::test]
async fn a_list_is_followed_by_the_address_that_twilio_gives() {
    let next =
        format!("/2010-04-01/Accounts/{ACCOUNT}/Calls.json?StartTime%3E=2026-01-01&Page=1&PageToken=PACA1");
    let uri = next.clone();
    let fake = Fake::start(move |seen| {
        let next = (!seen.uri.contains("PageToken")).then_some(&uri);
        Reply::Json(200, json!({ "calls": [{}], "next_page_uri": next }))
    })
    .await;
    let client = client(&fake);
    let first = client.calls(&CallFilter::default()).await.unwrap();
    let second = client.next(&first.next.unwrap()).await.unwrap();
    assert_eq!(second.next, None);
    assert_eq!(fake.requests()[1], format!("GET {next}"));
}

#[tokio::test]
async fn credentials_go_nowhere_else_even_if_a_page_says_so() {
    let other = Fake::replies([some_calls()]).await;
    let port = other.url.rsplit(':').next().unwrap().to_owned();
    for uri in [
        other.url.clone(),
        format!("http://127.0.0.1:{port}/Calls.json"),
        "https://127.0.0.1/Calls.json".to_owned(),
        format!("@127.0.0.1:{port}/Calls.json"),
        "Calls.json?Page=1".to_owned(),
    ] {
        let fake = Fake::replies([Reply::Json(200, json!({ "calls": [], "next_page_uri": uri }))]).await;
        let client = client(&fake);
        let next = client.calls(&CallFilter::default()).await.unwrap().next.unwrap();
        assert!(matches!(client.next(&next).await, Err(ClientError::PageElsewhere { .. })), "{uri}");
        assert_eq!(fake.requests().len(), 1, "{uri}");
    }
    // A path that only looks like another host's address is one of ours.
    let fake = Fake::start(|seen| {
        let next = (!seen.uri.starts_with("//")).then_some("//127.0.0.1:1/Calls.json");
        Reply::Json(200, json!({ "calls": [], "next_page_uri": next }))
    })
    .await;
    let client = client(&fake);
    let next = client.calls(&CallFilter::default()).await.unwrap().next.unwrap();
    client.next(&next).await.unwrap();
    assert_eq!(fake.requests().len(), 2);
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn a_list_that_goes_round_ends_in_an_error() {
    let fake = Fake::replies([Reply::Json(200, json!({ "calls": [], "next_page_uri": "/again" }))]).await;
    let client = client(&fake);
    let next = client.calls(&CallFilter::default()).await.unwrap().next.unwrap();
    let error = client.next(&next).await.unwrap_err();
    assert!(matches!(error, ClientError::PageRepeats { .. }), "{error}");
}

#[tokio::test]
async fn a_list_without_its_key_is_an_error() {
    let fake = Fake::replies([Reply::Json(200, json!({ "messages": [] }))]).await;
    assert!(matches!(calls(&fake).await, Err(ClientError::Unexpected { .. })));
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_agreed_until_their_last_byte() {
    const AT_ONCE: usize = 3;
    // Each answer stays half-way until as many have come as may be under way.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |_| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::OnceThereAre((nth / AT_ONCE + 1) * AT_ONCE)
    })
    .await;
    let client = client_of(&fake.url, AT_ONCE);
    let sid: CallSid = CALL.parse().unwrap();
    futures::future::try_join_all((0..4 * AT_ONCE).map(|_| client.call(&sid))).await.unwrap();
    assert_eq!(fake.requests().len(), 4 * AT_ONCE);
    assert_eq!(fake.most_at_once(), AT_ONCE);
}

#[test]
fn an_address_that_is_none_is_named() {
    for base_url in ["api.twilio.com", "", "https://api.twilio.com/", "ftp://api.twilio.com"] {
        let settings = Settings {
            base_url: base_url.to_owned(),
            account_sid: ACCOUNT.to_owned(),
            username: ACCOUNT.to_owned(),
            password: "very secret".into(),
            at_once: 1,
        };
        let error = Client::new(settings).unwrap_err();
        assert!(error.to_string().starts_with(&format!("`{base_url}` is not the address")), "{error}");
    }
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", client_of("https://api.twilio.com", 1));
    assert!(shown.contains(ACCOUNT) && !shown.contains("very secret"), "{shown}");
}
