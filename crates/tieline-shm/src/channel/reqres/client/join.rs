//! How a client comes to its connection, and hears of the server's end.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::super::connection::{self, Opened};
use super::super::signature::Signature;
use super::super::waitable;
use super::inbox::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::{Link, Participant, Peer, PeerId};
use crate::structure::calls::Sender;

const CONNECT: &str = "connect to the server";

/// Takes part with exactly one server.
pub(super) struct One {
    signature: Signature,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting,
    /// The line is there, the memory not yet.
    Linked(Link),
    Ready(Box<Opened<Sender>>, PeerId),
    Taken(PeerId, Weak<Shared>),
    /// The server has all its clients.
    Refused,
    /// What the server sent cannot be taken.
    Failed(Error),
    Gone,
}

impl One {
    pub(super) fn new(signature: Signature) -> Self {
        Self { signature, state: Mutex::new(State::Waiting), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait(&self, deadline: Instant) -> Result<Box<Opened<Sender>>> {
        let mut state = self.state();
        loop {
            match std::mem::replace(&mut *state, State::Gone) {
                State::Ready(opened, id) => {
                    *state = State::Taken(id, Weak::new());
                    return Ok(opened);
                }
                State::Refused => {
                    *state = State::Refused;
                    return Err(Error::new(CONNECT, ErrorKind::LimitReached)
                        .because("the server has as many clients as it may; try later, or let it take more"));
                }
                State::Failed(error) => return Err(error),
                State::Gone | State::Taken(..) => return Err(Error::new(CONNECT, ErrorKind::PeerGone)),
                waiting => *state = waiting,
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(Error::new(CONNECT, ErrorKind::TimedOut).because("nobody serves there, or it is stopped"));
            }
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Keeps the error for whoever waits; the answer is for the line.
    fn fail(&self, state: &mut State, error: Error) -> Error {
        let kind = error.kind();
        *state = State::Failed(error);
        self.changed.notify_all();
        Error::new(CONNECT, kind)
    }

    pub(super) fn belongs_to(&self, shared: &Arc<Shared>) {
        let mut state = self.state();
        match &mut *state {
            State::Taken(_, weak) => *weak = Arc::downgrade(shared),
            _ => {
                // It went in between.
                drop(state);
                shared.server_is_gone();
            }
        }
    }
}

impl Participant for One {
    fn connected(&self, link: &Link) -> Result<()> {
        let mut state = self.state();
        if !matches!(*state, State::Waiting) {
            return Err(Error::new(CONNECT, ErrorKind::LimitReached));
        }
        *state = State::Linked(link.clone());
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let mut state = self.state();
        let link = match &*state {
            State::Linked(link) => link,
            State::Ready(opened, id) if *id == peer => {
                // We have handed it none yet, so it can only hand us its own.
                waitable::heard(message)?;
                return opened.connection.hang(fds);
            }
            State::Taken(id, shared) if *id == peer => {
                let shared = shared.upgrade();
                drop(state);
                // One that was dropped is on its way out.
                return shared.map_or(Ok(()), |shared| shared.received(message, fds));
            }
            _ => return Err(Error::new(CONNECT, ErrorKind::Corrupted).because("the server speaks out of turn")),
        };
        if message == connection::REFUSAL {
            *state = State::Refused;
            self.changed.notify_all();
            return Ok(());
        }
        match connection::accept(link, &self.signature, message, fds) {
            Ok(opened) => {
                *state = State::Ready(Box::new(opened), peer);
                self.changed.notify_all();
                Ok(())
            }
            Err(error) => Err(self.fail(&mut state, error)),
        }
    }

    fn missed(&self, _peer: &Peer, why: Error) {
        let mut state = self.state();
        if matches!(*state, State::Waiting | State::Linked(_)) {
            let _ = self.fail(&mut state, why.while_to(CONNECT));
        }
    }

    fn disconnected(&self, peer: PeerId) {
        let mut state = self.state();
        let shared = match &*state {
            State::Linked(link) if link.peer().id == peer => None,
            State::Ready(_, id) if *id == peer => None,
            State::Taken(id, shared) if *id == peer => shared.upgrade(),
            _ => return,
        };
        let before = std::mem::replace(&mut *state, State::Gone);
        drop(state);
        drop(before);
        self.changed.notify_all();
        if let Some(shared) = shared {
            shared.server_is_gone();
        }
    }
}
