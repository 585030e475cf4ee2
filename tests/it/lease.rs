//! Many callbooks on one database: one works, and whoever worked before it writes nothing more.

use std::time::Duration;

use callbook::config::Config;
use callbook::event_store::{CommitError, Committer, NewEvent, Unit};
use callbook::ingest::{WorkError, Worker};
use callbook::lease::Lease;
use callbook::wakeup::{CHANNEL, Wakeup};
use projections::generation::Snapshot;
use projections::lag;
use projections::projector::ProjectError;
use projections::runner::Runner;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::support::client::incoming;
use crate::support::database::TestDatabase;
use crate::support::{CUSTOMER, Callbook, OURS, call_sid};

/// Turns a test that would hang into one that says where.
async fn soon<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), waiting).await {
        Ok(value) => value,
        Err(_) => panic!("not within a minute: {what}"),
    }
}

async fn holds(callbook: &Callbook) -> i64 {
    let mut held = callbook.app.state.lease.held();
    soon("holds the lease", held.wait_for(Option::is_some)).await.unwrap().unwrap()
}

async fn holds_no_more(callbook: &Callbook) {
    let mut held = callbook.app.state.lease.held();
    soon("no longer holds the lease", held.wait_for(Option::is_none)).await.unwrap();
}

/// Takes the lease in the database, as another instance would; nobody else gets it while the session lives.
async fn take_away(session: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "update worker_lease
            set epoch = epoch + 1, holder = 'the test', session_pid = pg_backend_pid(),
                session_started = (select backend_start from pg_stat_activity where pid = pg_backend_pid()),
                expires_at = clock_timestamp() + interval '1 hour'
        returning epoch",
    )
    .fetch_one(session)
    .await
    .unwrap()
}

async fn session(callbook: &Callbook) -> PgConnection {
    PgConnection::connect_with(&callbook.pool.connect_options()).await.unwrap()
}

async fn own_pool(database: &TestDatabase) -> PgPool {
    callbook::installation::connect(database.options(), 5).await.unwrap()
}

fn event(stream: &str) -> NewEvent {
    NewEvent {
        aggregate_type: "test",
        aggregate_id: stream.to_owned(),
        sequence: 1,
        event_type: "test.happened".to_owned(),
        event_version: "1".to_owned(),
        payload: "{}".to_owned(),
        metadata: "{}".to_owned(),
    }
}

#[tokio::test]
async fn one_works_the_others_follow_and_take_over_when_it_stops() {
    let first = Callbook::start().await;
    let epoch = holds(&first).await;
    let second = first.beside().await;
    // Whichever is asked, the first decides and both show it.
    second.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let head = second.settled().await;
    assert_eq!(first.settled().await, head);
    assert_eq!(*second.app.state.lease.held().borrow(), None);
    let health = second.health().await;
    assert_eq!(health["worker"]["epoch"], epoch);
    assert_eq!(health["worker"]["expired"], false);
    assert_eq!(health["projection"]["behind"], 0);

    first.app.stop().await;
    assert_eq!(holds(&second).await, epoch + 1);
    second.twilio().send("voice-inbound", &incoming(&call_sid(2), CUSTOMER, OURS)).await;
    assert!(second.settled().await > head);
    second.verify().await;
}

