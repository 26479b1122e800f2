//! Many readers or one writer, between the threads of several processes.
//!
//! The invariant: while a living writer is inside, nobody else is; what a dead one left, the next writer is told of,
//! and readers are kept from. `words` is the protocol, `lock` what users hold.

#[cfg(not(model))]
mod lock;
#[cfg(all(test, model))]
mod model;
mod words;

#[cfg(not(model))]
pub use lock::{MAX_READERS, ReadGuard, RwLock, RwLockKind, RwLockOptions, WriteGuard};
