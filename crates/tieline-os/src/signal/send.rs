//! Sending signals, and asking whether there is somebody to send to.

use rustix::io::Errno;

use super::Signal;
use crate::error::{During, Error, ErrorKind, Result};
use crate::process::{self, Pid};
use crate::sys::signal as sys;

/// Sends `signal` to the process `pid`.
///
/// Returns once the kernel has marked it, not once it has acted. A process that ends between your look at `pid` and
/// this call may have been followed by a stranger of the same number; only a pidfd excludes that. A zombie takes
/// signals without effect or error.
///
/// ```
/// use tieline_os::process::{self, Pid};
/// use tieline_os::signal::{self, Signal};
/// let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
/// signal::send(Pid::of(&child), Signal::TERM)?;
/// assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(15));
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `NotFound` if there is no such process, `PermissionDenied` if it belongs to another user.
#[doc(alias = "kill")]
pub fn send(pid: Pid, signal: Signal) -> Result<()> {
    sys::kill(pid.as_raw(), signal.number())
        .map_err(|errno| refused(errno).on(format_args!("{signal} to process {pid}")))
}

/// Sends `signal` to every process of the group `group`.
///
/// # Errors
/// `NotFound` if the group has no process, `PermissionDenied` if none of them may be signalled, `InvalidInput` for
/// group 1, because `kill` reads -1 as everybody.
#[doc(alias = "killpg")]
pub fn send_to_group(group: Pid, signal: Signal) -> Result<()> {
    if group.as_raw() == 1 {
        return Err(Error::invalid("send a signal to group 1", "the kernel would take it for every process"));
    }
    sys::kill(-group.as_raw(), signal.number())
        .map_err(|errno| refused(errno).on(format_args!("{signal} to process group {group}")))
}

/// Sends `signal` to every process of the caller's own group, the caller included.
///
/// # Errors
/// None in a usual process.
pub fn send_to_own_group(signal: Signal) -> Result<()> {
    sys::kill(0, signal.number()).map_err(|errno| refused(errno).on(format_args!("{signal} to this process's group")))
}

/// Sends `signal` to every process the caller may signal, except process 1 and itself.
///
/// For the last step of a shutdown; as root this is the whole machine (or pid namespace).
///
/// # Errors
/// `NotFound` if there is none, `PermissionDenied` if none may be signalled.
pub fn send_to_all(signal: Signal) -> Result<()> {
    sys::kill(-1, signal.number()).map_err(|errno| refused(errno).on(format_args!("{signal} to every process")))
}

/// Sends `signal` to the thread `thread` of the process `pid`.
///
/// The mask of that thread decides whether it is delivered; what it does (end, stop) still concerns the whole process.
///
/// # Errors
/// As [`send`]; `NotFound` also if the thread is not one of that process.
#[doc(alias = "tgkill")]
#[doc(alias = "pthread_kill")]
pub fn send_to_thread(pid: Pid, thread: Pid, signal: Signal) -> Result<()> {
    sys::tgkill(pid.as_raw(), thread.as_raw(), signal.number())
        .map_err(|errno| refused(errno).on(format_args!("{signal} to thread {thread} of process {pid}")))
}

/// Sends `signal` to the calling thread, which gets it before this returns unless it blocks it.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "pthread_kill")]
pub fn raise(signal: Signal) -> Result<()> {
    send_to_thread(process::current(), process::current_thread(), signal)
}

/// Sends `signal` to the process `pid` together with `value`, which arrives as [`SignalInfo::value`].
///
/// Real-time signals are queued in order, each with its value; of a standard signal that is already pending nothing
/// more is kept. C programs find the value in `si_value.sival_int`.
///
/// # Errors
/// As [`send`]; `LimitReached` if this user has `RLIMIT_SIGPENDING` signals queued already.
///
/// [`SignalInfo::value`]: super::SignalInfo::value
#[doc(alias = "sigqueue")]
pub fn queue(pid: Pid, signal: Signal, value: i32) -> Result<()> {
    sys::queue(pid.as_raw(), signal.number(), value).map_err(|errno| match errno {
        Errno::AGAIN => Error::new("queue a signal", errno)
            .sorted_as(ErrorKind::LimitReached)
            .on(format_args!("{signal} to process {pid}"))
            .hint("this user has RLIMIT_SIGPENDING signals waiting to be received"),
        _ => refused(errno).on(format_args!("{signal} to process {pid}")),
    })
}

/// Whether a process is there, and whether we may signal it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is there and takes our signals. A zombie counts: it is there until its parent has reaped it.
    Reachable,
    /// It is there, but belongs to somebody else.
    Forbidden,
    /// There is no process of that number.
    Absent,
}

impl Presence {
    /// Whether there is such a process at all.
    #[must_use]
    pub fn exists(self) -> bool {
        self != Self::Absent
    }
}

/// Asks whether there is a process `pid`, without disturbing it.
///
/// The answer may be out of date when it arrives, and the number may have passed to another process; only a pidfd
/// knows for sure.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "kill")]
pub fn probe(pid: Pid) -> Result<Presence> {
    match sys::kill(pid.as_raw(), 0) {
        Ok(()) => Ok(Presence::Reachable),
        Err(Errno::PERM) => Ok(Presence::Forbidden),
        Err(Errno::SRCH) => Ok(Presence::Absent),
        other => other.map(|()| Presence::Reachable).during("ask for a process"),
    }
}

fn refused(errno: Errno) -> Error {
    Error::new("send", errno)
}