#[tokio::test]
async fn what_a_holder_had_begun_is_refused_when_the_lease_has_passed_on() {
    let callbook = Callbook::start().await;
    let epoch = holds(&callbook).await;
    // Somebody keeps the append lock while the worker commits what it decided.
    let mut appending = session(&callbook).await;
    let mut appending = appending.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(append_lock())").execute(&mut *appending).await.unwrap();
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let waiters = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                      and database = (select oid from pg_database where datname = current_database())";
    soon("the worker waits to append", async { while callbook.count(waiters).await == 0 {} }).await;
    let mut other = session(&callbook).await;
    assert_eq!(take_away(&mut other).await, epoch + 1);
    appending.rollback().await.unwrap();
    holds_no_more(&callbook).await;
    soon("the commit has ended", async {
        let busy = "select count(*) from pg_stat_activity
                     where datname = current_database() and state = 'active' and query like '%commit_units%'
                       and pid <> pg_backend_pid()";
        while callbook.count(busy).await > 0 {}
    })
    .await;
    assert_eq!(callbook.count("select count(*) from call_events").await, 0);
    let untouched = "select count(*) from twilio_webhook_inbox
                      where processing_status = 'pending' and retry_count = 0 and error is null";
    assert_eq!(callbook.count(untouched).await, 1);

    // The session that holds the lease ends, and nobody waits for the hour.
    other.close().await.unwrap();
    assert_eq!(holds(&callbook).await, epoch + 2);
    callbook.settled().await;
    assert_eq!(callbook.count("select count(*) from call_events").await, 1);
    callbook.verify().await;
}

#[tokio::test]
async fn under_an_epoch_that_is_over_nothing_is_decided_put_off_or_folded() {
    let callbook = Callbook::start().await;
    let stale = holds(&callbook).await;
    let mut other = session(&callbook).await;
    take_away(&mut other).await;
    holds_no_more(&callbook).await;
    let pool = &callbook.pool;
    let committer = Committer::start(pool.clone(), || {});

    // In one batch, the worker's unit is refused and the other is not.
    let (refused, free) = tokio::join!(
        committer.commit(Unit { epoch: Some(stale), events: vec![event("a")], ..Unit::default() }),
        committer.commit(Unit { events: vec![event("b")], ..Unit::default() }),
    );
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    free.unwrap();

    let runner = Runner::init(pool.clone(), &callbook.ids().await).await.unwrap();
    let position = "select position from read_model_generations";
    let before = callbook.count(position).await;
    let result = runner.catch_up(Some(stale)).await;
    assert!(matches!(result, Err(ProjectError::Fenced { ours }) if ours == stale), "{result:?}");
    assert_eq!(callbook.count(position).await, before);

    let config = Config::from_sources([]).unwrap();
    let routing = tokio::sync::watch::Sender::new(callbook::door::routing(&config));
    let worker = Worker::new(pool.clone(), committer, routing.subscribe(), std::sync::Arc::default());
    let waiting = async || {
        callbook.count("select count(*) from twilio_webhook_inbox where processing_status = 'pending' and retry_count = 0").await
    };
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let result = worker.work(stale).await;
    assert!(matches!(result, Err(WorkError::Commit(CommitError::Fenced))), "{result:?}");
    assert_eq!(waiting().await, 1);

    // A call that cannot be read would be put off.
    sqlx::query(
        "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('call', $1, 1, 'call.unheard_of', '9', '{}', '{}')",
    )
    .bind(call_sid(1))
    .execute(pool)
    .await
    .unwrap();
    let result = worker.work(stale).await;
    assert!(matches!(result, Err(WorkError::Commit(CommitError::Fenced))), "{result:?}");
    assert_eq!(waiting().await, 1);
}

#[tokio::test]
async fn a_runner_that_finds_a_higher_epoch_at_the_checkpoint_folds_nothing() {
    let database = TestDatabase::create().await;
    let pool = own_pool(&database).await;
    let ids = projections::ids::IdKey::new(&[7; 32]);
    let mut other = PgConnection::connect_with(&database.options()).await.unwrap();
    let epoch = take_away(&mut other).await;
    Committer::start(pool.clone(), || {})
        .commit(Unit { events: vec![event("a")], ..Unit::default() })
        .await
        .unwrap();
    let runner = Runner::init(pool.clone(), &ids).await.unwrap();
    assert_eq!(runner.catch_up(Some(epoch)).await.unwrap(), 1);
    let raised: i64 =
        sqlx::query_scalar("select epoch from read_model_generations").fetch_one(&pool).await.unwrap();
    assert_eq!(raised, epoch, "whoever folds leaves its epoch");
    let result = runner.catch_up(Some(epoch - 1)).await;
    assert!(matches!(result, Err(ProjectError::Fenced { .. })), "{result:?}");
}

