//! Moving bytes from one descriptor to another, inside the kernel where it can be done.
//!
//! # Which one do I want?
//!
//! | I want to | take |
//! |---|---|
//! | copy until the end, whatever the two are | [`copy`] |
//! | the same with a deadline, progress, a way to stop, in an event loop | [`Copier`] |
//! | read what passes through a pipe without taking it | [`tee`], then [`splice`] |
//! | send the same constant bytes again and again | [`vmsplice_static`] |
//! | hand a large result to a pipe and forget it | [`Pages`], [`Gift`] |
//! | make exactly one system call, knowing what both sides are | the calls below |
//!
//! `copy` and `Copier` take the fastest way the two descriptors allow and fall back to reading and writing. Below them
//! are the kernel's calls one by one:
//!
//! | call | from | to | moves or copies |
//! |---|---|---|---|
//! | [`splice`] | anything, if the other is a pipe | anything, if the other is a pipe | moves page references |
//! | [`tee`] | a pipe | another pipe | duplicates page references, takes nothing out |
//! | [`vmsplice`], [`vmsplice_static`], [`Gift`] | memory | a pipe | lends pages |
//! | [`sendfile`] | a file | anything | as `splice` through a hidden pipe |
//! | [`copy_file_range`] | a file | a file | may share blocks on disk, or copy on the server |
//!
//! The invariant of [`Copier`]: a byte taken from the source is either given to the sink or kept, and counted as such,
//! whatever happens. Nothing here closes or shuts down a descriptor, changes its flags, or sends a signal but the
//! `SIGPIPE` that the kernel sends with `EPIPE` (Rust programs ignore it). A pipe's capacity changes only if asked for
//! ([`Copier::widen_pipes`]).
//!
//! What is moved is a reference to a page of the file or of memory, so a change to a file before the reader has read can
//! be seen by the reader. Who cannot have that must read and write.
//!
//! Sources: splice(2), tee(2), vmsplice(2), sendfile(2), `copy_file_range(2)`; POSIX has none of them.

mod copier;
mod engine;
mod pages;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::SpliceFlags;

pub use self::copier::{Copier, CopyError, Outcome, Step, copy};
pub use self::engine::{How, Side};
pub use self::pages::{Gift, Pages, vmsplice, vmsplice_static};
use crate::error::{During, Error, Result};
use crate::pipe::{PipeReader, PipeWriter};
use crate::wait::{Wait, wait_for};

