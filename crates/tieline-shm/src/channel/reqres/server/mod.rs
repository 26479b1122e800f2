//! The side that answers: taking requests. Who is connected is in `clients`, what they want of a request in `peer`.

mod clients;
mod options;
mod peer;
mod request;
#[cfg(feature = "tokio")]
mod tasks;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::connection::Body;
use crate::channel::payload::{self, Payload};
use crate::error::Result;
use crate::rendezvous::{IntoName, Membership};
use crate::structure::calls::Head;
use crate::wait::{EventCount, Source, Until, Waiting};

use clients::Shared;
pub use options::ServerOptions;
use peer::Peer;
pub use request::Request;
#[cfg(feature = "tokio")]
pub(crate) use tasks::WayOut;

/// Answers the calls that come to a name; see the [module](super). Any thread may receive requests, and answer them.
pub struct Server<Q: Payload + ?Sized, R: Payload + ?Sized> {
    shared: Arc<Shared>,
    membership: Arc<Membership>,
    waiting: Waiting,
    patience: Duration,
    of: PhantomData<fn(&Q, &R)>,
}

const RECEIVE: &str = "receive a request";

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Server<Q, R> {
    /// Serves with the usual options; see [`ServerOptions::bind`].
    ///
    /// # Errors
    /// As [`ServerOptions::bind`].
    pub fn bind(name: impl IntoName) -> Result<Self> {
        Self::options().bind(name)
    }

    /// Sizes and access other than the usual.
    #[must_use]
    pub fn options() -> ServerOptions<Q, R> {
        ServerOptions::new()
    }

    /// Takes the next request, of any client; waits until one is there. Clients that come and go do not end the wait.
    ///
    /// A client that breaks the rules is cut off, and the next request is taken.
    ///
    /// # Errors
    /// `Forked`.
    pub fn recv(&self) -> Result<Request<Q, R>> {
        self.recv_until(Until::Forever)
    }

    /// Takes the next request, if one is there.
    ///
    /// # Errors
    /// `WouldBlock`; `Forked`.
    pub fn try_recv(&self) -> Result<Request<Q, R>> {
        self.recv_until(Until::Now)
    }

    /// Takes the next request; waits for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`; `Forked`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Request<Q, R>> {
        self.recv_until(Until::At(Deadline::after(timeout)))
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.state().clients.len()
    }

    pub(crate) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<_>
    }

    fn recv_until(&self, until: Until) -> Result<Request<Q, R>> {
        self.membership.check()?;
        loop {
            let next = self.shared.state().next_request();
            if let Some((client, head, body)) = next {
                match self.accept(client, head, body) {
                    Some(request) => return Ok(request),
                    None => continue,
                }
            }
            let (bells, changes) = {
                let state = self.shared.state();
                (state.bells(), state.bell_changes)
            };
            // `None` if a client of another user came, whose bell must be waited for, too.
            let ready = || {
                let mut state = self.shared.state();
                match state.next_request() {
                    Some(next) => Some(Some(next)),
                    None if state.bell_changes != changes => Some(None),
                    None => None,
                }
            };
            let Some((client, head, body)) = EventCount::wait_any(&bells, self.waiting, until, RECEIVE, ready)? else {
                continue;
            };
            if let Some(request) = self.accept(client, head, body) {
                return Ok(request);
            }
        }
    }

    fn accept(&self, client: Arc<Peer>, head: Head, mut body: Body) -> Option<Request<Q, R>> {
        if payload::check::<Q>(&mut body.item, RECEIVE).is_err() {
            client.connection.close();
            return None;
        }
        let (membership, waiting) = (Arc::clone(&self.membership), self.waiting);
        let patience = self.patience;
        Some(Request { client, call: head.call, body, waiting, patience, is_over: false, membership, of: PhantomData })
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Server<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
