//! The protocol of the semaphore whose permits come back: each permit is a word that its holder owns.
//!
//! There is no count that a death could falsify: a permit is free if its word has no owner, and the kernel takes a
//! dead owner off. Who waits sleeps on the bell and on all permits together (`futex_waitv`): a holder that gives a
//! permit back rings the bell, which wakes one; a holder that dies has the kernel wake one of those who sleep on its
//! word.
//!
//! The invariant: while somebody sleeps, the bell is marked, and so is each permit's word. One who was woken and dies
//! is replaced by the kernel: it was announced as waiting for the bell, which nobody ever owns.

use tieline_os::futex::AnyWaited;

use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering};
#[cfg(not(model))]
use crate::raw::robust::is_held_here;
use crate::raw::robust::{Thread, low, planted, step};
use crate::sync::line::{ANYONE, Line, OWNER, WAITERS, favourite, give_back, mark, model_fence, watch};
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
        self.permits.iter().filter(|permit| permit.word().load(Ordering::Relaxed) & OWNER == 0).count()
    }

    /// How many permits there are.
    #[cfg(not(model))]
    pub(crate) fn permits(&self) -> usize {
        self.permits.len()
    }

    /// Whether a thread of this process holds one.
    #[cfg(not(model))]
    pub(crate) fn is_held_here(&self) -> bool {
        let word = |permit: &Line| low(permit.word().load(Ordering::Relaxed));
        self.permits.iter().any(|permit| is_held_here(word(permit)))
    }

    pub(crate) fn acquire(&self, thread: Thread, until: Until) -> Result<usize> {
        if let Some(permit) = self.take_any(thread) {
            return Ok(permit);
        }
        if matches!(until, Until::Now) {
            return Err(Error::new(ACQUIRE, ErrorKind::WouldBlock));
        }
        self.wait(thread, until)
    }

    pub(crate) fn release(&self, thread: Thread, permit: usize) {
        let line = &self.permits[permit];
        thread.begin(&line.robust);
        if !thread.unlink(&line.robust) {
            // Inherited by fork: the permit is the parent's.
            thread.end();
            return;
        }
        step("semaphore:releasing");
        // Release, with [take_any]: what was done with the permit was done before. SeqCst, with [wait]: we see the
        // bell's mark, or the sleeper the free permit.
        give_back(line.word(), thread.id().into());
        model_fence();
        step("semaphore:released");
        // Dead from here on, the sleepers have been told only if one of them slept on this permit: all do.
        if self.bell.word().load(Ordering::SeqCst) & WAITERS != 0 && !planted("bell is not rung") {
            thread.begin(&self.bell.robust);
            step("semaphore:ringing");
            self.ring();
        }
        thread.end();
    }

    fn ring(&self) {
        if self.bell.robust.wake_as(1, ANYONE) == 0 {
            self.bell.robust.unmark();
        }
    }

    /// Takes a permit that is free, beginning where the thread's id points to.
    fn take_any(&self, thread: Thread) -> Option<usize> {
        let me = u64::from(thread.id());
        let count = self.permits.len();
        let first = favourite(thread, count);
        (first..count).chain(0..first).find(|at| take(thread, &self.permits[*at], me))
    }

    #[cold]
    fn wait(&self, thread: Thread, until: Until) -> Result<usize> {
        loop {
            if !planted("wait is not announced") {
                thread.begin(&self.bell.robust);
            }
            self.bell.word().fetch_or(WAITERS, Ordering::SeqCst);
            model_fence();
            step("semaphore:waits");
            let waited = self.sleep(until);
            step("semaphore:woken");
            // From here on the announcement is the permit's: whoever else sleeps, sleeps on the permit as well.
            if let Some(permit) = self.take_any(thread) {
                return Ok(permit);
            }
            if !matches!(waited, Ok(false)) {
                // We may have been woken in another's place.
                thread.begin(&self.bell.robust);
                self.bell.robust.wake_as(1, ANYONE);
                thread.end();
                return Err(waited.err().unwrap_or_else(|| Error::new(ACQUIRE, ErrorKind::TimedOut)));
            }
        }
    }

    /// Sleeps until something may have changed; answers whether the deadline passed.
    fn sleep(&self, until: Until) -> Result<bool> {
        let mut words: [(&AtomicU64, u32); MAX_PERMITS + 1] = [(self.bell.word(), low(WAITERS)); MAX_PERMITS + 1];
        for (place, permit) in words[1..].iter_mut().zip(self.permits.iter()) {
            let seen = permit.word().load(Ordering::SeqCst);
            let Ok(marked) = mark(permit.word(), seen) else {
                return Ok(until.has_passed());
            };
            if seen & OWNER == 0 {
                return Ok(until.has_passed());
            }
            *place = (permit.word(), low(marked));
        }
        match watch(&self.bell.robust, &words[..=self.permits.len()], until)? {
            AnyWaited::Woken(_) => Ok(false),
            AnyWaited::Changed => Ok(until.has_passed()),
            AnyWaited::TimedOut => Ok(true),
        }
    }
}

/// Takes one permit if nobody holds it. A dead holder's permit is as free as any.
fn take(thread: Thread, permit: &Line, me: u64) -> bool {
    // Relaxed: a guess that the exchange checks.
    let seen = permit.word().load(Ordering::Relaxed);
    if seen & OWNER != 0 {
        return false;
    }
    thread.begin(&permit.robust);
    step("semaphore:taking");
    // Acquire, with [release]. The mark stays: others may sleep here.
    let taken = permit.word().compare_exchange(seen, me | seen & WAITERS, Ordering::SeqCst, Ordering::Relaxed).is_ok();
    if taken {
        step("semaphore:taken");
        thread.link(&permit.robust);
    }
    thread.end();
    taken
}
