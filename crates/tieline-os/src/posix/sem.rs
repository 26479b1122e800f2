//! POSIX semaphores: a count that processes take from and give to, and wait for.
//!
//! A [`NamedSemaphore`] is a file of 32 bytes, `/dev/shm/sem.name`; an [`UnnamedSemaphore`] is 32 bytes anywhere in
//! shared memory. Both have the byte layout of glibc on 64-bit machines, so a C program there can hold the other end
//! with `sem_open` or a `sem_t *`; other C libraries and 32-bit glibc have other layouts.
//!
//! The invariant is the count's alone: it never goes below zero nor past [`VALUE_MAX`]. It has no owner. A process that
//! dies after taking gives nothing back, one that dies while waiting leaves only a trace that makes later posts
//! a little slower. (Killed in the very moment it was woken, it leaves its unit there for whoever comes next, and one
//! who sleeps already sees it at the next post.) If holders may die, use a lock that knows its owner.
//!
//! Taking and giving touch no system call unless somebody must sleep or be woken. The operations are done here and not
//! by the C library, because that ends the process when it finds bytes in a semaphore that make no sense, and a
//! peer could put them there. Here such a peer can break the count, and nothing else.
//!
//! Sources: POSIX.1-2024 `sem_open`, `sem_init`, `sem_post`, `sem_wait`, `sem_clockwait`; Linux `sem_overview(7)`,
//! futex(2).

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;

use super::Listed;
use super::name::{self, Name};
use crate::error::{Error, Result};
use crate::mapping::{MapOptions, Mapping};
use crate::wait::{Wait, timespec};
use crate::{Access, Mode, Region};

/// The largest count, 2^31 - 1.
#[doc(alias = "SEM_VALUE_MAX")]
pub const VALUE_MAX: u32 = i32::MAX.cast_unsigned();

const PREFIX: &str = "sem.";

/// One waiter in the upper half of the first word; the count is the lower half.
const WAITER: u64 = 1 << 32;

/// Where in the first word the kernel finds the count to sleep on.
const COUNT_OFFSET: usize = if cfg!(target_endian = "big") { 4 } else { 0 };

/// Where a C library finds out whether other processes use the semaphore, and what it finds there if they do.
const SHARED_OFFSET: usize = 8;
const SHARED: u32 = 128;

/// A semaphore in shared memory that other processes use too.
///
/// It borrows the region; copies of it are the same semaphore.
///
/// Safe even though peers write the same bytes at will: all access is by atomics, any bit pattern is some count and
/// some number of waiters, and the kernel is given nothing from the memory but the address. A hostile peer can make
/// waits last or not, as it can by posting or not posting.
///
/// ```
/// use tieline_os::mapping::Mapping;
/// use tieline_os::posix::sem::UnnamedSemaphore;
///
/// let memory = Mapping::anonymous(4096)?;
/// let free_slots = UnnamedSemaphore::init(&memory, 64, 1)?;
/// free_slots.wait()?;
/// assert!(free_slots.try_wait().unwrap_err().is_would_block());
/// UnnamedSemaphore::attach(&memory, 64)?.post()?; // as another process would
/// assert_eq!(free_slots.value(), 1);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "sem_t", alias = "sem_destroy")]
#[derive(Clone, Copy, Debug)]
pub struct UnnamedSemaphore<'region> {
    /// Waiters in the upper half, count in the lower.
    word: &'region AtomicU64,
    /// The count again, as the kernel's futex calls take it. Never loaded or stored through: only its address counts.
    count: &'region AtomicU32,
}

impl<'region> UnnamedSemaphore<'region> {
    /// How many bytes it takes.
    pub const SIZE: usize = 32;

    /// Makes a semaphore of this value `offset` bytes into the region. Who uses one there already is cut off, and
    /// who sleeps on it sleeps on: initialise before you share.
    ///
    /// # Errors
    /// `InvalidInput`: the offset is not a multiple of eight, 32 bytes from it do not lie within the region, or the
    /// value is more than [`VALUE_MAX`]; `PermissionDenied`: the region is read-only.
    #[doc(alias = "sem_init")]
    pub fn init(region: &'region Region, offset: usize, value: u32) -> Result<Self> {
        const INIT: &str = "initialise semaphore";
        check_value(INIT, value)?;
        let semaphore = Self::attach(region, offset)?;
        region.fill(offset + SHARED_OFFSET, Self::SIZE - SHARED_OFFSET, 0)?;
        region.write(offset + SHARED_OFFSET, &SHARED.to_ne_bytes())?;
        // Release: who sees the value sees the rest, should a peer look before it was told.
        semaphore.word.store(value.into(), Ordering::Release);
        Ok(semaphore)
    }

