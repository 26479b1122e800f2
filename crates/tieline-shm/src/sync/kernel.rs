//! What the locks that are built of robust words ask of the kernel, and the words themselves.
//!
//! The invariant: a mark [`WAITERS`] is taken off a word only together with waking everyone who sleeps on it, in one
//! system call. So whoever sleeps on a word either stands behind the mark or has been woken, whoever dies meanwhile.
//!
//! The protocols are written against a trait because the models need a kernel that ends threads at named points.

use tieline_os::futex::Waited;

use crate::Result;
use crate::raw::Words;
use crate::raw::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::wait::Until;

/// The part of a robust word that is the owner's thread id; 0 if nobody owns it.
pub(crate) const OWNER: u32 = 0x3fff_ffff;
/// The owner died; the kernel puts this in the owner's place.
pub(crate) const DIED: u32 = 0x4000_0000;
/// Somebody sleeps on the word, or did.
pub(crate) const WAITERS: u32 = 0x8000_0000;

/// Sleepers of all kinds, for [`Kernel::wait`] and [`Kernel::wake`].
pub(crate) const ANYONE: u32 = u32::MAX;

/// A line of 64 bytes that begins with a word the kernel marks when its owner dies.
///
/// `links` is where the kernel's list of robust words runs through; it means nothing outside of the owner's process.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) word: AtomicU32,
    /// What else is known of the owner; the structure says what.
    pub(crate) state: AtomicU32,
    /// Beside the first word of a structure: what concerns all of it.
    pub(crate) more: [AtomicU32; 4],
    links: [AtomicU64; 2],
    _reserved: [AtomicU64; 3],
}

// SAFETY: repr(C), atomics only, 64 bytes without padding.
unsafe impl Words for Line {}

/// What robust locks need of the kernel and of the calling thread's list of robust words.
pub(crate) trait Kernel {
    /// The calling thread, as the kernel would write it.
    fn thread_id(&self) -> u32;

    /// Tells the kernel that the caller is about to own `line`, to give it up, or to wait for it: if the caller dies
    /// meanwhile, the word is marked if the caller owns it, and somebody is woken if nobody does.
    fn begin(&self, line: &Line);

    /// Enters `line` into the caller's list.
    fn link(&self, line: &Line);

    /// Takes `line` out of the caller's list.
    fn unlink(&self, line: &Line);

    /// Ends what [`begin`](Self::begin) began.
    fn end(&self);

    /// Whether the caller's own record says that it holds `line`. Needed because ids of threads repeat in other
    /// process namespaces.
    fn holds(&self, line: &Line) -> bool;

    /// Sleeps while `word` is `expected`, as one of `kind`.
    fn wait(&self, word: &AtomicU32, expected: u32, kind: u32, until: Until) -> Result<Waited>;

    /// Sleeps while all words are as expected. The answer tells whether the caller was woken, and on which.
    fn wait_any(&self, words: &[(&AtomicU32, u32)], until: Until) -> Result<Woken>;

    /// Wakes up to `count` sleepers of `kind`, and says how many there were.
    fn wake(&self, word: &AtomicU32, count: u32, kind: u32) -> u32;

    /// Takes the mark off and wakes everyone, in one step that no death divides.
    fn unmark(&self, word: &AtomicU32);

    /// A point at which a test may end the caller.
    fn step(&self, name: &'static str);
}

/// How [`Kernel::wait_any`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// By the word at this place.
    At(usize),
    /// A word was not as expected, or it is time to look again.
    Look,
    TimedOut,
}

/// Loom knows sequential consistency only of fences, so that a model needs one where the other build relies on two
/// sequentially consistent accesses, the first of them a read-modify-write or an exchange.
pub(crate) fn model_fence() {
    #[cfg(model)]
    crate::raw::atomic::fence(crate::raw::atomic::Ordering::SeqCst);
}

/// Sleeps on a word that is `seen`, behind the mark; answers whether the deadline passed. The word may be anything
/// afterwards. A word that changes all the time does not outlast the deadline.
pub(crate) fn sleep<K: Kernel>(kernel: &K, word: &AtomicU32, seen: u32, kind: u32, until: Until) -> Result<bool> {
    let waited = match mark(word, seen) {
        Ok(marked) => kernel.wait(word, marked, kind, until)?,
        Err(_) => Waited::Changed,
    };
    Ok(match waited {
        Waited::Woken => false,
        Waited::Changed => has_passed(until),
        Waited::TimedOut => true,
    })
}

/// Whether a wait is over its time.
pub(crate) fn has_passed(until: Until) -> bool {
    matches!(until, Until::At(deadline) if deadline.has_passed())
}

/// Puts the mark on a word that is `seen`, unless it is there; answers what stands there then.
pub(crate) fn mark(word: &AtomicU32, seen: u32) -> Result<u32, u32> {
    if seen & WAITERS != 0 {
        return Ok(seen);
    }
    // SeqCst, with [release]: the giver-up of the word sees the mark, or the sleeper the change.
    word.compare_exchange(seen, seen | WAITERS, Ordering::SeqCst, Ordering::Relaxed).map(|seen| seen | WAITERS)
}

/// Takes the owner off a word and leaves the mark; answers what stood there.
pub(crate) fn release(word: &AtomicU32, owner: u32) -> u32 {
    match word.compare_exchange(owner, 0, Ordering::SeqCst, Ordering::Relaxed) {
        Ok(before) => before,
        Err(_) => word.fetch_and(WAITERS, Ordering::SeqCst),
    }
}
