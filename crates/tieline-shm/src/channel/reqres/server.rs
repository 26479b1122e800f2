//! The side that answers.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tieline_os::futex::Deadline;
use tieline_os::unix::Credentials;

use super::connection::{self, Body, Connection, Loan, MAX_AREA_LEN, MAX_AREAS, MAX_ENTRIES, Sizes};
use super::{WINDOW, to_client, to_server, waitable};
use crate::channel::doorbell::{self, Heard};
use crate::channel::payload::{self, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::{View, process};
use crate::rendezvous::{
    self, Access, IntoName, Joined, Link, MEMBERS_MAX, Membership, Offer, Participant, PeerId, Role,
};
use crate::segment::{Details, Fact, Kind, Purpose, Segment};
use crate::structure::calls::{Head, Message, Outgoing, Receiver};
use crate::wait::{Alarm, Alarms, EventCount, Source, Until, Waiting};

/// Answers the calls that come to a name; see the [module](super). Any thread may receive requests, and answer them.
pub struct Server<Q: Payload + ?Sized, R: Payload + ?Sized> {
    shared: Arc<Shared>,
    membership: Arc<Membership>,
    waiting: Waiting,
    patience: Duration,
    of: PhantomData<fn(&Q, &R)>,
}

/// How a [`Server`] is made.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::reqres::{Client, Server};
///
/// let server = Server::<[u8], [f32]>::options().payload_max_bytes(1 << 20).clients(4).bind("fourier")?;
/// let client = Client::<[u8], [f32]>::connect("fourier")?;
/// assert_eq!(client.payload_max_bytes(), 1 << 20);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
pub struct ServerOptions<Q: Payload + ?Sized, R: Payload + ?Sized> {
    sizes: Sizes,
    clients: u32,
    access: Access,
    waiting: Waiting,
    patience: Duration,
    of: PhantomData<fn(&Q, &R)>,
}

const ENTRIES: u32 = 64;
const AREAS: u32 = 4;
const AREA_LEN: u32 = 64 * 1024;
const CLIENTS: u32 = 256;
/// The name of a server that died is still held by its clients until they have noticed.
const SUCCESSION: Duration = Duration::from_millis(200);
/// A client that takes no messages is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// A dropped request's client is waited for so long.
const DROP_PATIENCE: Duration = Duration::from_millis(100);
/// So much of a failure's text is sent.
const FAILURE_MAX_BYTES: usize = 1000;
const RECEIVE: &str = "receive a request";
const RESPOND: &str = "respond";

impl<Q: Payload + ?Sized, R: Payload + ?Sized> ServerOptions<Q, R> {
    fn new() -> Self {
        let payload_max = payload::len_bytes::<Q>().max(payload::len_bytes::<R>()).unwrap_or(AREA_LEN as usize);
        let sizes = Sizes { entries: ENTRIES, areas: AREAS, area_len: AREA_LEN };
        let options = Self {
            sizes,
            clients: CLIENTS,
            access: Access::default(),
            waiting: Waiting::default(),
            patience: PATIENCE,
            of: PhantomData,
        };
        options.payload_max_bytes(payload_max.max(AREA_LEN as usize))
    }

    /// How many messages each direction of a connection holds, requests in work not counted: 1 to 65536, rounded up to a
    /// power of two; 64 unless told otherwise.
    #[must_use]
    pub fn capacity(mut self, messages: u32) -> Self {
        self.sizes.entries = messages.min(MAX_ENTRIES).next_power_of_two();
        self
    }

    /// How many large payloads each direction of a connection holds, those that are being written or read included: 1 to
    /// 4096; 4 unless told otherwise.
    #[must_use]
    pub fn areas(mut self, areas: u32) -> Self {
        self.sizes.areas = areas.min(MAX_AREAS);
        self
    }

    /// How many bytes a payload may have: up to 2^30; 64 KiB unless told otherwise, or as the types need.
    #[must_use]
    pub fn payload_max_bytes(mut self, bytes: usize) -> Self {
        let bytes = bytes.clamp(64, MAX_AREA_LEN as usize).next_multiple_of(64);
        self.sizes.area_len = u32::try_from(bytes).unwrap_or(MAX_AREA_LEN);
        self
    }

    /// How many clients may be connected: 1 to 1023; 256 unless told otherwise. Further ones are refused with
    /// `LimitReached`.
    #[must_use]
    pub fn clients(mut self, clients: u32) -> Self {
        self.clients = clients;
        self
    }

    /// Who may call needs the right to subscribe. The server's user unless told otherwise.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How calls of this handle wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// How long an answer waits for a client that takes no messages, or keeps all it was sent: five seconds unless told
    /// otherwise. Then the client is disconnected, so that none can hold up the others.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Begins to serve.
    ///
    /// # Errors
    /// `AlreadyExists` if somebody serves there; `InvalidInput` for a name or sizes beyond the limits; `PermissionDenied`
    /// and `NotFound` for the directory of names; `OutOfMemory`.
    pub fn bind(self, name: impl IntoName) -> Result<Server<Q, R>> {
        let name = name.into_name()?;
        let sizes = self.sizes.check()?;
        let mut state = State::default();
        // Others come with the first client of another user.
        let own = state.bell_of(Credentials::own().uid, name.as_str())?.1.clone();
        let start = Instant::now();
        let joined = loop {
            // The server, its clients, and one more, so that it is the server that refuses and says why.
            let members = match self.clients.saturating_add(1) {
                MEMBERS_MAX => MEMBERS_MAX,
                members => members.saturating_add(1),
            };
            let offer = offer::<Q, R>(Role::Producer, self.access.clone(), members);
            match rendezvous::create(&name, offer, SUCCESSION * 10) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && start.elapsed() < SUCCESSION => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                joined => break joined?,
            }
        };
        self.start(joined, name.as_str(), sizes, state, own)
    }

    fn start(
        self,
        joined: Joined,
        name: &str,
        sizes: Sizes,
        state: State,
        own: View<EventCount>,
    ) -> Result<Server<Q, R>> {
        let clients = self.clients as usize;
        let shared = Shared {
            name: name.to_owned(),
            sizes,
            clients,
            own,
            state: Mutex::new(state),
            alarms: OnceLock::new(),
            generation: process::generation(),
        };
        let shared = Arc::new(shared);
        let membership = Arc::new(joined.start(Arc::clone(&shared) as Arc<dyn Participant>)?);
        Ok(Server { shared, membership, waiting: self.waiting, patience: self.patience, of: PhantomData })
    }
}

