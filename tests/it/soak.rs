//! Sixteen writers of three kinds, a projection, rebuilds and a client that is cut off again and again: every
//! stream counted, nothing lost and nothing twice.
//!
//! `CALLBOOK_SOAK_EVENTS=1000000 cargo test --release --test it soak -- --nocapture` is the long run: a short one
//! hides a loss of one in some thousands.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callbook::event_store::{Committer, NewEvent, StreamState, Unit};
use cqrs_es::Aggregate;
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use domain::call::command::{Announce, Identification, ReportStatus};
use domain::call::{Call, CallCommand, CallStatus};
use domain::direction::{Lines, TwilioDirection};
use domain::phone::{Address, PhoneNumber};
use domain::sid::CallSid;
use postgres_es::PostgresEventRepository;
use projections::rebuild::{self, RebuildError};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::watch;

use crate::stream::Client;
use crate::support::{Callbook, OURS};

const WRITERS: usize = 16;
/// Enough for a defect of the order of events, and done in seconds.
const DEFAULT_EVENTS: usize = 2_400;
/// After so many events the client hangs up and comes back with the last id.
const CUTS: [usize; 5] = [1, 300, 17, 1_000, 64];

/// How a writer appends.
#[derive(Clone)]
enum Writer {
    Committer(Committer),
    PostgresEs(Arc<PostgresEventRepository>),
    Sql(PgPool),
}

