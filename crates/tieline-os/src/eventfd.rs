//! A counter in the kernel that one side adds to and the other waits for: `eventfd`.
//!
//! The cheapest way to wake a process or thread that waits on descriptors: eight bytes in the kernel, one descriptor,
//! no buffer to fill. It travels by `fork`, by inheritance and over Unix sockets; all holders share one counter.
//!
//! The invariant: the counter lies between 0 and [`EventFd::MAX`]; reading waits at the lower end, adding at the upper.
//! When a holder dies, the counter stays as it is: nobody is told, and nothing is given back.
//!
//! See [eventfd(2)](https://man7.org/linux/man-pages/man2/eventfd.2.html).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::io::Errno;

use crate::descriptor::{check_sort, set_nonblocking};
use crate::epoll::{Epoll, Events, Options};
use crate::error::{During, Error, Result};
use crate::poll::Interest;
use crate::wait::{Wait, retry_when_ready};

const ADD: &str = "add to an event counter";
const READ: &str = "read an event counter";

/// A counter to wait for, as a descriptor.
///
/// In **counter** mode ([`new`](Self::new)) a read takes the whole count and leaves zero; in **semaphore** mode
/// ([`semaphore`](Self::semaphore)) it takes one. It is readable while the count is above zero.
///
/// ```
/// use tieline_os::eventfd::EventFd;
/// # fn main() -> Result<(), tieline_os::Error> {
/// let wake = EventFd::new(0)?;
/// assert!(wake.try_read().unwrap_err().is_would_block());
/// wake.add(2)?;
/// wake.add(3)?;
/// assert_eq!(wake.read()?, 5);
///
/// let permits = EventFd::semaphore(2)?;
/// assert_eq!((permits.read()?, permits.read()?), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// The largest count, 2^64 - 2.
    pub const MAX: u64 = u64::MAX - 1;

    /// A counter that a read empties.
    ///
    /// # Errors
    /// `LimitReached` if the process or the machine has no descriptors left.
    #[doc(alias = "eventfd")]
    pub fn new(initial: u32) -> Result<Self> {
        Self::create(initial, EventfdFlags::empty())
    }

    /// A counter from which each read takes one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[doc(alias = "EFD_SEMAPHORE")]
    pub fn semaphore(initial: u32) -> Result<Self> {
        Self::create(initial, EventfdFlags::SEMAPHORE)
    }

    /// Takes over a counter received from elsewhere (inherited, or passed over a socket).
    ///
    /// Makes it non-blocking, for all who share it.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        const OPERATION: &str = "take over an event counter";
        check_sort(&fd, OPERATION, &["anon_inode:[eventfd]"])?;
        set_nonblocking(&fd, OPERATION)?;
        Ok(Self { fd })
    }

    /// Adds `n` to the count if there is room for all of it.
    ///
    /// Async-signal-safe: one `write` of eight bytes.
    ///
    /// # Errors
    /// `WouldBlock` if the count would pass [`MAX`](Self::MAX); `InvalidInput` if `n` alone does.
    pub fn try_add(&self, n: u64) -> Result<()> {
        self.add_until(n, Wait::Never)
    }

    /// Adds `n` to the count; waits for a reader while there is no room for all of it.
    ///
    /// # Errors
    /// `InvalidInput` if `n` is above [`MAX`](Self::MAX).
    #[doc(alias = "eventfd_write")]
    pub fn add(&self, n: u64) -> Result<()> {
        self.add_until(n, Wait::Forever)
    }

    /// As [`add`](Self::add), waiting for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`, and then nothing is added; as [`add`](Self::add).
    pub fn add_timeout(&self, n: u64, timeout: Duration) -> Result<()> {
        self.add_until(n, Wait::timeout(timeout))
    }

    /// Takes the count (or one, of a semaphore) if it is above zero.
    ///
    /// # Errors
    /// `WouldBlock` if it is zero.
    pub fn try_read(&self) -> Result<u64> {
        self.read_until(Wait::Never)
    }

    /// Waits until the count is above zero and takes it (or one, of a semaphore).
    ///
    /// # Errors
    /// None that a caller could cause.
    #[doc(alias = "eventfd_read")]
    pub fn read(&self) -> Result<u64> {
        self.read_until(Wait::Forever)
    }

    /// As [`read`](Self::read), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn read_timeout(&self, timeout: Duration) -> Result<u64> {
        self.read_until(Wait::timeout(timeout))
    }

    fn create(initial: u32, mode: EventfdFlags) -> Result<Self> {
        eventfd(initial, mode | EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .during("create an event counter")
            .map(|fd| Self { fd })
    }

    fn read_until(&self, wait: Wait) -> Result<u64> {
        let mut count = [0; 8];
        retry_when_ready(&self.fd, PollFlags::IN, wait, || rustix::io::read(&self.fd, &mut count)).during(READ)?;
        Ok(u64::from_ne_bytes(count))
    }

    fn add_until(&self, n: u64, wait: Wait) -> Result<()> {
        loop {
            match rustix::io::write(&self.fd, &n.to_ne_bytes()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !matches!(wait, Wait::Never) => return self.add_when_read(n, wait),
                Err(Errno::INVAL) => return Err(Error::new(ADD, Errno::INVAL).hint("at most 2^64 - 2 can be added")),
                Err(errno) => return Err(Error::new(ADD, errno)),
            }
        }
    }

    /// Tries again after every read by somebody.
    ///
    /// Plain readiness would not do: the counter is writable as soon as there is room for *one*, so a wait for room for
    /// more would spin. An edge is reported for each read, and once at registration, so none is missed.
    fn add_when_read(&self, n: u64, wait: Wait) -> Result<()> {
        let epoll = Epoll::new()?;
        epoll.add_with(&self.fd, 0, Interest::WRITABLE, Options::EDGE)?;
        let mut events = Events::with_capacity(1);
        loop {
            match self.add_until(n, Wait::Never) {
                Err(error) if error.is_would_block() => {}
                answer => return answer,
            }
            match wait.remaining() {
                None => epoll.wait(&mut events)?,
                Some(left) if left.is_zero() => return Err(Error::new(ADD, wait.gave_up())),
                Some(left) => match epoll.wait_timeout(&mut events, left) {
                    Err(error) if error.is_timeout() => 0,
                    answer => answer?,
                },
            };
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<EventFd> for OwnedFd {
    fn from(event: EventFd) -> Self {
        event.fd
    }
}