#[tokio::test]
async fn a_holder_that_cannot_renew_stops_by_its_own_clock() {
    let callbook = Callbook::start().await;
    let epoch = holds(&callbook).await;
    let mut other = session(&callbook).await;
    let mut locked = other.begin().await.unwrap();
    sqlx::query("select from worker_lease for update").execute(&mut *locked).await.unwrap();
    holds_no_more(&callbook).await;
    let unchanged: i64 =
        sqlx::query_scalar("select epoch from worker_lease").fetch_one(&mut *locked).await.unwrap();
    assert_eq!(unchanged, epoch, "nobody else has it");
    locked.rollback().await.unwrap();
    assert_eq!(holds(&callbook).await, epoch + 1);
}

#[tokio::test]
async fn a_holder_whose_database_refuses_it_stops_and_works_again_when_it_is_let_in() {
    let callbook = Callbook::start().await;
    let epoch = holds(&callbook).await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&callbook.pool).await.unwrap();
    let elsewhere = callbook.pool.connect_options().as_ref().clone().database("postgres");
    let mut admin = PgConnection::connect_with(&elsewhere).await.unwrap();
    let let_in = async |admin: &mut PgConnection, whether: bool| {
        let statement = format!("alter database {name} allow_connections {whether}");
        sqlx::raw_sql(&statement).execute(admin).await.unwrap();
    };
    let_in(&mut admin, false).await;
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1")
        .bind(&name)
        .execute(&mut admin)
        .await
        .unwrap();
    holds_no_more(&callbook).await;
    let_in(&mut admin, true).await;
    assert_eq!(holds(&callbook).await, epoch + 1);
}

#[tokio::test]
async fn the_holder_is_told_what_others_stored_and_they_are_told_what_it_folded() {
    let first = Callbook::start().await;
    holds(&first).await;
    let second = first.beside().await;
    let mut listener = PgListener::connect_with(&first.pool).await.unwrap();
    listener.listen(CHANNEL).await.unwrap();
    second.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    let mut told = Vec::new();
    soon("both are told", async {
        while !(told.contains(&"inbox".to_owned()) && told.contains(&"folded".to_owned())) {
            told.push(listener.recv().await.unwrap().payload().to_owned());
        }
    })
    .await;
    assert_eq!(told[0], "inbox", "{told:?}");
}

