//! The database is down, slow or full: webhooks are answered all the same, and nothing accepted is lost.

use std::path::Path;
use std::process::Command;

use callbook::app::local_url;
use futures::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use sqlx::Executor;
use tempfile::TempDir;

use crate::support::client::{Pairs, dial_action, http, incoming, lasting, status};
use crate::support::{CUSTOMER, Callbook, DISPATCHER, OURS, Twilio, call_sid, pairs};

const AT: &str = "Sun, 08 Feb 2026 06:11:30 +0000";

/// A whole call, by one webhook of each kind and one of its child; its SIDs end in `n` and `n + 1`.
fn webhooks(n: u32) -> Vec<(&'static str, Pairs)> {
    let (parent, child) = (call_sid(n), call_sid(n + 1));
    let recording = pairs(&[
        ("CallSid", &parent),
        ("RecordingSid", &format!("RE{n:032}")),
        ("RecordingStatus", "completed"),
    ]);
    vec![
        ("voice-inbound", incoming(&parent, CUSTOMER, OURS)),
        (
            "voice-status",
            lasting(status(&child, Some(&parent), CUSTOMER, DISPATCHER, "completed", 3, AT), 20),
        ),
        ("dial-action", dial_action(&parent, &child, CUSTOMER, OURS, "completed", 20)),
        ("recording-status", recording),
        ("voice-status", lasting(status(&parent, None, CUSTOMER, OURS, "completed", 0, AT), 29)),
    ]
}

