//! Waiting in one thread for any of many channels and descriptors.
//!
//! The invariant: a source that is not among the awake ones is announced at all its counts, and was looked at after
//! that; so whatever makes it ready rings its bell, and the bell makes it awake again.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tieline_os::epoll::{Epoll, Events, Options};
use tieline_os::futex::Deadline;
use tieline_os::poll::{Interest, Readiness};

use super::Until;
use super::alarm::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::process;

/// What a [`WaitSet`] can wait for: the receiving ends of all channels of this crate, and the room in some of them.
pub trait Waitable {
    #[doc(hidden)]
    fn watch(&self) -> Watch;
}

/// The part of a channel that a [`WaitSet`] keeps.
#[doc(hidden)]
#[derive(Clone)]
pub struct Watch(pub(crate) Arc<dyn Source>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Waits for any of many channels and descriptors.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// use tieline_os::poll::Interest;
/// use tieline_shm::{WaitSet, queue::Queue, topic::Topic};
///
/// const PRICES: u64 = 1;
/// const ORDERS: u64 = 2;
/// const ADMIN: u64 = 3;
///
/// let topic = Topic::<u64>::open_or_create("prices")?;
/// let (publisher, mut prices) = (topic.publisher()?, topic.subscriber()?);
/// let orders = Queue::<u64>::open_or_create("orders")?;
/// let (mut admin, mut other) = UnixStream::pair().unwrap();
///
/// let mut set = WaitSet::new()?;
/// set.attach(&prices, PRICES)?;
/// set.attach(&orders, ORDERS)?;
/// set.attach_fd(&admin, Interest::READABLE, ADMIN)?;
///
/// publisher.publish(&101)?; // in other processes, as a rule
/// orders.send(&7)?;
/// other.write_all(b"q").unwrap();
///
/// let mut ready = Vec::new();
/// let mut is_over = false;
/// while !is_over {
///     set.wait_timeout(&mut ready, Duration::from_secs(1))?;
///     for one in &ready {
///         match one.token {
///             PRICES => while let Ok(price) = prices.try_recv() { println!("{}", *price) },
///             ORDERS => while let Ok(order) = orders.try_recv() { println!("{}", *order) },
///             _ => is_over = admin.read(&mut [0]).unwrap() == 1,
///         }
///     }
/// }
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// | attached | is ready when |
/// |---|---|
/// | a topic's subscriber | a message is there, or a publisher went |
/// | a queue; its [`room`](crate::queue::Queue::room) | an item is there; there is room |
/// | a stream or its reading half; its writing half; a listener | bytes, or the end, are there; there is room; somebody connected |
/// | a server; a client | a request is there; an answer to any call is there |
/// | an event's listener; a reader of a latest value | it happened; there is a newer value |
/// | a descriptor | `poll` says so |
///
/// What is ready is reported at each wait until it is not ready any more (level-triggered), everything that is ready at
/// the same wait, so that nobody starves. A channel counts as ready when its next receiving call would not wait: also
/// when it would answer an error, such as the peer's death. Ready for one is not ready for all: where others take from
/// the same queue, use its `try_` form. To be told of an item takes nothing from others: a consumer that sleeps in `recv` is
/// woken for it as well, so it does not matter when, or whether, the owner of a set takes it.
///
/// A set costs one descriptor, and one for each descriptor attached; a channel has one of its own once it has been
/// attached anywhere. Waiting costs no more with many quiet channels than with few.
pub struct WaitSet {
    epoll: Epoll,
    members: HashMap<u64, Member>,
    /// Sources that are not announced: to be looked at by the next wait, in turn.
    awake: VecDeque<u64>,
    events: Events,
    generation: u32,
}

enum Member {
    Source { source: Arc<dyn Source>, is_awake: bool },
    Descriptor(OwnedFd),
}

/// One thing that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ready {
    /// As it was attached.
    pub token: u64,
    /// What a descriptor shows; `READABLE` for a channel.
    pub readiness: Readiness,
}

const WAIT: &str = "wait for any of several";
const ATTACH: &str = "attach to a wait set";
/// How many descriptors one call of the kernel reports; the rest come next time.
const EVENTS: usize = 64;

