//! File locks: agreements between processes about a file, or a range of its bytes.
//!
//! | | held by | covers | released |
//! |---|---|---|---|
//! | [`RangeLock`] | the open file description | a range of bytes | with the description's last descriptor, or by unlock |
//! | [`RangeLock::try_lock_as_process`] | the process | a range of bytes | **when the process closes any descriptor of that file** |
//! | [`FileLock`] | the open file description | the whole file | with the description's last descriptor, or by unlock |
//!
//! All are advisory (who does not ask is not kept out), all vanish with the holder however it dies, and none survives in
//! a file. A shared lock excludes exclusive ones; an exclusive lock excludes all. The first and third do not see each
//! other on local file systems. Take the first unless another program demands one of the others.
//!
//! These are for files, and for "only one instance at a time". Memory is guarded faster by what lies in it: a
//! [`pthread`](crate::pthread) mutex, which costs no system call unless somebody waits; permits are counted by a
//! [POSIX](crate::posix::sem) or [System V](crate::sysv::sem) semaphore.
//!
//! The invariant: a guard releases exactly what it was asked to lock, once, when dropped or unlocked. The lock belongs to
//! the *open file description*, not to the guard: two guards of one description never exclude each other, and a
//! description that a child inherited is the same holder in both processes, so a lock outlives the guard's process while
//! a child has it open, and an unlock by either frees it for both.
//!
//! # Waiting with a deadline
//! The kernel's waiting form has no deadline, cannot be polled, and ends early only by a signal handler, which a library
//! must not install. So the `_timeout` forms try again, at first after 50 µs and later every 4 ms: they notice a release
//! up to 4 ms late, stand in no queue, and can be passed by those who wait without a deadline. The plain forms wait in
//! the kernel, in order.
//!
//! Sources: POSIX.1-2024 `fcntl` (it adopted the locks of open file descriptions); fcntl(2), `F_OFD_SETLK(2const)`,
//! flock(2).

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::backoff::retry_with_pauses;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::lock::{Command, Kind, Record, record_lock};
use crate::wait::Wait;

/// Whether others may hold the same lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockKind {
    /// Others may hold it shared: a reader's lock. A range lock of this kind needs the file open for reading.
    Shared,
    /// Nobody else may hold it: a writer's lock. A range lock of this kind needs the file open for writing.
    Exclusive,
}

/// A lock on a range of a file's bytes, released when dropped.
///
/// The range may lie beyond the end of the file; one without an end covers whatever is appended. Bytes locked twice
/// through one description are locked once: dropping one of two overlapping guards frees the overlap.
///
/// A holder that dies, by `kill -9` too, frees the lock, unless a child or another process shares the open description.
///
/// ```
/// use tieline_os::lock::{LockKind, RangeLock};
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("data");
/// # std::fs::write(&path, b"").unwrap();
/// # let open = || std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
/// let (one, other) = (open(), open());
/// let held = RangeLock::try_lock(&one, LockKind::Exclusive, 0..100)?;
/// assert!(RangeLock::try_lock(&other, LockKind::Shared, 50..).unwrap_err().is_would_block());
/// assert!(RangeLock::try_lock(&other, LockKind::Shared, 100..).is_ok());
/// held.unlock()?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it unlocks"]
pub struct RangeLock<F: AsFd> {
    file: F,
    kind: LockKind,
    span: Span,
    of_process: bool,
    held: bool,
}

/// Who keeps a range from being locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// How it is locked.
    pub kind: LockKind,
    /// The first byte it covers.
    pub start: u64,
    /// The first byte after it, or `None` if it has no end.
    pub end: Option<u64>,
    /// The process, if the lock is a process's (in our pid namespace; 0 if it is not visible there); `None` if it is
    /// an open file description's, which has no one owner.
    pub pid: Option<u32>,
}

impl<F: AsFd> RangeLock<F> {
    /// Locks for this open file description if that needs no waiting.
    ///
    /// # Errors
    /// `WouldBlock` if somebody else holds it: [`range_holder`] says who. `InvalidInput` if the range is empty or
    /// ends beyond 2⁶³, or the file is not open in the direction the kind needs (`EBADF`). `LimitReached` (`ENOLCK`) or
    /// `Unsupported` if the file system has no locks.
    #[doc(alias("F_OFD_SETLK", "fcntl"))]
    pub fn try_lock(file: F, kind: LockKind, range: impl RangeBounds<u64>) -> Result<Self> {
        Self::acquire(file, kind, &range, false, Wait::Never)
    }

