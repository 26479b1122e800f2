//! Waiting until others have changed something.

use std::fmt;
use std::time::Duration;

use super::mutex::refused as mutex_refused;
use super::{Locked, MutexGuard, Place};
use crate::error::{During, Result};
use crate::futex::Deadline;
use crate::sys::pthread as sys;

const CREATE: &str = "create shared condition variable";
const ATTACH: &str = "attach to shared condition variable";

/// A condition variable of the C library that processes share; it counts deadlines on the monotonic clock.
///
/// All who wait at one time must do so with the same mutex. A wake-up is not remembered: signalling while nobody waits
/// does nothing. Being woken proves nothing, so look at the condition again each time;
/// [`wait_while`](Self::wait_while) does that.
///
/// # What can go wrong
/// * **A killed waiter** leaves its mark in the object: with glibc a later [`notify_one`](Self::notify_one) or
///   `notify_all`, in any process, can wait for it for ever. There is no robust form.
/// * **Lost wake-ups.** glibc before 2.41 can, rarely, give a wake-up to a waiter that came later, and leave the one
///   it was meant for asleep (glibc bug 25847). Where a lost wake-up would matter, wait in slices: a
///   [`wait_timeout`](Self::wait_timeout) in a loop that looks at the condition after each slice bounds the delay.
/// * **A recursive mutex** held more than once is not released by waiting: nobody can change the condition.
///
/// ```
/// use tieline_os::mapping::Mapping;
/// use tieline_os::pthread::{Condvar, Mutex, MutexOptions, Place};
/// use std::sync::atomic::Ordering::Relaxed;
///
/// let memory = Mapping::anonymous(4096)?;
/// // SAFETY: the memory is for these two alone, and they do not overlap.
/// let (first, second) = unsafe { (Place::trusting(&memory, 0), Place::trusting(&memory, 128)) };
/// let mutex = Mutex::create(first, MutexOptions::new())?;
/// let changed = Condvar::create(second)?;
/// let ready = memory.atomic_u32(256)?;
///
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let guard = mutex.lock().unwrap();
///         ready.store(1, Relaxed);
///         drop(guard);
///         changed.notify_one().unwrap();
///     });
///     let guard = mutex.lock()?.or_repair(|| Ok(()))?;
///     let guard = changed.wait_while(guard, || ready.load(Relaxed) == 0)?.or_repair(|| Ok(()))?;
///     drop(guard);
///     Ok::<(), tieline_os::Error>(())
/// })?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "pthread_cond_t")]
pub struct Condvar<'r> {
    inner: sys::Condvar<'r>,
}

/// What a wait with a deadline came to. The mutex is held again in every case.
#[derive(Debug)]
#[must_use = "dropping it unlocks the mutex"]
pub struct Waited<'m> {
    /// The mutex, and whether somebody died holding it meanwhile.
    pub lock: Locked<'m>,
    /// The time ran out. Look at the condition all the same: it may have come true at the last moment. If an owner
    /// died meanwhile, the C library does not tell, and this is false.
    pub timed_out: bool,
}

impl<'r> Condvar<'r> {
    /// How many bytes it takes: 72 on 64-bit Linux.
    pub const LEN: usize = sys::Condvar::LEN;

    /// Makes a condition variable at `place`, whose bytes must be zero. Does not block.
    ///
    /// # Errors
    /// As [`Mutex::create`](super::Mutex::create).
    #[doc(alias = "pthread_cond_init")]
    #[doc(alias = "pthread_condattr_setclock")]
    pub fn create(place: Place<'r>) -> Result<Self> {
        let (region, offset) = place.claim(CREATE, Self::LEN)?;
        let inner = sys::Condvar::create_condvar(region, offset);
        inner.map(|inner| Self { inner }).map_err(|refusal| place.refused(CREATE, refusal))
    }

    /// Finds the condition variable that another process made at `place`. Does not block.
    ///
    /// # Errors
    /// As [`Mutex::attach`](super::Mutex::attach), except that pid namespaces do not matter.
    pub fn attach(place: Place<'r>) -> Result<Self> {
        let (region, offset) = place.claim(ATTACH, Self::LEN)?;
        let inner = sys::Condvar::attach_condvar(region, offset);
        inner.map(|inner| Self { inner }).map_err(|refusal| place.refused(ATTACH, refusal))
    }

