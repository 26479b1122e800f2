//! Sleeping until a peer has done something, at no cost to a peer that nobody waits for.
//!
//! An [`EventCount`] lies beside what changes. Who changes it calls [`EventCount::notify`] afterwards: one load while
//! nobody sleeps. Who waits looks, announces that it will sleep, looks again, and sleeps. The invariant: either
//! the notifier sees the announcement, or the sleeper sees the change. Nothing here knows what a change is.
//!
//! | to wait | use |
//! |---|---|
//! | for one thing, in this thread | [`EventCount::wait`] |
//! | for one of several, in this thread | [`EventCount::wait_any`] |
//! | for a word that is woken on at each change, also read-only | [`wait_on_word`] |
//! | for many things and descriptors, in this thread | [`WaitSet`], over [`Alarm`]s |
//! | in a task | `aio::Parker`, over [`Alarm`]s |

#[cfg(not(model))]
mod alarm;
mod barrier;
mod bell;
mod event_count;
mod planted;
#[cfg(not(model))]
mod relay;
#[cfg(not(model))]
mod set;
mod sleep;
mod spin;

#[cfg(all(test, model))]
mod model;
#[cfg(all(test, not(model)))]
mod tests;

use tieline_os::futex::Deadline;

#[cfg(not(model))]
pub(crate) use alarm::{Alarm, Alarms, Source};
pub(crate) use barrier::{heavy_within_process, light, prepare};
pub(crate) use bell::{Bell, Hung};
pub(crate) use event_count::EventCount;
#[cfg(not(model))]
pub use set::{Ready, WaitSet, Waitable, Watch};
pub(crate) use sleep::wait_on_word;

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Now,
    At(Deadline),
    Forever,
}

impl Until {
    /// The moment at which the wait is over, if there is one.
    pub(crate) fn deadline(self) -> Option<Deadline> {
        match self {
            Self::At(deadline) => Some(deadline),
            Self::Now | Self::Forever => None,
        }
    }

    /// Whether the wait is over its time.
    pub(crate) fn has_passed(self) -> bool {
        matches!(self, Self::At(deadline) if deadline.has_passed())
    }
}

/// How a call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Spins while the peer runs on another processor and answers soon, lets it run where it shares ours, sleeps
    /// otherwise. What most want.
    #[default]
    Adaptive,
    /// Never sleeps: the lowest latency, at the price of a whole processor. Where the peer has no other processor, it
    /// is let run now and then.
    Poll,
    /// Sleeps at once.
    Block,
}
