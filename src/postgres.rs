//! callbook's own PostgreSQL, so that one binary is enough to run it.
//!
//! Without `DATABASE_URL`, callbook keeps a cluster in its data folder and runs the server as its child, on a
//! Unix socket that only its own user can reach. The cluster is a book of record, so fsync stays on; it works as
//! root, which PostgreSQL itself refuses; and it ends with callbook, however callbook ends. No crate that runs a
//! PostgreSQL does these three.
//!
//! ```text
//! <data folder>/postgres.lock     held while a server runs; names its socket folder when it is ready
//!              /postgres          the cluster, there only once `initdb` has completed
//!              /postgres.log      what the server said, 0600
//!              /run               the socket, 0700; below the temp folder if this path is too long for one
//!              /binaries          PostgreSQL itself, if this machine had none
//! ```

mod account;
mod binaries;
mod child;
mod error;
mod files;
mod lock;
mod packages;
mod postmaster;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

use binaries::Source;
pub use error::PostgresError;
use files::Files;
use lock::Lock;
use server::Server;

/// How long a server may take to start or to go away. Recovery after a crash replays up to a gigabyte of log, so
/// this is generous; a server that fails is noticed at once, because it exits.
const PATIENCE: Duration = Duration::from_secs(300);

/// Files that another process writes have no event to wait for.
const POLL: Duration = Duration::from_millis(5);

/// How soon those who are attached notice that the owner has gone; their queries notice at once.
const OWNER_POLL: Duration = Duration::from_millis(500);

/// The role that owns everything; it exists only in this cluster and is reached only through its socket.
const ROLE: &str = "callbook";

/// The port only names the socket file, as no TCP port is opened.
const PORT: u16 = 5432;

/// Where a cluster keeps its data, and how hard it tries to keep it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `CALLBOOK_DATA_DIR`, see [`default_data_dir`]. Created if missing. If callbook runs as root, the server runs
    /// as `postgres` or `nobody`, which must be able to enter this folder.
    pub data_dir: PathBuf,
    /// Whether what is committed survives a power cut: `true`, except in tests, which have no use for it.
    pub durable: bool,
}

/// A running PostgreSQL: ours, or that of another callbook on the same data folder.
///
/// Dropping a cluster that we own asks its server to stop, without waiting for it; [`Cluster::stop`] waits.
#[derive(Debug)]
pub struct Cluster {
    files: Files,
    socket_dir: PathBuf,
    server: Option<Server>,
}

impl Cluster {
    /// Starts the cluster of this data folder and owns it, or attaches to it if a callbook already owns it.
    ///
    /// Of callbooks that start together one becomes the owner, and the others wait until its server is ready.
    pub async fn open(options: Options) -> Result<Cluster, PostgresError> {
        Cluster::open_with(options, Source::ALL).await
    }

    async fn open_with(options: Options, sources: &[Source]) -> Result<Cluster, PostgresError> {
        let files = Files::create(&options.data_dir)?;
        let patience_ends = Instant::now() + PATIENCE;
        loop {
            // Taken by the owner for as long as its server runs, and by the kernel's doing not a moment longer.
            if let Some(lock) = Lock::try_take(&files.lock())? {
                let server = Server::start(&files, options.durable, sources, lock).await?;
                let socket_dir = server.socket_dir().to_owned();
                return Ok(Cluster { files, socket_dir, server: Some(server) });
            }
            // A killed owner holds its lock until the kernel has cleared it away, and its server may answer even later,
            // so the lock is looked at once more.
            if let Some(socket_dir) = lock::announced(&files.lock())
                && answers(&connect_options(&socket_dir, "postgres")).await.is_ok()
                && lock::is_held(&files.lock())?
            {
                let data_dir = files.data_dir().display();
                tracing::info!(%data_dir, "attached to the PostgreSQL of another callbook on {data_dir}");
                return Ok(Cluster { files, socket_dir, server: None });
            }
            if Instant::now() > patience_ends {
                return Err(PostgresError::OwnerNotReady { lock: files.lock(), log: files.log() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether this process started the server, and so decides when it stops.
    pub fn owned(&self) -> bool {
        self.server.is_some()
    }

    /// How sqlx connects to `database`: through the Unix socket, as the role that owns everything.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        connect_options(&self.socket_dir, database)
    }

    /// A libpq URL of `database`, for people with `psql`. It holds no secret.
    pub fn url(&self, database: &str) -> String {
        let host = percent_encoded(&self.socket_dir.to_string_lossy());
        format!("postgresql:///{}?host={host}&port={PORT}&user={ROLE}", percent_encoded(database))
    }

    /// Creates the database if it is missing, also when several do so at once.
    pub async fn ensure_database(&self, name: &str) -> Result<(), PostgresError> {
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            return Err(PostgresError::DatabaseName { name: name.to_owned() });
        }
        let failed = |source| PostgresError::CreateDatabase { name: name.to_owned(), source };
        let mut connection =
            PgConnection::connect_with(&self.connect_options("postgres")).await.map_err(failed)?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(failed)?;
        if !exists {
            // template1 cannot be copied while somebody is connected to it; nobody can connect to template0.
            let create = format!("create database \"{}\" template template0", name.replace('"', "\"\""));
            match sqlx::query(&create).execute(&mut connection).await {
                Err(error) if !created_meanwhile(&error) => return Err(failed(error)),
                _ => tracing::info!(database = name, "created the database {name}"),
            }
        }
        connection.close().await.map_err(failed)
    }

    /// Stops the server if we own it, and returns when it is gone: sessions end, what is committed stays.
    pub async fn stop(self) -> Result<(), PostgresError> {
        match &self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Resolves when the server has gone without our asking: ours has exited, and the error quotes the end of its log,
    /// or its owner, to whom we are attached, has ended.
    pub async fn exited(&self) -> PostgresError {
        if let Some(server) = &self.server {
            return server.exited().await;
        }
        loop {
            match lock::is_held(&self.files.lock()) {
                Ok(true) => tokio::time::sleep(OWNER_POLL).await,
                Ok(false) => return PostgresError::OwnerGone { lock: self.files.lock() },
                Err(error) => return error,
            }
        }
    }
}

/// Where callbook keeps its data unless told otherwise: `/var/lib/callbook` for root, whose home no other user may
/// enter, else `$XDG_DATA_HOME/callbook` or `~/.local/share/callbook`.
pub fn default_data_dir() -> PathBuf {
    if Uid::effective().is_root() {
        return PathBuf::from("/var/lib/callbook");
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").or_else(|| Some(User::from_uid(Uid::effective()).ok()??.dir));
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(home()?.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("callbook")
}

/// Makes the data folder if it is missing, so that the server's user can pass through it.
pub fn create_data_dir(data_dir: &Path) -> Result<(), PostgresError> {
    Files::create(data_dir).map(drop)
}

fn connect_options(socket_dir: &Path, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(PORT)
        .username(ROLE)
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

async fn answers(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    connection.ping().await?;
    connection.close().await
}

/// Two sessions that create the same database both find it missing; the second is told in one of these two ways.
fn created_meanwhile(error: &sqlx::Error) -> bool {
    const DUPLICATE_DATABASE: &str = "42P04";
    const UNIQUE_VIOLATION: &str = "23505";
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some(DUPLICATE_DATABASE | UNIQUE_VIOLATION))
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}
