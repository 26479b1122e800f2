//! One client as its requests in work see it: what it still wants, and how many items it takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::connection::{Body, Connection, MAX_ENTRIES};
use super::super::{WINDOW, to_server};
use super::RECEIVE;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::structure::calls::{Head, Message, Receiver};
use crate::wait::EventCount;

/// A client, as long as any of its requests is in work.
pub(super) struct Peer {
    pub(super) connection: Arc<Connection>,
    notes: Mutex<Receiver>,
    /// Where we sleep for it.
    pub(super) bell: View<EventCount>,
    /// What is in work, in the order of its numbers.
    active: Mutex<VecDeque<Active>>,
}

pub(super) struct Active {
    call: u64,
    is_over: bool,
    is_cancelled: bool,
    /// How many items may be sent before the client has read some.
    pub(super) credit: u32,
}

impl Peer {
    pub(super) fn new(connection: Arc<Connection>, notes: Receiver, bell: View<EventCount>) -> Self {
        Self { connection, notes: Mutex::new(notes), bell, active: Mutex::default() }
    }

    /// Puts a request in work.
    pub(super) fn begin(self: &Arc<Self>, message: Message) -> Result<(Head, Body)> {
        let head = message.head;
        let body = self.connection.body(message);
        let mut active = self.active();
        if head.kind != to_server::CALL || active.back().is_some_and(|last| last.call >= head.call) {
            return Err(Error::new(RECEIVE, ErrorKind::Corrupted).because("a client calls as none does"));
        }
        active.push_back(Active { call: head.call, is_over: false, is_cancelled: false, credit: WINDOW });
        self.connection.count_in_work(1);
        Ok((head, body))
    }

    /// Reads what the client noted of its calls. What is over already needs none of it.
    fn read_notes(&self) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.has_message() {
            return;
        }
        let mut active = self.active();
        // At most a ring of them: a client that notes faster than we read must not keep us here.
        for _ in 0..MAX_ENTRIES {
            match notes.try_receive() {
                Ok(Message { head, .. }) => {
                    let call = find(&mut active, head.call);
                    match head.kind {
                        to_server::CANCEL => call.into_iter().for_each(|call| call.is_cancelled = true),
                        to_server::CREDIT => call.into_iter().for_each(|call| {
                            let more = u32::try_from(head.extra).unwrap_or(WINDOW);
                            call.credit = call.credit.saturating_add(more).min(WINDOW);
                        }),
                        _ => self.connection.close(),
                    }
                }
                Err(error) if error.is_would_block() => break,
                Err(_) => {
                    self.connection.close();
                    break;
                }
            }
        }
        drop(active);
        // The client may have more to note than there was room for.
        self.connection.ring();
    }

    pub(super) fn active(&self) -> MutexGuard<'_, VecDeque<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self, call: u64) {
        self.read_notes();
        let mut active = self.active();
        if let Some(call) = find(&mut active, call).filter(|call| !call.is_over) {
            call.is_over = true;
            self.connection.count_in_work(-1);
        }
        while active.front().is_some_and(|first| first.is_over) {
            active.pop_front();
        }
    }

    pub(super) fn is_cancelled(&self, call: u64) -> bool {
        self.read_notes();
        self.connection.is_gone() || find(&mut self.active(), call).is_none_or(|call| call.is_cancelled)
    }
}

pub(super) fn find(active: &mut VecDeque<Active>, call: u64) -> Option<&mut Active> {
    let index = active.binary_search_by_key(&call, |active| active.call).ok()?;
    active.get_mut(index)
}
