//! A process by descriptor instead of by number: `pidfd`.
//!
//! A process id is only a number: once its process has ended and been waited for, the kernel gives it to a stranger, and
//! `kill` hits the stranger. A [`PidFd`] stays with the one process it was opened for; when that has ended, every call
//! says so.
//!
//! # Where the race is, and where it is not
//! From open to drop there is none. Opening *by number* has one, if the process may already be gone: the number may
//! name a stranger by then. It is closed by
//! * opening for one's own child before anybody waits for it ([`PidFd::of_child`]), or
//! * getting the descriptor from the kernel (`SO_PEERPIDFD` of a socket), or
//! * checking after the open something only the right process has (its socket is still connected, its lock still held).
//!
//! A process can be *waited for* by anybody who holds a descriptor ([`PidFd::wait`]); its *exit status* goes to its
//! parent alone ([`PidFd::wait_status`]).
//!
//! The invariant: a `PidFd` names one process (or thread) for as long as it lives.
//!
//! See [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html),
//! [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html),
//! [pidfd_getfd(2)](https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_getfd, pidfd_open, waitid,
};

use crate::descriptor::{check_sort, errno_of};
use crate::error::{During, Error, ErrorKind, Result};
use crate::signal::Signal;
use crate::sys;
use crate::wait::{Wait, wait_for};

/// `PIDFD_THREAD`: the descriptor is for one thread, not its whole process (Linux 6.9).
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(rustix::fs::OFlags::EXCL.bits());

/// A process, or one thread of it, that cannot be mistaken for another.
///
/// Readable, for [`poll`](crate::poll) and [`epoll`](crate::epoll), once the process has ended.
///
/// ```
/// use tieline_os::signal::Signal;
/// use tieline_os::pidfd::PidFd;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let child = std::process::Command::new("sleep").arg("60").spawn()?;
/// let process = PidFd::of_child(&child)?;
/// assert!(!process.has_ended()?);
/// process.send_signal(Signal::TERM)?;
/// process.wait()?;
/// assert_eq!(std::os::unix::process::ExitStatusExt::signal(&process.wait_status()?), Some(15));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
}

impl PidFd {
    /// The process that has the number `pid` now; see the [module](self) for what that is worth.
    ///
    /// A process that has ended but was not waited for by its parent can still be opened.
    ///
    /// # Errors
    /// `NotFound` if there is none; `InvalidInput` for zero, for numbers above `i32::MAX`, and for the number of a
    /// thread other than its process's first; `LimitReached`; `Unsupported` before Linux 5.3.
    #[doc(alias = "pidfd_open")]
    pub fn open(pid: u32) -> Result<Self> {
        Self::open_with(pid, PidfdFlags::empty(), "open process").map_err(|error| match error.errno() {
            // Linux answers EINVAL for a thread up to 6.15 and ENOENT from then on.
            Some(libc::EINVAL | libc::ENOENT) => {
                error.sorted_as(ErrorKind::InvalidInput).hint("this is the number of a thread; open its process")
            }
            _ => error,
        })
    }

    /// One thread by its number, of this or another process.
    ///
    /// Signals sent through it go to this thread; [`wait`](Self::wait) ends when it does.
    ///
    /// # Errors
    /// `NotFound` if there is none; `Unsupported` before Linux 6.9; `LimitReached`.
    #[doc(alias = "PIDFD_THREAD")]
    pub fn open_thread(tid: u32) -> Result<Self> {
        Self::open_with(tid, THREAD, "open thread").map_err(|error| match error.errno() {
            Some(libc::EINVAL) => error.sorted_as(ErrorKind::Unsupported).hint("this needs Linux 6.9"),
            _ => error,
        })
    }

    /// The process of a child that was not waited for; free of races, unless somebody else waits for any child.
    ///
    /// # Errors
    /// `NotFound` if it was waited for already; `LimitReached`; `Unsupported` before Linux 5.3.
    pub fn of_child(child: &Child) -> Result<Self> {
        Self::open(child.id())
    }

