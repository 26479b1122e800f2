//! The areas of a ring of messages: places for large payloads, and who has them.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::step;
use crate::structure::cells::Cells;

/// An area, and for which use: whoever releases an earlier use of it changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    index: u32,
    turn: u32,
}

impl Area {
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.index) | u64::from(self.turn) << 32
    }

    fn from_word(word: u64) -> Self {
        Self { index: word as u32, turn: (word >> 32) as u32 }
    }
}

/// All areas of a ring, of one length each. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Areas {
    /// For each area the last use that the receiver released, or, in the upper half, the use that it holds; written by the
    /// receiver.
    released: View<[AtomicU64]>,
    cells: Cells,
    area_len: usize,
    /// The use that this process, as the receiver, holds; 0 if none.
    held: Arc<[std::sync::atomic::AtomicU32]>,
}

impl Areas {
    /// As many areas as `released` has words. All memory is zero when they are new.
    ///
    /// # Errors
    /// `Corrupted` if `cells` are too few.
    pub(crate) fn new(released: View<[AtomicU64]>, cells: Cells, area_len_bytes: usize) -> Result<Self> {
        if area_len_bytes.checked_mul(released.len()).is_none_or(|len| len > cells.len_bytes()) {
            return Err(Error::new("open a connection", ErrorKind::Corrupted).because("its areas do not fit"));
        }
        let held = released.iter().map(|_| 0.into()).collect();
        Ok(Self { released, cells, area_len: area_len_bytes, held })
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// How long a payload may be.
    pub(crate) fn area_len_bytes(&self) -> usize {
        self.area_len
    }

    /// Where the area lies among the cells.
    pub(crate) fn offset(&self, area: Area) -> usize {
        area.index as usize * self.area_len
    }

    /// Gives an area that came with a message back to the sender. The caller notifies `room`.
    pub(crate) fn release(&self, area: Area) {
        self.held[area.index as usize].store(0, Ordering::Relaxed);
        step("calls:releasing");
        // Release: our accesses to the area come before. Pairs with the load in `Unused::take`.
        self.released[area.index as usize].store(u64::from(area.turn), Ordering::Release);
    }

    /// Takes the area that a message names.
    pub(super) fn hold(&self, word: u64, len: usize) -> Result<Area> {
        let area = Area::from_word(word);
        let corrupted = |why| Error::new("receive a message", ErrorKind::Corrupted).because(why);
        let Some(held) = self.held.get(area.index as usize) else {
            return Err(corrupted("a message names an area that does not exist"));
        };
        if len > self.area_len || area.turn == 0 {
            return Err(corrupted("a message is longer than its area"));
        }
        // Relaxed: only this process's receivers and releases touch it; what lies in the area is ordered by the stamp.
        if held.swap(area.turn, Ordering::Relaxed) != 0 {
            return Err(corrupted("a message names an area that was not given back"));
        }
        // For people who look. It is no use that was released, whichever the sender waits for. Relaxed: nothing depends on
        // it, and `release` stores here next.
        self.released[area.index as usize].store(u64::from(area.turn) << 32, Ordering::Relaxed);
        Ok(area)
    }
}

/// The areas that the sender may use: a private list, the last used first, because its memory is still in the cache.
#[derive(Debug)]
pub(super) struct Unused {
    free: Vec<u32>,
    /// For each area its last use.
    turns: Vec<u32>,
    /// Whether it is with the receiver.
    is_sent: Vec<bool>,
}

impl Unused {
    pub(super) fn new(areas: &Areas) -> Self {
        let count = areas.released.len();
        let indices = 0..u32::try_from(count).unwrap_or(u32::MAX);
        Self { free: indices.rev().collect(), turns: vec![0; count], is_sent: vec![false; count] }
    }

    pub(super) fn take(&mut self, areas: &Areas) -> Option<Area> {
        if self.free.is_empty() {
            self.collect(areas);
        }
        let index = self.free.pop()?;
        let turn = &mut self.turns[index as usize];
        // 0 means "never used"; uses wrap around after 2^32.
        *turn = turn.checked_add(1).unwrap_or(1);
        Some(Area { index, turn: *turn })
    }

    pub(super) fn put_back(&mut self, area: Area) {
        self.free.push(area.index);
    }

    pub(super) fn sent(&mut self, area: Area) {
        self.is_sent[area.index as usize] = true;
    }

    /// Finds what the receiver has given back.
    fn collect(&mut self, areas: &Areas) {
        let all = self.turns.iter().zip(&mut self.is_sent).zip(&*areas.released);
        for (index, ((turn, is_sent), released)) in all.enumerate() {
            // Acquire: the receiver is done with the area. Pairs with the store in `Areas::release`.
            if *is_sent && released.load(Ordering::Acquire) == u64::from(*turn) {
                *is_sent = false;
                self.free.push(index as u32);
            }
        }
    }
}