impl WaitSet {
    /// One without members.
    ///
    /// # Errors
    /// `LimitReached` if there is no descriptor left.
    pub fn new() -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new().map_err(|error| Error::system_refused("make a wait set", error))?,
            members: HashMap::new(),
            awake: VecDeque::new(),
            events: Events::with_capacity(EVENTS),
            generation: process::generation(),
        })
    }

    /// Adds a channel; `token` comes back when it is ready. The handle stays the caller's, to receive from.
    ///
    /// # Errors
    /// `AlreadyExists` if the token is taken, or the channel attached already; `LimitReached` if there is no
    /// descriptor left; `Forked`.
    pub fn attach(&mut self, channel: &impl Waitable, token: u64) -> Result<()> {
        self.check(ATTACH)?;
        self.check_free(token)?;
        let Watch(source) = channel.watch();
        let bell = source.alarms()?.bell();
        let added = self.epoll.add_with(bell.as_fd(), token, Interest::READABLE, Options::EDGE);
        added.map_err(|error| Error::system_refused(ATTACH, error))?;
        self.members.insert(token, Member::Source { source, is_awake: true });
        self.awake.push_back(token);
        Ok(())
    }

    /// Adds a descriptor, of which the set keeps a copy until it is detached.
    ///
    /// # Errors
    /// `AlreadyExists` if the token is taken; `PermissionDenied` for a regular file or a directory, which cannot be
    /// waited for; `LimitReached` if there is no descriptor left; `Forked`.
    pub fn attach_fd(&mut self, fd: impl AsFd, interest: Interest, token: u64) -> Result<()> {
        self.check(ATTACH)?;
        self.check_free(token)?;
        let fd = fd.as_fd().try_clone_to_owned().map_err(|error| {
            let kind = match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => ErrorKind::LimitReached,
                _ => ErrorKind::System,
            };
            Error::new(ATTACH, kind).because(error.to_string())
        })?;
        self.epoll.add(&fd, token, interest).map_err(|error| Error::system_refused(ATTACH, error))?;
        self.members.insert(token, Member::Descriptor(fd));
        Ok(())
    }

    /// Removes what was attached as `token`, which is free again.
    ///
    /// # Errors
    /// `NotFound` if nothing was.
    pub fn detach(&mut self, token: u64) -> Result<()> {
        const DETACH: &str = "detach from a wait set";
        self.check(DETACH)?;
        let removed = match self.members.remove(&token) {
            None => return Err(Error::new(DETACH, ErrorKind::NotFound).because("no member has this token")),
            Some(Member::Descriptor(fd)) => self.epoll.remove(&fd),
            Some(Member::Source { source, .. }) => self.epoll.remove(source.alarms()?.bell().as_fd()),
        };
        self.awake.retain(|awake| *awake != token);
        removed.map_err(|error| Error::system_refused(DETACH, error))
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

    /// Says what is ready now, in `ready`, whose earlier content is forgotten; how many.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is; as [`wait`](Self::wait).
    pub fn try_wait(&mut self, ready: &mut Vec<Ready>) -> Result<usize> {
        self.wait_until(ready, Until::Now)
    }

    /// Waits until something is ready, and says what, in `ready`, whose earlier content is forgotten; how many.
    ///
    /// A set without members waits for ever.
    ///
    /// # Errors
    /// `Forked` in a child of the process that made it.
    pub fn wait(&mut self, ready: &mut Vec<Ready>) -> Result<usize> {
        self.wait_until(ready, Until::Forever)
    }

    /// [`wait`](Self::wait) for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as `wait`.
    pub fn wait_timeout(&mut self, ready: &mut Vec<Ready>, timeout: Duration) -> Result<usize> {
        self.wait_until(ready, Until::At(Deadline::after(timeout)))
    }

    fn wait_until(&mut self, ready: &mut Vec<Ready>, until: Until) -> Result<usize> {
        self.check(WAIT)?;
        ready.clear();
        loop {
            self.look(ready)?;
            let (is_last, rung) = match until {
                // Descriptors have their turn too, however busy the channels are.
                _ if !ready.is_empty() => (true, self.epoll.try_wait(&mut self.events)),
                Until::Now => (true, self.epoll.try_wait(&mut self.events)),
                Until::Forever => (false, self.epoll.wait(&mut self.events)),
                Until::At(deadline) => {
                    let rest = deadline.remaining();
                    (rest.is_zero(), self.epoll.wait_timeout(&mut self.events, rest))
                }
            };
            match rung {
                Ok(_) => self.collect(ready),
                Err(error) if error.is_would_block() || error.is_timeout() => {}
                Err(error) => return Err(Error::system_refused(WAIT, error)),
            }
            // Bells that ring in vain do not carry us past the deadline.
            if is_last && ready.is_empty() {
                self.look(ready)?;
            }
            match (ready.len(), until) {
                (0, Until::Now) => return Err(Error::new(WAIT, ErrorKind::WouldBlock)),
                (0, _) if is_last => return Err(Error::new(WAIT, ErrorKind::TimedOut)),
                (0, _) => {}
                (count, _) => return Ok(count),
            }
        }
    }

    /// Reports the awake sources that are ready and announces the others, each of which is looked at once more.
    fn look(&mut self, ready: &mut Vec<Ready>) -> Result<()> {
        for _ in 0..self.awake.len() {
            let Some(token) = self.awake.pop_front() else { break };
            let Some(Member::Source { source, is_awake }) = self.members.get_mut(&token) else { continue };
            let is_ready = source.is_ready() || {
                source.alarms()?.arm();
                source.is_ready()
            };
            if is_ready {
                ready.push(Ready { token, readiness: Readiness::READABLE });
                self.awake.push_back(token);
            } else {
                *is_awake = false;
            }
        }
        Ok(())
    }

    /// Reports the descriptors that the kernel found ready, and wakes the sources whose bell was rung.
    fn collect(&mut self, ready: &mut Vec<Ready>) {
        for event in &self.events {
            match self.members.get_mut(&event.token) {
                Some(Member::Descriptor(_)) => {
                    ready.push(Ready { token: event.token, readiness: event.readiness });
                }
                Some(Member::Source { is_awake, .. }) if !*is_awake => {
                    *is_awake = true;
                    self.awake.push_back(event.token);
                }
                Some(Member::Source { .. }) | None => {}
            }
        }
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        if self.generation == process::generation() { Ok(()) } else { Err(Error::new(operation, ErrorKind::Forked)) }
    }

    fn check_free(&self, token: u64) -> Result<()> {
        if self.members.contains_key(&token) {
            return Err(Error::new(ATTACH, ErrorKind::AlreadyExists).because("another member has this token"));
        }
        Ok(())
    }
}

impl fmt::Debug for WaitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitSet").field("members", &self.members.len()).finish_non_exhaustive()
    }
}
