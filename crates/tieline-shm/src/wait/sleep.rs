//! A waiter's way through an [`EventCount`]: look, look a while, announce, look again, sleep.
//!
//! The invariant: nobody sleeps without having announced, and looked after that. What is learned of how long to look is
//! [`Habit`]'s.

use std::ops::Deref;
use std::time::{Duration, Instant};

use tieline_os::futex::{Deadline, Waited};

use super::event_count::{ASLEEP, EventCount};
use super::spin::{Habit, Spun};
use super::{Until, Waiting, planted};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::raw::{cpu, futex, step};

impl EventCount {
    /// Waits until `ready` answers, which must load what [`notify`](Self::notify) comes after.
    ///
    /// To be told of a death, let `ready` look at a flag that is set before
    /// [`wake_after_death`](Self::wake_after_death).
    ///
    /// # Errors
    /// `WouldBlock`, `TimedOut`; what `ready` answers ends the wait, also if it is an error.
    #[inline]
    pub(crate) fn wait<R>(
        &self,
        how: Waiting,
        until: Until,
        operation: &'static str,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        match ready() {
            Some(answer) => {
                self.met_awake();
                Ok(answer)
            }
            None if matches!(until, Until::Now) => Err(Error::new(operation, ErrorKind::WouldBlock)),
            None => wait_any(&[self], how, until, operation, ready),
        }
    }

    /// Waits until `ready` answers, where any of `counts` may be the one that is notified; one call of the kernel for
    /// all of them.
    ///
    /// One count at least. Of more than [`futex::most_words`] the others are looked at every two milliseconds.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub(crate) fn wait_any<R, C: Deref<Target = Self>>(
        counts: &[C],
        how: Waiting,
        until: Until,
        operation: &'static str,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        match ready() {
            Some(answer) => {
                counts.iter().for_each(|count| count.met_awake());
                Ok(answer)
            }
            None if matches!(until, Until::Now) => Err(Error::new(operation, ErrorKind::WouldBlock)),
            None => wait_any(counts, how, until, operation, ready),
        }
    }

    /// Whether a waiter of this thread had better not spin: the notifier was last seen on this very processor.
    pub(crate) fn notifier_is_here(&self) -> bool {
        // Relaxed: a hint.
        self.notifier_cpu.load(Ordering::Relaxed) == cpu::current().wrapping_add(1)
    }

    /// Looks for a while, if that may help: for waiters that have their own way to sleep. If in vain, says until when
    /// it looked, if it did.
    #[cfg(feature = "tokio")]
    pub(crate) fn look_a_while<R>(&self, ready: &mut impl FnMut() -> Option<R>) -> Result<R, Option<Instant>> {
        let (habit, in_vain) = (Habit::of(self.address()), self.notifier_is_here());
        match habit.look(in_vain, Waiting::Adaptive, Until::Forever, ready) {
            Spun::Ready(answer) => {
                self.met_awake();
                Ok(answer)
            }
            Spun::Expired | Spun::GaveUp if in_vain => Err(None),
            Spun::Expired | Spun::GaveUp => {
                habit.task_looked_in_vain();
                Err(Some(Instant::now()))
            }
        }
    }

    /// A waiter with its own way to sleep had to, after it had looked until then: to look longer next time, if a little
    /// longer would have done.
    #[cfg(feature = "tokio")]
    pub(crate) fn slept(&self, looked_until: Instant) {
        Habit::of(self.address()).task_slept(looked_until);
    }

    fn sleep<R>(
        &self,
        deadline: Option<Deadline>,
        ready: &mut impl FnMut() -> Option<R>,
    ) -> tieline_os::Result<Slept<R>> {
        // Acquire: partner is the release in `wake`; the turn must be read before announcing, see there.
        let turn = self.turn.load(Ordering::Acquire);
        self.announce(ASLEEP);
        step("wait:announced");
        if !planted::NO_SECOND_LOOK.is_on()
            && let Some(answer) = ready()
        {
            return Ok(Slept::Ready(answer));
        }
        futex::wait(&self.turn, turn, deadline).map(Slept::after)
    }
}

/// How long one who waits for more places than the kernel can watch sleeps at a time.
const UNWATCHED: Duration = Duration::from_millis(2);

