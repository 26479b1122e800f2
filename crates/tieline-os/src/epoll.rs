//! Waiting on many descriptors at a cost that depends only on how many are ready: `epoll`.
//!
//! An [`Epoll`] keeps a list of registrations. Each has a token, a number of the caller's that comes back with every
//! event, and is **level-triggered** unless asked otherwise: it is reported for as long as it is ready.
//!
//! # Closing is not removing
//! The kernel registers the *open file*, not the descriptor. Closing a descriptor ends its registration only if no
//! duplicate of it lives on, in this process or another (`dup`, `fork`, a descriptor passed over a socket). Otherwise
//! the old token keeps firing, and nobody can remove it, because the number that named it is gone:
//!
//! ```text
//! epoll.add(&a, 1, READABLE);  let b = a.try_clone();  drop(a);
//! b becomes readable           -> an event with token 1, again and again; epoll.remove(&a) cannot be written any more
//! ```
//!
//! [`Registration`] makes this impossible: it owns the source and removes it before closing it. With bare
//! [`add`](Epoll::add), call [`remove`](Epoll::remove) before the close. In both cases an event fetched *earlier* into
//! [`Events`] may still carry the token, so look it up in a table that may say "no longer there".
//!
//! # Edge-triggered
//! With [`Options::EDGE`] an event says that something *arrived*, not that something *is there*: a source read only
//! in part gives no new event until new data comes. Read until it would block.
//!
//! # Signals
//! Signal handlers that run during a wait do not end it (the kernel never restarts it by itself, with or without
//! `SA_RESTART`; this crate does, with the rest of the time). To wait for signals and descriptors together, add a
//! signal descriptor.
//!
//! The invariant: everything here may be called from several threads at once; an event goes to one of the waiting
//! threads. After a `fork`, parent and child share one list of registrations.
//!
//! See [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html),
//! [epoll_wait(2)](https://man7.org/linux/man-pages/man2/epoll_wait.2.html).

use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::error::{During, Error, Result};
use crate::poll::{Interest, Readiness};
use crate::sys;
use crate::wait::{self, Wait};

bitflags::bitflags! {
    /// How a registration reports.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Options: u32 {
        /// Report arrivals, not states (`EPOLLET`).
        const EDGE = EventFlags::ET.bits();
        /// Report once, then stay silent until [`Epoll::modify`] (`EPOLLONESHOT`).
        const ONE_SHOT = EventFlags::ONESHOT.bits();
        /// If several epolls hold the same open file, wake one or a few of them, not all (`EPOLLEXCLUSIVE`).
        ///
        /// Only for [`READABLE`](Interest::READABLE) and [`WRITABLE`](Interest::WRITABLE), not together with
        /// [`ONE_SHOT`](Self::ONE_SHOT), and it cannot be modified afterwards.
        const EXCLUSIVE = EventFlags::EXCLUSIVE.bits();
        /// Keep the machine from suspending while the event is unhandled (`EPOLLWAKEUP`); ignored without
        /// `CAP_BLOCK_SUSPEND`.
        const WAKE_UP = EventFlags::WAKEUP.bits();
    }
}

