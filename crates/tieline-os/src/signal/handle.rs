//! Dispositions, and handlers that only note that a signal came.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitflags::bitflags;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Signal, SignalInfo, SignalSet};
use crate::Duration;
use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::handler::{self, Registration, Sink};
use crate::sys::signal::Info;
use crate::wait::{Wait, retry_when_ready};

/// What a process does on a signal that its thread does not block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The default action ([`Signal::default_action`]).
    Default,
    /// Nothing: the signal is discarded when it is sent.
    Ignored,
    /// A handler of this crate or of anyone else in the process runs.
    Handled,
}

bitflags! {
    /// How a handler is installed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HandlerFlags: u32 {
        /// System calls that the handler interrupted go on, where the kernel can do that (`SA_RESTART`).
        ///
        /// It never does for `poll`, `epoll_wait`, `select`, sleeping, `msgrcv`, `msgsnd`, `semop` and waiting for
        /// signals. The calls of this crate go on by themselves either way.
        #[doc(alias = "SA_RESTART")]
        const RESTART = 1 << 0;
        /// The signal may interrupt its own handler (`SA_NODEFER`); otherwise it waits the moment until that is done.
        #[doc(alias = "SA_NODEFER")]
        const NODEFER = 1 << 1;
        /// `SIGCHLD` only for children that end, not for those that stop or go on (`SA_NOCLDSTOP`).
        #[doc(alias = "SA_NOCLDSTOP")]
        const NOCLDSTOP = 1 << 2;
        /// Children do not become zombies (`SA_NOCLDWAIT`, for `SIGCHLD`); waiting for them then finds none.
        #[doc(alias = "SA_NOCLDWAIT")]
        const NOCLDWAIT = 1 << 3;
    }
}

impl Default for HandlerFlags {
    /// [`RESTART`](Self::RESTART) alone.
    fn default() -> Self {
        Self::RESTART
    }
}

/// What this process does on `signal` now.
///
/// # Errors
/// `InvalidInput` for the numbers the C library keeps for itself.
#[doc(alias = "sigaction")]
pub fn disposition(signal: Signal) -> Result<Disposition> {
    let action = handler::action(signal.number()).map_err(|errno| refused("read what is done on", errno, signal))?;
    Ok(if action.is_default() {
        Disposition::Default
    } else if action.is_ignore() {
        Disposition::Ignored
    } else {
        Disposition::Handled
    })
}

/// Makes this process ignore `signal`, and returns what it did before. Programs it executes will ignore it too.
///
/// Ignoring `SIGCHLD` makes children vanish when they end: waiting for them then finds none.
///
/// # Errors
/// `InvalidInput` for `SIGKILL`, `SIGSTOP` and the C library's own, `Busy` while a [`Pipe`] or [`Flag`] receives it.
#[doc(alias = "SIG_IGN")]
pub fn ignore(signal: Signal) -> Result<Disposition> {
    replace(signal, &handler::Action::ignore())
}

/// Gives `signal` back its default action, and returns what was done before.
///
/// # Errors
/// As [`ignore`].
#[doc(alias = "SIG_DFL")]
pub fn set_default(signal: Signal) -> Result<Disposition> {
    replace(signal, &handler::Action::default())
}

fn replace(signal: Signal, action: &handler::Action) -> Result<Disposition> {
    const OPERATION: &str = "change what is done on";
    if handler::is_registered(signal.number()) {
        return Err(refused(OPERATION, Errno::BUSY, signal));
    }
    let before = disposition(signal)?;
    handler::set_action(signal.number(), action).map_err(|errno| refused(OPERATION, errno, signal))?;
    Ok(before)
}

fn refused(operation: &'static str, errno: Errno, signal: Signal) -> Error {
    let error = Error::new(operation, errno).on(signal);
    match errno {
        Errno::BUSY => error.hint("drop the Pipe or Flag that receives it first"),
        Errno::INVAL => error.hint("no process can change that for this signal"),
        _ => error,
    }
}

fn register(signals: SignalSet, flags: HandlerFlags, sink: &Sink) -> Result<Vec<Registration>> {
    const OPERATION: &str = "handle signal";
    let one = |signal: Signal| {
        if signal.is_fault() {
            let why = format!("{signal} would come again and again, because the faulty instruction is run again");
            return Err(Error::invalid(OPERATION, why));
        }
        Registration::new(signal.number(), sa_flags(flags), sink.clone())
            .map_err(|errno| refused(OPERATION, errno, signal))
    };
    // On a refusal those that were registered already are dropped, and so put back.
    signals.iter().map(one).collect()
}

fn sa_flags(flags: HandlerFlags) -> i32 {
    let table = [
        (HandlerFlags::RESTART, libc::SA_RESTART),
        (HandlerFlags::NODEFER, libc::SA_NODEFER),
        (HandlerFlags::NOCLDSTOP, libc::SA_NOCLDSTOP),
        (HandlerFlags::NOCLDWAIT, libc::SA_NOCLDWAIT),
    ];
    table.into_iter().filter(|(flag, _)| flags.contains(*flag)).fold(0, |sum, (_, bit)| sum | bit)
}

