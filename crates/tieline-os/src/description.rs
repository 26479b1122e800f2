//! Open file descriptions: whether two descriptors, perhaps of two processes, are one.
//!
//! A descriptor is a number of one process; what it stands for, with offset and flags, is an open file description, which
//! several descriptors may share: by `dup`, by `fork`, by sending over a Unix socket. Pipes, sockets and files have an
//! inode number by which one recognises them; an epoll set, a timer or a signal descriptor has nothing of its own, and
//! only this comparison tells whether two processes have the same.
//!
//! The invariant: asking changes nothing for either process.
//!
//! See [kcmp(2)](https://man7.org/linux/man-pages/man2/kcmp.2.html).

use std::cmp::Ordering;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Error, Result};
use crate::sys;

const COMPARE: &str = "compare descriptors of processes";

/// Compares the open file descriptions of two descriptors, each named by its process and number.
///
/// `Equal` means that they are one. The other answers put them into an order that means nothing but is the same for
/// everybody until the machine stops, so that many can be sorted or searched. It does not block. Which process a number
/// names, and what is open there, may have changed a moment later.
///
/// ```
/// use std::os::fd::AsRawFd;
/// use tieline_os::description;
///
/// let (reader, writer) = std::io::pipe()?;
/// let twin = reader.try_clone()?;
/// let me = std::process::id();
/// match description::compare((me, reader.as_raw_fd()), (me, twin.as_raw_fd())) {
///     Ok(order) => {
///         assert!(order.is_eq());
///         assert!(description::compare((me, reader.as_raw_fd()), (me, writer.as_raw_fd()))?.is_ne());
///     }
///     Err(error) => assert!(error.is_unsupported()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `NotFound` if a process has ended; `InvalidInput` for a number that is no process or not open there;
/// `PermissionDenied` without the right to look into both; `Unsupported` by a kernel built without it.
#[doc(alias = "kcmp")]
#[doc(alias = "KCMP_FILE")]
pub fn compare(one: (u32, RawFd), other: (u32, RawFd)) -> Result<Ordering> {
    let process = |number: u32| {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Error::invalid(COMPARE, format!("{number} is no process number")))
    };
    let (one, other) = ((process(one.0)?, one.1), (process(other.0)?, other.1));
    sys::pidfd::compare_descriptions(one, other).map_err(|errno| {
        let error = Error::new(COMPARE, errno);
        match errno {
            Errno::BADF => error.hint("the process has no such descriptor"),
            Errno::PERM => error.hint(crate::process_memory::TRACE_HINT),
            _ => error,
        }
    })
}

/// How many bytes lie in a pipe or FIFO that this process has open under a number, and how many fit.
///
/// For who looks at all descriptors of its own process, of which it owns none: a duplicate would have to be closed, and
/// closing any descriptor of a file ends the record locks that the process has on it. It does not block.
///
/// ```
/// use std::os::fd::AsRawFd;
///
/// let (_reader, writer) = std::io::pipe()?;
/// std::io::Write::write_all(&mut &writer, b"seven b")?;
/// assert_eq!(tieline_os::description::own_pipe_fill(writer.as_raw_fd())?.0, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `InvalidInput` for a number that is not open, or no pipe.
#[doc(alias = "FIONREAD")]
#[doc(alias = "F_GETPIPE_SZ")]
pub fn own_pipe_fill(fd: RawFd) -> Result<(u64, u64)> {
    sys::pidfd::fill_of_pipe(fd).map_err(|errno| {
        let error = Error::new("ask a pipe for its fill", errno).on(fd);
        if errno == Errno::BADF { error.hint("the number is no pipe of this process") } else { error }
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let (reader, _writer) = crate::pipe::pipe().expect("a pipe");
        let (me, fd) = (std::process::id(), reader.as_fd().as_raw_fd());
        match compare((me, fd), (me, fd)) {
            // Some sandboxes forbid it even for one's own.
            Err(error) if error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied => {
                tieline_testkit::skip!("{error}")
            }
            order => assert!(order.is_ok_and(Ordering::is_eq)),
        }
        let mut child = std::process::Command::new("true").spawn().expect("true");
        child.wait().expect("reaped");
        let kind = |other| compare((me, fd), other).map_err(|error| error.kind());
        assert_eq!(kind((child.id(), 0)), Err(ErrorKind::NotFound));
        assert_eq!(kind((me, -1)), Err(ErrorKind::InvalidInput));
        assert_eq!(kind((0, 0)), Err(ErrorKind::InvalidInput));
        assert_eq!(kind((u32::MAX, 0)), Err(ErrorKind::InvalidInput));
    }

    #[test]
    fn the_order_is_the_same_from_both_sides() {
        let (reader, writer) = crate::pipe::pipe().expect("a pipe");
        let me = std::process::id();
        let [one, other] = [reader.as_fd().as_raw_fd(), writer.as_fd().as_raw_fd()];
        let order = match compare((me, one), (me, other)) {
            // Some sandboxes forbid it even for one's own.
            Err(error) if error.is_unsupported() || error.kind() == ErrorKind::PermissionDenied => {
                tieline_testkit::skip!("{error}")
            }
            order => order.expect("both are open"),
        };
        assert!(order.is_ne());
        assert_eq!(compare((me, other), (me, one)).expect("both are open"), order.reverse());
    }
}
