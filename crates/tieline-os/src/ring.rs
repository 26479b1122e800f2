//! Many operations in one call, and their completions in any order: `io_uring`.
//!
//! A [`Ring`] is a queue of operations towards the kernel and a queue of completions back. It pays off with many
//! operations at a time: one call starts them all, and finished ones are taken without a call. One operation at a time
//! is *slower* through a ring than by a plain call.
//!
//! ```text
//! push(read a) push(read b) push(accept) ──submit──▶ kernel ──▶ wait: accept is done ▶ wait: b is done ▶ ...
//! ```
//!
//! # Ownership
//! The kernel reads and writes an operation's buffer while the program goes on. So an [`Operation`] owns its buffer and
//! a share of its descriptor, from `push` until its [`Completion`] gives the buffer back. There is no way to free, or to
//! look at, memory that the kernel still uses. A buffer is used up to its *length*, not its capacity.
//!
//! Dropping a ring cancels what is in flight and waits for it, for at most about a second; the buffers of what does not
//! end in that time (a read from a disk that hangs) are leaked. Operations that were pushed but never submitted are not
//! started.
//!
//! # Threads and processes
//! * A ring may move to another thread, but an operation belongs to the *thread* that submitted it: if that thread has
//!   ended when the operation could go on, it completes as `Cancelled`, without having read or written anything.
//! * When the peer dies, operations complete as the plain calls would return: a receive with zero bytes or `PeerGone`.
//! * Operations on non-blocking descriptors wait like those on others (older kernels answer `WouldBlock` for some).
//! * A stream takes a part of a large send and completes with that, as a non-blocking `send` would: look at the count.
//! * A forked child cannot use its parent's ring: every call is refused as `InvalidInput` (`EBADF`). It makes its own.
//!
//! # Not available?
//! Kernels before 5.11, `kernel.io_uring_disabled`, and the seccomp filters of most container systems make
//! [`Ring::new`] answer `Unsupported`. Have another way ready. Single operations may be missing too:
//! [`Ring::supports`].
//!
//! The invariant: every operation that was pushed completes exactly once, unless the ring is dropped.
//!
//! See [io_uring(7)](https://man7.org/linux/man-pages/man7/io_uring.7.html).

mod operation;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use io_uring::{Probe, opcode};
use rustix::io::Errno;

use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::ring::RawRing;
use crate::wait::Wait;

pub use operation::{Completion, Operation, Refused};

const CREATE: &str = "create an I/O ring";
const SUBMIT: &str = "submit to an I/O ring";
const WAIT: &str = "wait for an I/O ring";

/// A queue of operations and a queue of completions.
///
/// ```
/// use std::sync::Arc;
/// use tieline_os::ring::{Operation, Ring};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut ring = match Ring::new(8) {
///     Err(error) if error.is_unsupported() => return Ok(()), // have another way ready
///     ring => ring?,
/// };
/// let (reader, writer) = std::io::pipe()?;
/// ring.push(Operation::read(Arc::new(reader), vec![0; 64]), 1)?;
/// ring.push(Operation::write(Arc::new(writer), b"hello".to_vec()), 2)?;
///
/// for _ in 0..2 {
///     let done = ring.wait()?;
///     assert_eq!(done.result?, 5);
///     assert_eq!(&done.buffer[..5], b"hello");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Ring {
    raw: RawRing,
    /// One bit for each [`Action`] the kernel has.
    supported: u32,
}

/// A sort of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// [`Operation::read`] and [`Operation::read_at`].
    Read,
    /// [`Operation::write`] and [`Operation::write_at`].
    Write,
    /// [`Operation::recv`].
    Recv,
    /// [`Operation::send`].
    Send,
    /// [`Operation::accept`].
    Accept,
    /// [`Operation::splice`].
    Splice,
    /// [`Operation::poll`].
    Poll,
    /// [`Operation::futex_wait`]; Linux 6.7.
    FutexWait,
}

const ACTIONS: [(Action, u8); 8] = [
    (Action::Read, opcode::Read::CODE),
    (Action::Write, opcode::Write::CODE),
    (Action::Recv, opcode::Recv::CODE),
    (Action::Send, opcode::Send::CODE),
    (Action::Accept, opcode::Accept::CODE),
    (Action::Splice, opcode::Splice::CODE),
    (Action::Poll, opcode::PollAdd::CODE),
    (Action::FutexWait, opcode::FutexWait::CODE),
];

impl Ring {
    /// The most entries a ring can have.
    pub const MAX_ENTRIES: u32 = 32_768;

    /// A ring that takes `entries` operations in one call, rounded up to a power of two.
    ///
    /// Twice as many may be in flight ([`limit`](Self::limit)).
    ///
    /// # Errors
    /// `Unsupported` if the kernel does not have rings or does not let us have one, with the reason as far as it can be
    /// told; `InvalidInput` for zero entries and for more than [`MAX_ENTRIES`](Self::MAX_ENTRIES); `LimitReached` if no
    /// descriptors are left; `OutOfMemory` (before Linux 5.12 beyond `RLIMIT_MEMLOCK`).
    #[doc(alias = "io_uring_setup")]
    pub fn new(entries: u32) -> Result<Self> {
        if entries == 0 || entries > Self::MAX_ENTRIES {
            return Err(Error::invalid(CREATE, format!("{entries} entries; from 1 to {}", Self::MAX_ENTRIES)));
        }
        let raw = RawRing::new(entries).map_err(unavailable)?;
        let probe = raw.probe().during(CREATE)?;
        Ok(Self { raw, supported: bits(&probe) })
    }

