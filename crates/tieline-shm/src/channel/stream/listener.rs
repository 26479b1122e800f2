//! The side of a stream that waits for others to connect.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Stream;
use super::connection::{self, Line, MAX_CAPACITY, MIN_CAPACITY, REFUSAL};
use crate::channel::succession;
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{Access, IntoName, Link, Membership, Offer, Participant, PeerId, Role};
use crate::segment::Kind;
use crate::wait::{Alarms, Source};

/// Accepts streams under a name.
///
/// A name has one listener: a second one is refused as long as the first lives, and may bind once it has left or died.
/// Accepted streams outlive the listener, but keep the name.
pub struct Listener {
    shared: Arc<Shared>,
    membership: Arc<Membership>,
}

/// How a [`Listener`] is made.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    capacity: usize,
    backlog: usize,
    access: Access,
}

/// Smaller than a processor's own cache, larger than what is written at once.
pub(super) const CAPACITY: usize = 256 * 1024;
const BACKLOG: usize = 128;
const PEERS: u32 = 1024;
const ACCEPT: &str = "accept a stream";
const LISTEN: &str = "listen for streams";

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { capacity: CAPACITY, backlog: BACKLOG, access: Access::default() }
    }
}

impl ListenerOptions {
    /// How many bytes each direction of a stream holds: 4 KiB to 1 GiB, rounded up to a power of two; 256 KiB unless
    /// told otherwise.
    #[must_use]
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// How many streams may wait to be accepted; further ones are refused. 128 unless told otherwise.
    #[must_use]
    pub fn backlog(mut self, streams: usize) -> Self {
        self.backlog = streams;
        self
    }

    /// Who may connect needs the right to subscribe. The listener's user unless told otherwise.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// `AlreadyExists` if somebody listens there; `InvalidInput` for a name or capacity beyond the limits;
    /// `PermissionDenied` and `NotFound` for the directory of names.
    pub fn bind(self, name: impl IntoName) -> Result<Listener> {
        let name = name.into_name()?;
        if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&self.capacity) {
            return Err(Error::new(LISTEN, ErrorKind::InvalidInput).because("a stream holds 4 KiB to 1 GiB"));
        }
        let joined = succession::create(&name, || offer(Role::Producer, self.access.clone()))?;
        let shared = Arc::new(Shared {
            name: name.as_str().to_owned(),
            capacity: self.capacity.next_power_of_two(),
            backlog: self.backlog,
            state: Mutex::default(),
            changed: Condvar::new(),
            alarms: OnceLock::new(),
        });
        let membership = Arc::new(joined.start(Arc::clone(&shared) as Arc<dyn Participant>)?);
        Ok(Listener { shared, membership })
    }
}

pub(super) fn offer<'a>(role: Role, access: Access) -> Offer<'a> {
    Offer {
        kind: Kind::Stream,
        role,
        layout_hash: 0,
        layout_text: "bytes".to_owned(),
        config: Vec::new(),
        access,
        members_max: PEERS,
        core: None,
    }
}

impl Listener {
    /// Listens with the usual options; see [`ListenerOptions::bind`].
    ///
    /// # Errors
    /// As [`ListenerOptions::bind`].
    pub fn bind(name: impl IntoName) -> Result<Self> {
        Self::options().bind(name)
    }

    /// Capacity and access other than the usual.
    #[must_use]
    pub fn options() -> ListenerOptions {
        ListenerOptions::default()
    }

    /// Takes the next stream; waits until somebody connects.
    ///
    /// # Errors
    /// `Forked`.
    pub fn accept(&self) -> Result<Stream> {
        self.accept_before(None)
    }

    /// Takes the next stream, if somebody has connected.
    ///
    /// # Errors
    /// `WouldBlock`; `Forked`.
    pub fn try_accept(&self) -> Result<Stream> {
        self.membership.check()?;
        let stream =
            self.shared.state().waiting.pop_front().ok_or_else(|| Error::new(ACCEPT, ErrorKind::WouldBlock))?;
        Ok(self.owned(stream))
    }

    /// Takes the next stream; waits for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`; `Forked`.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Stream> {
        self.accept_before(Instant::now().checked_add(timeout))
    }

    fn accept_before(&self, deadline: Option<Instant>) -> Result<Stream> {
        self.membership.check()?;
        let mut state = self.shared.state();
        loop {
            if let Some(stream) = state.waiting.pop_front() {
                drop(state);
                return Ok(self.owned(stream));
            }
            let rest = deadline.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            if rest.is_zero() {
                return Err(Error::new(ACCEPT, ErrorKind::TimedOut));
            }
            let waited = self.shared.changed.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<_>
    }

    /// The line lasts as long as the membership, which the stream therefore shares.
    fn owned(&self, stream: Stream) -> Stream {
        stream.read.line.belongs_to(Arc::clone(&self.membership));
        stream
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        // Dropped without the lock: that ends their lines.
        let refused = std::mem::take(&mut state.waiting);
        drop(state);
        drop(refused);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

struct Shared {
    name: String,
    capacity: usize,
    backlog: usize,
    state: Mutex<State>,
    changed: Condvar,
    /// Made when somebody first waits for several things at once. Only this process rings.
    alarms: OnceLock<Alarms>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Stream>,
    lines: HashMap<PeerId, Weak<Line>>,
    is_closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Shared {
    fn is_ready(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    fn alarms(&self) -> Result<&Alarms> {
        if self.alarms.get().is_none() {
            // Another thread may have been first; its alarms are as good. Whoever came before is found by looking.
            let _ = self.alarms.set(Alarms::new()?);
        }
        self.alarms.get().ok_or_else(|| Error::new(ACCEPT, ErrorKind::System))
    }
}

impl Participant for Shared {
    fn connected(&self, link: &Link) -> Result<()> {
        {
            let state = self.state();
            if state.is_closed || state.waiting.len() >= self.backlog {
                // Said rather than refused to the keeper, so that the peer is told.
                link.send(&REFUSAL, &[])?;
                link.close();
                return Ok(());
            }
        }
        let (stream, line) = connection::offer(link, &self.name, self.capacity)?;
        let mut state = self.state();
        state.lines.insert(link.peer().id, Arc::downgrade(&line));
        state.waiting.push_back(stream);
        drop(state);
        self.changed.notify_one();
        if let Some(alarms) = self.alarms.get() {
            alarms.bell().ring();
        }
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let line = self.state().lines.get(&peer).and_then(Weak::upgrade);
        // Whoever was refused, or accepted and dropped, is on its way out.
        line.map_or(Ok(()), |line| line.received(message, fds))
    }

    fn disconnected(&self, peer: PeerId) {
        let line = self.state().lines.remove(&peer);
        if let Some(line) = line.and_then(|line| line.upgrade()) {
            line.peer_is_gone();
        }
    }
}
