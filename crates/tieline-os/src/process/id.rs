//! Who a process is: its number, group, session, users.

use std::cmp::Ordering;
use std::fmt;
use std::process::Child;
use std::str::FromStr;

use rustix::process as kernel;

use crate::Mode;
use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::process as sys;

/// The number of a process, of a group or session (that of its leader), or of a thread: always above zero.
///
/// A type of this crate rather than of a library below it, so that it can be printed and parsed, and its callers do
/// not depend on that library's version.
///
/// ```
/// use tieline_os::process::Pid;
/// let pid: Pid = "4711".parse().unwrap();
/// assert_eq!(pid.to_string(), "4711");
/// assert!("0".parse::<Pid>().is_err() && "-1".parse::<Pid>().is_err());
/// ```
#[doc(alias = "pid_t")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid(kernel::Pid);

impl Pid {
    /// The id of this number, or `None` unless it is above zero.
    #[must_use]
    pub fn new(raw: i32) -> Option<Self> {
        if raw > 0 { kernel::Pid::from_raw(raw).map(Self) } else { None }
    }

    /// The id of a child started by the standard library.
    ///
    /// # Panics
    /// Never: the kernel numbers processes from 1 to 2^22.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        i32::try_from(child.id()).ok().and_then(Self::new).expect("process ids lie between 1 and 2^22")
    }

    /// The number, above zero.
    #[must_use]
    pub fn as_raw(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    pub(crate) fn to_kernel(self) -> kernel::Pid {
        self.0
    }

    pub(crate) fn from_kernel(pid: kernel::Pid) -> Self {
        Self(pid)
    }
}

impl Ord for Pid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_raw().cmp(&other.as_raw())
    }
}

impl PartialOrd for Pid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_raw(), f)
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({self})")
    }
}

/// The text is no number from 1 to 2147483647.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePidError(String);

impl fmt::Display for ParsePidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no process id, which is a number above zero", self.0)
    }
}

impl std::error::Error for ParsePidError {}

impl FromStr for Pid {
    type Err = ParsePidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let signed = text.starts_with(['+', '-']);
        let pid = text.parse().ok().filter(|_| !signed).and_then(Self::new);
        pid.ok_or_else(|| ParsePidError(text.to_owned()))
    }
}

/// This process.
#[doc(alias = "getpid")]
#[must_use]
pub fn current() -> Pid {
    Pid::from_kernel(kernel::getpid())
}

/// The calling thread.
#[doc(alias = "gettid")]
#[must_use]
pub fn current_thread() -> Pid {
    Pid::from_kernel(rustix::thread::gettid())
}

/// The parent of this process; `None` if it lies outside this pid namespace.
#[doc(alias = "getppid")]
#[must_use]
pub fn parent() -> Option<Pid> {
    kernel::getppid().map(Pid::from_kernel)
}

/// The process group of this process; `None` if it lies outside this pid namespace, as with the first process of a
/// container that leads no group of its own.
#[doc(alias = "getpgrp")]
#[must_use]
pub fn group() -> Option<Pid> {
    sys::group_of(0).ok().and_then(Pid::new)
}

/// The process group of the process `pid`.
///
/// # Errors
/// `NotFound` if there is no such process, or its group lies outside this pid namespace.
#[doc(alias = "getpgid")]
pub fn group_of(pid: Pid) -> Result<Pid> {
    const OPERATION: &str = "read the group of process";
    let group = sys::group_of(pid.as_raw()).map_err(|errno| Error::new(OPERATION, errno).on(pid))?;
    Pid::new(group).ok_or_else(|| outside(OPERATION).on(pid))
}

/// The kernel has no number here for what it was asked for.
pub(crate) fn outside(operation: &'static str) -> Error {
    Error::of_kind(operation, ErrorKind::NotFound, "it lies outside this pid namespace")
}

