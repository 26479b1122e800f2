//! A command as an endpoint: its standard input and output.
//!
//! The invariant: no child outlives its [`Running`] and none stays a zombie; a child that does not end by itself is
//! asked to (`SIGTERM`) and then made to (`SIGKILL`), together with what it has started: the shell is rarely alone.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tieline_os::pidfd::PidFd;
use tieline_os::pipe::pipe;
use tieline_os::poll::Interest;
use tieline_os::signal::Signal;

use super::bytes::{ByteSink, ByteSource, Input, Output};
use super::{Direction, Sink, Source};
use crate::error::{Error, Result};
use crate::stop::Patience;

/// How long a child has between being asked to end and being made to.
const GRACE: Duration = Duration::from_millis(500);

/// A child process that belongs to an endpoint. Dropping it ends the child and reaps it.
#[derive(Debug)]
#[must_use = "dropping it ends the child"]
pub struct Running {
    command: String,
    child: Child,
    process: PidFd,
    status: Option<ExitStatus>,
}

impl Running {
    /// The command, as it stands in the address.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// The process id of the shell that runs it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the child's end. Close the endpoint's halves first, or a child that reads to the end never ends.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_patiently(Patience::default())
    }

    /// As [`wait`](Self::wait), for at most `timeout`; the child goes on then.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.wait_patiently(Patience::new(None, Some(timeout)))
    }

    pub(crate) fn wait_patiently(&mut self, patience: Patience<'_>) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        patience.wait_ready(self.process.as_fd(), Interest::READABLE, "wait for a command to end")?;
        let status = self.child.wait().map_err(|error| Error::system("collect the end of a command", &error))?;
        self.status = Some(status);
        Ok(status)
    }

    /// Ends the child, if it has not ended, with all that it has started, and collects its status.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        // Once the shell has ended nobody can tell any more what it had started.
        let below = descendants(self.id());
        for (signal, grace) in [(Signal::TERM, Some(GRACE)), (Signal::KILL, None)] {
            // Signals fail only for those that have ended, which the waits see.
            let _ = self.process.send_signal(signal);
            below.iter().for_each(|process| drop(process.send_signal(signal)));
            let patience = Patience::new(None, grace);
            match self.wait_patiently(patience) {
                Err(error) if error.is_timeout() => continue,
                answer => answer?,
            };
            let left = patience.remaining().unwrap_or_default();
            if below.iter().all(|process| process.wait_timeout(left).is_ok()) {
                break;
            }
        }
        self.wait()
    }

    /// Waits for its end if `patience` allows, and ends it otherwise.
    pub(crate) fn conclude(&mut self, patience: Patience<'_>) -> Result<ExitStatus> {
        match self.wait_patiently(patience) {
            Err(error) if error.is_timeout() || error.is_stopped() => self.terminate(),
            answer => answer,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.terminate();
    }
}

/// Starts `command` under `sh -c`. What is not connected to us is the null device (its input) or ours (its output);
/// its standard error is always ours.
pub(super) fn open(
    command: &str,
    direction: Direction,
    name: &Arc<str>,
) -> Result<(Option<Source>, Option<Sink>, Running)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    let mut sink = None;
    let mut source = None;
    if direction.sends() {
        let (reader, writer) = pipe()?;
        shell.stdin(Stdio::from(reader));
        sink = Some(Sink::Bytes(ByteSink::new(Output::Pipe(writer), name)));
    } else {
        shell.stdin(Stdio::null());
    }
    if direction.receives() {
        let (reader, writer) = pipe()?;
        shell.stdout(Stdio::from(writer));
        source = Some(Source::Bytes(ByteSource::new(Input::Pipe(reader), name)));
    }
    let child = shell.spawn().map_err(|error| Error::system(format!("start sh for {name}"), &error))?;
    // The command object holds the child's ends of the pipes until it is dropped.
    drop(shell);
    let process = match PidFd::of_child(&child) {
        Ok(process) => process,
        Err(error) => return Err(abandon(child, error)),
    };
    Ok((source, sink, Running { command: command.to_owned(), child, process, status: None }))
}

/// The processes that `process` has started, and those that these have started, as far as the kernel lists them.
fn descendants(process: u32) -> Vec<PidFd> {
    let mut found = Vec::new();
    let mut parents = vec![process];
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            // The number is that of the child only if it is still listed once we hold it.
            let held = PidFd::open(child).ok().filter(|_| children(parent).contains(&child));
            if let Some(held) = held {
                found.push(held);
                parents.push(child);
            }
        }
    }
    found
}

/// The children of all threads of a process, by `proc_pid_task_tid_children(5)`; none on a kernel without that list.
fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Without a descriptor for it the child cannot be waited for as promised.
fn abandon(mut child: Child, error: tieline_os::Error) -> Error {
    let _ = child.kill();
    let _ = child.wait();
    Error::from(error)
}
