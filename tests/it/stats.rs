//! Statistics: what calls came to, in the hours and days of any time zone.

use serde_json::{Value, json};

use crate::support::client::{dial_action, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

/// A call to us at that moment, as Twilio writes it, that was answered after a while and talked for so many seconds.
async fn answered(callbook: &Callbook, n: u32, at: &str, wait: u32, talk: u32) {
    dialled(callbook, n, at, "completed", wait, talk).await;
}

async fn dialled(callbook: &Callbook, n: u32, at: &str, came_to: &str, wait: u32, talk: u32) {
    let (root, child) = (call_sid(2 * n), call_sid(2 * n + 1));
    let twilio = callbook.twilio();
    twilio.send("voice-status", &status(&root, None, CUSTOMER, OURS, "ringing", 0, at)).await;
    let ended = status(&child, Some(&root), CUSTOMER, DISPATCHER, came_to, 3, at);
    twilio.send("voice-status", &lasting(ended, talk)).await;
    twilio.send("dial-action", &dial_action(&root, &child, CUSTOMER, OURS, came_to, talk)).await;
    let ended = status(&root, None, CUSTOMER, OURS, "completed", 4, at);
    // Its end says when it began.
    twilio.send("voice-status", &lasting(ended, wait + talk)).await;
    callbook.settled().await;
}

async fn stats(callbook: &Callbook, query: &str) -> Value {
    callbook.get(&format!("/api/stats?{query}")).await
}

fn buckets(stats: &Value) -> &Vec<Value> {
    stats["buckets"].as_array().unwrap()
}

/// Some fields of each bucket that has calls.
fn with_calls<const N: usize>(stats: &Value, fields: [&str; N]) -> Vec<[Value; N]> {
    let with = buckets(stats).iter().filter(|bucket| bucket["calls"] != 0);
    with.map(|bucket| fields.map(|field| bucket[field].clone())).collect()
}

#[tokio::test]
async fn calls_are_counted_as_they_ended_right_after_they_did() {
    let callbook = Callbook::start().await;
    let at = "Sun, 08 Feb 2026 06:11:00 +0000";
    for (n, (came_to, wait, talk)) in [
        ("completed", 9, 20),
        ("completed", 5, 100),
        ("completed", 7, 40),
        ("no-answer", 30, 0),
        ("busy", 2, 0),
        ("failed", 1, 0),
    ]
    .into_iter()
    .enumerate()
    {
        dialled(&callbook, n as u32, at, came_to, wait, talk).await;
    }
    let twilio = callbook.twilio();
    // It rings.
    twilio.send("voice-status", &status(&call_sid(90), None, CUSTOMER, OURS, "ringing", 0, at)).await;
    // The dispatcher calls, by our number, and gives up.
    let (root, child) = (call_sid(92), call_sid(93));
    twilio.send("voice-status", &status(&root, None, DISPATCHER, CUSTOMER, "ringing", 0, at)).await;
    let child = status(&child, Some(&root), OURS, CUSTOMER, "canceled", 3, at);
    twilio.send("voice-status", &child).await;
    twilio.send("voice-status", &status(&root, None, DISPATCHER, CUSTOMER, "completed", 4, at)).await;
    // What no thread shows is not counted.
    twilio.send("voice-inbound", &incoming(&call_sid(94), DISPATCHER, "client:alice")).await;
    callbook.settled().await;

    let day = stats(&callbook, "from=2026-02-08&to=2026-02-08").await;
    let inbound = json!({
        "calls": 7, "live": 1, "answered": 3, "missed": 3, "no_answer": 1, "busy": 1, "failed": 1, "canceled": 0,
        "answer_rate": 0.5,
        "talk_time": { "mean": 53.3, "p50": 40, "p95": 100 },
        "wait_time": { "mean": 9.0, "p50": 5, "p95": 30 },
    });
    let total = &day["total"];
    assert_eq!(total["calls"], 8);
    assert_eq!((&total["canceled"], &total["answer_rate"]), (&json!(1), &json!(0.4286)));
    assert_eq!(day["by_direction"].as_array().unwrap().len(), 2);
    let mut expected = inbound;
    expected["direction"] = "inbound".into();
    assert_eq!(day["by_direction"][0], expected);
    assert_eq!(day["by_direction"][1]["direction"], "outbound");
    let lines = day["by_line"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[0]["line"], &lines[0]["calls"]), (1, &json!(OURS), &json!(8)));
    assert_eq!(buckets(&day).len(), 1);
    let mut bucket = total.clone();
    for (name, value) in [
        ("start", json!("2026-02-08T00:00:00Z")),
        ("end", json!("2026-02-09T00:00:00Z")),
        ("date", json!("2026-02-08")),
        ("weekday", json!(7)),
        ("hour", Value::Null),
    ] {
        bucket[name] = value;
    }
    assert_eq!(buckets(&day)[0], bucket);
    // The lists say the same.
    for (filter, field) in [("missed=true", "missed"), ("status=busy", "busy"), ("from=2026-02-08", "calls")]
    {
        assert_eq!(callbook.get(&format!("/api/calls?{filter}")).await["total"], total[field], "{filter}");
    }
    // And they are asked the same.
    let busy = stats(&callbook, "from=2026-02-08&to=2026-02-08&status=busy&direction=inbound").await;
    assert_eq!((&busy["total"]["calls"], &busy["total"]["busy"]), (&json!(1), &json!(1)));
    callbook.stop().await;
}

