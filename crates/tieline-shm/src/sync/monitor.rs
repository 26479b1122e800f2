//! A value, its lock and the conditions that one waits for, in one piece: [`Monitor`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::condvar::core::CondvarWords;
use super::condvar::wait_in;
use super::error::LockResult;
use super::mutex::{Data, MutexGuard, MutexKind, MutexOptions, MutexWords, RawMutex};
use super::place::{Form, Place, Plan, by_name};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::View;
use crate::raw::robust::Thread;
use crate::segment::Details;
use crate::wait::Until;

/// A value in shared memory with its lock and `CONDITIONS` condition variables.
///
/// [`when`](Self::when) locks as soon as a predicate of the value holds; who changes the value through the guard then
/// notifies those who wait for that.
///
/// ```
/// use tieline_shm::sync::{Monitor, MutexOptions};
///
/// const NOT_EMPTY: usize = 0;
/// const NOT_FULL: usize = 1;
/// let level = Monitor::<u32, 2>::anonymous(0, &MutexOptions::new())?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         for _ in 0..100 {
///             let mut level = level.when(NOT_FULL, |level| *level < 10).unwrap();
///             *level += 1;
///             level.notify_one(NOT_EMPTY);
///         }
///     });
///     for _ in 0..100 {
///         let mut level = level.when(NOT_EMPTY, |level| *level > 0).unwrap();
///         *level -= 1;
///         level.notify_one(NOT_FULL);
///     }
/// });
/// assert_eq!(*level.lock()?, 0);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Death
/// As for [`Mutex`](super::Mutex) and [`Condvar`](super::Condvar). Who repairs wakes everyone
/// ([`MonitorGuard::mark_consistent`]), since the dead one may have changed the value without notifying. But as long as
/// nobody locks after a holder's death, nobody repairs: where all who are left only wait, use the timed forms.
pub struct Monitor<T: ShmSafe, const CONDITIONS: usize> {
    lock: RawMutex,
    conditions: [View<CondvarWords>; CONDITIONS],
    data: Data<T>,
    place: Place,
}

/// The monitor's lock is held, and the value is ours, as long as this lives. In a child made by `fork` it is no guard, as
/// a [`MutexGuard`](super::MutexGuard).
#[must_use = "the lock is given back when this is dropped"]
pub struct MonitorGuard<'a, T: ShmSafe, const CONDITIONS: usize> {
    monitor: &'a Monitor<T, CONDITIONS>,
    guard: MutexGuard<'a, T>,
}

impl<T: ShmSafe, const CONDITIONS: usize> Monitor<T, CONDITIONS> {
    const CONDITIONS_OFFSET: usize = size_of::<MutexWords>();
    const DATA_OFFSET: usize =
        Data::<T>::offset_after(Self::CONDITIONS_OFFSET + CONDITIONS * size_of::<CondvarWords>());

    /// Makes a monitor and its value in a segment of its own, without a name.
    ///
    /// # Errors
    /// `InvalidInput` for a recursive lock; `OutOfMemory`, `LimitReached` (descriptors), `System`.
    pub fn anonymous(value: T, options: &MutexOptions) -> Result<Self> {
        Self::over(Place::anonymous(&options.name, Self::plan(value, options)?)?, &options.name)
    }

    /// The monitor whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is for another type, has another number of conditions, or is something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a monitor and its value"; value: T; value, &MutexOptions::new());

    fn form() -> Form {
        Form::lock(Self::layout_hash(), format!("a monitor with {CONDITIONS} conditions of {}", T::LAYOUT))
    }

