//! A change of an arena while it runs: every store goes through here.
//!
//! The allocator is the buddy system (Knowlton, 1965): blocks are powers of two, a free block is split until it fits,
//! and joined again with its other half when both are free; free blocks of one order are in a list, linked both ways.
//! Each step is bounded by the number of orders. The invariant: a word that existed before the change is noted in the
//! journal before it is altered. Blocks that the change itself allocated are altered without, because taking back makes
//! them free; for that reason a block freed by the change is used again only by the next one.

use std::collections::HashSet;
use std::ops::Deref;

use super::block::{Block, HEADER, ORDERS, State};
use super::heap::{Heap, Word, corrupted};
use super::{Arena, Container, Handle, death, journal};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::Ordering;
use crate::raw::step;

const CHANGE: &str = "change an arena";

/// By how much the heap of a growable arena grows at least.
const GROWTH_MIN: u64 = 64 * 1024;

/// An open change of an [`Arena`], whose reading methods it has too; see [`Arena::change`].
pub struct Change<'a> {
    arena: &'a mut Arena,
    /// How many entries the journal has; our own copy.
    noted: u64,
    /// Contents of the blocks that this change allocated.
    fresh: HashSet<u64>,
    /// Whether nothing is left to be taken back.
    done: bool,
}

impl<'a> Change<'a> {
    pub(super) fn begin(arena: &'a mut Arena) -> Result<Self> {
        journal::begin(&arena.heap, arena.nonce)?;
        arena.changing.store(true, Ordering::Relaxed);
        Ok(Self { noted: 0, fresh: HashSet::new(), done: false, arena })
    }

    /// Makes it hold, then gives freed blocks back to the lists.
    pub(super) fn commit(mut self) -> Result<()> {
        step("arena:before-commit");
        self.end_step()?;
        step("arena:committed");
        // Each block by itself, committed by itself: the change has happened, whatever happens now.
        // There are no more of them than blocks fit into the heap, whatever the list says.
        for _ in 0..=self.arena.heap.len() / 32 {
            if self.load(Word::Freed) == 0 {
                break;
            }
            self.release_one()?;
            self.end_step()?;
        }
        self.done = true;
        journal::close(&self.arena.heap);
        Ok(())
    }

    /// What was done so far holds from here on.
    fn end_step(&mut self) -> Result<()> {
        self.still_owner()?;
        death::at_store()?;
        journal::commit(&self.arena.heap);
        self.noted = 0;
        self.fresh.clear();
        Ok(())
    }

    /// Makes `container` the one to begin with, for [`Arena::root`].
    ///
    /// # Errors
    /// As every change's.
    pub fn set_root<H: Handle>(&mut self, container: H) -> Result<()> {
        self.arena.heap.block(container.offset(), H::TAG)?;
        self.set(Word::Root as u64, container.offset())?;
        self.set(Word::RootTag as u64, H::TAG)
    }

    /// The container to begin with; if none was set, a new empty one, which is set.
    ///
    /// # Errors
    /// `Mismatch` if it is of another type; `Full`; as every change's.
    pub fn root_or_new<H: Container>(&mut self) -> Result<H> {
        if let Some(root) = self.root()? {
            return Ok(root);
        }
        let root = H::make(self)?;
        self.set_root(root)?;
        Ok(root)
    }

    /// Allocates a block that holds at least `len` bytes of something marked by `tag`, with any content; answers where
    /// its content begins.
    pub(super) fn allocate(&mut self, len: u64, tag: u64) -> Result<u64> {
        let order = Block::order_for(len).ok_or_else(|| self.full(len))?;
        let block = match self.take(order)? {
            Some(block) => block,
            None => {
                self.extend_for(order, len)?;
                self.take(order)?.ok_or_else(|| self.full(len))?
            }
        };
        self.mark(Block { state: State::Used, ..block })?;
        self.set(self.index(block.start + 8), tag)?;
        // Its links, so that taking back finds them whatever is written over them.
        self.set(self.index(block.start + HEADER), 0)?;
        self.set(self.index(block.start + HEADER + 8), 0)?;
        self.set(Word::Used as u64, self.load(Word::Used).wrapping_add(block.len()))?;
        let content = block.start + HEADER;
        self.fresh.insert(content);
        Ok(content)
    }

    /// Frees a block; its bytes stay until the change has been committed.
    pub(super) fn free(&mut self, content: u64, tag: u64) -> Result<()> {
        let block = self.arena.heap.block(content, tag)?;
        self.mark(Block { state: State::Freed, ..block })?;
        self.set(self.index(block.start + 8), self.load(Word::Freed))?;
        self.set(Word::Freed as u64, content)?;
        self.set(Word::Used as u64, self.load(Word::Used).wrapping_sub(block.len()))
    }