/// What both sides say they are for.
pub(super) fn offer<'a, Q: Payload + ?Sized, R: Payload + ?Sized>(
    role: Role,
    access: Access,
    members: u32,
) -> Offer<'a> {
    Offer {
        kind: Kind::Calls,
        role,
        // Not symmetric: who asks what is part of the layout.
        layout_hash: payload::hash::<Q>().rotate_left(1) ^ payload::hash::<R>(),
        layout_text: format!("request:\n{}\nresponse:\n{}", payload::text::<Q>(), payload::text::<R>()),
        config: Vec::new(),
        access,
        members_max: members,
        core: None,
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Server<Q, R> {
    /// Serves with the usual options; see [`ServerOptions::bind`].
    ///
    /// # Errors
    /// As [`ServerOptions::bind`].
    pub fn bind(name: impl IntoName) -> Result<Self> {
        Self::options().bind(name)
    }

    /// Sizes and access other than the usual.
    #[must_use]
    pub fn options() -> ServerOptions<Q, R> {
        ServerOptions::new()
    }

    /// Takes the next request, of any client; waits until one is there. Clients that come and go do not end the wait.
    ///
    /// A client that breaks the rules is cut off, and the next request is taken.
    ///
    /// # Errors
    /// `Forked`.
    pub fn recv(&self) -> Result<Request<Q, R>> {
        self.recv_until(Until::Forever)
    }

    /// Takes the next request, if one is there.
    ///
    /// # Errors
    /// `WouldBlock`; `Forked`.
    pub fn try_recv(&self) -> Result<Request<Q, R>> {
        self.recv_until(Until::Now)
    }

    /// Takes the next request; waits for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`; `Forked`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Request<Q, R>> {
        self.recv_until(Until::At(Deadline::after(timeout)))
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.state().clients.len()
    }

    pub(crate) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<_>
    }

    fn recv_until(&self, until: Until) -> Result<Request<Q, R>> {
        self.membership.check()?;
        loop {
            let next = self.shared.state().next_request();
            if let Some((client, head, body)) = next {
                match self.accept(client, head, body) {
                    Some(request) => return Ok(request),
                    None => continue,
                }
            }
            let (bells, changes) = {
                let state = self.shared.state();
                (state.bells(), state.bell_changes)
            };
            // `None` if a client of another user came, whose bell must be waited for, too.
            let ready = || {
                let mut state = self.shared.state();
                match state.next_request() {
                    Some(next) => Some(Some(next)),
                    None if state.bell_changes != changes => Some(None),
                    None => None,
                }
            };
            let Some((client, head, body)) = EventCount::wait_any(&bells, self.waiting, until, RECEIVE, ready)? else {
                continue;
            };
            if let Some(request) = self.accept(client, head, body) {
                return Ok(request);
            }
        }
    }

    fn accept(&self, client: Arc<Peer>, head: Head, mut body: Body) -> Option<Request<Q, R>> {
        if payload::check::<Q>(&mut body.item, RECEIVE).is_err() {
            client.connection.close();
            return None;
        }
        let (membership, waiting) = (Arc::clone(&self.membership), self.waiting);
        let patience = self.patience;
        Some(Request { client, call: head.call, body, waiting, patience, is_over: false, membership, of: PhantomData })
    }
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> fmt::Debug for Server<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

