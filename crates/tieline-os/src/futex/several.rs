//! One wait on several words.

use rustix::io::Errno;
use rustix::thread::futex::{Wait, WaitFlags, WaitPtr, WaitvFlags, waitv};

use super::{Clock, Deadline, Futex, Scope};
use crate::error::{Error, ErrorKind, Result};

/// How many words one call of [`wait_any`] takes.
#[doc(alias = "FUTEX_WAITV_MAX")]
pub const MAX_WORDS: usize = 128;

const WAIT_ANY: &str = "wait on several futexes";

/// How a wait on several words ended. Look at the words again in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "look at the words again: being woken proves nothing"]
pub enum AnyWaited {
    /// The word at this place of the list was woken; others may have been too.
    Woken(usize),
    /// At least one word did not have the expected value; we did not sleep.
    Changed,
    /// The deadline passed.
    TimedOut,
}

/// Sleeps while every word has the value beside it, until any of them is woken.
///
/// At most [`MAX_WORDS`]; private and shared words may be mixed. A signal handler that runs meanwhile does not end the
/// wait. Needs Linux 5.16; does not allocate.
///
/// ```
/// use std::sync::atomic::AtomicU32;
/// use std::time::Duration;
/// use tieline_os::futex::{AnyWaited, Deadline, Futex, wait_any, wait_any_is_supported};
///
/// let (one, two) = (AtomicU32::new(1), AtomicU32::new(2));
/// let words = [(Futex::private(&one), 1), (Futex::private(&two), 0)];
/// if wait_any_is_supported() {
///     let deadline = Deadline::after(Duration::from_secs(1));
///     assert_eq!(wait_any(&words, Some(deadline))?, AnyWaited::Changed, "the second word is 2");
/// }
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// # Errors
/// * `InvalidInput`: an empty list, more than [`MAX_WORDS`], or a word whose memory has been cut away.
/// * `Unsupported`: the kernel is older than 5.16, or a sandbox forbids the call.
/// * `OutOfMemory`.
#[doc(alias = "futex_waitv")]
pub fn wait_any(words: &[(Futex<'_>, u32)], deadline: Option<Deadline>) -> Result<AnyWaited> {
    if words.is_empty() || words.len() > MAX_WORDS {
        return Err(Error::invalid(WAIT_ANY, format!("{} words are not 1 to {MAX_WORDS}", words.len())));
    }
    let mut list = [Wait::new(); MAX_WORDS];
    for (entry, &(futex, expected)) in list.iter_mut().zip(words) {
        entry.val = expected.into();
        entry.uaddr = WaitPtr::new(futex.word().as_ptr().cast());
        entry.flags = match futex.scope() {
            Scope::Private => WaitFlags::SIZE_U32 | WaitFlags::PRIVATE,
            Scope::Shared => WaitFlags::SIZE_U32,
        };
    }
    let clock = deadline.map_or(Clock::Monotonic, Deadline::clock).id();
    loop {
        let timeout = deadline.as_ref().map(Deadline::timespec);
        match waitv(&list[..words.len()], WaitvFlags::empty(), timeout, clock) {
            Ok(index) => return Ok(AnyWaited::Woken(index)),
            Err(Errno::AGAIN) => return Ok(AnyWaited::Changed),
            Err(Errno::TIMEDOUT) => return Ok(AnyWaited::TimedOut),
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOSYS | Errno::PERM)) => {
                return Err(Error::new(WAIT_ANY, errno)
                    .sorted_as(ErrorKind::Unsupported)
                    .hint("this needs Linux 5.16 and a sandbox that lets futex_waitv through"));
            }
            Err(errno) => return Err(Error::new(WAIT_ANY, errno)),
        }
    }
}

/// Whether [`wait_any`] works here. Asks the kernel each time, so keep the answer.
#[must_use]
pub fn wait_any_is_supported() -> bool {
    // An empty list is refused as invalid by a kernel that knows the call.
    waitv(&[], WaitvFlags::empty(), None, Clock::Monotonic.id()) == Err(Errno::INVAL)
}
