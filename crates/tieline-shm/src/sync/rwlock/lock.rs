//! The lock with what it guards: [`RwLock`].

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::guard::{ReadGuard, WriteGuard};
use super::options::{MAX_READERS, RwLockKind, RwLockOptions};
use super::words::RwWords;
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::raw::robust::Thread;
use crate::rendezvous::IntoName;
use crate::segment::{Details, Fact, Segment};
use crate::sync::error::LockResult;
use crate::sync::line::{self, Line};
use crate::sync::mutex::Data;
use crate::sync::order;
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// A value in shared memory that many threads may read, or one may change, in whichever processes they run.
///
/// Readers of different threads write to different lines of the cache, so reading scales with the processors.
///
/// ```
/// use tieline_shm::sync::{LockError, RwLock, RwLockKind, RwLockOptions};
///
/// let prices = RwLock::anonymous([100_u32; 16], &RwLockOptions::new().kind(RwLockKind::Fair))?;
/// // A peer that was sent the descriptor:
/// let theirs = RwLock::<[u32; 16]>::from_fd(prices.as_fd().try_clone_to_owned().unwrap())?;
///
/// theirs.write()?[3] = 250;
/// assert_eq!(prices.read()?[3], 250);
///
/// // A writer that is prepared for the death of another:
/// match prices.write() {
///     Ok(mut guard) => guard[0] += 1,
///     Err(LockError::OwnerDied(mut guard)) => {
///         *guard = [100; 16]; // whatever makes the value whole again
///         guard.mark_consistent();
///     }
///     Err(LockError::Failed(error)) => return Err(error),
/// }
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Death
/// Of a reader, at any instruction: nobody is told, a writer who waits for it goes on. Of a writer: the next writer is
/// told ([`LockError::OwnerDied`]) and gets the lock to repair the value; until one has, readers are refused with
/// `OwnerDied`, whether they wait already or come later. A writer that dies before it was let in has changed nothing,
/// and nobody is told. A writer that was told and leaves without [`mark_consistent`](WriteGuard::mark_consistent) gives
/// the lock up: `NotRecoverable`, for everyone, for ever. A thread that is only stopped (`SIGSTOP`) holds what it
/// holds, and those who wait without a deadline wait for it.
///
/// # Recursion
/// A thread that holds the lock must not lock it again, in either way: a writer may have come in between, which would
/// wait for the first guard while the second waits for the writer. A wait that cannot end for this reason is refused
/// with `Deadlock`. Turning a read lock into a write lock is not offered for the same reason: two readers who both try
/// wait for each other for ever. Let go, lock for writing, and look again.
///
/// # Limits
/// A thread holds at most 1,024 locks of this crate at a time. For threads of several pid namespaces (containers) see
/// [`RawMutex`](crate::sync::RawMutex). Whoever shares a lock is trusted: it can write the lock,
/// and what the lock guards.
pub struct RwLock<T: ShmSafe> {
    pub(super) words: RwWords,
    pub(super) data: Data<T>,
    class: order::Class,
    kind: RwLockKind,
    readers: usize,
    place: Place,
}

impl<T: ShmSafe> RwLock<T> {
    /// Makes a lock and its value in a segment of their own, without a name.
    ///
    /// # Errors
    /// `InvalidInput` for a number of readers that is not 1 to [`MAX_READERS`]; `OutOfMemory`, `LimitReached`
    /// (descriptors), `System`.
    pub fn anonymous(value: T, options: &RwLockOptions) -> Result<Self> {
        Self::over(Place::anonymous(&options.name, Self::plan(value, options)?)?, &options.name)
    }

    /// The lock whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it guards another type or is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a lock and its value"; value: T; value, &RwLockOptions::new());

    /// [`open_or_create`](Self::open_or_create), made with options if it is not there.
    ///
    /// # Errors
    /// As there, and `InvalidInput` for a number of readers that is not 1 to [`MAX_READERS`].
    pub fn open_or_create_with(name: impl IntoName, value: T, options: &RwLockOptions) -> Result<Self> {
        let name = name.into_name()?;
        Self::over(Place::open_or_create(&name, Self::plan(value, options)?)?, name.as_str())
    }

