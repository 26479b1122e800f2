//! What tasks need of a server and its requests: "not yet" is `None` to them.

use std::sync::Arc;

use super::super::connection::Connection;
use super::super::{WINDOW, to_client};
use super::peer::find;
use super::request::{FAILURE_MAX_BYTES, RESPOND};
use super::{Request, Server};
use crate::channel::payload::{self, Payload};
use crate::error::Result;
use crate::structure::calls::{Head, Outgoing};
use crate::wait::{Alarms, Until, Waiting};

/// What wakes a task that waits for room to answer.
pub(crate) struct WayOut(Arc<Connection>);

impl WayOut {
    pub(crate) fn alarms(&self) -> Result<&Alarms> {
        self.0.room_alarms()
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Server<Q, R> {
    pub(crate) fn poll_recv(&self) -> Option<Result<Request<Q, R>>> {
        match self.try_recv() {
            Err(error) if error.is_would_block() => None,
            answer => Some(answer),
        }
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Request<Q, R> {
    pub(crate) fn poll_respond(&mut self, response: &R) -> Option<Result<()>> {
        self.poll_finish(to_client::RESPONSE, payload::bytes(response))
    }

    pub(crate) fn poll_fail(&mut self, why: &str) -> Option<Result<()>> {
        self.poll_finish(to_client::FAILED, &why.as_bytes()[..why.floor_char_boundary(FAILURE_MAX_BYTES)])
    }

    pub(crate) fn poll_end(&mut self) -> Option<Result<()>> {
        self.poll_finish(to_client::END, &[])
    }

    /// An item for which credit was taken.
    pub(crate) fn poll_item(&self, item: &R) -> Option<Result<()>> {
        self.poll_send(to_client::ITEM, payload::bytes(item))
    }

    /// Credit that was taken, and not used.
    pub(crate) fn give_credit_back(&self) {
        if let Some(call) = find(&mut self.client.active(), self.call) {
            call.credit = call.credit.saturating_add(1).min(WINDOW);
        }
    }

    pub(crate) fn way_out(&self) -> WayOut {
        WayOut(Arc::clone(&self.client.connection))
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }

    fn poll_finish(&mut self, kind: u8, bytes: &[u8]) -> Option<Result<()>> {
        let sent = self.poll_send(kind, bytes)?;
        self.is_over = true;
        self.client.end(self.call);
        Some(sent)
    }

    fn poll_send(&self, kind: u8, bytes: &[u8]) -> Option<Result<()>> {
        let head = Head { kind, call: self.call, extra: 0 };
        match self.client.connection.send(head, &Outgoing::Bytes(bytes), self.waiting, Until::Now, RESPOND) {
            Err(error) if error.is_would_block() => None,
            sent => Some(sent),
        }
    }
}
