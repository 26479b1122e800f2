//! Processes: waiting for children with all the kernel tells, prctl, and steps between fork and exec.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;

use super::check;
use super::handler::{self, Action};
use super::signal::{How, Info, kill, mask};

/// Waits for a change of a child; `None` with WNOHANG if there is none.
pub(crate) fn waitid(which: libc::idtype_t, id: i32, options: i32) -> Result<Option<Info>, Errno> {
    // Zeroed, because with WNOHANG the kernel may leave it untouched: a pid of zero then means "none".
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` has room for a siginfo_t; the rest are integers.
    check(unsafe { libc::waitid(which, id.cast_unsigned(), info.as_mut_ptr(), options) })?;
    // SAFETY: zeroed before, filled by the kernel since; all bit patterns are valid.
    let info = Info::from_siginfo(unsafe { info.assume_init_ref() });
    Ok((info.pid != 0).then_some(info))
}

/// The group of a process, this one's for 0; zero if the group is of an outer pid namespace.
pub(crate) fn group_of(pid: i32) -> Result<i32, Errno> {
    // SAFETY: takes an integer and touches no memory.
    check(unsafe { libc::getpgid(pid) })
}

/// The session of a process; zero if it is of an outer pid namespace.
pub(crate) fn session_of(pid: i32) -> Result<i32, Errno> {
    // SAFETY: takes an integer and touches no memory.
    check(unsafe { libc::getsid(pid) })
}

/// The session of a terminal; zero if it is of an outer pid namespace.
pub(crate) fn session_of_terminal(terminal: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: the descriptor is open, and no memory is touched.
    check(unsafe { libc::tcgetsid(terminal.as_raw_fd()) })
}

pub(crate) fn set_parent_death_signal(signal: i32) -> Result<(), Errno> {
    // SAFETY: takes integers and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.cast_unsigned())) }).map(drop)
}

pub(crate) fn parent_death_signal() -> Result<i32, Errno> {
    let mut signal = 0;
    // SAFETY: `signal` has room for the int the kernel writes.
    check(unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) })?;
    Ok(signal)
}

pub(crate) fn set_child_subreaper(on: bool) -> Result<(), Errno> {
    // SAFETY: takes integers and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(on)) }).map(drop)
}

pub(crate) fn child_subreaper() -> Result<bool, Errno> {
    let mut on = 0;
    // SAFETY: `on` has room for the int the kernel writes.
    check(unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut on) })?;
    Ok(on != 0)
}

/// The flag of a descriptor that does not outlive an exec.
pub(crate) const CLOSE_ON_EXEC: i32 = libc::FD_CLOEXEC;

/// The flags of the descriptor of this number: those of the number, not of the open file.
pub(crate) fn descriptor_flags(number: i32) -> Result<i32, Errno> {
    // SAFETY: takes integers and touches no memory; whoever owns the descriptor notices nothing.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })
}

/// A duplicate of the descriptor of this number, closed on exec.
pub(crate) fn duplicate_descriptor(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes integers and touches no memory; whoever owns the descriptor notices nothing.
    let duplicate = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// The child will get `signal` when the thread that spawns it ends; at once, if that has happened already.
pub(crate) fn die_with_parent(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    let step = move || {
        set_parent_death_signal(signal)?;
        // The parent may have ended before the line above; then nobody would ever tell us.
        if std::os::unix::process::parent_id() != parent {
            kill(std::process::id().cast_signed(), signal)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes four system calls, and touches only integers it owns.
    unsafe { command.pre_exec(step) };
}

/// The child's program will start with this signal mask.
pub(crate) fn start_with_mask(command: &mut Command, set: u64) {
    let step = move || mask(Some((How::Set, set))).map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec it makes one system call, and touches only an integer it owns.
    unsafe { command.pre_exec(step) };
}

/// The child's program will start with the default action for these signals.
pub(crate) fn start_with_default(command: &mut Command, set: u64) {
    let step = move || {
        for signal in (1..=64).filter(|signal| set & (1 << (signal - 1)) != 0) {
            match handler::set_action(signal, &Action::default()) {
                // SIGKILL, SIGSTOP and the C library's own have no other action anyway.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it calls sigaction, which is async-signal-safe, and touches only an integer it
    // owns.
    unsafe { command.pre_exec(step) };
}

/// The child will lead a session of its own, with `terminal` as its controlling terminal if there is one.
pub(crate) fn start_session(command: &mut Command, terminal: Option<OwnedFd>) {
    let step = move || {
        rustix::process::setsid()?;
        if let Some(terminal) = &terminal {
            rustix::process::ioctl_tiocsctty(terminal)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls on a descriptor it owns.
    unsafe { command.pre_exec(step) };
}
