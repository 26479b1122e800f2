//! The protocol of the count that anyone may raise and lower.
//!
//! The invariant: while somebody sleeps, the bell is marked. Who raises the count wakes as many as it raised it by;
//! one who was woken and dies before it took anything is replaced by the thread, because it was announced as waiting
//! for the bell, which nobody owns.

use crate::raw::View;
use crate::raw::atomic::Ordering;
use crate::raw::robust::{Thread, step};
use crate::sync::line::{ANYONE, Line, WAITERS, is_planted, model_fence};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

/// Where in the line the count lies.
const COUNT: usize = 0;

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
        self.0.more[COUNT].load(Ordering::Relaxed)
    }

    pub(crate) fn post(&self, thread: Thread, count: u32) -> Result<()> {
        if !is_planted("token is not announced") {
            thread.begin(&self.0.robust);
        }
        // Release, with [take_now]. SeqCst, with [take]: we see the mark, or the sleeper the count.
        let raised = self.0.more[COUNT].fetch_update(Ordering::SeqCst, Ordering::Relaxed, |present| {
            present.checked_add(count).filter(|sum| *sum <= MAX_TOKENS)
        });
        model_fence();
        step("tokens:posted");
        if raised.is_ok() && self.0.word().load(Ordering::SeqCst) & WAITERS != 0 && self.wake(count) < count {
            step("tokens:unmarking");
            self.0.robust.unmark();
        }
        thread.end();
        match raised {
            Ok(_) => Ok(()),
            Err(present) if present > MAX_TOKENS => {
                Err(Error::new(POST, ErrorKind::Corrupted).because("the count is above its limit"))
            }
            Err(_) => Err(Error::new(POST, ErrorKind::LimitReached).because("the count would exceed 2147483647")),
        }
    }

    pub(crate) fn take(&self, thread: Thread, until: Until) -> Result<()> {
        if self.take_now() {
            return Ok(());
        }
        if matches!(until, Until::Now) {
            return Err(Error::new(TAKE, ErrorKind::WouldBlock));
        }
        thread.begin(&self.0.robust);
        let taken = self.wait(until);
        step("tokens:waited");
        // We may have been woken in another's place, or stand for a waker that died having woken only us.
        if self.count() > 0 && self.0.word().load(Ordering::SeqCst) & WAITERS != 0 {
            self.wake(1);
        }
        thread.end();
        taken
    }

    fn wake(&self, count: u32) -> u32 {
        u32::try_from(self.0.robust.wake_as(count, ANYONE)).unwrap_or(u32::MAX)
    }

    fn take_now(&self) -> bool {
        // Acquire, with [post].
        let lower = |present: u32| present.checked_sub(1);
        self.0.more[COUNT].fetch_update(Ordering::SeqCst, Ordering::Relaxed, lower).is_ok()
    }

    #[cold]
    fn wait(&self, until: Until) -> Result<()> {
        loop {
            self.0.word().fetch_or(WAITERS, Ordering::SeqCst);
            model_fence();
            step("tokens:waits");
            if self.take_now() {
                return Ok(());
            }
            let over = self.0.sleep(WAITERS, ANYONE, until)?;
            step("tokens:woken");
            if self.take_now() {
                return Ok(());
            }
            if over {
                return Err(Error::new(TAKE, ErrorKind::TimedOut));
            }
        }
    }
}
