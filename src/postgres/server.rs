//! The server process: its cluster, its start, and its end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::Account;
use super::binaries::{Binaries, OLDEST, Source, Wanted};
use super::child::Child;
use super::files::{Files, working_folder};
use super::lock::Lock;
use super::postmaster::Postmaster;
use super::{PATIENCE, POLL, PORT, PostgresError, ROLE, answers, connect_options};

/// A server that we started. Dropping it asks it to stop.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    files: Files,
    socket_dir: PathBuf,
}

impl Server {
    /// Starts the server of this data folder, with a new cluster if it has none, and waits until it answers. The lock
    /// is held until the server is gone.
    pub async fn start(
        files: &Files,
        durable: bool,
        sources: &[Source],
        lock: Lock,
    ) -> Result<Server, PostgresError> {
        let started = Instant::now();
        let cluster = files.cluster();
        let account = Account::for_cluster(&cluster)?;
        account.must_reach(files.data_dir())?;
        until_abandoned(&cluster).await?;

        let written_by = major_of(&cluster)?;
        let wanted = written_by.map_or(Wanted::AtLeast(OLDEST), Wanted::Exactly);
        let binaries = Binaries::obtain(sources, wanted, &account, &files.binaries()).await?;
        let log = files.open_log()?;
        if written_by.is_none() {
            create_cluster(files, &binaries, &account, durable, &log).await?;
        }

        let socket_dir = files.create_socket_dir(&account)?;
        let command = serve(&cluster, &socket_dir, &binaries, &account, durable, log)?;
        let lock = Arc::new(lock);
        let child = Child::spawn(command, Arc::clone(&lock))
            .await
            .map_err(spawn_failed(&binaries.postgres(), &account))?;
        let server = Server { child, files: files.clone(), socket_dir };
        server.until_ready().await?;
        lock.announce(&server.socket_dir).map_err(PostgresError::io("write", &files.lock()))?;
        tracing::info!(
            data_dir = %files.data_dir().display(),
            version = %binaries.version,
            started_in_ms = started.elapsed().as_millis(),
            "PostgreSQL {} is ready on {}",
            binaries.version,
            files.data_dir().display(),
        );
        Ok(server)
    }

    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    #[cfg(test)]
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// PostgreSQL calls this a fast shutdown: it ends the sessions, writes a checkpoint and exits with success.
    pub async fn stop(&self) -> Result<(), PostgresError> {
        self.child.interrupt();
        let status = self.child.exited().await;
        self.files.remove_socket_dir(&self.socket_dir);
        if status.success() {
            tracing::info!("PostgreSQL has stopped");
            return Ok(());
        }
        Err(self.exited().await)
    }

    pub async fn exited(&self) -> PostgresError {
        let status = self.child.exited().await;
        PostgresError::Exited { status, log: self.files.log(), tail: self.files.log_tail() }
    }

    /// Ready is what its pid file calls so, if it is the pid file of our child, and what then answers.
    async fn until_ready(&self) -> Result<(), PostgresError> {
        let patience_ends = Instant::now() + PATIENCE;
        let cluster = self.files.cluster();
        loop {
            if self.child.status().is_some() {
                return Err(self.exited().await);
            }
            let postmaster = Postmaster::read(&cluster).map_err(PostgresError::io("look into", &cluster))?;
            if postmaster.is_some_and(|it| it.pid == self.child.pid() && it.ready) {
                break;
            }
            if Instant::now() > patience_ends {
                return Err(PostgresError::NotReady { log: self.files.log() });
            }
            tokio::time::sleep(POLL).await;
        }
        match answers(&connect_options(&self.socket_dir, "postgres")).await {
            Ok(()) => Ok(()),
            Err(source) => Err(PostgresError::Connect { socket_dir: self.socket_dir.clone(), source }),
        }
    }
}

