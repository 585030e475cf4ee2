//! A backup that is made while calls flow, and the way back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use callbook::backup::{self, BackupError, Restored};
use callbook::installation::{self, Owner};
use sqlx::{Connection, PgConnection, PgPool};
use tempfile::TempDir;

use crate::support::client::{Twilio, incoming};
use crate::support::database::TestDatabase;
use crate::support::{ACCOUNT_SID, CUSTOMER, Callbook, OURS, call_sid};

fn owner() -> Owner {
    Owner { account_sid: ACCOUNT_SID.to_owned(), simulated: true }
}

async fn saved(callbook: &Callbook, to: &Path) -> Result<backup::Manifest, BackupError> {
    let mut database = callbook.pool.acquire().await.unwrap();
    backup::save(&mut database, None, &callbook.data_dir().join("spool"), to, |_| {}).await
}

async fn restored(
    into: &TestDatabase,
    spool: &Path,
    from: &Path,
    force: bool,
) -> Result<Restored, BackupError> {
    let mut database = PgConnection::connect_with(&into.options()).await.unwrap();
    let restored = backup::restore(&mut database, &owner(), spool, from, force, |_| {}).await;
    database.close().await.unwrap();
    restored
}

async fn rows(pool: &PgPool, query: &str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(pool).await.unwrap()
}

/// All that is in the log and in the inbox, in order.
const LOG: &str = "select row_to_json(e)::text from call_events e where id <= {head} order by id";
const KEYS: &str = "select dedupe_key from twilio_webhook_inbox order by id";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_backup_comes_back_and_the_book_goes_on() {
    let callbook = Callbook::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("book.backup");
    let (acknowledged, enough) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let calling = tokio::spawn({
        let (acknowledged, enough) = (acknowledged.clone(), enough.clone());
        let twilio = Twilio::new(&callbook.url);
        async move {
            while !enough.load(Ordering::Relaxed) {
                let n = acknowledged.load(Ordering::Relaxed) + 1;
                twilio.send("voice-inbound", &incoming(&call_sid(n), CUSTOMER, OURS)).await;
                acknowledged.store(n, Ordering::Relaxed);
            }
        }
    });
    while acknowledged.load(Ordering::Relaxed) < 40 {
        tokio::task::yield_now().await;
    }
    let before = acknowledged.load(Ordering::Relaxed);
    let manifest = saved(&callbook, &file).await.unwrap();
    // It went on meanwhile.
    while acknowledged.load(Ordering::Relaxed) < before + 10 {
        tokio::task::yield_now().await;
    }
    enough.store(true, Ordering::Relaxed);
    calling.await.unwrap();
    callbook.settled().await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(saved(&callbook, &file).await, Err(BackupError::FileExists { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");

    let fresh = TestDatabase::empty().await;
    let spool = folder.path().join("spool");
    let restored = restored(&fresh, &spool, &file, false).await.unwrap();
    assert_eq!(restored.manifest, manifest);
    let pool = installation::connect(fresh.options(), 5).await.unwrap();
    let ids = installation::prepare(&pool, &owner()).await.unwrap();
    let life = "select incarnation from installation";
    assert_ne!(rows(&pool, life).await, rows(&callbook.pool, life).await, "positions mean other events now");
    let log = LOG.replace("{head}", &manifest.position.to_string());
    assert_eq!(rows(&pool, &log).await, rows(&callbook.pool, &log).await);
    let (kept, all) = (rows(&pool, KEYS).await, rows(&callbook.pool, KEYS).await);
    assert!(kept.len() >= before as usize, "{} of {before}", kept.len());
    assert!(kept.iter().all(|key| all.contains(key)));
    projections::rebuild::rebuild(&pool, &ids, |_| {}).await.unwrap();
    let diff = projections::rebuild::dry_run(&pool, &ids, |_| {}).await.unwrap();
    assert!(diff.is_empty(), "{diff:#?}");
    pool.close().await;

    // It is a book like any other: what was not decided is, and what comes next gets the next position.
    let again = Callbook::on(Arc::new(fresh), Arc::new(TempDir::new().unwrap()), &[]).await;
    again.settled().await;
    let head = again.count("select max(id) from call_events").await;
    again.twilio().send("voice-inbound", &incoming(&call_sid(9_999), CUSTOMER, OURS)).await;
    assert!(again.settled().await > head);
    again.verify().await;
}

#[tokio::test]
async fn a_book_that_is_there_is_replaced_only_by_force_and_never_under_a_callbook() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let folder = TempDir::new().unwrap();
    let (file, spool) = (folder.path().join("book.backup"), folder.path().join("spool"));
    saved(&callbook, &file).await.unwrap();
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(2), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let epoch = callbook.epoch().await;

    let running = callbook.database();
    for force in [false, true] {
        let refused = restored(&running, &spool, &file, force).await.unwrap_err();
        assert!(matches!(refused, BackupError::InUse { .. }), "{refused:?}");
    }
    let pool = callbook.another_pool(2).await;
    callbook.stop().await;
    let refused = restored(&running, &spool, &file, false).await.unwrap_err();
    assert!(matches!(refused, BackupError::BookExists { events: 2, requests: 2 }), "{refused:?}");
    assert_eq!(rows(&pool, KEYS).await.len(), 2, "nothing was changed");

    restored(&running, &spool, &file, true).await.unwrap();
    assert_eq!(rows(&pool, KEYS).await.len(), 1);
    let later: i64 = sqlx::query_scalar("select epoch from worker_lease").fetch_one(&pool).await.unwrap();
    assert!(later > epoch, "who worked under the old epoch is fenced");
}

#[tokio::test]
async fn a_backup_that_is_damaged_cut_off_or_of_another_account_changes_nothing() {
    let callbook = Callbook::start().await;
    for n in 1..=20 {
        callbook.twilio().send("voice-inbound", &incoming(&call_sid(n), CUSTOMER, OURS)).await;
    }
    callbook.settled().await;
    let folder = TempDir::new().unwrap();
    let (file, spool) = (folder.path().join("book.backup"), folder.path().join("spool"));
    saved(&callbook, &file).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    let fresh = TestDatabase::empty().await;
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x20;
    let damaged: [(&str, &[u8]); 4] =
        [("cut", &whole[..whole.len() - 200]), ("flipped", &flipped), ("empty", &[]), ("text", b"a text")];
    for (name, bytes) in damaged {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let refused = restored(&fresh, &spool, &path, false).await.unwrap_err();
        assert!(!matches!(refused, BackupError::File { .. } | BackupError::Thread), "{name}: {refused:?}");
    }
    let mut database = PgConnection::connect_with(&fresh.options()).await.unwrap();
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(tables, 0);
    let other = Owner { account_sid: ACCOUNT_SID.replace('1', "2"), simulated: true };
    let refused = backup::restore(&mut database, &other, &spool, &file, false, |_| {}).await.unwrap_err();
    assert!(matches!(refused, BackupError::OtherAccount { .. }), "{refused:?}");
    assert!(restored(&fresh, &spool, &file, false).await.is_ok());
}