impl Writer {
    async fn append(&self, event: NewEvent) {
        match self {
            Self::Committer(committer) => {
                committer.commit(Unit { events: vec![event], ..Unit::default() }).await.unwrap();
            }
            Self::PostgresEs(repository) => {
                let event = SerializedEvent::new(
                    event.aggregate_id,
                    event.sequence.try_into().unwrap(),
                    event.aggregate_type.to_owned(),
                    event.event_type,
                    event.event_version,
                    serde_json::from_str(&event.payload).unwrap(),
                    serde_json::from_str(&event.metadata).unwrap(),
                );
                repository.persist::<Call>(&[event], None).await.unwrap();
            }
            // The transaction stays open for a while after the insert, as a person's session would.
            Self::Sql(pool) => {
                let mut tx = pool.begin().await.unwrap();
                sqlx::query(
                    "insert into call_events
                            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                     values ($1, $2, $3, $4, $5, $6::json, $7::json)",
                )
                .bind(event.aggregate_type)
                .bind(&event.aggregate_id)
                .bind(event.sequence)
                .bind(&event.event_type)
                .bind(&event.event_version)
                .bind(&event.payload)
                .bind(&event.metadata)
                .execute(&mut *tx)
                .await
                .unwrap();
                sqlx::query("select pg_sleep(0.0002)").execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
    }
}

/// What is reported about one call: three events.
fn reports(writer: usize, nth: usize) -> (CallSid, Vec<CallCommand>) {
    let call_sid = CallSid::try_new(&format!("CA{writer:08x}{nth:024x}")).unwrap();
    let lines = Lines::new([PhoneNumber::try_new(OURS).unwrap()], "abchomes.sip.us1.twilio.com");
    let who = Identification {
        from: Some(Address::caller(&format!("+1508514{:04}", (writer * 31 + nth) % 500))),
        to: Some(Address::callee(OURS)),
        twilio_direction: Some(TwilioDirection::Inbound),
        ..Identification::default()
    };
    let start = datetime!(2026-02-08 06:11 UTC) + Duration::from_secs(nth as u64);
    let report = |status, sequence, at: OffsetDateTime, duration| {
        CallCommand::ReportStatus(ReportStatus {
            call_sid: call_sid.clone(),
            who: who.clone(),
            status,
            sequence: Some(sequence),
            timestamp: Some(at),
            received_at: at,
            duration,
            answered_by: None,
            recording: None,
            lines: lines.clone(),
        })
    };
    let announced = CallCommand::Announce(Announce {
        call_sid: call_sid.clone(),
        who: who.clone(),
        status: CallStatus::Ringing,
        received_at: start,
        lines: lines.clone(),
    });
    let answered = report(CallStatus::InProgress, 0, start + Duration::from_secs(5), None);
    let ended = report(CallStatus::Completed, 1, start + Duration::from_secs(30), Some(25));
    (call_sid, vec![announced, answered, ended])
}

/// Writes whole calls, one event at a time, until it has written this many; says how long each stream is.
async fn write(writer: Writer, number: usize, events: usize) -> HashMap<String, i64> {
    let mut streams = HashMap::new();
    let mut written = 0;
    while written < events {
        let (call_sid, commands) = reports(number, streams.len());
        let mut stream = StreamState::<Call>::default();
        for command in commands {
            let decided = stream.aggregate.decide(command).unwrap();
            for event in stream.extend(call_sid.as_str(), decided, r#"{"source":"soak"}"#) {
                writer.append(event).await;
                written += 1;
            }
        }
        streams.insert(call_sid.to_string(), stream.sequence);
    }
    streams
}

/// Follows `/events/calls` from the beginning and is cut off again and again; gives every id it was sent, and how
/// often it had to come back. `head` is the last position, once it is known.
async fn follow(callbook: Arc<Callbook>, mut head: watch::Receiver<Option<i64>>) -> (Vec<i64>, usize) {
    let mut seen = Vec::new();
    let mut last = Some(0);
    for (connections, cut) in CUTS.into_iter().cycle().enumerate() {
        let mut client = Client::connect(&callbook, last).await;
        assert_eq!(client.next().await.event, "connected");
        for _ in 0..cut {
            tokio::select! {
                frame = client.next() => if frame.event != "keepalive" {
                    last = Some(frame.id);
                    seen.push(frame.id);
                },
                _ = head.wait_for(|head| head.is_some() && *head == last) => return (seen, connections),
            }
        }
    }
    unreachable!("the cuts go on for ever")
}

/// Only remembers the last position it saw.
async fn tail(pool: PgPool, head: watch::Receiver<Option<i64>>) -> Vec<i64> {
    let (mut seen, mut last) = (Vec::new(), 0_i64);
    loop {
        let done = head.borrow().is_some();
        let ids: Vec<i64> =
            sqlx::query_scalar("select id from call_events where id > $1 order by id limit 500")
                .bind(last)
                .fetch_all(&pool)
                .await
                .unwrap();
        match ids.last() {
            Some(id) => last = *id,
            None if done => return seen,
            None => {}
        }
        seen.extend(ids);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_comes_twice_whoever_writes_and_whatever_is_rebuilt() {
    let events =
        std::env::var("CALLBOOK_SOAK_EVENTS").map_or(DEFAULT_EVENTS, |number| number.parse().unwrap());
    // Nothing is timed by this: it turns a run that would hang into one that fails.
    let patience = Duration::from_secs(120 + events as u64 / 200);
    tokio::time::timeout(patience, soak(events)).await.expect("the soak stands still");
}

async fn soak(events: usize) {
    let started = Instant::now();
    let callbook = Arc::new(Callbook::start().await);
    let pool = callbook.another_pool(20).await;
    let (found, head) = watch::channel(None);
    let client = tokio::spawn(follow(Arc::clone(&callbook), head.clone()));
    let tail = tokio::spawn(tail(pool.clone(), head));

    let committer = Committer::start(pool.clone(), || {});
    let repository = PostgresEventRepository::new(pool.clone()).with_tables("call_events", "no_snapshots");
    let repository = Arc::new(repository);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let writer = match number % 3 {
                0 => Writer::Committer(committer.clone()),
                1 => Writer::PostgresEs(Arc::clone(&repository)),
                _ => Writer::Sql(pool.clone()),
            };
            tokio::spawn(write(writer, number, events.div_ceil(WRITERS)))
        })
        .collect();

    let ids = callbook.ids().await;
    let mut rebuilds = 0;
    while rebuilds == 0 || writers.iter().any(|writer| !writer.is_finished()) {
        rebuild::rebuild(&callbook.pool, &ids, |_| {}).await.unwrap();
        match rebuild::drop_previous(&callbook.pool).await {
            // The next round drops them.
            Ok(()) | Err(RebuildError::StillRead) => {}
            Err(error) => panic!("{error}"),
        }
        rebuilds += 1;
    }
    let mut streams = HashMap::new();
    for writer in writers {
        streams.extend(writer.await.unwrap());
    }

    let log: Vec<i64> =
        sqlx::query_scalar("select id from call_events order by id").fetch_all(&pool).await.unwrap();
    found.send(log.last().copied()).unwrap();
    let (sent, connections) = client.await.unwrap();
    assert!(sent == log, "a client saw {} events of {}, or not in order", sent.len(), log.len());
    let tailed = tail.await.unwrap();
    assert!(tailed == log, "a tail saw {} events of {}, or not in order", tailed.len(), log.len());
    every_stream_is_whole(&pool, &streams).await;
    assert_eq!(log.len(), usize::try_from(streams.values().sum::<i64>()).unwrap());

    let head = log.last().copied().unwrap();
    callbook.app.state.progress.clone().wait_for(|progress| progress.position >= head).await.unwrap();
    let legs = callbook.count("select count(*) from call_legs where status = 'completed'").await;
    assert_eq!(usize::try_from(legs).unwrap(), streams.len());
    callbook.verify().await;
    println!(
        "soak: {} events in {} streams from {WRITERS} writers, {rebuilds} rebuilds, {connections} resumptions, \
         in {:.0?}: 0 lost, 0 twice",
        log.len(),
        streams.len(),
        started.elapsed(),
    );
}

/// Each stream has the events that were written to it, numbered from 1 without a gap.
async fn every_stream_is_whole(pool: &PgPool, written: &HashMap<String, i64>) {
    let stored: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select aggregate_id, count(*), min(sequence), max(sequence)
           from call_events where aggregate_type = $1 group by aggregate_id",
    )
    .bind(Call::TYPE)
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(stored.len(), written.len(), "streams");
    for (stream, count, first, last) in stored {
        let length = written[&stream];
        assert_eq!((count, first, last), (length, 1, length), "{stream}");
    }
}
