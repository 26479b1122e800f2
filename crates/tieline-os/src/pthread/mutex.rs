//! One at a time.

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

use super::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::futex::Deadline;
use crate::sys::pthread as sys;
use crate::sys::pthread::{Mismatch, Refusal};

const CREATE: &str = "create shared mutex";
const ATTACH: &str = "attach to shared mutex";
const LOCK: &str = "lock shared mutex";

/// A mutex of the C library that processes share.
///
/// It guards whatever its users agree on; the guard carries no data. Uncontended locking does not enter the kernel.
/// Handles are addresses: make as many as you like, from any thread.
///
/// # Death of the owner
/// If the owner dies while it holds a robust mutex (killed, or by `exec`, or its thread ended), the next to lock
/// gets it as [`Locked::OwnerDied`]: it owns the lock and must say whether the protected data is sound again. A mutex
/// that is not robust stays locked for ever.
///
/// One death is not told: if a thread other than the process's first calls `exec` while it holds the mutex, Linux
/// changes the thread's id before it looks for what it holds, finds nothing, and the mutex stays locked for ever.
/// (`fork` and then `exec`, as [`std::process::Command`] does, is another matter: the child holds nothing.)
///
/// ```
/// use tieline_os::mapping::Mapping;
/// use tieline_os::pthread::{Locked, Mutex, MutexOptions, Place};
///
/// let memory = Mapping::anonymous(4096)?;
/// // SAFETY: the memory is for this mutex alone.
/// let place = unsafe { Place::trusting(&memory, 0) };
/// let mutex = Mutex::create(place, MutexOptions::new())?;
/// let guard = match mutex.lock()? {
///     Locked::Clean(guard) => guard,
///     Locked::OwnerDied(guard) => {
///         memory.fill(64, 8, 0)?; // bring the protected bytes into a sound state …
///         guard.mark_consistent()? // … and only then say so.
///     }
/// };
/// memory.write(64, b"together")?;
/// drop(guard);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "pthread_mutex_t")]
pub struct Mutex<'r> {
    inner: sys::Mutex<'r>,
    options: MutexOptions,
}

/// What happens when the owner locks its mutex again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MutexKind {
    /// It waits for itself, for ever.
    #[doc(alias = "PTHREAD_MUTEX_NORMAL")]
    Normal,
    /// It holds the mutex once more, and must unlock as often.
    #[doc(alias = "PTHREAD_MUTEX_RECURSIVE")]
    Recursive,
    /// It is told: `Deadlock`.
    #[default]
    #[doc(alias = "PTHREAD_MUTEX_ERRORCHECK")]
    ErrorChecking,
}

/// How a mutex is made. Without any setting: robust, error-checking, no priority inheritance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MutexOptions {
    kind: MutexKind,
    robust: bool,
    inherits_priority: bool,
}

impl MutexOptions {
    /// Robust, error-checking, no priority inheritance.
    #[must_use]
    pub const fn new() -> Self {
        Self { kind: MutexKind::ErrorChecking, robust: true, inherits_priority: false }
    }

    /// What happens when the owner locks again.
    #[must_use]
    pub const fn kind(mut self, kind: MutexKind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether the death of the owner is told to the next locker (the default), or the lock stays locked for ever.
    #[must_use]
    #[doc(alias = "PTHREAD_MUTEX_ROBUST")]
    pub const fn robust(mut self, robust: bool) -> Self {
        self.robust = robust;
        self
    }

    /// Whether the owner runs at the priority of the most urgent waiter. Locking and unlocking with waiters then cost
    /// more.
    #[must_use]
    #[doc(alias = "PTHREAD_PRIO_INHERIT")]
    pub const fn inherit_priority(mut self, inherit: bool) -> Self {
        self.inherits_priority = inherit;
        self
    }

    /// Whether the death of the owner is told.
    #[must_use]
    pub const fn is_robust(self) -> bool {
        self.robust
    }

    fn traits(self) -> sys::MutexTraits {
        let kind = match self.kind {
            MutexKind::Normal => sys::Kind::Normal,
            MutexKind::Recursive => sys::Kind::Recursive,
            MutexKind::ErrorChecking => sys::Kind::ErrorChecking,
        };
        sys::MutexTraits { kind, robust: self.robust, inherits_priority: self.inherits_priority }
    }

    fn of(traits: sys::MutexTraits) -> Self {
        let kind = match traits.kind {
            sys::Kind::Normal => MutexKind::Normal,
            sys::Kind::Recursive => MutexKind::Recursive,
            sys::Kind::ErrorChecking => MutexKind::ErrorChecking,
        };
        Self { kind, robust: traits.robust, inherits_priority: traits.inherits_priority }
    }
}

impl Default for MutexOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl<'r> Mutex<'r> {
    /// How many bytes it takes: 64 on 64-bit Linux.
    pub const LEN: usize = sys::Mutex::LEN;

