//! The live stream: every event once and in order, also for a client that is cut off and resumes.

use std::time::Duration;

use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::support::client::{http, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, call_sid};

#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub id: i64,
    /// As it came, with the incarnation of the log.
    pub whole_id: String,
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
        Self::connect_after(callbook, last.map(|last| last.to_string()).as_deref()).await
    }

    /// Hears what came after a position, and where everything has led.
    pub async fn with_entries(callbook: &Callbook, last: i64) -> Self {
        let url = format!("{}/events/calls?entries=true", callbook.url);
        let request = http().get(url).header("Last-Event-ID", last.to_string());
        Self::of(request.send().await.unwrap(), Some(last))
    }

    pub async fn connect_after(callbook: &Callbook, id: Option<&str>) -> Self {
        let mut request = http().get(format!("{}/events/calls", callbook.url));
        if let Some(id) = id {
            request = request.header("Last-Event-ID", id);
        }
        Self::of(request.send().await.unwrap(), id.map(position))
    }

    fn of(response: reqwest::Response, last: Option<i64>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut bytes = response.bytes_stream();
        let frames = async_stream::stream! {
            let mut buffer = Vec::new();
            while let Some(Ok(chunk)) = bytes.next().await {
                buffer.extend_from_slice(&chunk);
                let mut read = 0;
                while let Some(end) = buffer[read..].windows(2).position(|pair| pair == b"\n\n") {
                    yield parse(std::str::from_utf8(&buffer[read..read + end]).unwrap());
                    read += end + 2;
                }
                buffer.drain(..read);
            }
        };
        Self { frames: Box::pin(frames), last }
    }

    /// The next frame that says something, which on a busy machine may come after one that only says that the stream
    /// goes on.
    pub async fn next(&mut self) -> Received {
        loop {
            let frame = self.frames.next().await.expect("the stream goes on");
            if frame.event != "keepalive" {
                self.last = Some(frame.id);
                return frame;
            }
        }
    }

    /// What comes until the stream ends.
    async fn rest(&mut self) -> Vec<Received> {
        self.frames.by_ref().collect().await
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

/// Behind the incarnation of the log.
fn position(id: &str) -> i64 {
    id.rsplit('-').next().and_then(|position| position.parse().ok()).unwrap_or(0)
}

fn parse(frame: &str) -> Received {
    let field = |name: &str| {
        frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    };
    Received {
        id: position(field("id")),
        whole_id: field("id").to_owned(),
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
        json!({
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

/// What a frame is to say of a call that is listed as in progress.
fn listed(call: &Value) -> Value {
    let (contact, conversation) = (&call["contact"], &call["conversation"]);
    let parent = &call["metadata"]["parent_call_sid"];
    json!({
        "sid": call["external_id"],
        "rootSid": if parent.is_null() { &call["external_id"] } else { parent },
        "conversationId": call["conversation_id"],
        "name": contact["display_name"],
        "handle": contact["handle"],
        "number": contact["phone_number"],
        "direction": call["direction"],
        "status": call["call_status"],
        "missed": call["missed"],
        "live": call["live"],
        "line": call["line"],
        "startTime": call["call"]["start_time"],
        "answeredAt": call["call"]["answered_at"],
        "endTime": call["call"]["end_time"],
        "duration": call["call"]["duration"],
        "unreadCount": conversation["unread_count"],
        "archived": conversation["archived"],
    })
}

#[tokio::test]
async fn a_frame_has_the_call_as_the_list_of_calls_in_progress_has_it() {
    let callbook = Callbook::start().await;
    let mut client = Client::with_entries(&callbook, 0).await;
    let at = "Sun, 08 Feb 2026 06:11:30 +0000";
    let (root, child, orphan) = (call_sid(1), call_sid(2), call_sid(4));
    let of_child = |state, sequence| status(&child, Some(&root), CUSTOMER, DISPATCHER, state, sequence, at);
    // A missed call first, so that there is something unread; then a call that is put through, one of somebody who
    // withholds their number, and a leg whose root nothing was heard of.
    place(&callbook, 0..1).await;
    for (endpoint, params, sid) in [
        ("voice-inbound", incoming(&root, CUSTOMER, OURS), &root),
        ("voice-status", of_child("ringing", 1), &root),
        ("voice-status", of_child("in-progress", 2), &root),
        ("voice-inbound", incoming(&call_sid(5), "anonymous", OURS), &call_sid(5)),
        (
            "voice-status",
            status(&orphan, Some(&call_sid(3)), CUSTOMER, DISPATCHER, "ringing", 1, at),
            &orphan,
        ),
    ] {
        callbook.twilio().send(endpoint, &params).await;
        let head = callbook.settled().await;
        let frame = client.until(head).await.pop().unwrap();
        let active = callbook.get("/api/conversations/active").await;
        let call =
            active["calls"].as_array().unwrap().iter().find(|call| call["external_id"] == **sid).unwrap();
        assert_eq!(frame.data["entry"], listed(call), "{}", frame.data);
        assert_eq!(frame.data["asOf"], active["position"]);
    }

    let head = place(&callbook, 1..2).await;
    let frame = client.until(head).await.pop().unwrap();
    assert_eq!(
        (&frame.data["callSid"], &frame.data["entry"]["live"]),
        (&json!(root), &json!(true)),
        "a leg goes on"
    );
    let ended = of_child("completed", 3);
    callbook.twilio().send("voice-status", &lasting(ended, 20)).await;
    let head = callbook.settled().await;
    let frame = client.until(head).await.pop().unwrap();
    assert_eq!(frame.data["callSid"], child);
    let entry = &frame.data["entry"];
    assert_eq!((&entry["sid"], &entry["live"]), (&json!(root), &json!(false)));
    assert_eq!((&entry["status"], &entry["unreadCount"]), (&json!("completed"), &json!(1)));
}

#[tokio::test]
async fn a_frame_of_a_call_that_no_list_shows_has_no_entry() {
    let callbook = Callbook::start().await;
    let mut client = Client::with_entries(&callbook, 0).await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), DISPATCHER, "client:alice")).await;
    let head = callbook.settled().await;
    let frame = client.until(head).await.pop().unwrap();
    assert_eq!((&frame.data["callSid"], &frame.data["entry"]), (&json!(call_sid(1)), &Value::Null));
    assert_eq!(callbook.get("/api/conversations/active").await["total"], 0);
}

#[tokio::test]
async fn what_is_read_from_the_log_has_the_entry_that_the_call_is_in_by_now() {
    let callbook = Callbook::start().await;
    let (first, second, child) = (call_sid(0), call_sid(2), call_sid(3));
    let twilio = callbook.twilio();
    for sid in [&first, &second] {
        twilio.send("voice-inbound", &incoming(sid, CUSTOMER, OURS)).await;
    }
    // Its parent is corrected, so it leaves the first family.
    for (parent, sequence) in [(&first, 1), (&second, 2)] {
        let at = "Sun, 08 Feb 2026 06:11:30 +0000";
        let ringing = status(&child, Some(parent), CUSTOMER, DISPATCHER, "ringing", sequence, at);
        twilio.send("voice-status", &ringing).await;
    }
    let head = place(&callbook, 0..1).await;
    for frame in Client::with_entries(&callbook, 0).await.until(head).await {
        if frame.event == "connected" {
            continue;
        }
        let (call, entry) = (&frame.data["callSid"], &frame.data["entry"]);
        assert_eq!(frame.data["asOf"], head);
        assert_eq!(entry["sid"], if *call == child { json!(second) } else { call.clone() });
        assert_eq!(entry["live"], *call != first, "{}", frame.data);
    }
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

#[tokio::test]
async fn a_callbook_that_stops_says_goodbye_and_its_clients_resume_where_they_were() {
    let callbook = Callbook::start().await;
    let mut client = Client::connect(&callbook, None).await;
    assert_eq!(client.next().await.event, "connected");
    let head = place(&callbook, 0..2).await;
    client.until(head).await;
    let (stopped, rest) = tokio::join!(callbook.stop(), client.rest());
    let [goodbye] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!((goodbye.event.as_str(), goodbye.id), ("goodbye", head));
    assert!((1_000..5_000).contains(&goodbye.data["retry_ms"].as_u64().unwrap()), "{goodbye:?}");

    let callbook = stopped.start(&[]).await;
    let mut client = Client::connect_after(&callbook, Some(&goodbye.whole_id)).await;
    assert_eq!(client.next().await.whole_id, goodbye.whole_id);
    let further = place(&callbook, 2..3).await;
    let seen: Vec<i64> = client.until(further).await.into_iter().map(|frame| frame.id).collect();
    assert_eq!(seen.first(), Some(&(head + 1)));
}

#[tokio::test]
async fn a_position_of_a_former_life_of_the_log_is_reset() {
    let callbook = Callbook::start().await;
    let head = place(&callbook, 0..2).await;
    let connected = Client::connect(&callbook, None).await.next().await;
    assert_eq!(connected.whole_id, format!("{}-{head}", connected.data["incarnation"].as_str().unwrap()));
    let same = Client::connect_after(&callbook, Some(&connected.whole_id)).await.next().await;
    assert_eq!((same.event.as_str(), same.id), ("connected", head));

    // As a restore does it.
    sqlx::query("update installation set incarnation = 'restored'").execute(&callbook.pool).await.unwrap();
    let callbook = callbook.restart(&[]).await;
    let mut former = Client::connect_after(&callbook, Some(&connected.whole_id)).await;
    let reset = former.next().await;
    assert_eq!((reset.event.as_str(), reset.whole_id), ("reset", format!("restored-{head}")));
    assert_eq!(former.next().await.event, "connected");
    let bare = Client::connect(&callbook, Some(head - 1)).await.next().await;
    assert_eq!(
        (bare.event.as_str(), bare.id),
        ("connected", head - 1),
        "a position alone is taken at its word"
    );
}

/// Asks for the stream and reads nothing of it.
async fn idle_client(callbook: &Callbook) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(callbook.app.address).await.unwrap();
    let request = format!("GET /events/calls HTTP/1.1\r\nHost: {}\r\n\r\n", callbook.app.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn until_stats(callbook: &Callbook, expected: impl Fn(&Value) -> bool) -> Value {
    let until = async {
        loop {
            let stats = callbook.get("/events/stats").await;
            if expected(&stats) {
                return stats;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), until).await.expect("the stream's clients are as expected")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_dropped_and_touches_nobody_else() {
    const CLIENTS: usize = 50;
    let callbook = Callbook::with(&[("CLIENT_PATIENCE_SECONDS", "3")]).await;
    let mut reading = Vec::new();
    let (found, head) = watch::channel(i64::MAX);
    for _ in 0..CLIENTS {
        let (mut client, mut head) = (Client::connect(&callbook, None).await, head.clone());
        assert_eq!(client.next().await.event, "connected");
        reading.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                tokio::select! {
                    frame = client.next() => seen.push(frame.id),
                    _ = head.wait_for(|head| seen.last() == Some(head)) => return seen,
                }
            }
        }));
    }
    let idle = idle_client(&callbook).await;
    until_stats(&callbook, |stats| stats["connected_clients"] == CLIENTS + 1).await;

    // The first event of a call, for more calls than any buffer on the way holds.
    place(&callbook, 0..1).await;
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select aggregate_type, 'CA' || lpad(n::text, 32, '0'), 1, event_type, event_version, payload, metadata
           from call_events, generate_series(1000, 3999) as n
          where aggregate_id = $1 and sequence = 1",
    )
    .bind(call_sid(0))
    .execute(&callbook.pool)
    .await
    .unwrap();
    let stats = until_stats(&callbook, |stats| stats["connected_clients"] == CLIENTS).await;
    assert_eq!(stats["stalled"], 1);
    // What happens when it is gone.
    let last = place(&callbook, 1..2).await;
    let expected = positions(&callbook).await;
    found.send(last).unwrap();
    for client in reading {
        let seen = client.await.unwrap();
        assert!(seen == expected, "{} of {} events, or not in order", seen.len(), expected.len());
    }
    drop(idle);
}
