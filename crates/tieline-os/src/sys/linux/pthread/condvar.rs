//! Condition variables.

use std::mem::MaybeUninit;

use libc::{pthread_cond_t, pthread_condattr_t};
use rustix::io::Errno;

use super::check;
use super::mutex::Held;
use super::placed::{Placed, Refusal, Sort};
use super::time::timespec_of;
use crate::futex::{Clock, Deadline};
use crate::sys::region::RawRegion;

pub(crate) type Condvar<'r> = Placed<'r, pthread_cond_t>;

// SAFETY: the C library's own type: an array of bytes and words, 8-aligned at most.
unsafe impl Sort for pthread_cond_t {
    const NUMBER: u8 = 3;
    const KEEPS_THREAD_IDS: bool = false;
}

/// What a wait came to; the mutex is held again.
pub(crate) struct Waited<'m> {
    pub(crate) held: Held<'m>,
    pub(crate) owner_died: bool,
    pub(crate) timed_out: bool,
}

impl<'r> Placed<'r, pthread_cond_t> {
    /// Makes a condition variable whose deadlines count on the monotonic clock.
    pub(crate) fn create_condvar(region: &'r RawRegion, offset: usize) -> Result<Self, Refusal> {
        Self::create(region, offset, 0, |condvar| {
            let attributes = Attributes::new()?;
            // SAFETY: `condvar` is the address of a zeroed object of ours alone (`create`); the attributes are
            // initialised.
            check(unsafe { libc::pthread_cond_init(condvar, &raw const attributes.0) })
        })
    }

    pub(crate) fn attach_condvar(region: &'r RawRegion, offset: usize) -> Result<Self, Refusal> {
        Self::attach(region, offset)
    }

    pub(crate) fn destroy_condvar(self) -> Result<(), Refusal> {
        // SAFETY: the object is initialised; `remove` keeps others from attaching meanwhile.
        self.remove(|condvar| check(unsafe { libc::pthread_cond_destroy(condvar) }))
    }

    pub(crate) fn wait<'m>(&self, held: Held<'m>) -> Result<Waited<'m>, Errno> {
        // SAFETY: both objects are initialised and mapped, and this thread holds the mutex.
        let answer = check(unsafe { libc::pthread_cond_wait(self.as_ptr(), held.as_ptr()) });
        after_wait(held, answer)
    }

    /// Waits until a moment of the monotonic clock.
    pub(crate) fn wait_until<'m>(&self, held: Held<'m>, deadline: Deadline) -> Result<Waited<'m>, Errno> {
        assert_eq!(deadline.clock(), Clock::Monotonic, "the clock it was made with");
        let until = timespec_of(deadline.timespec());
        // SAFETY: as for `wait`; `until` lives through the call and is a valid time.
        let answer = check(unsafe { libc::pthread_cond_timedwait(self.as_ptr(), held.as_ptr(), &raw const until) });
        after_wait(held, answer)
    }

    pub(crate) fn signal(&self) -> Result<(), Errno> {
        // SAFETY: the object is initialised and mapped.
        check(unsafe { libc::pthread_cond_signal(self.as_ptr()) })
    }

    pub(crate) fn broadcast(&self) -> Result<(), Errno> {
        // SAFETY: as for `signal`.
        check(unsafe { libc::pthread_cond_broadcast(self.as_ptr()) })
    }
}

/// Whether the mutex is held again follows from the answer alone.
fn after_wait(held: Held<'_>, answer: Result<(), Errno>) -> Result<Waited<'_>, Errno> {
    match answer {
        Ok(()) => Ok(Waited { held, owner_died: false, timed_out: false }),
        Err(Errno::TIMEDOUT) => Ok(Waited { held, owner_died: false, timed_out: true }),
        Err(Errno::OWNERDEAD) => Ok(Waited { held, owner_died: true, timed_out: false }),
        // Locking again failed: an owner in between died, and its heir did not repair.
        Err(Errno::NOTRECOVERABLE) => {
            held.lost();
            Err(Errno::NOTRECOVERABLE)
        }
        // Refused before it unlocked: the mutex is still ours, and dropping the proof unlocks it.
        Err(errno) => Err(errno),
    }
}

struct Attributes(pthread_condattr_t);

impl Attributes {
    fn new() -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the address of space for attributes.
        check(unsafe { libc::pthread_condattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call before.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        // SAFETY: initialised attributes, a value of the documented set; likewise below.
        check(unsafe { libc::pthread_condattr_setpshared(&raw mut attributes.0, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        check(unsafe { libc::pthread_condattr_setclock(&raw mut attributes.0, libc::CLOCK_MONOTONIC) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        let _ = unsafe { libc::pthread_condattr_destroy(&raw mut self.0) };
    }
}