struct Shared {
    name: String,
    sizes: Sizes,
    clients: usize,
    /// Where this server sleeps at least.
    own: View<EventCount>,
    state: Mutex<State>,
    /// Made when somebody first waits for several things at once.
    alarms: OnceLock<Alarms>,
    generation: u32,
}

#[derive(Default)]
struct State {
    clients: Vec<Client>,
    /// Who is asked first, so that nobody starves.
    turn: usize,
    /// Where the clients of a user find us asleep: one place for all of them.
    bells: HashMap<u32, (Segment, View<EventCount>)>,
    /// Counts what came to the bells and went from them.
    bell_changes: u64,
}

struct Client {
    id: PeerId,
    uid: u32,
    receiver: Receiver,
    peer: Arc<Peer>,
}

/// A client, as long as any of its requests is in work.
struct Peer {
    connection: Arc<Connection>,
    notes: Mutex<Receiver>,
    /// Where we sleep for it.
    bell: View<EventCount>,
    /// What is in work, in the order of its numbers.
    active: Mutex<VecDeque<Active>>,
}

struct Active {
    call: u64,
    is_over: bool,
    is_cancelled: bool,
    /// How many items may be sent before the client has read some.
    credit: u32,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Shared {
    fn is_ready(&self) -> bool {
        self.generation != process::generation()
            || self.state().clients.iter().any(|client| client.receiver.has_message())
    }

    fn alarms(&self) -> Result<&Alarms> {
        if let Some(alarms) = self.alarms.get() {
            return Ok(alarms);
        }
        // Under the lock, so that whoever connects is either among the clients or finds the alarms.
        let state = self.state();
        if self.alarms.get().is_none() {
            let alarms = Alarms::new()?;
            for client in &state.clients {
                wake_for(&alarms, client.peer.connection.link(), &client.peer.bell)?;
            }
            // Where clients of our own user notify; also before the first has come.
            if let Some((_, bell)) = state.bells.get(&Credentials::own().uid) {
                alarms.add(BY_LINES, Alarm::by_lines(alarms.bell(), bell, 0));
            }
            let _ = self.alarms.set(alarms);
        }
        self.alarms.get().ok_or_else(|| Error::new(RECEIVE, ErrorKind::System))
    }
}

/// Under which key the alarm is that clients ring themselves; the others are under their users' numbers.
const BY_LINES: u64 = 1 << 32;

/// Has the alarms ring for what this client sends, too: by itself, if it may have our bell, else by the relay.
fn wake_for(alarms: &Alarms, link: &Link, bell: &View<EventCount>) -> Result<()> {
    if doorbell::hand(link, waitable::MESSAGES, alarms.bell()) { Ok(()) } else { relay_for(alarms, link, bell) }
}

/// Has the relay ring for what the clients of this one's user send.
fn relay_for(alarms: &Alarms, link: &Link, bell: &View<EventCount>) -> Result<()> {
    let user = u64::from(link.peer().uid);
    if !alarms.has(user) {
        alarms.add(user, Alarm::by_relay(alarms.bell(), bell)?);
    }
    Ok(())
}

impl State {
    fn bells(&self) -> Vec<View<EventCount>> {
        self.bells.values().map(|(_, bell)| bell.clone()).collect()
    }

    fn bell_of(&mut self, uid: u32, name: &str) -> Result<&(Segment, View<EventCount>)> {
        match self.bells.entry(uid) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let purpose = Purpose { kind: Kind::Calls, name, layout_hash: 0 };
                let segment = Segment::create(&purpose, size_of::<EventCount>())?;
                let facts = [Fact::word("server asleep", 0)];
                segment.describe(&Details { layout: None, version: 1, facts: &facts })?;
                let bell = segment.view(0)?;
                self.bell_changes += 1;
                Ok(entry.insert((segment, bell)))
            }
        }
    }

    /// The next request of whose turn it is. Clients that break the rules are cut off.
    fn next_request(&mut self) -> Option<(Arc<Peer>, Head, Body)> {
        let count = self.clients.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Client { receiver, peer, .. } = &mut self.clients[index];
            if !receiver.has_message() {
                continue;
            }
            match receiver.try_receive().and_then(|message| peer.begin(message)) {
                Ok(next) => {
                    let peer = Arc::clone(peer);
                    self.turn = (index + 1) % count;
                    return Some((peer, next.0, next.1));
                }
                Err(_) => peer.connection.close(),
            }
        }
        None
    }
}

