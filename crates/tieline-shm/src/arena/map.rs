//! A table of keys and values in an arena.
//!
//! Open addressing with linear probing (Knuth, The Art of Computer Programming 3, 6.4 L). Each slot begins with a word:
//! free, removed, or the key's hash. At least one slot in four is free or the table is written anew, so a search ends;
//! a search of a table that a peer filled ends after as many steps as it has slots.

use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;

use super::block::Block;
use super::change::Change;
use super::hash::sip13;
use super::heap::{Heap, corrupted};
use super::{Arena, Container, Handle, sealed, tag};
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::raw::atomic::Ordering;
use crate::raw::words::bytes_of;

/// A table of keys and values in an [`Arena`].
///
/// Keys are equal if all their bytes are: a float's two zeros are two keys. Each map has a secret of its own for its
/// hashes, so that nobody outside can choose keys that collide.
///
/// ```
/// # use tieline_shm::{ArenaOptions, ShmMap};
/// # let mut arena = ArenaOptions::new("example").create(64 * 1024)?;
/// let ports = arena.change(|change| ShmMap::<[u8; 8], u16>::new(change))?;
/// let before = arena.change(|change| ports.insert(change, b"http\0\0\0\0", &80))?;
/// assert_eq!(before, None);
/// assert_eq!(ports.get(&arena, b"http\0\0\0\0")?, Some(80));
/// for entry in ports.iter(&arena)? {
///     let (_name, port) = entry?;
///     assert_eq!(port, 80);
/// }
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct ShmMap<K, V> {
    offset: u64,
    keys: PhantomData<K>,
    values: PhantomData<V>,
}

// Words of the head block, in bytes.
const LEN: u64 = 0;
/// Entries and removed ones: slots that a search goes past.
const FILLED: u64 = 8;
const TABLE: u64 = 16;
const KEY: [u64; 2] = [24, 32];
const HEAD_BYTES: u64 = 40;

// What a slot's first word says, else it is a hash.
const FREE: u64 = 0;
const REMOVED: u64 = 1;

const SLOTS_MIN: u64 = 8;

/// What a head says, checked.
#[derive(Clone, Copy)]
struct Table {
    head: Block,
    block: Block,
    len: u64,
    filled: u64,
    slots: u64,
    content: u64,
    key: [u64; 2],
}

/// Where a key is, or could be put.
enum Found {
    At(u64),
    Not { free: Option<u64>, hash: u64 },
}

impl<K: ShmSafe, V: ShmSafe> ShmMap<K, V> {
    const DATA: u64 = tag("map data", Self::TAG);
    const KEY_PLACE: u64 = 8;
    const VALUE_PLACE: u64 = Self::KEY_PLACE + (size_of::<K>() as u64).next_multiple_of(8);
    const STRIDE: u64 = Self::VALUE_PLACE + (size_of::<V>() as u64).next_multiple_of(8);

    /// Makes an empty one.
    ///
    /// # Errors
    /// `Full` if there is no place for it; `Corrupted` as always.
    pub fn new(change: &mut Change<'_>) -> Result<Self> {
        let offset = change.allocate(HEAD_BYTES, Self::TAG)?;
        let content = Self::new_table(change, SLOTS_MIN)?;
        let head = change.heap.block(offset, Self::TAG)?;
        change.put(head, LEN, 0)?;
        change.put(head, FILLED, 0)?;
        change.put(head, TABLE, content)?;
        for place in KEY {
            change.put(head, place, RandomState::new().hash_one(place))?;
        }
        Ok(Self::at(offset))
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// `Corrupted` if this names no such map (any more); `OwnerDied` if a change is open.
    pub fn len(&self, arena: &Arena) -> Result<usize> {
        arena.reading(|heap| Ok(usize::try_from(self.table(heap)?.len).unwrap_or(usize::MAX)))
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self, arena: &Arena) -> Result<bool> {
        Ok(self.len(arena)? == 0)
    }

    /// A copy of the value of `key`.
    ///
    /// # Errors
    /// As [`len`](Self::len), and `Corrupted` if its bytes are no `V`.
    pub fn get(&self, arena: &Arena, key: &K) -> Result<Option<V>> {
        arena.reading(|heap| {
            let table = self.table(heap)?;
            match Self::find(heap, &table, bytes_of(key))? {
                Found::At(slot) => heap.value(table.block, slot + Self::VALUE_PLACE).map(Some),
                Found::Not { .. } => Ok(None),
            }
        })
    }

    /// Whether there is an entry for `key`.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn contains_key(&self, arena: &Arena, key: &K) -> Result<bool> {
        arena.reading(|heap| Ok(matches!(Self::find(heap, &self.table(heap)?, bytes_of(key))?, Found::At(_))))
    }