    /// Locks for this open file description, waiting in the kernel until nobody else holds it.
    ///
    /// Nothing detects that two descriptions wait for each other.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock), without `WouldBlock`.
    #[doc(alias("F_OFD_SETLKW"))]
    pub fn lock(file: F, kind: LockKind, range: impl RangeBounds<u64>) -> Result<Self> {
        Self::acquire(file, kind, &range, false, Wait::Forever)
    }

    /// Locks for this open file description, trying again for `timeout` at most; see the module's page.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock), with `TimedOut` in place of `WouldBlock`.
    pub fn lock_timeout(file: F, kind: LockKind, range: impl RangeBounds<u64>, timeout: Duration) -> Result<Self> {
        Self::acquire(file, kind, &range, false, Wait::timeout(timeout))
    }

    /// Locks for this *process* if that needs no waiting: the classic record lock, for programs that expect it.
    ///
    /// **Any code of this process that closes any descriptor of the same file drops it**, a library that reads and
    /// closes the file for example; it is not inherited by a child; the threads of a process do not exclude each other.
    /// It excludes, and is excluded by, the locks of open file descriptions, this process's own among them.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock).
    #[doc(alias("F_SETLK", "lockf"))]
    pub fn try_lock_as_process(file: F, kind: LockKind, range: impl RangeBounds<u64>) -> Result<Self> {
        Self::acquire(file, kind, &range, true, Wait::Never)
    }

    /// As [`try_lock_as_process`](Self::try_lock_as_process), waiting in the kernel until nobody else holds it.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock), without `WouldBlock`; `Deadlock` if the holder waits for this process.
    #[doc(alias("F_SETLKW"))]
    pub fn lock_as_process(file: F, kind: LockKind, range: impl RangeBounds<u64>) -> Result<Self> {
        Self::acquire(file, kind, &range, true, Wait::Forever)
    }

    /// Makes a shared lock exclusive or the reverse, without a moment in between when it is free.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock); the lock is then as it was.
    pub fn try_convert(&mut self, kind: LockKind) -> Result<()> {
        let command = Command::Set { of_process: self.of_process };
        retry_on_intr(|| record_lock(self.file.as_fd(), command, self.span.record(kind.into())))
            .map_err(|errno| why(CONVERT_RANGE, errno, Some(kind)))?;
        self.kind = kind;
        Ok(())
    }

