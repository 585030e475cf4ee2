//! Simulated calls through the real application end as the simulator says they must.

use std::collections::BTreeMap;

use callbook::simulator::{Disturbance, Driver, ExpectedCall, Options};

use crate::stream::Client;
use crate::support::{Callbook, account};

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Shown {
    twilio_sid: String,
    status: String,
    direction: String,
    thread: Option<String>,
    duration: Option<i32>,
    talk_time: Option<i32>,
    wait_time: Option<i32>,
    display_status: String,
    missed: bool,
    recorded: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_calls_end_as_the_simulator_says() {
    // The client that stays is read only at the end.
    let callbook = Callbook::with(&[("CLIENT_PATIENCE_SECONDS", "3600")]).await;
    let account = account();
    let driver = Driver::new(&callbook.url, &callbook.url, account).unwrap();
    let options = Options {
        calls: 500,
        rate_per_second: 50.0,
        speed: 100.0,
        seed: 1,
        disturbance: Disturbance { repeat: 0.1, late: 0.1, reorder: 0.2, drop: 0.0 },
        first_index: 0,
    };
    let (mut steady, mut cut_off) =
        (Client::connect(&callbook, Some(0)).await, Client::connect(&callbook, Some(0)).await);
    let run = driver.run(options, |_| {});
    // Cut off after every seventh frame, `connected` included, for as long as calls are placed.
    let follow = async {
        let mut seen = Vec::new();
        loop {
            for _ in 0..7 {
                let frame = cut_off.next().await;
                if frame.event != "connected" && frame.event != "keepalive" {
                    seen.push(frame.id);
                }
            }
            if seen.len() > 1_000 {
                return seen;
            }
            cut_off = Client::connect(&callbook, cut_off.last()).await;
        }
    };
    let (report, seen) = tokio::join!(run, follow);
    let report = report.unwrap();
    assert!(report.is_clean(), "{:?}", report.unexpected);
    let head = callbook.settled().await;
    let log: Vec<i64> =
        sqlx::query_scalar("select id from call_events order by id").fetch_all(&callbook.pool).await.unwrap();
    assert_eq!(seen, log[..seen.len()], "a client that is cut off gets every event once and in order");
    assert_eq!(steady.next().await.event, "connected");
    let frames = steady.until(head).await.into_iter();
    // On a busy machine the calls last longer than nothing is said.
    let all: Vec<i64> = frames.filter(|frame| frame.event != "keepalive").map(|frame| frame.id).collect();
    assert_eq!(all, log, "a client that stays gets every event once and in order");

    let shown: Vec<Shown> = sqlx::query_as(
        "select m.twilio_sid, m.status, m.direction, c.external_id as thread, m.duration, m.talk_time, m.wait_time,
                m.display_status, m.missed, m.recording_sid is not null as recorded
           from messages m left join conversations c on c.id = m.conversation_id",
    )
    .fetch_all(&callbook.pool)
    .await
    .unwrap();
    let shown: BTreeMap<String, Shown> = shown.into_iter().map(|row| (row.twilio_sid.clone(), row)).collect();
    assert_eq!(shown.len(), report.expected.len());
    let different: Vec<String> = report
        .expected
        .iter()
        .filter_map(|expected| difference(expected, shown.get(&expected.call_sid)))
        .collect();
    assert!(different.is_empty(), "{} calls differ:\n{}", different.len(), different.join("\n"));
    assert_eq!(callbook.get("/api/conversations/active").await["total"], 0, "no call hangs");
    assert_eq!(
        callbook
            .count("select count(*) from twilio_webhook_inbox where processing_status <> 'completed'")
            .await,
        0
    );
    assert_counters(&callbook).await;
    callbook.verify().await;
}

fn difference(expected: &ExpectedCall, shown: Option<&Shown>) -> Option<String> {
    let seconds = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
    let wanted = Shown {
        twilio_sid: expected.call_sid.clone(),
        status: expected.status.clone(),
        direction: expected.direction.clone(),
        thread: expected.thread.clone(),
        duration: seconds(expected.duration),
        talk_time: seconds(expected.talk_time),
        wait_time: seconds(expected.wait_time),
        // The simulator says it of a whole call, which its root stands for.
        display_status: expected.display_status.clone().unwrap_or_else(|| expected.status.clone()),
        missed: expected.missed,
        recorded: expected.recorded,
    };
    (shown != Some(&wanted)).then(|| format!("{:?}: expected {wanted:?}, shown {shown:?}", expected.scenario))
}

/// The counters that lists show, counted again.
async fn assert_counters(callbook: &Callbook) {
    let wrong = callbook
        .count(
            "select count(*) from conversations c
              left join lateral (
                    select count(*) as calls, coalesce(sum(total_duration), 0) as seconds, max(start_time) as last
                      from messages m where m.conversation_id = c.id and m.entry
              ) m on true
              where (c.total_calls, c.total_duration, c.last_message_at) is distinct from (m.calls, m.seconds, m.last)",
        )
        .await;
    assert_eq!(wrong, 0, "a thread's counters differ from its calls");
    let total = callbook.get("/api/conversations").await["total"].as_i64().unwrap();
    assert_eq!(total, callbook.count("select count(*) from conversations").await);
}
