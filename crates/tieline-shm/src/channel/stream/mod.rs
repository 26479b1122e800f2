//! A stream of bytes between two processes, in both directions: what a Unix stream socket is, without the kernel.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use std::io::{BufRead, Read, Write};
//! use tieline_shm::stream::{Listener, Stream};
//!
//! let listener = Listener::bind("echo")?;
//! let client = std::thread::spawn(|| -> std::io::Result<String> {
//!     let mut stream = Stream::connect("echo").map_err(std::io::Error::other)?;
//!     stream.write_all(b"hello\n")?;
//!     let mut answer = String::new();
//!     stream.read_line(&mut answer)?;
//!     Ok(answer)
//! });
//! let mut stream = listener.accept()?;
//! let mut line = String::new();
//! stream.read_line(&mut line).unwrap();
//! stream.write_all(line.as_bytes()).unwrap();
//! assert_eq!(client.join().unwrap().unwrap(), "hello\n");
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! # What is promised
//! * Bytes arrive in order and once. What was written before a side closed, left or died is read first.
//! * After [`shutdown`](WriteHalf::shutdown), or when the writing half is dropped, the reader sees the end of the stream
//!   (0 bytes). If the peer dies instead, the reader gets [`PeerGone`](crate::ErrorKind::PeerGone), within milliseconds.
//! * Writing to a peer that reads no more, left or died answers `PeerGone`; what is still in the ring is lost.
//! * A write copies into a ring, a read copies out of it; [`BufRead`] shows the bytes where they lie, if the peer is of
//!   the same user.
//!
//! [`Read`], [`Write`] and [`BufRead`] block; the `try_` and `_timeout` forms are methods of the halves. Errors of these
//! traits hold the [`Error`]: `ConnectionReset` when reading from the dead, `BrokenPipe` when writing to them.
//!
//! # Threads and limits
//! One thread at a time reads, and one writes: [`split`](Stream::split) the stream for two. A ring has 4 KiB to 1 GiB
//! ([`ListenerOptions::capacity`]), a listener up to 1,023 streams. Two processes that know each other already need no
//! name: [`Stream::ends`].
//!
//! The memory is `docs/formats/shm-stream.md`, to the byte.

mod connect;
mod connection;
mod listener;
mod waitable;

use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tieline_os::futex::Deadline;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::structure::held::Held;
use crate::structure::stream::{Control, Reader, Writer};
use crate::wait::{EventCount, Until, Waiting};
use connection::Line;

pub use connect::StreamEnd;
pub use listener::{Listener, ListenerOptions};

/// One end of a byte stream; see the [module](self). For two threads, [`split`](Self::split) it.
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

/// The end that reads. Dropping it tells the peer that nothing more will be read.
#[derive(Debug)]
pub struct ReadHalf {
    reader: Reader,
    control: View<Control>,
    line: Arc<Line>,
    waiting: Waiting,
    /// What [`BufRead::fill_buf`] shows.
    shown: Option<Held>,
}

/// The end that writes. Dropping it tells the peer that this is the end of the stream.
#[derive(Debug)]
pub struct WriteHalf {
    writer: Writer,
    control: View<Control>,
    line: Arc<Line>,
    waiting: Waiting,
    is_shut: bool,
}

const READ: &str = "read from the stream";
const WRITE: &str = "write to the stream";

impl Stream {
    fn new(reader: Reader, writer: Writer, line: Arc<Line>) -> Self {
        let waiting = Waiting::default();
        let control = reader.ring().control().clone();
        let read = ReadHalf { reader, control, line: Arc::clone(&line), waiting, shown: None };
        let control = writer.ring().control().clone();
        Self { read, write: WriteHalf { writer, control, line, waiting, is_shut: false } }
    }

    /// The two directions, to be used by two threads.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// The direction from the peer.
    pub fn reader(&mut self) -> &mut ReadHalf {
        &mut self.read
    }

    /// The direction to the peer.
    pub fn writer(&mut self) -> &mut WriteHalf {
        &mut self.write
    }

    /// How calls of this end wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        (self.read.waiting, self.write.waiting) = (waiting, waiting);
        self
    }

    /// The peer's user, as the kernel says.
    #[must_use]
    pub fn peer_uid(&self) -> u32 {
        self.read.line.peer_uid()
    }
}