    /// Stores a word of a block's content.
    pub(super) fn put(&mut self, block: Block, place: u64, value: u64) -> Result<()> {
        let index = self.arena.heap.content(block, place)?;
        if self.fresh.contains(&(block.start + HEADER)) {
            death::at_store()?;
            // Relaxed: nobody can reach the block before the change is committed.
            self.arena.heap.at(index)?.store(value, Ordering::Relaxed);
            return Ok(());
        }
        self.set(index, value)
    }

    /// Stores bytes at any place of a block's content.
    pub(super) fn write(&mut self, block: Block, place: u64, bytes: &[u8]) -> Result<()> {
        let mut place = place;
        let mut rest = bytes;
        while !rest.is_empty() {
            let skip = (place % 8) as usize;
            let (part, behind) = rest.split_at(rest.len().min(8 - skip));
            let mut word = self.arena.heap.content_word(block, place - skip as u64)?.to_ne_bytes();
            word[skip..skip + part.len()].copy_from_slice(part);
            self.put(block, place - skip as u64, u64::from_ne_bytes(word))?;
            place += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Whether `words` more words can be altered in blocks that existed before, with some to spare for allocating.
    pub(super) fn has_journal_for(&self, words: u64) -> bool {
        const SPARE: u64 = 8 * ORDERS as u64;
        self.arena.heap.geometry.journal_room - self.noted > words.saturating_add(SPARE)
    }

    /// Stores a word after noting what it was.
    fn set(&mut self, index: u64, value: u64) -> Result<()> {
        let heap = &self.arena.heap;
        if self.noted >= heap.geometry.journal_room {
            let why = format!(
                "it alters more than the {} words that the journal has room for: make it in parts, or create the arena \
                 with more journal entries",
                heap.geometry.journal_room
            );
            return Err(Error::new(CHANGE, ErrorKind::TooLarge).because(why));
        }
        journal::alter(heap, self.noted, index, value, || self.still_owner())?;
        self.noted += 1;
        Ok(())
    }

    /// Somebody who believes us dead may have recovered the arena while we were stopped: against the rule that says to
    /// recover only what the dead left, so this narrows the harm to one store and does not exclude it.
    fn still_owner(&self) -> Result<()> {
        if self.arena.heap.load(Word::Owner) == self.arena.nonce {
            return Ok(());
        }
        let why = "another process has recovered the arena meanwhile, and taken this change back";
        Err(Error::new(CHANGE, ErrorKind::NotRecoverable).because(why))
    }

    fn load(&self, word: Word) -> u64 {
        self.arena.heap.load(word)
    }

    fn index(&self, offset: u64) -> u64 {
        self.arena.heap.index(offset)
    }

    fn full(&self, len: u64) -> Error {
        let why = format!("no room for {len} bytes: {:?}", self.arena.usage());
        Error::new(CHANGE, ErrorKind::Full).because(why)
    }

    /// Writes what stands before a block.
    fn mark(&mut self, block: Block) -> Result<()> {
        let word = block.word(self.arena.heap.geometry.seed);
        self.set(self.index(block.start), word)
    }

    /// A free block of this order, taken out of its list, splitting a larger one if there is none.
    fn take(&mut self, order: u32) -> Result<Option<Block>> {
        let Some(from) = (order..ORDERS).find(|order| self.first_free(*order) != 0) else { return Ok(None) };
        let start = self.first_free(from).wrapping_sub(HEADER);
        let mut block = self.free_block(start, from)?;
        self.unlink(block)?;
        while block.order > order {
            block.order -= 1;
            self.link(Block { start: block.start + block.len(), ..block })?;
        }
        Ok(Some(block))
    }

    fn first_free(&self, order: u32) -> u64 {
        self.arena.heap.at(Heap::free_list(order)).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The block at `start`, if it is free and of this order, as the lists say.
    fn free_block(&self, start: u64, order: u32) -> Result<Block> {
        let block = self.arena.heap.block_at(start)?;
        if block.state != State::Free || block.order != order {
            return Err(corrupted("a list of free blocks names one that is not free"));
        }
        Ok(block)
    }

    /// The neighbours of a free block in its list, as contents; 0 for none.
    fn links(&self, block: Block) -> Result<(u64, u64)> {
        let heap = &self.arena.heap;
        Ok((heap.content_word(block, 0)?, heap.content_word(block, 8)?))
    }

    /// Takes a free block out of its list.
    fn unlink(&mut self, block: Block) -> Result<()> {
        let (next, previous) = self.links(block)?;
        if next != 0 {
            let next = self.free_block(next.wrapping_sub(HEADER), block.order)?;
            self.set(self.index(next.start + HEADER + 8), previous)?;
        }
        if previous == 0 {
            self.set(Heap::free_list(block.order), next)
        } else {
            let previous = self.free_block(previous.wrapping_sub(HEADER), block.order)?;
            self.set(self.index(previous.start + HEADER), next)
        }
    }

    /// Puts a block, as free, at the start of its list.
    fn link(&mut self, block: Block) -> Result<()> {
        let next = self.first_free(block.order);
        if next != 0 {
            let next = self.free_block(next.wrapping_sub(HEADER), block.order)?;
            self.set(self.index(next.start + HEADER + 8), block.start + HEADER)?;
        }
        self.mark(Block { state: State::Free, ..block })?;
        self.set(self.index(block.start + HEADER), next)?;
        self.set(self.index(block.start + HEADER + 8), 0)?;
        self.set(Heap::free_list(block.order), block.start + HEADER)
    }

    /// Joins a block with its other halves as far as they are free, and puts it into a list.
    fn join(&mut self, mut block: Block) -> Result<()> {
        while block.order + 1 < ORDERS {
            let other = block.start ^ block.len();
            let end = other.checked_add(block.len());
            if end.is_none_or(|end| end > self.arena.heap.len()) {
                break;
            }
            let other = self.arena.heap.block_at(other)?;
            if other.state != State::Free || other.order != block.order {
                break;
            }
            self.unlink(other)?;
            block = Block { start: block.start.min(other.start), order: block.order + 1, ..block };
        }
        self.link(block)
    }

    /// Gives the first freed block back to the lists.
    fn release_one(&mut self) -> Result<()> {
        let start = self.load(Word::Freed).wrapping_sub(HEADER);
        let block = self.arena.heap.block_at(start)?;
        if block.state != State::Freed {
            return Err(corrupted("the list of freed blocks names one that is not freed"));
        }
        let next = self.arena.heap.at(self.index(start + 8))?.load(Ordering::Relaxed);
        self.set(Word::Freed as u64, next)?;
        self.join(block)
    }

    /// Takes more memory into use, so that a block of this order is free; `len` is what was asked for.
    fn extend_for(&mut self, order: u32, len: u64) -> Result<()> {
        let (now, max) = (self.arena.heap.len(), self.arena.heap.geometry.heap_max);
        let block = 1_u64 << order;
        let needed = now.checked_next_multiple_of(block).and_then(|start| start.checked_add(block));
        let Some(needed) = needed.filter(|needed| *needed <= max) else { return Err(self.full(len)) };
        let wanted = needed.max(now + now / 8).max(now + GROWTH_MIN).min(max) & !31;
        let segment = self.arena.store.segment();
        let there = (segment.committed_len() as u64).saturating_sub(self.arena.heap.geometry.heap_start).min(max) & !31;
        let new_len = if wanted <= there {
            there
        } else {
            // Committed memory stays if the change is taken back; it will be used by another.
            let grow = |heap_len: u64| {
                let body = usize::try_from(self.arena.heap.geometry.heap_start + heap_len).unwrap_or(usize::MAX);
                segment.grow(body)
            };
            match grow(wanted).and(Ok(wanted)).or_else(|_| grow(needed).and(Ok(needed))) {
                Ok(new_len) => new_len,
                Err(error) if error.kind() == ErrorKind::TooLarge => return Err(self.full(len)),
                Err(error) => return Err(error),
            }
        };
        self.extend(now, new_len)
    }

    /// Cuts new memory into the largest blocks that fit, each at a multiple of its size.
    fn extend(&mut self, now: u64, new_len: u64) -> Result<()> {
        self.set(Word::HeapLen as u64, new_len)?;
        let mut start = now;
        while new_len - start >= 32 {
            let by_place = if start == 0 { ORDERS - 1 } else { start.trailing_zeros() };
            let order = by_place.min((new_len - start).ilog2()).min(ORDERS - 1);
            let block = Block { start, order, state: State::Free };
            self.join_below(block)?;
            start += block.len();
        }
        Ok(())
    }

    /// As `join`, for a block behind which there is nothing yet.
    fn join_below(&mut self, mut block: Block) -> Result<()> {
        while block.order + 1 < ORDERS && block.start & block.len() != 0 {
            let below = self.arena.heap.block_at(block.start ^ block.len());
            let Ok(below) = below else { break };
            if below.state != State::Free || below.order != block.order {
                break;
            }
            self.unlink(below)?;
            block = Block { start: below.start, order: block.order + 1, ..block };
        }
        self.link(block)
    }
}

impl Deref for Change<'_> {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        self.arena
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.arena.changing.store(false, Ordering::Relaxed);
        if death::is_dead() || self.done || self.still_owner().is_err() {
            return;
        }
        // What cannot be put back is corrupted, which the next change finds: the owner stays in the word.
        if journal::put_back(&self.arena.heap).is_ok() {
            journal::close(&self.arena.heap);
        }
    }
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("noted", &self.noted).finish_non_exhaustive()
    }
}
