//! Tokens that nobody holds: [`Tokens`].

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tieline_os::futex::Deadline;

use super::tokens::TokenWords;
use crate::error::Result;
use crate::raw::robust::Thread;
use crate::segment::{Details, Fact};
use crate::sync::line::{self, Line};
use crate::sync::place::{Form, Place, Plan, by_name};
use crate::wait::Until;

/// A count that any process may raise and any may lower: the semaphore for telling others that something is ready.
///
/// A token belongs to nobody: the process that posts it and the process that takes it are different ones, so there is
/// no holder whose death could give it back. For "so many of us may use this", where permits come back, see
/// [`Semaphore`](super::Semaphore).
///
/// ```
/// use std::time::Duration;
/// use tieline_shm::sync::Tokens;
///
/// let ready = Tokens::anonymous("items ready", 0)?;
/// // A peer that was sent the descriptor:
/// let theirs = Tokens::from_fd(ready.as_fd().try_clone_to_owned().unwrap())?;
///
/// theirs.post(2)?;
/// ready.take()?;
/// ready.take_timeout(Duration::from_secs(1))?;
/// assert!(ready.try_take().unwrap_err().is_would_block());
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// # Death
/// Of one who waits: the tokens it has not taken go to the others, also if it had been woken to take one. Of one who
/// posts, in mid-post: either all or none of the tokens are there, and if they are, those who wait are woken. One who
/// dies after it took a token has taken it.
///
/// # Limits
/// The count is at most 2,147,483,647. Which of those who wait is served first is not promised. Whoever shares the
/// tokens is trusted: it can write the count.
pub struct Tokens {
    words: TokenWords,
    place: Place,
}

impl Tokens {
    /// Makes a count in a segment of its own; `label` is for people who look at it.
    ///
    /// # Errors
    /// `LimitReached` if `count` is above the limit, or for lack of descriptors; `OutOfMemory`, `System`.
    pub fn anonymous(label: &str, count: u32) -> Result<Self> {
        Self::over(Place::anonymous(label, Self::plan(count)?)?, label)
    }

    /// The count whose segment a peer sent.
    ///
    /// # Errors
    /// `Mismatch` if it is the segment of something else; `Corrupted`.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::over(Place::received(fd, &Self::form())?, "")
    }

    by_name!("a count"; count: u32; count);

    fn form() -> Form {
        Form::lock(LAYOUT_HASH, "a count")
    }

    fn plan(count: u32) -> Result<Plan<'static>> {
        Ok(Plan::new(Self::form(), size_of::<Line>(), move |segment| {
            segment.describe(&Details {
                version: 1,
                facts: &[Fact::word("semaphore tokens", 0)],
                ..Details::default()
            })?;
            line::make(&*segment.view::<Line>(0)?, FORM, 1);
            TokenWords::new(segment.view(0)?).post(Thread::current()?, count)
        }))
    }

    fn over(place: Place, _: &str) -> Result<Self> {
        let segment = place.segment();
        let line = segment.view::<Line>(0)?;
        line::attach(&line, |form| form == FORM, 1)?;
        Ok(Self { words: TokenWords::new(line), place })
    }

    /// The descriptor to send to peers that shall share the tokens.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// How many tokens there were a moment ago.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.count()
    }

    /// Adds `count` tokens and wakes as many of those who wait. Does not block.
    ///
    /// # Errors
    /// `LimitReached`: the count would be above its limit; nothing was added. `Corrupted`: it is above it already.
    /// `Unsupported` (no robust lists here).
    #[doc(alias = "sem_post")]
    #[inline]
    pub fn post(&self, count: u32) -> Result<()> {
        self.words.post(Thread::current()?, count)
    }

    /// Takes one token, waiting as long as it takes.
    ///
    /// # Errors
    /// `Unsupported` (no robust lists here), `System`.
    #[doc(alias = "sem_wait")]
    #[inline]
    pub fn take(&self) -> Result<()> {
        self.words.take(Thread::current()?, Until::Forever)
    }

    /// Takes one token if there is one; never waits.
    ///
    /// # Errors
    /// `WouldBlock`; otherwise as [`take`](Self::take).
    #[doc(alias = "sem_trywait")]
    #[inline]
    pub fn try_take(&self) -> Result<()> {
        self.words.take(Thread::current()?, Until::Now)
    }

    /// Takes one token, waiting for at most `timeout`, on the monotonic clock.
    ///
    /// # Errors
    /// `TimedOut`; otherwise as [`take`](Self::take).
    #[doc(alias = "sem_timedwait")]
    pub fn take_timeout(&self, timeout: Duration) -> Result<()> {
        self.words.take(Thread::current()?, Until::At(Deadline::after(timeout)))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// "TO", version 1.
const FORM: u32 = 0x544f_0100;

/// What a segment says whose body is a count of tokens.
const LAYOUT_HASH: u64 = u64::from_le_bytes(*b"tokens\0\x01");