impl ReadHalf {
    /// Reads what is there; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock`; `PeerGone` if the peer died and everything was read; `Corrupted`; `Forked`.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.read_until(buffer, Until::Now)
    }

    /// Reads at least one byte, or 0 at the end of the stream; waits for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`; the others as [`try_read`](Self::try_read).
    pub fn read_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.read_until(buffer, Until::At(Deadline::after(timeout)))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn peer_uid(&self) -> u32 {
        self.line.peer_uid()
    }

    fn read_until(&mut self, buffer: &mut [u8], until: Until) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.shown = None;
        self.attempt(until, |reader| reader.try_read(buffer))
    }

    fn attempt<R>(&mut self, until: Until, mut attempt: impl FnMut(&mut Reader) -> Result<R>) -> Result<R> {
        self.line.check()?;
        let Self { reader, line, control, .. } = self;
        wait(&control.bytes, self.waiting, until, READ, line, || attempt(reader))
    }
}

impl WriteHalf {
    /// Writes as much as there is room for, at least one byte.
    ///
    /// # Errors
    /// `WouldBlock`; `PeerGone` if the peer reads no more, left or died; `Corrupted`; `Forked`.
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_until(bytes, Until::Now)
    }

    /// Writes as much as there is room for, at least one byte; waits for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`; the others as [`try_write`](Self::try_write).
    pub fn write_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<usize> {
        self.write_until(bytes, Until::At(Deadline::after(timeout)))
    }

    /// Ends this direction: the peer reads what was written, and then the end of the stream. Does nothing the second
    /// time.
    pub fn shutdown(&mut self) {
        if !std::mem::replace(&mut self.is_shut, true) && self.line.check().is_ok() {
            self.writer.close();
        }
    }

    /// A descriptor that shows a hang-up once the peer has left or died, for whoever polls without having anything to
    /// write. Nothing else is to be done with it.
    #[must_use]
    pub fn peer(&self) -> BorrowedFd<'_> {
        self.line.link().socket().as_fd()
    }

    fn write_until(&mut self, bytes: &[u8], until: Until) -> Result<usize> {
        self.line.check()?;
        if self.is_shut {
            return Err(Error::new(WRITE, ErrorKind::InvalidInput).because("this direction was shut down"));
        }
        let Self { writer, line, control, .. } = self;
        if line.is_gone() {
            return Err(Error::new(WRITE, ErrorKind::PeerGone));
        }
        wait(&control.room, self.waiting, until, WRITE, line, || writer.try_write(bytes))
    }
}

/// Tries until it need not be tried again, or the peer is gone and it was tried once more after that.
fn wait<R>(
    count: &EventCount,
    waiting: Waiting,
    until: Until,
    operation: &'static str,
    line: &Line,
    mut attempt: impl FnMut() -> Result<R>,
) -> Result<R> {
    count.wait(waiting, until, operation, || {
        let is_gone = line.is_gone();
        match attempt() {
            Err(error) if error.is_would_block() && is_gone => Some(Err(Error::new(operation, ErrorKind::PeerGone))),
            Err(error) if error.is_would_block() => None,
            answer => Some(answer),
        }
    })?
}

impl Read for ReadHalf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_until(buffer, Until::Forever).map_err(read_error)
    }
}

/// The bytes are shown where they lie in the ring, as far as they lie without a break, if the peer is of the same user;
/// otherwise they are copied first. They stay the reader's until [`consume`](BufRead::consume).
impl BufRead for ReadHalf {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.line.check().map_err(read_error)?;
        if self.shown.is_none() {
            let span = self.attempt(Until::Forever, Reader::try_peek).map_err(read_error)?;
            let cells = self.reader.ring().cells();
            self.shown = Some(Held::to_read(cells, span.offset, span.len, self.line.trust()));
        }
        Ok(self.shown.as_ref().map_or(&[], Held::as_bytes))
    }

    fn consume(&mut self, amount: usize) {
        // In a forked child the bytes are the parent's.
        if amount > 0 && self.line.check().is_ok() {
            self.shown = None;
            self.reader.consume(amount);
        }
    }
}

/// Nothing is buffered besides the ring, so `flush` does nothing.
impl Write for WriteHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.write_until(bytes, Until::Forever).map_err(write_error)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read.read(buffer)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.read.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.read.consume(amount);
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        if self.line.check().is_ok() {
            self.reader.close();
        }
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// An error of reading, in the standard library's form.
pub(crate) fn read_error(error: Error) -> io::Error {
    io_error(io::ErrorKind::ConnectionReset, error)
}

/// An error of writing, in the standard library's form.
pub(crate) fn write_error(error: Error) -> io::Error {
    io_error(io::ErrorKind::BrokenPipe, error)
}

/// The standard library's form of an error; `gone` is what a dead peer means there.
fn io_error(gone: io::ErrorKind, error: Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::PeerGone => gone,
        ErrorKind::WouldBlock => io::ErrorKind::WouldBlock,
        ErrorKind::TimedOut => io::ErrorKind::TimedOut,
        ErrorKind::Corrupted => io::ErrorKind::InvalidData,
        ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
