//! Locks in shared memory that survive the death of any who use them.
//!
//! Each lock lies in memory that several processes map, and works between all their threads. When a holder dies, by
//! whatever cause and at whatever instruction, the kernel itself marks the lock and wakes one who waits: nobody hangs,
//! no daemon is needed, and the next holder is told.
//!
//! Whoever shares a lock is trusted: it can write the lock and what the lock guards. Between users who do not trust
//! each other use a channel.

mod barrier;
mod condvar;
#[cfg(not(model))]
mod error;
mod line;
#[cfg(not(model))]
mod monitor;
mod mutex;
#[cfg(not(model))]
mod once;
#[cfg(not(model))]
pub mod order;
#[cfg(not(model))]
pub(crate) mod place;
mod rwlock;
mod semaphore;

#[cfg(not(model))]
pub use barrier::{Barrier, MAX_PARTICIPANTS, Participant};
#[cfg(not(model))]
pub use condvar::{Condvar, WaitOutcome, Waits};
#[cfg(not(model))]
pub use error::{LockError, LockResult};
#[cfg(not(model))]
pub use monitor::{Monitor, MonitorGuard};
#[cfg(not(model))]
pub use mutex::{Mutex, MutexGuard, MutexKind, MutexOptions, RawMutex, RawMutexGuard};
#[cfg(not(model))]
pub use once::{Once, OnceCell};
#[cfg(not(model))]
pub use rwlock::{MAX_READERS, ReadGuard, RwLock, RwLockKind, RwLockOptions, WriteGuard};
#[cfg(not(model))]
pub use semaphore::{MAX_PERMITS, Permit, Semaphore, Tokens};
