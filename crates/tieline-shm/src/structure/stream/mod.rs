//! A ring of bytes with one writer and one reader: one direction of a byte stream.
//!
//! The invariant: the bytes from `head` to `tail` are the reader's, all others the writer's. Only the writer moves
//! `tail`, only the reader moves `head`, each after it is done with the bytes it gives away; so neither needs more than
//! plain stores, and a death at any instruction leaves whole what was given away before.
//!
//! Each side keeps its own position in private memory and the other's as last seen, and looks again only when that does
//! not suffice (the ring of LMAX Disruptor and of rtrb). A position from the peer is believed only if it lies within the
//! ring's capacity of our own. It knows nothing of sockets, deaths and names.

#[cfg(all(test, model))]
mod model;
#[cfg(all(test, not(model)))]
mod tests;

#[cfg(not(model))]
use std::mem::offset_of;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::{View, Words, step};
#[cfg(not(model))]
use crate::segment::Fact;
use crate::structure::cells::Cells;
use crate::structure::planted::{Bug, planted};
use crate::wait::EventCount;

/// What writer and reader share besides the bytes; see `docs/formats/shm-stream.md`.
#[repr(C, align(128))]
pub(crate) struct Control {
    writer: Side,
    reader: Side,
    /// The reader sleeps here.
    pub(crate) bytes: EventCount,
    /// The writer sleeps here.
    pub(crate) room: EventCount,
}

// SAFETY: repr(C), atomics and structs of atomics; 128 + 128 + 64 + 64 bytes without a gap, which a test pins.
unsafe impl Words for Control {}

impl Control {
    /// Where two rings tell lookers how they are, if their control parts begin the segment.
    #[cfg(not(model))]
    pub(crate) const FACTS: [Fact<'static>; 6] = {
        const fn of_both(name: &str, offset: usize) -> Fact<'_> {
            Fact::words(name, offset, 2, size_of::<Control>())
        }
        let (writer, reader) = (offset_of!(Self, writer), offset_of!(Self, reader));
        [
            of_both("written", writer + offset_of!(Side, position)),
            of_both("writer closed", writer + offset_of!(Side, is_closed)),
            of_both("read", reader + offset_of!(Side, position)),
            of_both("reader closed", reader + offset_of!(Side, is_closed)),
            of_both("reader asleep", offset_of!(Self, bytes)),
            of_both("writer asleep", offset_of!(Self, room)),
        ]
    };
}

/// What one side stores, on lines of its own.
#[repr(C, align(128))]
struct Side {
    /// How many bytes this side has given away since the beginning.
    position: AtomicU64,
    /// Not 0 when this side will do nothing more.
    is_closed: AtomicU64,
    _rest: [AtomicU64; 14],
}

/// The ring as both sides see it.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    control: View<Control>,
    cells: Cells,
    capacity: u64,
}

/// The writing side. One per ring.
#[derive(Debug)]
pub(crate) struct Writer {
    ring: Ring,
    tail: u64,
    /// The reader's position as last seen.
    head: u64,
}

/// The reading side. One per ring.
#[derive(Debug)]
pub(crate) struct Reader {
    ring: Ring,
    head: u64,
    /// The writer's position as last seen.
    tail: u64,
}

/// A part of the ring's bytes without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

const WRITE: &str = "write to the stream";
const READ: &str = "read from the stream";

/// After so many bytes of a long write the reader may begin, while the writer goes on.
const PUBLISH_BYTES: usize = 16 * 1024;

impl Ring {
    /// All memory is zero when the ring is new, which makes an empty one. All of `cells` are used.
    ///
    /// # Errors
    /// `Corrupted` if `cells` are not a power of two of bytes.
    pub(crate) fn new(control: View<Control>, cells: Cells) -> Result<Self> {
        let capacity = cells.len_bytes() as u64;
        if !capacity.is_power_of_two() {
            return Err(Error::new("open a stream", ErrorKind::Corrupted).because("its ring is no power of two"));
        }
        Ok(Self { control, cells, capacity })
    }

    pub(crate) fn control(&self) -> &View<Control> {
        &self.control
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    pub(crate) fn capacity(&self) -> usize {
        self.cells.len_bytes()
    }

    /// The writing side; to be made once.
    pub(crate) fn writer(self) -> Writer {
        Writer { ring: self, tail: 0, head: 0 }
    }

    /// The reading side; to be made once.
    pub(crate) fn reader(self) -> Reader {
        Reader { ring: self, head: 0, tail: 0 }
    }

    /// `len` bytes from `position` on, as far as the ring goes without a break.
    fn span(&self, position: u64, len: usize) -> Span {
        let offset = (position & (self.capacity - 1)) as usize;
        Span { offset, len: len.min(self.capacity() - offset) }
    }

    /// The distance between our position and the peer's, which `writer` minus `reader` must be.
    fn used(&self, reader: u64, writer: u64, operation: &'static str) -> Result<usize> {
        let used = writer.wrapping_sub(reader);
        if used > self.capacity {
            return Err(
                Error::new(operation, ErrorKind::Corrupted).because("the peer's position lies outside the ring")
            );
        }
        Ok(used as usize)
    }
}

impl Writer {
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Writes as much of `bytes` as there is room for, and wakes the reader.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; `PeerGone` if the reader closed its side; `Corrupted`.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        // Relaxed: nothing is read because of it.
        if self.ring.control.reader.is_closed.load(Ordering::Relaxed) != 0 {
            return Err(Error::new(WRITE, ErrorKind::PeerGone).because("the peer reads no more"));
        }
        let mut written = 0;
        while written < bytes.len() {
            let room = self.room(bytes.len() - written)?;
            if room == 0 {
                break;
            }
            let len = room.min(bytes.len() - written).min(PUBLISH_BYTES);
            let span = self.ring.span(self.tail, len);
            if planted(Bug::PositionBeforeBytes) {
                self.publish(span.len);
            }
            self.ring.cells.copy_in(span.offset, &bytes[written..written + span.len]);
            step("stream:copied-in");
            if !planted(Bug::PositionBeforeBytes) {
                self.publish(span.len);
            }
            written += span.len;
        }
        if written == 0 { Err(Error::new(WRITE, ErrorKind::WouldBlock)) } else { Ok(written) }
    }

