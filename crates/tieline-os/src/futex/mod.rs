//! Sleeping until a 32-bit word changes: the kernel's half of every lock.
//!
//! A futex is an ordinary word in memory. Threads agree by atomics on what its values mean; the kernel is asked only
//! to put a thread to sleep *if the word still has a given value*, and to wake those who sleep on it. Comparing and
//! falling asleep are one step, so a wake-up between looking and sleeping cannot be missed. The invariant: nothing
//! here reads a meaning into the word, except [`PiFutex`], whose values the kernel defines.
//!
//! | you want | use |
//! |---|---|
//! | sleep on a word, wake sleepers | [`Futex`] |
//! | sleep on a word you may only read | [`WaitOnly`] |
//! | sleep on several words at once | [`wait_any`] |
//! | a lock that lends the waiter's priority to its owner | [`PiFutex`] |
//!
//! # Being woken proves nothing
//! [`Waited::Woken`] says that the kernel ended the sleep, not that the word changed nor that the change was meant for
//! you: another thread may have taken what you were woken for, a word at the same address may have been used for
//! something else before, and the kernel may wake without cause. This program is wrong:
//!
//! ```no_run
//! # use std::sync::atomic::{AtomicU32, Ordering};
//! # use tieline_os::futex::Futex;
//! # fn take(_: &AtomicU32) {}
//! # let word = AtomicU32::new(0);
//! // WRONG: two takers sleep; one item comes and both are woken, or the item was gone before we slept.
//! if word.load(Ordering::Acquire) == 0 {
//!     Futex::private(&word).wait(0)?;
//! }
//! take(&word);
//! # Ok::<(), tieline_os::Error>(())
//! ```
//!
//! The right one looks at the word again after every wait, whatever the answer was:
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use tieline_os::futex::Futex;
//!
//! fn take(items: &AtomicU32) -> tieline_os::Result<()> {
//!     loop {
//!         let seen = items.load(Ordering::Acquire);
//!         if seen == 0 {
//!             let _ = Futex::private(items).wait(0)?;
//!         } else if items.compare_exchange(seen, seen - 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
//!             return Ok(());
//!         }
//!     }
//! }
//!
//! let items = AtomicU32::new(0);
//! std::thread::scope(|scope| {
//!     let taker = scope.spawn(|| take(&items));
//!     items.fetch_add(1, Ordering::Release);
//!     Futex::private(&items).wake(1)?;
//!     taker.join().unwrap()
//! })?;
//! # Ok::<(), tieline_os::Error>(())
//! ```
//!
//! # Death
//! A thread that dies while it sleeps is forgotten without a trace. A thread that dies before it would have woken
//! others wakes nobody: they sleep until their deadline. Locks that survive their owner need the kernel's robust
//! list, of which each thread has one; the C library registers it and keeps its own locks there, so this module does
//! not touch it. See [`crate::pthread`] for robust locks.
//!
//! Everything here may be called in a signal handler and allocates only when it fails for a reason worth a sentence.
//! The newer calls `futex_wait`, `futex_wake` and `futex_requeue` (Linux 6.7) add nothing for one 32-bit word and are
//! not used.
//!
//! Source: futex(2), futex(7), `futex_waitv` in the kernel's `userspace-api/futex2.rst`.

mod pi;
mod several;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::thread::futex::{self as kernel, Flags, Timespec};
use rustix::time::{ClockId, clock_gettime};

use crate::Region;
use crate::error::{During, Error, Result};

pub use pi::{PiFutex, PiLocked};
pub use several::{AnyWaited, MAX_WORDS, wait_any, wait_any_is_supported};

/// Who may sleep on the word. Both sides must say the same: a private wake-up does not find a shared sleeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Threads of this process only; a little cheaper, because the kernel need not look up what is mapped there.
    #[doc(alias = "FUTEX_PRIVATE_FLAG")]
    Private,
    /// Every process that maps the memory, each at its own address.
    Shared,
}

impl Scope {
    fn flags(self) -> Flags {
        match self {
            Self::Private => Flags::PRIVATE,
            Self::Shared => Flags::empty(),
        }
    }
}

/// How a wait ended. Look at the word again in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "look at the word again: being woken proves nothing"]
pub enum Waited {
    /// Somebody woke us, or the kernel did without cause.
    Woken,
    /// The word did not have the expected value (any more); we did not sleep.
    Changed,
    /// The deadline passed.
    TimedOut,
}

/// What came of moving sleepers from one word to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "nothing was done if the word had changed"]
pub enum Requeued {
    /// So many were woken or moved.
    Done(usize),
    /// The word did not have the expected value; nobody was woken or moved.
    Changed,
}

