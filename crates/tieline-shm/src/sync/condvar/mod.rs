//! Waiting, inside a lock, for something that others bring about inside the same lock.
//!
//! The invariant: a signal reaches a living waiter if one waits; `core` says how.

pub(in crate::sync) mod core;
#[cfg(all(test, model))]
mod model;
#[cfg(not(model))]
mod public;

#[cfg(not(model))]
pub(in crate::sync) use public::wait_in;
#[cfg(not(model))]
pub use public::{Condvar, WaitOutcome, Waits};
