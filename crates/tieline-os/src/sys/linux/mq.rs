//! POSIX message queues. On Linux a queue descriptor is a file descriptor.

use std::ffi::{CStr, c_int, c_long, c_uint};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// What `mq_getattr` tells.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) capacity: usize,
    pub(crate) message_size: usize,
    pub(crate) depth: usize,
}

/// Whether a call that cannot be done at once waits. A queue has no per-call flag for it, but a deadline in 1970 does
/// the same: the call does what it can at once and else answers `ETIMEDOUT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocking {
    Yes,
    No,
}

static LONG_AGO: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

impl Blocking {
    fn deadline(self) -> *const libc::timespec {
        match self {
            Self::Yes => std::ptr::null(),
            Self::No => &raw const LONG_AGO,
        }
    }

    /// Gives the answer of a call that would not wait its usual name.
    fn name(self, errno: Errno) -> Errno {
        if self == Self::No && errno == Errno::TIMEDOUT { Errno::AGAIN } else { errno }
    }
}

/// Opens the queue `name`; `attributes` (capacity, message size) count only if this call creates it.
pub(crate) fn open(
    name: &CStr,
    flags: c_int,
    mode: libc::mode_t,
    attributes: Option<(c_long, c_long)>,
) -> Result<OwnedFd, Errno> {
    let attr = attributes.map(|(capacity, message_size)| {
        let mut attr = empty();
        attr.mq_maxmsg = capacity;
        attr.mq_msgsize = message_size;
        attr
    });
    let attr = attr.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the name is a C string; the two variadic arguments have the types mq_open takes after O_CREAT and are
    // ignored without it; `attr` is null or points to the structure above, which lives through the call.
    let fd = super::check(unsafe { libc::mq_open(name.as_ptr(), flags | libc::O_CLOEXEC, mode, attr) })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn unlink(name: &CStr) -> Result<(), Errno> {
    // SAFETY: the name is a C string.
    super::check(unsafe { libc::mq_unlink(name.as_ptr()) }).map(drop)
}

pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], priority: c_uint, blocking: Blocking) -> Result<(), Errno> {
    // SAFETY: pointer and length are one slice; the deadline is null or a constant.
    let answer = unsafe {
        libc::mq_timedsend(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), priority, blocking.deadline())
    };
    super::check(answer).map(drop).map_err(|errno| blocking.name(errno))
}

/// Answers the length and the priority of the message.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8], blocking: Blocking) -> Result<(usize, c_uint), Errno> {
    let mut priority = 0;
    // SAFETY: pointer and length are one slice, ours to write; `priority` lives through the call; the deadline is
    // null or a constant.
    let answer = unsafe {
        libc::mq_timedreceive(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &raw mut priority,
            blocking.deadline(),
        )
    };
    let len = super::check(answer).map_err(|errno| blocking.name(errno))?;
    Ok((len.cast_unsigned(), priority))
}

pub(crate) fn attributes(fd: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    let mut attr = empty();
    // SAFETY: `attr` is ours to write and lives through the call.
    super::check(unsafe { libc::mq_getattr(fd.as_raw_fd(), &raw mut attr) })?;
    let number = |value: c_long| usize::try_from(value).unwrap_or(0);
    Ok(Attributes {
        capacity: number(attr.mq_maxmsg),
        message_size: number(attr.mq_msgsize),
        depth: number(attr.mq_curmsgs),
    })
}

/// Registers for one signal at the next arrival in an empty queue, or (`None`) ends the registration.
pub(crate) fn notify(fd: BorrowedFd<'_>, signal: Option<(c_int, i32)>) -> Result<(), Errno> {
    let event = signal.map(|(number, value)| {
        // SAFETY: a sigevent is plain integers and pointers, for all of which zero is a value.
        let mut event = unsafe { std::mem::zeroed::<libc::sigevent>() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = number;
        // libc knows only the pointer of the union; the number lies in its first bytes.
        let mut value_bytes = [0; size_of::<usize>()];
        value_bytes[..size_of::<i32>()].copy_from_slice(&value.to_ne_bytes());
        let pointer = std::ptr::without_provenance_mut(usize::from_ne_bytes(value_bytes));
        event.sigev_value = libc::sigval { sival_ptr: pointer };
        event
    });
    let event = event.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // By number, because not every libc that Rust knows declares it; no thread is asked for, so that libc has no part
    // in it.
    // SAFETY: `event` is null or points to the structure above, which lives through the call and which the kernel
    // only reads.
    super::check(unsafe { libc::syscall(libc::SYS_mq_notify, fd.as_raw_fd(), event) }).map(drop)
}

fn empty() -> libc::mq_attr {
    // SAFETY: four integers and padding, for all of which zero is a value.
    unsafe { std::mem::zeroed() }
}