/// A clock that deadlines are told on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clock {
    /// Never steps; stands still while the machine is suspended.
    #[doc(alias = "CLOCK_MONOTONIC")]
    Monotonic,
    /// The time of day. A step of the clock brings the deadline nearer or moves it away.
    #[doc(alias = "CLOCK_REALTIME")]
    Realtime,
}

impl Clock {
    pub(crate) fn id(self) -> ClockId {
        match self {
            Self::Monotonic => ClockId::Monotonic,
            Self::Realtime => ClockId::Realtime,
        }
    }
}

/// A moment on a clock: made once before a loop of waits, so that the loop as a whole ends in time.
///
/// ```
/// use std::sync::atomic::AtomicU32;
/// use std::time::Duration;
/// use tieline_os::futex::{Deadline, Futex, Waited};
///
/// let word = AtomicU32::new(7);
/// let deadline = Deadline::after(Duration::from_millis(1));
/// assert_eq!(Futex::private(&word).wait_until(7, deadline)?, Waited::TimedOut);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    clock: Clock,
    at: Timespec,
}

impl Deadline {
    /// `duration` from now on the monotonic clock; a duration beyond what the clock holds is as good as for ever.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self::after_on(Clock::Monotonic, duration)
    }

    /// `duration` from now on `clock`.
    #[must_use]
    pub fn after_on(clock: Clock, duration: Duration) -> Self {
        let now = clock_gettime(clock.id());
        let nanos = now.tv_nsec + i64::from(duration.subsec_nanos());
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let tv_sec = now.tv_sec.saturating_add(seconds).saturating_add(nanos / NANOS_PER_SECOND);
        Self { clock, at: Timespec { tv_sec, tv_nsec: nanos % NANOS_PER_SECOND } }
    }

    /// A time of day, on the realtime clock; a time before 1970 has passed.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { clock: Clock::Realtime, at: crate::wait::timespec(since_epoch) }
    }

    /// The clock it is told on.
    #[must_use]
    pub fn clock(self) -> Clock {
        self.clock
    }

    /// How long it is until then by its clock, zero once it has passed: for whoever looks before asking the kernel.
    #[must_use]
    pub fn remaining(self) -> Duration {
        as_duration(self.at).saturating_sub(as_duration(clock_gettime(self.clock.id())))
    }

    /// Whether the moment lies in the past.
    #[must_use]
    pub fn has_passed(self) -> bool {
        let now = clock_gettime(self.clock.id());
        (now.tv_sec, now.tv_nsec) >= (self.at.tv_sec, self.at.tv_nsec)
    }

    /// As the kernel and the C library take it: seconds and nanoseconds on its clock.
    pub(crate) fn timespec(&self) -> &Timespec {
        &self.at
    }

    /// The same moment on the realtime clock, as far as the two can be compared now.
    pub(crate) fn on_realtime(self) -> Self {
        match self.clock {
            Clock::Realtime => self,
            Clock::Monotonic => {
                let now = clock_gettime(ClockId::Monotonic);
                let (now, at) = (as_duration(now), as_duration(self.at));
                Self::after_on(Clock::Realtime, at.saturating_sub(now))
            }
        }
    }

    /// The flags of calls that count on the monotonic clock unless told otherwise.
    fn flags(self) -> Flags {
        match self.clock {
            Clock::Monotonic => Flags::empty(),
            Clock::Realtime => Flags::CLOCK_REALTIME,
        }
    }
}

impl From<Instant> for Deadline {
    /// The same moment on the monotonic clock; a moment that has passed becomes now.
    fn from(instant: Instant) -> Self {
        Self::after(instant.saturating_duration_since(Instant::now()))
    }
}

/// A reading of a clock, none of which shows a time before its zero.
fn as_duration(reading: Timespec) -> Duration {
    let seconds = u64::try_from(reading.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(reading.tv_nsec).unwrap_or_default())
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const WAIT: &str = "wait on futex";

/// A word to sleep on, and who shares it. Copy it freely: it is an address and a flag.
///
/// ```
/// use std::sync::atomic::Ordering;
/// use tieline_os::futex::Futex;
/// use tieline_os::mapping::Mapping;
///
/// let memory = Mapping::anonymous(4096)?;
/// let bell = Futex::in_region(&memory, 64)?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         bell.word().store(1, Ordering::Release);
///         bell.wake(u32::MAX).unwrap();
///     });
///     while bell.word().load(Ordering::Acquire) == 0 {
///         let _ = bell.wait(0)?;
///     }
///     Ok::<(), tieline_os::Error>(())
/// })?;
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[doc(alias = "futex")]
#[derive(Clone, Copy, Debug)]
pub struct Futex<'a> {
    word: &'a AtomicU32,
    scope: Scope,
}