/// Waits until no process of an earlier server is left. As we hold the lock, its owner is dead, and the signal that
/// Linux has sent it for that may still be at work; asking once more does no harm.
async fn until_abandoned(cluster: &Path) -> Result<(), PostgresError> {
    let patience_ends = Instant::now() + PATIENCE;
    let mut asked = false;
    loop {
        let postmaster = Postmaster::read(cluster).map_err(PostgresError::io("look into", cluster))?;
        let Some(postmaster) = postmaster else { return Ok(()) };
        let pid = postmaster.pid;
        if !postmaster.in_use(cluster) {
            let stale = cluster.join("postmaster.pid");
            return match fs::remove_file(&stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(PostgresError::io("remove the stale", &stale)(error))
                }
                _ => Ok(()),
            };
        }
        if !asked && postmaster.runs(cluster) {
            tracing::info!(
                pid,
                "waiting for the PostgreSQL of a callbook that is gone, process {pid}, to stop"
            );
            // Without the right to, we still wait for it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
            asked = true;
        }
        if Instant::now() > patience_ends {
            return Err(PostgresError::StillInUse { cluster: cluster.to_owned(), pid });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The major version that wrote the data, or `None` if there is none yet.
fn major_of(cluster: &Path) -> Result<Option<u32>, PostgresError> {
    let file = cluster.join("PG_VERSION");
    let not_a_cluster = || PostgresError::NotACluster { folder: cluster.to_owned() };
    match fs::read_to_string(&file) {
        Ok(text) => {
            let major = text.trim().split('.').next().and_then(|major| major.parse().ok());
            major.map(Some).ok_or_else(not_a_cluster)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let empty = fs::read_dir(cluster).map_or(true, |mut entries| entries.next().is_none());
            if empty { Ok(None) } else { Err(not_a_cluster()) }
        }
        Err(error) => Err(PostgresError::io("read", &file)(error)),
    }
}

/// Runs `initdb` in a folder beside, which gets its name only when it is complete.
async fn create_cluster(
    files: &Files,
    binaries: &Binaries,
    account: &Account,
    durable: bool,
    log: &File,
) -> Result<(), PostgresError> {
    let unfinished = working_folder(files.data_dir(), "postgres.initdb")?;
    account.give(&unfinished)?;
    let program = binaries.initdb();
    tracing::info!(version = %binaries.version, "creating a PostgreSQL {} cluster", binaries.version);

    let mut initdb = quiet(&program, account, files.data_dir(), log)?;
    initdb.arg("--pgdata").arg(&unfinished);
    // Byte order never changes with an upgrade of the system's locales, which would corrupt indexes on text.
    initdb.args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]);
    // The socket's folder decides who may connect.
    initdb.args(["--auth=trust", "--username", ROLE]);
    if !durable {
        initdb.arg("--no-sync");
    }
    let initdb = Child::spawn(initdb, ()).await.map_err(spawn_failed(&program, account))?;
    let status = initdb.exited().await;
    if !status.success() {
        return Err(PostgresError::Initdb { status, log: files.log(), tail: files.log_tail() });
    }
    let cluster = files.cluster();
    fs::rename(&unfinished, &cluster).map_err(PostgresError::io("put in place", &cluster))?;
    if durable {
        let synced = File::open(files.data_dir()).and_then(|folder| folder.sync_all());
        synced.map_err(PostgresError::io("sync", files.data_dir()))?;
    }
    Ok(())
}

fn serve(
    cluster: &Path,
    socket_dir: &Path,
    binaries: &Binaries,
    account: &Account,
    durable: bool,
    log: File,
) -> Result<Command, PostgresError> {
    let mut postgres = quiet(&binaries.postgres(), account, cluster, &log)?;
    let mut directories = std::ffi::OsString::from("unix_socket_directories=");
    directories.push(socket_dir);
    postgres.arg("-D").arg(cluster).arg("-c").arg(directories);
    postgres.args(["-c", "unix_socket_permissions=0700", "-c", "listen_addresses="]);
    postgres.args(["-c", &format!("port={PORT}")]);
    if !durable {
        postgres.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
    }
    Ok(postgres)
}

/// A command that runs as the server's user and says everything into the log. Its environment is empty but for what
/// finds programs and libraries: ours holds secrets, and `PG…` and `LC_…` would change what it does.
fn quiet(program: &Path, account: &Account, folder: &Path, log: &File) -> Result<Command, PostgresError> {
    let output = || log.try_clone().map_err(PostgresError::io("share the log with", program));
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(output()?).stderr(output()?).current_dir(folder);
    account.apply_to(&mut command);
    Ok(command)
}

fn spawn_failed(program: &Path, account: &Account) -> impl FnOnce(io::Error) -> PostgresError {
    let (program, user) = (program.to_owned(), account.name.clone());
    move |source| PostgresError::Spawn { program, user, source }
}
