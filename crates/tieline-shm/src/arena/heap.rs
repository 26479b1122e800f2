//! The words of an arena, as anyone may read them.
//!
//! Offsets are in `docs/formats/shm-arena.md`. The invariant: what decides where we read is checked here, once, against
//! numbers of our own; the geometry is copied out when the arena is opened and not looked at again.

use super::block::{Block, HEADER, ORDERS, State};
use super::{OPEN, READ};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering, fence};
use crate::raw::words::value_of;

const MAGIC: u64 = u64::from_le_bytes(*b"ARENA\0\0\x01");

/// The arena's own words, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Word {
    Magic = 0,
    /// How many entries the journal has room for.
    JournalRoom = 1,
    /// Where the heap begins, in bytes.
    HeapStart = 2,
    /// How long the heap may become, in bytes.
    HeapMax = 3,
    /// How long it is.
    HeapLen = 4,
    /// Bytes in blocks that hold something.
    Used = 5,
    /// The container to begin with.
    Root = 6,
    RootTag = 7,
    /// The first of the blocks that were freed and are in no list yet.
    Freed = 8,
    /// Another number after each beginning and end of a change.
    Version = 9,
    /// Who has a change open; 0 for nobody.
    Owner = 10,
    /// How many entries of the journal are to be taken back if the owner dies.
    JournalLen = 11,
    /// Of the blocks' checks.
    Seed = 12,
    /// How many changes were taken back after a death.
    Recoveries = 13,
    /// The first free block of order 0; those of the others follow.
    FreeLists = 16,
}

impl Word {
    /// What lookers are told.
    pub(super) const FACTS: [(&'static str, Self); 5] = [
        ("arena used bytes", Self::Used),
        ("arena heap bytes", Self::HeapLen),
        ("arena version", Self::Version),
        ("arena change owner", Self::Owner),
        ("arena recoveries", Self::Recoveries),
    ];
}

/// Where the journal begins, in words.
pub(super) const JOURNAL: u64 = 64;

/// Where things are; our own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) journal_room: u64,
    /// In bytes from the start of the segment's body.
    pub(super) heap_start: u64,
    pub(super) heap_max: u64,
    pub(super) seed: u64,
}

impl Geometry {
    /// For a body of at most `max` bytes.
    pub(super) fn plan(max: u64, journal_room: u64, seed: u64) -> Option<Self> {
        let heap_start = ((JOURNAL + 2 * journal_room) * 8).next_multiple_of(64);
        let heap_max = max.checked_sub(heap_start)? & !31;
        Some(Self { journal_room, heap_start, heap_max, seed })
    }
}

/// The words of an arena.
pub(super) struct Heap {
    words: View<[AtomicU64]>,
    pub(super) geometry: Geometry,
}

impl Heap {
    pub(super) fn new(words: View<[AtomicU64]>, geometry: Geometry) -> Self {
        Self { words, geometry }
    }

    /// Writes what does not change any more. All else is zero: an empty heap, with no change open.
    pub(super) fn format(&self) {
        let words = [
            (Word::JournalRoom, self.geometry.journal_room),
            (Word::HeapStart, self.geometry.heap_start),
            (Word::HeapMax, self.geometry.heap_max),
            (Word::Seed, self.geometry.seed),
        ];
        for (word, value) in words {
            // Relaxed: nobody else uses it yet; the magic comes last.
            self.word(word).store(value, Ordering::Relaxed);
        }
        self.word(Word::Magic).store(MAGIC, Ordering::Release);
    }

    /// Copies the geometry out, if it fits into `len` bytes.
    pub(super) fn open(words: View<[AtomicU64]>, len: u64) -> Result<Self> {
        let corrupted = |why| Error::new(OPEN, ErrorKind::Corrupted).because(why);
        if words.len() < JOURNAL as usize {
            return Err(corrupted("it is too short for an arena"));
        }
        let empty = Geometry { journal_room: 0, heap_start: 0, heap_max: 0, seed: 0 };
        let mut heap = Self { words, geometry: empty };
        // Acquire: partner of the release in `format`.
        if heap.word(Word::Magic).load(Ordering::Acquire) != MAGIC {
            return Err(corrupted("it does not begin as an arena does, or was left half made"));
        }
        let geometry = Geometry {
            journal_room: heap.load(Word::JournalRoom),
            heap_start: heap.load(Word::HeapStart),
            heap_max: heap.load(Word::HeapMax),
            seed: heap.load(Word::Seed),
        };
        let planned = (geometry.journal_room <= super::JOURNAL_ENTRIES_MAX as u64)
            .then(|| Geometry::plan(len, geometry.journal_room, geometry.seed))
            .flatten();
        // A length that was rounded up to huge pages leaves more room than was planned.
        let fits = planned.is_some_and(|planned| {
            planned.heap_start == geometry.heap_start
                && geometry.heap_max <= planned.heap_max
                && geometry.heap_max.is_multiple_of(32)
        });
        if !fits {
            return Err(corrupted("its parts do not lie where they should"));
        }
        heap.geometry = geometry;
        Ok(heap)
    }

    pub(super) fn word(&self, word: Word) -> &AtomicU64 {
        &self.words[word as usize]
    }

