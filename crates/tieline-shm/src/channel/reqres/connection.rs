//! What both sides of a connection have: its memory, the way out, and who is at the other end.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tieline_os::Access;
use tieline_os::unix::Credentials;

use super::signature::Signature;
use super::waitable::Bells;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::{View, process};
use crate::rendezvous::Link;
use crate::segment::{Details, Kind, Purpose, Segment};
use crate::structure::calls::{
    Area, Areas, Control, Entry, Head, Message, Outgoing, Payload, Receiver, Ring, RingPlaces, Sender,
};
use crate::structure::cells::Cells;
use crate::structure::held::{Held, Trust};
#[cfg(feature = "tokio")]
use crate::wait::Alarms;
use crate::wait::{EventCount, Until, Waiting};

/// The sizes of a connection, which the server decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// How many messages each ring holds: a power of two.
    pub(super) entries: u32,
    /// How many areas each direction has.
    pub(super) areas: u32,
    /// How long each is: a multiple of 64.
    pub(super) area_len: u32,
}

const OPEN: &str = "open a connection";
/// The first byte of what the server sends.
const VERSION: u8 = 1;
/// What the server sends instead if it has all its clients.
pub(super) const REFUSAL: [u8; 1] = [0];
pub(super) const MAX_ENTRIES: u32 = 1 << 16;
pub(super) const MAX_AREAS: u32 = 1 << 12;
pub(super) const MAX_AREA_LEN: u32 = 1 << 30;
const LINES: usize = 128;

impl Sizes {
    pub(super) fn check(self) -> Result<Self> {
        let fits = (1..=MAX_ENTRIES).contains(&self.entries)
            && self.entries.is_power_of_two()
            && (1..=MAX_AREAS).contains(&self.areas)
            && (64..=MAX_AREA_LEN).contains(&self.area_len)
            && self.area_len.is_multiple_of(64);
        if fits {
            Ok(self)
        } else {
            Err(Error::new(OPEN, ErrorKind::InvalidInput).because("its sizes are beyond the limits"))
        }
    }

    fn entries_offset() -> usize {
        size_of::<Control>() + LINES
    }

    fn released_offset(self) -> usize {
        Self::entries_offset() + self.entries as usize * size_of::<Entry>()
    }

    fn cells_offset(self) -> usize {
        self.released_offset() + (self.areas as usize * 8).next_multiple_of(LINES)
    }

    /// The bytes of one direction.
    fn direction(self) -> usize {
        self.cells_offset() + (self.areas as usize).saturating_mul(self.area_len as usize).next_multiple_of(LINES)
    }

    /// The ring for cancellations and credits, which must not queue behind requests.
    fn notes(self) -> Self {
        Self { areas: 0, ..self }
    }

    /// The bytes of both directions and of the notes.
    fn total(self) -> usize {
        self.direction().saturating_mul(2).saturating_add(self.notes().direction())
    }

    /// Where the ring that begins there has its parts.
    fn places(self, start: usize) -> RingPlaces {
        RingPlaces {
            control: start,
            entries: (start + Self::entries_offset(), self.entries as usize),
            released: (start + self.released_offset(), self.areas as usize),
        }
    }

    /// One direction: its ring, and where its receiver may sleep.
    fn open(self, segment: &Segment, start: usize) -> Result<(Ring, View<EventCount>)> {
        let len = self.areas as usize * self.area_len as usize;
        let cells = Cells::new(segment.slice(start + self.cells_offset(), len / 8)?);
        let released = segment.slice(start + self.released_offset(), self.areas as usize)?;
        let areas = Areas::new(released, cells, self.area_len as usize)?;
        let entries = segment.slice(start + Self::entries_offset(), self.entries as usize)?;
        let bell = segment.view(start + size_of::<Control>())?;
        Ok((Ring::new(segment.view(start)?, entries, areas)?, bell))
    }
}

/// One side of a connection, but for the receiver.
pub(super) struct Connection {
    link: Link,
    is_gone: AtomicBool,
    sender: Mutex<Sender>,
    /// Where senders of this side wait for room.
    room: View<Control>,
    /// Where the peer sleeps.
    peer_bell: View<EventCount>,
    /// The areas that come in, and where the peer's senders wait for them.
    incoming: Areas,
    incoming_room: View<Control>,
    trust: Trust,
    bells: Bells,
    generation: u32,
}

/// What a side gets when a connection is opened.
pub(super) struct Opened<N> {
    pub(super) connection: Arc<Connection>,
    pub(super) receiver: Receiver,
    /// This side's end of the ring of notes.
    pub(super) notes: N,
    /// Where a client sleeps; a server has one place for all its connections.
    pub(super) bell: View<EventCount>,
}

