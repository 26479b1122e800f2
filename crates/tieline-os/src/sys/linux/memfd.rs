//! `memfd_secret`, which rustix does not have.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// A new descriptor of secret memory, close-on-exec and of size zero.
pub(crate) fn memfd_secret() -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes one integer and touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = i32::try_from(super::check(answer)?).map_err(|_| Errno::IO)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
