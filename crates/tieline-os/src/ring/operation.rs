//! What goes into a ring and what comes out of it.

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Action, Ticket};
use crate::error::{During, Error, Result};
use crate::poll::{Interest, Readiness};
use crate::region::Region;
use crate::sys::ring::{CURRENT_POSITION, Done, Request};

/// Something for the kernel to do, with all that it needs.
///
/// Descriptors are shared by `Arc`: keep one to use the descriptor again. A descriptor is closed when the last share is
/// gone, so not while an operation uses it.
#[must_use = "an operation does nothing until it is pushed"]
pub struct Operation {
    pub(super) request: Request,
}

impl Operation {
    /// Reads up to `buffer.len()` bytes at the file's position, or from a pipe or socket. Zero bytes mean the end.
    #[doc(alias = "IORING_OP_READ")]
    pub fn read<F: AsFd + Send + Sync + 'static>(source: Arc<F>, buffer: Vec<u8>) -> Self {
        Self { request: Request::Read { source, buffer, position: CURRENT_POSITION } }
    }

    /// Reads up to `buffer.len()` bytes at `position` of a file.
    pub fn read_at<F: AsFd + Send + Sync + 'static>(source: Arc<F>, buffer: Vec<u8>, position: u64) -> Self {
        Self { request: Request::Read { source, buffer, position: explicit(position) } }
    }

    /// Writes `buffer`, or a part of it, at the file's position, or to a pipe or socket.
    #[doc(alias = "IORING_OP_WRITE")]
    pub fn write<F: AsFd + Send + Sync + 'static>(source: Arc<F>, buffer: Vec<u8>) -> Self {
        Self { request: Request::Write { source, buffer, position: CURRENT_POSITION } }
    }

    /// Writes `buffer`, or a part of it, at `position` of a file.
    pub fn write_at<F: AsFd + Send + Sync + 'static>(source: Arc<F>, buffer: Vec<u8>, position: u64) -> Self {
        Self { request: Request::Write { source, buffer, position: explicit(position) } }
    }

    /// Receives up to `buffer.len()` bytes, or one datagram, from a socket.
    #[doc(alias = "IORING_OP_RECV")]
    pub fn recv<F: AsFd + Send + Sync + 'static>(socket: Arc<F>, buffer: Vec<u8>) -> Self {
        Self { request: Request::Receive { source: socket, buffer } }
    }

    /// Sends `buffer`, or a part of it, over a connected socket; never raises `SIGPIPE`.
    #[doc(alias = "IORING_OP_SEND")]
    pub fn send<F: AsFd + Send + Sync + 'static>(socket: Arc<F>, buffer: Vec<u8>) -> Self {
        Self { request: Request::Send { source: socket, buffer } }
    }

    /// Accepts one connection, close-on-exec; it comes as [`Completion::descriptor`].
    #[doc(alias = "IORING_OP_ACCEPT")]
    pub fn accept<F: AsFd + Send + Sync + 'static>(listener: Arc<F>) -> Self {
        Self { request: Request::Accept { source: listener } }
    }

    /// Moves up to `len` bytes from one descriptor to another without copying them to this process; one must be a pipe.
    #[doc(alias = "IORING_OP_SPLICE")]
    pub fn splice<F, T>(from: Arc<F>, to: Arc<T>, len: u32) -> Self
    where
        F: AsFd + Send + Sync + 'static,
        T: AsFd + Send + Sync + 'static,
    {
        Self { request: Request::Splice { from, to, len } }
    }

    /// Waits until `source` is ready; [`Completion::readiness`] says for what.
    #[doc(alias = "IORING_OP_POLL_ADD")]
    pub fn poll<F: AsFd + Send + Sync + 'static>(source: Arc<F>, interest: Interest) -> Self {
        Self { request: Request::Poll { source, events: interest.bits().into() } }
    }

    /// Sleeps on the 32-bit word at `offset` of shared memory until another process or thread wakes it, if the word has
    /// the value `expected` when the kernel looks; otherwise completes with `WouldBlock`.
    ///
    /// Wakes by the same rule as a process-shared futex: a private wake does not reach it. It may complete without a
    /// cause, so look at the word again.
    ///
    /// # Errors
    /// `InvalidInput` if the word lies outside the memory or not on a multiple of four.
    #[doc(alias = "IORING_OP_FUTEX_WAIT")]
    pub fn futex_wait<M>(memory: Arc<M>, offset: usize, expected: u32) -> Result<Self>
    where
        M: Deref<Target = Region> + Send + Sync + 'static,
    {
        memory.load_u32(offset, Ordering::Relaxed)?;
        Ok(Self { request: Request::FutexWait { memory, offset, expected } })
    }

    /// What sort of operation it is.
    #[must_use]
    pub fn action(&self) -> Action {
        action_of(&self.request)
    }

    /// The buffer, of an operation that was refused; empty if it has none.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        buffer_of(self.request)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operation").field(&self.action()).finish()
    }
}

