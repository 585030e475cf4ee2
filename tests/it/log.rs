//! The log's three rules, which the database enforces whoever appends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callbook::event_store::{CommitError, Committer, NewEvent, Unit};
use cqrs_es::Aggregate;
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use domain::call::Call;
use postgres_es::PostgresEventRepository;
use serde_json::json;
use sqlx::PgPool;

use crate::support::database::TestDatabase;

const WRITERS: usize = 16;
const EVENTS_EACH: i64 = 150;

async fn pool(database: &TestDatabase) -> PgPool {
    callbook::installation::connect(database.options(), 20).await.unwrap()
}

fn event(stream: &str, sequence: i64) -> NewEvent {
    NewEvent {
        aggregate_type: "test",
        aggregate_id: stream.to_owned(),
        sequence,
        event_type: "test.happened".to_owned(),
        event_version: "1".to_owned(),
        payload: "{}".to_owned(),
        metadata: "{}".to_owned(),
    }
}

fn unit(event: NewEvent) -> Unit {
    Unit { events: vec![event], ..Unit::default() }
}

#[tokio::test]
async fn update_delete_and_truncate_are_refused() {
    let database = TestDatabase::create().await;
    let pool = pool(&database).await;
    let committer = Committer::start(pool.clone(), || {});
    committer.commit(unit(event("a", 1))).await.unwrap();
    for statement in [
        "update call_events set event_type = 'x'",
        "update call_events set event_type = 'x' where false",
        "delete from call_events",
        "truncate call_events",
    ] {
        let error = sqlx::query(statement).execute(&pool).await.unwrap_err();
        assert!(error.to_string().contains("call_events is append-only"), "{statement}: {error}");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from call_events").fetch_one(&pool).await.unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_place_in_a_stream_is_taken_once_and_the_loser_is_told() {
    let database = TestDatabase::create().await;
    let pool = pool(&database).await;
    let committer = Committer::start(pool.clone(), || {});
    let rivals = (0..20).map(|_| committer.commit(unit(event("a", 1))));
    let results = futures::future::join_all(rivals).await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.iter().all(|result| matches!(result, Err(CommitError::Conflict))), "{lost:?}");
    // What is unrelated is not held up by a rival in the same batch.
    let (taken, free) =
        tokio::join!(committer.commit(unit(event("a", 1))), committer.commit(unit(event("b", 1))),);
    assert!(matches!(taken, Err(CommitError::Conflict)));
    free.unwrap();
}

#[tokio::test]
async fn a_unit_that_the_database_refuses_takes_no_other_with_it() {
    let database = TestDatabase::create().await;
    let pool = pool(&database).await;
    let committer = Committer::start(pool.clone(), || {});
    let impossible = NewEvent { payload: r#"{"occurred_at": "soon"}"#.to_owned(), ..event("bad", 1) };
    let units = (0..50).map(|n| {
        let event = if n == 17 { impossible.clone() } else { event(&format!("good-{n}"), 1) };
        committer.commit(unit(event))
    });
    let results = futures::future::join_all(units).await;
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), n != 17, "unit {n}: {result:?}");
    }
    assert!(results[17].as_ref().is_err_and(CommitError::is_about_a_unit), "{:?}", results[17]);
}

/// Sixteen writers of three kinds append at once; a reader that only remembers the last position it saw must
/// see every event, in ascending order.
#[tokio::test(flavor = "multi_thread")]
async fn a_naive_tail_misses_nothing_whoever_appends() {
    let database = TestDatabase::create().await;
    let pool = pool(&database).await;
    let committer = Committer::start(pool.clone(), || {});
    let written = Arc::new(AtomicBool::new(false));

    let tail = tokio::spawn({
        let (pool, written) = (pool.clone(), Arc::clone(&written));
        async move {
            let (mut seen, mut last) = (Vec::new(), 0_i64);
            loop {
                let done = written.load(Ordering::SeqCst);
                let rows: Vec<(i64, String)> = sqlx::query_as(
                    "select id, aggregate_id || '/' || sequence from call_events where id > $1 order by id limit 100",
                )
                .bind(last)
                .fetch_all(&pool)
                .await
                .unwrap();
                match rows.last() {
                    Some((id, _)) => last = *id,
                    None if done => return seen,
                    None => {}
                }
                seen.extend(rows);
            }
        }
    });

    let writers = (0..WRITERS).map(|writer| {
        let (pool, committer) = (pool.clone(), committer.clone());
        tokio::spawn(async move {
            let stream = format!("writer-{writer}");
            for sequence in 1..=EVENTS_EACH {
                match writer % 3 {
                    0 => committer.commit(unit(event(&stream, sequence))).await.unwrap(),
                    1 => by_postgres_es(&pool, &stream, sequence).await,
                    _ => by_plain_sql(&pool, &stream, sequence).await,
                }
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    written.store(true, Ordering::SeqCst);

    let seen = tail.await.unwrap();
    assert!(seen.is_sorted_by_key(|(id, _)| *id), "positions ascend");
    let distinct: BTreeSet<&String> = seen.iter().map(|(_, place)| place).collect();
    assert_eq!(distinct.len(), seen.len(), "nothing is seen twice");
    assert_eq!(seen.len(), WRITERS * usize::try_from(EVENTS_EACH).unwrap(), "nothing is missed");
    let times_descend: bool = sqlx::query_scalar(
        "select exists (select from (select created_at, lag(created_at) over (order by id) as before from call_events) t
                         where created_at < before)",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(!times_descend, "time order is position order");
}

async fn by_postgres_es(pool: &PgPool, stream: &str, sequence: i64) {
    let repository = PostgresEventRepository::new(pool.clone()).with_tables("call_events", "no_snapshots");
    let event = SerializedEvent::new(
        stream.to_owned(),
        sequence.try_into().unwrap(),
        Call::TYPE.to_owned(),
        "test.happened".to_owned(),
        "1".to_owned(),
        json!({}),
        json!({}),
    );
    repository.persist::<Call>(&[event], None).await.unwrap();
}

/// In a transaction that stays open for a while after the insert, as a person's session would.
async fn by_plain_sql(pool: &PgPool, stream: &str, sequence: i64) {
    let mut tx = pool.begin().await.unwrap();
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('test', $1, $2, 'test.happened', '1', '{}', '{}')",
    )
    .bind(stream)
    .bind(sequence)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query("select pg_sleep(0.0005)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

/// The control: without the trigger the same tail does lose events, so the test above can fail.
#[tokio::test]
async fn without_the_ordering_trigger_a_tail_can_miss_an_event() {
    let database = TestDatabase::create().await;
    let pool = pool(&database).await;
    sqlx::query("alter table call_events disable trigger call_events_in_order").execute(&pool).await.unwrap();
    let insert = "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  values ('test', $1, 1, 'test.happened', '1', '{}', '{}')";
    let mut slow = pool.begin().await.unwrap();
    sqlx::query(insert).bind("slow").execute(&mut *slow).await.unwrap();
    sqlx::query(insert).bind("fast").execute(&pool).await.unwrap();
    let head: i64 = sqlx::query_scalar("select max(id) from call_events").fetch_one(&pool).await.unwrap();
    slow.commit().await.unwrap();
    let after: i64 = sqlx::query_scalar("select count(*) from call_events where id > $1")
        .bind(head)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(after, 0, "the tail has passed the event that was committed later");
}
