//! Waiting until one of several descriptors is ready: `poll`.
//!
//! Three ways to wait for descriptors, and when to take which:
//!
//! | | cost of one wait | take it for |
//! |---|---|---|
//! | [`wait()`], [`PollSet`] | one call, grows with the number of descriptors | a handful of descriptors, no state to keep |
//! | [`Epoll`](crate::epoll::Epoll) | one call, grows with the number of *ready* descriptors | many descriptors that stay |
//! | the I/O ring (feature `io-uring`) | less than one call for many operations | many operations at once |
//!
//! Readiness is a hint about a moment that has passed: another thread or process may take the bytes first. So make the
//! call that follows with its `try_` form and come back here if it would block.
//!
//! The invariant: a set borrows its descriptors, so none of them can be closed, and its number given to another file,
//! while the set can still wait on it.
//!
//! See POSIX.1-2024 `poll()`, [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html).

use std::fmt;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::{During, Result};
use crate::wait::{self, Wait};

bitflags::bitflags! {
    /// What a caller wants to be told about a descriptor.
    ///
    /// Errors and hang-ups are always told. An empty interest waits for these two only.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Interest: u16 {
        /// A read would not block: there is data, a connection to accept, or the end (`POLLIN`).
        const READABLE = PollFlags::IN.bits();
        /// Something exceptional: out-of-band data on a socket, a packet of a pseudoterminal (`POLLPRI`).
        const PRIORITY = PollFlags::PRI.bits();
        /// A write of some size would not block (`POLLOUT`).
        const WRITABLE = PollFlags::OUT.bits();
        /// The peer of a stream socket has shut down its writing half (`POLLRDHUP`).
        const READ_CLOSED = PollFlags::RDHUP.bits();
    }
}

bitflags::bitflags! {
    /// What a descriptor shows.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Readiness: u16 {
        /// A read would not block: there is data, a connection to accept, or the end (`POLLIN`).
        const READABLE = PollFlags::IN.bits();
        /// Something exceptional, as out-of-band data (`POLLPRI`).
        const PRIORITY = PollFlags::PRI.bits();
        /// A write of some size would not block (`POLLOUT`).
        const WRITABLE = PollFlags::OUT.bits();
        /// An error waits to be fetched by the next call; of a pipe's write end: nobody reads any more (`POLLERR`).
        const ERROR = PollFlags::ERR.bits();
        /// The other side is gone for good; unread bytes may still be there to read (`POLLHUP`).
        const HANG_UP = PollFlags::HUP.bits();
        /// The peer of a stream socket has shut down its writing half (`POLLRDHUP`).
        const READ_CLOSED = PollFlags::RDHUP.bits();
    }
}

impl Interest {
    pub(crate) fn flags(self) -> PollFlags {
        PollFlags::from_bits_retain(self.bits())
    }
}

impl Readiness {
    /// A read will answer at once, be it with data, the end or an error.
    #[must_use]
    pub fn can_read(self) -> bool {
        self.intersects(Self::READABLE | Self::READ_CLOSED | Self::HANG_UP | Self::ERROR)
    }

    /// A write will answer at once, be it by taking bytes or with an error.
    #[must_use]
    pub fn can_write(self) -> bool {
        self.intersects(Self::WRITABLE | Self::HANG_UP | Self::ERROR)
    }

    fn of(flags: PollFlags) -> Self {
        let shown = Self::from_bits_truncate(flags.bits());
        // A closed descriptor cannot get here by safe code; if it does, let nobody wait on it for ever.
        if flags.contains(PollFlags::NVAL) { shown | Self::ERROR } else { shown }
    }
}

/// Looks at `fd` without waiting.
///
/// ```
/// use tieline_os::poll::{self, Interest, Readiness};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (reader, writer) = std::io::pipe()?;
/// assert!(poll::try_wait(&reader, Interest::READABLE).unwrap_err().is_would_block());
/// drop(writer);
/// assert_eq!(poll::wait(&reader, Interest::READABLE)?, Readiness::HANG_UP);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `WouldBlock` if it shows nothing of `interest`, no error and no hang-up.
pub fn try_wait(fd: impl AsFd, interest: Interest) -> Result<Readiness> {
    wait_one(fd, interest, Wait::Never)
}

/// Waits until `fd` shows something of `interest`, an error or a hang-up.
///
/// Signal handlers that run meanwhile do not end the wait. When the peer dies, that shows as
/// [`HANG_UP`](Readiness::HANG_UP) or [`ERROR`](Readiness::ERROR).
///
/// # Errors
/// `OutOfMemory`.
#[doc(alias = "poll")]
pub fn wait(fd: impl AsFd, interest: Interest) -> Result<Readiness> {
    wait_one(fd, interest, Wait::Forever)
}

