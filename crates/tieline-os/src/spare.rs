//! A descriptor held in reserve, for the moment when there are no others: the cure for the `EMFILE` loop.
//!
//! A server at its limit of descriptors cannot accept; but the connection stays in the backlog, the listener stays
//! readable, and a level-triggered event loop spins at full speed without getting anywhere:
//!
//! ```text
//! wait -> listener readable -> accept: EMFILE -> wait -> listener readable -> accept: EMFILE -> ...
//! ```
//!
//! With a [`SpareDescriptor`] the server closes the spare, accepts into its place, closes the connection (so the client
//! is told at once instead of waiting in vain), and takes the spare again.
//!
//! The invariant: between calls the spare is held, unless another thread was faster; then the next call tries again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::error::{Error, Result};
use crate::wait::{Wait, wait_for};

/// One descriptor kept back so that a server out of descriptors can still refuse a connection.
///
/// ```
/// use std::net::TcpListener;
/// use tieline_os::spare::SpareDescriptor;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut spare = SpareDescriptor::new()?;
/// // When accept has failed with EMFILE or ENFILE:
/// assert!(spare.refuse_one(&listener).unwrap_err().is_would_block(), "nobody is waiting");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SpareDescriptor {
    held: Option<OwnedFd>,
}

impl SpareDescriptor {
    /// Takes a descriptor in reserve; do it early, before the limit is near.
    ///
    /// # Errors
    /// `LimitReached` if there is none left.
    pub fn new() -> Result<Self> {
        reserve().map(|fd| Self { held: Some(fd) }).map_err(|errno| Error::new("reserve a descriptor", errno))
    }

    /// Accepts one waiting connection in the place of the spare, closes it, and takes the spare again.
    ///
    /// Does not wait. The listener may be blocking if no other thread or process accepts from it.
    ///
    /// # Errors
    /// `WouldBlock` if no connection waits; `LimitReached` if another thread took the freed place: wait a moment before
    /// asking the listener again.
    pub fn refuse_one(&mut self, listener: impl AsFd) -> Result<()> {
        const OPERATION: &str = "refuse a connection";
        // The listener is asked first, so that a blocking accept does not wait for the next client.
        wait_for(&listener, PollFlags::IN, Wait::Never).map_err(|errno| Error::new(OPERATION, errno))?;
        self.held = None;
        let refused = accept(&listener).map(drop);
        self.held = reserve().ok();
        refused.map_err(|errno| Error::new(OPERATION, errno))
    }

    /// Whether the spare is held at the moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

fn reserve() -> Result<OwnedFd, Errno> {
    // The smallest thing a descriptor can be: needs no path, no device node, no /proc.
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
}

fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    loop {
        match rustix::net::accept_with(&listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR) => {}
            answer => return answer,
        }
    }
}
