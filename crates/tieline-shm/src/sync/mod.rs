//! Locks in shared memory that survive the death of any who use them.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::sync::Mutex;
//!
//! let visits = Mutex::open_or_create("visits", 0_u64)?; // in any number of processes
//! *visits.lock()? += 1;
//! assert_eq!(*visits.lock()?, 1);
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! Each lock works between all threads of all processes that have it open. When a holder dies, by whatever cause and at
//! whatever instruction, the kernel itself marks the lock and wakes one who waits: nobody hangs, no daemon is needed, and
//! the next holder is told.
//!
//! | to | use |
//! |---|---|
//! | let one thread at a time change a value | [`Mutex`] |
//! | let many read it, or one change it | [`RwLock`] |
//! | guard what lies elsewhere; lock recursively | [`RawMutex`] |
//! | wait, inside the lock, until the value is as wished | [`Monitor`]; or [`Condvar`] with a `Mutex` |
//! | let so many threads in at a time | [`Semaphore`] |
//! | say that so many things are ready, to whoever takes them | [`Tokens`] |
//! | wait until all have come | [`Barrier`] |
//! | make a value once, do a thing once | [`OnceCell`], [`Once`] |
//! | share a table or a list rather than one value | [`SharedArena`](crate::SharedArena) |
//!
//! The classic problems, solved between processes with a death in each, are the examples of this crate:
//! `bounded_buffer` (producers and consumers), `readers_writers`, `philosophers`, `bounded_pool` (a counting semaphore)
//! and `monitor`; `cargo run -p tieline-shm --example philosophers`.
//!
//! # After a death
//! A value that is guarded may be half changed when its holder dies; the lock cannot know. So the next who locks gets the
//! guard inside an error, [`LockError::OwnerDied`], and decides:
//!
//! ```
//! use tieline_shm::sync::{LockError, Mutex};
//! # fn open(balances: &Mutex<[i64; 2]>) -> tieline_shm::Result<()> {
//! let mut balances = match balances.lock() {
//!     Ok(guard) => guard,
//!     Err(LockError::OwnerDied(mut guard)) => {
//!         guard[1] = 100 - guard[0]; // whatever makes the value whole again
//!         guard.mark_consistent();
//!         guard
//!     }
//!     Err(LockError::Failed(error)) => return Err(error),
//! };
//! balances[0] -= 30;
//! balances[1] += 30;
//! # Ok(())
//! # }
//! ```
//!
//! Beware of `?` on a lock where a death should be survived: it turns `OwnerDied` into a plain error and drops the guard
//! unrepaired, and a lock that is given up so is [`NotRecoverable`](crate::ErrorKind::NotRecoverable) for everybody, for
//! ever. That is right for programs that cannot repair, and for nobody else. Where each change can be told apart from the
//! next by itself, a [`SharedArena`](crate::SharedArena) repairs without being asked.
//!
//! # What locks do not do
//! A thread that is stopped holds what it holds; everything that waits has a form with a deadline. Two locks that are
//! taken in two orders wait for each other for ever, here as anywhere:
//!
//! ```text
//! P: accounts.lock()                 Q: journal.lock()
//! P: journal.lock()   waits for Q    Q: accounts.lock()   waits for P
//! ```
//!
//! The [order check](order) finds such pairs while testing, also on runs in which nobody waits.
//!
//! Whoever shares a lock is trusted: it can write the lock and what the lock guards. So names lead to locks of one's own
//! user only. Between users who do not trust each other use a channel.
//!
//! Locks without a name (`anonymous`) are shared by their descriptor: `as_fd` there, `from_fd` here. The memory is
//! `docs/formats/shm-locks.md` and `shm-rwlock.md`.

mod barrier;
mod condvar;
#[cfg(not(model))]
mod error;
mod line;
#[cfg(not(model))]
mod monitor;
mod mutex;
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