/// As [`wait()`], for at most `timeout`.
///
/// # Errors
/// `TimedOut`.
#[doc(alias = "ppoll")]
pub fn wait_timeout(fd: impl AsFd, interest: Interest, timeout: Duration) -> Result<Readiness> {
    wait_one(fd, interest, Wait::timeout(timeout))
}

fn wait_one(fd: impl AsFd, interest: Interest, wait: Wait) -> Result<Readiness> {
    wait::wait_for(fd, interest.flags(), wait).map(Readiness::of).during("wait for a descriptor")
}

/// Several borrowed descriptors to wait on at once.
///
/// Reuse it: a wait allocates nothing. The kernel looks at every member in each wait, so beyond some dozens of them
/// [`Epoll`](crate::epoll::Epoll) is the better tool. One wait may not hold more members than `RLIMIT_NOFILE`.
///
/// ```
/// use std::io::Write;
/// use tieline_os::poll::{Interest, PollSet, Readiness};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (idle, _writer) = std::io::pipe()?;
/// let (busy, mut writer) = std::io::pipe()?;
/// let mut set = PollSet::new();
/// set.add(&idle, Interest::READABLE);
/// let second = set.add(&busy, Interest::READABLE);
/// writer.write_all(b"x")?;
/// assert_eq!(set.wait()?, 1);
/// assert_eq!(set.ready().collect::<Vec<_>>(), [(second, Readiness::READABLE)]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "select", alias = "pollfd")]
#[derive(Default)]
pub struct PollSet<'fd> {
    members: Vec<PollFd<'fd>>,
    // poll has no way to change the events of a member; it is made anew from these.
    sources: Vec<rustix::fd::BorrowedFd<'fd>>,
}

impl<'fd> PollSet<'fd> {
    /// A set without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: Vec::new(), sources: Vec::new() }
    }

    /// Adds a member and returns its index; the same descriptor may be added several times.
    pub fn add(&mut self, fd: &'fd impl AsFd, interest: Interest) -> usize {
        let fd = fd.as_fd();
        self.members.push(PollFd::from_borrowed_fd(fd, interest.flags()));
        self.sources.push(fd);
        self.members.len() - 1
    }

    /// Changes what is wanted of the member `index`; what it showed is forgotten.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn set_interest(&mut self, index: usize, interest: Interest) {
        self.members[index] = PollFd::from_borrowed_fd(self.sources[index], interest.flags());
    }

    /// Removes all members.
    pub fn clear(&mut self) {
        self.members.clear();
        self.sources.clear();
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Looks at all members without waiting and returns how many are ready, at least one.
    ///
    /// # Errors
    /// `WouldBlock` if none is; `InvalidInput` for more members than `RLIMIT_NOFILE`.
    pub fn try_wait(&mut self) -> Result<usize> {
        self.wait_until(Wait::Never)
    }

    /// Waits until a member is ready and returns how many are.
    ///
    /// Signal handlers that run meanwhile do not end the wait. A set without members waits for ever.
    ///
    /// # Errors
    /// `InvalidInput` for more members than `RLIMIT_NOFILE`; `OutOfMemory`.
    #[doc(alias = "poll")]
    pub fn wait(&mut self) -> Result<usize> {
        self.wait_until(Wait::Forever)
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as [`wait`](Self::wait).
    #[doc(alias = "ppoll")]
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<usize> {
        self.wait_until(Wait::timeout(timeout))
    }

    /// What the member `index` showed in the last wait.
    ///
    /// # Panics
    /// If there is no such member.
    #[must_use]
    pub fn readiness(&self, index: usize) -> Readiness {
        Readiness::of(self.members[index].revents())
    }

    /// The members that showed something in the last wait, by index.
    pub fn ready(&self) -> impl Iterator<Item = (usize, Readiness)> {
        let shown = self.members.iter().map(|member| Readiness::of(member.revents()));
        shown.enumerate().filter(|(_, readiness)| !readiness.is_empty())
    }

    fn wait_until(&mut self, wait: Wait) -> Result<usize> {
        let answer = loop {
            let timeout = wait.remaining().map(wait::timespec);
            match poll(&mut self.members, timeout.as_ref()) {
                Ok(0) if wait.is_over() => break Err(wait.gave_up()),
                Ok(0) | Err(Errno::INTR) => {}
                answer => break answer,
            }
        };
        answer.during("wait for several descriptors").map_err(|error| match error.errno() {
            Some(libc::EINVAL) => error.hint("more members than RLIMIT_NOFILE; use epoll"),
            _ => error,
        })
    }
}

impl fmt::Debug for PollSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollSet").field("members", &self.sources).finish_non_exhaustive()
    }
}
