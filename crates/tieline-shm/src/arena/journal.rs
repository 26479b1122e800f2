//! Old values of changed words, and putting them back.
//!
//! An undo journal. For each word to be changed: number and old value are written, then the length, then the word. A
//! process that dies leaves a prefix of these stores, because each is a release store and the memory is coherent: so
//! every changed word has its entry below the length. The length going to zero, one store, is the commit. Putting back
//! goes from the last entry to the first and may itself be interrupted anywhere and run again.
//!
//! This protects against the death of processes, not of the system: pages reach a disk in any order.

use super::heap::{Heap, JOURNAL, Word, corrupted};
use super::{Recovered, death};
use crate::error::Result;
use crate::raw::atomic::Ordering;
use crate::raw::step;

/// Writes the old value of word `index` as entry `entry`, which is below the journal's room. It counts only after
/// [`count`].
pub(super) fn write(heap: &Heap, entry: u64, index: u64, old: u64) -> Result<()> {
    // Relaxed: the release of the length orders them.
    heap.at(JOURNAL + 2 * entry)?.store(index, Ordering::Relaxed);
    heap.at(JOURNAL + 2 * entry + 1)?.store(old, Ordering::Relaxed);
    Ok(())
}

/// Makes the first `len` entries those that are taken back.
pub(super) fn count(heap: &Heap, len: u64) {
    // Release: partner of the acquire in `put_back`.
    heap.word(Word::JournalLen).store(len, Ordering::Release);
}

/// Takes back what is in the journal.
pub(super) fn put_back(heap: &Heap) -> Result<()> {
    // Acquire: partner of the release in `count`.
    let len = heap.word(Word::JournalLen).load(Ordering::Acquire);
    if len > heap.geometry.journal_room {
        return Err(corrupted("its journal is longer than there is room for"));
    }
    for entry in (0..len).rev() {
        let index = heap.at(JOURNAL + 2 * entry)?.load(Ordering::Relaxed);
        let old = heap.at(JOURNAL + 2 * entry + 1)?.load(Ordering::Relaxed);
        if !may_change(heap, index) {
            return Err(corrupted("its journal names a word that no change alters"));
        }
        death::at_store()?;
        heap.at(index)?.store(old, Ordering::Release);
        step("arena:put-back");
    }
    death::at_store()?;
    heap.word(Word::JournalLen).store(0, Ordering::Release);
    Ok(())
}

/// Whether changes alter this word: those of the heap, and some of the arena's own.
fn may_change(heap: &Heap, index: u64) -> bool {
    const OWN: [Word; 5] = [Word::HeapLen, Word::Used, Word::Root, Word::RootTag, Word::Freed];
    let free_lists = Word::FreeLists as u64..JOURNAL;
    index >= heap.geometry.heap_start / 8 || free_lists.contains(&index) || OWN.iter().any(|word| *word as u64 == index)
}

/// Takes back the open change of somebody who died, and closes it.
pub(super) fn recover(heap: &Heap, nonce: u64) -> Result<Recovered> {
    let owner = heap.word(Word::Owner);
    // Acquire: partner of the release stores of whoever died.
    if owner.load(Ordering::Acquire) == 0 {
        return Ok(Recovered::Nothing);
    }
    // From here on a writer that was only stopped finds that it is not the owner any more.
    owner.store(nonce, Ordering::Release);
    step("arena:recovering");
    put_back(heap)?;
    let recoveries = heap.load(Word::Recoveries).wrapping_add(1);
    heap.word(Word::Recoveries).store(recoveries, Ordering::Relaxed);
    close(heap);
    Ok(Recovered::TakenBack)
}

/// Ends a change whose journal is empty.
pub(super) fn close(heap: &Heap) {
    // Release, both: partners of the acquires in `Heap::quiet_version` and `Change::begin`.
    heap.word(Word::Version).fetch_add(1, Ordering::Release);
    step("arena:closing");
    heap.word(Word::Owner).store(0, Ordering::Release);
}
