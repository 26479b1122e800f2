//! The C library's process-shared locks, in memory that other processes map.
//!
//! A `placed::Placed` object has been initialised by its `create`, here or in another process, and a held lock is a
//! value that unlocks when dropped: so the types carry what the C functions demand. What they cannot carry is that
//! nobody writes over the object; the face above lets the caller vouch for that.

#[cfg_attr(target_env = "musl", path = "flavour_musl.rs")]
#[cfg_attr(not(target_env = "musl"), path = "flavour_gnu.rs")]
mod flavour;

mod barrier;
mod condvar;
mod mutex;
mod placed;
mod rwlock;
mod time;

pub(crate) use barrier::Barrier;
pub(crate) use condvar::Condvar;
pub(crate) use mutex::{Held as HeldMutex, Kind, Mutex, Traits as MutexTraits};
pub(crate) use placed::{HEADER_LEN, Mismatch, Refusal};
pub(crate) use rwlock::{Held as HeldRwLock, RwLock};

use rustix::io::Errno;

/// The convention of the pthread functions: the answer itself is zero or an errno.
fn check(answer: libc::c_int) -> Result<(), Errno> {
    if answer == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(answer)) }
}
