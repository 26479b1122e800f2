//! What tasks need of a client: "not yet" is `None` to them.

use std::sync::{Arc, TryLockError};

use super::inbox::Shared;
use super::pending::{Answer, unary};
use super::{CALL, Client, Items, Pending, Response};
use crate::channel::payload::{self, Payload};
use crate::error::Result;
use crate::structure::calls::Outgoing;
use crate::wait::{Alarms, Source, Until, Waiting};

/// What wakes the tasks of a client.
#[derive(Clone)]
pub(crate) struct Answers(Arc<Shared>);

impl Answers {
    /// For an answer.
    pub(crate) fn alarms(&self) -> Result<&Alarms> {
        Source::alarms(&*self.0)
    }

    /// For room to call.
    pub(crate) fn room_alarms(&self) -> Result<&Alarms> {
        self.0.connection.room_alarms()
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Client<Q, R> {
    pub(crate) fn poll_start(&self, request: &Q) -> Option<Result<Pending<R>>> {
        let shared = &self.shared;
        if let Err(error) = shared.connection.check() {
            return Some(Err(error));
        }
        // A thread that has the turn may wait for room, too: not here, but for the room that its call makes, once read.
        let turn = match shared.calling.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let request = Outgoing::Bytes(payload::bytes(request));
        let sent =
            self.begin_in_turn(turn, |head| shared.connection.send(head, &request, self.waiting, Until::Now, CALL));
        match sent {
            Err(error) if error.is_would_block() => None,
            sent => Some(sent),
        }
    }

    pub(crate) fn answers(&self) -> Answers {
        Answers(Arc::clone(&self.shared))
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }
}

impl<R: Payload + ?Sized> Pending<R> {
    fn poll_next(&mut self) -> Option<Result<Answer<R>>> {
        if let Err(error) = self.shared.connection.check() {
            return Some(Err(error));
        }
        let arrived = self.shared.look(self.call)?;
        Some(arrived.and_then(|arrived| self.read(arrived)))
    }

    pub(crate) fn poll_wait(&mut self) -> Option<Result<Response<R>>> {
        Some(self.poll_next()?.and_then(unary))
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }

    pub(crate) fn into_items(self) -> Items<R> {
        Items::new(self)
    }
}

impl<R: Payload + ?Sized> Items<R> {
    pub(crate) fn poll_recv(&mut self) -> Option<Result<Option<Response<R>>>> {
        if self.pending.is_over {
            return Some(Ok(None));
        }
        let answer = self.pending.poll_next()?;
        Some(answer.and_then(|answer| self.count(answer)))
    }

    pub(crate) fn how(&self) -> Waiting {
        self.pending.waiting
    }
}
