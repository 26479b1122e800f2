//! What the server sent, sorted by the call that it answers: whoever waits takes along what is for the others.
//!
//! The invariant: what is kept of a call is no more than its window, and nothing once it is over.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::super::connection::{Body, Connection, Opened};
use super::super::{WINDOW, to_client, waitable};
use super::CALL;
use crate::channel::doorbell::{self, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::rendezvous::Membership;
use crate::structure::calls::{Head, Outgoing, Receiver, Sender};
use crate::wait::{Alarm, Alarms, EventCount, Source, Until, Waiting};

pub(super) struct Shared {
    pub(super) connection: Arc<Connection>,
    /// Where all threads of this client sleep.
    bell: View<EventCount>,
    /// Held while a call is sent.
    pub(super) calling: Mutex<()>,
    inbox: Mutex<Inbox>,
    /// Kept so that the line stays; given up when the server is gone, so that the name becomes free.
    membership: Mutex<Option<Membership>>,
    /// Made when somebody first waits for several things at once.
    alarms: OnceLock<Alarms>,
    making: Mutex<()>,
}

/// What came, and for which call.
pub(super) struct Inbox {
    receiver: Receiver,
    /// The calls in flight, in the order of their numbers.
    calls: VecDeque<Slot>,
    next: u64,
    /// How many messages came for calls that were over.
    late: u64,
    notes: Sender,
    /// What is to be noted for the server, and found no room yet.
    owed: VecDeque<Head>,
}

struct Slot {
    call: u64,
    arrived: VecDeque<Arrived>,
    is_over: bool,
}

pub(super) struct Arrived {
    pub(super) kind: u8,
    pub(super) body: Body,
}

impl Shared {
    /// Of a connection to the server that one takes part with by this membership.
    pub(super) fn new(opened: Opened<Sender>, membership: Membership) -> Self {
        let Opened { connection, receiver, notes, bell } = opened;
        let inbox = Inbox { receiver, calls: VecDeque::new(), next: 1, late: 0, notes, owed: VecDeque::new() };
        Self {
            connection,
            bell,
            calling: Mutex::new(()),
            inbox: Mutex::new(inbox),
            membership: Mutex::new(Some(membership)),
            alarms: OnceLock::new(),
            making: Mutex::new(()),
        }
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message for `call`.
    pub(super) fn next(&self, call: u64, waiting: Waiting, until: Until) -> Result<Arrived> {
        self.connection.check()?;
        self.bell.wait(waiting, until, CALL, || self.look(call))?
    }

    /// The next message for `call`, if it is there.
    pub(super) fn look(&self, call: u64) -> Option<Result<Arrived>> {
        // Before looking: what came before the server was gone is taken first.
        let is_gone = self.connection.is_gone();
        let mut inbox = self.inbox();
        inbox.pay();
        match inbox.next(call, &self.connection) {
            Ok(None) if is_gone => Some(Err(Error::new(CALL, ErrorKind::PeerGone))),
            Ok(Some(arrived)) => {
                if arrived.kind != to_client::ITEM {
                    inbox.close(call);
                }
                Some(Ok(arrived))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Takes what the server says about bells.
    pub(super) fn received(&self, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        match waitable::heard(message)? {
            Heard::Bell(_) => self.connection.hang(fds),
            Heard::NoBell(_) => {
                if let Some(alarms) = self.alarms.get() {
                    alarms.remove(0);
                    alarms.add(0, Alarm::by_relay(alarms.bell(), &self.bell)?);
                }
                Ok(())
            }
        }
    }

    /// To be called when the server left or died.
    pub(super) fn server_is_gone(&self) {
        self.connection.peer_is_gone();
        self.bell.wake_after_death();
        let membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock: leaving waits for calls that may want it.
        drop(membership);
    }
}

impl Source for Shared {
    /// Whether any call in flight has something.
    fn is_ready(&self) -> bool {
        if self.connection.check().is_err() || self.connection.is_gone() {
            return true;
        }
        let mut inbox = self.inbox();
        inbox.pay();
        inbox.take_all(&self.connection).is_err() || inbox.calls.iter().any(|slot| !slot.arrived.is_empty())
    }

    fn alarms(&self) -> Result<&Alarms> {
        if let Some(alarms) = self.alarms.get() {
            return Ok(alarms);
        }
        // One at a time: the server rings the bell that it was handed last.
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.alarms.get().is_none() {
            let alarms = Alarms::new()?;
            let link = self.connection.link();
            alarms.add(0, doorbell::alarm(link, waitable::MESSAGES, alarms.bell(), &self.bell, 0)?);
            let _ = self.alarms.set(alarms);
        }
        self.alarms.get().ok_or_else(|| Error::new(CALL, ErrorKind::System))
    }
}

impl Inbox {
    pub(super) fn open(&mut self) -> u64 {
        let call = self.next;
        self.next += 1;
        self.calls.push_back(Slot { call, arrived: VecDeque::new(), is_over: false });
        call
    }

    fn slot(&mut self, call: u64) -> Option<&mut Slot> {
        let index = self.calls.binary_search_by_key(&call, |slot| slot.call).ok()?;
        self.calls.get_mut(index).filter(|slot| !slot.is_over)
    }

    pub(super) fn close(&mut self, call: u64) {
        if let Some(slot) = self.slot(call) {
            slot.is_over = true;
            slot.arrived = VecDeque::new();
        }
        while self.calls.front().is_some_and(|first| first.is_over) {
            self.calls.pop_front();
        }
    }

    /// Takes what came, for whichever call, until there is something for this one.
    fn next(&mut self, call: u64, connection: &Arc<Connection>) -> Result<Option<Arrived>> {
        if let Some(arrived) = self.slot(call).and_then(|slot| slot.arrived.pop_front()) {
            return Ok(Some(arrived));
        }
        loop {
            let message = match self.receiver.try_receive() {
                Ok(message) => message,
                Err(error) if error.is_would_block() => return Ok(None),
                Err(error) => {
                    connection.close();
                    return Err(error);
                }
            };
            let head = message.head;
            let arrived = Arrived { kind: head.kind, body: connection.body(message) };
            if head.call == call {
                return Ok(Some(arrived));
            }
            self.keep(head.call, arrived, connection)?;
        }
    }

    /// Takes what came, for whichever call.
    fn take_all(&mut self, connection: &Arc<Connection>) -> Result<()> {
        // No call has this number, so nothing is kept from the others.
        self.next(0, connection).map(drop)
    }

    /// Keeps what came for a call, until that one is asked for; for nobody, if it was cancelled.
    fn keep(&mut self, call: u64, arrived: Arrived, connection: &Connection) -> Result<()> {
        // What was under way when a call was cancelled, and its end: so whoever takes messages comes to an end, however
        // fast a server sends what nobody asked for.
        let late_max = (self.next - 1).saturating_mul(u64::from(WINDOW) + 1);
        let is_expected = match self.slot(call) {
            Some(slot) if slot.arrived.len() <= WINDOW as usize => {
                slot.arrived.push_back(arrived);
                true
            }
            Some(_) => false,
            None => {
                self.late += 1;
                (1..self.next).contains(&call) && self.late <= late_max
            }
        };
        if !is_expected {
            connection.close();
            return Err(Error::new(CALL, ErrorKind::Corrupted).because("the server sends more than was asked for"));
        }
        Ok(())
    }

    pub(super) fn note(&mut self, head: Head) {
        self.owed.push_back(head);
        self.pay();
    }

    /// Notes what is owed, as far as there is room.
    fn pay(&mut self) {
        while let Some(head) = self.owed.front() {
            if self.notes.try_send(*head, &Outgoing::Bytes(&[])).is_err() {
                return;
            }
            self.owed.pop_front();
        }
    }
}
