//! What `postmaster.pid` says, and whether it is still true.
//!
//! PostgreSQL takes its pid file for stale only if no process of its user has that number. In a container the numbers
//! are small and the same after each start, so a killed server's number soon belongs to one of our own threads, and
//! PostgreSQL would refuse to start until a person deletes the file. We look closer than at the number.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The pid file of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub pid: i32,
    /// Whether it accepts connections.
    pub ready: bool,
    /// The System V segment that each of its processes is attached to, once it has got that far.
    shared_memory: Option<i64>,
}

impl Postmaster {
    /// Reads the pid file of `cluster`; `None` if there is none, or nothing in it.
    pub fn read(cluster: &Path) -> io::Result<Option<Postmaster>> {
        match fs::read_to_string(cluster.join("postmaster.pid")) {
            Ok(text) => Ok(Postmaster::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its lines: pid, data folder, start time, port, socket folder, listen address, shared memory, status.
    pub fn parse(text: &str) -> Option<Postmaster> {
        let lines = text.lines().collect::<Vec<_>>();
        Some(Postmaster {
            pid: lines.first()?.trim().parse().ok()?,
            ready: lines.get(7).is_some_and(|status| status.trim() == "ready"),
            shared_memory: lines
                .get(6)
                .and_then(|key_and_id| key_and_id.split_whitespace().nth(1)?.parse().ok()),
        })
    }

    /// Whether any process of that server is left: itself, or a session that has not noticed its end.
    pub fn in_use(&self, cluster: &Path) -> bool {
        self.runs(cluster) || self.shared_memory.is_some_and(attached)
    }

    /// Whether the process with its number is a server on this cluster.
    #[cfg(target_os = "linux")]
    pub fn runs(&self, cluster: &Path) -> bool {
        let command_line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let mut arguments = command_line.split(|byte| *byte == 0);
        arguments.next().is_some_and(|program| program.ends_with(b"postgres"))
            && arguments.any(|argument| argument == cluster.as_os_str().as_bytes())
    }

    #[cfg(not(target_os = "linux"))]
    pub fn runs(&self, _: &Path) -> bool {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), None).is_ok()
    }
}

/// Whether a process is attached to this segment. A server that was killed leaves it, and its sessions for a moment.
fn attached(segment: i64) -> bool {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    table.lines().skip(1).any(|line| {
        // key, id, permissions, size, creator, last user, number of processes attached, …
        let columns = line.split_whitespace().map(|column| column.parse::<i64>().ok()).collect::<Vec<_>>();
        columns.get(1) == Some(&Some(segment)) && columns.get(6).copied().flatten() != Some(0)
    })
}
