//! The lock with what it guards: [`Mutex`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::time::Duration;

use super::options::{MutexKind, MutexOptions};
use super::raw::{MutexWords, RawMutex, RawMutexGuard};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::View;
use crate::raw::atomic::AtomicU8;
use crate::rendezvous::IntoName;
use crate::segment::{Details, Segment};
use crate::sync::error::{LockError, LockResult};
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// A value in shared memory that one thread at a time may use, in whichever process it runs.
///
/// The value lies beside the lock, and the guard gives plain references to it: everyone who has the segment is trusted
/// to touch the value only while it holds the lock.
///
/// ```
/// use tieline_shm::sync::{LockError, Mutex, MutexOptions};
///
/// let balance = Mutex::anonymous(100_u64, &MutexOptions::new())?;
/// // A peer that was sent the descriptor:
/// let fd = balance.as_fd().try_clone_to_owned().unwrap();
/// let theirs = Mutex::<u64>::from_fd(fd)?;
///
/// *theirs.lock()? -= 30;
/// match balance.lock() {
///     Ok(guard) => assert_eq!(*guard, 70),
///     Err(LockError::OwnerDied(mut guard)) => {
///         *guard = 0; // whatever makes the value whole again
///         guard.mark_consistent();
///     }
///     Err(LockError::Failed(error)) => return Err(error),
/// }
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// Death, limits and errors are those of [`RawMutex`]. A value that is no value of `T` (a peer wrote something else) is
/// found out when this handle locks for the first time, and after a death: `Corrupted`.
pub struct Mutex<T: ShmSafe> {
    raw: RawMutex,
    data: Data<T>,
    place: Place,
}

/// The lock is held, and the value is ours, as long as this lives. Not to be sent to another thread.
///
/// In a child made by `fork` an inherited guard is no guard: the parent's thread holds the lock, others may change the
/// value as soon as it lets go, and dropping it in the child does nothing. Do not use what it dereferences to there.
#[must_use = "the lock is given back when this is dropped"]
pub struct MutexGuard<'a, T: ShmSafe> {
    raw: RawMutexGuard<'a>,
    data: &'a Data<T>,
}

/// The guarded value's place. Not to be named outside: it is public for a sealed trait only.
#[derive(Debug)]
pub struct Data<T> {
    bytes: View<[AtomicU8]>,
    value: NonNull<T>,
    /// Whether this handle has seen that the bytes are a value.
    is_checked: AtomicBool,
}

// SAFETY: `T` is `Send` (`ShmSafe`), the pointer is used under the lock only, and the view keeps the memory mapped.
unsafe impl<T: ShmSafe> Send for Data<T> {}
// SAFETY: as above: a reference to the value exists only while the lock is held, by one thread at a time.
unsafe impl<T: ShmSafe> Sync for Data<T> {}

impl<T: ShmSafe> Data<T> {
    /// Where a value of `T` would lie behind `before` bytes.
    pub(in crate::sync) const fn offset_after(before: usize) -> usize {
        before.next_multiple_of(if align_of::<T>() > 64 { align_of::<T>() } else { 64 })
    }

    pub(in crate::sync) fn at(segment: &Segment, offset: usize) -> Result<Self> {
        let bytes = segment.slice::<AtomicU8>(offset, size_of::<T>())?;
        let value = NonNull::from(&*bytes).cast::<T>();
        if !value.is_aligned() {
            return Err(Error::new("attach to a lock", ErrorKind::Corrupted).because("its value is not aligned"));
        }
        Ok(Self { bytes, value, is_checked: AtomicBool::new(false) })
    }

    /// Puts the first value there, before anyone else has the memory.
    pub(in crate::sync) fn init(&self, value: T) {
        // SAFETY: the place is `size_of::<T>` bytes, aligned, mapped writable, and nobody else has it yet.
        unsafe { self.value.as_ptr().write(value) };
        self.is_checked.store(true, Order::Relaxed);
    }

    /// Checks that the bytes are a value, if that is not known. The caller holds the lock.
    #[inline]
    pub(in crate::sync) fn check(&self, after_death: bool) -> Result<()> {
        // Relaxed: whoever sees an old answer checks once more.
        if !after_death && self.is_checked.load(Order::Relaxed) {
            return Ok(());
        }
        self.check_bytes()
    }

    #[cold]
    fn check_bytes(&self) -> Result<()> {
        let corrupted = |invalid| {
            let why = format!("what it guards is no value of the type: {invalid:?}");
            Error::new("lock", ErrorKind::Corrupted).because(why)
        };
        // SAFETY: mapped memory of this length; the lock is held, so no trusted holder writes to it.
        let bytes = unsafe { std::slice::from_raw_parts(self.value.as_ptr().cast::<u8>(), self.bytes.len()) };
        T::check(bytes).map_err(corrupted)?;
        self.is_checked.store(true, Order::Relaxed);
        Ok(())
    }

    /// # Safety
    /// The caller holds the lock, the bytes were checked, and no unique reference is in use.
    #[inline]
    pub(in crate::sync) unsafe fn get(&self) -> &T {
        // SAFETY: mapped, aligned, a value of T; nobody writes while the lock is held by who only reads.
        unsafe { self.value.as_ref() }
    }

