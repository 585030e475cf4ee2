//! A callbook with the calls of some days, and with what people have written down: what there is to look at.

use callbook::simulator::Script;
use futures::StreamExt;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::phone::Call;
use crate::support::client::http;
use crate::support::twilio_api::TwilioApi;
use crate::support::{Callbook, account};

/// What people call those who call most.
const NAMES: [(&str, &[&str]); 5] = [
    ("Maria Santos", &["regular"]),
    ("Harbor Street Bakery", &["commercial", "Boston"]),
    ("Tom Whitfield", &[]),
    ("Priya Raman", &["warranty"]),
    ("Lakeview Apartments", &["commercial"]),
];

const NOTES: &str =
    "Prefers to be called back in the afternoon.\nThe boiler is in the basement, the key is at number 12.";

pub struct Town {
    pub callbook: Callbook,
    /// Up to where in the log everything has happened.
    pub head: i64,
    /// One with a name and many calls.
    pub thread: String,
    /// Of whom it is with.
    pub name: &'static str,
    /// Its last call that was recorded.
    pub call: String,
    _asked: TwilioApi,
}

impl Town {
    /// As many families of calls as Twilio would have told of over these days, and a few calls that go on.
    pub async fn with(families: u64, days: i32) -> Self {
        // Without one, there is nothing to see of asking it.
        let asked = TwilioApi::start().await;
        let callbook = Callbook::asking(&asked, &[]).await;
        let twilio = callbook.twilio();
        let now = OffsetDateTime::now_utc();
        let begun = now - Duration::days(1) * days;
        let step = Duration::days(1) * days / u32::try_from(families).unwrap();
        let scripts = (0..families).map(|index| {
            let at = begun + step * u32::try_from(index).unwrap();
            Script::generate(6, index, &account(), at)
        });
        let sent = futures::stream::iter(scripts).for_each_concurrent(16, |script| {
            let twilio = &twilio;
            async move {
                for request in &script.requests {
                    twilio.send(request.endpoint.name(), &request.params).await;
                }
            }
        });
        sent.await;
        callbook.settled().await;

        let threads = callbook.get("/api/conversations?limit=200").await["conversations"].clone();
        let mut threads: Vec<Value> = threads.as_array().unwrap().clone();
        threads.retain(|thread| thread["contact"]["phone_number"].is_string());
        threads.sort_by_key(|thread| std::cmp::Reverse(thread["total_calls"].as_i64()));
        for (thread, (name, tags)) in threads.iter().zip(NAMES) {
            let mut known = json!({ "name": name, "tags": tags });
            if name == NAMES[0].0 {
                known["notes"] = NOTES.into();
            }
            let contact = thread["contact"]["id"].as_str().unwrap();
            let path = format!("{}/api/contacts/{contact}", callbook.url);
            assert_eq!(http().patch(path).json(&known).send().await.unwrap().status(), 200);
        }
        let number = |index: usize| threads[index]["external_id"].as_str().unwrap().to_owned();
        for (n, index) in [1, 2, 3].into_iter().enumerate() {
            let at = OffsetDateTime::now_utc() - Duration::seconds([95, 40, 4][n]);
            let call = Call::began(&callbook, 1 + u32::try_from(n).unwrap(), &number(index), at).await;
            call.rings().await;
            if n < 2 {
                call.is_answered().await;
            }
        }
        let head = callbook.settled().await;
        for (thread, (name, _)) in threads.iter().zip(NAMES) {
            let thread = thread["id"].as_str().unwrap().to_owned();
            let calls = callbook.get(&format!("/api/conversations/{thread}/messages")).await;
            let mut calls = calls["messages"].as_array().unwrap().iter();
            if let Some(call) = calls.find(|call| call["call"]["recording_url"].is_string()) {
                let call = call["external_id"].as_str().unwrap().to_owned();
                return Self { callbook, head, thread, name, call, _asked: asked };
            }
        }
        panic!("none of those who call most has a recording");
    }
}
