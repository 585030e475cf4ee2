//! A backup that is made while calls flow, and the way back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use callbook::backup::{self, BackupError, Restored};
use callbook::installation::{self, Owner};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tempfile::TempDir;

use crate::binary;
use crate::support::client::{Twilio, incoming};
use crate::support::database::TestDatabase;
use crate::support::{ACCOUNT_SID, AUTH_TOKEN, CUSTOMER, Callbook, OURS, call_sid};

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
    let made = backup::make_read_model(&pool, &ids, |_| {}).await.unwrap();
    assert!(made.diff.is_empty(), "{:#?}", made.diff);
    assert!(manifest.position > 0);
    assert_eq!((made.position, made.diff.position), (manifest.position, manifest.position));
    let served =
        "select position::text from read_model_generations join read_model_current using (generation)";
    assert_eq!(rows(&pool, served).await, [manifest.position.to_string()]);
    let shown = "select root_call_sid from messages order by 1";
    let begun = format!(
        "select distinct aggregate_id from call_events where id <= {} and aggregate_id like 'CA%' order by 1",
        manifest.position
    );
    assert_eq!(rows(&pool, shown).await, rows(&callbook.pool, &begun).await, "each call is in its thread");
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

#[tokio::test]
async fn a_table_of_somebody_else_is_never_dropped() {
    let callbook = Callbook::start().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let folder = TempDir::new().unwrap();
    let (file, spool) = (folder.path().join("book.backup"), folder.path().join("spool"));
    saved(&callbook, &file).await.unwrap();

    let shared = TestDatabase::empty().await;
    let theirs = PgPool::connect_with(shared.options()).await.unwrap();
    let refused = async |relation: &str| {
        for force in [false, true] {
            let refused = restored(&shared, &spool, &file, force).await.unwrap_err();
            assert!(refused.to_string().contains(relation), "{refused}");
            assert!(
                matches!(&refused, BackupError::Foreign { relation: named } if named == relation),
                "{refused:?}"
            );
        }
    };
    // What has a name of ours is not ours where callbook never was.
    for (kind, name) in [("table", "customers"), ("table", "sessions"), ("sequence", "numbers")] {
        let columns = if kind == "table" { "(id serial primary key)" } else { "" };
        theirs.execute(format!("create {kind} {name} {columns}").as_str()).await.unwrap();
        refused(name).await;
        theirs.execute(format!("drop {kind} {name}").as_str()).await.unwrap();
    }
    restored(&shared, &spool, &file, false).await.unwrap();

    theirs.execute("create table customers as select 'Ada' as name").await.unwrap();
    refused("customers").await;
    assert_eq!(rows(&theirs, "select name from customers").await, ["Ada"]);
    assert_eq!(rows(&theirs, KEYS).await.len(), 1);
}

