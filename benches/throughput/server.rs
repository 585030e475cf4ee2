//! The PostgreSQL of a run, its databases, and the machine.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use callbook::app::{App, Credentials};
use callbook::config::Config;
use callbook::installation::{self, Owner};
use callbook::lease::Lease;
use callbook::postgres::{Cluster, Options};
use projections::ids::IdKey;
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";
pub const AUTH_TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const OURS: &str = "+16175006181";
pub const SIP_DOMAIN: &str = "abchomes.sip.us1.twilio.com";

/// Connections of every pool, ours and the peers'.
pub const CONNECTIONS: u32 = 16;

/// A migrated database without events; the others are copies of it.
const EMPTY: &str = "bench_empty";

/// A durable cluster in a folder that goes with it.
#[derive(Debug)]
pub struct Server {
    cluster: Cluster,
    // After the cluster: its folder goes when its server has been told to stop.
    home: TempDir,
}

/// A database and a pool on it, as the application has it.
#[derive(Clone, Debug)]
pub struct Database {
    pub name: String,
    pub pool: PgPool,
    pub ids: IdKey,
    /// For what the application keeps beside its database.
    data_dir: PathBuf,
}

/// The application on a database whose work another instance does: it answers webhooks and serves reads.
#[derive(Debug)]
pub struct Door {
    pub app: App,
    lease: Lease,
    holder: JoinHandle<()>,
}

impl Door {
    /// Lets go of the lease, for whoever is to work next.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.app.stop().await;
        self.holder.abort();
        Ok(self.lease.release().await?)
    }
}

impl Server {
    pub async fn start() -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        // PostgreSQL runs as another user if we are root, and must be able to enter.
        let permissions = std::fs::Permissions::from_mode(0o755);
        let home = tempfile::Builder::new().prefix("callbook-bench-").permissions(permissions).tempdir()?;
        let cluster = Cluster::open(Options { data_dir: home.path().join("data"), durable: true }).await?;
        cluster.ensure_database(EMPTY).await?;
        let server = Self { cluster, home };
        server.open(EMPTY).await?.pool.close().await;
        Ok(server)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        Ok(self.cluster.stop().await?)
    }

    /// A new database of callbook's, without events.
    pub async fn database(&self, name: &str) -> anyhow::Result<Database> {
        self.copy(EMPTY, name).await
    }

    /// A new database with what `template` has. Whoever is still connected to that is cut off.
    pub async fn copy(&self, template: &str, name: &str) -> anyhow::Result<Database> {
        // A pool that is closed may have a connection that was just on its way back.
        self.execute(&format!(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{template}'"
        ))
        .await?;
        self.execute(&format!("create database {name} template {template} strategy file_copy")).await?;
        self.open(name).await
    }

    /// A new, entirely empty database.
    pub async fn bare(&self, name: &str) -> anyhow::Result<PgPool> {
        self.execute(&format!("create database {name} template template0")).await?;
        self.plain_pool(name).await
    }

    /// A pool tuned as ours, without what our application sets for its sessions.
    pub async fn plain_pool(&self, name: &str) -> anyhow::Result<PgPool> {
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(false)
            .connect_with(self.cluster.connect_options(name))
            .await?;
        Ok(pool)
    }

    pub async fn connect(&self, name: &str) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect_with(&self.cluster.connect_options(name)).await?)
    }

    pub async fn drop(&self, database: Database) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&database.data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => self.drop_pool(&database.name, database.pool).await,
        }
    }

    pub async fn drop_pool(&self, name: &str, pool: PgPool) -> anyhow::Result<()> {
        pool.close().await;
        self.execute(&format!("drop database {name} with (force)")).await
    }

    pub fn url(&self, name: &str) -> String {
        self.cluster.url(name)
    }

    /// Writes out what earlier parts left to write, so that the next one does not pay for it.
    pub async fn settle(&self) -> anyhow::Result<()> {
        self.execute("checkpoint").await
    }

    async fn open(&self, name: &str) -> anyhow::Result<Database> {
        let pool = installation::connect(self.cluster.connect_options(name), CONNECTIONS).await?;
        let ids = installation::prepare(&pool, &owner()).await?;
        let data_dir = self.home.path().join(format!("app-{name}"));
        Ok(Database { name: name.to_owned(), pool, ids, data_dir })
    }

    async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        let mut admin = self.connect("postgres").await?;
        admin.execute(statement).await?;
        Ok(admin.close().await?)
    }

    /// The machine, the date and the server, as a line above the table.
    pub async fn about(&self) -> anyhow::Result<String> {
        let mut admin = self.connect("postgres").await?;
        let mut settings = Vec::new();
        for name in ["fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "work_mem"] {
            let value: String =
                sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut admin).await?;
            settings.push(format!("{name} {value}"));
        }
        let version: String =
            sqlx::query_scalar("select current_setting('server_version')").fetch_one(&mut admin).await?;
        admin.close().await?;
        let cores = std::thread::available_parallelism()?;
        let date = OffsetDateTime::now_utc().format(&Rfc3339)?;
        let date = date.split('T').next().unwrap_or_default();
        Ok(format!(
            "{date}; {cores} cores ({}), {} of RAM; PostgreSQL {version}, default settings ({}), \
             with the clients and the load on the same cores.",
            line_of("/proc/cpuinfo", "model name"),
            line_of("/proc/meminfo", "MemTotal"),
            settings.join(", "),
        ))
    }
}

