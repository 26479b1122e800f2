//! Where a queue's slots lie, and what holding one means.

use super::word::Word;
use crate::error::{Error, ErrorKind, Result};

/// The size of a queue: how many slots, and how large an item may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    slots_log2: u32,
    item_len: u32,
    stride: usize,
}

/// In a slot, the item's length, after the word.
pub(super) const LEN_OFFSET: usize = 8;
/// In a slot, the item.
const ITEM_OFFSET: usize = 16;
/// Slots begin on cache lines, so that neighbours do not share one.
const LINE: usize = 64;
const MAX_SLOTS: u32 = 1 << 20;
/// One item may have so many bytes.
pub(crate) const MAX_ITEM_LEN_BYTES: usize = 1 << 30;

const CREATE: &str = "create a queue";

impl Geometry {
    /// `slots` is rounded up to a power of two.
    ///
    /// # Errors
    /// `InvalidInput` if there are no slots or more than 2^20, `TooLarge` if an item may have more than 2^30 bytes.
    pub(crate) fn new(slots: u32, item_len_bytes: usize) -> Result<Self> {
        if slots == 0 || slots > MAX_SLOTS {
            return Err(Error::new(CREATE, ErrorKind::InvalidInput).because("it has 1 to 2^20 slots"));
        }
        if item_len_bytes > MAX_ITEM_LEN_BYTES {
            return Err(Error::new(CREATE, ErrorKind::TooLarge).because("an item has up to 2^30 bytes"));
        }
        let stride = (ITEM_OFFSET + item_len_bytes).next_multiple_of(LINE);
        let item_len = u32::try_from(item_len_bytes).unwrap_or(u32::MAX);
        Ok(Self { slots_log2: slots.next_power_of_two().trailing_zeros(), item_len, stride })
    }

    pub(crate) fn slots(self) -> u64 {
        1 << self.slots_log2
    }

    pub(crate) fn item_len_bytes(self) -> usize {
        self.item_len as usize
    }

    /// How much memory the slots take. It may be more than a 32-bit machine can map, which then says so.
    pub(crate) fn cells_len_bytes(self) -> usize {
        self.stride.saturating_mul(1 << self.slots_log2)
    }

    /// Bytes from one slot to the next.
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    pub(super) fn lap(self, position: u64) -> u32 {
        // The low 32 bits: laps wrap around.
        (position >> self.slots_log2) as u32
    }

    pub(super) fn slot_offset(self, position: u64) -> usize {
        let index = position & (self.slots() - 1);
        index as usize * self.stride
    }

    fn item_offset(self, position: u64) -> usize {
        self.slot_offset(position) + ITEM_OFFSET
    }
}

/// A slot that a producer writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed {
    pub(super) position: u64,
    pub(super) word: Word,
}

impl Claimed {
    /// Where among the cells the item is to be written.
    pub(crate) fn item_offset(self, geometry: Geometry) -> usize {
        geometry.item_offset(self.position)
    }
}

/// An item that a consumer holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(super) position: u64,
    pub(super) word: Word,
    /// Checked against the geometry.
    pub(crate) len_bytes: usize,
    /// How often it was delivered before.
    pub(crate) attempts: u8,
}

impl Taken {
    /// Where among the cells the item lies.
    pub(crate) fn item_offset(self, geometry: Geometry) -> usize {
        geometry.item_offset(self.position)
    }
}
