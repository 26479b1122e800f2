//! The two halves of a byte stream.
//!
//! The invariant: an `attempt_` never waits, whatever the descriptor's flags say, and never changes the flags of a
//! descriptor that others may share. So a wait is always a poll, which a request to stop can end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::pipe::{PIPE_BUF, PipeReader, PipeWriter};
use tieline_os::poll::{self, Interest};
use tieline_os::{tcp, unix, vsock};

use super::memory::Memory;
use super::shm::{StreamSink, StreamSource};
use crate::error::{Error, ErrorKind, Result};
use crate::stop::{Patience, Woken};

/// The half of a byte stream that is read.
#[derive(Debug)]
pub struct ByteSource {
    pub(crate) input: Input,
    /// Whether its address says how much fits, so that no relay may change that.
    pub(crate) sized: bool,
    name: Arc<str>,
}

/// The half of a byte stream that is written.
#[derive(Debug)]
pub struct ByteSink {
    pub(crate) output: Output,
    /// Whether its address says how much fits, so that no relay may change that.
    pub(crate) sized: bool,
    name: Arc<str>,
}

#[derive(Debug)]
pub(crate) enum Input {
    Pipe(PipeReader),
    Socket(Socket),
    File(Span),
    /// A terminal or another file that can only be asked whether it is ready.
    Device(File),
    Memory(Memory),
    Stream(Box<StreamSource>),
}

#[derive(Debug)]
pub(crate) enum Output {
    Pipe(PipeWriter),
    Socket(Socket),
    File(Span),
    Device(File),
    Memory(Memory),
    Stream(Box<StreamSink>),
    /// It has been closed by [`ByteSink::finish`].
    Closed,
}

/// A connected stream socket; both halves hold it.
#[derive(Clone, Debug)]
pub(crate) enum Socket {
    Unix(Arc<unix::Stream>),
    Tcp(Arc<tcp::Stream>),
    Vsock(Arc<vsock::Stream>),
}

impl Socket {
    fn try_recv(&self, buffer: &mut [u8]) -> tieline_os::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_recv(buffer),
            Self::Tcp(stream) => stream.try_recv(buffer),
            Self::Vsock(stream) => stream.try_recv(buffer),
        }
    }

    fn try_send(&self, bytes: &[u8]) -> tieline_os::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_send(bytes),
            Self::Tcp(stream) => stream.try_send(bytes),
            Self::Vsock(stream) => stream.try_send(bytes),
        }
    }

    /// Puts it into non-blocking mode, in which the kernel moves pages to it without ever making us wait. Only for a
    /// socket that nobody shares: the mode is everybody's who has it.
    pub(super) fn never_wait(&self) {
        // The mode is that of any socket, whatever its family. Without it bytes are copied, no more.
        let _ = self.as_fd().try_clone_to_owned().and_then(|fd| TcpStream::from(fd).set_nonblocking(true));
    }

    /// Bytes that the other end's kernel does not have yet, where that matters.
    fn unsent(&self) -> usize {
        match self {
            Self::Tcp(stream) => stream.unsent_bytes().unwrap_or(0),
            // What was sent is in the peer's hands already.
            Self::Unix(_) | Self::Vsock(_) => 0,
        }
    }

    /// Waits for the peer's own end, which a peer that has read everything sends, or a reset, which comes of one that
    /// has not. What it says meanwhile nobody wants; left unread it would make our closing a reset too.
    fn confirm(&self, patience: Patience<'_>) -> Result<()> {
        let mut unwanted = [0; 4096];
        while !patience.remaining().is_some_and(|left| left.is_zero()) {
            match if_now(self.try_recv(&mut unwanted))? {
                Some(0) => break,
                Some(_) => {}
                None if patience.wait(Some(self.as_fd()), Interest::READABLE, None)? == Woken::Ready => {}
                // It may well live on for long, and read what it has when it likes.
                None => break,
            }
        }
        Ok(())
    }

    fn shutdown(&self, how: Shutdown) {
        // A peer that has gone already needs no telling.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Vsock(stream) => stream.shutdown(how),
        };
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
            Self::Vsock(stream) => stream.as_fd(),
        }
    }
}