/// A list of descriptors to wait on, kept in the kernel.
///
/// ```
/// use std::io::Write;
/// use tieline_os::epoll::{Epoll, Events};
/// use tieline_os::poll::{Interest, Readiness};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (reader, mut writer) = std::io::pipe()?;
/// let epoll = Epoll::new()?;
/// epoll.add(&reader, 7, Interest::READABLE)?;
/// writer.write_all(b"x")?;
///
/// let mut events = Events::with_capacity(64);
/// epoll.wait(&mut events)?;
/// for event in &events {
///     assert_eq!((event.token, event.readiness), (7, Readiness::READABLE));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// An epoll without registrations.
    ///
    /// # Errors
    /// `LimitReached` if the process or the machine has no descriptors left.
    #[doc(alias = "epoll_create")]
    #[doc(alias = "epoll_create1")]
    pub fn new() -> Result<Self> {
        epoll::create(CreateFlags::CLOEXEC).during("create an epoll").map(|fd| Self { fd })
    }

    /// Registers `fd`, level-triggered; `token` comes back with its events.
    ///
    /// The descriptor is borrowed for this call only. Remove it before closing it, see the [module](self).
    ///
    /// # Errors
    /// `AlreadyExists` if this descriptor is registered; `PermissionDenied` if this sort of file cannot be waited on
    /// (a regular file, a directory), which is always ready anyway; `LimitReached` beyond
    /// `fs.epoll.max_user_watches`; `InvalidInput` for the epoll itself and for options that do not go together;
    /// `Other` (`ELOOP`) for a cycle of epolls.
    #[doc(alias = "epoll_ctl")]
    #[doc(alias = "EPOLL_CTL_ADD")]
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        self.add_with(fd, token, interest, Options::empty())
    }

    /// Registers `fd` with options; see [`add`](Self::add).
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_with(&self, fd: impl AsFd, token: u64, interest: Interest, options: Options) -> Result<()> {
        epoll::add(&self.fd, fd, EventData::new_u64(token), flags(interest, options))
            .during("register a descriptor with epoll")
            .map_err(explain_add)
    }

    /// Replaces token and interest of a registered descriptor by a level-triggered registration.
    ///
    /// This also arms a one-shot registration again, and reports at once what is ready already, edge-triggered or not.
    ///
    /// # Errors
    /// `NotFound` if the descriptor is not registered; `InvalidInput` for an exclusive registration.
    #[doc(alias = "EPOLL_CTL_MOD")]
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        self.modify_with(fd, token, interest, Options::empty())
    }

    /// Replaces token, interest and options of a registered descriptor; see [`modify`](Self::modify).
    ///
    /// # Errors
    /// As [`modify`](Self::modify).
    pub fn modify_with(&self, fd: impl AsFd, token: u64, interest: Interest, options: Options) -> Result<()> {
        epoll::modify(&self.fd, fd, EventData::new_u64(token), flags(interest, options))
            .during("change a registration of epoll")
    }

    /// Removes a registered descriptor.
    ///
    /// # Errors
    /// `NotFound` if it is not registered.
    #[doc(alias = "EPOLL_CTL_DEL")]
    pub fn remove(&self, fd: impl AsFd) -> Result<()> {
        epoll::delete(&self.fd, fd).during("remove a descriptor from epoll")
    }

    /// Fetches what is ready into `events` without waiting, and returns how many, at least one.
    ///
    /// What `events` held before is forgotten. If more is ready than fits, the rest comes next time, in turn.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is ready.
    pub fn try_wait(&self, events: &mut Events) -> Result<usize> {
        self.wait_until(events, Wait::Never)
    }

    /// Waits until something is ready, fetches it into `events`, and returns how many, at least one.
    ///
    /// Other threads may add, modify and remove meanwhile. A peer's death shows as
    /// [`HANG_UP`](Readiness::HANG_UP) or [`ERROR`](Readiness::ERROR), which need no interest.
    ///
    /// # Errors
    /// None that a caller could cause.
    #[doc(alias = "epoll_wait")]
    pub fn wait(&self, events: &mut Events) -> Result<usize> {
        self.wait_until(events, Wait::Forever)
    }

    /// As [`wait`](Self::wait), for at most `timeout`.
    ///
    /// Exact to the clock's resolution from Linux 5.11 on, to the next millisecond before.
    ///
    /// # Errors
    /// `TimedOut`.
    #[doc(alias = "epoll_pwait", alias = "epoll_pwait2")]
    pub fn wait_timeout(&self, events: &mut Events, timeout: Duration) -> Result<usize> {
        self.wait_until(events, Wait::timeout(timeout))
    }

    fn wait_until(&self, events: &mut Events, wait: Wait) -> Result<usize> {
        let answer = loop {
            events.list.clear();
            match self.wait_once(&mut events.list, wait.remaining()) {
                Ok(0) if wait.is_over() => break Err(wait.gave_up()),
                Ok(0) | Err(Errno::INTR) => {}
                answer => break answer,
            }
        };
        answer.during("wait for events of epoll")
    }

    fn wait_once(&self, list: &mut Vec<epoll::Event>, timeout: Option<Duration>) -> Result<usize, Errno> {
        let timeout = timeout.map(wait::timespec);
        if let Some(exact) = timeout.filter(|timeout| timeout.tv_sec != 0 || timeout.tv_nsec != 0) {
            match sys::epoll::wait(self.fd.as_fd(), list, &exact) {
                Err(Errno::NOSYS) => {}
                answer => return answer,
            }
        }
        // Without pwait2 the timeout is an int of milliseconds: a longer one is cut, and the caller's loop goes on.
        let coarse =
            timeout.map(|timeout| Timespec { tv_sec: timeout.tv_sec.min(i64::from(i32::MAX) / 1000 - 1), ..timeout });
        epoll::wait(&self.fd, rustix::buffer::spare_capacity(list), coarse.as_ref())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Epoll {
    /// If the descriptor is not an epoll, every call on it answers `InvalidInput`.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Epoll> for OwnedFd {
    fn from(epoll: Epoll) -> Self {
        epoll.fd
    }
}

fn flags(interest: Interest, options: Options) -> EventFlags {
    EventFlags::from_bits_retain(u32::from(interest.bits()) | options.bits())
}

fn explain_add(error: Error) -> Error {
    match error.errno() {
        Some(libc::EPERM) => error.hint("this sort of file is always ready; epoll takes pipes, sockets and the like"),
        Some(libc::ENOSPC) => error.hint("fs.epoll.max_user_watches is reached"),
        Some(libc::EINVAL) => {
            error.hint("an epoll cannot watch itself, and exclusive goes only with readable and writable")
        }
        _ => error,
    }
}

/// One ready registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The number given at registration.
    pub token: u64,
    /// What the descriptor showed.
    pub readiness: Readiness,
}

