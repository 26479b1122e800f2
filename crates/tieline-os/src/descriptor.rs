//! Descriptors received from elsewhere: is it of the sort one thinks, and does it block?

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::error::{During, Error, Result};

/// Refuses a descriptor whose link in `/proc` begins with none of `sorts`, such as `anon_inode:[eventfd]`.
pub(crate) fn check_sort(fd: impl AsFd, operation: &'static str, sorts: &[&str]) -> Result<()> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
        .map_err(|error| Error::new(operation, errno_of(&error)))?;
    let name = link.as_os_str().as_encoded_bytes();
    if sorts.iter().any(|sort| name.starts_with(sort.as_bytes())) {
        Ok(())
    } else {
        Err(Error::invalid(operation, format!("the descriptor is {}", link.display())))
    }
}

/// Makes the open file non-blocking, for all who share it.
pub(crate) fn set_nonblocking(fd: impl AsFd, operation: &'static str) -> Result<()> {
    let flags = fcntl_getfl(&fd).during(operation)?;
    fcntl_setfl(&fd, flags | OFlags::NONBLOCK).during(operation)
}

/// The errno behind an error of the standard library.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
