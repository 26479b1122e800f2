//! Linux: system calls that rustix does not cover, by libc or by number.

pub(crate) mod account;
pub(crate) mod address_space;
#[cfg(feature = "io-uring")]
mod birthplace;
pub(crate) mod clock;
pub(crate) mod epoll;
pub(crate) mod fork;
pub(crate) mod handler;
pub(crate) mod locale;
pub(crate) mod lock;
pub(crate) mod mapping;
pub(crate) mod memfd;
pub(crate) mod mq;
pub(crate) mod namespace;
pub(crate) mod pidfd;
pub(crate) mod process;
pub(crate) mod process_memory;
pub(crate) mod pthread;
pub(crate) mod region;
#[cfg(feature = "io-uring")]
pub(crate) mod ring;
#[cfg(all(test, target_env = "gnu", target_pointer_width = "64"))]
mod sem_interop;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod start;
#[cfg_attr(target_env = "musl", path = "sysv_flavour_musl.rs")]
#[cfg_attr(not(target_env = "musl"), path = "sysv_flavour_gnu.rs")]
pub(crate) mod sysv_flavour;
pub(crate) mod sysv_key;
pub(crate) mod sysv_msg;
pub(crate) mod sysv_sem;
pub(crate) mod sysv_shm;
pub(crate) mod transfer;

use rustix::io::Errno;

/// The errno of the call that has just failed on this thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Turns the C convention "-1 and errno" into a `Result`.
pub(crate) fn check<T: Copy + PartialEq + From<i8>>(answer: T) -> Result<T, Errno> {
    if answer == T::from(-1) { Err(last_errno()) } else { Ok(answer) }
}
