//! The lines that locks of several robust words are made of, and what is done to such a word.
//!
//! The invariant: a mark [`WAITERS`] is taken off a word only together with waking everyone who sleeps on it, in one
//! system call ([`RobustWord::unmark`]). So whoever sleeps on a word either stands behind the mark or has been woken,
//! whoever else dies meanwhile. (Leaving the mark off between giving a word back and waking loses a sleeper when the
//! one who was woken dies while a third owns the word without the mark.)

use std::time::Duration;

use tieline_os::futex::{AnyWaited, Deadline, Waited};

use crate::raw::Words;
use crate::raw::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(model))]
use crate::raw::robust::pair;
use crate::raw::robust::{self, RobustWord, Thread, high, low, planted};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

/// The part of a robust word that is its owner's thread id; 0 if nobody owns it.
pub(crate) const OWNER: u64 = robust::OWNER as u64;
/// The owner died: the kernel puts this in the owner's place.
pub(crate) const DIED: u64 = robust::OWNER_DIED as u64;
/// Somebody sleeps on the word, or did.
pub(crate) const WAITERS: u64 = robust::WAITERS as u64;

/// Sleepers of all kinds.
pub(crate) const ANYONE: u32 = u32::MAX;

/// A line of 64 bytes that begins with a word the kernel marks when its owner dies.
#[repr(C, align(64))]
pub(crate) struct Line {
    pub(crate) robust: RobustWord,
    /// For the structure that the line belongs to.
    pub(crate) more: [AtomicU32; 6],
}

// SAFETY: repr(C), 40 bytes of words and 24 of atomics: 64 bytes without padding.
unsafe impl Words for Line {}

impl Line {
    /// The word: owner and marks in its low half, nothing in its high half.
    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.robust.state
    }

    /// Sleeps while the word is `seen`, behind the mark; answers whether the deadline passed. The word may be anything
    /// afterwards. A word that changes all the time does not outlast the deadline.
    pub(crate) fn sleep(&self, seen: u64, kind: u32, until: Until) -> Result<bool> {
        let Ok(marked) = mark(self.word(), seen) else {
            return Ok(until.has_passed());
        };
        let waited = self.robust.wait_as(low(marked), kind, until.deadline());
        Ok(match waited.map_err(|error| Error::system_refused("wait", error))? {
            Waited::Woken => false,
            Waited::Changed => until.has_passed(),
            Waited::TimedOut => true,
        })
    }
}

/// Where in a structure's first line its form lies: which structure this is, and its version.
const FORM: usize = 4;
/// Where in a structure's first line it lies how many lines follow.
const COUNT: usize = 5;

/// Where in a line one of its own numbers lies.
#[cfg(not(model))]
pub(crate) const fn more_offset(index: usize) -> usize {
    std::mem::offset_of!(Line, more) + index * 4
}

/// Writes a structure's form, in memory that nobody else has yet.
#[cfg(not(model))]
pub(crate) fn make(first: &Line, form: u32, count: u32) {
    // Relaxed: handing over the memory orders everything.
    first.more[FORM].store(form, Ordering::Relaxed);
    first.more[COUNT].store(count, Ordering::Relaxed);
}

/// How many lines follow the first of a structure that a peer made; what stands there is believed if it is possible.
///
/// # Errors
/// `Corrupted`
#[cfg(not(model))]
pub(crate) fn attach(first: &Line, is_form: impl Fn(u32) -> bool, max: usize) -> Result<(u32, usize)> {
    // Relaxed: written before the memory was handed over.
    let (form, count) = (first.more[FORM].load(Ordering::Relaxed), first.more[COUNT].load(Ordering::Relaxed));
    let count = count as usize;
    if is_form(form) && (1..=max).contains(&count) {
        Ok((form, count))
    } else {
        Err(Error::new("attach to a lock", ErrorKind::Corrupted).because("no such lock was made there"))
    }
}

/// The calling thread, if it can own one more word.
#[inline]
pub(crate) fn thread(operation: &'static str) -> Result<Thread> {
    let thread = Thread::current()?;
    if thread.has_room() {
        Ok(thread)
    } else {
        Err(Error::new(operation, ErrorKind::LimitReached).because("this thread holds 1024 locks"))
    }
}

/// Sleeps while all words are as expected, `first` among them. On a kernel that cannot sleep on several words (before
/// Linux 5.16) sleeps on the first, for a while: what happens to the others is noticed so much later.
pub(crate) fn watch(first: &RobustWord, words: &[(&AtomicU64, u32)], until: Until) -> Result<AnyWaited> {
    let refused = |error| Error::system_refused("wait", error);
    match robust::wait_any(words, until.deadline()) {
        Err(error) if error.kind() == tieline_os::ErrorKind::Unsupported => {}
        waited => return waited.map_err(refused),
    }
    if until.has_passed() {
        return Ok(AnyWaited::TimedOut);
    }
    let waited = first.wait(words[0].1, Some(Deadline::after(LOOK_AGAIN))).map_err(refused)?;
    Ok(if waited == Waited::Woken { AnyWaited::Woken(0) } else { AnyWaited::Changed })
}

