//! What all members of a queue share besides its slots.

#[cfg(not(model))]
use std::mem::offset_of;

#[cfg(not(model))]
use super::Geometry;
use crate::raw::Words;
use crate::raw::atomic::AtomicU64;
#[cfg(not(model))]
use crate::segment::Fact;
use crate::wait::EventCount;

/// What all members share besides the slots; see `docs/formats/shm-queue.md`.
#[repr(C, align(128))]
pub(crate) struct Control {
    /// The next position a producer may take: every slot that is ready lies before it.
    pub(super) tail: Position,
    /// The next position a consumer looks at.
    pub(super) head: Position,
    /// Raised for each item that became ready where consumers had gone past.
    pub(super) behind: AtomicU64,
    /// Up to which count of `behind` somebody looked and found nothing.
    pub(super) served: AtomicU64,
    /// Slots that dead producers left half written.
    pub(super) skipped: AtomicU64,
    /// Deliveries that ended with the death of a consumer.
    pub(super) orphaned: AtomicU64,
    /// Deliveries that a consumer handed back.
    pub(super) requeued: AtomicU64,
    /// Items that a consumer refused.
    pub(super) rejected: AtomicU64,
    pub(super) _reserved: [AtomicU64; 10],
    /// Consumers sleep here.
    pub(crate) items: EventCount,
    /// Producers sleep here.
    pub(crate) room: EventCount,
}

// SAFETY: repr(C), atomics and structs of atomics; the alignments (128, 128, 8, 64) leave no gap, which a test of the
// offsets pins.
unsafe impl Words for Control {}

impl Control {
    /// Where a queue tells lookers how it is, if its control part lies at `at` and its slots at `cells_at`.
    #[cfg(not(model))]
    pub(crate) fn facts(at: usize, cells_at: usize, geometry: Geometry) -> [Fact<'static>; 9] {
        let slots = usize::try_from(geometry.slots()).unwrap_or(usize::MAX);
        [
            Fact::word("tail", at + offset_of!(Self, tail)),
            Fact::word("head", at + offset_of!(Self, head)),
            Fact::word("skipped", at + offset_of!(Self, skipped)),
            Fact::word("orphaned", at + offset_of!(Self, orphaned)),
            Fact::word("requeued", at + offset_of!(Self, requeued)),
            Fact::word("rejected", at + offset_of!(Self, rejected)),
            Fact::word("consumers asleep", at + offset_of!(Self, items)),
            Fact::word("producers asleep", at + offset_of!(Self, room)),
            Fact::words("slot", cells_at, slots, geometry.stride()),
        ]
    }
}

/// A position on lines of its own, so that producers and consumers do not take each other's.
#[repr(C, align(128))]
pub(super) struct Position {
    pub(super) value: AtomicU64,
    pub(super) _rest: [AtomicU64; 15],
}

/// Counters of a queue since it was made. A death in the middle of recovery can leave one uncounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) skipped: u64,
    pub(crate) orphaned: u64,
    pub(crate) requeued: u64,
    pub(crate) rejected: u64,
}