    /// Uses the semaphore that somebody has made `offset` bytes into the region. What lies there is not checked: any
    /// bytes are some semaphore.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    pub fn attach(region: &'region Region, offset: usize) -> Result<Self> {
        region.check("attach to semaphore", offset, Self::SIZE)?;
        Ok(Self { word: region.atomic_u64(offset)?, count: region.atomic_u32(offset + COUNT_OFFSET)? })
    }

    /// Adds one to the count and wakes one waiter, if there is one. Never blocks; safe in a signal handler.
    ///
    /// # Errors
    /// `TooLarge` if the count is [`VALUE_MAX`].
    #[doc(alias = "sem_post")]
    #[inline]
    pub fn post(&self) -> Result<()> {
        self.add_one().map_err(|errno| Error::new(POST, errno))
    }

    /// Takes one from the count; waits while it is zero.
    ///
    /// # Errors
    /// None that a shared mapping can cause.
    #[doc(alias = "sem_wait")]
    #[inline]
    pub fn wait(&self) -> Result<()> {
        self.take(Wait::Forever, Interruption::Ignored).map_err(|errno| Error::new(WAIT, errno))
    }

    /// Takes one from the count if it is not zero. Never blocks; safe in a signal handler.
    ///
    /// # Errors
    /// `WouldBlock` if it is zero.
    #[doc(alias = "sem_trywait")]
    #[inline]
    pub fn try_wait(&self) -> Result<()> {
        self.take(Wait::Never, Interruption::Ignored).map_err(|errno| Error::new(WAIT, errno))
    }

    /// Takes one from the count; waits for it at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`.
    #[doc(alias = "sem_timedwait")]
    #[doc(alias = "sem_clockwait")]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.take_timeout(timeout, Interruption::Ignored)
    }

    /// As [`wait`](Self::wait), but a signal handler that runs meanwhile ends it. As in C, a handler installed to
    /// restart calls (`SA_RESTART`) does not.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait_interruptible(&self) -> Result<()> {
        self.take(Wait::Forever, Interruption::Ends).map_err(|errno| Error::new(WAIT, errno))
    }

    /// As [`wait_timeout`](Self::wait_timeout), but a signal handler that runs meanwhile ends it. As in C, that
    /// is so even for a handler installed to restart calls (`SA_RESTART`), because there is a deadline.
    ///
    /// # Errors
    /// `Interrupted`, `TimedOut`.
    pub fn wait_timeout_interruptible(&self, timeout: Duration) -> Result<()> {
        self.take_timeout(timeout, Interruption::Ends)
    }

    /// The count, now; zero if somebody waits. Others may change it before you look at the answer.
    #[doc(alias = "sem_getvalue")]
    #[must_use]
    pub fn value(&self) -> u32 {
        count_of(self.word.load(Ordering::Relaxed))
    }

    /// How many wait, now. Waiters that were killed are counted until the semaphore is made anew.
    #[must_use]
    pub fn waiters(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) >> 32) as u32
    }

    #[inline]
    fn add_one(&self) -> Result<(), Errno> {
        // Relaxed: only a guess for the exchange, which fails if it is wrong.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if count_of(word) >= VALUE_MAX {
                return Err(Errno::OVERFLOW);
            }
            // Release [post]: what was done before posting is seen by whoever takes this unit.
            match self.word.compare_exchange_weak(word, word + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) if word < WAITER => return Ok(()),
                // A wake can fail only where there is nobody to wake.
                Ok(_) => return futex::wake(self.count, futex::Flags::empty(), 1).map(drop),
                Err(now) => word = now,
            }
        }
    }

    fn take_timeout(&self, timeout: Duration, interruption: Interruption) -> Result<()> {
        // The clock is asked only if there is something to wait for.
        if self.take_if_any(0) {
            return Ok(());
        }
        self.take(Wait::timeout(timeout), interruption).map_err(|errno| Error::new(WAIT, errno))
    }

    #[inline]
    fn take(&self, wait: Wait, interruption: Interruption) -> Result<(), Errno> {
        if self.take_if_any(0) {
            return Ok(());
        }
        if matches!(wait, Wait::Never) {
            return Err(Errno::AGAIN);
        }
        // Relaxed: the count of waiters and the count share a word, so a poster cannot see one without the other.
        self.word.fetch_add(WAITER, Ordering::Relaxed);
        let taken = self.sleep_until_taken(wait, interruption);
        if taken.is_err() {
            self.word.fetch_sub(WAITER, Ordering::Relaxed);
        }
        taken
    }

    /// Takes one and ends our being counted as a waiter, in one step.
    fn sleep_until_taken(&self, wait: Wait, interruption: Interruption) -> Result<(), Errno> {
        while !self.take_if_any(WAITER) {
            let timeout = wait.remaining().map(timespec);
            match futex::wait(self.count, futex::Flags::empty(), 0, timeout.as_ref()) {
                // Woken, or the count was not zero any more.
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(Errno::INTR) if interruption == Interruption::Ignored => {}
                Err(Errno::TIMEDOUT) if !wait.is_over() => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Takes one, and `also` from the whole word, if the count is not zero.
    #[inline]
    fn take_if_any(&self, also: u64) -> bool {
        // Relaxed: as in `add_one`.
        let mut word = self.word.load(Ordering::Relaxed);
        while count_of(word) != 0 {
            // Wrapping, because a peer may have cleared the waiters under us.
            let less = word.wrapping_sub(1 + also);
            // Acquire [post]: what the poster did before is ours to see.
            match self.word.compare_exchange_weak(word, less, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }
}

const POST: &str = "post semaphore";
const WAIT: &str = "wait for semaphore";

/// Whether a signal handler ends a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interruption {
    Ignored,
    Ends,
}

fn count_of(word: u64) -> u32 {
    word as u32
}

fn check_value(operation: &'static str, value: u32) -> Result<()> {
    if value > VALUE_MAX {
        return Err(Error::invalid(operation, format!("{value} is more than the largest count, {VALUE_MAX}")));
    }
    Ok(())
}

/// A semaphore with a name.
///
/// Dropping it lets go of the memory; the semaphore keeps its name and count until [`unlink`](Self::unlink). Who may
/// write its file may also cut it to nothing, which ends everyone who uses it by `SIGBUS`: give it only to those you
/// trust (the default mode is the owner's).
///
/// ```
/// use tieline_os::Mode;
/// use tieline_os::posix::sem::NamedSemaphore;
///
/// let name = format!("/tieline-example-{}", std::process::id());
/// let ready = NamedSemaphore::create(&name, 0, Mode::OWNER)?;
/// NamedSemaphore::open(&name)?.post()?;
/// ready.wait()?;
/// NamedSemaphore::unlink(&name)?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "sem_close")]
#[derive(Debug)]
pub struct NamedSemaphore {
    memory: Mapping,
}

impl NamedSemaphore {
    /// Makes a new semaphore of this value. The umask is taken off `mode`; it needs reading and writing to be opened.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidInput`: the name is not `/name` with at most 251 bytes after the slash, or the value is
    /// more than [`VALUE_MAX`]; `LimitReached`, `OutOfMemory`; `Unsupported` without a tmpfs on `/dev/shm`.
    #[doc(alias = "sem_open")]
    pub fn create(name: impl AsRef<OsStr>, value: u32, mode: Mode) -> Result<Self> {
        const CREATE: &str = "create semaphore";
        let name = Name::new(CREATE, name.as_ref(), PREFIX)?;
        check_value(CREATE, value)?;
        let mut bytes = [0; UnnamedSemaphore::SIZE];
        bytes[..8].copy_from_slice(&u64::from(value).to_ne_bytes());
        bytes[SHARED_OFFSET..][..4].copy_from_slice(&SHARED.to_ne_bytes());
        let fd = name.create_file(CREATE, mode, |fd| match rustix::io::write(fd, &bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(Error::new(CREATE, Errno::NOSPC)),
            Err(errno) => Err(Error::new(CREATE, errno)),
        })?;
        Self::map(CREATE, &name, fd)
    }

    /// Opens an existing semaphore.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`; `InvalidInput`: the name is wrong, or its file is no semaphore.
    #[doc(alias = "sem_open")]
    pub fn open(name: impl AsRef<OsStr>) -> Result<Self> {
        const OPEN: &str = "open semaphore";
        let name = Name::new(OPEN, name.as_ref(), PREFIX)?;
        let fd = name.open_file(OPEN, Access::ReadWrite)?;
        Self::map(OPEN, &name, fd)
    }

    /// Opens the semaphore, or creates it; value and mode count only if it is created.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create`](Self::create), without `NotFound` and `AlreadyExists`.
    #[doc(alias = "sem_open")]
    pub fn open_or_create(name: impl AsRef<OsStr>, value: u32, mode: Mode) -> Result<Self> {
        let name = name.as_ref();
        // A value that could never be is refused whether it would count or not.
        check_value("create semaphore", value)?;
        name::open_or_create(|| Self::open(name), || Self::create(name, value, mode))
    }

    fn map(operation: &'static str, name: &Name, fd: std::os::fd::OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::new(operation, errno).on(name))?;
        if stat.st_size != UnnamedSemaphore::SIZE as i64 {
            let why = format!("its file has {} bytes, and a semaphore has {}", stat.st_size, UnnamedSemaphore::SIZE);
            return Err(Error::invalid(operation, why).on(name));
        }
        let memory = Mapping::of(fd, &MapOptions::new().len(UnnamedSemaphore::SIZE)).map_err(|error| error.on(name))?;
        Ok(Self { memory })
    }

    /// Removes the name. Who has the semaphore open goes on with it; the same name can be created anew.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` unless it is ours (or we are root); `InvalidInput` for a wrong name.
    #[doc(alias = "sem_unlink")]
    pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
        const UNLINK: &str = "unlink semaphore";
        Name::new(UNLINK, name.as_ref(), PREFIX)?.unlink_file(UNLINK)
    }

    /// All named semaphores of this machine (or container), by name, whoever owns them.
    ///
    /// # Errors
    /// `NotFound` without `/dev/shm`.
    pub fn list() -> Result<Vec<Listed>> {
        name::list("list semaphores", |file| file.strip_prefix(PREFIX.as_bytes()))
    }

    /// The same semaphore without its name, for code that takes either sort.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "`map` has seen to it that the semaphore fits")]
    pub fn as_unnamed(&self) -> UnnamedSemaphore<'_> {
        UnnamedSemaphore::attach(&self.memory, 0).expect("the mapping is writable, page-aligned and has 32 bytes")
    }

    /// See [`UnnamedSemaphore::post`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "sem_post")]
    pub fn post(&self) -> Result<()> {
        self.as_unnamed().post()
    }

    /// See [`UnnamedSemaphore::wait`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "sem_wait")]
    pub fn wait(&self) -> Result<()> {
        self.as_unnamed().wait()
    }

    /// See [`UnnamedSemaphore::try_wait`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "sem_trywait")]
    pub fn try_wait(&self) -> Result<()> {
        self.as_unnamed().try_wait()
    }

    /// See [`UnnamedSemaphore::wait_timeout`].
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "sem_clockwait")]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.as_unnamed().wait_timeout(timeout)
    }

    /// See [`UnnamedSemaphore::wait_interruptible`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_interruptible(&self) -> Result<()> {
        self.as_unnamed().wait_interruptible()
    }

    /// See [`UnnamedSemaphore::wait_timeout_interruptible`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_timeout_interruptible(&self, timeout: Duration) -> Result<()> {
        self.as_unnamed().wait_timeout_interruptible(timeout)
    }

    /// See [`UnnamedSemaphore::value`].
    #[doc(alias = "sem_getvalue")]
    #[must_use]
    pub fn value(&self) -> u32 {
        self.as_unnamed().value()
    }

    /// See [`UnnamedSemaphore::waiters`].
    #[must_use]
    pub fn waiters(&self) -> u32 {
        self.as_unnamed().waiters()
    }
}
