//! The protocol of the count that anyone may raise and lower.
//!
//! The invariant: while somebody sleeps, the bell is marked. Who raises the count wakes as many as it raised it by;
//! one who was woken and dies before it took anything is replaced by the kernel, because it was announced as waiting
//! for the bell, which nobody owns.

use tieline_os::futex::Waited;

use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::sync::kernel::{ANYONE, Kernel, Line, WAITERS, has_passed, model_fence};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const POST: &str = "post";
const TAKE: &str = "take a token";

/// The largest count.
pub(crate) const MAX_TOKENS: u32 = i32::MAX.cast_unsigned();

/// The memory: the bell's line, whose `state` is the count.
#[derive(Clone, Debug)]
pub(crate) struct TokenWords(View<Line>);

impl TokenWords {
    pub(crate) fn new(line: View<Line>) -> Self {
        Self(line)
    }

    pub(crate) fn count(&self) -> u32 {
        // Relaxed: a number for people and tests, out of date when it is read.
        self.0.state.load(Ordering::Relaxed)
    }

    pub(crate) fn post<K: Kernel>(&self, kernel: &K, count: u32) -> Result<()> {
        let bell = &self.0.word;
        kernel.begin(&self.0);
        // Release, with [take_now]. SeqCst, with [take]: we see the mark, or the sleeper the count.
        let raised = self.0.state.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |present| {
            present.checked_add(count).filter(|sum| *sum <= MAX_TOKENS)
        });
        model_fence();
        kernel.step("tokens:posted");
        if raised.is_ok() && bell.load(Ordering::SeqCst) & WAITERS != 0 && kernel.wake(bell, count, ANYONE) < count {
            kernel.step("tokens:unmarking");
            kernel.unmark(bell);
        }
        kernel.end();
        match raised {
            Ok(_) => Ok(()),
            Err(present) if present > MAX_TOKENS => {
                Err(Error::new(POST, ErrorKind::Corrupted).because("the count is above its limit"))
            }
            Err(_) => Err(Error::new(POST, ErrorKind::LimitReached).because("the count would exceed 2147483647")),
        }
    }

    pub(crate) fn take<K: Kernel>(&self, kernel: &K, until: Until) -> Result<()> {
        if self.take_now() {
            return Ok(());
        }
        if matches!(until, Until::Now) {
            return Err(Error::new(TAKE, ErrorKind::WouldBlock));
        }
        kernel.begin(&self.0);
        let taken = self.wait(kernel, until);
        kernel.step("tokens:waited");
        // We may have been woken in another's place, or stand for a waker that died having woken only us.
        if self.count() > 0 && self.0.word.load(Ordering::SeqCst) & WAITERS != 0 {
            kernel.wake(&self.0.word, 1, ANYONE);
        }
        kernel.end();
        taken
    }

    fn take_now(&self) -> bool {
        // Acquire, with [post].
        let lower = |present: u32| present.checked_sub(1);
        self.0.state.fetch_update(Ordering::SeqCst, Ordering::Relaxed, lower).is_ok()
    }

    #[cold]
    fn wait<K: Kernel>(&self, kernel: &K, until: Until) -> Result<()> {
        loop {
            self.0.word.fetch_or(WAITERS, Ordering::SeqCst);
            model_fence();
            kernel.step("tokens:waits");
            if self.take_now() {
                return Ok(());
            }
            let over = match kernel.wait(&self.0.word, WAITERS, ANYONE, until)? {
                Waited::Woken => false,
                Waited::Changed => has_passed(until),
                Waited::TimedOut => true,
            };
            kernel.step("tokens:woken");
            if self.take_now() {
                return Ok(());
            }
            if over {
                return Err(Error::new(TAKE, ErrorKind::TimedOut));
            }
        }
    }
}
