//! The items of a streamed response, and the credit that is given for those that were read.

use std::time::Duration;

use tieline_os::futex::Deadline;

use super::super::{WINDOW, to_server};
use super::pending::{Answer, Pending, Response};
use crate::channel::payload::Payload;
use crate::error::Result;
use crate::structure::calls::Head;
use crate::wait::Until;

/// After so many items the server is told that there is room for more.
const CREDIT_STEP: u32 = WINDOW / 2;

/// The items of a streamed response, in order. Dropping it cancels the call.
///
/// Another thread that waits for another call takes this one's items along, as many as the window has.
#[derive(Debug)]
#[must_use = "dropping it cancels the call"]
pub struct Items<R: Payload + ?Sized> {
    pub(super) pending: Pending<R>,
    /// Since the server was last told.
    read: u32,
}

impl<R: Payload + ?Sized> Items<R> {
    /// Of a call that was made.
    pub(super) fn new(pending: Pending<R>) -> Self {
        Self { pending, read: 0 }
    }

    /// The next item; `None` at the end. A response that is not streamed is a single item.
    ///
    /// # Errors
    /// As [`Client::call`](super::Client::call); after an error there are no more items.
    pub fn recv(&mut self) -> Result<Option<Response<R>>> {
        self.recv_until(Until::Forever)
    }

    /// The next item; waits for `timeout` at most, and may be called again after that.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and `TimedOut`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Response<R>>> {
        self.recv_until(Until::At(Deadline::after(timeout)))
    }

    fn recv_until(&mut self, until: Until) -> Result<Option<Response<R>>> {
        if self.pending.is_over {
            return Ok(None);
        }
        let answer = self.pending.next(until)?;
        self.count(answer)
    }

    pub(super) fn count(&mut self, answer: Answer<R>) -> Result<Option<Response<R>>> {
        match answer {
            Answer::Response(response) => Ok(Some(response)),
            Answer::End => Ok(None),
            Answer::Item(item) => {
                self.read += 1;
                if self.read == CREDIT_STEP {
                    let head = Head { kind: to_server::CREDIT, call: self.pending.call, extra: u64::from(self.read) };
                    self.pending.shared.inbox().note(head);
                    self.read = 0;
                }
                Ok(Some(item))
            }
        }
    }
}

impl<R: Payload + ?Sized> Iterator for Items<R> {
    type Item = Result<Response<R>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.recv().transpose();
        if matches!(item, Some(Err(_))) {
            self.pending.forget_now();
        }
        item
    }
}