#[tokio::test]
async fn a_span_without_calls_has_all_its_hours_and_days() {
    let callbook = Callbook::start().await;
    let nothing = json!({
        "calls": 0, "live": 0, "answered": 0, "missed": 0, "no_answer": 0, "busy": 0, "failed": 0, "canceled": 0,
        "answer_rate": null,
        "talk_time": { "mean": null, "p50": null, "p95": null },
        "wait_time": { "mean": null, "p50": null, "p95": null },
    });
    for (query, count) in [
        ("", 7),
        ("tz=Asia/Kathmandu", 7),
        ("from=2026-02-01&to=2026-02-28", 28),
        ("from=2026-02-01&to=2026-02-28&by=weekday_hour", 168),
        ("from=2026-02-07&to=2026-02-08&by=hour", 48),
        ("from=2026-02-08T06:10:00Z&to=2026-02-08T08:10:00Z&by=hour", 3),
        ("from=2026-02-08T06:10:00Z&to=2026-02-08T08:00:00Z&by=hour", 2),
    ] {
        let found = stats(&callbook, query).await;
        assert_eq!(found["total"], nothing, "{query}");
        assert_eq!(buckets(&found).len(), count, "{query}");
        for bucket in buckets(&found) {
            assert_eq!(bucket["talk_time"], nothing["talk_time"], "{query}");
            assert_eq!(bucket["calls"], 0, "{query}");
        }
    }
    let partial = stats(&callbook, "from=2026-02-08T06:10:00Z&to=2026-02-08T07:10:00Z&by=hour").await;
    let ends = |bucket: &Value| (bucket["start"].clone(), bucket["end"].clone(), bucket["hour"].clone());
    assert_eq!(
        buckets(&partial).iter().map(ends).collect::<Vec<_>>(),
        [
            (json!("2026-02-08T06:10:00Z"), json!("2026-02-08T07:00:00Z"), json!(6)),
            (json!("2026-02-08T07:00:00Z"), json!("2026-02-08T07:10:00Z"), json!(7)),
        ]
    );
    callbook.stop().await;
}