/// An operation that was not queued, and why.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Why not.
    pub error: Error,
    /// The operation, to be pushed again.
    pub operation: Operation,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// An operation that is over.
#[non_exhaustive]
#[must_use = "it holds the result, and owns the buffer and the accepted connection"]
pub struct Completion {
    /// The number given at [`Ring::push`](super::Ring::push).
    pub token: u64,
    /// The ticket returned by [`Ring::push`](super::Ring::push).
    pub ticket: Ticket,
    /// What sort of operation it was.
    pub action: Action,
    /// How many bytes were moved; zero for operations that move none.
    pub result: Result<usize>,
    /// The operation's buffer, whole, also if it failed; empty if it had none.
    pub buffer: Vec<u8>,
    /// The connection that was accepted.
    pub descriptor: Option<OwnedFd>,
    /// What a [`poll`](Operation::poll) found.
    pub readiness: Readiness,
}

impl fmt::Debug for Completion {
    /// Without the buffer's bytes: they may be many, and secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("token", &self.token)
            .field("action", &self.action)
            .field("result", &self.result)
            .field("buffer_len", &self.buffer.len())
            .field("descriptor", &self.descriptor)
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

impl Completion {
    pub(super) fn of(done: Done) -> Self {
        let action = action_of(&done.request);
        let moved = match action {
            Action::Poll | Action::Accept | Action::FutexWait => 0,
            _ => done.answer.unwrap_or(0) as usize,
        };
        let shown = if action == Action::Poll { done.answer.unwrap_or(0) } else { 0 };
        Self {
            token: done.token,
            ticket: Ticket(done.ticket),
            action,
            result: done.answer.map(|_| moved).during(name_of(action)),
            buffer: buffer_of(done.request),
            descriptor: done.descriptor,
            // The events of poll lie in the lower half.
            readiness: Readiness::from_bits_truncate(shown as u16),
        }
    }
}

/// The highest number means the file's own position to the kernel; its neighbour is refused as it should be.
fn explicit(position: u64) -> u64 {
    position.min(CURRENT_POSITION - 1)
}

fn action_of(request: &Request) -> Action {
    match request {
        Request::Read { .. } => Action::Read,
        Request::Write { .. } => Action::Write,
        Request::Receive { .. } => Action::Recv,
        Request::Send { .. } => Action::Send,
        Request::Accept { .. } => Action::Accept,
        Request::Splice { .. } => Action::Splice,
        Request::Poll { .. } => Action::Poll,
        Request::FutexWait { .. } => Action::FutexWait,
    }
}

fn buffer_of(request: Request) -> Vec<u8> {
    match request {
        Request::Read { buffer, .. }
        | Request::Write { buffer, .. }
        | Request::Receive { buffer, .. }
        | Request::Send { buffer, .. } => buffer,
        _ => Vec::new(),
    }
}

fn name_of(action: Action) -> &'static str {
    match action {
        Action::Read => "read through an I/O ring",
        Action::Write => "write through an I/O ring",
        Action::Recv => "receive through an I/O ring",
        Action::Send => "send through an I/O ring",
        Action::Accept => "accept through an I/O ring",
        Action::Splice => "splice through an I/O ring",
        Action::Poll => "wait for a descriptor through an I/O ring",
        Action::FutexWait => "wait for a futex through an I/O ring",
    }
}
