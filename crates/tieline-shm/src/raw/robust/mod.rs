//! Words of shared memory whose owner's death the kernel announces: the ground of every lock.
//!
//! A thread that owns a [`RobustWord`] has its id in the word's low 30 bits, and the word stands in the thread's list of
//! what it holds. When the thread ends, for whatever reason and between whatever two instructions, the kernel walks the
//! list, replaces the id in each word by [`OWNER_DIED`], and wakes one sleeper where [`WAITERS`] was set. What the thread
//! is about to take or has just given back it announces as *pending*; there the kernel marks the word if the thread
//! owns it, and wakes one sleeper if nobody owns it: that covers who is killed between giving a lock back and waking,
//! and who is killed between being woken and taking it.
//!
//! The invariant: a word that a thread owns is in its list or pending, and memory that the list or the pending pointer
//! names stays mapped. The first is the [`Thread`]'s protocol:
//!
//! | to take | to give back |
//! |---|---|
//! | [`begin`](Thread::begin) | [`begin`](Thread::begin) |
//! | exchange the free word for the own id | [`unlink`](Thread::unlink) |
//! | [`link`](Thread::link) if it worked | exchange the own id for the free word, wake one |
//! | [`end`](Thread::end) | [`end`](Thread::end) |
//!
//! The second is the caller's: a guard borrows the handle that keeps the memory mapped, and a handle that is dropped
//! while a forgotten guard's word still [is held](is_held_here) leaves the memory mapped for good. And a place where a
//! lock lies stays a lock: between the exchange and `end` another process may take and leave the lock, but if it used
//! the place for other data that happened to equal our id, our death would change it (musl's commit 233bb697 tells of
//! this race; no protocol of ours can close it from here).
//!
//! Source: the kernel's `locking/robust-futex-ABI.rst` and `kernel/futex/core.c` (`handle_futex_death`).

#[cfg(not(model))]
mod list;
#[cfg(not(model))]
mod thread;
#[cfg(not(model))]
mod word;

#[cfg(model)]
pub(crate) mod model;

#[cfg(model)]
pub(crate) use model::{Thread, is_held_here, step, wait_any, wake_all};
#[cfg(not(model))]
pub(crate) use thread::{Thread, is_held_here};
#[cfg(not(model))]
pub(crate) use word::{wait_any, wake_all};

#[cfg(not(model))]
pub(crate) use crate::raw::step;

/// Whether this process has the bug of this name; see [`planted`](crate::raw::planted).
#[inline(always)]
pub(crate) fn planted(bug: &str) -> bool {
    crate::raw::planted() == Some(bug)
}

use crate::raw::Words;
use crate::raw::atomic::{AtomicU32, AtomicU64};

/// Set in a word by who is about to sleep on it: its owner must wake somebody when he gives it back.
pub(crate) const WAITERS: u32 = 0x8000_0000;

/// Set by the kernel in the word of an owner that died.
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;

/// The bits that hold the owner's thread id; zero if nobody owns the word.
pub(crate) const OWNER: u32 = 0x3fff_ffff;

/// A word that a thread can own so that the kernel watches over it, with room for the links of the thread's list.
///
/// `state` and `turn` are each one atomic of 64 bits, of which the low half is a futex of the kernel; the high half
/// belongs to whoever uses the word. All accesses of ours are of 64 bits; only the kernel looks at, and writes, the
/// half. A lock whose word the kernel writes as well (priority inheritance) uses [`word`](Self::word) and never
/// `state`.
#[repr(C, align(8))]
pub(crate) struct RobustWord {
    /// Low half: owner, [`OWNER_DIED`], [`WAITERS`]. High half: free for the structure that uses it.
    pub(crate) state: AtomicU64,
    /// A second futex, for the structure that uses it.
    pub(crate) turn: AtomicU64,
    /// A number that only the owner writes, for the structure that uses it.
    pub(crate) note: AtomicU32,
    /// Where the list's link lies, at the offset from `state` that the C library's list of the thread demands (32 bytes
    /// with glibc, 28 with musl); written by the owner, read by the kernel when the owner dies, and by nobody else: see
    /// [`Thread`].
    links: [AtomicU32; 5],
}

// SAFETY: repr(C), 8 + 8 + 4 + 20 bytes of atomics, no padding.
unsafe impl Words for RobustWord {}

impl RobustWord {
    /// A word that nobody owns, in ordinary memory.
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            note: AtomicU32::new(0),
            links: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

/// What a thread can own so that the kernel watches over it.
///
/// # Safety
/// The type is `repr(C)` and begins with the futex word, in whose low 30 bits the owner's thread id stands while it is
/// owned; its bytes 24 to 40 are for the links of the owner's list and for nothing else.
pub(crate) unsafe trait Watched: Words {}

// SAFETY: the low half of `state` comes first (on a big-endian machine `Thread::register` refuses), `links` last.
unsafe impl Watched for RobustWord {}

/// The futex half of `state` or `turn`.
#[inline]
pub(crate) const fn low(state: u64) -> u32 {
    // Truncation is the point.
    state as u32
}

/// The half of `state` or `turn` that is not the futex.
#[inline]
pub(crate) const fn high(state: u64) -> u32 {
    (state >> 32) as u32
}

/// Both halves.
#[inline]
pub(crate) const fn pair(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}
