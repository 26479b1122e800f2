//! The lock without data: [`RawMutex`].

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::core::{self, LOCK, Taken};
use super::inheriting;
use super::options::{MutexKind, MutexOptions};
use super::spins::Spins;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::raw::robust::{RobustWord, Thread, is_held_here};
use crate::raw::{View, Words};
use crate::segment::{Details, Fact};
use crate::sync::error::{LockError, LockResult};
use crate::sync::line;
use crate::sync::order;
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// A lock in shared memory, as it lies there: 64 bytes. See `docs/formats/shm-locks.md`.
#[repr(C, align(64))]
pub(in crate::sync) struct MutexWords {
    robust: RobustWord,
    /// [`FORM`] and what the options say; written once by the maker.
    form: AtomicU32,
    _reserved: [AtomicU32; 5],
}

// SAFETY: repr(C), 40 + 4 + 20 bytes of atomics, no padding.
unsafe impl Words for MutexWords {}

impl MutexWords {
    /// Where a lock at the start of a segment's body tells lookers who has it.
    pub(in crate::sync) const FACTS: [Fact<'static>; 2] = [
        Fact::word("mutex", std::mem::offset_of!(Self, robust)),
        Fact::halves("mutex form", std::mem::offset_of!(Self, form), 1, 4),
    ];
}

const ATTACH: &str = "attach to a lock";

/// Upper half of `form`: "MX", and version 1.
const FORM: u32 = 0x4d58_0100;
const INHERITS: u32 = 4;
const KINDS: [MutexKind; 3] = [MutexKind::Normal, MutexKind::Recursive, MutexKind::ErrorChecking];

/// A lock without data, for what lies elsewhere; see [`Mutex`](super::Mutex) for the lock with its data.
///
/// It guards by agreement. It works between all threads of all processes that have the segment: send
/// [`as_fd`](Self::as_fd) to a peer, which makes its own handle by [`from_fd`](Self::from_fd), or let a child inherit
/// it. The handle may be shared by threads. Dropping it does not unlock; a guard that was forgotten keeps the lock, and
/// the memory stays mapped.
///
/// # Death of the holder
/// Death of a thread while it holds the lock (of the process, or of the thread alone), at any instruction, gives the
/// lock to the next who asks, with word of it: [`LockError::OwnerDied`]. If many wait, one is told and must repair; see
/// [`RawMutexGuard::mark_consistent`]. A thread that is only stopped (`SIGSTOP`) holds what it holds.
///
/// # Limits
/// A thread holds at most 1,024 locks of this crate at a time.
///
/// Threads of several pid namespaces (containers) may share a lock, unless it inherits priorities, although each
/// namespace has numbers of its own. Those who wait then look every 5 ms, too. A gap remains, as with every lock of this
/// kind: two threads that have the same number, each in its own namespace, and one killed in the few instructions in
/// which it takes the lock or gives it back while the other takes it: then the living one's lock is taken for a dead
/// one's. A process that makes a pid namespace and forks into it opens its locks anew there.
pub struct RawMutex {
    words: View<MutexWords>,
    kind: MutexKind,
    inherits: bool,
    spins: Spins,
    class: order::Class,
    /// None if the lock lies in a structure that keeps its place itself.
    place: Option<Place>,
}

/// The lock is held as long as this lives. Not to be sent to another thread.
///
/// In a child made by `fork` an inherited guard is no guard: the parent holds the lock, and dropping it here does
/// nothing.
#[must_use = "the lock is given back when this is dropped"]
pub struct RawMutexGuard<'a> {
    lock: &'a RawMutex,
    me: Thread,
    not_send: PhantomData<*const ()>,
}

impl RawMutex {
    /// Makes a lock in a segment of its own, without a name.
    ///
    /// # Errors
    /// `OutOfMemory`, `LimitReached` (descriptors), `System`.
    pub fn anonymous(options: &MutexOptions) -> Result<Self> {
        Self::over(Place::anonymous(&options.name, Self::plan(options)?)?, &options.name)
    }

    /// The lock whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is the segment of something else; `Corrupted` if it is no segment of ours or not as one is
    /// left by a maker.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a lock"; options: &MutexOptions; options);

    fn form() -> Form {
        Form::lock(LAYOUT_HASH, "a mutex without a value")
    }