#[tokio::test]
async fn the_two_odd_days_of_a_year_have_23_and_25_hours() {
    let callbook = Callbook::start().await;
    // Before and after the clocks were put forward, from two o'clock to three.
    answered(&callbook, 1, "Sun, 29 Mar 2026 00:30:00 +0000", 0, 0).await;
    answered(&callbook, 2, "Sun, 29 Mar 2026 01:30:00 +0000", 0, 0).await;
    // Half past two in summer, half past two in winter, and the last minute of the day.
    answered(&callbook, 3, "Sun, 25 Oct 2026 00:30:00 +0000", 0, 0).await;
    answered(&callbook, 4, "Sun, 25 Oct 2026 01:30:00 +0000", 0, 0).await;
    answered(&callbook, 5, "Sun, 25 Oct 2026 22:59:00 +0000", 0, 0).await;
    answered(&callbook, 6, "Sun, 25 Oct 2026 23:00:00 +0000", 0, 0).await;
    let berlin = "tz=Europe/Berlin";

    let spring = stats(&callbook, &format!("{berlin}&by=hour&from=2026-03-29&to=2026-03-29")).await;
    assert_eq!(
        (&spring["from"], &spring["to"]),
        (&json!("2026-03-28T23:00:00Z"), &json!("2026-03-29T22:00:00Z"))
    );
    let hours: Vec<i64> = buckets(&spring).iter().map(|hour| hour["hour"].as_i64().unwrap()).collect();
    assert_eq!(hours, (0..24).filter(|hour| *hour != 2).collect::<Vec<_>>());
    let found = with_calls(&spring, ["start", "hour", "calls"]);
    assert_eq!(
        found,
        [
            [json!("2026-03-29T00:00:00Z"), json!(1), json!(1)],
            [json!("2026-03-29T01:00:00Z"), json!(3), json!(1)]
        ]
    );

    let autumn = stats(&callbook, &format!("{berlin}&by=hour&from=2026-10-25&to=2026-10-25")).await;
    assert_eq!(
        (&autumn["from"], &autumn["to"]),
        (&json!("2026-10-24T22:00:00Z"), &json!("2026-10-25T23:00:00Z"))
    );
    assert_eq!(buckets(&autumn).len(), 25);
    let found = with_calls(&autumn, ["start", "hour", "calls"]);
    assert_eq!(
        found,
        [
            [json!("2026-10-25T00:00:00Z"), json!(2), json!(1)],
            [json!("2026-10-25T01:00:00Z"), json!(2), json!(1)],
            [json!("2026-10-25T22:00:00Z"), json!(23), json!(1)],
        ]
    );

    let days = stats(&callbook, &format!("{berlin}&from=2026-03-28&to=2026-10-26")).await;
    let found = with_calls(&days, ["date", "start", "end", "calls"]);
    assert_eq!(
        found,
        [
            [json!("2026-03-29"), json!("2026-03-28T23:00:00Z"), json!("2026-03-29T22:00:00Z"), json!(2)],
            [json!("2026-10-25"), json!("2026-10-24T22:00:00Z"), json!("2026-10-25T23:00:00Z"), json!(3)],
            [json!("2026-10-26"), json!("2026-10-25T23:00:00Z"), json!("2026-10-26T23:00:00Z"), json!(1)],
        ]
    );
    assert_eq!(buckets(&days).len(), 213);

    let week = stats(&callbook, &format!("{berlin}&by=weekday_hour&from=2026-03-28&to=2026-10-26")).await;
    let found = with_calls(&week, ["weekday", "hour", "calls"]);
    let cell = |weekday: i32, hour: i32, calls: i32| [json!(weekday), json!(hour), json!(calls)];
    assert_eq!(found, [cell(1, 0, 1), cell(7, 1, 1), cell(7, 2, 2), cell(7, 3, 1), cell(7, 23, 1)]);
    callbook.stop().await;
}

