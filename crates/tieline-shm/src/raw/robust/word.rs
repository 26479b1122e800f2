//! Sleeping on, and waking, the futex halves of a [`RobustWord`].

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64};

use tieline_os::futex::{self, AnyWaited, Deadline, Futex, Requeued, Waited};

use super::{RobustWord, WAITERS};

impl RobustWord {
    /// Sleeps while the low half of `state` is `expected`; look again in every case.
    ///
    /// # Errors
    /// As [`Futex::wait`].
    pub(crate) fn wait(&self, expected: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        let futex = Futex::shared(low_half(&self.state));
        match deadline {
            Some(deadline) => futex.wait_until(expected, deadline),
            None => futex.wait(expected),
        }
    }

    /// Wakes up to `count` who sleep on `state`, and says how many there were.
    pub(crate) fn wake(&self, count: u32) -> usize {
        // Memory that is mapped can be woken on.
        Futex::shared(low_half(&self.state)).wake(count).unwrap_or(0)
    }

    /// If the low half of `state` is still `expected`: wakes one who sleeps on it, and says whether more do. If it is
    /// not, wakes one all the same, and answers that there may be more.
    pub(crate) fn wake_one_of(&self, expected: u32) -> bool {
        let futex = Futex::shared(low_half(&self.state));
        // Moving one sleeper to where it sleeps already changes nothing, and counts it.
        if let Ok(Requeued::Done(count)) = futex.requeue(expected, 1, 1, futex) {
            return count > 1;
        }
        self.wake(1);
        true
    }

    /// Wakes up to `count` who sleep on `turn`.
    pub(crate) fn wake_turn(&self, count: u32) -> usize {
        Futex::shared(low_half(&self.turn)).wake(count).unwrap_or(0)
    }

    /// As [`wait`](Self::wait), as a sleeper of these kinds (bits, at least one).
    ///
    /// # Errors
    /// As [`Futex::wait_bits`].
    pub(crate) fn wait_as(&self, expected: u32, kind: u32, deadline: Option<Deadline>) -> tieline_os::Result<Waited> {
        let kind = NonZeroU32::new(kind).unwrap_or(NonZeroU32::MAX);
        Futex::shared(low_half(&self.state)).wait_bits(expected, kind, deadline)
    }

    /// Wakes up to `count` of these kinds who sleep on `state`, and says how many there were. Whoever sleeps without a
    /// kind is of all kinds.
    pub(crate) fn wake_as(&self, count: u32, kind: u32) -> usize {
        let kind = NonZeroU32::new(kind).unwrap_or(NonZeroU32::MAX);
        Futex::shared(low_half(&self.state)).wake_bits(count, kind).unwrap_or(0)
    }

    /// Takes [`WAITERS`] off `state` and wakes everyone who sleeps there, in one system call: a thread is killed
    /// before it or after it, but not in between.
    pub(crate) fn unmark(&self) {
        // Clear bit 31 of the word, wake all on it; the comparison, which would wake one more, is with a word of all
        // ones, which no state of ours is.
        const AND_NOT_SHIFTED: u32 = 3 | 8;
        const OPERATION: u32 = AND_NOT_SHIFTED << 28 | WAITERS.trailing_zeros() << 12 | 0xfff;
        let word = low_half(&self.state).as_ptr();
        // SAFETY: the kernel changes the word atomically, which it checks to be mapped, and which lives as long as
        // `self`. All other accesses to it are atomic.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE_OP, i32::MAX, 0_usize, word, OPERATION) };
    }

    /// The futex of `state`, for the kernel's priority-inheriting lock. A word used so is never used as `state`.
    pub(crate) fn word(&self) -> &AtomicU32 {
        low_half(&self.state)
    }
}

/// Sleeps while the low half of each atomic is what stands beside it.
///
/// # Errors
/// As [`futex::wait_any`]; `Unsupported` before Linux 5.16.
pub(crate) fn wait_any(words: &[(&AtomicU64, u32)], deadline: Option<Deadline>) -> tieline_os::Result<AnyWaited> {
    let nothing = AtomicU32::new(0);
    let mut list = [(Futex::shared(&nothing), 0); futex::MAX_WORDS];
    let list = &mut list[..words.len().min(futex::MAX_WORDS)];
    for (place, &(word, expected)) in list.iter_mut().zip(words) {
        *place = (Futex::shared(low_half(word)), expected);
    }
    futex::wait_any(list, deadline)
}

/// Wakes everyone who sleeps on the low half.
pub(crate) fn wake_all(word: &AtomicU64) {
    // Memory that is mapped can be woken on; how many slept there is nobody's business.
    let _ = Futex::shared(low_half(word)).wake(u32::MAX);
}

fn low_half(word: &AtomicU64) -> &AtomicU32 {
    let half = word.as_ptr().cast::<AtomicU32>().wrapping_add(usize::from(cfg!(target_endian = "big")));
    // SAFETY: it lies within the 8 bytes of `word`, aligned, and lives as long. We use it as an address for the kernel,
    // and never load or store through it while others use the 64 bits, so no accesses of two sizes race in this program.
    unsafe { &*half }
}
