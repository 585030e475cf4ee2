//! The binary as an operator runs it: on its own PostgreSQL, killed, stopped, started again.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::support::client::{http, incoming};
use crate::support::database::TestDatabase;
use crate::support::{ACCOUNT_SID, ADMIN_TOKEN, AUTH_TOKEN, CUSTOMER, OURS, Twilio, call_sid};

/// A `callbook` process on its own PostgreSQL.
pub struct Process {
    child: Child,
    pub url: String,
    log: std::thread::JoinHandle<()>,
}

pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callbook"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("CALLBOOK_DATA_DIR", data_dir)
        .env("PORT", "0")
        .env("RATE_LIMIT_PER_SECOND", "0")
        .env("CALLBOOK_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("SIMULATION_CALLS_PER_MINUTE", "600")
        .env("SIMULATION_SPEED", "4");
    command
}

impl Process {
    /// Returns when it says where it listens.
    fn start(data_dir: &Path) -> Self {
        Self::run(command(data_dir))
    }

    pub fn run(command: Command) -> Self {
        Self::until(command, "listens on ")
    }

    /// Returns when it says this and a URL.
    fn until(mut command: Command, phrase: &str) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let url = loop {
            let line = lines.next().unwrap_or_else(|| panic!("callbook ended: {before:?}")).unwrap();
            if let Some((_, rest)) = line.split_once(phrase) {
                break rest.split([' ', ';']).next().unwrap().to_owned();
            }
            before.push(line);
        };
        // A pipe that nobody reads would stop the process when it is full.
        let log = std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, log }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn ended(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        self.log.join().unwrap();
        status.code()
    }

    async fn get(&self, path: &str) -> Value {
        http().get(format!("{}{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until it says so: a busy machine may look like a database that does not answer for a while.
    async fn healthy(&self) {
        while self.get("/health").await["status"] != "healthy" {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the read model has got so far.
    pub async fn reached(&self, position: i64) -> i64 {
        loop {
            // Without its database it has no position.
            match self.get("/api/conversations").await["position"].as_i64() {
                Some(reached) if reached >= position => return reached,
                _ => {}
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Every process whose command line names this folder.
fn processes(data_dir: &Path) -> Vec<String> {
    let folder = data_dir.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&folder)).collect()
}

/// A folder that the user PostgreSQL runs as can reach.
pub fn data_dir() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[tokio::test]
async fn killed_it_starts_again_on_the_same_data_and_no_call_hangs() {
    let folder = data_dir();
    let first = Process::start(folder.path());
    let health = first.get("/health").await;
    assert_eq!(health["simulated"], true);
    let seen = first.reached(40).await;
    let subject = first.get("/api/conversations").await["conversations"][0]["id"].clone();
    first.signal("KILL");
    assert_eq!(first.ended(), None);

    let second = Process::start(folder.path());
    assert_eq!(second.get("/health").await["account_sid"], health["account_sid"]);
    assert!(second.reached(seen).await >= seen, "nothing is lost");
    let id = subject.as_str().unwrap();
    assert_eq!(second.get(&format!("/api/conversations/{id}")).await["id"], subject, "ids stay");
    second.signal("INT");
    assert_eq!(second.ended(), Some(0));
    assert_eq!(processes(folder.path()), Vec::<String>::new(), "Ctrl-C leaves no process behind");

    // Nobody places calls any more: what was in flight is all that can end now, and it does.
    let mut quiet = command(folder.path());
    quiet.env("SIMULATION_CALLS_PER_MINUTE", "0");
    let third = Process::run(quiet);
    loop {
        let active = third.get("/api/conversations/active").await;
        if active["total"] == 0 {
            break;
        }
    }
    third.signal("TERM");
    assert_eq!(third.ended(), Some(0));
}

/// Who decides and folds, as `/health` says when the database has told it: the process and the epoch. Nobody for a
/// moment while it passes on.
async fn worker(process: &Process) -> (Option<u32>, i64) {
    loop {
        let worker = process.get("/health").await["worker"].clone();
        if let Some(epoch) = worker["epoch"].as_i64() {
            let holder = worker["holder"].as_str();
            return (holder.and_then(|holder| holder.split('/').nth(1)?.parse().ok()), epoch);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn of_two_processes_one_works_and_the_other_takes_over_when_it_is_paused_or_killed() {
    let (folder, database) = (data_dir(), TestDatabase::empty().await);
    let settings = || {
        let mut command = command(folder.path());
        command
            .env("DATABASE_URL", database.url())
            .env("TWILIO_ACCOUNT_SID", ACCOUNT_SID)
            .env("TWILIO_AUTH_TOKEN", AUTH_TOKEN)
            // Nobody there: what is asked of Twilio is not what this is about.
            .env("TWILIO_API_BASE_URL", "http://127.0.0.1:9")
            .env("OWNED_PHONE_NUMBERS", OURS);
        command
    };
    let works = async |process: &Process, id: u32| while worker(process).await.0 != Some(id) {};
    let rings = async |process: &Process, n: u32| {
        let announced = incoming(&call_sid(n), CUSTOMER, OURS);
        Twilio::new(&process.url).send("voice-inbound", &announced).await;
    };
    let first = Process::run(settings());
    works(&first, first.child.id()).await;
    let second = Process::run(settings());
    let (one, other) = (first.child.id(), second.child.id());
    rings(&second, 1).await;
    second.reached(1).await;
    let (holder, epoch) = worker(&second).await;
    assert_eq!(
        holder,
        Some(one),
        "the first decides and folds what the second took, and the second shows it"
    );

    // Paused, its session is still there: its time has to run out.
    first.signal("STOP");
    rings(&second, 2).await;
    works(&second, other).await;
    second.reached(2).await;
    let (_, later) = worker(&second).await;
    assert!(later > epoch);
    first.signal("CONT");
    rings(&first, 3).await;
    first.reached(3).await;
    assert_eq!(worker(&first).await, (Some(other), later), "woken up, it follows");

    // Killed, its session is gone, and so is the lease.
    second.signal("KILL");
    assert_eq!(second.ended(), None);
    rings(&first, 4).await;
    works(&first, one).await;
    first.reached(4).await;
    first.signal("INT");
    assert_eq!(first.ended(), Some(0));

    let verified = settings().arg("verify").output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_postgresql_of_its_own_that_is_killed_is_started_again_under_traffic() {
    let folder = data_dir();
    let callbook = Process::start(folder.path());
    let seen = callbook.reached(20).await;
    let pid_file = folder.path().join("postgres/postmaster.pid");
    let postmaster = || std::fs::read_to_string(&pid_file).ok()?.lines().next().map(str::to_owned);
    let killed = postmaster().unwrap();
    assert!(Command::new("kill").args(["-s", "KILL", &killed]).status().unwrap().success());
    callbook.reached(seen + 40).await;
    assert_ne!(postmaster().unwrap(), killed);
    callbook.healthy().await;
    callbook.signal("INT");
    assert_eq!(callbook.ended(), Some(0));
    assert_eq!(processes(folder.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_it_starts_and_goes_on_when_it_is_there() {
    let database = TestDatabase::on_its_own_server().await;
    let server = database.own_server();
    let folder = data_dir();
    let mut command = command(folder.path());
    command.env("DATABASE_URL", server.url()).env("SIMULATE", "true");
    server.stop().await;
    let callbook = Process::until(command, "webhooks are taken at ");
    let health = callbook.get("/health").await;
    assert_eq!(health["why"], serde_json::json!(["the database has not been opened yet"]));
    server.start().await;
    callbook.healthy().await;
    callbook.reached(10).await;
    callbook.signal("INT");
    assert_eq!(callbook.ended(), Some(0));
}

#[tokio::test]
async fn a_command_attaches_to_the_postgresql_of_a_running_callbook() {
    let folder = data_dir();
    let server = Process::start(folder.path());
    let output = command(folder.path()).arg("reclassify").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.ends_with("0 changed\n"), "{said}");
    // The server goes on.
    server.healthy().await;
    server.signal("INT");
    assert_eq!(server.ended(), Some(0));
    // Alone it starts the cluster for as long as it needs it.
    let output = command(folder.path()).arg("reclassify").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(processes(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_is_told_and_the_log_is_linted_on_the_command_line() {
    let folder = data_dir();
    let server = Process::start(folder.path());
    server.reached(10).await;
    let last = &server.get("/api/conversations").await["conversations"][0]["last_message"];
    let sid = last["external_id"].as_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = command(folder.path()).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };

    let (code, told, log) = run(&["events", "--call", sid]);
    assert_eq!(code, Some(0), "{log}");
    assert!(told.starts_with(&format!("{sid}, as of position ")), "{told}");
    assert!(told.contains(": call.created (version 1), number 1 of "), "{told}");
    let (code, _, log) = run(&["events", "--call", "CA00000000000000000000000000000000"]);
    assert_eq!(code, Some(1));
    assert!(log.contains("nothing is recorded of a call CA0000"), "{log}");
    let (code, _, log) = run(&["events", "--call", "CA1"]);
    assert_eq!(code, Some(2));
    assert!(log.contains("expected CA and 32 hexadecimal digits"), "{log}");

    let (code, said, log) = run(&["lint-log", "--deep"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(said.contains("can be read (every payload was read)"), "{said}");
    let account = server.get("/health").await["account_sid"].as_str().unwrap().to_lowercase();
    let options = callbook::postgres::Options { data_dir: folder.path().to_owned(), durable: true };
    let cluster = callbook::postgres::Cluster::open(options).await.unwrap();
    let database = cluster.connect_options(&format!("callbook_{account}"));
    let mut connection = PgConnection::connect_with(&database).await.unwrap();
    connection
        .execute(
            "insert into call_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             values ('call', 'CA00000000000000000000000000000007', 1, 'call.frozen', '12', '{}', '{}')",
        )
        .await
        .unwrap();
    let (code, said, log) = run(&["lint-log"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(said.starts_with("call.frozen in version 12: 1 events, positions "), "{said}");
    assert!(said.contains("first of call CA00000000000000000000000000000007"), "{said}");
    connection.close().await.unwrap();
    cluster.stop().await.unwrap();
    server.signal("INT");
    assert_eq!(server.ended(), Some(0));
}

#[tokio::test]
async fn a_taken_port_is_one_line_and_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = data_dir();
    let output = command(folder.path()).env("PORT", &port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&format!("port {port} of 127.0.0.1 is taken")), "{said}");
    assert!(!folder.path().join("postgres").exists(), "no database was made for it");
}

#[tokio::test]
async fn production_names_every_missing_secret() {
    let folder = data_dir();
    let output = command(folder.path()).env("NODE_ENV", "production").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for key in ["DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "WEBHOOK_BASE_URL"] {
        assert!(said.contains(key), "{said} does not name {key}");
    }
}

#[tokio::test]
async fn the_doctor_says_how_a_fresh_set_up_stands_and_what_to_do_about_what_is_broken() {
    let folder = data_dir();
    let examined = |settings: &[(&str, &str)], arguments: &[&str]| {
        let mut command = command(folder.path());
        let output = command.envs(settings.iter().copied()).arg("doctor").args(arguments).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing stands between");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    // Nothing has ever run here.
    let (code, said) = examined(&[], &[]);
    assert_eq!(code, Some(0), "{said}");
    for line in ["ok    settings", "ok    data folder", "ok    database", "warn  migrations", "ok    Twilio"]
    {
        assert!(said.contains(line), "{line} is not in {said}");
    }

    let server = Process::start(folder.path());
    server.reached(10).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let (code, said) = examined(&[("PORT", &port)], &[]);
    assert_eq!(code, Some(0), "{said}");
    for line in
        ["runs at", "ok    triggers", "ok    append", "ok    account", "ok    worker", "ok    read model"]
    {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    let head = server.get("/health").await["projection"]["head"].as_i64().unwrap();
    server.signal("INT");
    assert_eq!(server.ended(), Some(0));

    // What was probed was taken back, and what somebody broke is found.
    let options = callbook::postgres::Options { data_dir: folder.path().to_owned(), durable: true };
    let cluster = callbook::postgres::Cluster::open(options).await.unwrap();
    let mut admin = PgConnection::connect_with(&cluster.connect_options("postgres")).await.unwrap();
    let name: String = sqlx::query_scalar("select datname from pg_database where datname like 'callbook%'")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    admin.close().await.unwrap();
    let mut connection = PgConnection::connect_with(&cluster.connect_options(&name)).await.unwrap();
    let probed: i64 = sqlx::query_scalar("select count(*) from call_events where aggregate_type = 'doctor'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(probed, 0);
    let last: i64 =
        sqlx::query_scalar("select max(id) from call_events").fetch_one(&mut connection).await.unwrap();
    assert!(last >= head);
    connection.execute("alter table call_events disable trigger call_events_append_only").await.unwrap();
    connection.close().await.unwrap();
    cluster.stop().await.unwrap();
    let (code, said) = examined(&[], &["--json"]);
    assert_eq!(code, Some(1), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["state"], "fail");
    let failed: Vec<&Value> =
        said["findings"].as_array().unwrap().iter().filter(|finding| finding["state"] == "fail").collect();
    assert_eq!(failed.len(), 2, "{said}");
    assert_eq!(failed[0]["about"], "triggers");
    assert!(failed[0]["to_do"].as_str().unwrap().contains("enable trigger call_events_append_only"));
    assert_eq!(failed[1]["said"], "The log lets itself be rewritten.");
    assert_eq!(processes(folder.path()), Vec::<String>::new());

    let (code, said) = examined(&[("PORT", "many")], &[]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("FAIL  settings") && said.contains("PORT is `many`"), "{said}");
}

#[tokio::test]
async fn a_backup_of_a_running_callbook_is_restored_into_a_fresh_folder() {
    let (folder, elsewhere) = (data_dir(), data_dir());
    let file = elsewhere.path().join("book.backup");
    let server = Process::start(folder.path());
    let seen = server.reached(30).await;
    let run = |data_dir: &Path, arguments: &[&str]| {
        let output = command(data_dir).args(arguments).arg(&file).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, log) = run(folder.path(), &["backup", "--to"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(said.contains("is the book of AC"), "{said}");
    let (code, _, log) = run(folder.path(), &["restore", "--force"]);
    assert_eq!(code, Some(1));
    assert!(log.contains("a callbook works on this database"), "{log}");
    let account = server.get("/health").await["account_sid"].clone();
    server.signal("INT");
    assert_eq!(server.ended(), Some(0));

    let fresh = data_dir();
    let (code, said, log) = run(fresh.path(), &["restore"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(said.contains("live equals rebuilt at position"), "{said}");
    let again = Process::start(fresh.path());
    assert_eq!(again.get("/health").await["account_sid"], account, "the simulated account came along");
    assert!(again.reached(seen).await >= seen);
    again.signal("INT");
    assert_eq!(again.ended(), Some(0));
    let (code, _, log) = run(fresh.path(), &["restore"]);
    assert_eq!(code, Some(1));
    assert!(log.contains("there is a book already"), "{log}");
}
