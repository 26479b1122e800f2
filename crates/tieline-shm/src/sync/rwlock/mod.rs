//! Many readers or one writer, between the threads of several processes.
//!
//! The invariant: while a living writer is inside, nobody else is; what a dead one left, the next writer is told of,
//! and readers are kept from. `words` is the protocol's memory and says why it is right,
//! `gate`, `reading` and `writing` are its parts, `lock` and `guard` what users hold.

mod gate;
#[cfg(not(model))]
mod guard;
#[cfg(not(model))]
mod lock;
#[cfg(all(test, model))]
mod model;
#[cfg(not(model))]
mod options;
mod reading;
mod words;
mod writing;

#[cfg(not(model))]
pub use guard::{ReadGuard, WriteGuard};
#[cfg(not(model))]
pub use lock::RwLock;
#[cfg(not(model))]
pub use options::{MAX_READERS, RwLockKind, RwLockOptions};
