//! Signals: kill with its relatives, masks, waiting, descriptors.
//!
//! Masks go to the kernel as the 64-bit sets it uses, not as the C library's 1024-bit `sigset_t`. What the library
//! would do in between is done here: the signals it keeps for itself are never blocked.

use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::io::Errno;

use super::{check, last_errno};

/// The size of a signal set as the kernel counts it.
const SET_BYTES: usize = size_of::<u64>();

/// What this crate reports of a `siginfo_t`, whichever way it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(crate) signal: i32,
    pub(crate) code: i32,
    pub(crate) pid: i32,
    /// The sender's user; for timers the overrun, which has the same place.
    pub(crate) uid: u32,
    /// The value sent along; for children the status, which has the same place.
    pub(crate) value: i32,
}

impl Info {
    /// The length of its byte form: far below `PIPE_BUF`, so that one write is never torn.
    pub(crate) const BYTES: usize = 20;

    pub(crate) fn from_siginfo(info: &libc::siginfo_t) -> Self {
        // SAFETY: these read integers at fixed places inside `info`, all of whose bytes are initialised (the kernel
        // fills or zeroes the whole); every bit pattern is an integer. Whether they mean anything, `code` tells.
        let pid = unsafe { info.si_pid() };
        // SAFETY: as above.
        let uid = unsafe { info.si_uid() };
        // SAFETY: as above.
        let value = unsafe { info.si_status() };
        Self { signal: info.si_signo, code: info.si_code, pid, uid, value }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let fields = [self.signal, self.code, self.pid, self.uid.cast_signed(), self.value];
        for (place, field) in bytes.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let field = |index: usize| word(bytes, index * 4);
        Self { signal: field(0), code: field(1), pid: field(2), uid: field(3).cast_unsigned(), value: field(4) }
    }

    fn from_descriptor(record: &[u8]) -> Self {
        let signal = word(record, offset_of!(libc::signalfd_siginfo, ssi_signo));
        let code = word(record, offset_of!(libc::signalfd_siginfo, ssi_code));
        let timer = code == libc::SI_TIMER;
        let uid = if timer {
            offset_of!(libc::signalfd_siginfo, ssi_overrun)
        } else {
            offset_of!(libc::signalfd_siginfo, ssi_uid)
        };
        let value = if signal == libc::SIGCHLD && code > 0 {
            offset_of!(libc::signalfd_siginfo, ssi_status)
        } else {
            offset_of!(libc::signalfd_siginfo, ssi_int)
        };
        let pid = word(record, offset_of!(libc::signalfd_siginfo, ssi_pid));
        Self { signal, code, pid, uid: word(record, uid).cast_unsigned(), value: word(record, value) }
    }
}

fn word(bytes: &[u8], offset: usize) -> i32 {
    bytes[offset..].first_chunk().map_or(0, |word| i32::from_ne_bytes(*word))
}

pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes two integers and touches no memory.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

pub(crate) fn tgkill(pid: i32, thread: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes three integers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid, thread, signal) }).map(drop)
}

pub(crate) fn queue(pid: i32, signal: i32, value: i32) -> Result<(), Errno> {
    // A C union of an int and a pointer: the int lies in the first bytes, whatever the byte order.
    let mut word = [0; size_of::<usize>()];
    word[..size_of::<i32>()].copy_from_slice(&value.to_ne_bytes());
    let value = libc::sigval { sival_ptr: ptr::without_provenance_mut(usize::from_ne_bytes(word)) };
    // SAFETY: takes integers and a pointer-sized value that nobody follows.
    check(unsafe { libc::sigqueue(pid, signal, value) }).map(drop)
}

/// What to do with a set and the mask of the calling thread.
#[derive(Clone, Copy)]
pub(crate) enum How {
    Block,
    Unblock,
    Set,
}

/// Reads, and with `change` changes, the mask of the calling thread. Async-signal-safe.
pub(crate) fn mask(change: Option<(How, u64)>) -> Result<u64, Errno> {
    let how = match change {
        Some((How::Block, _)) | None => libc::SIG_BLOCK,
        Some((How::Unblock, _)) => libc::SIG_UNBLOCK,
        Some((How::Set, _)) => libc::SIG_SETMASK,
    };
    let new = change.map(|(_, set)| set & !reserved());
    let new = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut old = 0_u64;
    // SAFETY: `new` is null or points to a local set of SET_BYTES; `old` has room for one; both live during the call.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, &raw mut old, SET_BYTES) })?;
    Ok(old)
}

/// The signals between the named and the real-time ones, on which the C library's threads depend.
fn reserved() -> u64 {
    let below_realtime = (1 << (libc::SIGRTMIN() - 1)) - 1;
    let named = (1_u64 << libc::SIGSYS) - 1;
    below_realtime & !named
}

pub(crate) fn pending() -> Result<u64, Errno> {
    let mut set = 0_u64;
    // SAFETY: `set` has room for the SET_BYTES the kernel writes.
    check(unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, SET_BYTES) })?;
    Ok(set)
}

/// Takes one of `set`; EAGAIN when `timeout` is over, for ever without.
pub(crate) fn wait(set: u64, timeout: Option<Duration>) -> Result<Info, Errno> {
    let timeout = timeout.map(|left| libc::timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(libc::c_long::MAX),
        tv_nsec: left.subsec_nanos() as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let into = info.as_mut_ptr();
    // SAFETY: `set` is SET_BYTES long, `timeout` null or a local, `into` has room for a siginfo_t; all live during the
    // call.
    check(unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const set, into, timeout, SET_BYTES) })?;
    // SAFETY: zeroed before and filled by the kernel since; all bit patterns are valid, it holds integers only.
    Ok(Info::from_siginfo(unsafe { info.assume_init_ref() }))
}

/// A new descriptor for `set`, not blocking and closed on exec.
pub(crate) fn descriptor(set: u64) -> Result<OwnedFd, Errno> {
    let fd = signalfd(-1, set)?;
    // SAFETY: the kernel has just made it, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives `fd` another set. EINVAL if it is no signal descriptor.
pub(crate) fn set_descriptor(fd: BorrowedFd<'_>, set: u64) -> Result<(), Errno> {
    signalfd(fd.as_raw_fd(), set).map(drop)
}

fn signalfd(fd: i32, set: u64) -> Result<i32, Errno> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: `set` is SET_BYTES long and lives during the call, which only reads it.
    let fd = unsafe { libc::syscall(libc::SYS_signalfd4, fd, &raw const set, SET_BYTES, flags) };
    i32::try_from(check(fd)?).map_err(|_| last_errno())
}

/// The length of one record of a signal descriptor.
pub(crate) const RECORD: usize = size_of::<libc::signalfd_siginfo>();

/// The records in what was read from a signal descriptor.
pub(crate) fn records(bytes: &[u8]) -> impl Iterator<Item = Info> + '_ {
    bytes.chunks_exact(RECORD).map(Info::from_descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_byte_form() {
        let info = Info { signal: 35, code: libc::SI_QUEUE, pid: 4, uid: u32::MAX, value: i32::MIN };
        assert_eq!(Info::from_bytes(&info.to_bytes()), info);
    }

    #[test]
    fn the_c_librarys_own_signals_are_never_blocked() {
        let before = mask(Some((How::Block, u64::MAX))).unwrap();
        let all = mask(Some((How::Set, before))).unwrap();
        assert_eq!(all & reserved(), 0);
        assert_ne!(all & 1, 0);
        assert_ne!(reserved(), 0);
    }
}