impl<'a> Futex<'a> {
    /// A word for threads of this process.
    #[must_use]
    pub const fn private(word: &'a AtomicU32) -> Self {
        Self { word, scope: Scope::Private }
    }

    /// A word in memory that other processes map too. (On private memory it works within the process.)
    #[must_use]
    pub const fn shared(word: &'a AtomicU32) -> Self {
        Self { word, scope: Scope::Shared }
    }

    /// The shared word at `offset` of a region.
    ///
    /// # Errors
    /// `InvalidInput` if it lies outside the region or not on a multiple of four; `PermissionDenied` if the region is
    /// read-only (see [`WaitOnly`]).
    pub fn in_region(region: &'a Region, offset: usize) -> Result<Self> {
        region.atomic_u32(offset).map(Self::shared)
    }

    /// The word itself.
    #[must_use]
    pub const fn word(self) -> &'a AtomicU32 {
        self.word
    }

    /// Who may sleep on it.
    #[must_use]
    pub const fn scope(self) -> Scope {
        self.scope
    }

    /// Sleeps while the word is `expected`, until woken.
    ///
    /// A signal handler that runs meanwhile does not end the wait. If whoever should wake us is dead, this sleeps
    /// for ever.
    ///
    /// # Errors
    /// `InvalidInput` (`EFAULT`) if the memory's file has been cut away under the word.
    #[doc(alias = "FUTEX_WAIT")]
    pub fn wait(self, expected: u32) -> Result<Waited> {
        wait(self.word, self.scope, expected, None, ALL_BITS)
    }

    /// [`wait`](Self::wait) for at most `timeout`.
    ///
    /// # Errors
    /// As `wait`; the time running out is [`Waited::TimedOut`], not an error.
    pub fn wait_timeout(self, expected: u32, timeout: Duration) -> Result<Waited> {
        wait(self.word, self.scope, expected, Some(Deadline::after(timeout)), ALL_BITS)
    }

    /// [`wait`](Self::wait) until `deadline`. One that has passed still answers `Changed` if the word has.
    ///
    /// # Errors
    /// As `wait`.
    #[doc(alias = "FUTEX_WAIT_BITSET")]
    pub fn wait_until(self, expected: u32, deadline: Deadline) -> Result<Waited> {
        wait(self.word, self.scope, expected, Some(deadline), ALL_BITS)
    }

    /// [`wait_until`](Self::wait_until), ended by a signal handler too.
    ///
    /// The kernel resumes a wait *without* a deadline by itself after a handler installed with `SA_RESTART`.
    ///
    /// # Errors
    /// As `wait`, and `Interrupted` after a signal handler ran.
    pub fn wait_interruptible(self, expected: u32, deadline: Option<Deadline>) -> Result<Waited> {
        wait_once(self.word, self.scope, expected, deadline.as_ref(), ALL_BITS)
    }

    /// Sleeps in the groups named by `bits`: only a [`wake_bits`](Self::wake_bits) that shares a bit, or a plain
    /// [`wake`](Self::wake), ends it.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    #[doc(alias = "FUTEX_WAIT_BITSET")]
    pub fn wait_bits(self, expected: u32, bits: NonZeroU32, deadline: Option<Deadline>) -> Result<Waited> {
        wait(self.word, self.scope, expected, deadline, bits)
    }

    /// Wakes at most `count` sleepers and says how many there were; `u32::MAX` is all of them.
    ///
    /// Store to the word first: whoever has not yet fallen asleep sees the new value and does not. Does not block.
    /// In which order sleepers are woken is not promised.
    ///
    /// # Errors
    /// `InvalidInput` (`EFAULT`) if the memory's file has been cut away under the word.
    #[doc(alias = "FUTEX_WAKE")]
    pub fn wake(self, count: u32) -> Result<usize> {
        // Asked for none, the kernel would wake one.
        if count == 0 {
            return Ok(0);
        }
        kernel::wake(self.word, self.scope.flags(), at_most(count)).during("wake futex")
    }

    /// Wakes at most `count` of those who wait in a group named by `bits`, and of those who wait for anything.
    ///
    /// # Errors
    /// As [`wake`](Self::wake).
    #[doc(alias = "FUTEX_WAKE_BITSET")]
    pub fn wake_bits(self, count: u32, bits: NonZeroU32) -> Result<usize> {
        if count == 0 {
            return Ok(0);
        }
        kernel::wake_bitset(self.word, self.scope.flags(), at_most(count), bits).during("wake futex")
    }

    /// If the word is `expected`: wakes at most `wake` sleepers and makes at most `transfer` others sleep on `target`
    /// instead, without waking them.
    ///
    /// This is how a condition variable hands its waiters to the mutex they would all run for.
    ///
    /// # Errors
    /// `InvalidInput` if the two words have different scopes, or one has been cut away (`EFAULT`).
    #[doc(alias = "FUTEX_CMP_REQUEUE")]
    pub fn requeue(self, expected: u32, wake: u32, transfer: u32, target: Self) -> Result<Requeued> {
        const REQUEUE: &str = "requeue futex sleepers";
        let flags = self.flags_with(target, REQUEUE)?;
        match kernel::cmp_requeue(self.word, flags, at_most(wake), at_most(transfer), target.word, expected) {
            Ok(count) => Ok(Requeued::Done(count)),
            Err(Errno::AGAIN) => Ok(Requeued::Changed),
            Err(errno) => Err(Error::new(REQUEUE, errno)),
        }
    }

    /// [`requeue`](Self::requeue) without looking at the word; says how many were woken or moved.
    ///
    /// Between the caller's look at the word and this call others may fall asleep on it for another reason and be
    /// moved as well. Use it only where that does no harm.
    ///
    /// # Errors
    /// As `requeue`.
    #[doc(alias = "FUTEX_REQUEUE")]
    pub fn requeue_any(self, wake: u32, transfer: u32, target: Self) -> Result<usize> {
        const REQUEUE: &str = "requeue futex sleepers";
        let flags = self.flags_with(target, REQUEUE)?;
        kernel::requeue(self.word, flags, at_most(wake), at_most(transfer), target.word).during(REQUEUE)
    }

    /// Changes `second`'s word by `change` in one atomic step, wakes at most `count` sleepers here, and at most
    /// `count_second` there if its old value meets `condition`; says how many were woken.
    ///
    /// One call for "unlock and signal".
    ///
    /// # Errors
    /// `InvalidInput` if an operand exceeds 12 bits, a count is zero (the kernel would wake one all the same), the
    /// two words have different scopes, or one has been cut away (`EFAULT`).
    #[doc(alias = "FUTEX_WAKE_OP")]
    pub fn wake_with(
        self,
        count: u32,
        second: Self,
        count_second: u32,
        change: Change,
        condition: Condition,
    ) -> Result<usize> {
        const WAKE: &str = "change one futex and wake two";
        let flags = self.flags_with(second, WAKE)?;
        if count == 0 || count_second == 0 {
            return Err(Error::invalid(WAKE, "each count must be at least one"));
        }
        let ((change, operand), (condition, limit)) = (change.for_kernel(), condition.for_kernel());
        let (Some(operand), Some(limit)) = (twelve_bits(operand), twelve_bits(limit)) else {
            return Err(Error::invalid(WAKE, "the kernel takes operands of 12 bits, from -2048 to 2047"));
        };
        let (count, count_second) = (at_most(count), at_most(count_second));
        kernel::wake_op(self.word, flags, count, count_second, second.word, change, condition, operand, limit)
            .during(WAKE)
    }

    fn flags_with(self, other: Self, operation: &'static str) -> Result<Flags> {
        if self.scope == other.scope {
            Ok(self.scope.flags())
        } else {
            Err(Error::invalid(operation, "both words must be private, or both shared"))
        }
    }
}

