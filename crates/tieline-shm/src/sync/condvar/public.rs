//! The condition variable as users see it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::core::{self, CondvarWords};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::View;
use crate::raw::atomic::Ordering;
use crate::raw::robust::Thread;
use crate::segment::Details;
use crate::sync::error::{LockError, LockResult};
use crate::sync::mutex::{Data, MutexGuard, RawMutexGuard};
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// Lets a thread that holds a lock wait until another, in whichever process, has changed what the lock guards.
///
/// Waiting gives the lock back and takes it again; being woken proves nothing, so look again, in a loop. All who wait on
/// one condition variable at a time use the same lock. Notify with the lock held or after; either way who changed
/// something inside the lock and notifies then misses nobody who waited.
///
/// ```
/// use tieline_shm::sync::{Condvar, Mutex, MutexOptions};
///
/// let items = Mutex::anonymous(0_u32, &MutexOptions::new())?;
/// let not_empty = Condvar::anonymous()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         *items.lock().unwrap() += 1;
///         not_empty.notify_one();
///     });
///     let mut held = items.lock()?;
///     while *held == 0 {
///         held = not_empty.wait(held)?;
///     }
///     *held -= 1;
///     Ok::<(), tieline_shm::Error>(())
/// })?;
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Order
/// `notify_one` signals who has waited longest. Woken waiters then compete for the lock like everyone else.
///
/// # Death
/// A waiter that dies after it was signalled, and before it has the lock again, hands the signal to another waiter. A
/// notifier that dies halfway has notified some or none of those it was about to, and those it has are awake. A holder
/// of the lock that dies before it notifies has not notified: who gets the lock from it, by
/// [`LockError::OwnerDied`], should [`notify_all`](Self::notify_all) when it has repaired.
///
/// # Limits
/// 62 can wait at a time; the next is refused. Needs Linux 5.16 (`futex_waitv`).
pub struct Condvar {
    words: View<CondvarWords>,
    place: Place,
}

/// How a timed wait ended. The lock is held in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// Somebody notified, or a signal was handed on, or it was without cause: look.
    Notified,
    /// The time ran out first, and no signal was taken.
    TimedOut,
}

/// A guard that can be given to [`Condvar::wait`] and comes back from it. Sealed.
pub trait Waits<'a>: Sized + sealed::Parts<'a> {}

impl<'a> Waits<'a> for RawMutexGuard<'a> {}
impl<'a, T: ShmSafe> Waits<'a> for MutexGuard<'a, T> {}

mod sealed {
    use super::{LockResult, RawMutexGuard};

    pub trait Parts<'a>: Sized {
        type Rest;
        fn split(self) -> (RawMutexGuard<'a>, Self::Rest);
        fn join(locked: LockResult<RawMutexGuard<'a>>, rest: Self::Rest) -> LockResult<Self>;
    }
}

impl<'a> sealed::Parts<'a> for RawMutexGuard<'a> {
    type Rest = ();

    fn split(self) -> (Self, ()) {
        (self, ())
    }

    fn join(locked: LockResult<Self>, (): ()) -> LockResult<Self> {
        locked
    }
}

impl<'a, T: ShmSafe> sealed::Parts<'a> for MutexGuard<'a, T> {
    type Rest = &'a Data<T>;

    fn split(self) -> (RawMutexGuard<'a>, &'a Data<T>) {
        self.into_parts()
    }

    fn join(locked: LockResult<RawMutexGuard<'a>>, data: &'a Data<T>) -> LockResult<Self> {
        Self::over(locked, data)
    }
}

impl Condvar {
    /// Makes a condition variable in a segment of its own.
    ///
    /// # Errors
    /// `OutOfMemory`, `LimitReached` (descriptors), `System`.
    pub fn anonymous() -> Result<Self> {
        Self::over(Place::anonymous("", Self::plan()?)?, "")
    }

    /// The condition variable whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a condition variable";;);

    fn form() -> Form {
        Form::lock(LAYOUT_HASH, "a condition variable")
    }