#[inline(never)]
fn wait_any<R, C: Deref<Target = EventCount>>(
    counts: &[C],
    how: Waiting,
    until: Until,
    operation: &'static str,
    mut ready: impl FnMut() -> Option<R>,
) -> Result<R> {
    let Some(first) = counts.first() else {
        return Err(Error::new(operation, ErrorKind::InvalidInput).because("there is nothing to wait for"));
    };
    if matches!(until, Until::Now) {
        return Err(Error::new(operation, ErrorKind::WouldBlock));
    }
    let deadline = until.deadline();
    let habit = Habit::of(first.address());
    // Those that the kernel cannot watch are looked at every so often.
    let (watched, rest) = counts.split_at(counts.len().min(if counts.len() == 1 { 1 } else { futex::most_words() }));
    let timed_out = || Error::new(operation, ErrorKind::TimedOut);
    loop {
        let in_vain = counts.iter().any(|count| count.notifier_is_here());
        let slept_from = match habit.look(in_vain, how, until, &mut ready) {
            Spun::Ready(answer) => {
                counts.iter().for_each(|count| count.met_awake());
                return Ok(answer);
            }
            Spun::Expired => return ready().ok_or_else(timed_out),
            Spun::GaveUp => (how == Waiting::Adaptive && !in_vain).then(Instant::now),
        };
        let sleep_until = if rest.is_empty() {
            deadline
        } else {
            let nap = deadline.map_or(UNWATCHED, |deadline| deadline.remaining().min(UNWATCHED));
            Some(Deadline::after(nap))
        };
        let slept = match watched {
            [count] => count.sleep(sleep_until, &mut ready),
            watched => sleep_on_any(watched, sleep_until, &mut ready),
        };
        match slept.map_err(|error| Error::system_refused(operation, error))? {
            Slept::Ready(answer) => return Ok(answer),
            Slept::TimedOut if !rest.is_empty() => {}
            Slept::TimedOut => return ready().ok_or_else(timed_out),
            Slept::Woken => habit.slept(slept_from),
        }
        if let Some(answer) = ready() {
            return Ok(answer);
        }
        // Wake-ups in vain, however many, do not carry us past the deadline.
        if until.has_passed() {
            return Err(timed_out());
        }
    }
}

/// Waits until `ready` answers, on a word that is woken on after each of its changes, whether or not anybody sleeps: so
/// the waiter need not announce itself, and the memory may be mapped read-only.
///
/// # Errors
/// As [`EventCount::wait`].
pub(crate) fn wait_on_word<R>(
    word: &AtomicU32,
    how: Waiting,
    until: Until,
    operation: &'static str,
    mut ready: impl FnMut() -> Option<R>,
) -> Result<R> {
    if let Some(answer) = ready() {
        return Ok(answer);
    }
    if matches!(until, Until::Now) {
        return Err(Error::new(operation, ErrorKind::WouldBlock));
    }
    let deadline = until.deadline();
    let habit = Habit::of(std::ptr::from_ref(word).addr());
    let timed_out = || Error::new(operation, ErrorKind::TimedOut);
    loop {
        let slept_from = match habit.look(false, how, until, &mut ready) {
            Spun::Ready(answer) => return Ok(answer),
            Spun::Expired => return ready().ok_or_else(timed_out),
            Spun::GaveUp => (how == Waiting::Adaptive).then(Instant::now),
        };
        // Acquire: partner is whoever changes the word; read before the last look, so that a change after it keeps
        // us awake.
        let before = word.load(Ordering::Acquire);
        if let Some(answer) = ready() {
            return Ok(answer);
        }
        let waited = futex::wait(word, before, deadline).map_err(|error| Error::system_refused(operation, error))?;
        match waited {
            Waited::TimedOut => return ready().ok_or_else(timed_out),
            Waited::Woken | Waited::Changed => habit.slept(slept_from),
        }
        if let Some(answer) = ready() {
            return Ok(answer);
        }
        // As above.
        if until.has_passed() {
            return Err(timed_out());
        }
    }
}

enum Slept<R> {
    Ready(R),
    Woken,
    TimedOut,
}

/// As [`EventCount::sleep`], on all of `counts`.
fn sleep_on_any<R, C: Deref<Target = EventCount>>(
    counts: &[C],
    deadline: Option<Deadline>,
    ready: &mut impl FnMut() -> Option<R>,
) -> tieline_os::Result<Slept<R>> {
    let mut turns = [(&counts[0].turn, 0); futex::MAX_WORDS];
    let turns = &mut turns[..counts.len()];
    for (entry, count) in turns.iter_mut().zip(counts) {
        // Acquire: as in `sleep`.
        *entry = (&count.turn, count.turn.load(Ordering::Acquire));
        count.announce(ASLEEP);
    }
    step("wait:announced");
    if let Some(answer) = ready() {
        return Ok(Slept::Ready(answer));
    }
    futex::wait_any(turns, deadline).map(Slept::after)
}

impl<R> Slept<R> {
    fn after(waited: Waited) -> Self {
        match waited {
            Waited::Woken | Waited::Changed => Self::Woken,
            Waited::TimedOut => Self::TimedOut,
        }
    }
}