#[tokio::test]
async fn what_others_tell_is_heard_also_after_the_connection_was_lost() {
    let database = TestDatabase::create().await;
    let pool = own_pool(&database).await;
    let runner = Runner::init(pool.clone(), &projections::ids::IdKey::new(&[7; 32])).await.unwrap();
    let wakeup = std::sync::Arc::new(Wakeup::new(pool.clone(), Lease::new(pool.clone()), runner));
    let worker = wakeup.worker();
    let running = tokio::spawn(async move { wakeup.run().await });
    soon("it listens, and looks at once", worker.notified()).await;
    let tell = sqlx::query("select pg_notify($1, 'inbox')").bind(CHANNEL);
    tell.execute(&pool).await.unwrap();
    soon("it hears", worker.notified()).await;
    let ended: i64 = sqlx::query_scalar(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
          where datname = current_database() and query like 'LISTEN%'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(ended, 1);
    soon("it listens again, and looks at once", worker.notified()).await;
    sqlx::query("select pg_notify($1, 'inbox')").bind(CHANNEL).execute(&pool).await.unwrap();
    soon("it hears again", worker.notified()).await;
    running.abort();
}

#[tokio::test]
async fn a_long_transaction_elsewhere_stalls_nothing() {
    let callbook = Callbook::start().await;
    let mut elsewhere = session(&callbook).await;
    sqlx::raw_sql("begin isolation level repeatable read; create table elsewhere (n int); select count(*) from call_events;
                   select count(*) from twilio_webhook_inbox; select count(*) from messages; select * from worker_lease")
        .execute(&mut elsewhere)
        .await
        .unwrap();
    for n in 0..20 {
        callbook.twilio().send("voice-inbound", &incoming(&call_sid(n), CUSTOMER, OURS)).await;
    }
    callbook.settled().await;
    assert_eq!(callbook.count("select count(*) from messages").await, 20);
    let seen: i64 =
        sqlx::query_scalar("select count(*) from messages").fetch_one(&mut elsewhere).await.unwrap();
    assert_eq!(seen, 0, "it has been open all the time");
}

#[tokio::test]
async fn a_session_that_sits_on_the_append_lock_is_named_and_then_ended() {
    let database = TestDatabase::create().await;
    let options = database
        .options()
        .options([("lock_timeout", "200ms"), ("idle_in_transaction_session_timeout", "1s")]);
    let pool = PgPoolOptions::new().max_connections(3).connect_with(options).await.unwrap();
    let committer = Committer::start(pool.clone(), || {});
    // A person's session, which no time-out of ours is set in.
    let mut idle =
        PgConnection::connect_with(&database.options().application_name("a person")).await.unwrap();
    sqlx::raw_sql(
        "begin; insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         values ('test', 'idle', 1, 'test.happened', '1', '{}', '{}')",
    )
    .execute(&mut idle)
    .await
    .unwrap();
    let commit = async || committer.commit(Unit { events: vec![event("a")], ..Unit::default() }).await;
    let error = commit().await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("\"a person\", idle in transaction since"), "{said}");
    assert!(!error.is_about_a_unit(), "no row is put off for it");
    soon("the idle session is ended", async { while commit().await.is_err() {} }).await;
    sqlx::query("select 1").execute(&mut idle).await.unwrap_err();
    let there: Vec<String> =
        sqlx::query_scalar("select aggregate_id from call_events").fetch_all(&pool).await.unwrap();
    assert_eq!(there, ["a"]);
}

#[tokio::test]
async fn lag_is_measured_from_what_is_in_the_log() {
    let database = TestDatabase::create().await;
    let pool = own_pool(&database).await;
    let committer = Committer::start(pool.clone(), || {});
    let none = lag::lag(&pool).await.unwrap();
    assert_eq!((none.events(), none.oldest_unprojected_at, none.head), (0, None, 0));
    for stream in ["a", "b"] {
        committer.commit(Unit { events: vec![event(stream)], ..Unit::default() }).await.unwrap();
    }
    // A place that is taken uses up a position.
    committer.commit(Unit { events: vec![event("a")], ..Unit::default() }).await.unwrap_err();
    let lag = lag::lag(&pool).await.unwrap();
    assert_eq!((lag.head, lag.events()), (2, 2));
    let first: time::OffsetDateTime =
        sqlx::query_scalar("select min(created_at) from call_events").fetch_one(&pool).await.unwrap();
    assert_eq!(lag.oldest_unprojected_at, Some(first));
    assert!(lag.seconds > 0.0, "{lag:?}");
}

/// As a request is whose client goes away: on a connection at hand, after the first poll, the second, and so on.
#[tokio::test]
async fn a_reader_that_is_dropped_while_it_begins_leaves_no_transaction_open() {
    let database = TestDatabase::create().await;
    // Without callbook's time-outs, which would end what is left open.
    let pool = PgPoolOptions::new().max_connections(5).connect_with(database.options()).await.unwrap();
    for polls in 1..=50 {
        soon("a connection is at hand", async {
            while pool.num_idle() == 0 {
                tokio::task::yield_now().await
            }
        })
        .await;
        let mut opening = Box::pin(Snapshot::open(&pool));
        for _ in 0..polls {
            if futures::poll!(&mut opening).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // Whoever holds them all knows that each has come back.
    let all: Vec<_> =
        futures::future::try_join_all((0..pool.options().get_max_connections()).map(|_| pool.acquire()))
            .await
            .unwrap();
    let mut other = PgConnection::connect_with(&database.options()).await.unwrap();
    let open: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'",
    )
    .fetch_one(&mut other)
    .await
    .unwrap();
    assert_eq!((open, all.len()), (0, 5));
}