#[tokio::test]
async fn what_leaves_the_spool_during_a_backup_is_in_it() {
    let callbook = Callbook::start().await;
    let folder = TempDir::new().unwrap();
    let (file, spool) = (folder.path().join("book.backup"), folder.path().join("spool"));
    let (waiting, kept) = (folder.path().join("waiting"), b"a webhook".repeat(1_000));
    std::fs::create_dir(&waiting).unwrap();
    let spooled = waiting.join("AC.1.spool");
    std::fs::write(&spooled, &kept).unwrap();
    // The backup has taken its snapshot, and waits for the first table it reads.
    let mut standing = callbook.pool.begin().await.unwrap();
    standing.execute("lock table installation in access exclusive mode").await.unwrap();
    let saving = tokio::spawn({
        let (pool, waiting, file) = (callbook.another_pool(1).await, waiting.clone(), file.clone());
        async move {
            let mut database = pool.acquire().await.unwrap();
            backup::save(&mut database, None, &waiting, &file, |_| {}).await
        }
    });
    let waits = "select exists (
        select from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and query like '%from _sqlx_migrations%')";
    let until = async {
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&callbook.pool).await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), until).await.unwrap();
    // Now the database has it, and callbook begins the file anew.
    std::fs::write(&spooled, vec![0; kept.len()]).unwrap();
    standing.rollback().await.unwrap();
    saving.await.unwrap().unwrap();

    let fresh = TestDatabase::empty().await;
    assert_eq!(restored(&fresh, &spool, &file, false).await.unwrap().spooled, 1);
    assert!(std::fs::read(spool.join(format!("{ACCOUNT_SID}.1.spool"))).unwrap() == kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_account_is_replaced_only_when_the_book_is_there() {
    let callbook = Callbook::start().await;
    for n in 1..=20 {
        callbook.twilio().send("voice-inbound", &incoming(&call_sid(n), CUSTOMER, OURS)).await;
    }
    let head = callbook.settled().await;
    let (folder, home) = (TempDir::new().unwrap(), binary::data_dir());
    let account = |sid: &str| format!(r#"{{"account_sid":"{sid}","auth_token":"{AUTH_TOKEN}"}}"#);
    let (theirs, file, cut) =
        (folder.path().join("account"), folder.path().join("book.backup"), folder.path().join("cut"));
    std::fs::write(&theirs, account(ACCOUNT_SID)).unwrap();
    let mut database = callbook.pool.acquire().await.unwrap();
    backup::save(&mut database, Some(&theirs), &folder.path().join("none"), &file, |_| {}).await.unwrap();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 200]).unwrap();

    let fresh = TestDatabase::empty().await;
    let here = home.path().join("simulated-account.json");
    let ours = account(&ACCOUNT_SID.replace('1', "2"));
    std::fs::write(&here, &ours).unwrap();
    let run = |from: &Path| {
        let mut command = binary::command(home.path());
        let output = command
            .env("DATABASE_URL", fresh.url())
            .env("SIMULATE", "true")
            .args(["restore", "--force"])
            .arg(from)
            .output();
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, log) = run(&cut);
    assert_eq!(code, Some(1));
    assert!(log.contains("is not a backup of callbook's, or it is damaged"), "{log}");
    assert_eq!(std::fs::read_to_string(&here).unwrap(), ours);

    let (code, said, log) = run(&file);
    assert_eq!(code, Some(0), "{log}");
    assert!(std::fs::read_to_string(&here).unwrap().contains(ACCOUNT_SID));
    assert!(
        said.contains(&format!("the read model is at position {head}, which is the log's last")),
        "{said}"
    );
    assert!(said.contains(&format!("live equals rebuilt at position {head}, row for row")), "{said}");
    assert!(said.contains("callbook token list"), "{said}");
    let pool = PgPool::connect_with(fresh.options()).await.unwrap();
    assert_eq!(rows(&pool, "select root_call_sid from messages").await.len(), 20);
}

#[tokio::test]
async fn a_token_that_was_revoked_here_stays_revoked_and_nobody_is_signed_in() {
    let callbook = Callbook::start().await;
    let token = "insert into api_tokens (name, role, digest) values ('wall', 'viewer', sha256('wall'))";
    callbook.pool.execute(token).await.unwrap();
    let session = "insert into sessions (digest, token_id, expires_at)
                   select sha256('browser'), id, 'infinity' from api_tokens";
    callbook.pool.execute(session).await.unwrap();
    let folder = TempDir::new().unwrap();
    let (file, spool) = (folder.path().join("book.backup"), folder.path().join("spool"));
    saved(&callbook, &file).await.unwrap();
    callbook.pool.execute("update api_tokens set revoked_at = '2026-11-21 12:00Z'").await.unwrap();
    let (running, pool) = (callbook.database(), callbook.another_pool(1).await);
    callbook.stop().await;

    let revoked = "select (revoked_at = '2026-11-21 12:00Z')::text from api_tokens where name = 'wall'";
    restored(&running, &spool, &file, true).await.unwrap();
    assert_eq!(rows(&pool, revoked).await, ["true"]);
    assert_eq!(rows(&pool, "select role from api_tokens where name = 'wall'").await, ["viewer"]);
    assert_eq!(rows(&pool, "select expires_at::text from sessions").await, Vec::<String>::new());

    // A fresh place knows nothing of it, and the restore says so.
    let fresh = TestDatabase::empty().await;
    restored(&fresh, &spool, &file, false).await.unwrap();
    let pool = PgPool::connect_with(fresh.options()).await.unwrap();
    let valid = "select name from api_tokens where revoked_at is null";
    assert_eq!(rows(&pool, valid).await, ["wall"]);
}