    /// # Safety
    /// As [`get`](Self::get), and the caller has the only guard.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the lock makes it unique, which is the caller's promise")]
    pub(in crate::sync) unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: as in `get`; the lock is held once, by the guard that is borrowed uniquely.
        unsafe { &mut *self.value.as_ptr() }
    }
}

impl<T: ShmSafe> Mutex<T> {
    /// Makes a lock and its value in a segment of their own, without a name.
    ///
    /// # Errors
    /// `InvalidInput` for a recursive lock: two guards would give two unique references to one value; use a
    /// [`RawMutex`]. Otherwise `OutOfMemory`, `LimitReached` (descriptors), `System`.
    pub fn anonymous(value: T, options: &MutexOptions) -> Result<Self> {
        Self::over(Place::anonymous(&options.name, Self::plan(value, options)?)?, &options.name)
    }

    /// The lock whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it guards another type or is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a lock and its value"; value: T; value, &MutexOptions::new());

    /// [`open_or_create`](Self::open_or_create), made with options if it is not there.
    ///
    /// # Errors
    /// As there, and `InvalidInput` for a recursive lock.
    pub fn open_or_create_with(name: impl IntoName, value: T, options: &MutexOptions) -> Result<Self> {
        let name = name.into_name()?;
        Self::over(Place::open_or_create(&name, Self::plan(value, options)?)?, name.as_str())
    }

    fn form() -> Form {
        Form::lock(layout_hash::<T>(), format!("a mutex of {}", T::LAYOUT))
    }

    const DATA_OFFSET: usize = Data::<T>::offset_after(size_of::<MutexWords>());

    fn plan(value: T, options: &MutexOptions) -> Result<Plan<'_>> {
        if options.kind == MutexKind::Recursive {
            return Err(Error::new("create a mutex", ErrorKind::InvalidInput)
                .because("a recursive lock cannot hand out its value; use RawMutex"));
        }
        Ok(Plan::new(Self::form(), Self::DATA_OFFSET.saturating_add(size_of::<T>()), move |segment| {
            segment.describe(&Details { layout: Some(T::LAYOUT), version: 1, facts: &MutexWords::FACTS })?;
            RawMutex::make(&*segment.view(0)?, options);
            Data::at(segment, Self::DATA_OFFSET)?.init(value);
            Ok(())
        }))
    }

    fn over(place: Place, name: &str) -> Result<Self> {
        let segment = place.segment();
        let raw = RawMutex::attach(segment.view(0)?, name)?;
        if raw.kind() == MutexKind::Recursive {
            return Err(Error::new("attach to a lock", ErrorKind::Corrupted).because("it is recursive"));
        }
        Ok(Self { raw, data: Data::at(segment, Self::DATA_OFFSET)?, place })
    }

    /// The descriptor to send to peers that shall share the lock.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// The lock itself, for lookers: who holds it, of which kind it is.
    #[must_use]
    pub fn raw(&self) -> &RawMutex {
        &self.raw
    }

    /// Locks, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`RawMutex::lock`].
    #[track_caller]
    #[inline]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_with(Until::Forever)
    }

    /// Locks if nobody holds the lock; never waits.
    ///
    /// # Errors
    /// As [`RawMutex::try_lock`].
    #[track_caller]
    #[inline]
    pub fn try_lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.lock_with(Until::Now)
    }

    /// Locks, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// As [`RawMutex::lock_timeout`].
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<MutexGuard<'_, T>> {
        self.lock_with(Until::At(tieline_os::futex::Deadline::after(timeout)))
    }

    #[track_caller]
    #[inline]
    fn lock_with(&self, until: Until) -> LockResult<MutexGuard<'_, T>> {
        let locked = self.raw.lock_with(until);
        MutexGuard::over(locked, &self.data)
    }
}

impl<'a, T: ShmSafe> MutexGuard<'a, T> {
    /// Joins a lock that is held with what it guards.
    #[inline]
    pub(in crate::sync) fn over(locked: LockResult<RawMutexGuard<'a>>, data: &'a Data<T>) -> LockResult<Self> {
        match locked {
            Ok(raw) => {
                data.check(false)?;
                Ok(Self { raw, data })
            }
            Err(LockError::OwnerDied(raw)) => {
                data.check(true)?;
                Err(LockError::OwnerDied(Self { raw, data }))
            }
            Err(LockError::Failed(error)) => Err(LockError::Failed(error)),
        }
    }

    /// The guard without the value.
    pub(in crate::sync) fn into_parts(self) -> (RawMutexGuard<'a>, &'a Data<T>) {
        (self.raw, self.data)
    }

    /// Whether the holder before died holding the lock, and nobody has repaired since.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.raw.is_inherited()
    }

    /// Says that the value is whole again; see [`RawMutexGuard::mark_consistent`].
    pub fn mark_consistent(&self) {
        self.raw.mark_consistent();
    }
}

impl<T: ShmSafe> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held and not recursive, so this is its one guard; the bytes were checked when it was made.
        unsafe { self.data.get() }
    }
}

impl<T: ShmSafe> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed uniquely.
        unsafe { self.data.get_mut() }
    }
}

impl<T: ShmSafe> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("raw", &self.raw).finish_non_exhaustive()
    }
}

impl<T: ShmSafe + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A mutex of `T` and nothing else has this hash.
fn layout_hash<T: ShmSafe>() -> u64 {
    T::LAYOUT.hash() ^ u64::from_le_bytes(*b"mutex\0\0\x01")
}
