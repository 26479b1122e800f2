//! The side of a stream that connects, and streams without a name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Stream;
use super::connection::{self, Line, REFUSAL};
use super::listener::{CAPACITY, offer};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{self, Access, Anonymous, IntoName, Joined, Link, Participant, Peer, PeerId, Role};

const CONNECT: &str = "connect a stream";
/// A listener that does not answer for so long is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Stream {
    /// Connects to whoever listens at the name; waits 5 s at most for one that does not answer.
    ///
    /// # Errors
    /// `NotFound` if nobody listens; `PermissionDenied`; `Mismatch` if the name is something else's; `PeerGone` if the
    /// listener refuses, because too many wait; `LimitReached`, `OutOfMemory` if this process has no descriptors or no
    /// memory left; `TimedOut`; `Corrupted`.
    pub fn connect(name: impl IntoName) -> Result<Self> {
        Self::connect_timeout(name, TIMEOUT)
    }

    /// Connects as [`connect`](Self::connect); waits for `timeout` at most.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(name: impl IntoName, timeout: Duration) -> Result<Self> {
        let start = Instant::now();
        let joined = rendezvous::open(&name.into_name()?, offer(Role::Consumer, Access::default()), timeout)?;
        establish(joined, Role::Consumer, timeout.saturating_sub(start.elapsed()))
    }

    /// Both ends of a stream without a name, to be given to two processes (or kept by one) and [met](StreamEnd::meet).
    ///
    /// # Errors
    /// `LimitReached` if no descriptors are left.
    pub fn ends() -> Result<(StreamEnd, StreamEnd)> {
        let (one, other) = rendezvous::pair()?;
        Ok((StreamEnd(one), StreamEnd(other)))
    }
}

/// One end of a stream without a name, before it is used: a descriptor, which a child may inherit or which may be sent
/// over a Unix socket.
///
/// ```
/// use std::io::{Read, Write};
/// use tieline_shm::stream::Stream;
///
/// let (one, other) = Stream::ends()?;
/// let there = std::thread::spawn(move || other.meet(false)); // in another process, as a rule
/// let mut here = one.meet(true)?;
/// let mut there = there.join().unwrap()?;
/// here.write_all(b"hello").unwrap();
/// drop(here);
/// let mut all = String::new();
/// there.read_to_string(&mut all).unwrap();
/// assert_eq!(all, "hello");
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamEnd(Anonymous);

impl StreamEnd {
    /// An end that was inherited or received.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is no such end.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Anonymous::from_fd(fd).map(Self)
    }

    /// Meets whoever has the other end, and must call this within 5 s; one of the two `creates` the memory.
    ///
    /// # Errors
    /// `Mismatch` if both create, or neither; `TimedOut`; `PeerGone`; `Corrupted`.
    pub fn meet(self, creates: bool) -> Result<Stream> {
        let role = if creates { Role::Producer } else { Role::Consumer };
        let joined = rendezvous::meet(self.0, offer(role, Access::default()), creates, TIMEOUT)?;
        establish(joined, role, TIMEOUT)
    }
}

impl AsFd for StreamEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<StreamEnd> for OwnedFd {
    fn from(end: StreamEnd) -> Self {
        end.0.into()
    }
}

/// Waits until the one connection is there.
fn establish(joined: Joined, role: Role, timeout: Duration) -> Result<Stream> {
    let one = Arc::new(One { role, state: Mutex::new(State::Waiting), changed: Condvar::new() });
    let membership = Arc::new(joined.start(Arc::clone(&one) as Arc<dyn Participant>)?);
    let deadline = Instant::now() + timeout;
    let mut state = one.state();
    loop {
        match std::mem::replace(&mut *state, State::Refused) {
            State::Ready(stream, id) => {
                *state = State::Taken(id, Arc::downgrade(&stream.read.line));
                drop(state);
                stream.read.line.belongs_to(membership);
                return Ok(*stream);
            }
            State::Refused | State::Taken(..) => return Err(Error::new(CONNECT, ErrorKind::PeerGone)),
            State::Failed(error) => return Err(error),
            waiting => *state = waiting,
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            // The lock is released first: leaving waits for calls that take it.
            drop(state);
            return Err(Error::new(CONNECT, ErrorKind::TimedOut).because("nobody listens there, or it is stopped"));
        }
        state = one.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Takes part with exactly one counterpart.
struct One {
    role: Role,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting,
    /// The line is there, the memory not yet.
    Linked(Link),
    Ready(Box<Stream>, PeerId),
    Taken(PeerId, Weak<Line>),
    Refused,
    /// What the peer sent cannot be taken.
    Failed(Error),
}

impl One {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the error for whoever waits; the answer is for the line.
    fn fail(&self, state: &mut State, error: Error) -> Error {
        let kind = error.kind();
        *state = State::Failed(error);
        self.changed.notify_all();
        Error::new(CONNECT, kind)
    }

    fn become_ready(&self, state: &mut State, stream: Stream, peer: PeerId) {
        *state = State::Ready(Box::new(stream), peer);
        self.changed.notify_all();
    }
}

impl Participant for One {
    fn connected(&self, link: &Link) -> Result<()> {
        let mut state = self.state();
        if !matches!(*state, State::Waiting) {
            return Err(Error::new(CONNECT, ErrorKind::LimitReached));
        }
        if self.role == Role::Producer {
            match connection::offer(link, "", CAPACITY) {
                Ok((stream, _)) => self.become_ready(&mut state, stream, link.peer().id),
                Err(error) => return Err(self.fail(&mut state, error)),
            }
        } else {
            *state = State::Linked(link.clone());
        }
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let mut state = self.state();
        let link = match &*state {
            State::Linked(link) => link,
            State::Ready(stream, id) if *id == peer => return stream.read.line.received(message, fds),
            State::Taken(id, line) if *id == peer => {
                let line = line.upgrade();
                drop(state);
                // One that was dropped is on its way out.
                return line.map_or(Ok(()), |line| line.received(message, fds));
            }
            _ => return Err(Error::new(CONNECT, ErrorKind::Corrupted).because("the peer speaks out of turn")),
        };
        if message == REFUSAL {
            *state = State::Refused;
            self.changed.notify_all();
            return Ok(());
        }
        match connection::accept(link, message, fds) {
            Ok((stream, _)) => self.become_ready(&mut state, stream, peer),
            Err(error) => return Err(self.fail(&mut state, error)),
        }
        Ok(())
    }

    fn missed(&self, _peer: &Peer, why: Error) {
        let mut state = self.state();
        if matches!(*state, State::Waiting | State::Linked(_)) {
            let _ = self.fail(&mut state, why.while_to(CONNECT));
        }
    }

    fn disconnected(&self, peer: PeerId) {
        let mut state = self.state();
        let line = match &*state {
            State::Linked(link) if link.peer().id == peer => {
                *state = State::Refused;
                None
            }
            State::Ready(stream, id) if *id == peer => Some(Arc::clone(&stream.read.line)),
            State::Taken(id, line) if *id == peer => line.upgrade(),
            _ => return,
        };
        drop(state);
        self.changed.notify_all();
        if let Some(line) = line {
            line.peer_is_gone();
        }
    }
}
