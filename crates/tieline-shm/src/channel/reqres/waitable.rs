//! Servers and clients among other things that are waited for.
//!
//! The invariant: each side's bell hangs, by the line or by the relay, at every count where a message for it is notified;
//! whoever waits for room has the bell of that one connection.

use std::os::fd::OwnedFd;
#[cfg(feature = "tokio")]
use std::sync::OnceLock;
use std::sync::{Mutex, PoisonError};

use super::{Client, Server};
use crate::channel::doorbell::{self, Heard};
use crate::channel::payload::Payload;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::rendezvous::Link;
#[cfg(feature = "tokio")]
use crate::wait::{Alarm, Alarms};
use crate::wait::{EventCount, Hung, Waitable, Watch};

const WAIT: &str = "wait for the connection";

/// The one place for which a peer hands its bell: where it waits for messages.
pub(super) const MESSAGES: u8 = 0;

/// How both sides of a connection are woken when they do not sleep in a thread.
#[derive(Debug, Default)]
pub(super) struct Bells {
    /// For our senders that wait for room.
    #[cfg(feature = "tokio")]
    room: OnceLock<Alarms>,
    /// The peer's, for messages that it waits for.
    peer: Mutex<Option<Hung>>,
}

impl Bells {
    /// Hangs the bell that the peer handed us for messages at `count`, where it waits for them.
    ///
    /// # Errors
    /// As [`doorbell::hang`].
    pub(super) fn hang(&self, link: &Link, count: &View<EventCount>, fds: Vec<OwnedFd>) -> Result<()> {
        let hung = doorbell::hang(link, MESSAGES, count, 0, fds)?;
        let before = std::mem::replace(&mut *self.peer.lock().unwrap_or_else(PoisonError::into_inner), hung);
        // Outside of the lock.
        drop(before);
        Ok(())
    }

    /// Those of the room at `count`.
    #[cfg(feature = "tokio")]
    pub(super) fn room(&self, count: &View<EventCount>) -> Result<&Alarms> {
        doorbell::alarms_at(&self.room, |bell| Alarm::by_relay(bell, count))
    }
}

/// What a peer said about bells.
///
/// # Errors
/// `Corrupted` if it said something else.
pub(super) fn heard(message: &[u8]) -> Result<Heard> {
    let heard =
        doorbell::hear(message).filter(|heard| matches!(heard, Heard::Bell(MESSAGES) | Heard::NoBell(MESSAGES)));
    heard.ok_or_else(|| Error::new(WAIT, ErrorKind::Corrupted).because("a peer says what none says"))
}

/// Waits for requests.
impl<Q: Payload + ?Sized, R: Payload + ?Sized> Waitable for Server<Q, R> {
    fn watch(&self) -> Watch {
        Watch(self.source())
    }
}

/// Waits for an answer, or an item of one, to any call in flight; the clones of a client are one. Ask each
/// [`Pending`](super::Pending) with its `try_wait`.
impl<Q: Payload + ?Sized, R: Payload + ?Sized> Waitable for Client<Q, R> {
    fn watch(&self) -> Watch {
        Watch(self.source())
    }
}
