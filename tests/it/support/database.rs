//! One PostgreSQL a run, with fsync off; one migrated template; one clone a test.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use callbook::installation::{self, Owner};
use callbook::postgres::{Cluster, Options};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

const TEMPLATE: &str = "template_callbook";

struct Server {
    cluster: Cluster,
}

/// A database that only one test uses.
pub struct TestDatabase {
    name: String,
    own_server: Option<OwnServer>,
}

/// A PostgreSQL that only one test uses, and may stop, freeze and kill.
pub struct OwnServer {
    folder: TempDir,
    cluster: Mutex<Option<Cluster>>,
    options: PgConnectOptions,
    url: String,
}

impl TestDatabase {
    pub async fn create() -> Self {
        let name = next_name();
        let server = tokio::task::spawn_blocking(server).await.unwrap();
        let mut admin =
            PgConnection::connect_with(&server.cluster.connect_options("postgres")).await.unwrap();
        admin
            .execute(format!("create database {name} template {TEMPLATE} strategy file_copy").as_str())
            .await
            .unwrap();
        Self { name, own_server: None }
    }

    /// Empty, and not migrated.
    pub async fn on_its_own_server() -> Self {
        let name = "alone".to_owned();
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let cluster =
            Cluster::open(Options { data_dir: folder.path().to_owned(), durable: false }).await.unwrap();
        cluster.ensure_database(&name).await.unwrap();
        let (options, url) = (cluster.connect_options(&name), cluster.url(&name));
        Self {
            name,
            own_server: Some(OwnServer { folder, cluster: Mutex::new(Some(cluster)), options, url }),
        }
    }

    /// A database with nothing in it, for whoever migrates by itself.
    pub async fn empty() -> Self {
        let database = Self { name: next_name(), own_server: None };
        let server = tokio::task::spawn_blocking(server).await.unwrap();
        server.cluster.ensure_database(&database.name).await.unwrap();
        database
    }

    /// As `DATABASE_URL` has it.
    pub fn url(&self) -> String {
        server().cluster.url(&self.name)
    }

    pub fn options(&self) -> PgConnectOptions {
        match &self.own_server {
            Some(own) => own.options.clone(),
            None => server().cluster.connect_options(&self.name),
        }
    }

    pub fn own_server(&self) -> &OwnServer {
        self.own_server.as_ref().unwrap()
    }
}

impl OwnServer {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn stop(&self) {
        let cluster = self.cluster.lock().unwrap().take().unwrap();
        cluster.stop().await.unwrap();
    }

    pub async fn start(&self) {
        let options = Options { data_dir: self.folder.path().to_owned(), durable: false };
        let cluster = Cluster::open(options).await.unwrap();
        *self.cluster.lock().unwrap() = Some(cluster);
    }

    /// Takes connections and answers nothing, as a server whose disk hangs.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// To the postmaster and to each of its children, which are groups of their own.
    fn signal(&self, name: &str) {
        let pid_file = self.folder.path().join("postgres/postmaster.pid");
        let postmaster = std::fs::read_to_string(pid_file).unwrap().lines().next().unwrap().to_owned();
        let signal = |pid: &str| std::process::Command::new("kill").args(["-s", name, pid]).status().unwrap();
        assert!(signal(&postmaster).success());
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            // "pid (name) state ppid …"; the name may hold blanks, and ends with the last parenthesis.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            if parent == Some(&*postmaster) {
                // It may have ended meanwhile.
                signal(entry.file_name().to_str().unwrap());
            }
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if self.cluster.get_mut().unwrap().is_some() {
            // A frozen one could not stop.
            self.thaw();
        }
    }
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        // A thread of its own: a test's runtime ends with the test, and the server outlives it.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let server = runtime.block_on(start());
            std::mem::forget(runtime);
            server
        })
        .join()
        .unwrap()
    })
}

async fn start() -> Server {
    remove_leftovers();
    let data_dir = home(std::process::id());
    let cluster = Cluster::open(Options { data_dir, durable: false }).await.unwrap();
    cluster.ensure_database(TEMPLATE).await.unwrap();
    let pool = installation::connect(cluster.connect_options(TEMPLATE), 2).await.unwrap();
    let owner = Owner { account_sid: super::ACCOUNT_SID.to_owned(), simulated: true };
    installation::prepare(&pool, &owner).await.unwrap();
    pool.close().await;
    Server { cluster }
}

fn home(process: u32) -> PathBuf {
    std::env::temp_dir().join(format!("callbook-test-{process}"))
}

/// What earlier runs left behind: a server ends with its test run and cannot remove its own folder.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("callbook-test-"));
        let gone = process.is_some_and(|id| !PathBuf::from(format!("/proc/{id}")).exists());
        if gone {
            // Another user's folder is that user's to remove.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
