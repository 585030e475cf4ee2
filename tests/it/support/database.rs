//! One PostgreSQL a run, with fsync off; one migrated template; one clone a test.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use callbook::installation::{self, Owner};
use callbook::postgres::{Cluster, Options};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

const TEMPLATE: &str = "template_callbook";

struct Server {
    cluster: Cluster,
}

/// A database that only one test uses.
pub struct TestDatabase {
    name: String,
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
        Self { name }
    }

    /// A database with nothing in it, for whoever migrates by itself.
    pub async fn empty() -> Self {
        let database = Self { name: next_name() };
        let server = tokio::task::spawn_blocking(server).await.unwrap();
        server.cluster.ensure_database(&database.name).await.unwrap();
        database
    }

    /// As `DATABASE_URL` has it.
    pub fn url(&self) -> String {
        server().cluster.url(&self.name)
    }

    pub fn options(&self) -> PgConnectOptions {
        server().cluster.connect_options(&self.name)
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