    /// Makes an unlocked mutex at `place`, whose bytes must be zero. Does not block.
    ///
    /// # Errors
    /// * `AlreadyExists`: there is an object; `Busy`: another process is making one.
    /// * `InvalidInput`: the place lies outside the region, is not aligned, or holds something else.
    /// * `PermissionDenied`: the region is read-only.
    /// * `Unsupported`: the machine has no priority inheritance.
    #[doc(alias = "pthread_mutex_init")]
    pub fn create(place: Place<'r>, options: MutexOptions) -> Result<Self> {
        let (region, offset) = place.claim(CREATE, Self::LEN)?;
        let inner = sys::Mutex::create_mutex(region, offset, options.traits());
        inner.map(|inner| Self { inner, options }).map_err(|refusal| place.refused(CREATE, refusal))
    }

    /// Finds the mutex that another process made at `place`. Does not block.
    ///
    /// # Errors
    /// * `NotFound`: there is no object yet; `Busy`: it is just being made.
    /// * `InvalidInput`: the place lies outside the region or is not aligned; the object there is of another sort, or
    ///   was made by another C library, another version of it, or a program of another word size.
    /// * `Unsupported`: it was made in another pid namespace.
    /// * `PermissionDenied`: the region is read-only.
    pub fn attach(place: Place<'r>) -> Result<Self> {
        let (region, offset) = place.claim(ATTACH, Self::LEN)?;
        let inner = sys::Mutex::attach_mutex(region, offset).map_err(|refusal| place.refused(ATTACH, refusal))?;
        let bits = inner.options();
        let traits = sys::MutexTraits::from_bits(bits)
            .ok_or_else(|| place.refused(ATTACH, Refusal::Mismatch(Mismatch::Options { bits })))?;
        Ok(Self { inner, options: MutexOptions::of(traits) })
    }

    /// How it was made.
    #[must_use]
    pub fn options(&self) -> MutexOptions {
        self.options
    }

    /// Locks, waiting as long as it takes. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Errors
    /// The lock is not held after any of them:
    /// * `NotRecoverable`: an owner died and its heir did not repair; nobody will ever get this lock.
    /// * `Deadlock`: an error-checking mutex that this thread holds already.
    /// * `LimitReached`: a recursive mutex held too many times.
    #[doc(alias = "pthread_mutex_lock")]
    pub fn lock(&self) -> Result<Locked<'_>> {
        sorted(self.inner.lock())
    }

    /// Locks if nobody holds it.
    ///
    /// # Errors
    /// `WouldBlock` if somebody does (this thread included, unless the mutex is recursive); otherwise as
    /// [`lock`](Self::lock).
    #[doc(alias = "pthread_mutex_trylock")]
    pub fn try_lock(&self) -> Result<Locked<'_>> {
        sorted(self.inner.try_lock())
    }

    /// Locks, waiting at most `timeout`.
    ///
    /// The time is measured on the monotonic clock where the C library can (glibc 2.30; with priority inheritance
    /// glibc 2.34 and Linux 5.14) and on the realtime clock elsewhere, where a step of the clock during the wait
    /// shortens or lengthens it.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`lock`](Self::lock).
    #[doc(alias = "pthread_mutex_clocklock")]
    #[doc(alias = "pthread_mutex_timedlock")]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<Locked<'_>> {
        self.lock_until(Deadline::after(timeout))
    }

    /// Locks, waiting until `deadline`; a mutex that is free is locked even if that has passed.
    ///
    /// # Errors
    /// As [`lock_timeout`](Self::lock_timeout).
    pub fn lock_until(&self, deadline: Deadline) -> Result<Locked<'_>> {
        sorted(self.inner.lock_until(deadline))
    }
}

impl fmt::Debug for Mutex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("options", &self.options).finish_non_exhaustive()
    }
}