/// Makes a connection's memory and sends it to the client, with the place where the server sleeps.
pub(super) fn offer(
    link: &Link,
    name: &str,
    signature: &Signature,
    sizes: Sizes,
    bell: (&Segment, &View<EventCount>),
) -> Result<Opened<Receiver>> {
    let purpose = Purpose { kind: Kind::Calls, name, layout_hash: signature.hash };
    let segment = Segment::create(&purpose, sizes.total())?;
    let responses_at = sizes.direction();
    let facts = RingPlaces::facts(sizes.places(0), sizes.places(responses_at), responses_at + size_of::<Control>());
    segment.describe(&Details { layout: None, version: 1, facts: &facts })?;
    segment.tell_layout(signature.request_name, &signature.text)?;
    let (requests, _) = sizes.open(&segment, 0)?;
    let (responses, client_bell) = sizes.open(&segment, responses_at)?;
    let (notes, _) = sizes.notes().open(&segment, 2 * sizes.direction())?;
    let mut message = vec![VERSION];
    for size in [sizes.entries, sizes.areas, sizes.area_len] {
        message.extend(size.to_le_bytes());
    }
    let fds: [BorrowedFd<'_>; 2] = [segment.as_fd(), bell.0.as_fd()];
    link.send(&message, &fds)?;
    Ok(connect(link, requests, responses, client_bell, bell.1.clone(), notes.receiver()))
}

/// Takes what the server sent.
pub(super) fn accept(link: &Link, signature: &Signature, message: &[u8], fds: Vec<OwnedFd>) -> Result<Opened<Sender>> {
    let corrupted = || Error::new(OPEN, ErrorKind::Corrupted).because("its server says what no server says");
    let Some((&[VERSION], rest)) = message.split_first_chunk() else { return Err(corrupted()) };
    let (words, []) = rest.as_chunks::<4>() else { return Err(corrupted()) };
    let &[entries, areas, area_len] = words else { return Err(corrupted()) };
    let number = u32::from_le_bytes;
    let sizes = Sizes { entries: number(entries), areas: number(areas), area_len: number(area_len) }.check();
    let sizes = sizes.map_err(|_| corrupted())?;
    let [segment, server] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| corrupted())?;
    let segment = Segment::accept(segment, Kind::Calls, signature.expected(), Access::ReadWrite)?;
    // It carries no payload.
    let server = Segment::accept(server, Kind::Calls, 0, Access::ReadWrite)?;
    let (requests, _) = sizes.open(&segment, 0)?;
    let (responses, bell) = sizes.open(&segment, sizes.direction())?;
    let (notes, _) = sizes.notes().open(&segment, 2 * sizes.direction())?;
    let server: View<EventCount> = server.view(0)?;
    Ok(connect(link, responses, requests, server.clone(), bell, notes.sender(server)))
}

/// `peer_bell` is where the peer sleeps, `bell` where we do.
fn connect<N>(
    link: &Link,
    into: Ring,
    out: Ring,
    peer_bell: View<EventCount>,
    bell: View<EventCount>,
    notes: N,
) -> Opened<N> {
    let trusted = link.peer().uid == Credentials::own().uid;
    let connection = Connection {
        link: link.clone(),
        is_gone: AtomicBool::new(false),
        room: out.control().clone(),
        sender: Mutex::new(out.sender(peer_bell.clone())),
        peer_bell,
        incoming: into.areas().clone(),
        incoming_room: into.control().clone(),
        trust: if trusted { Trust::SameUser } else { Trust::Nobody },
        bells: Bells::default(),
        generation: process::generation(),
    };
    Opened { connection: Arc::new(connection), receiver: into.receiver(), notes, bell }
}

impl Connection {
    /// Refuses in a forked child.
    pub(super) fn check(&self) -> Result<()> {
        if self.generation == process::generation() {
            Ok(())
        } else {
            Err(Error::new("use the connection", ErrorKind::Forked))
        }
    }

    /// Whether the peer left or died; what it sent before is there by then.
    pub(super) fn is_gone(&self) -> bool {
        // Acquire: pairs with `peer_is_gone`.
        self.is_gone.load(Ordering::Acquire)
    }

    /// To be called when the peer left or died. Receivers are woken by who knows where they sleep.
    pub(super) fn peer_is_gone(&self) {
        // Release: what the keeper saw before. Pairs with `is_gone`.
        self.is_gone.store(true, Ordering::Release);
        self.room.room.wake_after_death();
    }

    /// One more request of the peer's is in work, or one less; to be called by one thread at a time.
    pub(super) fn count_in_work(&self, change: i64) {
        self.incoming_room.count_in_work(change);
    }

    /// The line to the peer.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Takes the peer's bell, to be rung for each message to it.
    pub(super) fn hang(&self, fds: Vec<OwnedFd>) -> Result<()> {
        self.bells.hang(&self.link, &self.peer_bell, fds)
    }

    /// What wakes a task that waits for room.
    #[cfg(feature = "tokio")]
    pub(super) fn room_alarms(&self) -> Result<&Alarms> {
        self.bells.room(&self.room.part(|control| &control.room))
    }

    /// Has whoever waits for room look again.
    pub(super) fn room_changed(&self) {
        self.room.room.notify();
    }

    /// Wakes the peer's receivers.
    pub(super) fn ring(&self) {
        self.peer_bell.notify();
    }

    /// Ends the conversation with a peer that breaks the rules.
    pub(super) fn close(&self) {
        self.link.close();
    }

