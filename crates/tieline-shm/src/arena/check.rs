//! Looking at every block of an arena and every list of free ones.

use std::collections::HashSet;

use super::block::{HEADER, ORDERS, State};
use super::heap::{Heap, Word, corrupted};
use crate::error::Result;
use crate::raw::atomic::Ordering;

/// Refuses an arena whose blocks do not follow each other, or whose lists do not hold exactly the free ones.
pub(super) fn check(heap: &Heap) -> Result<()> {
    let len = heap.load(Word::HeapLen);
    if len > heap.geometry.heap_max || !len.is_multiple_of(32) {
        return Err(corrupted("its heap is longer than it may be"));
    }
    let mut free = HashSet::new();
    let mut freed = HashSet::new();
    let (mut used, mut start) = (0, 0);
    // Each block has at least 32 bytes, so this ends.
    while start < len {
        let block = heap.block_at(start)?;
        match block.state {
            State::Free => _ = free.insert((block.start, block.order)),
            State::Freed => _ = freed.insert(block.start),
            State::Used => used += block.len(),
        }
        start += block.len();
    }
    if used != heap.load(Word::Used) {
        return Err(corrupted("its count of used bytes is not that of its blocks"));
    }
    for order in 0..ORDERS {
        let mut place = heap.at(Heap::free_list(order))?.load(Ordering::Relaxed);
        let mut previous = 0;
        while place != 0 {
            let block = heap.block_at(place.wrapping_sub(HEADER))?;
            // Removed from the set, so a list that runs in a circle ends here.
            if block.order != order || !free.remove(&(block.start, order)) || heap.content_word(block, 8)? != previous {
                return Err(corrupted("a list of free blocks holds what does not belong there"));
            }
            previous = place;
            place = heap.content_word(block, 0)?;
        }
    }
    let mut place = heap.load(Word::Freed);
    while place != 0 {
        let start = place.wrapping_sub(HEADER);
        if !freed.remove(&start) {
            return Err(corrupted("the list of freed blocks holds what does not belong there"));
        }
        place = heap.at(heap.index(start + 8))?.load(Ordering::Relaxed);
    }
    if free.is_empty() && freed.is_empty() { Ok(()) } else { Err(corrupted("a free block is in no list")) }
}