    /// Stores a value for `key`; answers the one before.
    ///
    /// # Errors
    /// `Full` if the arena is; `TooLarge` if the journal is too small; `Corrupted` as for [`get`](Self::get).
    pub fn insert(&self, change: &mut Change<'_>, key: &K, value: &V) -> Result<Option<V>> {
        let table = self.table(&change.heap)?;
        let found = Self::find(&change.heap, &table, bytes_of(key))?;
        if let Found::At(slot) = found {
            let before = change.heap.value(table.block, slot + Self::VALUE_PLACE)?;
            change.write(table.block, slot + Self::VALUE_PLACE, bytes_of(value))?;
            return Ok(Some(before));
        }
        let (table, found) = if table.filled >= table.slots / 4 * 3 {
            let table = self.write_anew(change, &table)?;
            (table, Self::find(&change.heap, &table, bytes_of(key))?)
        } else {
            (table, found)
        };
        let Found::Not { free: Some(slot), hash } = found else {
            return Err(corrupted("a table without a free slot"));
        };
        let was_free = change.heap.content_word(table.block, slot)? == FREE;
        change.write(table.block, slot + Self::KEY_PLACE, bytes_of(key))?;
        change.write(table.block, slot + Self::VALUE_PLACE, bytes_of(value))?;
        change.put(table.block, slot, hash)?;
        change.put(table.head, LEN, table.len.saturating_add(1))?;
        if was_free {
            change.put(table.head, FILLED, table.filled.saturating_add(1))?;
        }
        Ok(None)
    }

    /// Takes the entry of `key` out; answers its value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn remove(&self, change: &mut Change<'_>, key: &K) -> Result<Option<V>> {
        let table = self.table(&change.heap)?;
        let Found::At(slot) = Self::find(&change.heap, &table, bytes_of(key))? else { return Ok(None) };
        let value = change.heap.value(table.block, slot + Self::VALUE_PLACE)?;
        let next = if slot + Self::STRIDE == table.slots * Self::STRIDE { 0 } else { slot + Self::STRIDE };
        // A search that comes here would end at the next slot anyway, so this one may end it too.
        let ends = change.heap.content_word(table.block, next)? == FREE;
        change.put(table.block, slot, if ends { FREE } else { REMOVED })?;
        change.put(table.head, LEN, table.len.saturating_sub(1))?;
        if ends {
            change.put(table.head, FILLED, table.filled.saturating_sub(1))?;
        }
        Ok(Some(value))
    }

    /// All entries, in no order that means anything, each copied when it is asked for. An entry ends in an error if the
    /// arena has been changed meanwhile.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn iter<'a>(&self, arena: &'a Arena) -> Result<ShmMapIter<'a, K, V>> {
        let table = arena.reading(|heap| self.table(heap))?;
        let changing = arena.changing.load(Ordering::Relaxed);
        let version = if changing { None } else { Some(arena.heap.quiet_version()?) };
        Ok(ShmMapIter { arena, table, version, slot: 0, entries: PhantomData })
    }

    /// Gives its memory back. What keys and values name in the arena is not freed.
    ///
    /// # Errors
    /// `Corrupted` as for [`len`](Self::len), also if it was freed before.
    pub fn free(self, change: &mut Change<'_>) -> Result<()> {
        let table = self.table(&change.heap)?;
        change.free(table.content, Self::DATA)?;
        change.free(self.offset, Self::TAG)
    }

    fn table(&self, heap: &Heap) -> Result<Table> {
        let head = heap.block(self.offset, Self::TAG)?;
        let word = |place| heap.content_word(head, place);
        let content = word(TABLE)?;
        let block = heap.block(content, Self::DATA)?;
        let key = [word(KEY[0])?, word(KEY[1])?];
        let slots = block.room() / Self::STRIDE;
        let (len, filled) = (word(LEN)?, word(FILLED)?);
        if slots == 0 || filled > slots || len > filled {
            return Err(corrupted("a table that is too small for what is in it"));
        }
        Ok(Table { head, block, len, filled, slots, content, key })
    }

    /// Looks for a key; at most once at each slot.
    fn find(heap: &Heap, table: &Table, key: &[u8]) -> Result<Found> {
        let hash = sip13(table.key, key).max(REMOVED + 1);
        let start = u64::try_from((u128::from(hash) * u128::from(table.slots)) >> 64).unwrap_or(0);
        let mut free = None;
        for step in 0..table.slots {
            // No remainder: a division for each step would cost more than the step.
            let number = if start + step < table.slots { start + step } else { start + step - table.slots };
            let slot = number * Self::STRIDE;
            let state = heap.content_word(table.block, slot)?;
            if state == hash && Self::has_key(heap, table, slot, key)? {
                return Ok(Found::At(slot));
            }
            if state <= REMOVED {
                free = free.or(Some(slot));
            }
            if state == FREE {
                break;
            }
        }
        Ok(Found::Not { free, hash })
    }

    fn has_key(heap: &Heap, table: &Table, slot: u64, key: &[u8]) -> Result<bool> {
        let mut place = slot + Self::KEY_PLACE;
        for part in key.chunks(64) {
            let mut there = [0; 64];
            heap.read(table.block, place, &mut there[..part.len()])?;
            if there[..part.len()] != *part {
                return Ok(false);
            }
            place += part.len() as u64;
        }
        Ok(true)
    }

    /// Allocates a table of at least `slots`, all free.
    fn new_table(change: &mut Change<'_>, slots: u64) -> Result<u64> {
        let bytes = slots.checked_mul(Self::STRIDE).ok_or_else(|| corrupted("a table larger than can be"))?;
        let content = change.allocate(bytes, Self::DATA)?;
        let block = change.heap.block(content, Self::DATA)?;
        for slot in 0..block.room() / Self::STRIDE {
            change.put(block, slot * Self::STRIDE, FREE)?;
        }
        Ok(content)
    }

    /// Copies all entries into a table with room for twice as many, without those that were removed.
    fn write_anew(&self, change: &mut Change<'_>, old: &Table) -> Result<Table> {
        let content = Self::new_table(change, (old.len + 1).saturating_mul(2).max(SLOTS_MIN))?;
        let block = change.heap.block(content, Self::DATA)?;
        let mut new = Table { block, content, slots: block.room() / Self::STRIDE, filled: 0, ..*old };
        let mut entry = vec![0; (Self::STRIDE - Self::KEY_PLACE) as usize];
        for slot in 0..old.slots {
            let slot = slot * Self::STRIDE;
            if change.heap.content_word(old.block, slot)? <= REMOVED {
                continue;
            }
            change.heap.read(old.block, slot + Self::KEY_PLACE, &mut entry)?;
            let found = Self::find(&change.heap, &new, &entry[..size_of::<K>()])?;
            let Found::Not { free: Some(slot), hash } = found else {
                return Err(corrupted("a table with the same key twice"));
            };
            change.write(new.block, slot + Self::KEY_PLACE, &entry)?;
            change.put(new.block, slot, hash)?;
            new.filled += 1;
        }
        new.len = new.filled;
        change.put(new.head, LEN, new.len)?;
        change.put(new.head, FILLED, new.filled)?;
        change.put(new.head, TABLE, new.content)?;
        change.free(old.content, Self::DATA)?;
        Ok(new)
    }
}

