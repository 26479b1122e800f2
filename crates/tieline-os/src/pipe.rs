//! Pipes: a bounded stream of bytes between related processes, kept in the kernel.
//!
//! [`pipe`] makes one; a child process gets an end as its standard input or output
//! ([`Stdio`] is `From` either end), or by inheriting or being sent the descriptor. For unrelated processes
//! there is the same thing with a name: [`crate::fifo`].
//!
//! The invariant: neither end ever changes the `O_NONBLOCK` flag, because the flag belongs to the open file description,
//! which other processes may share. `try_` and `_timeout` forms do not wait even if the flag is clear, plain forms do
//! wait even if somebody has set it.
//!
//! # What to know of pipes
//! * **Atomicity.** A write of at most [`PIPE_BUF`] bytes is never mixed with the bytes of other writers and is never
//!   taken in part. A longer one may be.
//! * **End of file.** A read answers 0 when every write end is closed, in every process. A forked or careless child that
//!   still holds one keeps the reader waiting for ever; ends made here are close-on-exec for that reason.
//! * **A dead reader.** Writing when every read end is closed fails with [`ErrorKind::PeerGone`](crate::ErrorKind)
//!   (`EPIPE`). The kernel also sends `SIGPIPE`, which Rust programs ignore from their start; a library inside another
//!   program should make sure that the program does too.
//! * **Deadlock.** Two processes that write to each other through two pipes and read only afterwards both wait for ever
//!   once both pipes are full. Bound what is outstanding, or use the `try_` forms and wait for either pipe.
//! * **Capacity** is counted in pages, 16 by default (64 KiB), so single bytes are merged into pages but a write after a
//!   partly filled page may find no room although bytes are missing to the capacity.
//!
//! A pipe may be used from several threads at once through `&`; each call is one system call and any of them may be
//! followed by another process's. Plain [`read`](PipeReader::read) and [`write`](PipeWriter::write) are safe in a
//! signal handler when they succeed; making a pipe or an error with a hint allocates and is not.
//!
//! Sources: POSIX.1-2024 `pipe`, `read`, `write`; pipe(7), pipe(2), fcntl(2).

mod end;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionread};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

use self::end::End;
pub(crate) use self::end::Unwaiting;
use crate::error::{During, Error, Result};
use crate::wait::{Wait, wait_for};

/// The longest write, in bytes, that is taken whole or not at all and never mixed with another writer's: 4096 on Linux.
pub const PIPE_BUF: usize = libc::PIPE_BUF;

/// Makes a pipe and returns its two ends, both close-on-exec.
///
/// ```
/// let (reader, writer) = tieline_os::pipe::pipe()?;
/// writer.write_all(b"over to you")?;
/// drop(writer);
/// let mut buffer = [0; 32];
/// assert_eq!(reader.read(&mut buffer)?, 11);
/// assert_eq!(reader.read(&mut buffer)?, 0, "every writer is gone");
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// `LimitReached` if the process (`EMFILE`) or the machine (`ENFILE`) has no descriptor left, or the user's pipes hold
/// more pages than `/proc/sys/fs/pipe-user-pages-hard`. Above `pipe-user-pages-soft` the pipe is made, but with one or
/// two pages only: see [`PipeReader::capacity`].
#[doc(alias("pipe2"))]
pub fn pipe() -> Result<(PipeReader, PipeWriter)> {
    make(PipeFlags::CLOEXEC)
}

/// Makes a pipe in packet mode: each write of at most [`PIPE_BUF`] bytes is a packet, each read takes one packet.
///
/// A longer write becomes several packets. A read with a buffer shorter than the packet **loses the rest of it**, so
/// read with [`PIPE_BUF`] bytes. Each packet takes a page of the capacity however short it is: sixteen fill the pipe. A
/// packet of no bytes cannot be sent.
///
/// # Errors
/// As [`pipe`]; `InvalidInput` on a kernel before 3.4.
#[doc(alias("O_DIRECT"))]
pub fn packet_pipe() -> Result<(PipeReader, PipeWriter)> {
    make(PipeFlags::CLOEXEC | PipeFlags::DIRECT)
}

fn make(flags: PipeFlags) -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = pipe_with(flags).during("make a pipe")?;
    Ok((PipeReader::of_known(reader), PipeWriter::of_known(writer)))
}

/// The end of a pipe or FIFO from which bytes are read.
///
/// Also `std::io::Read`, by value and by reference, with the meaning of [`read`](Self::read).
#[derive(Debug)]
pub struct PipeReader {
    end: End,
}

