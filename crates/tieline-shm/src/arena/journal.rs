//! Old values of changed words, and putting them back.
//!
//! An undo journal. For each word to be changed: number and old value are written, then the length, then the word. A
//! process that dies leaves a prefix of these stores, because each is a release store and the memory is coherent: so
//! every changed word has its entry below the length. The length going to zero, one store, is the commit. Putting back
//! goes from the last entry to the first and may itself be interrupted anywhere and run again.
//!
//! This protects against the death of processes, not of the system: pages reach a disk in any order.

use super::heap::{Heap, JOURNAL, Word, corrupted, open_change};
use super::{Recovered, death};
use crate::error::Result;
use crate::raw::atomic::Ordering;
use crate::raw::step;

/// Opens a change for `nonce`.
pub(super) fn begin(heap: &Heap, nonce: u64) -> Result<()> {
    // Acquire: partner of the release in `close`. Release: partner of the acquire in `recover`.
    if heap.word(Word::Owner).compare_exchange(0, nonce, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return Err(open_change("change an arena"));
    }
    step("arena:owned");
    if heap.load(Word::JournalLen) != 0 {
        // Nobody of ours leaves the arena to nobody with a journal.
        return Err(corrupted("its journal is open, and nobody's"));
    }
    // Release: partner of the acquires in `Heap::quiet_version` and `still`, with the release stores that follow.
    heap.word(Word::Version).fetch_add(1, Ordering::Release);
    Ok(())
}

/// Stores word `index` after noting what it was as entry `entry`, which is below the journal's room.
pub(super) fn alter(
    heap: &Heap,
    entry: u64,
    index: u64,
    value: u64,
    still_owner: impl Fn() -> Result<()>,
) -> Result<()> {
    let word = heap.at(index)?;
    if !death::forgets_to_note() {
        // Relaxed: the release of the length orders them.
        heap.at(JOURNAL + 2 * entry)?.store(index, Ordering::Relaxed);
        heap.at(JOURNAL + 2 * entry + 1)?.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        step("arena:noted");
        still_owner()?;
        death::at_store()?;
        // Release: partner of the acquire in `put_back`.
        heap.word(Word::JournalLen).store(entry + 1, Ordering::Release);
    }
    step("arena:before-store");
    still_owner()?;
    death::at_store()?;
    // Release: comes after its journal entry, and after the version.
    word.store(value, Ordering::Release);
    Ok(())
}

/// Makes what was altered hold.
pub(super) fn commit(heap: &Heap) {
    // Release: who finds the journal empty finds the words.
    heap.word(Word::JournalLen).store(0, Ordering::Release);
}

/// Takes back what is in the journal.
pub(super) fn put_back(heap: &Heap) -> Result<()> {
    // Acquire: partner of the release in `alter`.
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

#[cfg(all(test, model))]
mod models {
    use loom::sync::Arc;
    use tieline_testkit::test_name;

    use super::*;
    use crate::arena::heap::Geometry;
    use crate::model::{explore, must_fail};
    use crate::raw::View;
    use crate::raw::atomic::AtomicU64;

    const WORDS: u64 = JOURNAL + 2 * 4 + 2;
    const FIRST: u64 = WORDS - 2;
    const SECOND: u64 = WORDS - 1;

    fn heap() -> Heap {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let geometry = Geometry { journal_room: 4, heap_start: FIRST * 8, heap_max: 16, seed: 0 };
        Heap::new(View::leak(words.into_boxed_slice()), geometry)
    }

    fn load(heap: &Heap, index: u64) -> u64 {
        heap.at(index).unwrap().load(Ordering::Relaxed)
    }

    /// A change of two words beside a reader of both; `look_again` off is the planted bug.
    fn reader_beside_writer(look_again: bool) {
        explore("reader beside writer", None, move || {
            let heap = Arc::new(heap());
            let writers = Arc::clone(&heap);
            let writer = loom::thread::spawn(move || {
                begin(&writers, 7).unwrap();
                alter(&writers, 0, FIRST, 1, || Ok(())).unwrap();
                alter(&writers, 1, SECOND, 1, || Ok(())).unwrap();
                commit(&writers);
                close(&writers);
            });
            if let Ok(version) = heap.quiet_version() {
                let both = (load(&heap, FIRST), load(&heap, SECOND));
                if !look_again || heap.still(version).is_ok() {
                    assert_eq!(both.0, both.1, "half a change was believed");
                }
            }
            writer.join().unwrap();
            assert_eq!((load(&heap, FIRST), load(&heap, SECOND)), (1, 1));
        });
    }

    #[test]
    fn model_a_reader_believes_no_half_change() {
        reader_beside_writer(true);
    }

    #[test]
    fn model_a_reader_that_does_not_look_again_is_found_out() {
        must_fail(&test_name!(), "NoSecondLook", || reader_beside_writer(false));
    }

    /// Two who do not keep to the lock: one of them changes at a time, and the words stay a pair.
    #[test]
    fn model_two_writers_without_a_lock() {
        explore("two writers without a lock", None, || {
            let heap = Arc::new(heap());
            let change = |heap: &Heap, value: u64| {
                if begin(heap, value).is_ok() {
                    alter(heap, 0, FIRST, value, || Ok(())).unwrap();
                    alter(heap, 1, SECOND, value, || Ok(())).unwrap();
                    commit(heap);
                    close(heap);
                }
            };
            let others = Arc::clone(&heap);
            let other = loom::thread::spawn(move || change(&others, 1));
            change(&heap, 2);
            other.join().unwrap();
            assert_eq!(load(&heap, FIRST), load(&heap, SECOND));
            assert_eq!((heap.load(Word::Owner), heap.load(Word::JournalLen)), (0, 0));
        });
    }
}