    fn plan(options: &MutexOptions) -> Result<Plan<'_>> {
        Ok(Plan::new(Self::form(), size_of::<MutexWords>(), move |segment| {
            segment.describe(&Details { version: 1, facts: &MutexWords::FACTS, ..Details::default() })?;
            Self::make(&*segment.view(0)?, options);
            Ok(())
        }))
    }

    fn over(place: Place, name: &str) -> Result<Self> {
        let mut lock = Self::attach(place.segment().view(0)?, name)?;
        lock.place = Some(place);
        Ok(lock)
    }

    /// Makes a lock where nothing but zeros is, in memory that nobody else has yet.
    pub(in crate::sync) fn make(words: &MutexWords, options: &MutexOptions) {
        let kind = KINDS.iter().position(|&kind| kind == options.kind).unwrap_or(0) as u32;
        let form = FORM | kind | if options.inherit_priority { INHERITS } else { 0 };
        // Relaxed: nobody else has the memory yet, and handing it over orders everything.
        words.form.store(form, Ordering::Relaxed);
    }

    /// A lock that was made before.
    pub(in crate::sync) fn attach(words: View<MutexWords>, name: &str) -> Result<Self> {
        // Relaxed: written before the memory was handed over.
        let form = words.form.load(Ordering::Relaxed);
        let kind = match KINDS.get((form & 3) as usize) {
            Some(&kind) if form & !(INHERITS | 3) == FORM => kind,
            _ => return Err(Error::new(ATTACH, ErrorKind::Corrupted).because("no lock was made there")),
        };
        let inherits = form & INHERITS != 0;
        if !inherits {
            line::admit(&words.robust);
        } else if !line::is_first_namespace(&words.robust) {
            return Err(Error::new(ATTACH, ErrorKind::Unsupported)
                .because("the lock inherits priorities, which the kernel does in one pid namespace only"));
        }
        Ok(Self::with(words, kind, inherits, name))
    }

    fn with(words: View<MutexWords>, kind: MutexKind, inherits: bool, name: &str) -> Self {
        let class = order::Class::of(name, std::ptr::from_ref(&*words).addr());
        Self { words, kind, inherits, spins: Spins::default(), class, place: None }
    }

    /// What locking twice does here.
    #[must_use]
    pub fn kind(&self) -> MutexKind {
        self.kind
    }

    /// Whether the holder inherits the priority of those who wait.
    #[must_use]
    pub fn inherits_priority(&self) -> bool {
        self.inherits
    }

    /// The descriptor to send to peers that shall share the lock; `None` if the lock is part of something else.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.place.as_ref().map(AsFd::as_fd)
    }

    /// Whether somebody held the lock a moment ago.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.owner().is_some()
    }

    /// The id of the thread that held the lock a moment ago, in that thread's pid namespace.
    #[must_use]
    pub fn owner(&self) -> Option<u32> {
        if self.inherits {
            let owner = inheriting::owner(&self.words.robust);
            return (owner != 0).then_some(owner);
        }
        core::owner(&self.words.robust)
    }

    /// Locks, waiting as long as it takes.
    ///
    /// If the holder dies meanwhile, one of those who wait is told so at once; if a waiter dies, nobody notices.
    ///
    /// # Errors
    /// * [`LockError::OwnerDied`] with the guard: see there.
    /// * `NotRecoverable`: an owner that died was followed by one that did not repair.
    /// * `Deadlock`: this thread holds the lock; or (with priority inheritance) its holder waits for a lock of ours; or
    ///   the [order check](order) is on and this order is the reverse of one that was seen.
    /// * `LimitReached`: this thread holds as many locks as can be watched over; or locked recursively too often.
    /// * `Corrupted`, `Unsupported` (no robust lists here), `System`.
    #[track_caller]
    #[inline]
    pub fn lock(&self) -> LockResult<RawMutexGuard<'_>> {
        self.lock_with(Until::Forever)
    }

    /// Locks if nobody holds the lock; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`lock`](Self::lock).
    #[track_caller]
    #[inline]
    pub fn try_lock(&self) -> LockResult<RawMutexGuard<'_>> {
        self.lock_with(Until::Now)
    }

    /// Locks, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<RawMutexGuard<'_>> {
        self.lock_with(Until::At(Deadline::after(timeout)))
    }

    #[track_caller]
    #[inline]
    pub(in crate::sync) fn lock_with(&self, until: Until) -> LockResult<RawMutexGuard<'_>> {
        if !self.inherits
            && !order::is_on()
            && let Some(me) = Thread::known()
            && me.has_room()
            && core::take_free(&self.words.robust, me)
        {
            return Ok(RawMutexGuard { lock: self, me, not_send: PhantomData });
        }
        self.lock_slowly(until)
    }

    #[track_caller]
    #[cold]
    fn lock_slowly(&self, until: Until) -> LockResult<RawMutexGuard<'_>> {
        let me = Thread::current()?;
        if self.owner() == Some(me.id()) && me.holds(&self.words.robust) {
            return self.lock_again(me, until);
        }
        if !me.has_room() {
            return Err(Error::new(LOCK, ErrorKind::LimitReached)
                .because("this thread holds 1,024 locks, and more cannot be watched over")
                .into());
        }
        if order::is_on() {
            self.class.check(Location::caller(), !matches!(until, Until::Now))?;
        }
        let taken = if self.inherits {
            inheriting::take(&self.words.robust, me, until)
        } else {
            core::take(&self.words.robust, me, until, &self.spins)
        };
        let taken = taken?;
        if order::is_on() {
            self.class.taken(Location::caller());
        }
        let guard = RawMutexGuard { lock: self, me, not_send: PhantomData };
        match taken {
            Taken::Clean => Ok(guard),
            Taken::OwnerDied => {
                // Relaxed: the lock is ours. The dead one may have held it several times.
                self.words.robust.note.store(0, Ordering::Relaxed);
                Err(LockError::OwnerDied(guard))
            }
        }
    }

    fn lock_again(&self, me: Thread, until: Until) -> LockResult<RawMutexGuard<'_>> {
        let refuse = |kind| Err(Error::new(LOCK, kind).because("this thread holds it already").into());
        match (self.kind, until) {
            (MutexKind::Recursive, _) => {
                // Relaxed: the lock is ours.
                let note = &self.words.robust.note;
                let Some(more) = note.load(Ordering::Relaxed).checked_add(1) else {
                    return refuse(ErrorKind::LimitReached);
                };
                note.store(more, Ordering::Relaxed);
                Ok(RawMutexGuard { lock: self, me, not_send: PhantomData })
            }
            (MutexKind::ErrorChecking, _) | (_, Until::Forever) => refuse(ErrorKind::Deadlock),
            (MutexKind::Normal, Until::Now) => Err(Error::new(LOCK, ErrorKind::WouldBlock).into()),
            (MutexKind::Normal, Until::At(deadline)) => {
                // Nobody wakes on a word of our own.
                let waited = RobustWord::new().wait(0, Some(deadline));
                let _ = waited.map_err(|error| Error::system_refused(LOCK, error))?;
                Err(Error::new(LOCK, ErrorKind::TimedOut).into())
            }
        }
    }

    /// Whether the caller, who holds the lock, holds it more than once.
    pub(in crate::sync) fn is_held_again(&self) -> bool {
        // Relaxed: the lock is ours.
        self.words.robust.note.load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn unlock(&self, me: Thread) {
        if self.kind != MutexKind::Recursive && !self.inherits && !order::is_on() && me.is_current() {
            core::give_back(&self.words.robust, me);
        } else {
            self.unlock_slowly(me);
        }
    }

    #[cold]
    fn unlock_slowly(&self, me: Thread) {
        let is_ours = me.is_current();
        if self.kind == MutexKind::Recursive && is_ours && me.holds(&self.words.robust) {
            // Relaxed: the lock is ours.
            let note = &self.words.robust.note;
            if let Some(fewer) = note.load(Ordering::Relaxed).checked_sub(1) {
                return note.store(fewer, Ordering::Relaxed);
            }
        }
        if order::is_on() {
            self.class.given_back();
        }
        if !is_ours {
            // Inherited by fork: the parent holds the lock.
            return;
        }
        if self.inherits {
            inheriting::give_back(&self.words.robust, me);
        } else {
            core::give_back(&self.words.robust, me);
        }
    }
}

