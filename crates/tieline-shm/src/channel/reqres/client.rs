//! The side that calls.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::OwnedFd;
#[cfg(feature = "tokio")]
use std::sync::TryLockError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tieline_os::futex::Deadline;

use super::connection::{self, Body, Connection, Loan, Opened};
use super::{WINDOW, server, to_client, to_server, waitable};
use crate::channel::doorbell::{self, Heard};
use crate::channel::payload::{self, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::View;
use crate::rendezvous::{self, Access, IntoName, Link, Membership, Participant, PeerId, Role};
use crate::structure::calls::{Head, Outgoing, Receiver, Sender};
use crate::wait::{Alarm, Alarms, EventCount, Source, Until, Waiting};

/// Calls a server; see the [module](super). Any thread may call; clones are the same connection.
pub struct Client<Q: Payload + ?Sized, R: Payload + ?Sized> {
    shared: Arc<Shared>,
    waiting: Waiting,
    of: PhantomData<fn(&Q, &R)>,
}

const CONNECT: &str = "connect to the server";
const CALL: &str = "call";
/// A server that does not answer for so long is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After so many items the server is told that there is room for more.
const CREDIT_STEP: u32 = WINDOW / 2;

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Client<Q, R> {
    /// Connects to whoever serves at the name; waits 5 s at most for one that does not answer.
    ///
    /// # Errors
    /// `NotFound` if nobody serves; `PermissionDenied`; `Mismatch` with both layouts; `LimitReached` if the
    /// server has all its clients; `TimedOut`; `PeerGone`; `Corrupted`.
    pub fn connect(name: impl IntoName) -> Result<Self> {
        Self::connect_timeout(name, TIMEOUT)
    }

    /// Connects as [`connect`](Self::connect); waits for `timeout` at most.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(name: impl IntoName, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let offer = server::offer::<Q, R>(Role::Consumer, Access::default(), 2);
        let joined = rendezvous::open(&name.into_name()?, offer, timeout)?;
        let one = Arc::new(One { state: Mutex::new(State::Waiting), changed: Condvar::new() });
        let membership = joined.start(Arc::clone(&one) as Arc<dyn Participant>)?;
        let opened = one.wait(deadline)?;
        let Opened { connection, receiver, notes, bell } = *opened;
        let inbox = Inbox { receiver, calls: VecDeque::new(), next: 1, notes, owed: VecDeque::new() };
        let shared = Shared {
            connection,
            bell,
            calling: Mutex::new(()),
            inbox: Mutex::new(inbox),
            membership: Mutex::new(Some(membership)),
            alarms: OnceLock::new(),
            making: Mutex::new(()),
        };
        let shared = Arc::new(shared);
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
        Ok(Items { pending: self.start(request)?, read: 0 })
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

    pub(super) fn source(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
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

pub(super) struct Shared {
    connection: Arc<Connection>,
    /// Where all threads of this client sleep.
    bell: View<EventCount>,
    /// Held while a call is sent.
    calling: Mutex<()>,
    inbox: Mutex<Inbox>,
    /// Kept so that the line stays; given up when the server is gone, so that the name becomes free.
    membership: Mutex<Option<Membership>>,
    /// Made when somebody first waits for several things at once.
    alarms: OnceLock<Alarms>,
    making: Mutex<()>,
}

/// What came, and for which call.
struct Inbox {
    receiver: Receiver,
    /// The calls in flight, in the order of their numbers.
    calls: VecDeque<Slot>,
    next: u64,
    notes: Sender,
    /// What is to be noted for the server, and found no room yet.
    owed: VecDeque<Head>,
}

struct Slot {
    call: u64,
    arrived: VecDeque<Arrived>,
    is_over: bool,
}

struct Arrived {
    kind: u8,
    body: Body,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message for `call`.
    fn next(&self, call: u64, waiting: Waiting, until: Until) -> Result<Arrived> {
        self.connection.check()?;
        self.bell.wait(waiting, until, CALL, || self.look(call))?
    }

    /// The next message for `call`, if it is there.
    fn look(&self, call: u64) -> Option<Result<Arrived>> {
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
    fn received(&self, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
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
    fn open(&mut self) -> u64 {
        let call = self.next;
        self.next += 1;
        self.calls.push_back(Slot { call, arrived: VecDeque::new(), is_over: false });
        call
    }

    fn slot(&mut self, call: u64) -> Option<&mut Slot> {
        let index = self.calls.binary_search_by_key(&call, |slot| slot.call).ok()?;
        self.calls.get_mut(index).filter(|slot| !slot.is_over)
    }

    fn close(&mut self, call: u64) {
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
        let Some(slot) = self.slot(call) else { return Ok(()) };
        if slot.arrived.len() > WINDOW as usize {
            connection.close();
            return Err(Error::new(CALL, ErrorKind::Corrupted).because("the server sends more than was asked for"));
        }
        slot.arrived.push_back(arrived);
        Ok(())
    }

    fn note(&mut self, head: Head) {
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

/// A call in flight. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Pending<R: Payload + ?Sized> {
    shared: Arc<Shared>,
    call: u64,
    waiting: Waiting,
    is_over: bool,
    of: PhantomData<fn(&R)>,
}

impl<R: Payload + ?Sized> Pending<R> {
    /// Waits for the response.
    ///
    /// # Errors
    /// As [`Client::call`]; `Mismatch` if the server answers with a stream of items.
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

    fn wait_until(mut self, until: Until) -> Result<Response<R>> {
        unary(self.next(until)?)
    }

    fn next(&mut self, until: Until) -> Result<Answer<R>> {
        let arrived = self.shared.next(self.call, self.waiting, until)?;
        self.read(arrived)
    }

    fn read(&mut self, arrived: Arrived) -> Result<Answer<R>> {
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

    fn forget(mut self) {
        self.forget_now();
    }

    fn forget_now(&mut self) {
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

enum Answer<R: Payload + ?Sized> {
    Response(Response<R>),
    Item(Response<R>),
    End,
}

fn unary<R: Payload + ?Sized>(answer: Answer<R>) -> Result<Response<R>> {
    match answer {
        Answer::Response(response) => Ok(response),
        Answer::Item(_) | Answer::End => {
            Err(Error::new(CALL, ErrorKind::Mismatch).because("the server answers with a stream: use `call_stream`"))
        }
    }
}

/// The items of a streamed response, in order. Dropping it cancels the call.
///
/// Another thread that waits for another call takes this one's items along, as many as the window has.
#[derive(Debug)]
#[must_use = "dropping it cancels the call"]
pub struct Items<R: Payload + ?Sized> {
    pending: Pending<R>,
    /// Since the server was last told.
    read: u32,
}

impl<R: Payload + ?Sized> Items<R> {
    /// The next item; `None` at the end. A response that is not streamed is a single item.
    ///
    /// # Errors
    /// As [`Client::call`]; after an error there are no more items.
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

    fn count(&mut self, answer: Answer<R>) -> Result<Option<Response<R>>> {
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

/// What wakes the tasks of a client.
#[cfg(feature = "tokio")]
#[derive(Clone)]
pub(crate) struct Answers(Arc<Shared>);

#[cfg(feature = "tokio")]
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

/// For tasks, to which "not yet" is `None`.
#[cfg(feature = "tokio")]
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
        Answers(self.source())
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }
}

#[cfg(feature = "tokio")]
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
        Items { pending: self, read: 0 }
    }
}

#[cfg(feature = "tokio")]
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

/// Takes part with exactly one server.
struct One {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting,
    /// The line is there, the memory not yet.
    Linked(Link),
    Ready(Box<Opened<Sender>>, PeerId),
    Taken(PeerId, Weak<Shared>),
    /// The server has all its clients.
    Refused,
    Gone,
}

impl One {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, deadline: Instant) -> Result<Box<Opened<Sender>>> {
        let mut state = self.state();
        loop {
            match std::mem::replace(&mut *state, State::Gone) {
                State::Ready(opened, id) => {
                    *state = State::Taken(id, Weak::new());
                    return Ok(opened);
                }
                State::Refused => {
                    *state = State::Refused;
                    return Err(Error::new(CONNECT, ErrorKind::LimitReached)
                        .because("the server has as many clients as it may; try later, or let it take more"));
                }
                State::Gone | State::Taken(..) => return Err(Error::new(CONNECT, ErrorKind::PeerGone)),
                waiting => *state = waiting,
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(Error::new(CONNECT, ErrorKind::TimedOut).because("nobody serves there, or it is stopped"));
            }
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn belongs_to(&self, shared: &Arc<Shared>) {
        let mut state = self.state();
        match &mut *state {
            State::Taken(_, weak) => *weak = Arc::downgrade(shared),
            _ => {
                // It went in between.
                drop(state);
                shared.server_is_gone();
            }
        }
    }
}

impl Shared {
    fn server_is_gone(&self) {
        self.connection.peer_is_gone();
        self.bell.wake_after_death();
        let membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock: leaving waits for calls that may want it.
        drop(membership);
    }
}

impl Participant for One {
    fn connected(&self, link: &Link) -> Result<()> {
        let mut state = self.state();
        if !matches!(*state, State::Waiting) {
            return Err(Error::new(CONNECT, ErrorKind::LimitReached));
        }
        *state = State::Linked(link.clone());
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let mut state = self.state();
        let link = match &*state {
            State::Linked(link) => link,
            State::Ready(opened, id) if *id == peer => {
                // We have handed it none yet, so it can only hand us its own.
                waitable::heard(message)?;
                return opened.connection.hang(fds);
            }
            State::Taken(id, shared) if *id == peer => {
                let shared = shared.upgrade();
                drop(state);
                // One that was dropped is on its way out.
                return shared.map_or(Ok(()), |shared| shared.received(message, fds));
            }
            _ => return Err(Error::new(CONNECT, ErrorKind::Corrupted).because("the server speaks out of turn")),
        };
        if message == connection::REFUSAL {
            *state = State::Refused;
            self.changed.notify_all();
            return Ok(());
        }
        *state = State::Ready(Box::new(connection::accept(link, message, fds)?), peer);
        self.changed.notify_all();
        Ok(())
    }

    fn disconnected(&self, peer: PeerId) {
        let mut state = self.state();
        let shared = match &*state {
            State::Linked(link) if link.peer().id == peer => None,
            State::Ready(_, id) if *id == peer => None,
            State::Taken(id, shared) if *id == peer => shared.upgrade(),
            _ => return,
        };
        let before = std::mem::replace(&mut *state, State::Gone);
        drop(state);
        drop(before);
        self.changed.notify_all();
        if let Some(shared) = shared {
            shared.server_is_gone();
        }
    }

    fn departed(&self, _: u32) {}
}