/// How late a death is noticed where the kernel cannot sleep on several words.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long one who waits among threads of several pid namespaces sleeps at a time; see [`admit`].
const AMONG_STRANGERS: Duration = Duration::from_millis(5);

/// In the upper half of a word's `turn`: threads of several pid namespaces share the word.
const SEVERAL: u32 = u32::MAX;

/// Notes that threads of this process's pid namespace will own the word.
///
/// An id is that of one thread in its own namespace only. The kernel takes a word that a dying thread has announced, and
/// that shows its id, for the thread's own. So where ids of several namespaces meet, nobody may sleep with the word
/// announced: the dead one's namesake may hold it by then, and would lose it. Then the death of one who was woken wakes
/// no other, for which reason all who sleep look again from time to time.
#[cfg(not(model))]
pub(crate) fn admit(word: &RobustWord) {
    if is_first_namespace(word) {
        return;
    }
    // SeqCst, with [is_shared_by_strangers].
    word.turn.fetch_or(pair(0, SEVERAL), Ordering::SeqCst);
    // Whoever fell asleep before this began must look again.
    word.unmark();
}

/// Whether this process's pid namespace is the first whose threads own the word, as far as that can be known.
#[cfg(not(model))]
pub(crate) fn is_first_namespace(word: &RobustWord) -> bool {
    let Ok(namespace) = std::fs::metadata("/proc/self/ns/pid") else { return false };
    // Truncation loses nothing: the kernel numbers them with 32 bits.
    let own = low(std::os::unix::fs::MetadataExt::ino(&namespace));
    // Relaxed: the exchange tells; a number once there stays, or becomes [SEVERAL].
    let seen = word.turn.load(Ordering::Relaxed);
    let known = match high(seen) {
        0 => word.turn.compare_exchange(seen, pair(low(seen), own), Ordering::SeqCst, Ordering::SeqCst).map(|_| own),
        known => Ok(known),
    };
    known.unwrap_or_else(high) == own
}

/// Whether threads of several pid namespaces share the word. Asked when the mark has been set: then this sees it, or the
/// one who [came](admit) takes the mark off again.
pub(crate) fn is_shared_by_strangers(word: &RobustWord) -> bool {
    // In a model all are of one.
    !cfg!(model) && high(word.turn.load(Ordering::SeqCst)) == SEVERAL
}

/// When to look again among strangers, or earlier.
pub(crate) fn before_long(until: Until) -> Until {
    let soon = Deadline::after(AMONG_STRANGERS);
    match until {
        Until::At(deadline) if deadline.remaining() < AMONG_STRANGERS => until,
        _ => Until::At(soon),
    }
}

/// Puts the mark on a word that is `seen`, unless it is there; answers what stands there then.
pub(crate) fn mark(word: &AtomicU64, seen: u64) -> Result<u64, u64> {
    if seen & WAITERS != 0 {
        return Ok(seen);
    }
    // SeqCst, with [give_back]: who gives the word up sees the mark, or the sleeper the change.
    word.compare_exchange(seen, seen | WAITERS, Ordering::SeqCst, Ordering::Relaxed).map(|seen| seen | WAITERS)
}

/// Takes the owner off a word and leaves the mark; answers what stood there.
#[inline]
pub(crate) fn give_back(word: &AtomicU64, owner: u64) -> u64 {
    if planted("mark is dropped") {
        return word.swap(0, Ordering::SeqCst);
    }
    match word.compare_exchange(owner, 0, Ordering::SeqCst, Ordering::Relaxed) {
        Ok(before) => before,
        Err(_) => word.fetch_and(WAITERS, Ordering::SeqCst),
    }
}

/// Where a thread begins to look among `count` lines, so that threads seldom meet.
#[inline]
pub(crate) fn favourite(thread: Thread, count: usize) -> usize {
    // The upper half of a product is below `count`; a remainder would cost a division.
    let hash = u64::from(thread.id().wrapping_mul(0x9e37_79b1));
    ((hash * count as u64) >> 32) as usize
}

/// Loom knows sequential consistency only of fences, so that a model needs one where the other build relies on two
/// sequentially consistent accesses, the first of them a read-modify-write or an exchange.
pub(crate) fn model_fence() {
    #[cfg(model)]
    crate::raw::atomic::fence(Ordering::SeqCst);
}

#[cfg(model)]
impl Line {
    pub(crate) fn new() -> Self {
        Self { robust: RobustWord::new(), more: std::array::from_fn(|_| AtomicU32::new(0)) }
    }
}
