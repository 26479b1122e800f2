//! Reader-writer locks and the proof of holding one.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use libc::{c_int, pthread_rwlock_t, pthread_rwlockattr_t, timespec};
use rustix::io::Errno;

use super::placed::{Placed, Refusal, Sort};
use super::time::{Lookup, lock_until};
use super::{check, flavour};
use crate::futex::Deadline;
use crate::sys::region::RawRegion;

pub(crate) type RwLock<'r> = Placed<'r, pthread_rwlock_t>;

// SAFETY: the C library's own type: an array of bytes and words, 8-aligned at most.
unsafe impl Sort for pthread_rwlock_t {
    const NUMBER: u8 = 2;
    const KEEPS_THREAD_IDS: bool = true;
}

// SAFETY: signatures as in POSIX.1-2024, pthread_rwlock_timedrdlock and pthread_rwlock_timedwrlock; the libc crate
// lacks them.
unsafe extern "C" {
    fn pthread_rwlock_timedrdlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int;
    fn pthread_rwlock_timedwrlock(lock: *mut pthread_rwlock_t, until: *const timespec) -> c_int;
}

// SAFETY: glibc declares it so, and no other library has this name.
static CLOCK_READ_LOCK: Lookup<pthread_rwlock_t> = unsafe { Lookup::of(c"pthread_rwlock_clockrdlock") };
// SAFETY: as above.
static CLOCK_WRITE_LOCK: Lookup<pthread_rwlock_t> = unsafe { Lookup::of(c"pthread_rwlock_clockwrlock") };

/// The option bit of a lock that prefers writers.
const PREFERS_WRITERS: u32 = 1;

impl<'r> Placed<'r, pthread_rwlock_t> {
    pub(crate) fn create_rwlock(region: &'r RawRegion, offset: usize, prefer_writers: bool) -> Result<Self, Refusal> {
        Self::create(region, offset, if prefer_writers { PREFERS_WRITERS } else { 0 }, |lock| {
            let attributes = Attributes::new(prefer_writers)?;
            // SAFETY: `lock` is the address of a zeroed object of ours alone (`create`); the attributes are
            // initialised.
            check(unsafe { libc::pthread_rwlock_init(lock, &raw const attributes.0) })
        })
    }

    pub(crate) fn attach_rwlock(region: &'r RawRegion, offset: usize) -> Result<Self, Refusal> {
        Self::attach(region, offset)
    }

    pub(crate) fn read(&self) -> Result<Held<'_>, Errno> {
        // SAFETY: the object is initialised and mapped for as long as `self` is; likewise below.
        self.held(check(unsafe { libc::pthread_rwlock_rdlock(self.as_ptr()) }))
    }

    pub(crate) fn try_read(&self) -> Result<Held<'_>, Errno> {
        // SAFETY: as for `read`.
        self.held(check(unsafe { libc::pthread_rwlock_tryrdlock(self.as_ptr()) }))
    }

    pub(crate) fn read_until(&self, deadline: Deadline) -> Result<Held<'_>, Errno> {
        // SAFETY: as for `read`; both functions take an initialised lock.
        self.held(unsafe { lock_until(self.as_ptr(), deadline, &CLOCK_READ_LOCK, pthread_rwlock_timedrdlock) })
    }

    pub(crate) fn write(&self) -> Result<Held<'_>, Errno> {
        // SAFETY: as for `read`.
        self.held(check(unsafe { libc::pthread_rwlock_wrlock(self.as_ptr()) }))
    }

    pub(crate) fn try_write(&self) -> Result<Held<'_>, Errno> {
        // SAFETY: as for `read`.
        self.held(check(unsafe { libc::pthread_rwlock_trywrlock(self.as_ptr()) }))
    }

    pub(crate) fn write_until(&self, deadline: Deadline) -> Result<Held<'_>, Errno> {
        // SAFETY: as for `read_until`.
        self.held(unsafe { lock_until(self.as_ptr(), deadline, &CLOCK_WRITE_LOCK, pthread_rwlock_timedwrlock) })
    }

    fn held(&self, answer: Result<(), Errno>) -> Result<Held<'_>, Errno> {
        answer.map(|()| Held { lock: self, thread: PhantomData })
    }
}

/// Proof that this thread holds the lock, for reading or writing; dropping it unlocks. Not `Send`.
pub(crate) struct Held<'l> {
    lock: &'l RwLock<'l>,
    thread: PhantomData<*mut ()>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: the lock is initialised, and this thread holds it: `Held` is made only after locking, cannot leave
        // the thread, and is dropped once.
        let _ = unsafe { libc::pthread_rwlock_unlock(self.lock.as_ptr()) };
    }
}

struct Attributes(pthread_rwlockattr_t);

impl Attributes {
    fn new(prefer_writers: bool) -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the address of space for attributes.
        check(unsafe { libc::pthread_rwlockattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call before.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        // SAFETY: initialised attributes, a value of the documented set.
        check(unsafe { libc::pthread_rwlockattr_setpshared(&raw mut attributes.0, libc::PTHREAD_PROCESS_SHARED) })?;
        if prefer_writers {
            flavour::prefer_writers(&mut attributes.0)?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        let _ = unsafe { libc::pthread_rwlockattr_destroy(&raw mut self.0) };
    }
}
