//! Sleeping until a peer has done something, at no cost to a peer that nobody waits for.
//!
//! An [`EventCount`] lies beside what changes. Who changes it calls [`EventCount::notify`] afterwards: one load while
//! nobody sleeps. Who waits looks, [announces](EventCount) that it will sleep, looks again, and sleeps. The invariant: either
//! the notifier sees the announcement, or the sleeper sees the change.

use tieline_os::futex::{Deadline, Waited};

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU32, Ordering, fence};
use crate::raw::{Words, futex};

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Now,
    At(Deadline),
    Forever,
}

/// How a call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Spins while the peer runs on another processor and answers soon, sleeps otherwise. What most want.
    #[default]
    Adaptive,
    /// Never sleeps: the lowest latency, at the price of a whole processor.
    Poll,
    /// Sleeps at once.
    Block,
}

/// The shared half of waiting: who sleeps says so here, who changes something looks here.
///
/// Both sides must be able to write it; a side that lies costs the other wake-ups, in vain or missed.
#[repr(C, align(64))]
pub(crate) struct EventCount {
    /// Whether somebody sleeps or is about to, and whether the notifier must use a fence.
    state: AtomicU32,
    /// The futex: counts notifications that found a sleeper.
    turn: AtomicU32,
    /// The processor on which the notifier was last seen, plus one; 0 if unknown.
    notifier_cpu: AtomicU32,
    _reserved: [AtomicU32; 13],
}

// SAFETY: repr(C), sixteen 32-bit atomics, no padding.
#[allow(unsafe_code, reason = "Words is a promise about a layout")]
unsafe impl Words for EventCount {}

const ASLEEP: u32 = 1;

impl EventCount {
    /// To be called after the change, which must be a store: wakes everyone who sleeps here.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) & ASLEEP != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.state.fetch_and(!ASLEEP, Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::Release);
        futex::wake(&self.turn, u32::MAX);
    }

    /// Waits until `ready` answers, which must load what [`notify`](Self::notify) comes after.
    ///
    /// # Errors
    /// `WouldBlock`, `TimedOut`; what `ready` answers ends the wait, also if it is an error.
    pub(crate) fn wait<R>(
        &self,
        how: Waiting,
        until: Until,
        operation: &'static str,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        loop {
            if let Some(answer) = ready() {
                return Ok(answer);
            }
            let deadline = match until {
                Until::Now => return Err(Error::new(operation, ErrorKind::WouldBlock)),
                Until::At(deadline) => Some(deadline),
                Until::Forever => None,
            };
            let _ = how;
            let turn = self.turn.load(Ordering::Acquire);
            self.state.fetch_or(ASLEEP, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if let Some(answer) = ready() {
                return Ok(answer);
            }
            let waited = futex::wait(&self.turn, turn, deadline);
            if waited.map_err(|error| Error::system_refused(operation, error))? == Waited::TimedOut {
                return ready().ok_or_else(|| Error::new(operation, ErrorKind::TimedOut));
            }
        }
    }
}