    fn form() -> Form {
        Form::lock(layout_hash::<T>(), format!("a reader-writer lock of {}", T::LAYOUT))
    }

    fn plan(value: T, options: &RwLockOptions) -> Result<Plan<'_>> {
        let options = options.checked()?;
        let length = Self::len_bytes(options.readers);
        Ok(Plan::new(Self::form(), length, move |segment| Self::make(segment, value, options)))
    }

    /// How many bytes a lock for so many readers takes, with its value.
    pub(crate) fn len_bytes(readers: u32) -> usize {
        data_offset::<T>(readers as usize).saturating_add(size_of::<T>())
    }

    /// Where a lock for so many readers tells lookers how it is.
    pub(crate) fn facts(readers: u32) -> [Fact<'static>; 3] {
        [
            Fact::words("rwlock gate", 0, 2, size_of::<Line>()),
            Fact::halves("rwlock state", line::more_offset(0), 2, 4),
            Fact::words("rwlock reader", GATES_BYTES, readers as usize, size_of::<Line>()),
        ]
    }

    /// Makes a lock where nothing but zeros is, in memory that nobody else has.
    pub(crate) fn make(segment: &Segment, value: T, options: &RwLockOptions) -> Result<()> {
        let facts = Self::facts(options.readers);
        segment.describe(&Details { layout: Some(T::LAYOUT), version: 1, facts: &facts })?;
        let form = FORM | u32::from(options.kind == RwLockKind::Fair);
        line::make(&*segment.view::<Line>(0)?, form, options.readers);
        Data::at(segment, data_offset::<T>(options.readers as usize))?.init(value);
        Ok(())
    }

    pub(crate) fn over(place: Place, name: &str) -> Result<Self> {
        let segment = place.segment();
        let gates = segment.view::<[Line; 2]>(0)?;
        let (form, readers) = line::attach(&gates[0], |form| form & !1 == FORM, MAX_READERS as usize)?;
        let kind = if form & 1 == 0 { RwLockKind::WriterPreferring } else { RwLockKind::Fair };
        for gate in gates.iter() {
            line::admit(&gate.robust);
        }
        let slots = segment.slice::<Line>(GATES_BYTES, readers)?;
        let data = Data::at(segment, data_offset::<T>(readers))?;
        let class = order::Class::of(name, std::ptr::from_ref(&*gates).addr());
        let words = RwWords::new(gates, slots, kind == RwLockKind::Fair);
        Ok(Self { words, data, class, kind, readers, place })
    }

    /// The descriptor to send to peers that shall share the lock.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// Who goes first here.
    #[must_use]
    pub fn kind(&self) -> RwLockKind {
        self.kind
    }

    /// How many can read at a time without being in each other's way.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.readers
    }

    /// The thread that is in the lock as a writer or waits to be the next one, in its own pid namespace, as of a moment
    /// ago.
    #[must_use]
    pub fn writer(&self) -> Option<u32> {
        self.words.writer()
    }

    /// The threads that were reading, or waiting to, a moment ago, each in its own pid namespace.
    #[must_use]
    pub fn reading(&self) -> Vec<u32> {
        self.words.reading().collect()
    }

    /// Locks for reading, waiting as long as it takes.
    ///
    /// # Errors
    /// * `OwnerDied`: a writer died and the value may be half changed; [`write`](Self::write) to repair it.
    /// * `NotRecoverable`: it was never repaired.
    /// * `Deadlock`: this thread holds the lock; or the [order check](order) is on and this order is the reverse of one
    ///   that was seen.
    /// * `LimitReached`: this thread holds as many locks as can be watched over.
    /// * `Corrupted`: the value is no value of `T`. `Unsupported` (no robust lists here), `System`.
    #[track_caller]
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<'_, T>> {
        self.read_until(Until::Forever)
    }

    /// Locks for reading if no writer is inside or waits to be; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`read`](Self::read).
    #[track_caller]
    #[inline]
    pub fn try_read(&self) -> Result<ReadGuard<'_, T>> {
        self.read_until(Until::Now)
    }

    /// Locks for reading, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`read`](Self::read).
    #[track_caller]
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<'_, T>> {
        self.read_until(Until::At(Deadline::after(timeout)))
    }

    /// Locks for writing, waiting as long as it takes.
    ///
    /// # Errors
    /// * [`LockError::OwnerDied`](crate::sync::LockError::OwnerDied) with the guard: the writer before died inside; see
    ///   [there](RwLock#death).
    /// * Otherwise as [`read`](Self::read), without `OwnerDied`.
    #[track_caller]
    #[inline]
    pub fn write(&self) -> LockResult<WriteGuard<'_, T>> {
        self.write_until(Until::Forever)
    }

    /// Locks for writing if nobody holds the lock; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`write`](Self::write).
    #[track_caller]
    #[inline]
    pub fn try_write(&self) -> LockResult<WriteGuard<'_, T>> {
        self.write_until(Until::Now)
    }

    /// Locks for writing, waiting for at most `timeout`, on the monotonic clock. Readers who come while this waits wait
    /// too, and go on if it gives up.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`write`](Self::write).
    #[track_caller]
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<WriteGuard<'_, T>> {
        self.write_until(Until::At(Deadline::after(timeout)))
    }

    #[track_caller]
    #[inline]
    fn read_until(&self, until: Until) -> Result<ReadGuard<'_, T>> {
        if !order::is_on()
            && let Some(thread) = Thread::known()
            && thread.has_room()
            && let Some(held) = self.words.read_at_once(thread)
        {
            return ReadGuard::over(self, thread, held);
        }
        self.read_slowly(until)
    }

    #[track_caller]
    #[cold]
    fn read_slowly(&self, until: Until) -> Result<ReadGuard<'_, T>> {
        let thread = line::thread("lock for reading")?;
        if order::is_on() {
            self.class.check(Location::caller(), !matches!(until, Until::Now))?;
        }
        let held = self.words.read(thread, until)?;
        if order::is_on() {
            self.class.taken(Location::caller());
        }
        ReadGuard::over(self, thread, held)
    }

    #[track_caller]
    #[inline]
    fn write_until(&self, until: Until) -> LockResult<WriteGuard<'_, T>> {
        let thread = line::thread("lock for writing")?;
        if order::is_on() {
            self.class.check(Location::caller(), !matches!(until, Until::Now))?;
        }
        let held = self.words.write(thread, until)?;
        if order::is_on() {
            self.class.taken(Location::caller());
        }
        WriteGuard::over(self, thread, held)
    }

    pub(super) fn given_back(&self) {
        if order::is_on() {
            self.class.given_back();
        }
    }
}

impl<T: ShmSafe> Drop for RwLock<T> {
    fn drop(&mut self) {
        if self.words.is_held_here() {
            // A guard was forgotten: the thread's list of what it holds names this memory.
            std::mem::forget(self.words.clone());
        }
        self.class.forget();
    }
}

impl<T: ShmSafe> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock")
            .field("kind", &self.kind)
            .field("writer", &self.writer())
            .field("reading", &self.reading())
            .finish_non_exhaustive()
    }
}

/// "RW", version 1; the lowest bit tells the fair kind.
const FORM: u32 = 0x5257_0100;

const GATES_BYTES: usize = size_of::<[Line; 2]>();

/// Where the value lies.
const fn data_offset<T: ShmSafe>(readers: usize) -> usize {
    Data::<T>::offset_after(GATES_BYTES + readers * size_of::<Line>())
}

/// A reader-writer lock of `T` and nothing else has this hash.
fn layout_hash<T: ShmSafe>() -> u64 {
    T::LAYOUT.hash() ^ u64::from_le_bytes(*b"rwlock\0\x01")
}