impl<'a> RawMutexGuard<'a> {
    /// The lock, for longer than the guard lives.
    pub(in crate::sync) fn lock_of(&self) -> &'a RawMutex {
        self.lock
    }

    /// Whether the holder before died holding the lock, and nobody has repaired since.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        let words = &self.lock.words.robust;
        if self.lock.inherits { inheriting::is_inherited(words) } else { core::is_inherited(words) }
    }

    /// Says that what the lock guards is whole again. Who drops the guard of a dead owner without this gives the lock
    /// up: everyone who waits, and everyone who comes, is told `NotRecoverable`, for ever.
    pub fn mark_consistent(&self) {
        let words = &self.lock.words.robust;
        if !self.lock.inherits {
            core::mark_consistent(words);
        } else {
            inheriting::mark_consistent(words);
        }
    }

    pub(in crate::sync) fn me(&self) -> Thread {
        self.me
    }
}

impl Drop for RawMutexGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.unlock(self.me);
    }
}

impl Drop for RawMutex {
    fn drop(&mut self) {
        if is_held_here(self.owner().unwrap_or(0)) {
            // A guard was forgotten: the thread's list of what it holds names this memory.
            std::mem::forget(self.words.clone());
        }
        self.class.forget();
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex")
            .field("kind", &self.kind)
            .field("inherits_priority", &self.inherits)
            .field("owner", &self.owner())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RawMutexGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutexGuard").field("mutex", self.lock).finish()
    }
}

/// What a segment says whose body is a lock without data.
const LAYOUT_HASH: u64 = u64::from_le_bytes(*b"rawmutex");

const _: () = assert!(size_of::<MutexWords>() == 64 && size_of::<RobustWord>() == 40);