async fn send(callbook: &Callbook, webhooks: &[(&'static str, Pairs)]) -> Vec<Response> {
    let twilio = callbook.twilio();
    join_all(webhooks.iter().map(|(endpoint, params)| twilio.post(endpoint, params))).await
}

/// Sends them all at once and insists on the answer that Twilio needs.
async fn accepted(callbook: &Callbook, webhooks: &[(&'static str, Pairs)]) {
    for ((endpoint, _), answer) in webhooks.iter().zip(send(callbook, webhooks).await) {
        let code = answer.status();
        let body = answer.text().await.unwrap();
        match *endpoint {
            "voice-inbound" => assert!(code == StatusCode::OK && body.contains("<Dial "), "{code} {body}"),
            "dial-action" => {
                assert!(code == StatusCode::OK && body.ends_with("<Response/>"), "{code} {body}")
            }
            _ => assert_eq!((code, &*body), (StatusCode::NO_CONTENT, ""), "{endpoint}"),
        }
    }
}

/// Everything that was sent is in the inbox once, decided and folded.
async fn all_there(callbook: &Callbook, rows: i64) {
    callbook.settled().await;
    assert_eq!(callbook.spooled(), 0);
    assert_eq!(callbook.count("select count(*) from twilio_webhook_inbox").await, rows);
    assert_eq!(
        callbook
            .count("select count(*) from twilio_webhook_inbox where processing_status = 'completed'")
            .await,
        rows
    );
    assert_eq!(
        callbook.count("select count(*) from messages where status <> 'completed' or end_time is null").await,
        0
    );
    callbook.verify().await;
}

async fn degraded(callbook: &Callbook, waiting: u64, why: &str) {
    let health = callbook.get("/health").await;
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["spool"]["waiting"], waiting, "{health}");
    assert_eq!(health["spool"]["bytes"].as_u64() > Some(0), waiting > 0, "{health}");
    assert_eq!(health["spool"]["oldest"].is_string(), waiting > 0, "{health}");
    assert!(health["why"].as_array().unwrap().contains(&json!(why)), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_answered_while_the_database_is_down_and_are_in_the_inbox_once_when_it_is_back() {
    let mut callbook = Callbook::on_its_own_server(&[]).await;
    accepted(&callbook, &webhooks(1)).await;
    callbook.settled().await;
    callbook.healthy().await;

    callbook.server().stop().await;
    let during: Vec<_> = (1..=20).flat_map(|n| webhooks(n * 10)).collect();
    accepted(&callbook, &during).await;
    // Twilio repeats some, and one that is in the inbox already.
    accepted(&callbook, &during[..30]).await;
    accepted(&callbook, &webhooks(1)).await;
    degraded(&callbook, 135, "the database cannot be reached").await;

    callbook.server().start().await;
    callbook.reconnect().await;
    all_there(&callbook, 105).await;
    assert_eq!(callbook.count("select count(*) from messages").await, 42);
    // The inbox has the time of the request, and not of its coming out of the spool.
    let early = "select count(*) from twilio_webhook_inbox where received_at > pg_postmaster_start_time()";
    assert_eq!(callbook.count(early).await, 0);
    accepted(&callbook, &webhooks(1_000)).await;
    all_there(&callbook, 110).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_answered_while_the_database_hangs() {
    let callbook = Callbook::on_its_own_server(&[]).await;
    accepted(&callbook, &webhooks(1)).await;
    callbook.settled().await;

    callbook.server().freeze();
    // The first wait for the database and give up; the next do not even ask it.
    accepted(&callbook, &webhooks(10)).await;
    accepted(&callbook, &webhooks(20)).await;
    degraded(&callbook, 10, "the database does not answer in time").await;
    callbook.server().thaw();

    // What hung in the database may have come through as well: its rows have the same keys.
    all_there(&callbook, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_spool_outlives_callbook() {
    let callbook = Callbook::on_its_own_server(&[]).await;
    callbook.server().stop().await;
    accepted(&callbook, &webhooks(10)).await;
    let restarting = callbook.stop().await;
    restarting.server().start().await;
    let callbook = restarting.start(&[]).await;
    all_there(&callbook, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_callbook_has_a_spool_of_its_own_and_the_first_takes_over_what_it_leaves() {
    let callbook = Callbook::on_its_own_server(&[]).await;
    let second = callbook.beside().await;
    callbook.server().stop().await;
    accepted(&callbook, &webhooks(10)).await;
    accepted(&second, &webhooks(20)).await;
    assert_eq!((callbook.spooled(), second.spooled()), (5, 5));
    second.app.stop().await;
    let mut spool = callbook.app.state.door.inbox.spool().status();
    spool.wait_for(|spool| spool.waiting == 10).await.unwrap();
    callbook.server().start().await;
    let mut callbook = callbook;
    callbook.reconnect().await;
    all_there(&callbook, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_to_write_is_as_good_as_down() {
    let callbook = Callbook::start().await;
    // As the server does when its disk is full, or when it has become a standby.
    for (code, why) in [
        ("53100", "the database has no room left on its disk"),
        ("25006", "the database is read-only"),
        ("42501", "the database refuses to write, with SQLSTATE 42501"),
    ] {
        let refuse = format!(
            "create function refuse() returns trigger language plpgsql as
                 $$ begin raise exception 'no' using errcode = '{code}'; end $$;
             create trigger refuse before insert on twilio_webhook_inbox execute function refuse()"
        );
        callbook.pool.execute(&*refuse).await.unwrap();
        accepted(&callbook, &webhooks(1)).await;
        degraded(&callbook, 5, why).await;
        callbook.pool.execute("drop function refuse() cascade").await.unwrap();
        callbook.settled().await;
    }
    all_there(&callbook, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_refuses_becomes_a_dead_letter_and_holds_up_no_other() {
    let callbook = Callbook::start().await;
    callbook
        .pool
        .execute("alter table twilio_webhook_inbox add constraint poison check (not payload ? 'Poison')")
        .await
        .unwrap();
    let poisoned = |n: u32| {
        let mut params = incoming(&call_sid(n), CUSTOMER, OURS);
        params.extend(pairs(&[("Poison", "a\0b")]));
        ("voice-inbound", params)
    };
    let mut batch = webhooks(1);
    batch.push(poisoned(3));
    accepted(&callbook, &batch).await;
    callbook.settled().await;

    // And on the way out of the spool.
    callbook.pool.execute("alter table twilio_webhook_inbox rename to away").await.unwrap();
    let mut batch: Vec<_> = (1..=10).flat_map(|n| webhooks(n * 10)).collect();
    batch.insert(7, poisoned(4));
    batch.push(poisoned(5));
    accepted(&callbook, &batch).await;
    degraded(&callbook, 52, "the database refuses to write, with SQLSTATE 42P01").await;
    callbook.pool.execute("alter table away rename to twilio_webhook_inbox").await.unwrap();
    callbook.settled().await;

    callbook.healthy().await;
    let count = async |status: &str| {
        let query = format!("select count(*) from twilio_webhook_inbox where processing_status = '{status}'");
        callbook.count(&query).await
    };
    assert_eq!((count("completed").await, count("dead_letter").await), (55, 3));
    let dead: Vec<(String, Value)> = sqlx::query_as(
        "select error, payload from twilio_webhook_inbox where processing_status = 'dead_letter' order by received_at",
    )
    .fetch_all(&callbook.pool)
    .await
    .unwrap();
    assert!(dead[0].0.contains("violates check constraint \"poison\""), "{dead:?}");
    let form = callbook::twilio::form::Form::parse(dead[0].1["form"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(form.0, poisoned(3).1, "the request is there as it came");
    callbook.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_database_and_disk_a_caller_is_routed_and_callbacks_are_put_off() {
    let folder = TempDir::new().unwrap();
    let not_a_folder = folder.path().join("file");
    std::fs::write(&not_a_folder, "").unwrap();
    let spool_dir = not_a_folder.join("spool").display().to_string();
    let mut callbook = Callbook::on_its_own_server(&[("SPOOL_DIR", &spool_dir)]).await;
    degraded(&callbook, 0, "the spool cannot be written").await;
    accepted(&callbook, &webhooks(1)).await;
    callbook.server().stop().await;
    let refused = webhooks(10);
    // The first may wait for the database, and each is answered alike.
    for _ in 0..2 {
        for ((endpoint, _), answer) in refused.iter().zip(send(&callbook, &refused).await) {
            if *endpoint == "voice-inbound" {
                assert_eq!(answer.status(), StatusCode::OK);
                assert!(answer.text().await.unwrap().contains("<Dial "));
            } else {
                assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{endpoint}");
            }
        }
    }
    callbook.server().start().await;
    callbook.reconnect().await;
    // Nobody asks the database but the spool, which is not there; so it is asked again by itself.
    while callbook.get("/health").await["why"].as_array().unwrap().len() > 1 {
        tokio::task::yield_now().await;
    }
    accepted(&callbook, &refused).await;
    all_there(&callbook, 10).await;
}

/// A small disk; unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Nothing where this process may not mount.
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "callbook-test"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) -> std::path::PathBuf {
        let file = self.path().join("filling");
        let error = std::fs::write(&file, vec![1; 4 << 20]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_nothing_that_was_accepted() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a small disk cannot be mounted by this user");
        return;
    };
    let spool_dir = disk.path().join("spool").display().to_string();
    let mut callbook = Callbook::on_its_own_server(&[("SPOOL_DIR", &spool_dir)]).await;
    callbook.server().stop().await;
    let filling = disk.fill();
    // What was set aside at the start is ours, whatever else fills the disk.
    accepted(&callbook, &webhooks(10)).await;
    let large = |n: u32| {
        let mut params = incoming(&call_sid(n), CUSTOMER, OURS);
        params.push(("Large".to_owned(), "x".repeat(200_000)));
        params
    };
    let twilio = callbook.twilio();
    let (mut kept, mut n) = (0, 100);
    while twilio.post("dial-action", &large(n)).await.status() == StatusCode::OK {
        (kept, n) = (kept + 1, n + 1);
    }
    assert_eq!(kept, 5, "a mebibyte was set aside");
    degraded(&callbook, 10, "the spool cannot be written").await;
    let answer = twilio.post("voice-inbound", &large(n)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.text().await.unwrap().contains("<Dial "));
    // A small one still fits.
    accepted(&callbook, &webhooks(20)).await;

    std::fs::remove_file(filling).unwrap();
    twilio.send("dial-action", &large(n)).await;
    callbook.server().start().await;
    callbook.reconnect().await;
    callbook.settled().await;
    assert_eq!(callbook.count("select count(*) from twilio_webhook_inbox").await, 16);
    callbook.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callbook_that_starts_without_its_database_routes_calls_and_keeps_webhooks() {
    let stopped = Callbook::on_its_own_server(&[]).await.stop().await;
    stopped.server().stop().await;
    let (door, writer) = stopped.open_door().await;
    let url = local_url(door.address);
    let health: Value = http().get(format!("{url}/health")).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["why"], json!(["the database has not been opened yet"]));
    let answer = http().get(format!("{url}/api/conversations")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let answer = Twilio::new(&url).post("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    assert!(answer.text().await.unwrap().contains("<Dial "));
    stopped.server().start().await;
    let callbook = stopped.behind((door, writer)).await;
    callbook.settled().await;
    assert_eq!(callbook.get("/api/conversations").await["total"], 1);
    callbook.verify().await;
}
