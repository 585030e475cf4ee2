//! The callbook that is killed: a process on its own PostgreSQL, in a folder and on a port of its own.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::AS_CALLBOOK;
use crate::clock::Clock;
use crate::config::Config;
use crate::serve::{Home, Store};
use crate::simulator::{self, Driver, RestApi, World};

/// How long it may take until all is well again; recovery after a crash is part of it.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Subject {
    /// Removed at the end, unless something is wrong.
    folder: PathBuf,
    url: String,
    account: simulator::Account,
    /// The Twilio that callbook asks for what it missed while it was dead.
    world: World,
    _twilio: RestApi,
    environment: Vec<(String, String)>,
    callbook: Child,
    client: reqwest::Client,
}

impl Subject {
    pub async fn start() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("callbook-chaos-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        // If we are root, PostgreSQL runs as another user, who must pass.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        // It must be the same port after each start, as Twilio does not look for us.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        // A simulated account would place and end calls of its own.
        let account = simulator::Account {
            sid: format!("AC{:032x}", rand::random::<u128>()),
            auth_token: SecretString::from(format!("{:032x}", rand::random::<u128>())),
            owned_numbers: vec!["+16175006181".to_owned()],
            sip_user: "dispatcher".to_owned(),
            sip_domain: "abchomes.sip.us1.twilio.com".to_owned(),
        };
        let world = World::new(account.clone(), Clock::System);
        let twilio = RestApi::start(world.clone(), TcpListener::bind("127.0.0.1:0").await?)?;
        let environment = [
            ("TWILIO_API_BASE_URL", twilio.base_url.clone()),
            // Often, so that it is killed in the midst of it.
            ("RECONCILE_HOT_SECONDS", "1".to_owned()),
            ("RECONCILE_WARM_SECONDS", "5".to_owned()),
            ("CALLBOOK_DATA_DIR", folder.display().to_string()),
            ("PORT", port.to_string()),
            ("WEBHOOK_BASE_URL", url.clone()),
            ("TWILIO_ACCOUNT_SID", account.sid.clone()),
            ("TWILIO_AUTH_TOKEN", account.auth_token.expose_secret().to_owned()),
            ("OWNED_PHONE_NUMBERS", account.owned_number().to_owned()),
            ("SIP_USER", account.sip_user.clone()),
            ("SIP_DOMAIN", account.sip_domain.clone()),
            ("SPOOL_MEBIBYTES", "1".to_owned()),
            ("CALLBOOK_ADMIN_TOKEN", format!("{:032x}", rand::random::<u128>())),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        let mut subject = Self {
            callbook: spawn(&folder, &environment)?,
            folder,
            url,
            account,
            world,
            _twilio: twilio,
            environment: environment.into(),
            client: crate::outgoing::local().build()?,
        };
        subject.settled().await?;
        Ok(subject)
    }

    /// A Twilio for it.
    pub fn driver(&self) -> anyhow::Result<Driver> {
        let driver = Driver::new(&self.url, &self.url, self.account.clone())?;
        Ok(driver.of_made_up_account().with_world(self.world.clone()))
    }

    /// How its PostgreSQL is reached, which must be running.
    pub async fn database(&self) -> anyhow::Result<PgConnectOptions> {
        let config = Config::from_sources(self.environment.clone())?;
        Ok(Store::open(&config, &Home::open(&config)?).await?.options)
    }

    /// `callbook verify`, beside the one that runs.
    pub async fn verify(&self) -> anyhow::Result<()> {
        let output = command(&self.environment)?.arg("verify").output().await?;
        ensure!(
            output.status.success(),
            "verify: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    pub async fn kill_callbook(&mut self) -> anyhow::Result<()> {
        self.must_run()?;
        Ok(self.callbook.kill().await?)
    }

    pub async fn start_callbook(&mut self) -> anyhow::Result<()> {
        self.callbook = spawn(&self.folder, &self.environment)?;
        Ok(())
    }

    /// Kills the postmaster; its sessions notice and end.
    pub async fn kill_postgres(&mut self) -> anyhow::Result<()> {
        let postmaster = self.postmaster().await?;
        // One that has just ended by itself is as good.
        let _ = kill(postmaster, Signal::SIGKILL);
        Ok(())
    }

    pub async fn freeze_postgres(&mut self, how_long: Duration) -> anyhow::Result<()> {
        let postmaster = self.postmaster().await?;
        // First the one that starts the others.
        let _ = kill(postmaster, Signal::SIGSTOP);
        let sessions = children(postmaster)?;
        for process in &sessions {
            let _ = kill(*process, Signal::SIGSTOP);
        }
        tokio::time::sleep(how_long).await;
        for process in sessions.into_iter().chain([postmaster]) {
            let _ = kill(process, Signal::SIGCONT);
        }
        Ok(())
    }

    /// The postmaster, once there is one: it may just be starting.
    async fn postmaster(&mut self) -> anyhow::Result<Pid> {
        let begun = Instant::now();
        let file = self.folder.join("postgres/postmaster.pid");
        loop {
            let pid = fs::read_to_string(&file).ok().and_then(|text| text.lines().next()?.parse().ok());
            match pid {
                Some(pid) if kill(Pid::from_raw(pid), None).is_ok() => return Ok(Pid::from_raw(pid)),
                _ => {}
            }
            self.must_run()?;
            ensure!(begun.elapsed() < PATIENCE, "PostgreSQL did not come back within {PATIENCE:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Returns when callbook is healthy, its spool empty, and everything decided and folded.
    pub async fn settled(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            self.must_run()?;
            let health = self.health().await;
            if health.as_ref().is_some_and(is_settled) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "not settled within {PATIENCE:?}: {health:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    fn must_run(&mut self) -> anyhow::Result<()> {
        match self.callbook.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("callbook ended by itself: {status}"),
        }
    }

    /// Follows how many webhooks wait in the spool.
    pub fn watch_spool(&self) -> SpoolWatch {
        let (most, seen) = watch::channel(0);
        let (client, url) = (self.client.clone(), self.url.clone());
        let task = tokio::spawn(async move {
            loop {
                if let Some(health) = health(&client, &url).await {
                    let waiting = health["spool"]["waiting"].as_u64().unwrap_or(0);
                    most.send_if_modified(|most| std::mem::replace(most, waiting.max(*most)) < waiting);
                }
                tokio::time::sleep(POLL).await;
            }
        });
        SpoolWatch { most: seen, task }
    }

    /// Ends it in good order, which must succeed too, and leaves nothing behind.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.callbook.id() {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)?;
        }
        let status = self.callbook.wait().await?;
        ensure!(status.success(), "callbook did not stop in good order: {status}");
        fs::remove_dir_all(&self.folder).with_context(|| format!("{} stays", self.folder.display()))
    }

    /// Ends it as it is; gives the folder, for somebody to look into.
    pub fn leave(self) -> PathBuf {
        self.folder
    }

    async fn health(&self) -> Option<Value> {
        health(&self.client, &self.url).await
    }
}

/// Follows the spool until it is stopped.
#[derive(Debug)]
pub(super) struct SpoolWatch {
    most: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl SpoolWatch {
    /// The most that were seen waiting.
    pub fn stop(self) -> u64 {
        self.task.abort();
        *self.most.borrow()
    }
}

async fn health(client: &reqwest::Client, url: &str) -> Option<Value> {
    let answer = client.get(format!("{url}/health")).timeout(PATIENCE).send().await.ok()?;
    answer.json().await.ok()
}

fn is_settled(health: &Value) -> bool {
    health["status"] == "healthy"
        && health["spool"]["waiting"] == 0
        && health["inbox"]["oldest_waiting_seconds"].is_null()
        && health["projection"]["behind"] == 0
}

/// This program as callbook, with nothing but these settings.
fn command(environment: &[(String, String)]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(AS_CALLBOOK).env_clear().envs(environment.iter().cloned()).kill_on_drop(true);
    for name in ["PATH", "LD_LIBRARY_PATH", "RUST_LOG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    Ok(command)
}

fn spawn(folder: &Path, environment: &[(String, String)]) -> anyhow::Result<Child> {
    let log: File = OpenOptions::new().create(true).append(true).open(folder.join("callbook.log"))?;
    let spawned = command(environment)?.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    spawned.context("callbook cannot be started")
}

/// Its processes, which are groups of their own, so that a signal to its group would not reach them.
fn children(parent: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("freezing needs /proc")?.flatten() {
        // "pid (name) state ppid …"; the name may hold blanks, and ends with the last parenthesis.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let its_parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if its_parent.and_then(|pid| pid.parse().ok()) == Some(parent.as_raw())
            && let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
        {
            children.push(Pid::from_raw(pid));
        }
    }
    Ok(children)
}
