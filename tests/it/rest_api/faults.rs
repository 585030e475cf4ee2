//! What goes wrong at the simulated Twilio when it is told to.

use std::collections::BTreeSet;
use std::time::Duration as Delay;

use callbook::simulator::{Faults, Kind, Script};
use serde_json::Value;
use time::Duration;

use super::{BEGUN, Twilio, account, refused};
use crate::support::client::http;
use crate::support::{ACCOUNT_SID, AUTH_TOKEN, OURS};

#[tokio::test]
async fn what_goes_wrong_goes_wrong_as_at_twilio_and_is_counted() {
    let twilio = Twilio::after(12).await;
    let set = |faults: Faults| twilio.world.set_faults(faults);
    let retry_after = Some(Delay::from_secs(2));
    set(Faults { too_many_requests: 1.0, retry_after, ..Faults::default() });
    let response = twilio.get("Calls.json").await;
    assert_eq!(response.headers()["retry-after"], "2");
    refused(response, 429, 20429).await;
    assert_eq!(twilio.world.traffic().too_many_requests, 1);

    set(Faults { server_errors: 1.0, ..Faults::default() });
    let mut kinds = BTreeSet::new();
    for _ in 0..20 {
        let response = twilio.get("Calls.json").await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        kinds.insert((response.status().as_u16(), kind));
    }
    let html = (503, "text/html; charset=utf-8".to_owned());
    assert_eq!(kinds, [(500, "application/json".to_owned()), html].into());

    set(Faults { not_json: 1.0, ..Faults::default() });
    let response = twilio.get("Calls.json").await;
    assert_eq!(response.status(), 200);
    assert!(response.json::<Value>().await.is_err());

    set(Faults { suspended: true, ..Faults::default() });
    refused(twilio.get("Calls.json").await, 403, 20003).await;
    set(Faults { wrong_credentials: true, ..Faults::default() });
    refused(twilio.get("Calls.json").await, 401, 20003).await;
    set(Faults::default());
    twilio.json("Calls.json").await;
    assert_eq!(twilio.world.traffic().of(Kind::CallsList), 25);
    assert_eq!(twilio.world.traffic().in_flight, 0);
}

#[tokio::test]
async fn a_connection_is_cut_before_the_answer_or_within_it() {
    let twilio = Twilio::after(12).await;
    twilio.world.set_faults(Faults { cut: 1.0, ..Faults::default() });
    let (mut before, mut within) = (0, 0);
    for _ in 0..20 {
        let request = http().get(twilio.url("Calls.json")).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN));
        match request.send().await {
            Err(_) => before += 1,
            Ok(response) => {
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap_err();
                within += 1;
            }
        }
    }
    assert!(before > 0 && within > 0, "{before} before, {within} within");
    assert_eq!(twilio.world.traffic().cuts, 20);
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_has_taken_effect() {
    let twilio = Twilio::start().await;
    twilio.world.set_faults(Faults { lost_answers: 1.0, ..Faults::default() });
    let form = [("To", "+15085550111"), ("From", OURS), ("Twiml", "<Response/>")];
    twilio.post("Calls.json", &form).await.unwrap_err();
    let (listed, _) = twilio.all("Calls.json?To=%2B15085550111", "calls").await;
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn equal_seeds_play_equal_faults() {
    let twilio = Twilio::after(1).await;
    let faults = Faults { seed: 3, too_many_requests: 0.3, server_errors: 0.3, ..Faults::default() };
    let run = async || {
        twilio.world.set_faults(faults.clone());
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(twilio.get("Calls.json").await.status().as_u16());
        }
        answers
    };
    let first = run().await;
    assert_eq!(first, run().await);
    assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), [200, 429, 500, 503].into());
}

#[tokio::test]
async fn lists_and_calls_lag_behind() {
    let twilio = Twilio::start().await;
    let script = Script::generate(7, 0, &account(), BEGUN);
    twilio.world.place(&script, BEGUN, 1.0);
    let root = format!("Calls/{}.json", script.legs[0].call_sid);
    let status = async || twilio.json(&root).await["status"].as_str().unwrap().to_owned();
    twilio.world.set_faults(Faults { lag: Delay::from_secs(30), ..Faults::default() });
    refused(twilio.get(&root).await, 404, 20404).await;
    assert!(twilio.all("Calls.json", "calls").await.0.is_empty());
    let ended = BEGUN + script.legs[0].ended;
    twilio.hand.send_replace(ended + Duration::seconds(29));
    assert_eq!(status().await, "in-progress");
    twilio.hand.send_replace(ended + Duration::seconds(31));
    assert_eq!(status().await, "completed");
}

#[tokio::test]
async fn pages_repeat_and_shift_when_they_are_told_to() {
    let twilio = Twilio::after(12).await;
    let (all, _) = twilio.all("Calls.json?PageSize=5", "calls").await;
    twilio.world.set_faults(Faults { shifted_pages: 1.0, ..Faults::default() });
    let (shifted, _) = twilio.all("Calls.json?PageSize=5", "calls").await;
    assert_eq!(shifted[4], shifted[5], "the last row of a page is the first of the next");
    assert_eq!(shifted.iter().collect::<BTreeSet<_>>(), all.iter().collect());
    twilio.world.set_faults(Faults { repeated_pages: 1.0, ..Faults::default() });
    let page = twilio.json("Calls.json?PageSize=5").await;
    assert_eq!(page["next_page_uri"], page["uri"]);
}

#[tokio::test]
async fn no_more_requests_are_served_at_once_than_the_account_may_make() {
    let twilio = Twilio::after(1).await;
    let faults =
        Faults { most_at_once: Some(2), slow: 1.0, slow_by: Delay::from_secs(3600), ..Faults::default() };
    twilio.world.set_faults(faults);
    let (a, b) = (twilio.get("Calls.json"), twilio.get("Calls.json"));
    let refused_third = async {
        while twilio.world.traffic().in_flight < 2 {
            tokio::task::yield_now().await;
        }
        refused(twilio.get("Calls.json").await, 429, 20429).await;
    };
    tokio::select! {
        _ = async { tokio::join!(a, b) } => panic!("they are slow"),
        () = refused_third => {}
    }
    assert_eq!(twilio.world.traffic().most_at_once, 3);
}
