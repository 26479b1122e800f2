//! Many readers or one writer.

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

use super::Place;
use crate::error::{Error, ErrorKind, Result};
use crate::futex::Deadline;
use crate::sys::pthread as sys;

const CREATE: &str = "create shared reader-writer lock";
const ATTACH: &str = "attach to shared reader-writer lock";
const READ: &str = "lock shared reader-writer lock for reading";
const WRITE: &str = "lock shared reader-writer lock for writing";

/// A reader-writer lock of the C library that processes share.
///
/// # Death of a holder
/// There is no robust form: a killed reader keeps writers out for ever, a killed writer keeps everyone out. Use the
/// deadline forms, or a robust [`Mutex`](super::Mutex), where a peer may be killed.
///
/// ```
/// use tieline_os::mapping::Mapping;
/// use tieline_os::pthread::{Place, RwLock};
///
/// let memory = Mapping::anonymous(4096)?;
/// // SAFETY: the memory is for this lock alone.
/// let place = unsafe { Place::trusting(&memory, 0) };
/// let lock = RwLock::create(place)?;
/// let (one, two) = (lock.read()?, lock.read()?);
/// assert!(lock.try_write().unwrap_err().is_would_block());
/// drop((one, two));
/// let _alone = lock.write()?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "pthread_rwlock_t")]
pub struct RwLock<'r> {
    inner: sys::RwLock<'r>,
}

impl<'r> RwLock<'r> {
    /// How many bytes it takes: 80 on 64-bit Linux.
    pub const LEN: usize = sys::RwLock::LEN;

    /// Makes an unlocked lock at `place`, whose bytes must be zero. Does not block.
    ///
    /// New readers come in while a writer waits, so that a steady stream of readers keeps writers out; see
    /// [`create_preferring_writers`](Self::create_preferring_writers).
    ///
    /// # Errors
    /// As [`Mutex::create`](super::Mutex::create).
    #[doc(alias = "pthread_rwlock_init")]
    pub fn create(place: Place<'r>) -> Result<Self> {
        Self::create_with(place, false)
    }

    /// Makes a lock that lets no new reader in while a writer waits. A thread that reads must then not lock for
    /// reading again: if a writer came in between, both wait for ever.
    ///
    /// # Errors
    /// As [`create`](Self::create), and `Unsupported` with musl, which has no such kind.
    #[doc(alias = "PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP")]
    pub fn create_preferring_writers(place: Place<'r>) -> Result<Self> {
        Self::create_with(place, true)
    }

    fn create_with(place: Place<'r>, prefer_writers: bool) -> Result<Self> {
        let (region, offset) = place.claim(CREATE, Self::LEN)?;
        let inner = sys::RwLock::create_rwlock(region, offset, prefer_writers);
        inner.map(|inner| Self { inner }).map_err(|refusal| place.refused(CREATE, refusal))
    }

    /// Finds the lock that another process made at `place`. Does not block.
    ///
    /// # Errors
    /// As [`Mutex::attach`](super::Mutex::attach).
    pub fn attach(place: Place<'r>) -> Result<Self> {
        let (region, offset) = place.claim(ATTACH, Self::LEN)?;
        let inner = sys::RwLock::attach_rwlock(region, offset);
        inner.map(|inner| Self { inner }).map_err(|refusal| place.refused(ATTACH, refusal))
    }

    /// Locks for reading, waiting as long as it takes. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Errors
    /// `Deadlock` if this thread holds it for writing (with musl it waits for itself); `LimitReached` with more readers
    /// than the lock can count.
    #[doc(alias = "pthread_rwlock_rdlock")]
    pub fn read(&self) -> Result<ReadGuard<'_>> {
        reading(self.inner.read())
    }

    /// Locks for reading if no writer holds it (or waits, if writers are preferred).
    ///
    /// # Errors
    /// `WouldBlock` otherwise; `LimitReached` as for [`read`](Self::read).
    #[doc(alias = "pthread_rwlock_tryrdlock")]
    pub fn try_read(&self) -> Result<ReadGuard<'_>> {
        reading(self.inner.try_read())
    }

    /// Locks for reading, waiting at most `timeout`, by the clock named at
    /// [`Mutex::lock_timeout`](super::Mutex::lock_timeout).
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`read`](Self::read).
    #[doc(alias = "pthread_rwlock_clockrdlock")]
    #[doc(alias = "pthread_rwlock_timedrdlock")]
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<'_>> {
        reading(self.inner.read_until(Deadline::after(timeout)))
    }

    /// Locks for writing, waiting as long as it takes. Signal handlers that run meanwhile do not end the wait.
    ///
    /// # Errors
    /// `Deadlock` if this thread holds it for writing. A thread that holds it for reading is not found out and waits
    /// for itself; with musl, so does one that holds it for writing.
    #[doc(alias = "pthread_rwlock_wrlock")]
    pub fn write(&self) -> Result<WriteGuard<'_>> {
        writing(self.inner.write())
    }

    /// Locks for writing if nobody holds it.
    ///
    /// # Errors
    /// `WouldBlock` otherwise.
    #[doc(alias = "pthread_rwlock_trywrlock")]
    pub fn try_write(&self) -> Result<WriteGuard<'_>> {
        writing(self.inner.try_write())
    }

    /// Locks for writing, waiting at most `timeout`, by the clock named at
    /// [`Mutex::lock_timeout`](super::Mutex::lock_timeout).
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`write`](Self::write).
    #[doc(alias = "pthread_rwlock_clockwrlock")]
    #[doc(alias = "pthread_rwlock_timedwrlock")]
    pub fn write_timeout(&self, timeout: Duration) -> Result<WriteGuard<'_>> {
        writing(self.inner.write_until(Deadline::after(timeout)))
    }
}

impl fmt::Debug for RwLock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

fn reading(answer: Result<sys::HeldRwLock<'_>, Errno>) -> Result<ReadGuard<'_>> {
    answer.map(|held| ReadGuard { _held: held }).map_err(|errno| refused(READ, errno))
}

fn writing(answer: Result<sys::HeldRwLock<'_>, Errno>) -> Result<WriteGuard<'_>> {
    answer.map(|held| WriteGuard { _held: held }).map_err(|errno| refused(WRITE, errno))
}

/// Why there is no lock. "Would block" and "timed out" do not allocate.
fn refused(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(operation, errno);
    match errno {
        Errno::BUSY => error.sorted_as(ErrorKind::WouldBlock),
        Errno::AGAIN => error.sorted_as(ErrorKind::LimitReached).hint("too many readers hold it"),
        Errno::DEADLK => error.hint("this thread holds it for writing"),
        _ => error,
    }
}

/// The lock is held for reading by this thread; dropping it unlocks. It cannot leave the thread.
#[must_use = "dropping it unlocks at once"]
pub struct ReadGuard<'l> {
    _held: sys::HeldRwLock<'l>,
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").finish_non_exhaustive()
    }
}

/// The lock is held for writing by this thread; dropping it unlocks. It cannot leave the thread.
#[must_use = "dropping it unlocks at once"]
pub struct WriteGuard<'l> {
    _held: sys::HeldRwLock<'l>,
}

impl fmt::Debug for WriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteGuard").finish_non_exhaustive()
    }
}