/// A part of a file, from its current offset on.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) file: File,
    /// How many bytes there are to its end, if that is not the end of the file.
    pub(crate) left: Option<u64>,
    /// Whether what follows the last written byte is cut off in the end.
    pub(crate) cut: bool,
}

impl Span {
    pub(crate) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    pub(crate) fn advance(&mut self, count: u64) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count);
        }
    }

    fn within(&self, len: usize) -> usize {
        self.left.map_or(len, |left| len.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.within(buffer.len());
        let count = retry(|| self.file.read(&mut buffer[..len]))?;
        self.advance(count as u64);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.within(bytes.len());
        let count = retry(|| self.file.write(&bytes[..len]))?;
        self.advance(count as u64);
        Ok(count)
    }

    /// The bytes between the current offset and the end of the part or of the file, whichever comes first.
    fn remaining(&self) -> Option<u64> {
        let position = io::Seek::stream_position(&mut &self.file).ok()?;
        let len = self.file.metadata().ok()?.len().saturating_sub(position);
        Some(self.left.map_or(len, |left| left.min(len)))
    }
}

impl ByteSource {
    /// Whether what `sink` is given comes out here again, without an end: both are the same file, and no part of it.
    pub(crate) fn is_fed_by(&self, sink: &ByteSink) -> bool {
        let (Input::File(Span { file: from, left: None, .. }), Output::File(Span { file: to, left: None, .. })) =
            (&self.input, &sink.output)
        else {
            return false;
        };
        match (from.metadata(), to.metadata()) {
            (Ok(from), Ok(to)) => from.is_file() && (from.dev(), from.ino()) == (to.dev(), to.ino()),
            _ => false,
        }
    }

    pub(crate) fn new(input: Input, name: &Arc<str>) -> Self {
        Self { input, sized: false, name: Arc::clone(name) }
    }

    /// Reads what is there, at most `buffer.len()` bytes, waiting until there is something; 0 is the end.
    ///
    /// # Errors
    /// `PeerGone` if the connection broke; `System` for what else the kernel refuses.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.read_patiently(buffer, Patience::default())
    }

    /// As [`read`](Self::read), without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; as [`read`](Self::read).
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.attempt_read(buffer)?.ok_or_else(would_block)
    }

    /// As [`read`](Self::read), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as [`read`](Self::read).
    pub fn read_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.read_patiently(buffer, Patience::new(None, Some(timeout)))
    }

    pub(crate) fn read_patiently(&mut self, buffer: &mut [u8], patience: Patience<'_>) -> Result<usize> {
        loop {
            if let Some(count) = self.attempt_read(buffer)? {
                return Ok(count);
            }
            self.wait(patience, None)?.or_else_error(&self.reading())?;
        }
    }

    /// How many bytes are left, if that is known: of a file or a memory.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match &self.input {
            Input::File(span) => span.remaining(),
            Input::Memory(memory) => Some(memory.remaining()),
            Input::Pipe(_) | Input::Socket(_) | Input::Device(_) | Input::Stream(_) => None,
        }
    }

    /// Closes it: a writer at the other end is told that nobody reads any more.
    pub fn finish(self) {
        if let Input::Socket(socket) = &self.input {
            // The other half may live on.
            socket.shutdown(Shutdown::Read);
        }
    }

    /// Reads without waiting; `None` if nothing is there now.
    pub(crate) fn attempt_read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let answer = match &mut self.input {
            Input::Pipe(pipe) => return if_now(pipe.try_read(buffer)),
            Input::Socket(socket) => return if_now(socket.try_recv(buffer)),
            Input::Memory(memory) => return memory.read(buffer).map(Some),
            Input::Stream(stream) => return stream.attempt(buffer),
            Input::File(span) => span.read(buffer),
            Input::Device(file) if !is_ready(&*file, Interest::READABLE) => return Ok(None),
            Input::Device(file) => match retry(|| file.read(buffer)) {
                // A pseudoterminal whose other side has closed answers so; it is its way to end.
                Err(error) if error.raw_os_error() == Some(EIO) => Ok(0),
                answer => answer,
            },
        };
        match answer {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Error::system(self.reading(), &error)),
        }
    }

    /// Waits until reading is worth another attempt, and meanwhile for `watched` to fail.
    pub(crate) fn wait(&self, patience: Patience<'_>, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        match &self.input {
            Input::Stream(stream) => stream.wait(patience, watched),
            input => patience.wait(input.fd(), Interest::READABLE, watched),
        }
    }

    pub(crate) fn reading(&self) -> String {
        format!("read from {}", self.name)
    }
}