/// What [`Futex::wake_with`] does to the second word; operands are from -2048 to 2047.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Stores this value.
    Set(i16),
    /// Adds this value, wrapping.
    Add(i16),
    /// Sets these bits.
    Or(i16),
    /// Clears these bits.
    AndNot(i16),
    /// Flips these bits.
    Xor(i16),
}

impl Change {
    fn for_kernel(self) -> (kernel::WakeOp, i16) {
        match self {
            Self::Set(operand) => (kernel::WakeOp::Set, operand),
            Self::Add(operand) => (kernel::WakeOp::Add, operand),
            Self::Or(operand) => (kernel::WakeOp::Or, operand),
            Self::AndNot(operand) => (kernel::WakeOp::AndN, operand),
            Self::Xor(operand) => (kernel::WakeOp::XOr, operand),
        }
    }
}

/// What the second word's old value, as a signed number, must be for [`Futex::wake_with`] to wake its sleepers;
/// operands are from -2048 to 2047.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Equal to this.
    Equal(i16),
    /// Not equal to this.
    NotEqual(i16),
    /// Less than this.
    Less(i16),
    /// Less than or equal to this.
    LessOrEqual(i16),
    /// Greater than this.
    Greater(i16),
    /// Greater than or equal to this.
    GreaterOrEqual(i16),
}