    /// Takes over a descriptor received from elsewhere (`SO_PEERPIDFD`, `SCM_PIDFD`, inherited).
    ///
    /// # Errors
    /// `InvalidInput` if it is not a process.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        // From Linux 6.9 on such descriptors live in a file system of their own: "pidfd:[inode]".
        check_sort(&fd, "take over a process descriptor", &["pidfd:", "anon_inode:[pidfd]"])?;
        Ok(Self { fd })
    }

    /// The process's number as this process sees it; `None` once it has ended and been waited for, or if it is not
    /// visible here (another pid namespace).
    ///
    /// Read from `/proc`, which must be the one of this process's pid namespace.
    ///
    /// # Errors
    /// Those of reading `/proc/self/fdinfo`.
    pub fn pid(&self) -> Result<Option<u32>> {
        const OPERATION: &str = "read the number of a process";
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))
            .map_err(|error| Error::new(OPERATION, errno_of(&error)))?;
        let number = info.lines().find_map(|line| line.strip_prefix("Pid:")).map(|value| value.trim().parse::<i32>());
        match number {
            Some(Ok(number)) => Ok(u32::try_from(number).ok().filter(|&number| number != 0)),
            _ => Err(Error::invalid(OPERATION, "the descriptor is not a process")),
        }
    }

    /// Whether the process has ended; it may still wait for its parent to fetch its status.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn has_ended(&self) -> Result<bool> {
        match self.wait_until(Wait::Never) {
            Ok(()) => Ok(true),
            Err(error) if error.is_would_block() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns if the process has ended.
    ///
    /// # Errors
    /// `WouldBlock` if it lives.
    pub fn try_wait(&self) -> Result<()> {
        self.wait_until(Wait::Never)
    }

    /// Waits until the process has ended, killed or by itself, with all of its threads. Anyone may wait.
    ///
    /// Does not take the status: the parent still must, or the process stays as a zombie.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Wait::Forever)
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(Wait::timeout(timeout))
    }

    /// Takes the exit status of a child that has ended, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if it lives; otherwise as [`wait_status`](Self::wait_status).
    pub fn try_wait_status(&self) -> Result<ExitStatus> {
        self.status_until(Wait::Never)
    }

    /// Waits until a child has ended and takes its exit status, which frees its number for others.
    ///
    /// It can be taken once; a later `wait` by `std::process::Child` fails.
    ///
    /// # Errors
    /// `PermissionDenied` (`ECHILD`) if this process is not the parent, or the status was taken already, or the parent
    /// ignores `SIGCHLD`, whereby the kernel throws the status away.
    #[doc(alias = "waitid")]
    #[doc(alias = "P_PIDFD")]
    pub fn wait_status(&self) -> Result<ExitStatus> {
        self.status_until(Wait::Forever)
    }

    /// As [`wait_status`](Self::wait_status), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`wait_status`](Self::wait_status).
    pub fn wait_status_timeout(&self, timeout: Duration) -> Result<ExitStatus> {
        self.status_until(Wait::timeout(timeout))
    }

    /// Sends a signal to this process and no other. Async-signal-safe when it succeeds; an error allocates its text.
    ///
    /// A process that has ended but was not waited for takes it without effect.
    ///
    /// # Errors
    /// `NotFound` once the process is gone, even if its number lives on in another; `PermissionDenied` if it belongs
    /// to another user; `LimitReached` if this user has `RLIMIT_SIGPENDING` signals queued already.
    #[doc(alias = "pidfd_send_signal")]
    #[doc(alias = "kill")]
    pub fn send_signal(&self, signal: Signal) -> Result<()> {
        self.signal_with(signal, None)
    }

    /// Sends a signal with a value, which the receiver finds in `si_value`, as `sigqueue` does but to this process
    /// and no other.
    ///
    /// # Errors
    /// As [`send_signal`](Self::send_signal).
    #[doc(alias = "sigqueue")]
    pub fn send_signal_with(&self, signal: Signal, value: i32) -> Result<()> {
        self.signal_with(signal, Some(value))
    }

    /// A duplicate, in this process, of the other process's descriptor number `fd`: the same open file, with its
    /// offset and flags shared.
    ///
    /// Harmless to memory, but the other process does not expect it; it suits debuggers, viewers and peers that agreed
    /// to it. The number may mean another file a moment later: check what came.
    ///
    /// # Errors
    /// `PermissionDenied` without the right to trace the process; `InvalidInput` if it has no such descriptor;
    /// `NotFound` if it has ended; `LimitReached`; `Unsupported` before Linux 5.6.
    #[doc(alias = "pidfd_getfd")]
    pub fn duplicate_fd(&self, fd: RawFd) -> Result<OwnedFd> {
        pidfd_getfd(&self.fd, fd, PidfdGetfdFlags::empty()).map_err(|errno| {
            let error = Error::new("duplicate a descriptor of another process", errno).on(fd);
            match errno {
                Errno::PERM => error.hint(crate::process_memory::TRACE_HINT),
                Errno::BADF => error.hint("the process has no such descriptor"),
                _ => error,
            }
        })
    }

    fn open_with(number: u32, flags: PidfdFlags, operation: &'static str) -> Result<Self> {
        let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
            return Err(Error::invalid(operation, format!("{number} is no process number")));
        };
        match pidfd_open(pid, flags) {
            Ok(fd) => Ok(Self { fd }),
            Err(errno) => Err(Error::new(operation, errno).on(number)),
        }
    }

    fn wait_until(&self, wait: Wait) -> Result<()> {
        wait_for(&self.fd, PollFlags::IN, wait).map(drop).during("wait for a process to end")
    }

    fn status_until(&self, wait: Wait) -> Result<ExitStatus> {
        const OPERATION: &str = "take the exit status of a process";
        let mut options = WaitIdOptions::EXITED;
        if !matches!(wait, Wait::Forever) {
            wait_for(&self.fd, PollFlags::IN, wait).during(OPERATION)?;
            options |= WaitIdOptions::NOHANG;
        }
        loop {
            match waitid(WaitId::PidFd(self.fd.as_fd()), options) {
                Ok(Some(status)) => return Ok(exit_status(&status)),
                Ok(None) => return Err(Error::new(OPERATION, wait.gave_up())),
                Err(Errno::INTR) => {}
                Err(Errno::CHILD) => {
                    let error = Error::new(OPERATION, Errno::CHILD).sorted_as(ErrorKind::PermissionDenied);
                    return Err(error.hint("only its parent can, and only once; others can wait for its end"));
                }
                Err(errno) => return Err(Error::new(OPERATION, errno)),
            }
        }
    }

    fn signal_with(&self, signal: Signal, value: Option<i32>) -> Result<()> {
        sys::pidfd::send_signal(self.fd.as_fd(), signal.number(), value).map_err(|errno| {
            let error = Error::new("send a signal to a process", errno);
            match errno {
                Errno::SRCH => error.hint("the process has ended"),
                Errno::PERM => error.hint("it belongs to another user"),
                Errno::AGAIN => error
                    .sorted_as(ErrorKind::LimitReached)
                    .hint("this user has RLIMIT_SIGPENDING signals waiting to be received"),
                _ => error,
            }
        })
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(process: PidFd) -> Self {
        process.fd
    }
}

/// What `wait` would have said, in its encoding: the code in the second byte, or the signal in the first.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    let core = if status.dumped() { 0x80 } else { 0 };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::from_raw((code & 0xff) << 8),
        (None, signal) => ExitStatus::from_raw(signal.unwrap_or(0) | core),
    }
}
