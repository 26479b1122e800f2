//! The side that calls: making calls. What comes back is sorted in `inbox`, and read in `pending` and `items`.

mod inbox;
mod items;
mod join;
mod pending;
#[cfg(feature = "tokio")]
mod tasks;

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tieline_os::futex::Deadline;

use super::connection::Loan;
use super::signature::Signature;
use super::to_server;
use crate::channel::payload::{self, Payload};
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::rendezvous::{self, Access, IntoName, Participant, Role};
use crate::structure::calls::{Head, Outgoing};
use crate::wait::{Source, Until, Waiting};

use inbox::Shared;
pub use items::Items;
use join::One;
pub use pending::{Pending, Response};
#[cfg(feature = "tokio")]
pub(crate) use tasks::Answers;

/// Calls a server; see the [module](super). Any thread may call; clones are the same connection.
pub struct Client<Q: Payload + ?Sized, R: Payload + ?Sized> {
    shared: Arc<Shared>,
    waiting: Waiting,
    of: PhantomData<fn(&Q, &R)>,
}

const CALL: &str = "call";
/// A server that does not answer for so long is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Client<Q, R> {
    /// Connects to whoever serves at the name; waits 5 s at most for one that does not answer.
    ///
    /// # Errors
    /// `NotFound` if nobody serves; `PermissionDenied`; `Mismatch` with both layouts; `LimitReached` if the
    /// server has all its clients, or this process has no descriptors left; `OutOfMemory`; `TimedOut`; `PeerGone`; `Corrupted`.
    pub fn connect(name: impl IntoName) -> Result<Self> {
        Self::connect_timeout(name, TIMEOUT)
    }

    /// Connects as [`connect`](Self::connect); waits for `timeout` at most.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(name: impl IntoName, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let signature = Signature::of::<Q, R>();
        let offer = signature.offer(Role::Consumer, Access::default(), 2);
        let joined = rendezvous::open(&name.into_name()?, offer, timeout)?;
        let one = Arc::new(One::new(signature));
        let membership = joined.start(Arc::clone(&one) as Arc<dyn Participant>)?;
        let opened = one.wait(deadline)?;
        let shared = Arc::new(Shared::new(*opened, membership));
        one.belongs_to(&shared);
        Ok(Self { shared, waiting: Waiting::default(), of: PhantomData })
    }

    /// How calls of this handle wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Calls, and waits for the response.
    ///
    /// # Errors
    /// `Failed` with the server's text; `PeerGone` if the server died or left; `TooLarge`; `Corrupted`; `Forked`.
    pub fn call(&self, request: &Q) -> Result<Response<R>> {
        self.start(request)?.wait()
    }

    /// Calls, and waits for the response for `timeout` at most; then the call is cancelled.
    ///
    /// # Errors
    /// As [`call`](Self::call), and `TimedOut`: whether the server did it is not known.
    pub fn call_timeout(&self, request: &Q, timeout: Duration) -> Result<Response<R>> {
        let until = Until::At(Deadline::after(timeout));
        self.begin(&Outgoing::Bytes(payload::bytes(request)), until)?.wait_until(until)
    }

    /// Calls without waiting for the response; waits while the server takes no requests.
    ///
    /// # Errors
    /// As [`call`](Self::call) without `Failed`.
    pub fn start(&self, request: &Q) -> Result<Pending<R>> {
        self.begin(&Outgoing::Bytes(payload::bytes(request)), Until::Forever)
    }

    /// Calls for a streamed response: 0 or more items.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn call_stream(&self, request: &Q) -> Result<Items<R>> {
        self.start(request).map(Items::new)
    }

    /// How many bytes a payload may have.
    #[must_use]
    pub fn payload_max_bytes(&self) -> usize {
        self.shared.connection.area_len_bytes()
    }

    fn begin(&self, request: &Outgoing<'_>, until: Until) -> Result<Pending<R>> {
        self.begin_with(|head| self.shared.connection.send(head, request, self.waiting, until, CALL))
    }

    /// Gives the call a number and sends it, in this order: numbers must grow on the way out.
    fn begin_with(&self, send: impl FnOnce(Head) -> Result<()>) -> Result<Pending<R>> {
        let shared = &self.shared;
        shared.connection.check()?;
        // One at a time, though it may wait for room: a later number must not overtake.
        let turn = shared.calling.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin_in_turn(turn, send)
    }

    fn begin_in_turn(&self, turn: MutexGuard<'_, ()>, send: impl FnOnce(Head) -> Result<()>) -> Result<Pending<R>> {
        let shared = &self.shared;
        let call = shared.inbox().open();
        let pending =
            Pending { shared: Arc::clone(shared), call, waiting: self.waiting, is_over: false, of: PhantomData };
        let sent = send(Head { kind: to_server::CALL, call, extra: 0 });
        drop(turn);
        if let Err(error) = sent {
            pending.forget();
            // A task that found it another's turn waits for room; if nothing was sent, none will come of it.
            if !error.is_would_block() {
                shared.connection.room_changed();
            }
            return Err(error);
        }
        Ok(pending)
    }

    pub(super) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<_>
    }
}

impl<Q: ShmSafe, R: Payload + ?Sized> Client<[Q], R> {
    /// A place to write a request of `count` values into, without a copy. Waits while the server keeps all of them.
    ///
    /// # Errors
    /// `TooLarge`; `PeerGone`; `Corrupted`; `Forked`; `InvalidInput` if zeros are no value of the type.
    pub fn loan(&self, count: usize) -> Result<Loan<Q>> {
        self.shared.connection.loan(count, self.waiting, Until::Forever, CALL)
    }

    /// Calls with what was written into a loan, without waiting for the response.
    ///
    /// # Errors
    /// As [`start`](Self::start), and `InvalidInput` if the loan is another connection's.
    pub fn start_loan(&self, loan: Loan<Q>) -> Result<Pending<R>> {
        self.begin_with(|head| loan.send(&self.shared.connection, head, self.waiting, Until::Forever, CALL))
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Clone for Client<Q, R> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), waiting: self.waiting, of: PhantomData }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Client<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connection", &self.shared.connection).finish_non_exhaustive()
    }
}