    /// How it is locked.
    #[must_use]
    pub fn kind(&self) -> LockKind {
        self.kind
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Unlocks, and reports if that fails, which dropping does not.
    ///
    /// # Errors
    /// `LimitReached` (`ENOLCK`) if the range had to be cut out of a larger one and the kernel has no room for the parts.
    pub fn unlock(mut self) -> Result<()> {
        self.release().map_err(|errno| why("unlock a range of a file", errno, None))
    }

    fn acquire(file: F, kind: LockKind, range: &impl RangeBounds<u64>, of_process: bool, wait: Wait) -> Result<Self> {
        let span = Span::of(LOCK_RANGE, range)?;
        let record = span.record(kind.into());
        let locked = match wait {
            Wait::Forever => retry_on_intr(|| record_lock(file.as_fd(), Command::SetAndWait { of_process }, record)),
            _ => retry_with_pauses(wait, || record_lock(file.as_fd(), Command::Set { of_process }, record)),
        };
        locked.map_err(|errno| why(LOCK_RANGE, errno, Some(kind)))?;
        Ok(Self { file, kind, span, of_process, held: true })
    }

    fn release(&mut self) -> Result<(), Errno> {
        if !std::mem::replace(&mut self.held, false) {
            return Ok(());
        }
        let command = Command::Set { of_process: self.of_process };
        retry_on_intr(|| record_lock(self.file.as_fd(), command, self.span.record(Kind::Unlocked))).map(drop)
    }
}

impl<F: AsFd> Drop for RangeLock<F> {
    fn drop(&mut self) {
        // Who must know that it worked calls `unlock`; here the descriptor's closing is the safety net.
        let _ = self.release();
    }
}

/// Who would keep this open file description from locking the range so: one of them, or `None`.
///
/// The answer may be out of date when it arrives. Locks of processes are seen too, this one's included.
///
/// # Errors
/// `InvalidInput` if the range is empty or ends beyond 2⁶³.
#[doc(alias("F_OFD_GETLK", "F_GETLK"))]
pub fn range_holder(file: impl AsFd, kind: LockKind, range: impl RangeBounds<u64>) -> Result<Option<Holder>> {
    const OPERATION: &str = "ask who locks a range of a file";
    let span = Span::of(OPERATION, &range)?;
    let found = retry_on_intr(|| record_lock(file.as_fd(), Command::Find, span.record(kind.into())))
        .map_err(|errno| why(OPERATION, errno, None))?;
    let kind = match found.kind {
        Kind::Unlocked => return Ok(None),
        Kind::Shared => LockKind::Shared,
        Kind::Exclusive => LockKind::Exclusive,
    };
    let start = found.start.unsigned_abs();
    let end = (found.len != 0).then(|| start.saturating_add_signed(found.len));
    Ok(Some(Holder { kind, start, end, pid: found.pid.try_into().ok() }))
}

/// A lock on a whole file, as `flock(1)` takes it, released when dropped.
///
/// Works on any file, also one open only for reading. Excludes other `FileLock`s, not [`RangeLock`]s (on NFS it does).
///
/// A child that inherits the descriptor shares the lock: its closing (or its death) leaves the parent's lock alone, the
/// parent's closing leaves the child's, and **an unlock by either frees it for both**; so does dropping a guard.
///
/// ```
/// use tieline_os::lock::{FileLock, LockKind};
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("lock");
/// let file = std::fs::File::create(&path).unwrap();
/// let only_one = FileLock::try_lock(&file, LockKind::Exclusive)?;
/// let again = std::fs::File::open(&path).unwrap();
/// assert!(FileLock::try_lock(&again, LockKind::Shared).unwrap_err().is_would_block());
/// drop(only_one);
/// assert!(FileLock::try_lock(&again, LockKind::Shared).is_ok());
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it unlocks"]
pub struct FileLock<F: AsFd> {
    file: F,
    kind: LockKind,
    held: bool,
}

impl<F: AsFd> FileLock<F> {
    /// Locks if that needs no waiting. If this description holds the lock already, its kind changes.
    ///
    /// # Errors
    /// `WouldBlock` if another description holds it; `LimitReached` (`ENOLCK`) or `Unsupported` if the file system has
    /// no locks.
    #[doc(alias("flock", "LOCK_NB"))]
    pub fn try_lock(file: F, kind: LockKind) -> Result<Self> {
        Self::acquire(file, kind, Wait::Never)
    }

    /// Locks, waiting in the kernel until no other description holds it.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock), without `WouldBlock`.
    #[doc(alias("LOCK_SH", "LOCK_EX"))]
    pub fn lock(file: F, kind: LockKind) -> Result<Self> {
        Self::acquire(file, kind, Wait::Forever)
    }

    /// Locks, trying again for `timeout` at most; see the module's page.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock), with `TimedOut` in place of `WouldBlock`.
    pub fn lock_timeout(file: F, kind: LockKind, timeout: Duration) -> Result<Self> {
        Self::acquire(file, kind, Wait::timeout(timeout))
    }

    /// Makes a shared lock exclusive or the reverse.
    ///
    /// The kernel frees the old lock first: another description may get in between, and **if it does, this one is left
    /// without any lock**, which is why the guard is consumed and only handed back on success.
    ///
    /// # Errors
    /// `WouldBlock` if another description holds it; then this one holds nothing.
    pub fn try_convert(mut self, kind: LockKind) -> Result<Self> {
        retry_on_intr(|| flock(self.file.as_fd(), operation(kind, true))).map_err(|errno| {
            self.held = errno != Errno::AGAIN;
            why("convert a file lock", errno, None)
        })?;
        self.kind = kind;
        Ok(self)
    }

