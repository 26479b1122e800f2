//! Permits that come back: [`Semaphore`].

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::words::{self, PermitWords};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::robust::Thread;
use crate::segment::{Details, Fact};
use crate::sync::line::{self, Line};
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// The largest number of permits.
pub const MAX_PERMITS: u32 = words::MAX_PERMITS as u32;

/// So many threads at a time may have a [`Permit`], in whichever processes they run: a counting semaphore whose permits
/// come back from the dead. With one permit it is a binary semaphore.
///
/// For "so many of us may use this". For "so many things are ready", where one process raises the count and another
/// lowers it, see [`Tokens`](super::Tokens).
///
/// ```
/// use tieline_shm::ErrorKind;
/// use tieline_shm::sync::Semaphore;
///
/// let connections = Semaphore::anonymous("connections", 2)?;
/// // A peer that was sent the descriptor:
/// let theirs = Semaphore::from_fd(connections.as_fd().try_clone_to_owned().unwrap())?;
///
/// let first = connections.acquire()?;
/// let _second = theirs.acquire()?;
/// assert_eq!(connections.try_acquire().unwrap_err().kind(), ErrorKind::WouldBlock);
/// drop(first);
/// let _third = theirs.acquire()?;
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Death
/// Of a holder, at any instruction: its permit is free again at once, and one who waits gets it. Nobody is told: what
/// the permit stands for is for the holder to have left in order. Of one who waits: nobody notices, also if it was about
/// to get the permit. A thread that is only stopped (`SIGSTOP`) keeps its permit.
///
/// # Limits
/// At most [`MAX_PERMITS`] (127: as many as the kernel watches in one sleep beside the bell). Which of those who wait is
/// served first is not promised. Before Linux 5.16 a death is noticed by those who wait up to 20 ms later. A thread holds
/// at most 1,024 permits and locks of this crate at a time. Whoever shares a semaphore is trusted: it can write the
/// permits.
pub struct Semaphore {
    words: PermitWords,
    place: Place,
}

/// One permit; it comes back when this is dropped, or its thread ends. Not to be sent to another thread.
///
/// In a child made by `fork` an inherited permit is none: the parent has it, and dropping it there does nothing.
#[must_use = "the permit is given back when this is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    place: usize,
    not_send: PhantomData<*const ()>,
}

impl Semaphore {
    /// Makes a semaphore in a segment of its own; `label` is for people who look at it.
    ///
    /// # Errors
    /// `InvalidInput` for no permits or more than [`MAX_PERMITS`]; `OutOfMemory`, `LimitReached` (descriptors),
    /// `System`.
    pub fn anonymous(label: &str, permits: u32) -> Result<Self> {
        Self::over(Place::anonymous(label, Self::plan(permits)?)?, label)
    }

    /// The semaphore whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a semaphore"; permits: u32; permits);

    fn form() -> Form {
        Form::lock(LAYOUT_HASH, "a semaphore")
    }

    fn plan(permits: u32) -> Result<Plan<'static>> {
        if !(1..=MAX_PERMITS).contains(&permits) {
            return Err(Error::new("create a semaphore", ErrorKind::InvalidInput)
                .because(format!("it can have 1 to {MAX_PERMITS} permits, not {permits}")));
        }
        Ok(Plan::new(Self::form(), size_of::<Line>() * (1 + permits as usize), move |segment| {
            let facts = [Fact::words("semaphore permit", size_of::<Line>(), permits as usize, size_of::<Line>())];
            segment.describe(&Details { version: 1, facts: &facts, ..Details::default() })?;
            line::make(&*segment.view::<Line>(0)?, FORM, permits);
            Ok(())
        }))
    }

    fn over(place: Place, _: &str) -> Result<Self> {
        let segment = place.segment();
        let bell = segment.view::<Line>(0)?;
        let (_, permits) = line::attach(&bell, |form| form == FORM, words::MAX_PERMITS)?;
        let lines = segment.slice::<Line>(size_of::<Line>(), permits)?;
        Ok(Self { words: PermitWords::new(bell, lines), place })
    }

    /// The descriptor to send to peers that shall share the semaphore.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// How many permits there are, held or not.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.words.permits()
    }

    /// How many permits nobody held a moment ago.
    #[must_use]
    pub fn available(&self) -> usize {
        self.words.available()
    }

    /// Takes a permit, waiting as long as it takes.
    ///
    /// A thread that holds all permits itself waits for ever.
    ///
    /// # Errors
    /// `LimitReached`: this thread holds as many permits and locks as can be watched over. `Unsupported` (no robust
    /// lists here), `System`.
    #[doc(alias = "sem_wait")]
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Until::Forever)
    }

    /// Takes a permit if one is free; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`acquire`](Self::acquire).
    #[doc(alias = "sem_trywait")]
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Until::Now)
    }

    /// Takes a permit, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`acquire`](Self::acquire).
    #[doc(alias = "sem_timedwait")]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Until::At(Deadline::after(timeout)))
    }

    #[inline]
    fn acquire_until(&self, until: Until) -> Result<Permit<'_>> {
        let thread = line::thread("acquire a permit")?;
        let place = self.words.acquire(thread, until)?;
        Ok(Permit { semaphore: self, place, not_send: PhantomData })
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        // In a forked child the thread is another one, and holds nothing.
        if let Ok(thread) = Thread::current() {
            self.semaphore.words.release(thread, self.place);
        }
    }
}

impl Drop for Semaphore {
    fn drop(&mut self) {
        if self.words.is_held_here() {
            // A permit was forgotten: the thread's list of what it holds names this memory.
            std::mem::forget(self.words.clone());
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("place", &self.place).finish_non_exhaustive()
    }
}

/// "SE", version 1.
const FORM: u32 = 0x5345_0100;

/// What a segment says whose body is a semaphore.
const LAYOUT_HASH: u64 = u64::from_le_bytes(*b"semaphor");
