//! A call that came, until it is answered.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::super::connection::{Body, Loan};
use super::super::to_client;
use super::peer::{Peer, find};
use crate::channel::payload::{self, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::rendezvous::Membership;
use crate::structure::calls::{Head, Outgoing};
use crate::wait::{Until, Waiting};

/// A call that came, to be answered once: by [`respond`](Self::respond), by [`item`](Self::item)s and
/// [`end`](Self::end), or by [`fail`](Self::fail). It dereferences to what was asked.
///
/// Dropping it unanswered is a failure, which the client is told. It may be answered from any thread.
#[must_use = "dropping it tells the client that the server failed"]
pub struct Request<Q: Payload + ?Sized, R: Payload + ?Sized> {
    pub(super) client: Arc<Peer>,
    pub(super) call: u64,
    pub(super) body: Body,
    pub(super) waiting: Waiting,
    pub(super) patience: Duration,
    pub(super) is_over: bool,
    /// The line lasts as long as the membership.
    pub(super) membership: Arc<Membership>,
    pub(super) of: PhantomData<fn(&Q, &R)>,
}

/// A dropped request's client is waited for so long.
const DROP_PATIENCE: Duration = Duration::from_millis(100);
/// So much of a failure's text is sent.
pub(super) const FAILURE_MAX_BYTES: usize = 1000;
pub(super) const RESPOND: &str = "respond";

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Request<Q, R> {
    /// Answers. Waits while the client takes no messages, as long as the server's
    /// [patience](super::ServerOptions::patience).
    ///
    /// # Errors
    /// `PeerGone` if the client died or left, or the patience is over; `TooLarge`; `Corrupted`; `Forked`.
    pub fn respond(mut self, response: &R) -> Result<()> {
        self.finish(to_client::RESPONSE, payload::bytes(response))
    }

    /// Answers that it could not be done, and why; the client sees the first 1000 bytes.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub fn fail(mut self, why: &str) -> Result<()> {
        self.finish(to_client::FAILED, &why.as_bytes()[..why.floor_char_boundary(FAILURE_MAX_BYTES)])
    }

    /// Sends one item of a streamed response. Waits while the client is [`WINDOW`](crate::reqres::WINDOW) items behind,
    /// as long as the server's [patience](super::ServerOptions::patience).
    ///
    /// # Errors
    /// `PeerGone` also if the call was cancelled; the others as [`respond`](Self::respond).
    pub fn item(&mut self, item: &R) -> Result<()> {
        self.take_credit()?;
        self.send(to_client::ITEM, payload::bytes(item))
    }

    /// Ends a streamed response.
    ///
    /// # Errors
    /// As [`respond`](Self::respond).
    pub fn end(mut self) -> Result<()> {
        self.finish(to_client::END, &[])
    }

    /// Whether nobody wants the answer any more: the call was dropped or timed out, or the client died.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.client.is_cancelled(self.call)
    }

    fn send(&self, kind: u8, bytes: &[u8]) -> Result<()> {
        let head = Head { kind, call: self.call, extra: 0 };
        let until = self.patience();
        self.in_time(self.client.connection.send(head, &Outgoing::Bytes(bytes), self.waiting, until, RESPOND))
    }

    fn patience(&self) -> Until {
        Until::At(Deadline::after(self.patience))
    }

    /// A client that has used up our patience is disconnected.
    fn in_time<A>(&self, answer: Result<A>) -> Result<A> {
        answer.map_err(|error| {
            if !error.is_timeout() {
                return error;
            }
            self.client.connection.close();
            Error::new(RESPOND, ErrorKind::PeerGone).because("the client took no messages, and was disconnected")
        })
    }

    fn finish(&mut self, kind: u8, bytes: &[u8]) -> Result<()> {
        self.is_over = true;
        // The client waits for the answer, not for our books.
        let sent = self.send(kind, bytes);
        self.client.end(self.call);
        sent
    }

    fn take_credit(&self) -> Result<()> {
        self.in_time(self.client.bell.wait(self.waiting, self.patience(), RESPOND, || self.poll_credit()))?
    }

    /// Takes one credit, if there is one.
    pub(crate) fn poll_credit(&self) -> Option<Result<()>> {
        if self.client.is_cancelled(self.call) {
            return Some(Err(Error::new(RESPOND, ErrorKind::PeerGone).because("the call was cancelled")));
        }
        let mut active = self.client.active();
        let call = find(&mut active, self.call)?;
        call.credit = call.credit.checked_sub(1)?;
        Some(Ok(()))
    }
}

