//! callbook in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::str::FromStr;

use anyhow::Context;
use callbook::app::App;
use callbook::config::Config;
use callbook::installation;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::measure;
use crate::server::{CONNECTIONS, credentials};

/// It stops when this is dropped or stopped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    pub address: SocketAddr,
}

impl Served {
    pub async fn start(database: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("its output is ours")?;
        let line = BufReader::new(output).lines().next_line().await?.context("callbook did not start")?;
        Ok(Self { child, address: line.parse()? })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn memory_mib(&self) -> f64 {
        self.child.id().map_or(0.0, measure::memory_of_mib)
    }

    pub async fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "callbook ended with {status}");
        Ok(())
    }
}

/// The child's side: serves until its input ends.
pub async fn serve(database: &str) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let data_dir = home.path().display().to_string();
    let settings = [
        ("DATABASE_URL", database),
        ("SIMULATE", "true"),
        ("SIMULATION_CALLS_PER_MINUTE", "0"),
        ("PORT", "0"),
        ("CALLBOOK_DATA_DIR", &data_dir),
    ];
    let config = Config::from_sources(settings.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
    let pool = installation::connect(PgConnectOptions::from_str(database)?, CONNECTIONS).await?;
    let listener = TcpListener::bind(config.bind).await?;
    let app = App::start(&config, credentials(), pool, listener).await?;
    println!("{}", app.address);
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await??;
    app.stop().await;
    Ok(())
}