fn sorted(answer: Result<(sys::HeldMutex<'_>, bool), Errno>) -> Result<Locked<'_>> {
    match answer {
        Ok((held, owner_died)) => Ok(Locked::new(held, owner_died)),
        Err(errno) => Err(refused(errno)),
    }
}

/// Why there is no lock. "Would block" and "timed out" do not allocate.
pub(super) fn refused(errno: Errno) -> Error {
    let error = Error::new(LOCK, errno);
    match errno {
        Errno::BUSY => error.sorted_as(ErrorKind::WouldBlock),
        Errno::AGAIN => error.sorted_as(ErrorKind::LimitReached).hint("it is held too many times by this thread"),
        Errno::NOTRECOVERABLE => {
            error.hint("an owner died and nobody repaired what it left; make the mutex anew when nobody uses it")
        }
        Errno::DEADLK => error.hint("this thread holds it already"),
        _ => error,
    }
}

/// The lock is held; in which state it came.
///
/// Both cases own the lock, and both unlock when dropped, so that it cannot leak. They differ in type, so that the
/// death of an owner cannot be overlooked: what needs a sound lock takes a [`MutexGuard`].
///
/// ```compile_fail,E0308
/// # use tieline_os::pthread::{Condvar, Mutex};
/// fn overlook(mutex: &Mutex<'_>, condvar: &Condvar<'_>) {
///     let locked = mutex.lock().unwrap();
///     condvar.wait(locked); // perhaps the previous owner died
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it unlocks at once"]
pub enum Locked<'m> {
    /// The previous owner unlocked in an orderly way.
    Clean(MutexGuard<'m>),
    /// The previous owner died while it held the lock: what it protects may be half-changed.
    #[doc(alias = "EOWNERDEAD")]
    OwnerDied(InheritedGuard<'m>),
}

impl<'m> Locked<'m> {
    pub(super) fn new(held: sys::HeldMutex<'m>, owner_died: bool) -> Self {
        let guard = MutexGuard { held };
        if owner_died { Self::OwnerDied(InheritedGuard { guard }) } else { Self::Clean(guard) }
    }

    /// Whether the previous owner died.
    #[must_use]
    pub fn owner_died(&self) -> bool {
        matches!(self, Self::OwnerDied(_))
    }

    /// The guard, after running `repair` if the previous owner died.
    ///
    /// ```
    /// # use tieline_os::mapping::Mapping;
    /// # use tieline_os::pthread::{Mutex, MutexOptions, Place};
    /// # let memory = Mapping::anonymous(4096)?;
    /// # // SAFETY: the memory is for this mutex alone.
    /// # let place = unsafe { Place::trusting(&memory, 0) };
    /// # let mutex = Mutex::create(place, MutexOptions::new())?;
    /// let guard = mutex.lock()?.or_repair(|| memory.fill(64, 8, 0))?;
    /// # drop(guard);
    /// # Ok::<(), tieline_os::Error>(())
    /// ```
    ///
    /// # Errors
    /// That of `repair`; the lock is then given up and becomes `NotRecoverable` for everyone.
    pub fn or_repair(self, repair: impl FnOnce() -> Result<()>) -> Result<MutexGuard<'m>> {
        match self {
            Self::Clean(guard) => Ok(guard),
            Self::OwnerDied(guard) => {
                repair()?;
                guard.mark_consistent()
            }
        }
    }
}

/// The lock is held by this thread; dropping it unlocks. It cannot leave the thread.
///
/// Forgetting it keeps a robust mutex locked until the thread ends, and its memory mapped for the process's life.
///
/// ```compile_fail,E0277
/// # use tieline_os::pthread::Mutex;
/// fn hand_over(mutex: &Mutex<'_>) {
///     let guard = mutex.lock();
///     std::thread::scope(|scope| {
///         scope.spawn(|| drop(guard)); // the owner is the thread that locked
///     });
/// }
/// ```
#[must_use = "dropping it unlocks at once"]
pub struct MutexGuard<'m> {
    held: sys::HeldMutex<'m>,
}

impl<'m> MutexGuard<'m> {
    pub(super) fn into_held(self) -> sys::HeldMutex<'m> {
        self.held
    }
}

impl fmt::Debug for MutexGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexGuard").finish_non_exhaustive()
    }
}

/// The lock is held by this thread, which took it over from a dead owner.
///
/// Repair what the lock protects, then call [`mark_consistent`](Self::mark_consistent). Dropping it without that
/// unlocks it as beyond repair: everyone who waits, and everyone who comes, gets `NotRecoverable`. If this thread dies
/// too, the next locker inherits in its turn.
#[derive(Debug)]
#[must_use = "dropping it makes the mutex not recoverable"]
pub struct InheritedGuard<'m> {
    guard: MutexGuard<'m>,
}

impl<'m> InheritedGuard<'m> {
    /// Says that what the lock protects is sound again; the lock is then as any other.
    ///
    /// # Errors
    /// The C library's refusal, which means that the lock's bytes have been written over.
    #[doc(alias = "pthread_mutex_consistent")]
    pub fn mark_consistent(self) -> Result<MutexGuard<'m>> {
        match self.guard.held.mark_consistent() {
            Ok(()) => Ok(self.guard),
            Err(errno) => Err(Error::new("mark shared mutex consistent", errno)),
        }
    }
}