impl<Q: Payload + ?Sized, R: ShmSafe> Request<Q, [R]> {
    /// A place to write a response of `count` values into, without a copy. Waits while the client keeps all of them, as
    /// long as the server's [patience](super::ServerOptions::patience).
    ///
    /// # Errors
    /// As [`respond`](Self::respond), and `InvalidInput` if zeros are no value of the type.
    pub fn loan(&self, count: usize) -> Result<Loan<R>> {
        self.in_time(self.client.connection.loan(count, self.waiting, self.patience(), RESPOND))
    }

    /// Answers with what was written into a loan.
    ///
    /// # Errors
    /// As [`respond`](Self::respond), and `InvalidInput` if the loan is another connection's.
    pub fn respond_loan(mut self, loan: Loan<R>) -> Result<()> {
        self.is_over = true;
        let head = Head { kind: to_client::RESPONSE, call: self.call, extra: 0 };
        let sent = self.in_time(loan.send(&self.client.connection, head, self.waiting, self.patience(), RESPOND));
        self.client.end(self.call);
        sent
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Deref for Request<Q, R> {
    type Target = Q;

    fn deref(&self) -> &Q {
        payload::view(&self.body.item)
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Drop for Request<Q, R> {
    fn drop(&mut self) {
        if !self.is_over && self.membership.check().is_ok() {
            self.client.end(self.call);
            let head = Head { kind: to_client::FAILED, call: self.call, extra: 0 };
            let why = Outgoing::Bytes(b"the request was dropped unanswered");
            // Waits for a client that takes no messages as an answer would, but not for ever.
            let until = Until::At(Deadline::after(DROP_PATIENCE));
            let _ = self.client.connection.send(head, &why, self.waiting, until, RESPOND);
        }
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Request<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("call", &self.call).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::super::Server;
    use super::*;
    use crate::channel::reqres::client::Client;
    use crate::error::ErrorKind;

    /// The first call is cancelled, the second waits; the server answers another for as long as somebody takes it.
    fn error_when_flooded_with(answered: fn(u64) -> u64) -> Error {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{}/lies", folder.path().display());
        let server = Server::<u64, u64>::bind(name.as_str()).unwrap();
        let client = Client::<u64, u64>::connect(name.as_str()).unwrap();
        drop(client.start(&1).unwrap());
        let pending = client.start(&2).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _cancelled = server.recv().unwrap();
                let request = server.recv().unwrap();
                let head = Head { kind: to_client::ITEM, call: answered(request.call), extra: 0 };
                let until = || Until::At(Deadline::after(tieline_testkit::PATIENCE));
                let connection = &request.client.connection;
                while connection.send(head, &Outgoing::Bytes(&[]), Waiting::Adaptive, until(), RESPOND).is_ok() {}
            });
            pending.wait_timeout(tieline_testkit::PATIENCE).unwrap_err()
        })
    }

    #[test]
    fn a_server_that_sends_for_ever_what_nobody_asked_for_is_left() {
        for answered in [(|call| call - 1) as fn(u64) -> u64, |call| call + 1, |_| u64::MAX] {
            assert_eq!(error_when_flooded_with(answered).kind(), ErrorKind::Corrupted);
        }
    }
}
