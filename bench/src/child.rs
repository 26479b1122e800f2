//! Processes of a measurement: started, waited for with a deadline, never left behind.

use std::io::Read;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use wait4::Wait4;

use crate::Outcome;

/// A child that is killed if it is forgotten.
pub(crate) struct Running {
    /// Absent once it has been waited for.
    child: Option<Child>,
    output: Option<ChildStdout>,
    complaints: Option<ChildStderr>,
    name: String,
}

/// How a child ended and what it cost.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Seconds of processor time, its own and the kernel's for it.
    pub(crate) cpu_seconds: f64,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        // The command holds descriptors that must be closed for others to see the end.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let (output, complaints) = (child.stdout.take(), child.stderr.take());
        Ok(Self { child: Some(child), output, complaints, name })
    }

    /// What it wrote to its piped standard output; to be asked when it has ended.
    pub(crate) fn output(&mut self) -> String {
        text(self.output.take())
    }

    /// What it wrote to its piped standard error; to be asked when it has ended.
    pub(crate) fn complaints(&mut self) -> String {
        text(self.complaints.take())
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits; kills it after `patience`, which is an error.
    pub(crate) fn wait(&mut self, patience: Duration) -> Outcome<Ended> {
        let child = self.child.take().ok_or("waited for twice")?;
        if !self.ends_within(&child, patience)? {
            self.child = Some(child);
            self.stop();
            let said = self.complaints();
            return Err(format!("{} did not end within {patience:?}; it said: {said}", self.name));
        }
        let answer = child.wait4().map_err(|error| format!("wait for {}: {error}", self.name))?;
        let cpu_seconds = (answer.rusage.utime + answer.rusage.stime).as_secs_f64();
        Ok(Ended { status: answer.status, cpu_seconds })
    }

    fn ends_within(&self, child: &Child, patience: Duration) -> Outcome<bool> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("no process id")?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| format!("open a pidfd: {errno}"))?;
        let timeout = Timespec::try_from(patience).map_err(|error| format!("{error}"))?;
        let count = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout));
        count.map(|count| count > 0).map_err(|errno| format!("wait for {}: {errno}", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_string(&mut text);
    }
    text.trim().to_owned()
}