/// Room for the events of one wait; reuse it, so that waits do not allocate.
pub struct Events {
    list: Vec<epoll::Event>,
}

impl Events {
    /// Room for `capacity` events a wait; at least one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity.max(1)) }
    }

    /// How many events the last wait fetched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the last wait fetched none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.into_iter()
    }
}

impl<'events> IntoIterator for &'events Events {
    type Item = Event;
    type IntoIter = std::iter::Map<std::slice::Iter<'events, epoll::Event>, fn(&epoll::Event) -> Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            // The values of poll and epoll agree, and the kernel sets no other bits in the lower half.
            Event { token: data.u64(), readiness: Readiness::from_bits_truncate(flags.bits() as u16) }
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// A source together with its registration: removed from the epoll before it is closed.
///
/// `E` is what holds the epoll: `&Epoll`, `Arc<Epoll>`, `Rc<Epoll>`.
///
/// ```
/// use std::sync::Arc;
/// use tieline_os::epoll::{Epoll, Events, Options, Registration};
/// use tieline_os::poll::Interest;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let epoll = Arc::new(Epoll::new()?);
/// let (reader, writer) = std::io::pipe()?;
/// let copy = reader.try_clone()?;
/// let registered = Registration::new(Arc::clone(&epoll), reader, 1, Interest::READABLE, Options::empty())?;
/// drop(registered);
/// drop(writer);
/// assert!(epoll.try_wait(&mut Events::with_capacity(1)).unwrap_err().is_would_block());
/// # drop(copy);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it removes the registration and closes the source"]
pub struct Registration<E: Deref<Target = Epoll>, T: AsFd> {
    epoll: E,
    // None only after `into_source` has taken it.
    source: Option<T>,
}

impl<E: Deref<Target = Epoll>, T: AsFd> Registration<E, T> {
    /// Registers `source` and takes it.
    ///
    /// # Errors
    /// As [`Epoll::add`]; the source is closed then.
    pub fn new(epoll: E, source: T, token: u64, interest: Interest, options: Options) -> Result<Self> {
        epoll.add_with(&source, token, interest, options)?;
        Ok(Self { epoll, source: Some(source) })
    }

    /// Changes token, interest and options; see [`Epoll::modify`].
    ///
    /// # Errors
    /// As [`Epoll::modify`].
    pub fn modify(&self, token: u64, interest: Interest, options: Options) -> Result<()> {
        self.epoll.modify_with(self.source(), token, interest, options)
    }

    /// What is registered.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the source is there for as long as anybody can ask")]
    pub fn source(&self) -> &T {
        self.source.as_ref().expect("taken only by into_source, which consumes self")
    }

    /// Removes the registration and gives the source back.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the source is there for as long as anybody can ask")]
    pub fn into_source(mut self) -> T {
        self.unregister();
        self.source.take().expect("taken only here")
    }

    fn unregister(&self) {
        if let Some(source) = &self.source {
            // The only failure is that somebody removed it already.
            let _ = self.epoll.remove(source);
        }
    }
}

impl<E: Deref<Target = Epoll>, T: AsFd> Drop for Registration<E, T> {
    fn drop(&mut self) {
        self.unregister();
    }
}
