//! The bounded buffer in shared memory that every "… + shm" mechanism uses; they differ only in how they wait.
//!
//! One direction is a row of equal slots with two gates: the sender takes a space and gives an item, the receiver takes
//! an item and gives a space. The slots are the same memory for all of them, so the difference between two rows of the
//! report is the difference between two ways to wait.

use std::sync::Arc;

use std::os::fd::OwnedFd;

use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::{Memfd, Seals};

use crate::control::{Outcome, Sentence};
use crate::link::{End, Joining, Link, Offer};

/// Each gate has this many bytes of its own, so that no two share a cache line or its prefetched neighbour.
const GATE_BYTES: usize = 1024;
/// Items and spaces in each of two directions.
pub(super) const GATES: usize = 4;
const HEADER_BYTES: usize = GATES * GATE_BYTES;
/// Slots lie on lines of their own.
const LINE_BYTES: usize = 64;
/// How much memory one direction gets, unless its slots are so large that four of them need more.
const DIRECTION_BYTES: usize = 4 << 20;

/// A counter that one side gives to and the other takes from, waiting while there is nothing to take.
pub(super) trait Gate {
    fn take(&mut self) -> Outcome<()>;
    fn give(&mut self) -> Outcome<()>;
}

/// How many slots of which size one direction has.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    slot_bytes: usize,
    pub(super) slots: u32,
}

impl Geometry {
    pub(super) fn of(largest: usize) -> Self {
        let slot_bytes = largest.next_multiple_of(LINE_BYTES);
        let slots = (DIRECTION_BYTES / slot_bytes).clamp(4, 1024) as u32;
        Self { slot_bytes, slots }
    }

    fn direction_bytes(self) -> usize {
        self.slot_bytes * self.slots as usize
    }

    fn total_bytes(self) -> usize {
        HEADER_BYTES + 2 * self.direction_bytes()
    }

    /// What gate `index` holds at first: no items, all spaces.
    pub(super) fn first_value(self, index: usize) -> u32 {
        if index.is_multiple_of(2) { 0 } else { self.slots }
    }
}

/// Where gate `index` lies: items then spaces of the first end's sending direction, then those of the second's.
pub(super) fn gate_offset(index: usize) -> usize {
    index * GATE_BYTES
}

/// Fresh memory for two ends, mapped here once to prepare its gates.
pub(super) fn memory(largest: usize) -> Outcome<(Memfd, Mapping, Geometry)> {
    let geometry = Geometry::of(largest);
    let memory = Memfd::fixed("tieline-measure", geometry.total_bytes() as u64).sentence()?;
    let mapping = map(&memory)?;
    Ok((memory, mapping, geometry))
}

/// The memory once for each end.
pub(super) fn for_both(memory: Memfd) -> Outcome<[Offer; 2]> {
    let second = memory.try_clone().sentence()?;
    Ok([memory, second].map(|memory| Offer::of_descriptors([OwnedFd::from(memory)])))
}

/// Maps received memory.
pub(super) fn received(descriptor: Option<OwnedFd>) -> Outcome<Arc<Mapping>> {
    let memory = Memfd::from_fd(descriptor.ok_or("no memory came with the order")?, Seals::SHRINK).sentence()?;
    Ok(Arc::new(map(&memory)?))
}

/// Maps the memory with every page present: page faults are not what is measured.
fn map(memory: &Memfd) -> Outcome<Mapping> {
    memory.map(&MapOptions::new().populate()).sentence()
}

/// One end of two directions of slots.
pub(super) struct SlotLink<G> {
    memory: Arc<Mapping>,
    slot_bytes: usize,
    outgoing: Direction<G>,
    incoming: Direction<G>,
}

struct Direction<G> {
    start: usize,
    slots: u32,
    next: u32,
    items: G,
    spaces: G,
}

impl<G: Gate> SlotLink<G> {
    /// Joins `memory` with the gates that `gate` opens by index.
    pub(super) fn join(
        joining: Joining,
        memory: Arc<Mapping>,
        mut gate: impl FnMut(usize) -> Outcome<G>,
    ) -> Outcome<Self> {
        let geometry = Geometry::of(joining.largest);
        let mut direction = |end: End| {
            let index = end.index();
            Ok::<_, String>(Direction {
                start: HEADER_BYTES + index * geometry.direction_bytes(),
                slots: geometry.slots,
                next: 0,
                items: gate(2 * index)?,
                spaces: gate(2 * index + 1)?,
            })
        };
        let (own, other) = match joining.end {
            End::First => (End::First, End::Second),
            End::Second => (End::Second, End::First),
        };
        let (outgoing, incoming) = (direction(own)?, direction(other)?);
        Ok(Self { memory, slot_bytes: geometry.slot_bytes, outgoing, incoming })
    }
}

impl<G> Direction<G> {
    /// The offset of the next slot, round and round.
    fn advance(&mut self, slot_bytes: usize) -> usize {
        let slot = self.next;
        self.next = if slot + 1 == self.slots { 0 } else { slot + 1 };
        self.start + slot as usize * slot_bytes
    }
}

impl<G: Gate> Link for SlotLink<G> {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.outgoing.spaces.take()?;
        let offset = self.outgoing.advance(self.slot_bytes);
        self.memory.write(offset, message).sentence()?;
        self.outgoing.items.give()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        self.incoming.items.take()?;
        let offset = self.incoming.advance(self.slot_bytes);
        self.memory.read(offset, buffer).sentence()?;
        self.incoming.spaces.give()
    }
}
