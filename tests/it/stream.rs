//! The live stream: every event once and in order, also for a client that is cut off and resumes.

use futures::{Stream, StreamExt};
use serde_json::Value;

use crate::support::client::{http, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, OURS, call_sid};

#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub id: i64,
    pub event: String,
    pub data: Value,
}

/// A client as a browser's EventSource is one.
pub struct Client {
    frames: std::pin::Pin<Box<dyn Stream<Item = Received> + Send>>,
    last: Option<i64>,
}

impl Client {
    pub async fn connect(callbook: &Callbook, last: Option<i64>) -> Self {
        let mut request = http().get(format!("{}/events/calls", callbook.url));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last.to_string());
        }
        Self::of(request.send().await.unwrap(), last)
    }

    fn of(response: reqwest::Response, last: Option<i64>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut bytes = response.bytes_stream();
        let frames = async_stream::stream! {
            let mut buffer = Vec::new();
            while let Some(Ok(chunk)) = bytes.next().await {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                    let frame: Vec<u8> = buffer.drain(..end + 2).collect();
                    yield parse(std::str::from_utf8(&frame).unwrap());
                }
            }
        };
        Self { frames: Box::pin(frames), last }
    }

    pub async fn next(&mut self) -> Received {
        let frame = self.frames.next().await.expect("the stream goes on");
        self.last = Some(frame.id);
        frame
    }

    /// The last id received, which is what a browser would resume from.
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// Everything up to this position.
    pub async fn until(&mut self, position: i64) -> Vec<Received> {
        let mut received = Vec::new();
        while self.last.unwrap_or(0) < position {
            received.push(self.next().await);
        }
        received
    }
}

fn parse(frame: &str) -> Received {
    let field = |name: &str| {
        frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    };
    Received {
        id: field("id").parse().unwrap_or(0),
        event: field("event").to_owned(),
        data: serde_json::from_str(field("data")).unwrap(),
    }
}

async fn place(callbook: &Callbook, calls: std::ops::Range<u32>) -> i64 {
    let twilio = callbook.twilio();
    for n in calls {
        let sid = call_sid(n);
        twilio.send("voice-inbound", &incoming(&sid, CUSTOMER, OURS)).await;
        let ended = status(&sid, None, CUSTOMER, OURS, "completed", 0, "Sun, 08 Feb 2026 06:11:30 +0000");
        twilio.send("voice-status", &lasting(ended, 29)).await;
    }
    callbook.settled().await
}

async fn positions(callbook: &Callbook) -> Vec<i64> {
    sqlx::query_scalar("select id from call_events order by id").fetch_all(&callbook.pool).await.unwrap()
}

#[tokio::test]
async fn an_event_has_seed_000s_payload() {
    let callbook = Callbook::start().await;
    let mut client = Client::connect(&callbook, None).await;
    let connected = client.next().await;
    assert_eq!((connected.event.as_str(), connected.id), ("connected", 0));
    let head = place(&callbook, 1..2).await;
    let received = client.until(head).await;
    assert_eq!(received[0].event, "call.created");
    assert_eq!(received[0].data["callSid"], call_sid(1));
    assert_eq!(received[0].data["status"], "ringing");
    let ended = received.last().unwrap();
    assert_eq!(ended.event, "call.updated");
    assert_eq!(
        ended.data,
        serde_json::json!({
            "callSid": call_sid(1),
            "status": "completed",
            "direction": "inbound",
            "from": CUSTOMER,
            "to": OURS,
            "duration": 29,
            "timestamp": "2026-02-08T06:11:30Z",
        })
    );
}

#[tokio::test]
async fn a_client_that_is_cut_off_again_and_again_gets_every_event_once_and_in_order() {
    let callbook = Callbook::start().await;
    let mut client = Client::connect(&callbook, None).await;
    // Cut off right after `connected`, before anything happened.
    assert_eq!(client.next().await.event, "connected");
    let mut last = client.last;
    drop(client);
    let mut seen = Vec::new();
    for round in 0..6_u32 {
        let head = place(&callbook, round * 5..round * 5 + 5).await;
        // Twice: once cut off right after `connected`, once in the middle.
        let mut client = Client::connect(&callbook, last).await;
        assert_eq!(client.next().await.id, last.unwrap(), "connected repeats the position it resumes from");
        last = client.last;
        drop(client);
        let mut client = Client::connect(&callbook, last).await;
        assert_eq!(client.next().await.event, "connected");
        for _ in 0..round {
            seen.push(client.next().await.id);
        }
        last = client.last;
        drop(client);
        let mut client = Client::connect(&callbook, last).await;
        assert_eq!(client.next().await.event, "connected");
        seen.extend(client.until(head).await.into_iter().map(|frame| frame.id));
        last = client.last;
    }
    assert_eq!(seen, positions(&callbook).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_connect_while_calls_flow_see_the_same() {
    let callbook = std::sync::Arc::new(Callbook::start().await);
    let early: Vec<_> = futures::future::join_all((0..8).map(async |n| {
        let mut client = Client::connect(&callbook, (n % 2 == 0).then_some(0)).await;
        assert_eq!(client.next().await.event, "connected");
        client
    }))
    .await;
    let head = place(&callbook, 0..40).await;
    let expected = positions(&callbook).await;
    for mut client in early {
        let seen: Vec<i64> = client.until(head).await.into_iter().map(|frame| frame.id).collect();
        assert_eq!(seen, expected);
    }
    let late = http().get(format!("{}/events/calls?after=0", callbook.url)).send().await.unwrap();
    let mut late = Client::of(late, Some(0));
    assert_eq!(late.next().await.event, "connected");
    let seen: Vec<i64> = late.until(head).await.into_iter().map(|frame| frame.id).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_position_that_this_log_does_not_know_is_reset() {
    let callbook = Callbook::start().await;
    let head = place(&callbook, 0..2).await;
    let mut client = Client::connect(&callbook, Some(head + 1_000)).await;
    let reset = client.next().await;
    assert_eq!((reset.event.as_str(), reset.id), ("reset", head));
    assert_eq!(client.next().await.event, "connected");
    let further = place(&callbook, 2..3).await;
    let seen: Vec<i64> = client.until(further).await.into_iter().map(|frame| frame.id).collect();
    assert_eq!(seen.first(), Some(&(head + 1)));
}

#[tokio::test]
async fn stats_count_the_connected_clients() {
    let callbook = Callbook::start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&callbook, None).await;
        client.next().await;
        clients.push(client);
    }
    let stats = callbook.get("/events/stats").await;
    assert_eq!(stats["connected_clients"], 3);
    assert_eq!(stats["total_connections"], 3);
}
