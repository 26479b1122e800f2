//! Calls that tasks make and answer.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tieline_shm::{aio, reqres::{Client, Server}};
//!
//! let server = aio::reqres::Server::from(Server::<u64, u64>::bind("squares")?);
//! let client = aio::reqres::Client::from(Client::<u64, u64>::connect("squares")?); // in other processes
//! let serving = async {
//!     let request = server.recv().await?;
//!     let answer = *request * *request;
//!     request.respond(&answer).await
//! };
//! let (answer, served) = tokio::join!(client.call(&12), serving);
//! assert_eq!(*answer?, 144);
//! # served?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Parker;
use crate::channel::payload::Payload;
use crate::error::Result;
use crate::reqres::{self, Answers, Response, WayOut};
use crate::wait::Source;

/// Calls a server, from tasks: made of a [`reqres::Client`]. Any task may call; a clone is the same connection.
///
/// All tasks that wait for answers through one connection are woken by each answer, and all but one wait again: cheap for
/// some tens of calls in flight.
pub struct Client<Q: Payload + ?Sized, R: Payload + ?Sized> {
    client: reqres::Client<Q, R>,
    waits: Arc<Waits>,
}

/// What the calls of one handle share.
struct Waits {
    answers: Answers,
    arrivals: Parker,
    room: Parker,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Client<Q, R> {
    /// Calls, and waits for the response. Cancelling it cancels the call. The first call that sleeps binds the handle to
    /// its tokio runtime.
    ///
    /// # Errors
    /// As [`reqres::Client::call`]: `PeerGone` within milliseconds of the server's death; `LimitReached` if there is no
    /// descriptor left; `Unsupported` outside of a tokio runtime with input and output.
    pub async fn call(&self, request: &Q) -> Result<Response<R>> {
        self.start(request).await?.wait().await
    }

    /// Calls without waiting for the response; waits while the server takes no requests. Cancelled, it has not called.
    ///
    /// # Errors
    /// As [`call`](Self::call) without `Failed`.
    pub async fn start(&self, request: &Q) -> Result<Pending<R>> {
        let Waits { answers, room, .. } = &*self.waits;
        let started =
            room.wait_among(self.client.how(), || answers.room_alarms(), || self.client.poll_start(request)).await?;
        started.map(|pending| Pending { pending, waits: Arc::clone(&self.waits) })
    }

    /// Calls for a streamed response: 0 or more items. Cancelled, it has not called.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn call_stream(&self, request: &Q) -> Result<Items<R>> {
        let Pending { pending, waits } = self.start(request).await?;
        Ok(Items { items: pending.into_items(), waits })
    }