/// What stands behind the colon in the first such line of a file of the kernel.
fn line_of(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

pub fn credentials() -> Credentials {
    Credentials { owner: owner(), auth_token: SecretString::from(AUTH_TOKEN) }
}

fn owner() -> Owner {
    Owner { account_sid: ACCOUNT_SID.to_owned(), simulated: true }
}

impl Database {
    /// The real application on this database and any free port.
    pub async fn app(&self) -> anyhow::Result<App> {
        let data_dir = self.data_dir.display().to_string();
        let config = Config::from_sources(
            [
                ("DATABASE_URL", "postgres://bench"),
                ("SIMULATE", "true"),
                ("SIMULATION_CALLS_PER_MINUTE", "0"),
                ("PORT", "0"),
                ("CALLBOOK_DATA_DIR", &data_dir),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        )?;
        let listener = TcpListener::bind(config.bind).await?;
        Ok(App::start(&config, credentials(), self.pool.clone(), listener).await?)
    }

    pub async fn door(&self) -> anyhow::Result<Door> {
        let pool = installation::connect((*self.pool.connect_options()).clone(), 2).await?;
        let lease = Lease::new(pool);
        let mut held = lease.held();
        let holder = tokio::spawn(lease.clone().run());
        held.wait_for(Option::is_some).await?;
        Ok(Door { app: self.app().await?, lease, holder })
    }

    /// Fills the read model from the log by a rebuild, without following the log first.
    pub async fn fill(&self) -> anyhow::Result<()> {
        // Tables of another fold are rebuilt without being compared.
        sqlx::query(
            "update read_model_generations
                set position = (select coalesce(max(id), 0) from call_events), fold_version = 0",
        )
        .execute(&self.pool)
        .await?;
        projections::rebuild::rebuild(&self.pool, &self.ids, |_| {}).await?;
        projections::rebuild::drop_previous(&self.pool).await?;
        sqlx::query("vacuum analyze").execute(&self.pool).await?;
        Ok(())
    }
}

/// Serves these routes on any free port until it is aborted.
pub async fn serve(routes: Router) -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let served = axum::serve(listener, routes).await;
        if let Err(error) = served {
            eprintln!("a server of the benchmark ended: {error}");
        }
    });
    Ok((address, server))
}

/// Returns when every webhook that was answered is a row: a busy machine may have put some into the spool.
pub async fn until_drained(app: &App) -> anyhow::Result<()> {
    app.state.door.inbox.spool().status().wait_for(|spool| spool.waiting == 0).await?;
    Ok(())
}