impl ByteSink {
    pub(crate) fn new(output: Output, name: &Arc<str>) -> Self {
        Self { output, sized: false, name: Arc::clone(name) }
    }

    /// Writes all of `bytes`, waiting for room as often as need be.
    ///
    /// # Errors
    /// `PeerGone` if nobody reads any more; `TooLarge` if a memory or a file's part is full; `System` otherwise. The
    /// text says how many bytes were taken.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_patiently(bytes, Patience::default())
    }

    /// Writes what fits now, and returns how many bytes were taken.
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits; as [`write_all`](Self::write_all).
    pub fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.attempt_write(bytes)?.ok_or_else(would_block)
    }

    /// As [`write_all`](Self::write_all), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as [`write_all`](Self::write_all).
    pub fn write_all_timeout(&mut self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.write_patiently(bytes, Patience::new(None, Some(timeout)))
    }

    pub(crate) fn write_patiently(&mut self, bytes: &[u8], patience: Patience<'_>) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = bytes.len() - rest.len();
            let refused = |error: Error| error.hint(format!("{taken} of {} bytes had been taken", bytes.len()));
            match self.attempt_write(rest).map_err(refused)? {
                Some(count) => rest = &rest[count..],
                None => self.wait(patience)?.or_else_error(&self.writing()).map_err(refused)?,
            }
        }
        Ok(())
    }

    /// Says that nothing more will come: the reader at the other end meets the end of the stream once it has read
    /// what was written.
    ///
    /// A pipe given by its number (`fd:`, `stdio:`) stays open in this process under that number, so its reader meets
    /// the end when the process ends.
    ///
    /// # Errors
    /// `System` if a file cannot be cut to what was written.
    pub fn finish(mut self) -> Result<()> {
        self.close()
    }

    pub(crate) fn close(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.output, Output::Closed) {
            Output::Socket(socket) => socket.shutdown(Shutdown::Write),
            Output::Stream(mut stream) => stream.shutdown(),
            Output::File(Span { mut file, cut: true, .. }) => {
                let cut = io::Seek::stream_position(&mut file).and_then(|end| file.set_len(end));
                cut.map_err(|error| Error::system(format!("cut {} to what was written", self.name), &error))?;
            }
            Output::Pipe(_) | Output::File(_) | Output::Device(_) | Output::Memory(_) | Output::Closed => {}
        }
        Ok(())
    }

    /// Nothing was given, and not because there was nothing to give: a file stays as it was, instead of being cut.
    pub(crate) fn leave_as_it_was(&mut self) {
        if let Output::File(span) = &mut self.output {
            span.cut = false;
        }
    }

    /// As [`close`](Self::close), and looks for as long as `patience` lasts whether the peer has got everything: over
    /// TCP what was written is only on its way.
    ///
    /// Only where nobody reads from the same connection.
    pub(crate) fn close_confirmed(&mut self, patience: Option<Patience<'_>>) -> Result<()> {
        let socket = match &self.output {
            Output::Socket(socket @ Socket::Tcp(_)) => patience.map(|patience| (socket.clone(), patience)),
            _ => None,
        };
        self.close()?;
        socket.map_or(Ok(()), |(socket, patience)| socket.confirm(patience))
    }

    /// Writes without waiting; `None` if there is no room now.
    pub(crate) fn attempt_write(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let answer = match &mut self.output {
            Output::Pipe(pipe) => return if_now(pipe.try_write(bytes)),
            Output::Socket(socket) => return if_now(socket.try_send(bytes)),
            Output::Memory(memory) => return memory.write(bytes).map(Some),
            Output::Stream(stream) => return stream.attempt(bytes),
            Output::File(span) if span.is_full() && !bytes.is_empty() => return Err(self.full()),
            Output::File(span) => span.write(bytes),
            Output::Device(file) if !is_ready(&*file, Interest::WRITABLE) => return Ok(None),
            // It showed room for something; no more than a pipe surely takes, so that the write does not wait.
            Output::Device(file) => retry(|| file.write(&bytes[..bytes.len().min(PIPE_BUF)])),
            Output::Closed => {
                let text = format!("cannot {}: it was finished before", self.writing());
                return Err(Error::new(ErrorKind::InvalidInput, text));
            }
        };
        match answer {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Error::system(self.writing(), &error)),
        }
    }

    pub(crate) fn full(&self) -> Error {
        let text = format!("cannot {}: the part of it that may be written is full", self.writing());
        Error::new(ErrorKind::TooLarge, text).hint("a larger length, or capacity when it is created, makes room")
    }

    /// Waits until writing is worth another attempt.
    pub(crate) fn wait(&self, patience: Patience<'_>) -> Result<Woken> {
        match &self.output {
            Output::Stream(stream) => stream.wait(patience),
            output => patience.wait(output.fd(), Interest::WRITABLE, None),
        }
    }

    /// Waits until what was written is with the peer. To be called before a TCP connection is closed that has unread
    /// input: closing it resets it, and a reset takes back what is still on its way.
    pub(crate) fn settle(&self, patience: Patience<'_>) {
        if let Output::Socket(socket) = &self.output {
            while socket.unsent() > 0 && matches!(patience.nap(LOOK_AGAIN), Ok(Woken::Ready)) {}
        }
    }

    /// What shows that nobody reads any more, while nothing is written.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        match &self.output {
            Output::Pipe(_) | Output::Socket(_) => self.output.fd(),
            Output::Stream(stream) => Some(stream.peer()),
            Output::File(_) | Output::Device(_) | Output::Memory(_) | Output::Closed => None,
        }
    }

    pub(crate) fn writing(&self) -> String {
        format!("write to {}", self.name)
    }
}

