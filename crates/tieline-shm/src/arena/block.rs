//! What stands before each block, and what is believed of it.
//!
//! A block has a size that is a power of two, and begins at a multiple of it. Sixteen bytes come before what it holds:
//! one word with state, order and a check of both, and one with the type it holds. The check is no protection against a
//! peer that means harm, who could compute it; it finds what was overwritten by accident. What keeps us safe from the
//! former is that every number is compared with the arena's bounds.

/// The bytes before what a block holds.
pub(super) const HEADER: u64 = 16;
/// The smallest block: 32 bytes.
pub(super) const ORDER_MIN: u32 = 5;
/// One more than the largest block's order.
pub(super) const ORDERS: u32 = 48;

/// What a block is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In a list of free ones.
    Free = 0xF5,
    /// Holds something.
    Used = 0xA5,
    /// Freed by a change that has been committed, and not yet in a list.
    Freed = 0x5A,
}

/// A block that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins, in bytes from the start of the heap.
    pub(super) start: u64,
    pub(super) order: u32,
    pub(super) state: State,
}

impl Block {
    /// How many bytes it takes.
    pub(super) fn len(self) -> u64 {
        1 << self.order
    }

    /// How many bytes it can hold.
    pub(super) fn room(self) -> u64 {
        self.len() - HEADER
    }

    /// The word that stands before it.
    pub(super) fn word(self, seed: u64) -> u64 {
        let low = self.state as u64 | u64::from(self.order) << 8;
        low | u64::from(check(self.start, low, seed)) << 32
    }

    /// What `word` says of the block at `start` of a heap of `heap_len` bytes, if that can be.
    pub(super) fn parse(start: u64, word: u64, seed: u64, heap_len: u64) -> Option<Self> {
        let state = match word & 0xff {
            0xF5 => State::Free,
            0xA5 => State::Used,
            0x5A => State::Freed,
            _ => return None,
        };
        let order = u32::try_from(word >> 8 & 0xff).ok()?;
        let block = Self { start, order, state };
        let sized = (ORDER_MIN..ORDERS).contains(&order) && start.is_multiple_of(block.len());
        let within = sized && heap_len.checked_sub(start).is_some_and(|rest| rest >= block.len());
        (within && block.word(seed) == word).then_some(block)
    }

    /// The order of a block that holds `len` bytes.
    pub(super) fn order_for(len: u64) -> Option<u32> {
        let whole = len.checked_add(HEADER)?.checked_next_power_of_two()?;
        let order = whole.trailing_zeros().max(ORDER_MIN);
        (order < ORDERS).then_some(order)
    }
}

fn check(start: u64, low: u64, seed: u64) -> u32 {
    let mixed = (start ^ seed).wrapping_add(low.rotate_left(40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_le_bytes()[4..]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}