/// Moves the process `pid` (this process, or a child that has not executed a program yet) into the group `group`;
/// if both are the same, makes it the leader of a new one.
///
/// [`std::os::unix::process::CommandExt::process_group`] does it in the child, before its program starts, and
/// `spawn` returns after that; so there is no moment at which a spawned child is in the wrong group.
///
/// # Errors
/// `PermissionDenied` if the child has executed a program, leads a session, or the group is of another session;
/// `NotFound` if `pid` is neither this process nor a child.
#[doc(alias = "setpgid")]
pub fn set_group(pid: Pid, group: Pid) -> Result<()> {
    kernel::setpgid(Some(pid.to_kernel()), Some(group.to_kernel()))
        .map_err(|errno| Error::new("set the group of process", errno).on(format_args!("{pid} to {group}")))
}

/// The session of the process `pid`.
///
/// # Errors
/// `NotFound` if there is no such process, or its session lies outside this pid namespace.
#[doc(alias = "getsid")]
pub fn session_of(pid: Pid) -> Result<Pid> {
    const OPERATION: &str = "read the session of process";
    let session = sys::session_of(pid.as_raw()).map_err(|errno| Error::new(OPERATION, errno).on(pid))?;
    Pid::new(session).ok_or_else(|| outside(OPERATION).on(pid))
}

/// Makes this process the leader of a new session and group, without a controlling terminal.
///
/// # Errors
/// `PermissionDenied` if it leads a group already; a child of it can do it.
#[doc(alias = "setsid")]
pub fn new_session() -> Result<Pid> {
    kernel::setsid().map(Pid::from_kernel).map_err(|errno| {
        Error::new("make a new session", errno).hint("the leader of a process group cannot; spawn a child that does")
    })
}

/// The users and groups on whose behalf this process acts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user who started it.
    pub real_uid: u32,
    /// The user whose rights it has; another one in a set-user-id program.
    pub effective_uid: u32,
    /// The group of the user who started it.
    pub real_gid: u32,
    /// The group whose rights it has.
    pub effective_gid: u32,
    /// Further groups whose rights it has, in no order.
    pub groups: Vec<u32>,
}

/// The credentials of the calling thread, which are those of the process unless somebody has gone out of their way.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "getuid")]
#[doc(alias = "geteuid")]
#[doc(alias = "getgid")]
#[doc(alias = "getegid")]
#[doc(alias = "getgroups")]
pub fn credentials() -> Result<Credentials> {
    Ok(Credentials {
        real_uid: kernel::getuid().as_raw(),
        effective_uid: kernel::geteuid().as_raw(),
        real_gid: kernel::getgid().as_raw(),
        effective_gid: kernel::getegid().as_raw(),
        groups: kernel::getgroups().during("read the groups")?.into_iter().map(kernel::Gid::as_raw).collect(),
    })
}

/// Sets the bits that the kernel takes off the mode of every file, FIFO, socket and POSIX object this process makes;
/// returns those it took off before. It counts for all threads at once, and is inherited over fork and exec.
///
/// ```
/// use tieline_os::{Mode, fifo, process};
/// use std::os::unix::fs::PermissionsExt;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("jobs");
/// process::set_umask(Mode::new(0o077).unwrap());
/// fifo::create(&path, Mode::ANYONE)?;
/// assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
/// assert_eq!(process::set_umask(Mode::new(0).unwrap()).bits(), 0o077);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "umask")]
pub fn set_umask(taken_off: Mode) -> Mode {
    let before = kernel::umask(taken_off.into());
    u16::try_from(before.bits() & 0o777).ok().and_then(Mode::new).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_above_zero() {
        assert_eq!(Pid::new(0), None);
        assert_eq!(Pid::new(-4), None);
        for wrong in ["", "0", "-1", "+1", "1 ", "2147483648", "99999999999999999999", "x"] {
            assert!(wrong.parse::<Pid>().is_err(), "{wrong:?} was taken");
        }
        assert_eq!("2147483647".parse::<Pid>().unwrap().as_raw(), i32::MAX);
    }
}