impl PipeReader {
    /// Takes a descriptor of any pipe or FIFO that is open for reading, such as an inherited standard input.
    ///
    /// The descriptor keeps its flags, close-on-exec among them.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else or open only for writing; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        End::checked(fd, "use a descriptor as the reading end of a pipe", true).map(|end| Self { end })
    }

    /// Reads what is there, at most `buffer.len()` bytes, without waiting; 0 is the end: every writer is gone.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there but a writer is.
    pub fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        self.end.read(buffer, Wait::Never).during(READ)
    }

    /// Reads what is there, at most `buffer.len()` bytes, waiting until there is something; 0 is the end: every writer
    /// is gone.
    ///
    /// # Errors
    /// None that a healthy pipe gives; `InvalidInput` (`EFAULT`, `EBADF`) would be a fault of the program.
    #[doc(alias("preadv2"))]
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        self.end.read(buffer, Wait::Forever).during(READ)
    }

    /// As [`read`](Self::read), waiting for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut` if nothing came; nothing is lost.
    pub fn read_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.end.read(buffer, Wait::timeout(timeout)).during(READ)
    }

    /// How many bytes are there to be read now; in packet mode, of all packets together.
    ///
    /// # Errors
    /// None that a healthy pipe gives.
    #[doc(alias("FIONREAD"))]
    pub fn available(&self) -> Result<usize> {
        available(self.as_fd())
    }

    /// Whether every writer is gone, now, although unread bytes may remain.
    ///
    /// A FIFO that was opened before any writer came is not "gone".
    ///
    /// # Errors
    /// None that a healthy pipe gives.
    pub fn is_peer_gone(&self) -> Result<bool> {
        is_hung_up(self.as_fd())
    }

    /// A second handle of the same end.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is left.
    #[doc(alias("dup"))]
    pub fn try_clone(&self) -> Result<Self> {
        duplicate(self.as_fd()).map(Self::of_known)
    }
}

/// The end of a pipe or FIFO into which bytes are written.
///
/// Also `std::io::Write`, by value and by reference, with the meaning of [`write`](Self::write).
#[derive(Debug)]
pub struct PipeWriter {
    end: End,
}

impl PipeWriter {
    /// Takes a descriptor of any pipe or FIFO that is open for writing, such as an inherited standard output.
    ///
    /// The descriptor keeps its flags, close-on-exec among them.
    ///
    /// # Errors
    /// `InvalidInput` if it is something else or open only for reading; the descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        End::checked(fd, "use a descriptor as the writing end of a pipe", false).map(|end| Self { end })
    }

    /// Writes what fits now, and returns how many bytes were taken.
    ///
    /// Up to [`PIPE_BUF`] bytes are taken whole or not at all; of more, a part may be.
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits; `PeerGone` if every reader is gone.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        self.end.write(bytes, Wait::Never).during(WRITE)
    }

    /// Writes all of `bytes`, waiting for room, and returns how many bytes were taken: all of them, unless a signal
    /// handler ran after some were taken.
    ///
    /// Use [`write_all`](Self::write_all) to go on after such a short count. On a description that somebody made
    /// non-blocking, a short count is usual.
    ///
    /// # Errors
    /// `PeerGone` if every reader is gone.
    #[doc(alias("pwritev2"))]
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        self.end.write(bytes, Wait::Forever).during(WRITE)
    }

    /// Writes what fits as soon as something fits, waiting for `timeout` at most, and returns how many bytes were taken.
    ///
    /// Up to [`PIPE_BUF`] bytes are taken whole or not at all; of more, a part may be.
    ///
    /// # Errors
    /// `TimedOut` if nothing fitted in time, then nothing was taken; `PeerGone` if every reader is gone.
    pub fn write_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<usize> {
        self.end.write(bytes, Wait::timeout(timeout)).during(WRITE)
    }

    /// Writes all of `bytes`, waiting for room as often as need be.
    ///
    /// # Errors
    /// `PeerGone` if every reader is gone; the error's text says how many bytes had been taken. A caller that must know
    /// the number as a number writes in a loop of [`write`](Self::write).
    pub fn write_all(&self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.end.write(rest, Wait::Forever).map_err(|errno| {
                let done = bytes.len() - rest.len();
                Error::new(WRITE, errno).hint(format!("{done} of {} bytes had been taken", bytes.len()))
            })?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// How many bytes wait in the pipe to be read.
    ///
    /// # Errors
    /// None that a healthy pipe gives.
    #[doc(alias("FIONREAD"))]
    pub fn unread(&self) -> Result<usize> {
        available(self.as_fd())
    }

    /// Whether every reader is gone, so that writing fails with `PeerGone`.
    ///
    /// # Errors
    /// None that a healthy pipe gives.
    pub fn is_peer_gone(&self) -> Result<bool> {
        is_hung_up(self.as_fd())
    }

    /// A second handle of the same end. Readers see the end of file only when all are closed.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is left.
    #[doc(alias("dup"))]
    pub fn try_clone(&self) -> Result<Self> {
        duplicate(self.as_fd()).map(Self::of_known)
    }
}