    /// Sends a message; waits for room, in the ring or for an area.
    ///
    /// # Errors
    /// `PeerGone`, `TooLarge`, `TimedOut`, `WouldBlock`, `Corrupted`, `Forked`.
    pub(super) fn send(
        &self,
        head: Head,
        payload: &Outgoing<'_>,
        waiting: Waiting,
        until: Until,
        operation: &'static str,
    ) -> Result<()> {
        self.attempt(waiting, until, operation, |sender| sender.try_send(head, payload))
    }

    /// Takes an area to write a payload of `count` values into.
    ///
    /// # Errors
    /// As [`send`](Self::send); `InvalidInput` if zeros are no value of the type.
    pub(super) fn loan<T: ShmSafe>(
        self: &Arc<Self>,
        count: usize,
        waiting: Waiting,
        until: Until,
        operation: &'static str,
    ) -> Result<Loan<T>> {
        let most = self.area_len_bytes();
        let len = count.saturating_mul(size_of::<T>());
        if len > most {
            return Err(Error::new(operation, ErrorKind::TooLarge).because(format!("a payload may have {most} bytes")));
        }
        let area = self.attempt(waiting, until, operation, Sender::try_area)?;
        let sender = self.sender();
        let areas = sender.ring().areas();
        let held = Held::to_write(areas.cells(), areas.offset(area), len, self.trust);
        drop(sender);
        let mut loan = Loan { connection: Arc::clone(self), area: Some(area), len, held, of: PhantomData };
        loan.held.prepare::<T>(operation)?;
        Ok(loan)
    }

    /// How long a payload may be.
    pub(super) fn area_len_bytes(&self) -> usize {
        self.incoming.area_len_bytes()
    }

    fn attempt<R>(
        &self,
        waiting: Waiting,
        until: Until,
        operation: &'static str,
        mut attempt: impl FnMut(&mut Sender) -> Result<R>,
    ) -> Result<R> {
        self.check()?;
        self.room.room.wait(waiting, until, operation, || {
            if self.is_gone() {
                return Some(Err(Error::new(operation, ErrorKind::PeerGone)));
            }
            match attempt(&mut self.sender()) {
                Err(error) if error.is_would_block() => None,
                answer => Some(answer),
            }
        })?
    }

    fn sender(&self) -> MutexGuard<'_, Sender> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payload of a message that came, which gives its area back when dropped.
    pub(super) fn body(self: &Arc<Self>, message: Message) -> Body {
        match message.payload {
            Payload::Inline(inline) => Body { item: Held::small(inline.as_bytes()), area: None },
            Payload::Area(area, len) => {
                let offset = self.incoming.offset(area);
                let held = Held::to_read(self.incoming.cells(), offset, len, self.trust);
                Body { item: held, area: Some((Arc::clone(self), area)) }
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("link", &self.link).field("is_gone", &self.is_gone()).finish_non_exhaustive()
    }
}

/// The payload of a message that came.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) item: Held,
    area: Option<(Arc<Connection>, Area)>,
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some((connection, area)) = self.area.take()
            && connection.check().is_ok()
        {
            connection.incoming.release(area);
            connection.incoming_room.room.notify();
        }
    }
}

/// A place for a large payload, to be written where it lies and then sent.
///
/// It dereferences to the values, which at first are any, such as those of an earlier payload: write all of them.
/// Dropping it gives the place back.
#[derive(Debug)]
#[must_use = "dropping it sends nothing"]
pub struct Loan<T: ShmSafe> {
    connection: Arc<Connection>,
    /// `None` once it is sent.
    area: Option<Area>,
    len: usize,
    held: Held,
    of: PhantomData<T>,
}

impl<T: ShmSafe> Loan<T> {
    /// Only the first `count` values will be sent; more than there are changes nothing.
    pub fn truncate(&mut self, count: usize) {
        self.len = self.len.min(count.saturating_mul(size_of::<T>()));
        self.held.truncate(self.len);
    }

    /// Sends it over `connection`, which must be the one it was taken from.
    pub(super) fn send(
        mut self,
        over: &Arc<Connection>,
        head: Head,
        waiting: Waiting,
        until: Until,
        operation: &'static str,
    ) -> Result<()> {
        if !Arc::ptr_eq(over, &self.connection) {
            return Err(Error::new(operation, ErrorKind::InvalidInput).because("the loan is another connection's"));
        }
        self.held.store();
        let Some(area) = self.area else { return Ok(()) };
        over.send(head, &Outgoing::Area(area, self.len), waiting, until, operation)?;
        self.area = None;
        Ok(())
    }
}

impl<T: ShmSafe> Deref for Loan<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.held.items()
    }
}

impl<T: ShmSafe> DerefMut for Loan<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.held.items_mut()
    }
}

impl<T: ShmSafe> Drop for Loan<T> {
    fn drop(&mut self) {
        // In a forked child the area is the parent's, and so may the lock be for ever.
        if let Some(area) = self.area.take()
            && self.connection.check().is_ok()
        {
            self.connection.sender().put_back(area);
            self.connection.room.room.notify();
        }
    }
}