    /// The blocking twin.
    #[must_use]
    pub fn get_ref(&self) -> &reqres::Client<Q, R> {
        &self.client
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> From<reqres::Client<Q, R>> for Client<Q, R> {
    fn from(client: reqres::Client<Q, R>) -> Self {
        let (arrivals, room) = (Parker::default(), Parker::default());
        let waits = Arc::new(Waits { answers: client.answers(), arrivals, room });
        Self { client, waits }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Clone for Client<Q, R> {
    fn clone(&self) -> Self {
        self.client.clone().into()
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Client<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// A call in flight. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Pending<R: Payload + ?Sized> {
    pending: reqres::Pending<R>,
    waits: Arc<Waits>,
}

impl<R: Payload + ?Sized> Pending<R> {
    /// Waits for the response. Cancelling it cancels the call.
    ///
    /// # Errors
    /// As [`Client::call`]; `Mismatch` if the server answers with a stream of items.
    pub async fn wait(mut self) -> Result<Response<R>> {
        let Waits { answers, arrivals, .. } = &*self.waits;
        let how = self.pending.how();
        arrivals.wait_among(how, || answers.alarms(), || self.pending.poll_wait()).await?
    }
}

impl<R: Payload + ?Sized> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pending.fmt(f)
    }
}

/// The items of a streamed response, in order. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Items<R: Payload + ?Sized> {
    items: reqres::Items<R>,
    waits: Arc<Waits>,
}

impl<R: Payload + ?Sized> Items<R> {
    /// The next item; `None` at the end. A response that is not streamed is a single item. Cancelling it loses no item,
    /// and does not cancel the call.
    ///
    /// # Errors
    /// As [`Client::call`]; after an error there are no more items.
    pub async fn recv(&mut self) -> Result<Option<Response<R>>> {
        let Waits { answers, arrivals, .. } = &*self.waits;
        let how = self.items.how();
        arrivals.wait_among(how, || answers.alarms(), || self.items.poll_recv()).await?
    }
}

impl<R: Payload + ?Sized> fmt::Debug for Items<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

/// Answers the calls that come to a name, in tasks: made of a [`reqres::Server`]. Any task may receive requests, and
/// answer them.
pub struct Server<Q: Payload + ?Sized, R: Payload + ?Sized> {
    server: reqres::Server<Q, R>,
    requests: Arc<Parker>,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Server<Q, R> {
    /// Takes the next request, of any client; waits until one is there. Cancelling it loses none. The first call that
    /// sleeps binds the handle to its tokio runtime.
    ///
    /// # Errors
    /// `Forked`; `LimitReached` if there is no descriptor left; `Unsupported` outside of a tokio runtime with input and
    /// output.
    pub async fn recv(&self) -> Result<Request<Q, R>> {
        let source = self.server.source();
        let received =
            self.requests.wait_among(self.server.how(), || source.alarms(), || self.server.poll_recv()).await?;
        received.map(|request| {
            let (way_out, requests) = (request.way_out(), Arc::clone(&self.requests));
            Request { request, source, requests, way_out, room: Parker::default() }
        })
    }

    /// The blocking twin.
    #[must_use]
    pub fn get_ref(&self) -> &reqres::Server<Q, R> {
        &self.server
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> From<reqres::Server<Q, R>> for Server<Q, R> {
    fn from(server: reqres::Server<Q, R>) -> Self {
        Self { server, requests: Arc::default() }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Server<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

/// A call that came, to be answered once; see [`reqres::Request`]. It dereferences to what was asked.
///
/// Dropping it unanswered, as by cancelling an answer that waits, is a failure, which the client is told. If that client
/// takes no messages just then, the drop waits for it, for a tenth of a second at most.
#[must_use = "dropping it tells the client that the server failed"]
pub struct Request<Q: Payload + ?Sized, R: Payload + ?Sized> {
    request: reqres::Request<Q, R>,
    source: Arc<dyn Source>,
    /// Credit comes where requests do.
    requests: Arc<Parker>,
    way_out: WayOut,
    room: Parker,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Request<Q, R> {
    /// Answers. Waits while the client takes no messages.
    ///
    /// # Errors
    /// `PeerGone` if the client died or left; `TooLarge`; `Corrupted`; `Forked`; `LimitReached` if it has to wait and
    /// there is no descriptor left.
    pub async fn respond(mut self, response: &R) -> Result<()> {
        self.send(|request| request.poll_respond(response)).await
    }

    /// Answers that it could not be done, and why; the client sees the first 1000 bytes.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub async fn fail(mut self, why: &str) -> Result<()> {
        self.send(|request| request.poll_fail(why)).await
    }

    /// Sends one item of a streamed response. Waits while the client is [`WINDOW`](reqres::WINDOW) items behind.
    /// Cancelled, it has sent nothing.
    ///
    /// # Errors
    /// `PeerGone` also if the call was cancelled; the others as [`respond`](Self::respond).
    pub async fn item(&mut self, item: &R) -> Result<()> {
        let (how, request, source) = (self.request.how(), &self.request, &self.source);
        self.requests.wait_among(how, || source.alarms(), || request.poll_credit()).await??;
        // Given back if this is cancelled, or nothing is sent.
        let credit = Credit(request);
        self.room.wait(how, || self.way_out.alarms(), || request.poll_item(item)).await??;
        std::mem::forget(credit);
        Ok(())
    }

    /// Ends a streamed response.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub async fn end(mut self) -> Result<()> {
        self.send(reqres::Request::poll_end).await
    }

    /// Whether nobody wants the answer any more: the call was dropped or timed out, or the client died.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.request.is_cancelled()
    }

    async fn send(&mut self, mut poll: impl FnMut(&mut reqres::Request<Q, R>) -> Option<Result<()>>) -> Result<()> {
        let Self { request, way_out, room, .. } = self;
        room.wait(request.how(), || way_out.alarms(), || poll(request)).await?
    }
}

/// Leave to send one item.
struct Credit<'r, Q: Payload + ?Sized, R: Payload + ?Sized>(&'r reqres::Request<Q, R>);

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Drop for Credit<'_, Q, R> {
    fn drop(&mut self) {
        self.0.give_credit_back();
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Deref for Request<Q, R> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.request
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Request<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}
