//! The priority-inheritance lock, whose word the kernel and the threads change together.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self as kernel, OWNER_DIED, WAITERS};

use super::{Clock, Deadline, Scope};
use crate::Region;
use crate::error::{During, Error, ErrorKind, Result};

/// A lock whose owner runs at the highest priority of those who wait for it, along chains of locks and across
/// processes. The kernel defines the word's values.
///
/// Zero is free. Otherwise the low 30 bits are the owner's thread id, bit 31 says that others wait, bit 30 that an
/// owner died. Every call here enters the kernel; a lock built on it takes the free word itself, by exchanging zero
/// for its thread id, and calls [`lock`](Self::lock) only if that fails, and likewise to unlock.
///
/// The caller of [`unlock`](Self::unlock) must be the thread that locked. Thread ids are those of the owner's pid
/// namespace: do not share such a word between containers, where the kernel would lend priority to a stranger or
/// find nobody.
///
/// # Death of the owner
/// If somebody waits while the owner dies, the first waiter gets the lock and is told [`PiLocked::OwnerDied`]. If
/// nobody waits, the dead owner's id stays in the word and the next `lock` fails with `NotFound` (`ESRCH`): whoever
/// then exchanges the dead id for its own owns the lock.
///
/// Sources: futex(2), section "Priority-inheritance futexes"; the kernel's `locking/pi-futex.rst`.
#[derive(Clone, Copy, Debug)]
pub struct PiFutex<'a> {
    word: &'a AtomicU32,
    scope: Scope,
}

/// How a priority-inheritance lock came into our hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the lock is held now, unless the time ran out"]
pub enum PiLocked {
    /// We own it.
    Clean,
    /// We own it; the previous owner died while it held it, so what it protects may be half-changed. The word's
    /// died-bit stays set until the lock is unlocked.
    OwnerDied,
    /// We do not own it: the deadline passed first.
    TimedOut,
}

const LOCK: &str = "lock priority-inheritance futex";
const TRY_LOCK: &str = "try to lock priority-inheritance futex";

impl<'a> PiFutex<'a> {
    /// A lock for threads of this process. The word must be zero, or hold what these calls left in it.
    #[must_use]
    pub const fn private(word: &'a AtomicU32) -> Self {
        Self { word, scope: Scope::Private }
    }

    /// A lock in memory that other processes map too.
    #[must_use]
    pub const fn shared(word: &'a AtomicU32) -> Self {
        Self { word, scope: Scope::Shared }
    }

    /// The shared lock at `offset` of a region.
    ///
    /// # Errors
    /// As [`Region::atomic_u32`].
    pub fn in_region(region: &'a Region, offset: usize) -> Result<Self> {
        region.atomic_u32(offset).map(Self::shared)
    }

