//! A ring of messages with one sender and one receiver: one direction of a connection that carries calls.
//!
//! A small message lies in its entry, beside the stamp that says it is there, so that it takes no more cache lines than
//! it fills. A larger one lies in an *area*, of which the sender has a few and which the receiver may keep while it goes
//! on receiving.
//!
//! The invariant: an entry is the receiver's from the moment its stamp tells its position until the receiver's position
//! is beyond it; an area is the receiver's from the message that names it until its word tells that message's number.
//! Both are given away by a single store after the last access, so a death at any instruction gives nothing away half.
//!
//! The free areas are a private list of the sender's: no list lies in shared memory that could be broken. Stamp and
//! payload in the same line are ringfire's and DPDK's way. It knows nothing of what messages mean, of sockets and names.

mod area;
#[cfg(all(test, model))]
mod model;
#[cfg(all(test, not(model)))]
mod tests;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::{View, Words, step, words};
#[cfg(not(model))]
use crate::segment::Fact;
use crate::structure::planted::{Bug, planted};
use crate::wait::EventCount;

pub(crate) use area::{Area, Areas};

/// What sender and receiver share besides entries and areas; see `docs/formats/shm-reqres.md`.
#[repr(C, align(128))]
pub(crate) struct Control {
    /// The position of the next entry the receiver looks at.
    receiver: AtomicU64,
    /// Of requests: how many of those that were received are not answered; for people who look.
    in_work: AtomicU64,
    _rest: [AtomicU64; 14],
    /// The sender sleeps here. Where the receiver sleeps is told to the sender: one place may serve many connections.
    pub(crate) room: EventCount,
    _reserved: [AtomicU64; 8],
}

// SAFETY: repr(C), atomics and structs of atomics; 128 + 64 + 64 bytes without a gap, which a test pins.
unsafe impl Words for Control {}

impl Control {
    /// The receiver, whose calls are counted by one thread at a time, has one more or one less in work.
    pub(crate) fn count_in_work(&self, change: i64) {
        // Relaxed, both: for people who look.
        let before = self.in_work.load(Ordering::Relaxed);
        self.in_work.store(before.wrapping_add_signed(change), Ordering::Relaxed);
    }
}

/// Where one ring tells lookers how it is, if its control part, its entries and its areas' words lie so far behind the
/// start of the body.
#[cfg(not(model))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingPlaces {
    pub(crate) control: usize,
    pub(crate) entries: (usize, usize),
    pub(crate) released: (usize, usize),
}

#[cfg(not(model))]
impl RingPlaces {
    /// In a connection: of the ring of requests, that of responses, and where the client sleeps.
    pub(crate) fn facts(requests: Self, responses: Self, client: usize) -> [Fact<'static>; 10] {
        let received = |name, ring: &Self| Fact::word(name, ring.control + std::mem::offset_of!(Control, receiver));
        let stamps = |name, ring: &Self| {
            let (at, count) = ring.entries;
            Fact::words(name, at + std::mem::offset_of!(Entry, stamp), count, size_of::<Entry>())
        };
        let areas = |name, ring: &Self| Fact::words(name, ring.released.0, ring.released.1, 8);
        let room = |name, ring: &Self| Fact::word(name, ring.control + std::mem::offset_of!(Control, room));
        [
            received("requests received", &requests),
            Fact::word("calls in work", requests.control + std::mem::offset_of!(Control, in_work)),
            stamps("request stamp", &requests),
            areas("request area", &requests),
            room("requester asleep", &requests),
            received("responses received", &responses),
            stamps("response stamp", &responses),
            areas("response area", &responses),
            room("responder asleep", &responses),
            Fact::word("client asleep", client),
        ]
    }
}

/// One message, or where it lies.
#[repr(C, align(128))]
pub(crate) struct Entry {
    /// The entry's position plus one, once the message is there.
    stamp: AtomicU64,
    /// What the message is (8 bits), whether it lies in an area (8), 16 bits of 0, its length (32).
    head: AtomicU64,
    /// Which call it belongs to.
    call: AtomicU64,
    /// The area's number (32) and how often it was used (32), or else what the kind of message says.
    place: AtomicU64,
    inline: [AtomicU64; INLINE_WORDS],
}

// SAFETY: repr(C), sixteen 64-bit atomics.
unsafe impl Words for Entry {}

