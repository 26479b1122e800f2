//! Holding signals back: the mask of the calling thread.

use std::marker::PhantomData;

use super::SignalSet;
use crate::error::{During, Error, Result};
use crate::process::Pid;
use crate::sys::signal::{self as sys, How};

/// The signals the calling thread blocks.
///
/// # Errors
/// None in a usual process; a system call filter may refuse.
#[doc(alias = "pthread_sigmask")]
#[doc(alias = "sigprocmask")]
pub fn blocked() -> Result<SignalSet> {
    sys::mask(None).during("read the signal mask").map(SignalSet::from_bits)
}

/// Blocks `signals` in the calling thread, in addition to those it blocks already, and returns what it blocked before.
///
/// A blocked signal stays pending until it is unblocked or received by [`wait`](super::wait()) or a
/// [`SignalFd`](crate::signalfd::SignalFd). Threads and processes made later inherit the mask. `SIGKILL` and
/// `SIGSTOP` cannot be blocked: the kernel leaves them out without a word.
///
/// # Errors
/// As [`blocked`].
#[doc(alias = "SIG_BLOCK")]
pub fn block(signals: impl Into<SignalSet>) -> Result<SignalSet> {
    change(How::Block, signals.into())
}

/// Unblocks `signals` in the calling thread and returns what it blocked before.
///
/// Those that are pending are delivered before this returns.
///
/// # Errors
/// As [`blocked`].
#[doc(alias = "SIG_UNBLOCK")]
pub fn unblock(signals: impl Into<SignalSet>) -> Result<SignalSet> {
    change(How::Unblock, signals.into())
}

/// Makes `signals` the whole mask of the calling thread and returns the one before.
///
/// # Errors
/// As [`blocked`].
#[doc(alias = "SIG_SETMASK")]
pub fn set_mask(signals: impl Into<SignalSet>) -> Result<SignalSet> {
    change(How::Set, signals.into())
}

fn change(how: How, signals: SignalSet) -> Result<SignalSet> {
    sys::mask(Some((how, signals.bits()))).during("change the signal mask").map(SignalSet::from_bits)
}

/// Signals that are blocked in this thread while the value lives; its drop restores the mask from before.
///
/// It cannot be sent to another thread, whose mask is another.
///
/// ```
/// use tieline_os::signal::{self, Blocked, Signal};
/// let before = signal::blocked()?;
/// {
///     let _undisturbed = Blocked::new([Signal::INT, Signal::TERM])?;
///     assert!(signal::blocked()?.contains(Signal::INT));
/// }
/// assert_eq!(signal::blocked()?, before);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it at once unblocks the signals again"]
pub struct Blocked {
    before: SignalSet,
    of_this_thread: PhantomData<*const ()>,
}

impl Blocked {
    /// Blocks `signals` in the calling thread.
    ///
    /// # Errors
    /// As [`blocked`].
    pub fn new(signals: impl Into<SignalSet>) -> Result<Self> {
        Ok(Self { before: block(signals)?, of_this_thread: PhantomData })
    }

    /// What the thread blocked before, and will block again.
    #[must_use]
    pub fn before(&self) -> SignalSet {
        self.before
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = set_mask(self.before);
    }
}

/// The signals that wait for the calling thread: sent to it or to its process, and blocked.
///
/// # Errors
/// As [`blocked`].
#[doc(alias = "sigpending")]
pub fn pending() -> Result<SignalSet> {
    sys::pending().during("read the pending signals").map(SignalSet::from_bits)
}

/// The threads of this process that do not block all of `signals`, and so may take one away from
/// [`wait`](super::wait()) or a [`SignalFd`](crate::signalfd::SignalFd).
///
/// For a check at the start of a program or in its tests: it reads `/proc`, and threads may come and go meanwhile.
///
/// # Errors
/// As for reading files; `NotFound` without `/proc`.
pub fn threads_not_blocking(signals: impl Into<SignalSet>) -> Result<Vec<Pid>> {
    let signals = signals.into();
    let refused = |error: std::io::Error| {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
        Error::new("list the threads of this process", errno).on("/proc/self/task")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").map_err(refused)? {
        let entry = entry.map_err(refused)?;
        // A thread that ends between the listing and the look takes no signal.
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let mask = mask.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).map(SignalSet::from_bits);
        let tid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::new);
        if let (Some(mask), Some(tid)) = (mask, tid)
            && !mask.contains_all(signals)
        {
            found.push(tid);
        }
    }
    Ok(found)
}

/// Refuses `signals` that the calling thread does not block: they would be delivered rather than received.
pub(crate) fn require_blocked(operation: &'static str, signals: SignalSet) -> Result<()> {
    if signals.is_empty() {
        return Err(Error::invalid(operation, "the set of signals is empty, and that would wait for ever"));
    }
    let open = signals - blocked()?;
    if open.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(
            operation,
            format!("{open} not blocked in this thread; block in every thread, before the first is spawned"),
        ))
    }
}