/// Moves up to `len` bytes between two descriptors, one of which must be a pipe; 0 is the end of the source.
///
/// Waits until at least one byte is moved. An offset is where in the file to begin, and is advanced; without one, the
/// file's own position is used and advanced. A pipe takes no offset.
///
/// ```
/// use tieline_os::{pipe, transfer};
/// let (reader, writer) = pipe::pipe()?;
/// let (onward, last) = pipe::pipe()?;
/// writer.write_all(b"past us")?;
/// assert_eq!(transfer::splice(&reader, None, &last, None, 100)?, 7);
/// assert_eq!(onward.available()?, 7);
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput` if neither is a pipe, both are the same pipe, the sink is open for appending, or one of them cannot
/// be spliced; `PeerGone` if the sink has no reader; `WouldBlock` if a descriptor is in non-blocking mode.
pub fn splice(
    from: impl AsFd,
    from_offset: Option<&mut u64>,
    to: impl AsFd,
    to_offset: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    let mut call = Splice { from: from.as_fd(), from_offset, to: to.as_fd(), to_offset, len };
    retry_on_intr(|| call.once(SpliceFlags::empty())).map_err(why_not_spliced)
}

/// As [`splice`], without waiting for a pipe.
///
/// The kernel's promise covers pipes only: a terminal or socket in blocking mode may still make it wait.
///
/// # Errors
/// As [`splice`], and `WouldBlock` if the pipe to be read is empty or the pipe to be written is full.
pub fn try_splice(
    from: impl AsFd,
    from_offset: Option<&mut u64>,
    to: impl AsFd,
    to_offset: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    let mut call = Splice { from: from.as_fd(), from_offset, to: to.as_fd(), to_offset, len };
    retry_on_intr(|| call.once(SpliceFlags::NONBLOCK)).map_err(why_not_spliced)
}

/// As [`try_splice`], waiting for `timeout` at most until bytes can be moved.
///
/// # Errors
/// As [`splice`], and `TimedOut`.
pub fn splice_timeout(
    from: impl AsFd,
    from_offset: Option<&mut u64>,
    to: impl AsFd,
    to_offset: Option<&mut u64>,
    len: usize,
    timeout: Duration,
) -> Result<usize> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let mut call = Splice { from, from_offset, to, to_offset, len };
    when_both_ready(from, to, Wait::timeout(timeout), || call.once(SpliceFlags::NONBLOCK)).map_err(why_not_spliced)
}

struct Splice<'a> {
    from: BorrowedFd<'a>,
    from_offset: Option<&'a mut u64>,
    to: BorrowedFd<'a>,
    to_offset: Option<&'a mut u64>,
    len: usize,
}

impl Splice<'_> {
    fn once(&mut self, flags: SpliceFlags) -> Result<usize, Errno> {
        let (from_offset, to_offset) = (self.from_offset.as_deref_mut(), self.to_offset.as_deref_mut());
        rustix::pipe::splice(self.from, from_offset, self.to, to_offset, self.len, flags)
    }
}

fn why_not_spliced(errno: Errno) -> Error {
    let error = Error::new("splice", errno);
    if errno != Errno::INVAL {
        return error;
    }
    error.hint("one of the two must be a pipe, not both the same one, and a file must not be open for appending")
}

/// Copies up to `len` bytes of one pipe into another and leaves them in the first; 0 is the end of the first.
///
/// Waits until the first holds something and the second has room. Only page references are copied. Each call begins
/// with the first unread byte, so read (or [`splice`]) what was copied before calling again.
///
/// # Errors
/// `InvalidInput` if both are the same pipe; `PeerGone` if the second has no reader.
pub fn tee(from: &PipeReader, to: &PipeWriter, len: usize) -> Result<usize> {
    retry_on_intr(|| rustix::pipe::tee(from, to, len, SpliceFlags::empty())).during(TEE)
}

/// As [`tee`], without waiting.
///
/// # Errors
/// As [`tee`], and `WouldBlock` if the first is empty or the second is full.
pub fn try_tee(from: &PipeReader, to: &PipeWriter, len: usize) -> Result<usize> {
    retry_on_intr(|| rustix::pipe::tee(from, to, len, SpliceFlags::NONBLOCK)).during(TEE)
}

/// As [`tee`], waiting for `timeout` at most.
///
/// # Errors
/// As [`tee`], and `TimedOut`.
pub fn tee_timeout(from: &PipeReader, to: &PipeWriter, len: usize, timeout: Duration) -> Result<usize> {
    let call = || rustix::pipe::tee(from, to, len, SpliceFlags::NONBLOCK);
    when_both_ready(from.as_fd(), to.as_fd(), Wait::timeout(timeout), call).during(TEE)
}

const TEE: &str = "tee";

/// Sends up to `len` bytes of a file to any descriptor; 0 is the end of the file.
///
/// Waits as a write to `to` would. `offset` is where to begin and is advanced; without it, the file's own position is
/// used and advanced. A short count is usual (a socket in non-blocking mode, a signal).
///
/// # Errors
/// `InvalidInput` if `from` is not a file that can be sent (a socket, a terminal, some of `/proc`), or `to` is open for
/// appending; `PeerGone`; `WouldBlock` if `to` is in non-blocking mode and full.
pub fn sendfile(to: impl AsFd, from: impl AsFd, mut offset: Option<&mut u64>, len: usize) -> Result<usize> {
    retry_on_intr(|| rustix::fs::sendfile(to.as_fd(), from.as_fd(), offset.as_deref_mut(), len))
        .during("send a file's bytes")
}

/// Copies up to `len` bytes between two files; 0 is the end of the source.
///
/// Does not wait for anything but storage. Offsets as for [`splice`]. A short count is usual. Files whose contents
/// the kernel makes up when they are read (in `/proc`, say) look empty to some kernels and are refused by others.
///
/// # Errors
/// `InvalidInput` if one is not a regular file, the sink is open for appending (`EBADF`), or the ranges overlap in one
/// file; `Other` (`EXDEV`) between file systems that cannot do it; `LimitReached` if the disk is full.
pub fn copy_file_range(
    from: impl AsFd,
    mut from_offset: Option<&mut u64>,
    to: impl AsFd,
    mut to_offset: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    let (from, to) = (from.as_fd(), to.as_fd());
    retry_on_intr(|| rustix::fs::copy_file_range(from, from_offset.as_deref_mut(), to, to_offset.as_deref_mut(), len))
        .during("copy a range of a file")
}

/// Tries again each time the source is readable and the sink writable.
fn when_both_ready<T>(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    wait: Wait,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            // Each may show ready while the other is not, and others may be quicker: the clock decides.
            Err(Errno::AGAIN) if wait.is_over() => return Err(wait.gave_up()),
            Err(Errno::AGAIN) => {
                wait_for(from, PollFlags::IN, wait)?;
                wait_for(to, PollFlags::OUT, wait)?;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Given two descriptors that always show ready and a call that never succeeds, as among quicker rivals, when the
    /// time is up, then the answer is that it is, and not another call.
    #[test]
    fn descriptors_that_lie_do_not_stretch_the_deadline() {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let (begun, limit) = (Instant::now(), Duration::from_millis(20));
        let answer = when_both_ready(null.as_fd(), null.as_fd(), Wait::timeout(limit), || {
            assert!(begun.elapsed() < 1000 * limit, "it goes on for ever");
            Err::<(), _>(Errno::AGAIN)
        });
        assert_eq!(answer, Err(Errno::TIMEDOUT));
        assert!(begun.elapsed() >= limit);
    }
}
