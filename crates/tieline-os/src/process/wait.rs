//! Waiting for children.

use std::os::fd::AsFd;

use bitflags::bitflags;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::Pid;
use crate::Duration;
use crate::error::{Error, Result};
use crate::signal::Signal;
use crate::sys;
use crate::wait::{Wait, wait_for};

/// Which children to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Children {
    /// Any child of this process.
    Any,
    /// This one.
    One(Pid),
    /// Any child that is in this process group.
    Group(Pid),
}

bitflags! {
    /// Which changes of a child to wait for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Changes: i32 {
        /// It has ended.
        #[doc(alias = "WEXITED")]
        const EXITED = libc::WEXITED;
        /// A signal has stopped it.
        #[doc(alias = "WSTOPPED")]
        #[doc(alias = "WUNTRACED")]
        const STOPPED = libc::WSTOPPED;
        /// It goes on after a stop.
        #[doc(alias = "WCONTINUED")]
        const CONTINUED = libc::WCONTINUED;
    }
}

/// A child's change, as [`wait`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The child.
    pub pid: Pid,
    /// What happened to it.
    pub status: WaitStatus,
}

/// How a child ended or otherwise changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitStatus {
    /// It ended by itself with this status, from 0 to 255.
    Exited(i32),
    /// A signal killed it.
    Killed {
        /// Which.
        signal: Signal,
        /// Whether it left a core file.
        core_dumped: bool,
    },
    /// A signal stopped it.
    Stopped(Signal),
    /// It went on.
    Continued,
    /// It is traced by this process and has come to a trap.
    Trapped(Signal),
}

impl WaitStatus {
    /// From `si_code` and `si_status` of a `siginfo_t`.
    pub(crate) fn from_code(code: i32, status: i32) -> Option<Self> {
        let signal = || Signal::new(status);
        match code {
            libc::CLD_EXITED => Some(Self::Exited(status)),
            libc::CLD_KILLED => Some(Self::Killed { signal: signal()?, core_dumped: false }),
            libc::CLD_DUMPED => Some(Self::Killed { signal: signal()?, core_dumped: true }),
            libc::CLD_STOPPED => signal().map(Self::Stopped),
            libc::CLD_CONTINUED => Some(Self::Continued),
            // Above the signal's number the tracer finds an event.
            libc::CLD_TRAPPED => Signal::new(status & 0x7f).map(Self::Trapped),
            _ => None,
        }
    }

    /// Whether the child is gone.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Exited(_) | Self::Killed { .. })
    }

    /// Whether it ended by itself with status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The number a shell gives: the exit status, or 128 and the signal's number.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Killed { signal, .. } | Self::Stopped(signal) | Self::Trapped(signal) => 128 + signal.number(),
            Self::Continued => 0,
        }
    }
}

/// Waits for one of `changes` of one of `children`, and takes note of it: an ended child is reaped, its id is free.
///
/// Do not mix with [`std::process::Child::wait`] for the same child: whoever comes second finds none. Several changes
/// may be ready; the kernel gives them in no promised order.
///
/// ```
/// use tieline_os::process::{self, Changes, Children, Pid, WaitStatus};
/// let child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
/// let change = process::wait(Children::One(Pid::of(&child)), Changes::EXITED)?;
/// assert_eq!(change.status, WaitStatus::Exited(3));
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// See [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html).
///
/// # Errors
/// `NotFound` if there is no such child: never was, is reaped already, or vanished by itself because `SIGCHLD` is
/// ignored (then only after the last one has ended). `InvalidInput` if `changes` is empty.
#[doc(alias = "waitid")]
#[doc(alias = "waitpid")]
#[doc(alias = "wait4")]
pub fn wait(children: Children, changes: Changes) -> Result<Change> {
    wait_with(children, changes.bits())
}

/// As [`wait`], but answers at once.
///
/// # Errors
/// `WouldBlock` if there are such children but none has changed; else as [`wait`].
#[doc(alias = "WNOHANG")]
pub fn try_wait(children: Children, changes: Changes) -> Result<Change> {
    wait_with(children, changes.bits() | libc::WNOHANG)
}

/// As [`try_wait`], but leaves the change to be found again: an ended child stays a zombie and keeps its id.
///
/// # Errors
/// As [`try_wait`].
#[doc(alias = "WNOWAIT")]
pub fn try_peek(children: Children, changes: Changes) -> Result<Change> {
    wait_with(children, changes.bits() | libc::WNOHANG | libc::WNOWAIT)
}

/// Waits at most `timeout` for the end of the child `pid`, and reaps it.
///
/// # Errors
/// `TimedOut` if it still runs then; `NotFound` as [`wait`]; `LimitReached` if there are too many descriptors.
#[doc(alias = "pidfd_open")]
pub fn wait_timeout(pid: Pid, timeout: Duration) -> Result<WaitStatus> {
    let deadline = Wait::timeout(timeout);
    let ended = || match try_wait(Children::One(pid), Changes::EXITED) {
        Err(error) if error.is_would_block() => Ok(None),
        answer => answer.map(|change| Some(change.status)),
    };
    if let Some(status) = ended()? {
        return Ok(status);
    }
    let refused = |errno| Error::new("wait for the end of process", errno).on(pid);
    // An unreaped child keeps its id, so that this descriptor is of the right process.
    let pidfd = pidfd_open(pid.to_kernel(), PidfdFlags::empty()).map_err(refused)?;
    loop {
        wait_for(pidfd.as_fd(), PollFlags::IN, deadline).map_err(refused)?;
        if let Some(status) = ended()? {
            return Ok(status);
        }
    }
}

fn wait_with(children: Children, options: i32) -> Result<Change> {
    const OPERATION: &str = "wait for a child";
    let (which, id) = match children {
        Children::Any => (libc::P_ALL, 0),
        Children::One(pid) => (libc::P_PID, pid.as_raw()),
        Children::Group(group) => (libc::P_PGID, group.as_raw()),
    };
    loop {
        match sys::process::waitid(which, id, options) {
            Ok(None) => return Err(Error::new(OPERATION, Errno::AGAIN)),
            Ok(Some(info)) => {
                let change = Pid::new(info.pid).zip(WaitStatus::from_code(info.code, info.value));
                if let Some((pid, status)) = change {
                    return Ok(Change { pid, status });
                }
            }
            Err(Errno::INTR) => {}
            Err(errno @ Errno::CHILD) => {
                let error = Error::new(OPERATION, errno);
                return Err(error.hint("there is none: it was reaped already, or SIGCHLD is ignored"));
            }
            Err(errno) => return Err(Error::new(OPERATION, errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_kernel_become_states() {
        assert_eq!(WaitStatus::from_code(libc::CLD_EXITED, 7), Some(WaitStatus::Exited(7)));
        let killed = WaitStatus::Killed { signal: Signal::SEGV, core_dumped: true };
        assert_eq!(WaitStatus::from_code(libc::CLD_DUMPED, libc::SIGSEGV), Some(killed));
        assert_eq!(killed.shell_code(), 139);
        assert_eq!(WaitStatus::from_code(libc::CLD_KILLED, 400), None);
        assert_eq!(WaitStatus::from_code(99, 0), None);
    }
}
