//! Mutexes and the proof of holding one.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use libc::{pthread_mutex_t, pthread_mutexattr_t, timespec};
use rustix::io::Errno;

use super::check;
use super::placed::{Placed, Refusal, Sort};
use super::time::{Lookup, lock_until};
use crate::futex::Deadline;
use crate::sys::region::RawRegion;

pub(crate) type Mutex<'r> = Placed<'r, pthread_mutex_t>;

// SAFETY: the C library's own type: an array of bytes and words, 8-aligned at most.
unsafe impl Sort for pthread_mutex_t {
    const NUMBER: u8 = 1;
    const KEEPS_THREAD_IDS: bool = true;
}

// SAFETY: glibc declares it so, and no other library has this name.
static CLOCK_LOCK: Lookup<pthread_mutex_t> = unsafe { Lookup::of(c"pthread_mutex_clocklock") };

/// What happens when the owner locks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Recursive,
    ErrorChecking,
}

/// How a mutex is made; kept in the header as option bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) kind: Kind,
    pub(crate) robust: bool,
    pub(crate) inherits_priority: bool,
}

impl Traits {
    const ROBUST: u32 = 1 << 8;
    const INHERITS: u32 = 1 << 9;

    pub(crate) fn bits(self) -> u32 {
        let kind = match self.kind {
            Kind::Normal => 0,
            Kind::Recursive => 1,
            Kind::ErrorChecking => 2,
        };
        kind | if self.robust { Self::ROBUST } else { 0 } | if self.inherits_priority { Self::INHERITS } else { 0 }
    }

    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        let kind = match bits & !(Self::ROBUST | Self::INHERITS) {
            0 => Kind::Normal,
            1 => Kind::Recursive,
            2 => Kind::ErrorChecking,
            _ => return None,
        };
        Some(Self { kind, robust: bits & Self::ROBUST != 0, inherits_priority: bits & Self::INHERITS != 0 })
    }
}

impl<'r> Placed<'r, pthread_mutex_t> {
    pub(crate) fn create_mutex(region: &'r RawRegion, offset: usize, traits: Traits) -> Result<Self, Refusal> {
        Self::create(region, offset, traits.bits(), |mutex| {
            let attributes = Attributes::new(traits)?;
            // SAFETY: `mutex` is the address of a zeroed object of ours alone (`create`); the attributes are
            // initialised.
            check(unsafe { libc::pthread_mutex_init(mutex, &raw const attributes.0) })
        })
    }

    pub(crate) fn attach_mutex(region: &'r RawRegion, offset: usize) -> Result<Self, Refusal> {
        Self::attach(region, offset)
    }

    pub(crate) fn lock(&self) -> Result<(Held<'_>, bool), Errno> {
        // SAFETY: the object is initialised and mapped for as long as `self` is.
        self.held(check(unsafe { libc::pthread_mutex_lock(self.as_ptr()) }))
    }

    /// Says `EBUSY` whoever holds it, this thread included.
    pub(crate) fn try_lock(&self) -> Result<(Held<'_>, bool), Errno> {
        let answer = if self.options() & (Traits::ROBUST | Traits::INHERITS) == Traits::ROBUST {
            // glibc's try function leaves a robust mutex that is beyond recovery locked by the caller, so that the
            // next to lock waits for ever instead of being told (seen in 2.36). Its deadline function does it right,
            // and with a time before the epoch answers at once, without asking the kernel.
            let passed = timespec { tv_sec: -1, tv_nsec: 0 };
            // SAFETY: as for `lock`; the time lives through the call.
            check(unsafe { libc::pthread_mutex_timedlock(self.as_ptr(), &raw const passed) })
        } else {
            // SAFETY: as for `lock`.
            check(unsafe { libc::pthread_mutex_trylock(self.as_ptr()) })
        };
        match answer {
            Err(Errno::TIMEDOUT | Errno::DEADLK) => Err(Errno::BUSY),
            answer => self.held(answer),
        }
    }

    pub(crate) fn lock_until(&self, deadline: Deadline) -> Result<(Held<'_>, bool), Errno> {
        // SAFETY: as for `lock`; both functions take an initialised mutex.
        self.held(unsafe { lock_until(self.as_ptr(), deadline, &CLOCK_LOCK, libc::pthread_mutex_timedlock) })
    }

    /// A robust lock is in the thread's list of held locks, by address: until it is unlocked, the memory must stay,
    /// even if the proof of holding it is forgotten and never dropped.
    fn pin(&self) {
        if self.options() & Traits::ROBUST != 0 {
            self.region().pin();
        }
    }

    fn unpin(&self) {
        if self.options() & Traits::ROBUST != 0 {
            self.region().unpin();
        }
    }

    /// The lock, and whether its previous owner died, out of the answer of a function that locks.
    fn held(&self, answer: Result<(), Errno>) -> Result<(Held<'_>, bool), Errno> {
        let owner_died = answer == Err(Errno::OWNERDEAD);
        if !owner_died {
            answer?;
        }
        self.pin();
        Ok((Held { mutex: self, thread: PhantomData }, owner_died))
    }
}

/// Proof that this thread holds the mutex; dropping it unlocks. Not `Send`: the owner is the thread.
pub(crate) struct Held<'m> {
    mutex: &'m Mutex<'m>,
    thread: PhantomData<*mut ()>,
}

impl Held<'_> {
    /// Says that what a dead owner left half-done has been repaired.
    pub(crate) fn mark_consistent(&self) -> Result<(), Errno> {
        // SAFETY: the mutex is initialised, and we hold it.
        check(unsafe { libc::pthread_mutex_consistent(self.mutex.as_ptr()) })
    }

    pub(super) fn as_ptr(&self) -> *mut pthread_mutex_t {
        self.mutex.as_ptr()
    }

    /// The mutex is not ours any more, and was not unlocked by us.
    pub(super) fn lost(self) {
        self.mutex.unpin();
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: the mutex is initialised, and this thread holds it: `Held` is made only after locking, cannot leave
        // the thread, and is dropped once. (A child after fork is another owner: all kinds but `Normal` refuse it.)
        let _ = unsafe { libc::pthread_mutex_unlock(self.mutex.as_ptr()) };
        self.mutex.unpin();
    }
}

struct Attributes(pthread_mutexattr_t);

impl Attributes {
    fn new(traits: Traits) -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the address of space for attributes.
        check(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call before.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let kind = match traits.kind {
            Kind::Normal => libc::PTHREAD_MUTEX_NORMAL,
            Kind::Recursive => libc::PTHREAD_MUTEX_RECURSIVE,
            Kind::ErrorChecking => libc::PTHREAD_MUTEX_ERRORCHECK,
        };
        let it = &raw mut attributes.0;
        // SAFETY: initialised attributes, a value of the documented set; likewise below.
        check(unsafe { libc::pthread_mutexattr_setpshared(it, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        check(unsafe { libc::pthread_mutexattr_settype(it, kind) })?;
        if traits.robust {
            // SAFETY: as above.
            check(unsafe { libc::pthread_mutexattr_setrobust(it, libc::PTHREAD_MUTEX_ROBUST) })?;
        }
        if traits.inherits_priority {
            // SAFETY: as above.
            check(unsafe { libc::pthread_mutexattr_setprotocol(it, libc::PTHREAD_PRIO_INHERIT) })?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used again.
        let _ = unsafe { libc::pthread_mutexattr_destroy(&raw mut self.0) };
    }
}
