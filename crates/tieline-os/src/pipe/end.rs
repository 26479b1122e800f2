//! One end of a pipe: reading and writing with a deadline, without touching the shared `O_NONBLOCK` flag.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2, read, write};

use super::PIPE_BUF;
use crate::error::{Error, Result};
use crate::wait::{Wait, retry_when_ready, wait_for};

/// "At the current position": the only offset a pipe takes.
const NO_OFFSET: u64 = u64::MAX;

/// The owned descriptor of one end.
#[derive(Debug)]
pub(super) struct End {
    fd: OwnedFd,
    unwaiting: Unwaiting,
}

impl End {
    /// Takes a descriptor that is known to be an end of a pipe.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, unwaiting: Unwaiting::default() }
    }

    /// Takes a descriptor after making sure that it is a pipe or FIFO open in the direction asked for.
    pub(super) fn checked(fd: OwnedFd, operation: &'static str, reads: bool) -> Result<Self> {
        let status = fstat(&fd).map_err(|errno| Error::new(operation, errno))?;
        if FileType::from_raw_mode(status.st_mode) != FileType::Fifo {
            return Err(Error::invalid(operation, "the descriptor is not a pipe or FIFO"));
        }
        let flags = fcntl_getfl(&fd).map_err(|errno| Error::new(operation, errno))?;
        let access = flags & OFlags::ACCMODE;
        let fits = access == OFlags::RDWR || access == if reads { OFlags::RDONLY } else { OFlags::WRONLY };
        if !fits || flags.contains(OFlags::PATH) {
            let direction = if reads { "reading" } else { "writing" };
            return Err(Error::invalid(operation, format!("the descriptor is not open for {direction}")));
        }
        Ok(Self::new(fd))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    pub(super) fn read(&self, buffer: &mut [u8], wait: Wait) -> Result<usize, Errno> {
        retry_when_ready(&self.fd, PollFlags::IN, wait, || match wait {
            Wait::Forever => read(&self.fd, &mut *buffer),
            _ => self.unwaiting.read(self.fd(), buffer),
        })
    }

    pub(super) fn write(&self, bytes: &[u8], wait: Wait) -> Result<usize, Errno> {
        retry_when_ready(&self.fd, PollFlags::OUT, wait, || match wait {
            Wait::Forever => write(&self.fd, bytes),
            _ => self.unwaiting.write(self.fd(), bytes),
        })
    }
}

/// Reading and writing a pipe without waiting, whatever its `O_NONBLOCK` flag says.
///
/// The flag belongs to the open file description, which other processes may share (a shell's pipeline does), so it is
/// never changed. Instead, in this order:
/// 1. `preadv2`/`pwritev2` with `RWF_NOWAIT`, which Linux takes on anonymous pipes but not on FIFOs;
/// 2. a second description of the same pipe, opened with `O_NONBLOCK` through `/proc/self/fd` when it is first
///    needed and kept; it is as race-free as the first way and costs one descriptor;
/// 3. where that is refused (no `/proc`, another user's FIFO, no descriptor left), asking with `poll` and then
///    transferring no more than fits. Only a second reader or writer of the same pipe, in the instant between the
///    two calls, can make this way wait.
#[derive(Debug, Default)]
pub(crate) struct Unwaiting {
    second: OnceLock<Second>,
}

#[derive(Debug)]
enum Second {
    Opened(OwnedFd),
    Refused,
}

impl Unwaiting {
    pub(crate) fn read(&self, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.second.get().is_none() {
            match preadv2(fd, &mut [IoSliceMut::new(buffer)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
                Err(errno) if not_for_this_pipe(errno) => {}
                answer => return answer,
            }
        }
        match self.second(fd, OFlags::RDONLY)? {
            Some(second) => read(second, buffer),
            None => {
                wait_for(fd, PollFlags::IN, Wait::Never)?;
                read(fd, buffer)
            }
        }
    }

    pub(crate) fn write(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
        if self.second.get().is_none() {
            match pwritev2(fd, &[IoSlice::new(bytes)], NO_OFFSET, ReadWriteFlags::NOWAIT) {
                Err(errno) if not_for_this_pipe(errno) => {}
                answer => return answer,
            }
        }
        match self.second(fd, OFlags::WRONLY)? {
            Some(second) => write(second, bytes),
            None => {
                wait_for(fd, PollFlags::OUT, Wait::Never)?;
                // Writable means room for this much.
                write(fd, &bytes[..bytes.len().min(PIPE_BUF)])
            }
        }
    }

    /// The second description, opened now if need be; `None` where it cannot be had.
    fn second(&self, fd: BorrowedFd<'_>, access: OFlags) -> Result<Option<BorrowedFd<'_>>, Errno> {
        if self.second.get().is_none() {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let second = match open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
                Ok(second) => Second::Opened(second),
                // For writing only, and it says that no reader is left.
                Err(Errno::NXIO) => return Err(Errno::PIPE),
                Err(Errno::MFILE | Errno::NFILE | Errno::INTR | Errno::NOMEM) => return Ok(None),
                Err(_) => Second::Refused,
            };
            // Another thread may have been quicker; then ours is closed.
            let _ = self.second.set(second);
        }
        Ok(match self.second.get() {
            Some(Second::Opened(second)) => Some(second.as_fd()),
            Some(Second::Refused) | None => None,
        })
    }
}

/// Whether a kernel answers so because this file, or this kernel, does not know the flag.
fn not_for_this_pipe(errno: Errno) -> bool {
    matches!(errno, Errno::OPNOTSUPP | Errno::NOSYS)
}