    /// Whether this kernel has such operations. One that it has not completes with `InvalidInput`.
    #[must_use]
    pub fn supports(&self, action: Action) -> bool {
        self.supported & bit(action) != 0
    }

    /// Queues an operation; the next [`submit`](Self::submit) or wait starts it. `token` comes back with its completion.
    ///
    /// Enters the kernel only if the queue is full, to submit what is in it.
    ///
    /// # Errors
    /// [`Refused`] gives the operation back. Its error is `WouldBlock` if [`limit`](Self::limit) operations are in
    /// flight: take a completion first.
    pub fn push(&mut self, operation: Operation, token: u64) -> Result<Ticket, Refused> {
        self.raw.push(operation.request, token).map(Ticket).map_err(|(errno, request)| Refused {
            error: failed("queue an operation", errno),
            operation: Operation { request },
        })
    }

    /// Starts everything that was pushed.
    ///
    /// # Errors
    /// `WouldBlock` or `Busy` if the kernel has no room for more now: take completions first.
    #[doc(alias = "io_uring_enter")]
    pub fn submit(&mut self) -> Result<()> {
        self.check_process(SUBMIT)?;
        while self.raw.queued() != 0 {
            match self.raw.enter(0, None) {
                Ok(0) => return Err(Error::new(SUBMIT, Errno::AGAIN)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::new(SUBMIT, errno)),
            }
        }
        Ok(())
    }

    /// Takes a completion, if one is there; submits first if something was pushed.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is complete; `InvalidInput` if nothing is in flight.
    pub fn try_wait(&mut self) -> Result<Completion> {
        self.wait_until(Wait::Never)
    }

    /// Takes a completion; if none is there, submits what was pushed and waits, in one call.
    ///
    /// # Errors
    /// `InvalidInput` if nothing is in flight, which would be waiting for ever. Whether the *operation* succeeded is in
    /// [`Completion::result`].
    pub fn wait(&mut self) -> Result<Completion> {
        self.wait_until(Wait::Forever)
    }

    /// As [`wait`](Self::wait), for at most `timeout`. What is in flight stays so.
    ///
    /// # Errors
    /// `TimedOut`; as [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Completion> {
        self.wait_until(Wait::timeout(timeout))
    }

    /// Asks the kernel to end an operation early, and returns whether it was still in flight.
    ///
    /// It completes all the same: with `Cancelled` or `Interrupted`, or with its result if it was faster.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[doc(alias = "IORING_OP_ASYNC_CANCEL")]
    pub fn cancel(&mut self, ticket: Ticket) -> Result<bool> {
        const CANCEL: &str = "cancel an operation";
        let found = self.raw.cancel(ticket.0).map_err(|errno| failed(CANCEL, errno))?;
        self.submit()?;
        Ok(found)
    }

    /// How many operations were pushed whose completion was not taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.raw.in_flight()
    }

    /// The most operations that may be in flight.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.raw.limit()
    }

    fn check_process(&self, operation: &'static str) -> Result<()> {
        self.raw.check_process().map_err(|errno| failed(operation, errno))
    }

    fn wait_until(&mut self, wait: Wait) -> Result<Completion> {
        self.check_process(WAIT)?;
        loop {
            if let Some(done) = self.raw.reap() {
                return Ok(Completion::of(done));
            }
            if self.raw.in_flight() == 0 {
                return Err(Error::invalid(WAIT, "no operation is in flight"));
            }
            let entered = match wait {
                Wait::Never if self.raw.queued() == 0 && !self.raw.overflowed() => {
                    return Err(Error::new(WAIT, Errno::AGAIN));
                }
                Wait::Never => self.raw.enter(0, None),
                Wait::Forever | Wait::Until(_) => self.raw.enter(1, wait.remaining()),
            };
            match entered {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::TIME) if wait.is_over() => {
                    // One may have come in the last moment.
                    let last = self.raw.reap().map(Completion::of);
                    return last.ok_or_else(|| Error::new(WAIT, wait.gave_up()));
                }
                Err(Errno::TIME) => {}
                Err(errno) => match self.raw.reap() {
                    Some(done) => return Ok(Completion::of(done)),
                    None => return Err(Error::new(WAIT, errno)),
                },
            }
        }
    }
}

impl AsFd for Ring {
    /// Readable while completions are there; for [`poll`](crate::poll) and [`epoll`](crate::epoll).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("in_flight", &self.in_flight())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}

fn bit(action: Action) -> u32 {
    1 << action as u32
}

fn bits(probe: &Probe) -> u32 {
    ACTIONS.iter().filter(|(_, code)| probe.is_supported(*code)).fold(0, |bits, &(action, _)| bits | bit(action))
}

/// What went wrong with a ring that there is.
fn failed(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(operation, errno);
    if errno == Errno::BADF {
        error.hint("it is the ring of the process this one was forked from; make one here")
    } else {
        error
    }
}

/// Says why there is no ring, as far as one can find out.
fn unavailable(errno: Errno) -> Error {
    let error = Error::new(CREATE, errno);
    match errno {
        Errno::NOSYS => {
            error.hint("the kernel is older than 5.11, built without io_uring, or a seccomp filter hides it")
        }
        Errno::PERM | Errno::ACCESS => {
            let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            let reason = match setting.trim() {
                "2" => "kernel.io_uring_disabled is 2: nobody may have one",
                "1" => "kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN and the group of kernel.io_uring_group may",
                _ => "a seccomp filter or security module forbids it (kernel.io_uring_disabled does not)",
            };
            error.sorted_as(ErrorKind::Unsupported).hint(reason)
        }
        Errno::NOMEM => error.hint("on many kernels rings count against RLIMIT_MEMLOCK"),
        _ => error,
    }
}

/// Names an operation in flight, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);