/// Receives signals through a pipe: the handler writes what the kernel tells, [`receive`](Self::receive) reads it.
///
/// Works in any program, whatever its threads block, and is pollable: the descriptor is readable when a signal has
/// come. Each signal can be received by one `Pipe` or [`Flag`] of the process at a time. Dropping it restores the
/// dispositions from before, unless somebody else has changed them meanwhile.
///
/// The pipe holds some three thousand records; a handler that finds it full counts the signal as [`lost`](Self::lost)
/// instead of waiting.
///
/// ```
/// use tieline_os::signal::{self, Pipe, Signal};
/// let pipe = Pipe::new([Signal::USR1, Signal::USR2])?;
/// signal::raise(Signal::USR2)?;
/// assert_eq!(pipe.receive()?.signal(), Signal::USR2);
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it restores the dispositions from before"]
pub struct Pipe {
    registrations: Vec<Registration>,
    read: OwnedFd,
    lost: Arc<AtomicU64>,
}

impl Pipe {
    /// Receives `signals` from now on, with [`HandlerFlags::RESTART`].
    ///
    /// # Errors
    /// `Busy` if another `Pipe` or [`Flag`] receives one of them, `InvalidInput` for signals that cannot be handled
    /// (`SIGKILL`, `SIGSTOP`, the faults `SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`), `LimitReached` if no pipe can be
    /// made. Nothing is changed then.
    #[doc(alias = "sigaction")]
    pub fn new(signals: impl Into<SignalSet>) -> Result<Self> {
        Self::with_flags(signals, HandlerFlags::default())
    }

    /// As [`new`](Self::new), installed in the way of `flags`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_flags(signals: impl Into<SignalSet>, flags: HandlerFlags) -> Result<Self> {
        let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (read, write) = pipe.during("make a pipe for signals")?;
        let lost = Arc::new(AtomicU64::new(0));
        let sink = Sink::Pipe { write: Arc::new(write), lost: Arc::clone(&lost) };
        Ok(Self { registrations: register(signals.into(), flags, &sink)?, read, lost })
    }

    /// The next signal that came; waits until there is one.
    ///
    /// # Errors
    /// None in a usual process.
    pub fn receive(&self) -> Result<SignalInfo> {
        self.take(Wait::Forever)
    }

    /// The next signal that came, if one has.
    ///
    /// # Errors
    /// `WouldBlock` if none has come.
    pub fn try_receive(&self) -> Result<SignalInfo> {
        self.take(Wait::Never)
    }

    /// The next signal that comes within `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if none does.
    pub fn receive_timeout(&self, timeout: Duration) -> Result<SignalInfo> {
        self.take(Wait::timeout(timeout))
    }

    fn take(&self, wait: Wait) -> Result<SignalInfo> {
        let mut record = [0; Info::BYTES];
        let attempt = || rustix::io::read(&self.read, &mut record);
        let count = retry_when_ready(&self.read, PollFlags::IN, wait, attempt).during("receive a signal")?;
        // Records are written whole, so a short one can only come from a stranger who got hold of the descriptor.
        let whole = (count == record.len()).then(|| SignalInfo::from_raw(Info::from_bytes(&record))).flatten();
        whole.ok_or_else(|| {
            Error::of_kind("receive a signal", ErrorKind::Other, "somebody else has written into or closed the pipe")
        })
    }

    /// How many signals came while the pipe was full, since it was made.
    #[must_use]
    pub fn lost(&self) -> u64 {
        // Relaxed: a count by itself, which orders nothing else.
        self.lost.load(Ordering::Relaxed)
    }

    /// The signals it receives.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        signals_of(&self.registrations)
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

fn signals_of(registrations: &[Registration]) -> SignalSet {
    registrations.iter().filter_map(|registration| Signal::new(registration.signal())).collect()
}

/// Counts signals, for a loop that looks now and then: "has anybody asked me to end?".
///
/// It wakes nobody; to be woken take [`Pipe`]. One flag may count several signals together. Dropping it restores the
/// dispositions from before, unless somebody else has changed them meanwhile.
///
/// ```
/// use tieline_os::signal::{self, Flag, Signal};
/// let end = Flag::new(Signal::TERM)?;
/// assert!(!end.is_raised());
/// signal::raise(Signal::TERM)?;
/// assert_eq!((end.take(), end.take()), (1, 0));
/// # Ok::<(), tieline_os::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it restores the dispositions from before"]
pub struct Flag {
    registrations: Vec<Registration>,
    count: Arc<AtomicU64>,
}

impl Flag {
    /// Counts `signals` from now on, with [`HandlerFlags::RESTART`].
    ///
    /// # Errors
    /// As [`Pipe::new`].
    pub fn new(signals: impl Into<SignalSet>) -> Result<Self> {
        Self::with_flags(signals, HandlerFlags::default())
    }

    /// As [`new`](Self::new), installed in the way of `flags`.
    ///
    /// # Errors
    /// As [`Pipe::new`].
    pub fn with_flags(signals: impl Into<SignalSet>, flags: HandlerFlags) -> Result<Self> {
        let count = Arc::new(AtomicU64::new(0));
        let registrations = register(signals.into(), flags, &Sink::Count(Arc::clone(&count)))?;
        Ok(Self { registrations, count })
    }

    /// Whether a signal has come since the last [`take`](Self::take).
    #[must_use]
    pub fn is_raised(&self) -> bool {
        // Acquire, with the release of the handler: what its sender's thread wrote before is seen after.
        self.count.load(Ordering::Acquire) != 0
    }

    /// How many signals came since the last call; standard signals merge while they are pending.
    #[must_use = "is_raised looks without starting again from zero"]
    pub fn take(&self) -> u64 {
        self.count.swap(0, Ordering::Acquire)
    }

    /// The signals it counts.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        signals_of(&self.registrations)
    }
}
