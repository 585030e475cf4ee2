//! A callbook with the calls of some days, and with what people have written down: what there is to look at.

use futures::StreamExt;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::phone::Call;
use crate::support::Callbook;
use crate::support::client::http;
use crate::support::twilio_api::{TwilioApi, every_job};

/// What people call those who call most.
const NAMES: [(&str, &[&str]); 5] = [
    ("Maria Santos", &["regular"]),
    ("Harbor Street Bakery", &["commercial", "Boston"]),
    ("Tom Whitfield", &["annual service"]),
    ("Priya Raman", &["warranty"]),
    ("Lakeview Apartments", &["commercial"]),
];

/// When calls began that go on. Those of the last seconds still ring.
const SECONDS_AGO: [i64; 8] = [412, 95, 4, 231, 18, 61, 7, 143];

const NOTES: &str =
    "Prefers to be called back in the afternoon.\nThe boiler is in the basement, the key is at number 12.";

pub struct Town {
    pub callbook: Callbook,
    /// Up to where in the log everything has happened.
    pub head: i64,
    /// One with a name, many calls, and a recording among the last of them.
    pub thread: String,
    /// Of whom it is with.
    pub name: &'static str,
    /// Its last call that was recorded.
    pub call: String,
    _asked: TwilioApi,
}

impl Town {
    /// As many families of calls as Twilio would have told of over these days, and as many calls that go on.
    pub async fn with(families: u64, days: i64, going_on: usize) -> Self {
        // Without one, there is nothing to see of asking it.
        let asked = TwilioApi::start().await;
        let callbook = Callbook::asking(&asked, &[]).await;
        let twilio = callbook.twilio();
        let over = Duration::days(days);
        let scripts = asked.place_many(6, families, asked.now() - over, over);
        let sent = futures::stream::iter(&scripts).for_each_concurrent(16, |script| {
            let twilio = &twilio;
            async move {
                for request in &script.requests {
                    twilio.send(request.endpoint.name(), &request.params).await;
                }
            }
        });
        sent.await;
        callbook.settled().await;
        // Webhooks of the past do not all say when they were sent; Twilio knows.
        every_job(&callbook).await;

        let threads = callbook.get("/api/conversations?limit=200").await["conversations"].clone();
        let mut threads: Vec<Value> = threads.as_array().unwrap().clone();
        threads.retain(|thread| thread["contact"]["phone_number"].is_string());
        threads.sort_by_key(|thread| std::cmp::Reverse(thread["total_calls"].as_i64()));
        for (thread, (name, tags)) in threads.iter().zip(NAMES) {
            let known = json!({ "name": name, "tags": tags, "notes": NOTES });
            let contact = thread["contact"]["id"].as_str().unwrap();
            let path = format!("{}/api/contacts/{contact}", callbook.url);
            assert_eq!(http().patch(path).json(&known).send().await.unwrap().status(), 200);
        }
        for thread in &threads[3..] {
            let path = format!("{}/api/conversations/{}/state", callbook.url, thread["id"].as_str().unwrap());
            let read = json!({ "read_up_to": thread["last_message_at"] });
            assert_eq!(http().patch(path).json(&read).send().await.unwrap().status(), 200);
        }
        let number = |index: usize| threads[index]["external_id"].as_str().unwrap().to_owned();
        for (n, ago) in (1..).zip(SECONDS_AGO).take(going_on) {
            let at = OffsetDateTime::now_utc() - Duration::seconds(ago);
            let call = Call::began(&callbook, u32::try_from(n).unwrap(), &number(n), at).await;
            call.rings().await;
            if ago > 10 {
                call.is_answered().await;
            }
        }
        let head = callbook.settled().await;
        let mut shown: Option<(usize, String, &str, String)> = None;
        for (thread, (name, _)) in threads.iter().zip(NAMES) {
            let thread = thread["id"].as_str().unwrap().to_owned();
            let calls = callbook.get(&format!("/api/conversations/{thread}/messages")).await;
            let calls = calls["messages"].as_array().unwrap();
            let Some(at) = calls.iter().position(|call| call["call"]["recording_url"].is_string()) else {
                continue;
            };
            if shown.as_ref().is_none_or(|(so_far, ..)| at < *so_far) {
                shown = Some((at, thread, name, calls[at]["external_id"].as_str().unwrap().to_owned()));
            }
        }
        let (_, thread, name, call) = shown.expect("one of those who call most has a recording");
        Self { callbook, head, thread, name, call, _asked: asked }
    }
}