/// The entries of a [`ShmMap`]; see [`ShmMap::iter`].
pub struct ShmMapIter<'a, K, V> {
    arena: &'a Arena,
    table: Table,
    /// What it was at the start; none within a change of our own.
    version: Option<u64>,
    slot: u64,
    entries: PhantomData<(K, V)>,
}

impl<K: ShmSafe, V: ShmSafe> ShmMapIter<'_, K, V> {
    fn entry(&self, slot: u64) -> Result<Option<(K, V)>> {
        let heap = &self.arena.heap;
        let place = slot * ShmMap::<K, V>::STRIDE;
        let entry = if heap.content_word(self.table.block, place)? <= REMOVED {
            None
        } else {
            let key = heap.value(self.table.block, place + ShmMap::<K, V>::KEY_PLACE);
            let value = heap.value(self.table.block, place + ShmMap::<K, V>::VALUE_PLACE);
            Some((key, value))
        };
        // Before the bytes are believed.
        if let Some(version) = self.version {
            heap.still(version)?;
        }
        entry.map(|(key, value)| Ok((key?, value?))).transpose()
    }
}

impl<K: ShmSafe, V: ShmSafe> Iterator for ShmMapIter<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.slot < self.table.slots {
            self.slot += 1;
            match self.entry(self.slot - 1) {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => {
                    self.slot = self.table.slots;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl<K: ShmSafe, V: ShmSafe> sealed::Sealed for ShmMap<K, V> {}

impl<K: ShmSafe, V: ShmSafe> Handle for ShmMap<K, V> {
    const TAG: u64 = tag("map", K::LAYOUT.hash() ^ V::LAYOUT.hash().rotate_left(32));

    fn at(offset: u64) -> Self {
        Self { offset, keys: PhantomData, values: PhantomData }
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

impl<K: ShmSafe, V: ShmSafe> Container for ShmMap<K, V> {
    fn make(change: &mut Change<'_>) -> Result<Self> {
        Self::new(change)
    }
}

impl<K, V> Copy for ShmMap<K, V> {}

impl<K, V> Clone for ShmMap<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> std::fmt::Debug for ShmMapIter<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShmMapIter").field("slot", &self.slot).finish_non_exhaustive()
    }
}