const READ: &str = "read from a pipe";
const WRITE: &str = "write to a pipe";

/// The file that bounds what an unprivileged process may set as a capacity.
const MAX_SIZE: &str = "/proc/sys/fs/pipe-max-size";

fn available(fd: BorrowedFd<'_>) -> Result<usize> {
    let count = ioctl_fionread(fd).during("ask how much a pipe holds")?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn is_hung_up(fd: BorrowedFd<'_>) -> Result<bool> {
    // No event asked for: hang-up (to a reader) and error (to a writer) are shown always.
    match wait_for(fd, PollFlags::empty(), Wait::Never) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(Error::new("ask whether a pipe's other end is open", errno)),
    }
}

fn set_capacity(fd: BorrowedFd<'_>, bytes: usize) -> Result<usize> {
    const OPERATION: &str = "set a pipe's capacity";
    if i32::try_from(bytes).is_err() {
        return Err(Error::of_kind(OPERATION, crate::ErrorKind::TooLarge, format!("{bytes} bytes is over 2 GiB")));
    }
    fcntl_setpipe_size(fd, bytes).map_err(|errno| match errno {
        Errno::BUSY => {
            Error::new(OPERATION, errno).hint(format!("more than {bytes} bytes wait in it; read them first"))
        }
        Errno::PERM => Error::new(OPERATION, errno).hint(why_not_larger(bytes)),
        _ => Error::new(OPERATION, errno),
    })
}

fn why_not_larger(bytes: usize) -> String {
    let max = std::fs::read_to_string(MAX_SIZE).ok().and_then(|text| text.trim().parse::<usize>().ok());
    match max {
        Some(max) if bytes > max => {
            format!("{bytes} bytes is above the {max} of {MAX_SIZE}; ask for less, raise it, or use CAP_SYS_RESOURCE")
        }
        _ => {
            "this user's pipes are at the limit of /proc/sys/fs/pipe-user-pages-soft; close some, or make them smaller"
                .to_owned()
        }
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(fd, 0).during("duplicate an end of a pipe")
}

impl Read for &PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.end.read(buffer, Wait::Forever)?)
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut &*self, buffer)
    }
}

impl Write for &PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.end.write(bytes, Wait::Forever)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! an_end_of_a_pipe {
    ($End:ident, $std:ty) => {
        impl $End {
            /// Takes a descriptor that is already known to be this end of a pipe or FIFO.
            pub(crate) fn of_known(fd: OwnedFd) -> Self {
                Self { end: End::new(fd) }
            }

            /// How many bytes the pipe holds at most.
            ///
            /// # Errors
            /// None that a healthy pipe gives.
            #[doc(alias("F_GETPIPE_SZ"))]
            pub fn capacity(&self) -> Result<usize> {
                fcntl_getpipe_size(self).during("ask for a pipe's capacity")
            }

            /// Changes the capacity, rounded up to a power of two of pages, and returns what it is now.
            ///
            /// # Errors
            /// `Busy` if the pipe holds more than that; `PermissionDenied` above `/proc/sys/fs/pipe-max-size` or the
            /// user's share; `TooLarge` above 2 GiB.
            #[doc(alias("F_SETPIPE_SZ"))]
            pub fn set_capacity(&self, bytes: usize) -> Result<usize> {
                set_capacity(self.as_fd(), bytes)
            }
        }

        impl AsFd for $End {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.end.fd()
            }
        }

        impl From<$End> for OwnedFd {
            fn from(end: $End) -> Self {
                end.end.into_fd()
            }
        }

        impl From<$End> for Stdio {
            fn from(end: $End) -> Self {
                end.end.into_fd().into()
            }
        }

        impl From<$End> for $std {
            fn from(end: $End) -> Self {
                end.end.into_fd().into()
            }
        }

        impl From<$std> for $End {
            fn from(end: $std) -> Self {
                Self::of_known(end.into())
            }
        }
    };
}

an_end_of_a_pipe!(PipeReader, io::PipeReader);
an_end_of_a_pipe!(PipeWriter, io::PipeWriter);