    /// How it is locked.
    #[must_use]
    pub fn kind(&self) -> LockKind {
        self.kind
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Unlocks, for every process that shares the open description, and reports if that fails, which dropping does not.
    ///
    /// # Errors
    /// None that a healthy file system gives.
    #[doc(alias("LOCK_UN"))]
    pub fn unlock(mut self) -> Result<()> {
        self.release().map_err(|errno| why("unlock a file", errno, None))
    }

    fn acquire(file: F, kind: LockKind, wait: Wait) -> Result<Self> {
        let locked = match wait {
            Wait::Forever => retry_on_intr(|| flock(file.as_fd(), operation(kind, false))),
            _ => retry_with_pauses(wait, || flock(file.as_fd(), operation(kind, true))),
        };
        locked.map_err(|errno| why("lock a file", errno, None))?;
        Ok(Self { file, kind, held: true })
    }

    fn release(&mut self) -> Result<(), Errno> {
        if !std::mem::replace(&mut self.held, false) {
            return Ok(());
        }
        retry_on_intr(|| flock(self.file.as_fd(), FlockOperation::Unlock))
    }
}

impl<F: AsFd> Drop for FileLock<F> {
    fn drop(&mut self) {
        let _ = self.release();
    }
}

const LOCK_RANGE: &str = "lock a range of a file";
const CONVERT_RANGE: &str = "convert a lock on a range of a file";

/// A range as the kernel takes it; a length of 0 has no end.
#[derive(Clone, Copy)]
struct Span {
    start: i64,
    len: i64,
}

impl Span {
    fn of(operation: &'static str, range: &impl RangeBounds<u64>) -> Result<Self> {
        let refused = |why: &'static str| Error::invalid(operation, why);
        let too_far = || refused("the range ends beyond the largest file, 2^63-1 bytes");
        let start = match range.start_bound() {
            Bound::Unbounded => Some(0),
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&start) => start.checked_add(1),
        };
        let start = start.and_then(|start| i64::try_from(start).ok()).ok_or_else(too_far)?;
        let end = match range.end_bound() {
            Bound::Unbounded => return Ok(Self { start, len: 0 }),
            Bound::Included(&end) => end.checked_add(1),
            Bound::Excluded(&end) => Some(end),
        };
        let end = end.and_then(|end| i64::try_from(end).ok()).ok_or_else(too_far)?;
        if end <= start {
            return Err(refused("the range is empty"));
        }
        Ok(Self { start, len: end - start })
    }

    fn record(self, kind: Kind) -> Record {
        Record { kind, start: self.start, len: self.len, pid: 0 }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            0 => write!(f, "{}..", self.start),
            len => write!(f, "{}..{}", self.start, self.start.saturating_add(len)),
        }
    }
}

impl From<LockKind> for Kind {
    fn from(kind: LockKind) -> Self {
        match kind {
            LockKind::Shared => Self::Shared,
            LockKind::Exclusive => Self::Exclusive,
        }
    }
}

fn operation(kind: LockKind, without_waiting: bool) -> FlockOperation {
    match (kind, without_waiting) {
        (LockKind::Shared, true) => FlockOperation::NonBlockingLockShared,
        (LockKind::Shared, false) => FlockOperation::LockShared,
        (LockKind::Exclusive, true) => FlockOperation::NonBlockingLockExclusive,
        (LockKind::Exclusive, false) => FlockOperation::LockExclusive,
    }
}

fn why(operation: &'static str, errno: Errno, kind: Option<LockKind>) -> Error {
    let error = Error::new(operation, errno);
    match (errno, kind) {
        (Errno::BADF, Some(LockKind::Shared)) => error.hint("open the file for reading to lock it shared"),
        (Errno::BADF, Some(LockKind::Exclusive)) => error.hint("open the file for writing to lock it exclusively"),
        (Errno::NOLCK, _) => error
            .hint("the system has no room for more locks, or the file system none")
            .sorted_as(ErrorKind::LimitReached),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_spans() {
        let span = |range: (Bound<u64>, Bound<u64>)| Span::of(LOCK_RANGE, &range).map(|span| (span.start, span.len));
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(span((Unbounded, Unbounded)).unwrap(), (0, 0));
        assert_eq!(span((Included(5), Excluded(7))).unwrap(), (5, 2));
        assert_eq!(span((Excluded(5), Included(7))).unwrap(), (6, 2));
        assert_eq!(span((Included(5), Unbounded)).unwrap(), (5, 0));
        assert_eq!(span((Unbounded, Excluded(i64::MAX as u64))).unwrap(), (0, i64::MAX));
        for wrong in [
            (Included(5), Excluded(5)),
            (Included(6), Excluded(5)),
            (Unbounded, Included(i64::MAX as u64)),
            (Unbounded, Included(u64::MAX)),
            (Excluded(u64::MAX), Unbounded),
        ] {
            assert_eq!(span(wrong).unwrap_err().kind(), ErrorKind::InvalidInput, "{wrong:?}");
        }
    }
}
