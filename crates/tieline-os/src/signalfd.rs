//! Signals as a descriptor: readable when one is pending, read as values.
//!
//! The invariant: a signal descriptor holds nothing. Reading takes what is pending for the *reading* process and
//! thread at that moment. From this follows what surprises people:
//! * Standard signals merge while pending: one record of `SIGCHLD` may stand for five children. Reap until there are
//!   no more.
//! * A descriptor that was inherited by a child reads the child's signals. But an epoll instance watches those of the
//!   process that added the descriptor, so that an inherited pair of the two never wakes the child: make new ones.
//! * A signal goes to a handler or its default action, not here, in every thread that does not block it. Block before
//!   the first thread is spawned; [`signal::threads_not_blocking`] finds offenders. Where other people's threads
//!   cannot be controlled, take [`signal::Pipe`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;

use crate::Duration;
use crate::descriptor::{check_sort, set_nonblocking};
use crate::error::{During, Error, ErrorKind, Result};
use crate::signal::{self, SignalInfo, SignalSet};
use crate::sys;
use crate::wait::{Wait, retry_when_ready};

/// How many records one call of [`SignalFd::try_receive_many`] takes at most: two kilobytes of stack.
const BATCH: usize = 16;

const READ: &str = "read a signal descriptor";

/// A descriptor from which blocked signals are read; see the [module](self).
///
/// ```
/// use tieline_os::signal::{self, Blocked, Signal};
/// use tieline_os::signalfd::SignalFd;
/// let _blocked = Blocked::new([Signal::HUP, Signal::TERM])?;
/// let signals = SignalFd::new([Signal::HUP, Signal::TERM])?;
/// signal::raise(Signal::HUP)?;
/// assert_eq!(signals.receive()?.signal(), Signal::HUP);
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// See [signalfd(2)](https://man7.org/linux/man-pages/man2/signalfd.2.html).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// A descriptor for `signals`, which the calling thread must block already (and every other thread should).
    ///
    /// # Errors
    /// `InvalidInput` if `signals` is empty or the calling thread does not block all of it; `LimitReached` if there
    /// are too many descriptors.
    #[doc(alias = "signalfd")]
    pub fn new(signals: impl Into<SignalSet>) -> Result<Self> {
        let signals = signals.into();
        signal::require_blocked("open a signal descriptor", signals)?;
        let fd = sys::signal::descriptor(signals.bits()).during("open a signal descriptor")?;
        Ok(Self { fd })
    }

    /// Takes over a descriptor that came from elsewhere, after checking that it is one for signals.
    ///
    /// It is made not to block, for everyone who shares it.
    ///
    /// # Errors
    /// `InvalidInput` if it is a descriptor of another sort, `NotFound` without `/proc`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        const OPERATION: &str = "take over a signal descriptor";
        check_sort(&fd, OPERATION, &["anon_inode:[signalfd]"])?;
        set_nonblocking(&fd, OPERATION)?;
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).during(OPERATION)?;
        Ok(Self { fd })
    }

    /// Makes it a descriptor for `signals` instead, at once, also for those who share it.
    ///
    /// # Errors
    /// `InvalidInput` if `signals` is empty or the calling thread does not block all of it.
    pub fn set_signals(&self, signals: impl Into<SignalSet>) -> Result<()> {
        let signals = signals.into();
        signal::require_blocked("change a signal descriptor", signals)?;
        sys::signal::set_descriptor(self.fd.as_fd(), signals.bits()).during("change a signal descriptor")
    }

    /// Takes the next pending signal; waits until there is one.
    ///
    /// # Errors
    /// None in a usual process.
    pub fn receive(&self) -> Result<SignalInfo> {
        self.take(Wait::Forever)
    }

    /// Takes the next pending signal, if there is one.
    ///
    /// # Errors
    /// `WouldBlock` if none is pending for the calling thread or its process.
    pub fn try_receive(&self) -> Result<SignalInfo> {
        self.take(Wait::Never)
    }

    /// Takes the next signal that is pending within `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if none is.
    pub fn receive_timeout(&self, timeout: Duration) -> Result<SignalInfo> {
        self.take(Wait::timeout(timeout))
    }

    /// Takes up to sixteen pending signals by one call of the kernel, appends them to `signals`, and says how many.
    ///
    /// # Errors
    /// `WouldBlock` if none is pending.
    pub fn try_receive_many(&self, signals: &mut Vec<SignalInfo>) -> Result<usize> {
        let mut buffer = [0; BATCH * sys::signal::RECORD];
        let count = self.read(&mut buffer, Wait::Never)?;
        let before = signals.len();
        signals.extend(sys::signal::records(&buffer[..count]).filter_map(SignalInfo::from_raw));
        Ok(signals.len() - before)
    }

    fn take(&self, wait: Wait) -> Result<SignalInfo> {
        let mut buffer = [0; sys::signal::RECORD];
        let count = self.read(&mut buffer, wait)?;
        let first = sys::signal::records(&buffer[..count]).next().and_then(SignalInfo::from_raw);
        first.ok_or_else(|| Error::of_kind(READ, ErrorKind::Other, "the kernel gave less than a record"))
    }

    fn read(&self, buffer: &mut [u8], wait: Wait) -> Result<usize> {
        let attempt = || rustix::io::read(&self.fd, &mut *buffer);
        match retry_when_ready(&self.fd, PollFlags::IN, wait, attempt) {
            // Never the end of a file: a signal descriptor has none.
            Ok(0) => Err(Error::new(READ, Errno::IO)),
            answer => answer.during(READ),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<SignalFd> for OwnedFd {
    fn from(signals: SignalFd) -> Self {
        signals.fd
    }
}