    /// The word itself.
    #[must_use]
    pub const fn word(self) -> &'a AtomicU32 {
        self.word
    }

    /// The thread id of the owner as the word tells it, dead or alive; `None` if the lock is free.
    #[must_use]
    pub fn owner(self) -> Option<u32> {
        let owner = self.word.load(Ordering::Relaxed) & !(WAITERS | OWNER_DIED);
        (owner != 0).then_some(owner)
    }

    /// Locks, waiting as long as it takes.
    ///
    /// A signal handler that runs meanwhile does not end the wait.
    ///
    /// # Errors
    /// * `Deadlock` (`EDEADLK`): the caller owns it already, or waiting would close a cycle.
    /// * `NotFound` (`ESRCH`): the owner's thread does not exist; see "Death of the owner" above.
    /// * `PermissionDenied` (`EPERM`): the id in the word is a kernel thread's: the word was written by a stranger,
    ///   or from another pid namespace.
    /// * `InvalidInput`: the word and the kernel's record of it disagree, or plain waiters sleep on it.
    /// * `Unsupported`, `OutOfMemory`.
    #[doc(alias = "FUTEX_LOCK_PI")]
    pub fn lock(self) -> Result<PiLocked> {
        self.lock_with(None)
    }

    /// [`lock`](Self::lock) for at most `timeout`; the time running out is [`PiLocked::TimedOut`].
    ///
    /// # Errors
    /// As `lock`.
    pub fn lock_timeout(self, timeout: Duration) -> Result<PiLocked> {
        self.lock_with(Some(Deadline::after(timeout)))
    }

    /// [`lock`](Self::lock) until `deadline`.
    ///
    /// Kernels before 5.14 know only deadlines of the realtime clock here; there a monotonic one is converted, and a
    /// step of the clock during the wait moves it.
    ///
    /// # Errors
    /// As `lock`.
    #[doc(alias = "FUTEX_LOCK_PI2")]
    pub fn lock_until(self, deadline: Deadline) -> Result<PiLocked> {
        self.lock_with(Some(deadline))
    }

    fn lock_with(self, deadline: Option<Deadline>) -> Result<PiLocked> {
        loop {
            match self.lock_once(deadline) {
                Ok(()) => return Ok(self.as_left_by_the_owner()),
                Err(Errno::TIMEDOUT) => return Ok(PiLocked::TimedOut),
                // EAGAIN: the owner is just exiting, and the kernel has not yet written so into the word.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(explain(LOCK, errno)),
            }
        }
    }

    fn lock_once(self, deadline: Option<Deadline>) -> Result<(), Errno> {
        let Some(deadline) = deadline else {
            return kernel::lock_pi(self.word, self.scope.flags(), None);
        };
        if deadline.clock() == Clock::Realtime {
            // This older call counts on the realtime clock without being told.
            return kernel::lock_pi(self.word, self.scope.flags(), Some(deadline.timespec()));
        }
        match kernel::lock_pi2(self.word, self.scope.flags(), Some(deadline.timespec())) {
            Err(Errno::NOSYS) => {
                let deadline = deadline.on_realtime();
                kernel::lock_pi(self.word, self.scope.flags(), Some(deadline.timespec()))
            }
            answer => answer,
        }
    }

    /// Locks if that is possible at once. Unlike an exchange in user space this also finds a lock whose owner died.
    ///
    /// # Errors
    /// `WouldBlock` if somebody owns it; otherwise as [`lock`](Self::lock).
    #[doc(alias = "FUTEX_TRYLOCK_PI")]
    pub fn try_lock(self) -> Result<PiLocked> {
        loop {
            match kernel::trylock_pi(self.word, self.scope.flags()) {
                Ok(true) => return Ok(self.as_left_by_the_owner()),
                Ok(false) => return Err(Error::new(TRY_LOCK, Errno::AGAIN)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(explain(TRY_LOCK, errno)),
            }
        }
    }

    /// Unlocks and, if others wait, makes the one of the highest priority the owner.
    ///
    /// # Errors
    /// `PermissionDenied` if the caller is not the owner.
    #[doc(alias = "FUTEX_UNLOCK_PI")]
    pub fn unlock(self) -> Result<()> {
        loop {
            match kernel::unlock_pi(self.word, self.scope.flags()) {
                Err(Errno::INTR | Errno::AGAIN) => {}
                answer => return answer.during("unlock priority-inheritance futex"),
            }
        }
    }

    fn as_left_by_the_owner(self) -> PiLocked {
        if self.word.load(Ordering::Relaxed) & OWNER_DIED == 0 { PiLocked::Clean } else { PiLocked::OwnerDied }
    }
}

fn explain(operation: &'static str, errno: Errno) -> Error {
    let error = Error::new(operation, errno);
    match errno {
        Errno::AGAIN => error.hint("somebody owns it"),
        Errno::SRCH => error.hint("the word names a thread that is dead, or of another pid namespace"),
        Errno::PERM => {
            error.hint("the word names a kernel thread: it was not written by a thread of this pid namespace")
        }
        Errno::NOSYS => error.sorted_as(ErrorKind::Unsupported),
        _ => error,
    }
}