const INLINE_WORDS: usize = 12;
/// Longer messages lie in an area.
pub(crate) const INLINE_BYTES: usize = INLINE_WORDS * 8;

const IN_AREA: u64 = 1 << 8;
const LEN_SHIFT: u32 = 32;

/// The ring as both sides see it.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    control: View<Control>,
    entries: View<[Entry]>,
    areas: Areas,
}

/// What a message says besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) call: u64,
    /// For messages without an area.
    pub(crate) extra: u64,
}

/// A message's payload on its way out.
#[derive(Debug)]
pub(crate) enum Outgoing<'a> {
    Bytes(&'a [u8]),
    Area(Area, usize),
}

/// A message that came.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) payload: Payload,
}

/// The payload of a message that came.
#[derive(Debug)]
pub(crate) enum Payload {
    Inline(Inline),
    /// Lies in an area, with so many bytes; to be [released](Areas::release).
    Area(Area, usize),
}

/// A small payload, copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inline {
    bytes: [u8; INLINE_BYTES],
    len: usize,
}

impl Inline {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const SEND: &str = "send a message";
const RECEIVE: &str = "receive a message";

impl Ring {
    /// All memory is zero when the ring is new, which makes an empty one.
    ///
    /// # Errors
    /// `Corrupted` if the number of entries is no power of two.
    pub(crate) fn new(control: View<Control>, entries: View<[Entry]>, areas: Areas) -> Result<Self> {
        if !entries.len().is_power_of_two() {
            return Err(Error::new("open a connection", ErrorKind::Corrupted).because("its ring is no power of two"));
        }
        Ok(Self { control, entries, areas })
    }

    pub(crate) fn control(&self) -> &View<Control> {
        &self.control
    }

    pub(crate) fn areas(&self) -> &Areas {
        &self.areas
    }

    /// The sending side; to be made once. `bell` is where its receiver sleeps.
    pub(crate) fn sender(self, bell: View<EventCount>) -> Sender {
        let unused = area::Unused::new(&self.areas);
        Sender { ring: self, bell, tail: 0, receiver: 0, unused }
    }

    /// The receiving side; to be made once.
    pub(crate) fn receiver(self) -> Receiver {
        Receiver { ring: self, head: 0 }
    }

    fn entry(&self, position: u64) -> &Entry {
        &self.entries[position as usize & (self.entries.len() - 1)]
    }
}

/// The sending side. One per ring.
#[derive(Debug)]
pub(crate) struct Sender {
    ring: Ring,
    bell: View<EventCount>,
    tail: u64,
    /// The receiver's position as last seen.
    receiver: u64,
    unused: area::Unused,
}

impl Sender {
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Takes an area to write a large payload into; to be sent, or [handed back](Self::put_back).
    ///
    /// # Errors
    /// `WouldBlock` if the receiver keeps all of them.
    pub(crate) fn try_area(&mut self) -> Result<Area> {
        self.unused.take(&self.ring.areas).ok_or_else(|| Error::new(SEND, ErrorKind::WouldBlock))
    }

    /// Hands back an area that will not be sent.
    pub(crate) fn put_back(&mut self, area: Area) {
        self.unused.put_back(area);
    }

    /// Sends a message and wakes the receiver. An area is the receiver's afterwards; if it could not be sent, the
    /// caller has it still.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, also in areas; `TooLarge`; `Corrupted`.
    pub(crate) fn try_send(&mut self, head: Head, payload: &Outgoing<'_>) -> Result<()> {
        if self.room()? == 0 {
            return Err(Error::new(SEND, ErrorKind::WouldBlock));
        }
        match *payload {
            Outgoing::Bytes(bytes) if bytes.len() <= INLINE_BYTES => {
                self.publish(head, 0, head.extra, bytes, bytes.len());
            }
            Outgoing::Bytes(bytes) => {
                if bytes.len() > self.ring.areas.area_len_bytes() {
                    return Err(Error::new(SEND, ErrorKind::TooLarge));
                }
                let area = self.try_area()?;
                self.ring.areas.cells().copy_in(self.ring.areas.offset(area), bytes);
                step("calls:copied-in");
                self.publish_area(head, area, bytes.len());
            }
            Outgoing::Area(area, len) => self.publish_area(head, area, len),
        }
        Ok(())
    }