impl Peer {
    /// Puts a request in work.
    fn begin(self: &Arc<Self>, message: Message) -> Result<(Head, Body)> {
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

    fn active(&self) -> MutexGuard<'_, VecDeque<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, call: u64) {
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

    fn is_cancelled(&self, call: u64) -> bool {
        self.read_notes();
        self.connection.is_gone() || find(&mut self.active(), call).is_none_or(|call| call.is_cancelled)
    }
}

fn find(active: &mut VecDeque<Active>, call: u64) -> Option<&mut Active> {
    let index = active.binary_search_by_key(&call, |active| active.call).ok()?;
    active.get_mut(index)
}

impl Participant for Shared {
    fn connected(&self, link: &Link) -> Result<()> {
        let mut state = self.state();
        if state.clients.len() >= self.clients {
            drop(state);
            // Said rather than refused to the keeper, so that the client is told why.
            link.send(&connection::REFUSAL, &[])?;
            link.close();
            return Ok(());
        }
        let (segment, bell) = state.bell_of(link.peer().uid, &self.name)?;
        let opened = connection::offer(link, &self.name, self.sizes, (segment, bell))?;
        let notes = Mutex::new(opened.notes);
        let peer = Peer { connection: opened.connection, notes, bell: bell.clone(), active: Mutex::default() };
        let peer = Arc::new(peer);
        if let Some(alarms) = self.alarms.get() {
            wake_for(alarms, link, &peer.bell)?;
        }
        let (id, uid) = (link.peer().id, link.peer().uid);
        state.clients.push(Client { id, uid, receiver: opened.receiver, peer });
        drop(state);
        // Whoever waits may have to wait in one more place.
        self.own.notify();
        Ok(())
    }

    fn received(&self, peer: PeerId, message: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        let heard = waitable::heard(message)?;
        let client =
            self.state().clients.iter().find(|client| client.id == peer).map(|client| Arc::clone(&client.peer));
        // One that is not among them is on its way out.
        let Some(client) = client else { return Ok(()) };
        match (heard, self.alarms.get()) {
            (Heard::Bell(_), _) => client.connection.hang(fds),
            (Heard::NoBell(_), Some(alarms)) => relay_for(alarms, client.connection.link(), &client.bell),
            (Heard::NoBell(_), None) => Ok(()),
        }
    }

    fn disconnected(&self, peer: PeerId) {
        let mut state = self.state();
        let Some(index) = state.clients.iter().position(|client| client.id == peer) else { return };
        // What it asked and nobody took is forgotten.
        let gone = state.clients.swap_remove(index);
        let bell = state.bells();
        if gone.uid != Credentials::own().uid && state.clients.iter().all(|client| client.uid != gone.uid) {
            // Users come and go; what was made for one is not kept for ever.
            state.bells.remove(&gone.uid);
            state.bell_changes += 1;
        }
        drop(state);
        gone.peer.connection.peer_is_gone();
        // Who waits for credit must look now.
        bell.iter().for_each(|bell| bell.wake_after_death());
    }

    fn departed(&self, _: u32) {}
}

/// A call that came, to be answered once: by [`respond`](Self::respond), by [`item`](Self::item)s and
/// [`end`](Self::end), or by [`fail`](Self::fail). It dereferences to what was asked.
///
/// Dropping it unanswered is a failure, which the client is told. It may be answered from any thread.
#[must_use = "dropping it tells the client that the server failed"]
pub struct Request<Q: Payload + ?Sized, R: Payload + ?Sized> {
    client: Arc<Peer>,
    call: u64,
    body: Body,
    waiting: Waiting,
    patience: Duration,
    is_over: bool,
    /// The line lasts as long as the membership.
    membership: Arc<Membership>,
    of: PhantomData<fn(&Q, &R)>,
}

impl<Q: Payload + ?Sized, R: Payload + ?Sized> Request<Q, R> {
    /// Answers. Waits while the client takes no messages, as long as the server's
    /// [patience](ServerOptions::patience).
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

    /// Sends one item of a streamed response. Waits while the client is [`WINDOW`] items behind,
    /// as long as the server's [patience](ServerOptions::patience).
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

/// What wakes a task that waits for room to answer.
#[cfg(feature = "tokio")]
pub(crate) struct WayOut(Arc<Connection>);

#[cfg(feature = "tokio")]
impl WayOut {
    pub(crate) fn alarms(&self) -> Result<&Alarms> {
        self.0.room_alarms()
    }
}

/// For tasks, to which "not yet" is `None`.
#[cfg(feature = "tokio")]
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

#[cfg(feature = "tokio")]
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

impl<Q: Payload + ?Sized, R: ShmSafe> Request<Q, [R]> {
    /// A place to write a response of `count` values into, without a copy. Waits while the client keeps all of them, as
    /// long as the server's [patience](ServerOptions::patience).
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
