//! A child process that cannot outlive us.
//!
//! Linux sends the parent-death signal when the *thread* that forked ends, and a thread of an async runtime may end
//! any time. So each child has a thread of its own, which forks it and then waits for it.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// A running child. Dropping it sends SIGINT, which initdb and PostgreSQL take as "stop now, and cleanly".
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts `command`; `while_it_runs` is dropped once the child is gone, but also if it does not start.
    pub async fn spawn<T: Send + 'static>(mut command: Command, while_it_runs: T) -> io::Result<Child> {
        // Ctrl-C goes to the whole foreground group; in a group of its own the child leaves the decision to us.
        command.process_group(0);
        ends_with_us(&mut command);
        let (started, start) = oneshot::channel();
        let (exited, status) = watch::channel(None);
        thread::Builder::new().name("postgres-parent".to_owned()).spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            // A child that nobody waits for any more is told so by the drop of the `Child` in the message.
            let pid = Pid::from_raw(child.id().cast_signed());
            let _ = started.send(Ok(Child { pid, status }));
            // Without a status, because somebody else reaped the child, it is gone all the same.
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xff00));
            drop(while_it_runs);
            exited.send_replace(Some(status));
        })?;
        start.await.map_err(|_| io::Error::other("the thread that starts it ended"))?
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// How it ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.status.borrow()
    }

    /// Waits until it has ended.
    pub async fn exited(&self) -> ExitStatus {
        let mut status = self.status.clone();
        match status.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::from_raw(0xff00),
        }
    }

    /// Sends SIGINT unless it has ended.
    pub fn interrupt(&self) {
        if self.status().is_none() {
            let _ = kill(self.pid, Signal::SIGINT);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// Has the kernel send SIGINT to the child when its parent is gone, however the parent ended.
#[cfg(target_os = "linux")]
fn ends_with_us(command: &mut Command) {
    let us = Pid::this();
    let ask_for_the_signal = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGINT)?;
        // We may have died before the child asked; then it has another parent, and no signal will come.
        if Pid::parent() == us { Ok(()) } else { Err(io::Error::from(io::ErrorKind::BrokenPipe)) }
    };
    #[expect(
        unsafe_code,
        reason = "runs between fork and exec; prctl and getppid are plain system calls, so allowed there"
    )]
    // It runs after the child has changed its user, which would clear the signal.
    unsafe {
        command.pre_exec(ask_for_the_signal);
    }
}

/// Other systems have no such signal: there, whoever opens the cluster next stops the server that was left.
#[cfg(not(target_os = "linux"))]
fn ends_with_us(_: &mut Command) {}