    fn plan() -> Result<Plan<'static>> {
        Ok(Plan::new(Self::form(), size_of::<CondvarWords>(), |segment| {
            segment.describe(&Details { version: 1, facts: &[CondvarWords::fact(0)], ..Details::default() })?;
            // Relaxed: nobody else has the memory yet.
            segment.view::<CondvarWords>(0)?.form.store(FORM, Ordering::Relaxed);
            Ok(())
        }))
    }

    fn over(place: Place, _: &str) -> Result<Self> {
        let words = place.segment().view::<CondvarWords>(0)?;
        // Relaxed: written before the memory was handed over.
        if words.form.load(Ordering::Relaxed) != FORM {
            return Err(
                Error::new("attach to a condition variable", ErrorKind::Corrupted).because("none was made there")
            );
        }
        Ok(Self { words, place })
    }

    /// The descriptor to send to peers.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// Waits until notified, as long as it takes; the lock is free meanwhile.
    ///
    /// # Errors
    /// * [`LockError::OwnerDied`] with the guard: another holder died meanwhile; or the guard was given unrepaired, and
    ///   comes back at once.
    /// * `LimitReached`: 62 wait already. `Deadlock`: a recursive lock is held more than once by this thread.
    ///   `Unsupported`: no `futex_waitv`. Then the lock is free.
    /// * What locking answers: `NotRecoverable`, `Corrupted`.
    pub fn wait<'a, G: Waits<'a>>(&self, guard: G) -> LockResult<G> {
        let (raw, rest) = guard.split();
        let locked = wait_in(&self.words, raw, Until::Forever);
        G::join(locked.map(|(raw, _)| raw).map_err(|error| error.map(|(raw, _)| raw)), rest)
    }

    /// Waits until notified, for at most `timeout` on the monotonic clock; taking the lock again is not in the bargain
    /// and may take longer.
    ///
    /// # Errors
    /// As [`wait`](Self::wait). That the time ran out is no error.
    pub fn wait_timeout<'a, G: Waits<'a>>(&self, guard: G, timeout: Duration) -> LockResult<(G, WaitOutcome)> {
        let (raw, rest) = guard.split();
        match wait_in(&self.words, raw, Until::At(Deadline::after(timeout))) {
            Ok((raw, outcome)) => with_outcome(G::join(Ok(raw), rest), outcome),
            Err(LockError::OwnerDied((raw, outcome))) => {
                with_outcome(G::join(Err(LockError::OwnerDied(raw)), rest), outcome)
            }
            Err(LockError::Failed(error)) => Err(LockError::Failed(error)),
        }
    }

    /// Wakes who has waited longest, if anybody waits. Never waits for anyone.
    pub fn notify_one(&self) {
        if let Ok(me) = Thread::current() {
            self.words.notify_one(me);
        }
    }

    /// Wakes everyone who waits. Never waits for anyone.
    pub fn notify_all(&self) {
        if let Ok(me) = Thread::current() {
            self.words.notify_all(me);
        }
    }

    /// How many waited a moment ago.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.words.waiters()
    }
}

fn with_outcome<G>(locked: LockResult<G>, outcome: WaitOutcome) -> LockResult<(G, WaitOutcome)> {
    locked.map(|guard| (guard, outcome)).map_err(|error| error.map(|guard| (guard, outcome)))
}

/// Waits on `words` with the lock that `guard` holds.
pub(in crate::sync) fn wait_in<'a>(
    words: &CondvarWords,
    guard: RawMutexGuard<'a>,
    until: Until,
) -> LockResult<(RawMutexGuard<'a>, WaitOutcome)> {
    if guard.is_inherited() {
        return Err(LockError::OwnerDied((guard, WaitOutcome::Notified)));
    }
    let (lock, me) = (guard.lock_of(), guard.me());
    if lock.is_held_again() {
        return Err(Error::new(core::WAIT, ErrorKind::Deadlock)
            .because("the lock is held several times, and others could never take it")
            .into());
    }
    let place = words.enter(me)?;
    drop(guard);
    let slept = words.sleep(place, me, until);
    let locked = lock.lock_with(Until::Forever);
    words.leave(place, me);
    ended(slept, locked)
}

/// What a wait answers whose sleep ended as `slept` and whose lock was then taken again. A guard that is to be repaired
/// goes before an error of the sleep: dropped here, it would give the lock up for everyone.
fn ended<G>(slept: Result<core::Outcome>, locked: LockResult<G>) -> LockResult<(G, WaitOutcome)> {
    let outcome = match slept {
        Ok(core::Outcome::TimedOut) => WaitOutcome::TimedOut,
        Err(error) if !matches!(locked, Err(LockError::OwnerDied(_))) => return Err(error.into()),
        Ok(core::Outcome::Notified) | Err(_) => WaitOutcome::Notified,
    };
    with_outcome(locked, outcome)
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiters", &self.waiters()).finish_non_exhaustive()
    }
}

/// "CV", version 1.
const FORM: u32 = 0x4356_0100;

/// What a segment says whose body is a condition variable.
const LAYOUT_HASH: u64 = u64::from_le_bytes(*b"condvar\x01");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_holders_lock_comes_back_to_be_repaired_also_when_the_sleep_failed() {
        let failed = || Err(Error::new(core::WAIT, ErrorKind::Unsupported));
        let died = ended(failed(), Err(LockError::OwnerDied("guard"))).unwrap_err();
        assert!(matches!(died, LockError::OwnerDied(("guard", WaitOutcome::Notified))));
        assert_eq!(ended(failed(), Ok("guard")).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(ended(Ok(core::Outcome::TimedOut), Ok("guard")).unwrap(), ("guard", WaitOutcome::TimedOut));
    }
}
