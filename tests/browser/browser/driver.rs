//! ChromeDriver, and with it Chromium, for as long as a test.

use std::path::PathBuf;
use std::process::Stdio;

use thirtyfour::{
    Capabilities, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What Debian calls them.
const PACKAGES: &str = "chromium chromium-driver";

/// A browser begins as somebody's who has never been here, and asks nobody but the callbook of the test.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // They are wider than those of a phone, and hide what they are beside.
    "--hide-scrollbars",
];

/// Ends with all that it has started, also where a test fails.
pub struct Process(Child);

impl Process {
    /// On a port that it finds by itself, which is what it says first.
    pub async fn start() -> (Self, String) {
        let mut child = Command::new(on_this_machine("chromedriver"))
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Self(child);
        while let Some(line) = lines.next_line().await.unwrap() {
            let port = line.strip_prefix("ChromeDriver was started successfully on port ");
            if let Some(port) = port {
                // What it says later is read by nobody, and must not stand in its way.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (process, format!("http://127.0.0.1:{}", port.trim_end_matches('.')));
            }
        }
        panic!("chromedriver ended before it said its port");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(id) = self.0.id() {
            for id in family(id) {
                let id = nix::unistd::Pid::from_raw(id.cast_signed());
                // It may have ended meanwhile.
                let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

/// A process and all that it has started, the eldest first.
fn family(id: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            // "pid (name) state ppid …"; the name may hold blanks, and ends with the last parenthesis.
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((id, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut all = vec![id];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        all.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    all
}

/// A session with a profile of its own.
pub async fn session(url: &str, profile: &std::path::Path) -> WebDriver {
    let mut wanted = DesiredCapabilities::chrome();
    wanted.set_binary(on_this_machine("chromium").to_str().unwrap()).unwrap();
    for argument in ARGUMENTS {
        wanted.add_arg(argument).unwrap();
    }
    wanted.add_arg(&format!("--user-data-dir={}", profile.display())).unwrap();
    wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
    let client = callbook::outgoing::local().build().unwrap();
    match WebDriver::builder(url, Capabilities::from(wanted)).client(client).connect().await {
        Ok(driver) => driver,
        Err(error) => panic!("Chromium does not start: {error}"),
    }
}

fn on_this_machine(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("{program} is not on this machine, and the page is tested in it: apt-get install {PACKAGES}")
    })
}
