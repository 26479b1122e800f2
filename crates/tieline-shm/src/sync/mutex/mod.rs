//! Mutual exclusion between the threads of several processes.
//!
//! The invariant: at most one living thread holds a lock, and a lock that no living thread holds can be taken, or says
//! for ever that it cannot. `core` is the protocol of the word, `inheriting` the kernel's own for priority
//! inheritance, `raw` the lock as users see it, `typed` the lock with what it guards.

pub(in crate::sync) mod core;
pub(in crate::sync) mod spins;

#[cfg(not(model))]
mod inheriting;
#[cfg(not(model))]
mod options;
#[cfg(not(model))]
mod raw;
#[cfg(not(model))]
mod typed;

#[cfg(all(test, model))]
mod model;

#[cfg(not(model))]
pub use options::{MutexKind, MutexOptions};
#[cfg(not(model))]
pub(in crate::sync) use raw::MutexWords;
#[cfg(not(model))]
pub use raw::{RawMutex, RawMutexGuard};
#[cfg(not(model))]
pub(in crate::sync) use typed::Data;
#[cfg(not(model))]
pub use typed::{Mutex, MutexGuard};