    fn publish_area(&mut self, head: Head, area: Area, len: usize) {
        self.unused.sent(area);
        self.publish(head, IN_AREA, area.to_word(), &[], len);
    }

    fn publish(&mut self, head: Head, flags: u64, place: u64, inline: &[u8], len: usize) {
        let entry = self.ring.entry(self.tail);
        self.tail = self.tail.wrapping_add(1);
        if planted(Bug::StampBeforeWords) {
            entry.stamp.store(self.tail, Ordering::Release);
        }
        // Relaxed: the stamp releases them.
        entry.head.store(u64::from(head.kind) | flags | (len as u64) << LEN_SHIFT, Ordering::Relaxed);
        entry.call.store(head.call, Ordering::Relaxed);
        entry.place.store(place, Ordering::Relaxed);
        words::store_bytes(&entry.inline[..inline.len().div_ceil(8)], inline);
        step("calls:written");
        // Release: the message, in the entry and in the area. Pairs with the load in `Receiver::try_receive`.
        entry.stamp.store(self.tail, Ordering::Release);
        step("calls:stamped");
        if !planted(Bug::NoNotify) {
            self.bell.notify();
        }
    }

    /// How many entries are free, looking at the receiver's position only if none is known of.
    fn room(&mut self) -> Result<usize> {
        let room = |receiver: u64| self.ring.entries.len().checked_sub(self.tail.wrapping_sub(receiver) as usize);
        if let Some(known @ 1..) = room(self.receiver) {
            return Ok(known);
        }
        // Acquire: the receiver is done with the entries before it. Pairs with the store in `Receiver::try_receive`.
        let receiver = self.ring.control.receiver.load(Ordering::Acquire);
        let Some(room) = room(receiver).filter(|_| self.tail.wrapping_sub(receiver) <= self.ring.entries.len() as u64)
        else {
            return Err(Error::new(SEND, ErrorKind::Corrupted).because("the peer's position lies outside the ring"));
        };
        self.receiver = receiver;
        Ok(room)
    }
}

/// The receiving side. One per ring.
#[derive(Debug)]
pub(crate) struct Receiver {
    ring: Ring,
    head: u64,
}

impl Receiver {
    #[cfg(any(test, model))]
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Whether a message is there: one load.
    pub(crate) fn has_message(&self) -> bool {
        // Relaxed: whoever acts on it looks again.
        self.ring.entry(self.head).stamp.load(Ordering::Relaxed) == self.head.wrapping_add(1)
    }

    /// Takes the next message, and wakes the sender if it waits for room.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `Corrupted` if the entry holds what no sender writes.
    pub(crate) fn try_receive(&mut self) -> Result<Message> {
        let entry = self.ring.entry(self.head);
        // Acquire: the message. Pairs with the store in `Sender::publish`.
        let stamp = entry.stamp.load(Ordering::Acquire);
        let next = self.head.wrapping_add(1);
        if stamp != next {
            let lap = self.ring.entries.len() as u64;
            let before = next.saturating_sub(lap);
            let kind = if stamp == before { ErrorKind::WouldBlock } else { ErrorKind::Corrupted };
            return Err(Error::new(RECEIVE, kind));
        }
        // Relaxed throughout: ordered by the stamp. Each is loaded once, and checked before use.
        let head = entry.head.load(Ordering::Relaxed);
        let call = entry.call.load(Ordering::Relaxed);
        let extra = entry.place.load(Ordering::Relaxed);
        let len = (head >> LEN_SHIFT) as usize;
        let payload = if head & IN_AREA == 0 {
            if len > INLINE_BYTES {
                return Err(Error::new(RECEIVE, ErrorKind::Corrupted).because("a message is longer than its entry"));
            }
            let mut bytes = [0; INLINE_BYTES];
            words::load_bytes(&entry.inline[..len.div_ceil(8)], &mut bytes[..len]);
            Payload::Inline(Inline { bytes, len })
        } else {
            Payload::Area(self.ring.areas.hold(extra, len)?, len)
        };
        step("calls:copied-out");
        self.head = next;
        // Release: our loads from the entry come before. Pairs with the load in `Sender::room`.
        self.ring.control.receiver.store(next, Ordering::Release);
        step("calls:received");
        self.ring.control.room.notify();
        Ok(Message { head: Head { kind: head as u8, call, extra }, payload })
    }
}
