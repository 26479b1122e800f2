//! Streams of bytes that tasks read and write.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tieline_shm::{aio, stream::{Listener, Stream}};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let listener = aio::stream::Listener::from(Listener::bind("echo")?);
//! let mut client = aio::stream::Stream::from(Stream::connect("echo")?); // in another process
//! let mut server = listener.accept().await?;
//! client.write_all(b"hello").await?;
//! let mut hello = [0; 5];
//! server.read_exact(&mut hello).await?;
//! assert_eq!(&hello, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Nap, Parker};
use crate::error::Result;
use crate::stream;
use crate::wait::Source;

/// One end of a byte stream, for tasks: made of a [`stream::Stream`]. It reads and writes by tokio's traits; for two
/// tasks, [`split`](Self::split) it.
///
/// Cancelling a read or write loses no byte: what was read or written is what the call answered. The first call that
/// sleeps binds the handle to its tokio runtime.
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

/// The end that reads. Dropping it tells the peer that nothing more will be read.
pub struct ReadHalf {
    half: stream::ReadHalf,
    waiter: Waiter,
}

/// The end that writes. Dropping it, or shutting it down, tells the peer that this is the end of the stream.
pub struct WriteHalf {
    half: stream::WriteHalf,
    waiter: Waiter,
}

struct Waiter {
    source: Arc<dyn Source>,
    parker: Parker,
    nap: Nap,
}

impl Waiter {
    fn new(source: Arc<dyn Source>) -> Self {
        Self { source, parker: Parker::default(), nap: Nap::default() }
    }
}

impl Stream {
    /// The two directions, to be used by two tasks.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// The peer's user, as the kernel says.
    #[must_use]
    pub fn peer_uid(&self) -> u32 {
        self.read.half.peer_uid()
    }
}

impl ReadHalf {
    /// Reads what is there; 0 at the end of the stream.
    ///
    /// # Errors
    /// As [`stream::ReadHalf::try_read`].
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.half.try_read(buffer)
    }
}

impl WriteHalf {
    /// Writes as much as there is room for, at least one byte.
    ///
    /// # Errors
    /// As [`stream::WriteHalf::try_write`].
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.half.try_write(bytes)
    }
}

impl From<stream::Stream> for Stream {
    fn from(stream: stream::Stream) -> Self {
        let (read, write) = stream.split();
        Self { read: read.into(), write: write.into() }
    }
}

impl From<stream::ReadHalf> for ReadHalf {
    fn from(half: stream::ReadHalf) -> Self {
        let waiter = Waiter::new(half.source());
        Self { half, waiter }
    }
}

impl From<stream::WriteHalf> for WriteHalf {
    fn from(half: stream::WriteHalf) -> Self {
        let waiter = Waiter::new(half.source());
        Self { half, waiter }
    }
}

/// Errors are those of [`Read`](io::Read) for [`stream::ReadHalf`]: `ConnectionReset` if the peer died.
impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { half, waiter: Waiter { source, parker, nap } } = self.get_mut();
        let how = half.how();
        // Written by copying out of shared memory, so it must be there.
        let unfilled = buffer.initialize_unfilled();
        let read = parker.poll(task, nap, how, &mut || source.alarms(), &mut || half.poll_read(unfilled));
        read.map(|read| {
            let len = read.and_then(|read| read).map_err(stream::read_error)?;
            buffer.advance(len);
            Ok(())
        })
    }
}

/// Errors are those of [`Write`](io::Write) for [`stream::WriteHalf`]: `BrokenPipe` if the peer died or reads no more.
/// Nothing is buffered besides the ring, so flushing does nothing.
impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Self { half, waiter: Waiter { source, parker, nap } } = self.get_mut();
        let how = half.how();
        let written = parker.poll(task, nap, how, &mut || source.alarms(), &mut || half.poll_write(bytes));
        written.map(|written| written.and_then(|written| written).map_err(stream::write_error))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half.shutdown();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(task, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(task)
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.half.fmt(f)
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.half.fmt(f)
    }
}

/// Accepts streams under a name, for tasks: made of a [`stream::Listener`]. Connecting takes a moment only, for which
/// [`stream::Stream::connect`] is good enough in `spawn_blocking`.
#[derive(Debug)]
pub struct Listener {
    listener: stream::Listener,
    parker: Parker,
}

impl Listener {
    /// Takes the next stream; waits until somebody connects. Cancelling it loses none. The first call that sleeps
    /// binds the handle to its tokio runtime.
    ///
    /// # Errors
    /// `Forked`; `LimitReached` if there is no descriptor left; `Unsupported` outside of a tokio runtime with input and
    /// output.
    pub async fn accept(&self) -> Result<Stream> {
        let source = self.listener.source();
        let how = crate::Waiting::Block;
        let accepted = self.parker.wait_among(how, || source.alarms(), || self.listener.poll_accept()).await?;
        accepted.map(Stream::from)
    }
}

impl From<stream::Listener> for Listener {
    fn from(listener: stream::Listener) -> Self {
        Self { listener, parker: Parker::default() }
    }
}