impl Input {
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Pipe(pipe) => Some(pipe.as_fd()),
            Self::Socket(socket) => Some(socket.as_fd()),
            Self::File(span) => Some(span.file.as_fd()),
            Self::Device(file) => Some(file.as_fd()),
            Self::Memory(_) | Self::Stream(_) => None,
        }
    }
}

impl Output {
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Pipe(pipe) => Some(pipe.as_fd()),
            Self::Socket(socket) => Some(socket.as_fd()),
            Self::File(span) => Some(span.file.as_fd()),
            Self::Device(file) => Some(file.as_fd()),
            Self::Memory(_) | Self::Stream(_) | Self::Closed => None,
        }
    }
}

/// How soon to look again whether a peer's kernel has taken what is on its way: some round trips of a near network.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The errno of a pseudoterminal whose other side has closed; the same number on every system.
const EIO: i32 = 5;

/// "Would block" is an answer like another here.
pub(super) fn if_now<T>(answer: tieline_os::Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_would_block() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the descriptor is ready now, has failed or has hung up.
fn is_ready(fd: impl AsFd, interest: Interest) -> bool {
    poll::try_wait(fd, interest).is_ok()
}

/// A signal handler that ran in between is no reason to give up.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

pub(super) fn would_block() -> Error {
    Error::new(ErrorKind::WouldBlock, "it would block")
}

impl Read for ByteSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(Self::read(self, buffer)?)
    }
}

impl Write for ByteSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
