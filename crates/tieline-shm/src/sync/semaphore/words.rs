//! The protocol of the semaphore whose permits come back: each permit is a word that its holder owns.
//!
//! There is no count that a death could falsify: a permit is free if its word has no owner, and the kernel takes a
//! dead owner off. Who waits sleeps on the bell and on all permits together (`futex_waitv`): a holder that gives a
//! permit back rings the bell, which wakes one; a holder that dies has the kernel wake one of those who sleep on its
//! word.
//!
//! The invariant: while somebody sleeps, the bell is marked, and so is each permit's word. One who was woken and dies
//! is replaced by the kernel: it was announced as waiting for the bell, which nobody ever owns.

use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::sync::kernel::{ANYONE, Kernel, Line, OWNER, WAITERS, Woken, has_passed, mark, model_fence, release};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const ACQUIRE: &str = "acquire a permit";

/// As many as one sleep can watch beside the bell.
pub(crate) const MAX_PERMITS: usize = 127;

/// The semaphore's memory.
#[derive(Clone, Debug)]
pub(crate) struct PermitWords {
    bell: View<Line>,
    permits: View<[Line]>,
}

impl PermitWords {
    /// At least one permit and at most [`MAX_PERMITS`].
    pub(crate) fn new(bell: View<Line>, permits: View<[Line]>) -> Self {
        Self { bell, permits }
    }

    /// How many permits nobody holds now.
    pub(crate) fn available(&self) -> usize {
        // Relaxed: a number for people and tests, out of date when it is read.
        self.permits.iter().filter(|permit| permit.word.load(Ordering::Relaxed) & OWNER == 0).count()
    }

    pub(crate) fn acquire<K: Kernel>(&self, kernel: &K, until: Until) -> Result<usize> {
        if let Some(permit) = self.take_any(kernel) {
            return Ok(permit);
        }
        if matches!(until, Until::Now) {
            return Err(Error::new(ACQUIRE, ErrorKind::WouldBlock));
        }
        self.wait(kernel, until)
    }

    pub(crate) fn release<K: Kernel>(&self, kernel: &K, permit: usize) {
        let line = &self.permits[permit];
        kernel.begin(line);
        kernel.unlink(line);
        kernel.step("semaphore:releasing");
        // Release, with [take_any]: what was done with the permit was done before. SeqCst, with [wait]: we see the
        // bell's mark, or the sleeper the free permit.
        release(&line.word, kernel.thread_id());
        model_fence();
        kernel.step("semaphore:released");
        // Dead from here on, the sleepers have been told only if one of them slept on this permit: all do.
        if self.bell.word.load(Ordering::SeqCst) & WAITERS != 0 {
            kernel.begin(&self.bell);
            kernel.step("semaphore:ringing");
            self.ring(kernel);
        }
        kernel.end();
    }

    fn ring<K: Kernel>(&self, kernel: &K) {
        if kernel.wake(&self.bell.word, 1, ANYONE) == 0 {
            kernel.unmark(&self.bell.word);
        }
    }

    /// Takes a permit that is free, beginning where the thread's id points to.
    fn take_any<K: Kernel>(&self, kernel: &K) -> Option<usize> {
        let me = kernel.thread_id();
        let count = self.permits.len();
        let first = (me.wrapping_mul(0x9e37_79b1) >> 16) as usize % count;
        (first..count).chain(0..first).find(|at| take(kernel, &self.permits[*at], me))
    }

    #[cold]
    fn wait<K: Kernel>(&self, kernel: &K, until: Until) -> Result<usize> {
        loop {
            kernel.begin(&self.bell);
            self.bell.word.fetch_or(WAITERS, Ordering::SeqCst);
            model_fence();
            kernel.step("semaphore:waits");
            let waited = self.sleep(kernel, until);
            kernel.step("semaphore:woken");
            // From here on the announcement is the permit's: whoever else sleeps, sleeps on the permit as well.
            if let Some(permit) = self.take_any(kernel) {
                return Ok(permit);
            }
            if !matches!(waited, Ok(false)) {
                // We may have been woken in another's place.
                kernel.begin(&self.bell);
                kernel.wake(&self.bell.word, 1, ANYONE);
                kernel.end();
                return Err(waited.err().unwrap_or_else(|| Error::new(ACQUIRE, ErrorKind::TimedOut)));
            }
        }
    }

    /// Sleeps until something may have changed; answers whether the deadline passed.
    fn sleep<K: Kernel>(&self, kernel: &K, until: Until) -> Result<bool> {
        let mut words: [(&AtomicU32, u32); MAX_PERMITS + 1] = [(&self.bell.word, WAITERS); MAX_PERMITS + 1];
        for (place, permit) in words[1..].iter_mut().zip(self.permits.iter()) {
            let seen = permit.word.load(Ordering::SeqCst);
            let Ok(marked) = mark(&permit.word, seen) else {
                return Ok(has_passed(until));
            };
            if seen & OWNER == 0 {
                return Ok(has_passed(until));
            }
            *place = (&permit.word, marked);
        }
        Ok(match kernel.wait_any(&words[..=self.permits.len()], until)? {
            Woken::At(_) => false,
            Woken::Look => has_passed(until),
            Woken::TimedOut => true,
        })
    }
}

/// Takes one permit if nobody holds it. A dead holder's permit is as free as any.
fn take<K: Kernel>(kernel: &K, permit: &Line, me: u32) -> bool {
    // Relaxed: a guess that the exchange checks.
    let seen = permit.word.load(Ordering::Relaxed);
    if seen & OWNER != 0 {
        return false;
    }
    kernel.begin(permit);
    kernel.step("semaphore:taking");
    // Acquire, with [release]. The mark stays: others may sleep here.
    let taken = permit.word.compare_exchange(seen, me | seen & WAITERS, Ordering::SeqCst, Ordering::Relaxed).is_ok();
    if taken {
        kernel.step("semaphore:taken");
        kernel.link(permit);
    }
    kernel.end();
    taken
}