    fn plan(value: T, options: &MutexOptions) -> Result<Plan<'_>> {
        if options.kind == MutexKind::Recursive {
            return Err(Error::new("create a monitor", ErrorKind::InvalidInput)
                .because("a recursive lock cannot hand out its value"));
        }
        Ok(Plan::new(Self::form(), Self::DATA_OFFSET.saturating_add(size_of::<T>()), move |segment| {
            // One row of waiters for each condition, as far as there is room to tell of them.
            let conditions = (0..CONDITIONS)
                .map(|index| CondvarWords::fact(Self::CONDITIONS_OFFSET + index * size_of::<CondvarWords>()));
            let facts: Vec<_> = MutexWords::FACTS.into_iter().chain(conditions).collect();
            segment.describe(&Details { layout: Some(T::LAYOUT), version: 1, facts: &facts })?;
            RawMutex::make(&*segment.view(0)?, options);
            Data::at(segment, Self::DATA_OFFSET)?.init(value);
            Ok(())
        }))
    }

    fn over(place: Place, name: &str) -> Result<Self> {
        let segment = place.segment();
        let corrupted = |why: &'static str| Error::new("attach to a monitor", ErrorKind::Corrupted).because(why);
        let lock = RawMutex::attach(segment.view(0)?, name)?;
        if lock.kind() == MutexKind::Recursive {
            return Err(corrupted("its lock is recursive"));
        }
        let view = |number| segment.view(Self::CONDITIONS_OFFSET + number * size_of::<CondvarWords>());
        let conditions = (0..CONDITIONS).map(view).collect::<Result<Vec<_>>>()?;
        let conditions = conditions.try_into().map_err(|_| corrupted("conditions are missing"))?;
        Ok(Self { lock, conditions, data: Data::at(segment, Self::DATA_OFFSET)?, place })
    }

    /// The descriptor to send to peers.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// Locks, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`RawMutex::lock`].
    #[track_caller]
    pub fn lock(&self) -> LockResult<MonitorGuard<'_, T, CONDITIONS>> {
        self.lock_with(Until::Forever)
    }

    /// Locks, waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`RawMutex::lock_timeout`].
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MonitorGuard<'_, T, CONDITIONS>> {
        self.lock_with(Until::At(Deadline::after(timeout)))
    }

    /// Locks when `is_ready` holds, waiting on `condition` as long as it takes. The predicate runs inside the lock.
    ///
    /// # Errors
    /// As [`lock`](Self::lock) and [`Condvar::wait`](super::Condvar::wait); `InvalidInput` if there is no such
    /// condition. With [`LockError::OwnerDied`](super::LockError::OwnerDied) the predicate was not asked.
    #[track_caller]
    pub fn when(
        &self,
        condition: usize,
        is_ready: impl FnMut(&T) -> bool,
    ) -> LockResult<MonitorGuard<'_, T, CONDITIONS>> {
        self.when_until(condition, Until::Forever, is_ready)
    }

    /// As [`when`](Self::when), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`: the lock was not free in time, or the predicate did not hold then either. Otherwise as `when`.
    #[track_caller]
    pub fn when_timeout(
        &self,
        condition: usize,
        timeout: Duration,
        is_ready: impl FnMut(&T) -> bool,
    ) -> LockResult<MonitorGuard<'_, T, CONDITIONS>> {
        self.when_until(condition, Until::At(Deadline::after(timeout)), is_ready)
    }

    #[track_caller]
    fn when_until(
        &self,
        condition: usize,
        until: Until,
        mut is_ready: impl FnMut(&T) -> bool,
    ) -> LockResult<MonitorGuard<'_, T, CONDITIONS>> {
        let mut guard = self.lock_with(until)?;
        loop {
            if is_ready(&guard) {
                return Ok(guard);
            }
            if until.has_passed() {
                return Err(Error::new(WAIT, ErrorKind::TimedOut).into());
            }
            guard = guard.wait_until(condition, until)?;
        }
    }

    #[track_caller]
    fn lock_with(&self, until: Until) -> LockResult<MonitorGuard<'_, T, CONDITIONS>> {
        let locked = MutexGuard::over(self.lock.lock_with(until), &self.data);
        self.guarded(locked)
    }

    fn guarded<'a>(&'a self, locked: LockResult<MutexGuard<'a, T>>) -> LockResult<MonitorGuard<'a, T, CONDITIONS>> {
        let wrap = |guard| MonitorGuard { monitor: self, guard };
        locked.map(wrap).map_err(|error| error.map(wrap))
    }

    fn layout_hash() -> u64 {
        T::LAYOUT.hash() ^ u64::from_le_bytes(*b"monitor\x01") ^ (CONDITIONS as u64).rotate_left(32)
    }
}

impl<T: ShmSafe, const CONDITIONS: usize> MonitorGuard<'_, T, CONDITIONS> {
    /// Gives the lock back, waits until `condition` is notified, and locks again. Being woken proves nothing.
    ///
    /// # Errors
    /// As [`Condvar::wait`](super::Condvar::wait); `InvalidInput` if there is no such condition. On an error other than
    /// [`LockError::OwnerDied`](super::LockError::OwnerDied) the lock is free.
    pub fn wait(self, condition: usize) -> LockResult<Self> {
        self.wait_until(condition, Until::Forever)
    }

    /// As [`wait`](Self::wait), for at most `timeout`; that it ran out is no error: look.
    ///
    /// # Errors
    /// As `wait`.
    pub fn wait_timeout(self, condition: usize, timeout: Duration) -> LockResult<Self> {
        self.wait_until(condition, Until::At(Deadline::after(timeout)))
    }

    fn wait_until(self, condition: usize, until: Until) -> LockResult<Self> {
        let monitor = self.monitor;
        let Some(words) = monitor.conditions.get(condition) else {
            return Err(Error::new(WAIT, ErrorKind::InvalidInput).because("there is no such condition").into());
        };
        let (raw, data) = self.guard.into_parts();
        let locked = wait_in(words, raw, until);
        let locked = locked.map(|(raw, _)| raw).map_err(|error| error.map(|(raw, _)| raw));
        monitor.guarded(MutexGuard::over(locked, data))
    }

    /// Wakes who has waited longest on `condition`; nobody if there is no such condition.
    pub fn notify_one(&self, condition: usize) {
        if let (Some(words), Ok(me)) = (self.monitor.conditions.get(condition), Thread::current()) {
            words.notify_one(me);
        }
    }

    /// Wakes everyone who waits on `condition`; nobody if there is no such condition.
    pub fn notify_all(&self, condition: usize) {
        if let (Some(words), Ok(me)) = (self.monitor.conditions.get(condition), Thread::current()) {
            words.notify_all(me);
        }
    }

    /// Whether the holder before died, and nobody has repaired since.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.guard.is_inherited()
    }

    /// Says that the value is whole again, and wakes everyone on every condition, to look at it.
    pub fn mark_consistent(&self) {
        self.guard.mark_consistent();
        (0..CONDITIONS).for_each(|condition| self.notify_all(condition));
    }
}

impl<T: ShmSafe, const CONDITIONS: usize> Deref for MonitorGuard<'_, T, CONDITIONS> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ShmSafe, const CONDITIONS: usize> DerefMut for MonitorGuard<'_, T, CONDITIONS> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: ShmSafe, const CONDITIONS: usize> fmt::Debug for Monitor<T, CONDITIONS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiters: Vec<_> = self.conditions.iter().map(|words| words.waiters()).collect();
        f.debug_struct("Monitor").field("lock", &self.lock).field("waiters", &waiters).finish_non_exhaustive()
    }
}

impl<T: ShmSafe + fmt::Debug, const CONDITIONS: usize> fmt::Debug for MonitorGuard<'_, T, CONDITIONS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

const WAIT: &str = "wait in a monitor";