    /// Unlocks the mutex, waits to be woken, and locks it again. Signal handlers that run meanwhile do not end it.
    ///
    /// # Errors
    /// `NotRecoverable` if an owner of the mutex died meanwhile and was not repaired; the mutex is not held then.
    #[doc(alias = "pthread_cond_wait")]
    pub fn wait<'m>(&self, guard: MutexGuard<'m>) -> Result<Locked<'m>> {
        let waited = self.inner.wait(guard.into_held()).map_err(mutex_refused)?;
        Ok(Locked::new(waited.held, waited.owner_died))
    }

    /// [`wait`](Self::wait) for at most `timeout`.
    ///
    /// The time runs only until the wake-up: locking the mutex again takes as long as its owner lets it.
    ///
    /// # Errors
    /// As `wait`; the time running out is in [`Waited`].
    #[doc(alias = "pthread_cond_timedwait")]
    pub fn wait_timeout<'m>(&self, guard: MutexGuard<'m>, timeout: Duration) -> Result<Waited<'m>> {
        self.wait_by(guard, Deadline::after(timeout))
    }

    /// Waits as long as `condition` holds. Returns at once, with the lock, if an owner of the mutex died meanwhile:
    /// then the condition's data may be half-changed.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_while<'m>(&self, guard: MutexGuard<'m>, mut condition: impl FnMut() -> bool) -> Result<Locked<'m>> {
        let mut guard = guard;
        while condition() {
            match self.wait(guard)? {
                Locked::Clean(again) => guard = again,
                died @ Locked::OwnerDied(_) => return Ok(died),
            }
        }
        Ok(Locked::Clean(guard))
    }

    /// [`wait_while`](Self::wait_while) for at most `timeout` in all; `timed_out` means that the condition still holds.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_while_timeout<'m>(
        &self,
        guard: MutexGuard<'m>,
        timeout: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<Waited<'m>> {
        let deadline = Deadline::after(timeout);
        let mut guard = guard;
        let mut timed_out = false;
        while condition() {
            if timed_out {
                return Ok(Waited { lock: Locked::Clean(guard), timed_out });
            }
            let waited = self.wait_by(guard, deadline)?;
            timed_out = waited.timed_out;
            match waited.lock {
                Locked::Clean(again) => guard = again,
                lock @ Locked::OwnerDied(_) => return Ok(Waited { lock, timed_out }),
            }
        }
        Ok(Waited { lock: Locked::Clean(guard), timed_out: false })
    }

    /// `deadline` is one of the monotonic clock.
    fn wait_by<'m>(&self, guard: MutexGuard<'m>, deadline: Deadline) -> Result<Waited<'m>> {
        let waited = self.inner.wait_until(guard.into_held(), deadline).map_err(mutex_refused)?;
        Ok(Waited { lock: Locked::new(waited.held, waited.owner_died), timed_out: waited.timed_out })
    }

    /// Wakes one waiter, if there is any. The caller need not hold the mutex, but holding it while changing the
    /// condition is what makes a wake-up impossible to miss.
    ///
    /// Can wait for ever if a waiter was killed; see the type's documentation.
    ///
    /// # Errors
    /// The C library's refusal, which means that the object's bytes have been written over.
    #[doc(alias = "pthread_cond_signal")]
    pub fn notify_one(&self) -> Result<()> {
        self.inner.signal().during("signal shared condition variable")
    }

    /// Wakes all waiters. As [`notify_one`](Self::notify_one) otherwise.
    ///
    /// # Errors
    /// As `notify_one`.
    #[doc(alias = "pthread_cond_broadcast")]
    pub fn notify_all(&self) -> Result<()> {
        self.inner.broadcast().during("broadcast shared condition variable")
    }

    /// Ends the object and leaves its place empty, after the last woken waiter has left. Nobody may use it meanwhile.
    /// Waits for ever if a waiter sleeps or was killed.
    ///
    /// # Errors
    /// `NotFound` if another did it first.
    #[doc(alias = "pthread_cond_destroy")]
    pub fn destroy(self) -> Result<()> {
        const DESTROY: &str = "destroy shared condition variable";
        self.inner.destroy_condvar().map_err(|refusal| super::destroy_refused(DESTROY, refusal))
    }
}

impl fmt::Debug for Condvar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