    /// Says that nothing more comes, and wakes the reader. Writing is over.
    pub(crate) fn close(&self) {
        // Release: pairs with `Reader::try_peek`; who sees it sees all bytes.
        self.ring.control.writer.is_closed.store(1, Ordering::Release);
        step("stream:closed");
        self.ring.control.bytes.notify();
    }

    fn publish(&mut self, len: usize) {
        self.tail = self.tail.wrapping_add(len as u64);
        // Release: the bytes before it. Pairs with the load in `Reader::available`.
        self.ring.control.writer.position.store(self.tail, Ordering::Release);
        step("stream:published");
        if !planted(Bug::NoNotify) {
            self.ring.control.bytes.notify();
        }
    }

    /// How many bytes may be written, looking at the reader's position only if fewer than `wanted` are known of.
    fn room(&mut self, wanted: usize) -> Result<usize> {
        let known = self.ring.capacity() - self.ring.used(self.head, self.tail, WRITE)?;
        if known >= wanted.min(self.ring.capacity()) {
            return Ok(known);
        }
        // Acquire: the reader is done with the bytes before it. Pairs with the store in `Reader::consume`.
        let head = self.ring.control.reader.position.load(Ordering::Acquire);
        let used = self.ring.used(head, self.tail, WRITE)?;
        self.head = head;
        Ok(self.ring.capacity() - used)
    }
}

impl Reader {
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Where the next bytes lie, as far as they lie without a break; empty at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if none is there yet; `Corrupted`.
    pub(crate) fn try_peek(&mut self) -> Result<Span> {
        let mut available = self.available(1)?;
        if available == 0 {
            // Acquire: pairs with `Writer::close`.
            if self.ring.control.writer.is_closed.load(Ordering::Acquire) == 0 {
                return Err(Error::new(READ, ErrorKind::WouldBlock));
            }
            // What was written before closing is seen now.
            available = self.available(1)?;
        }
        Ok(self.ring.span(self.head, available))
    }

    /// Gives back the first `len` of the bytes that [`try_peek`](Self::try_peek) found, and wakes the writer.
    ///
    /// # Panics
    /// If there are not so many.
    pub(crate) fn consume(&mut self, len: usize) {
        assert!(len as u64 <= self.tail.wrapping_sub(self.head), "more consumed than was there");
        self.head = self.head.wrapping_add(len as u64);
        step("stream:copied-out");
        // Release: our loads from the bytes come before. Pairs with the load in `Writer::room`.
        self.ring.control.reader.position.store(self.head, Ordering::Release);
        step("stream:consumed");
        self.ring.control.room.notify();
    }

    /// Reads what is there into `buffer`, and wakes the writer; 0 at the end of the stream.
    ///
    /// # Errors
    /// As [`try_peek`](Self::try_peek).
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            // Looks at the writer's position once, unless more of it is needed for the first byte.
            let span = if read == 0 { self.try_peek()? } else { self.known() };
            let len = span.len.min(buffer.len() - read).min(PUBLISH_BYTES);
            if len == 0 {
                break;
            }
            self.ring.cells.copy_out(span.offset, &mut buffer[read..read + len]);
            self.consume(len);
            read += len;
        }
        Ok(read)
    }

    /// Says that nothing more will be read, and wakes the writer.
    pub(crate) fn close(&self) {
        // Relaxed: nothing is handed over with it; the notification orders it before the look at who sleeps.
        self.ring.control.reader.is_closed.store(1, Ordering::Relaxed);
        self.ring.control.room.notify();
    }

    /// The bytes known of, as far as they lie without a break.
    fn known(&self) -> Span {
        self.ring.span(self.head, self.tail.wrapping_sub(self.head) as usize)
    }

    /// How many bytes are there, looking at the writer's position only if fewer than `wanted` are known of.
    fn available(&mut self, wanted: usize) -> Result<usize> {
        let known = self.tail.wrapping_sub(self.head) as usize;
        if known >= wanted {
            return Ok(known);
        }
        // Acquire: the bytes before it. Pairs with the store in `Writer::publish`.
        let tail = self.ring.control.writer.position.load(Ordering::Acquire);
        let used = self.ring.used(self.head, tail, READ)?;
        self.tail = tail;
        Ok(used)
    }
}
