//! A call in flight, and what the server answered to it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::super::connection::Body;
use super::super::{to_client, to_server};
use super::CALL;
use super::inbox::{Arrived, Shared};
use crate::channel::payload::{self, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::structure::calls::Head;
use crate::wait::{Until, Waiting};

/// A call in flight. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Pending<R: Payload + ?Sized> {
    pub(super) shared: Arc<Shared>,
    pub(super) call: u64,
    pub(super) waiting: Waiting,
    pub(super) is_over: bool,
    pub(super) of: PhantomData<fn(&R)>,
}

impl<R: Payload + ?Sized> Pending<R> {
    /// Waits for the response.
    ///
    /// # Errors
    /// As [`Client::call`](super::Client::call); `Mismatch` if the server answers with a stream of items.
    pub fn wait(self) -> Result<Response<R>> {
        self.wait_until(Until::Forever)
    }

    /// Waits for the response for `timeout` at most; then the call is cancelled.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and `TimedOut`.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Response<R>> {
        self.wait_until(Until::At(Deadline::after(timeout)))
    }

    /// The response, if it is there; otherwise the call goes on.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(mut self) -> Result<Result<Response<R>, Self>> {
        match self.next(Until::Now) {
            Err(error) if error.is_would_block() => Ok(Err(self)),
            answer => unary(answer?).map(Ok),
        }
    }

    pub(super) fn wait_until(mut self, until: Until) -> Result<Response<R>> {
        unary(self.next(until)?)
    }

    pub(super) fn next(&mut self, until: Until) -> Result<Answer<R>> {
        let arrived = self.shared.next(self.call, self.waiting, until)?;
        self.read(arrived)
    }

    pub(super) fn read(&mut self, arrived: Arrived) -> Result<Answer<R>> {
        let Arrived { kind, mut body } = arrived;
        // The inbox has forgotten it then.
        self.is_over = kind != to_client::ITEM;
        match kind {
            to_client::RESPONSE | to_client::ITEM => {
                payload::check::<R>(&mut body.item, CALL)?;
                let response = Response { body, of: PhantomData };
                Ok(if kind == to_client::ITEM { Answer::Item(response) } else { Answer::Response(response) })
            }
            to_client::END => Ok(Answer::End),
            to_client::FAILED => {
                let clean = |char: char| if char.is_control() { '\u{fffd}' } else { char };
                let why: String = String::from_utf8_lossy(body.item.as_bytes()).chars().map(clean).collect();
                Err(Error::new(CALL, ErrorKind::Failed).because(why))
            }
            _ => {
                self.shared.connection.close();
                Err(Error::new(CALL, ErrorKind::Corrupted).because("the server says what none says"))
            }
        }
    }

    pub(super) fn forget(mut self) {
        self.forget_now();
    }

    pub(super) fn forget_now(&mut self) {
        self.is_over = true;
        self.shared.inbox().close(self.call);
    }
}

impl<R: Payload + ?Sized> Drop for Pending<R> {
    fn drop(&mut self) {
        if !self.is_over && self.shared.connection.check().is_ok() {
            self.forget_now();
            self.shared.inbox().note(Head { kind: to_server::CANCEL, call: self.call, extra: 0 });
        }
    }
}

impl<R: Payload + ?Sized> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("call", &self.call).finish_non_exhaustive()
    }
}

pub(super) enum Answer<R: Payload + ?Sized> {
    Response(Response<R>),
    Item(Response<R>),
    End,
}

pub(super) fn unary<R: Payload + ?Sized>(answer: Answer<R>) -> Result<Response<R>> {
    match answer {
        Answer::Response(response) => Ok(response),
        Answer::Item(_) | Answer::End => {
            Err(Error::new(CALL, ErrorKind::Mismatch).because("the server answers with a stream: use `call_stream`"))
        }
    }
}

/// What the server answered: it dereferences to the payload, where it lies. A large one keeps its place until dropped.
#[derive(Debug)]
pub struct Response<R: Payload + ?Sized> {
    body: Body,
    of: PhantomData<fn(&R)>,
}

impl<R: Payload + ?Sized> Deref for Response<R> {
    type Target = R;

    fn deref(&self) -> &R {
        payload::view(&self.body.item)
    }
}