    /// Relaxed: under the users' lock, or checked by version afterwards (`still`).
    pub(super) fn load(&self, word: Word) -> u64 {
        self.word(word).load(Ordering::Relaxed)
    }

    /// The number of the word with the first free block of an order.
    pub(super) fn free_list(order: u32) -> u64 {
        Word::FreeLists as u64 + u64::from(order)
    }

    /// A word by number, if there is one: journal entries, and anything else by what the journal says.
    pub(super) fn at(&self, index: u64) -> Result<&AtomicU64> {
        let word = usize::try_from(index).ok().and_then(|index| self.words.get(index));
        word.ok_or_else(|| corrupted("a place outside of the arena"))
    }

    /// The number of the word at `offset` bytes into the heap, which is inside the arena if it is inside the heap.
    pub(super) fn index(&self, offset: u64) -> u64 {
        (self.geometry.heap_start.wrapping_add(offset)) / 8
    }

    /// How long the heap is, as far as we believe it.
    pub(super) fn len(&self) -> u64 {
        self.load(Word::HeapLen).min(self.geometry.heap_max)
    }

    /// The block that begins at `start`, whatever it is used for.
    pub(super) fn block_at(&self, start: u64) -> Result<Block> {
        let len = self.len();
        if !start.is_multiple_of(32) || start >= len {
            return Err(corrupted("an offset where no block can be"));
        }
        let word = self.at(self.index(start))?.load(Ordering::Relaxed);
        Block::parse(start, word, self.geometry.seed, len).ok_or_else(|| corrupted("an offset where no block is"))
    }

    /// The block whose content begins at `offset`, if it is in use for what `tag` says.
    pub(super) fn block(&self, offset: u64, tag: u64) -> Result<Block> {
        let start = offset.checked_sub(HEADER).ok_or_else(|| corrupted("an offset that stands for nothing"))?;
        let block = self.block_at(start)?;
        if block.state != State::Used {
            return Err(corrupted("it has been freed"));
        }
        if self.at(self.index(start + 8))?.load(Ordering::Relaxed) != tag {
            return Err(corrupted("it holds something of another type"));
        }
        Ok(block)
    }

    /// The word at `place` bytes into the content of a block.
    pub(super) fn content(&self, block: Block, place: u64) -> Result<u64> {
        if !place.is_multiple_of(8) || place >= block.room() {
            return Err(corrupted("a place outside of its block"));
        }
        Ok(self.index(block.start + HEADER + place))
    }

    pub(super) fn content_word(&self, block: Block, place: u64) -> Result<u64> {
        Ok(self.at(self.content(block, place)?)?.load(Ordering::Relaxed))
    }

    /// Copies bytes out of a block, at any place.
    pub(super) fn read(&self, block: Block, place: u64, bytes: &mut [u8]) -> Result<()> {
        let end = place.checked_add(bytes.len() as u64).ok_or_else(|| corrupted("a place outside of its block"))?;
        if end > block.room() {
            return Err(corrupted("a place outside of its block"));
        }
        let mut place = place;
        let mut rest = bytes;
        while !rest.is_empty() {
            let skip = (place % 8) as usize;
            let (part, behind) = rest.split_at_mut(rest.len().min(8 - skip));
            let word = self.content_word(block, place - skip as u64)?.to_ne_bytes();
            part.copy_from_slice(&word[skip..skip + part.len()]);
            place += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// A checked copy of the value at any place of a block.
    pub(super) fn value<T: ShmSafe>(&self, block: Block, place: u64) -> Result<T> {
        let (mut short, mut long) = ([0; 128], Vec::new());
        let bytes = match short.get_mut(..size_of::<T>()) {
            Some(bytes) => bytes,
            None => {
                long.resize(size_of::<T>(), 0);
                &mut long[..]
            }
        };
        self.read(block, place, bytes)?;
        value_of(bytes).map_err(|invalid| Error::new(READ, ErrorKind::Corrupted).because(invalid.to_string()))
    }

    /// The version, if no change is open.
    pub(super) fn quiet_version(&self) -> Result<u64> {
        // Acquire, both, and in this order: a change that begins after the first load is seen by the second, or changes
        // the version before `still` looks. Partners of the release stores in `Change::begin` and `journal::close`.
        let version = self.word(Word::Version).load(Ordering::Acquire);
        let owner = self.word(Word::Owner).load(Ordering::Acquire);
        if owner == 0 { Ok(version) } else { Err(open_change(READ)) }
    }

    /// Refuses what was read if a change began meanwhile.
    pub(super) fn still(&self, before: u64) -> Result<()> {
        // The fence orders the loads of the content before the load of the version: partner of the release stores
        // that follow the version's change in `Change::begin`.
        fence(Ordering::Acquire);
        if self.load(Word::Version) == before { Ok(()) } else { Err(open_change(READ)) }
    }
}

pub(super) fn corrupted(why: &'static str) -> Error {
    Error::new("use an arena", ErrorKind::Corrupted).because(why)
}

pub(super) fn open_change(operation: &'static str) -> Error {
    Error::new(operation, ErrorKind::OwnerDied)
        .because("a change is open: recover if its writer died, else keep to the lock that orders the arena's users")
}

const _: () = assert!(Word::FreeLists as u64 + ORDERS as u64 <= JOURNAL);