impl Condition {
    fn for_kernel(self) -> (kernel::WakeOpCmp, i16) {
        match self {
            Self::Equal(limit) => (kernel::WakeOpCmp::Eq, limit),
            Self::NotEqual(limit) => (kernel::WakeOpCmp::Ne, limit),
            Self::Less(limit) => (kernel::WakeOpCmp::Lt, limit),
            Self::LessOrEqual(limit) => (kernel::WakeOpCmp::Le, limit),
            Self::Greater(limit) => (kernel::WakeOpCmp::Gt, limit),
            Self::GreaterOrEqual(limit) => (kernel::WakeOpCmp::Ge, limit),
        }
    }
}

/// The kernel keeps operands of `FUTEX_WAKE_OP` in 12 bits, and reads them as signed (futex(2) does not say so).
fn twelve_bits(operand: i16) -> Option<u16> {
    (-2048..2048).contains(&operand).then(|| operand.cast_unsigned() & 0xfff)
}

/// A shared word that this process may only read, and sleep on, but not change or wake others on.
///
/// A reader who cannot write the memory waits for a writer's news this way.
#[derive(Clone, Copy, Debug)]
pub struct WaitOnly<'a> {
    word: &'a AtomicU32,
}

impl<'a> WaitOnly<'a> {
    /// The shared word at `offset` of a region, which may be read-only.
    ///
    /// # Errors
    /// `InvalidInput` if it lies outside the region or not on a multiple of four.
    pub fn in_region(region: &'a Region, offset: usize) -> Result<Self> {
        region.load_u32(offset, Ordering::Relaxed)?;
        // The load has checked the place. Nothing below stores to the word.
        Ok(Self { word: region.raw().atomic_u32(offset) })
    }

    /// Loads the word.
    ///
    /// # Panics
    /// If `order` is `Release` or `AcqRel`, as [`AtomicU32::load`].
    #[must_use]
    pub fn load(self, order: Ordering) -> u32 {
        crate::sys::region::load_read_only(order, || self.word.load(Ordering::Relaxed))
    }

    /// As [`Futex::wait`].
    ///
    /// # Errors
    /// As `Futex::wait`.
    pub fn wait(self, expected: u32) -> Result<Waited> {
        wait(self.word, Scope::Shared, expected, None, ALL_BITS)
    }

    /// As [`Futex::wait_timeout`].
    ///
    /// # Errors
    /// As `Futex::wait`.
    pub fn wait_timeout(self, expected: u32, timeout: Duration) -> Result<Waited> {
        wait(self.word, Scope::Shared, expected, Some(Deadline::after(timeout)), ALL_BITS)
    }

    /// As [`Futex::wait_until`].
    ///
    /// # Errors
    /// As `Futex::wait`.
    pub fn wait_until(self, expected: u32, deadline: Deadline) -> Result<Waited> {
        wait(self.word, Scope::Shared, expected, Some(deadline), ALL_BITS)
    }
}

/// In every group: what a wait without bits means.
const ALL_BITS: NonZeroU32 = NonZeroU32::MAX;

/// The kernel's counts are signed; more sleepers than fit cannot exist.
fn at_most(count: u32) -> u32 {
    count.min(i32::MAX.cast_unsigned())
}

/// Waits through interruptions; the deadline is absolute, so nothing is to be reckoned again.
fn wait(word: &AtomicU32, scope: Scope, expected: u32, deadline: Option<Deadline>, bits: NonZeroU32) -> Result<Waited> {
    loop {
        match wait_once(word, scope, expected, deadline.as_ref(), bits) {
            Err(error) if error.is_interrupted() => {}
            answer => return answer,
        }
    }
}

fn wait_once(
    word: &AtomicU32,
    scope: Scope,
    expected: u32,
    deadline: Option<&Deadline>,
    bits: NonZeroU32,
) -> Result<Waited> {
    let flags = scope.flags() | deadline.map_or(Flags::empty(), |deadline| deadline.flags());
    sorted(kernel::wait_bitset(word, flags, expected, deadline.map(Deadline::timespec), bits))
}

fn sorted(answer: Result<(), Errno>) -> Result<Waited> {
    match answer {
        Ok(()) => Ok(Waited::Woken),
        Err(Errno::AGAIN) => Ok(Waited::Changed),
        Err(Errno::TIMEDOUT) => Ok(Waited::TimedOut),
        Err(errno @ Errno::FAULT) => {
            Err(Error::new(WAIT, errno).hint("the word's memory is gone: was its file cut shorter?"))
        }
        Err(errno) => Err(Error::new(WAIT, errno)),
    }
}