#[tokio::test]
async fn a_midnight_that_comes_twice_or_not_at_all_begins_one_day() {
    let callbook = Callbook::start().await;
    // In Havana, one o'clock on 1 November is midnight again, and midnight on 8 March is one o'clock.
    answered(&callbook, 1, "Sun, 01 Nov 2026 04:30:00 +0000", 0, 0).await;
    answered(&callbook, 2, "Sun, 01 Nov 2026 05:30:00 +0000", 0, 0).await;
    answered(&callbook, 3, "Sun, 08 Mar 2026 05:30:00 +0000", 0, 0).await;
    let days = stats(&callbook, "tz=America/Havana&from=2026-03-08&to=2026-11-01").await;
    let found = with_calls(&days, ["date", "start", "end", "calls"]);
    assert_eq!(
        found,
        [
            [json!("2026-03-08"), json!("2026-03-08T05:00:00Z"), json!("2026-03-09T04:00:00Z"), json!(1)],
            [json!("2026-11-01"), json!("2026-11-01T04:00:00Z"), json!("2026-11-02T05:00:00Z"), json!(2)],
        ]
    );
    let day = stats(&callbook, "tz=America/Havana&from=2026-11-01&to=2026-11-01&by=hour").await;
    assert_eq!(buckets(&day).len(), 25);
    assert_eq!(with_calls(&day, ["hour", "calls"]), [[json!(0), json!(1)], [json!(0), json!(1)]]);
    callbook.stop().await;
}

#[tokio::test]
async fn every_call_of_a_span_is_in_one_of_its_hours_in_any_zone() {
    let callbook = Callbook::start().await;
    for (n, minutes) in (0..24_u32).map(|n| (n, n * 25)) {
        let at = format!("Sat, 04 Apr 2026 {:02}:{:02}:00 +0000", 12 + minutes / 60, minutes % 60);
        let ended = lasting(status(&call_sid(n), None, CUSTOMER, OURS, "completed", 0, &at), 0);
        callbook.twilio().send("voice-status", &ended).await;
    }
    callbook.settled().await;
    for zone in ["UTC", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Chatham", "America/St_Johns"] {
        for by in ["day", "hour", "weekday_hour"] {
            let query = format!("tz={zone}&by={by}&from=2026-04-03&to=2026-04-06");
            let found = stats(&callbook, &query).await;
            let sum: i64 = buckets(&found).iter().map(|bucket| bucket["calls"].as_i64().unwrap()).sum();
            assert_eq!((sum, &found["total"]["calls"]), (24, &json!(24)), "{query}");
        }
    }
    callbook.stop().await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_told_which_parameter() {
    let callbook = Callbook::start().await;
    for (query, parameter) in [
        ("by=week", "by"),
        ("by=", "by"),
        ("tz=Europe/Atlantis", "tz"),
        ("tz=", "tz"),
        // PostgreSQL would take these, the second one as three hours behind.
        ("tz=europe/berlin", "tz"),
        ("tz=UTC%2B3", "tz"),
        ("tz=a%00b", "tz"),
        ("from=2026-02-30", "from"),
        ("to=now", "to"),
        ("from=2026-02-08&to=2026-02-07", "to"),
        ("from=2026-02-08T06:11:00Z&to=2026-02-08T06:11:00Z", "to"),
        ("from=2290-01-01", "from"),
        ("from=2025-01-01&to=2026-01-02", "from"),
        ("from=2026-01-01&to=2026-02-01&by=hour", "from"),
        ("missed=perhaps", "missed"),
    ] {
        let (found, problem) = callbook.fetch(&format!("/api/stats?{query}")).await;
        assert_eq!((found, &problem["code"]), (400, &json!("bad-parameter")), "{query}: {problem}");
        assert_eq!(problem["parameter"], parameter, "{query}");
    }
    for query in ["from=2025-01-01&to=2026-01-01", "tz=Europe/Berlin&from=2026-10-01&to=2026-10-31&by=hour"] {
        let (found, answer) = callbook.fetch(&format!("/api/stats?{query}")).await;
        assert_eq!(found, 200, "{query}: {answer}");
    }
    callbook.stop().await;
}
