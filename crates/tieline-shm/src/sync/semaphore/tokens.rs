//! The protocol of the count that anyone may raise and lower.
//!
//! One word of 64 bits holds the count in its high half, and in its low half, on which the kernel looks, the mark that
//! somebody sleeps and a bit that says whether the count is 0. So the kernel puts nobody to sleep beside a token, whoever
//! comes, goes or dies between a look at the count and the sleep. (With the count in a word of its own, the mark could be
//! taken off and set again in between; without the bit, one who posts could die having woken nobody.)
//!
//! The invariant: while somebody sleeps and a token is there, somebody who was woken is on the way to it. Who raises the
//! count wakes as many as it raised it by; who takes one and sees more passes the wake-up on; one who was woken and dies
//! is replaced by the kernel, because it was announced as waiting for a word that nobody owns.

use crate::raw::View;
use crate::raw::atomic::Ordering;
use crate::raw::robust::{self, Thread, high, low, pair, planted, step};
use crate::sync::line::{ANYONE, Line, WAITERS};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const POST: &str = "post";
const TAKE: &str = "take a token";

/// The largest count.
pub(crate) const MAX_TOKENS: u32 = i32::MAX.cast_unsigned();

/// The memory.
#[derive(Clone, Debug)]
pub(crate) struct TokenWords(View<Line>);

impl TokenWords {
    pub(crate) fn new(line: View<Line>) -> Self {
        Self(line)
    }

    pub(crate) fn count(&self) -> u32 {
        // Relaxed: a number for people and tests, out of date when it is read.
        high(self.0.word().load(Ordering::Relaxed))
    }

    pub(crate) fn post(&self, thread: Thread, count: u32) -> Result<()> {
        if !planted("token is not announced") {
            thread.begin(&self.0.robust);
        }
        // Release, with [take_now]: what the token stands for.
        let raised = self.0.word().fetch_update(Ordering::AcqRel, Ordering::Relaxed, |seen| {
            let sum = high(seen).checked_add(count).filter(|sum| *sum <= MAX_TOKENS)?;
            Some(with_count(seen, sum))
        });
        step("tokens:posted");
        if raised.is_ok_and(|seen| seen & WAITERS != 0) && self.wake(count) < count {
            step("tokens:unmarking");
            self.0.robust.unmark();
        }
        thread.end();
        match raised {
            Ok(_) => Ok(()),
            Err(seen) if high(seen) > MAX_TOKENS => {
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
        // We may have been woken in another's place, or stand for one that died when it had woken only us.
        let left = self.0.word().load(Ordering::Relaxed);
        if high(left) > 0 && left & WAITERS != 0 && !planted("wake-up is not passed on") {
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
        let lower = |seen| Some(with_count(seen, high(seen).checked_sub(1)?));
        self.0.word().fetch_update(Ordering::AcqRel, Ordering::Relaxed, lower).is_ok()
    }

    #[cold]
    fn wait(&self, until: Until) -> Result<()> {
        let mut is_over = false;
        loop {
            // AcqRel: what [post] has raised is seen here, or [post] sees the mark: it is one word.
            let set = |seen: u64| (high(seen) == 0).then_some(WAITERS);
            let marked = self.0.word().fetch_update(Ordering::AcqRel, Ordering::Relaxed, set);
            if marked.is_err() && self.take_now() {
                return Ok(());
            }
            if is_over {
                return Err(Error::new(TAKE, ErrorKind::TimedOut));
            }
            step("tokens:waits");
            is_over = match marked {
                Ok(_) => self.0.sleep(WAITERS, ANYONE, until)?,
                Err(_) => until.has_passed(),
            };
            step("tokens:woken");
        }
    }
}

/// Set while the count is not 0; the bit means something else in a word that somebody owns, which this one never is.
const TOKENS: u32 = robust::OWNER_DIED;

/// The word with another count and the same mark.
fn with_count(seen: u64, count: u32) -> u64 {
    let tokens = if count > 0 && !planted("bit is not set") { TOKENS } else { 0 };
    pair(low(seen & WAITERS) | tokens, count)
}
