//! What the kernel tells of a signal that has arrived.

use super::Signal;
use crate::process::{Pid, WaitStatus};
use crate::sys;

/// One received signal: which, why, from whom, with which value.
#[doc(alias = "siginfo_t")]
#[doc(alias = "signalfd_siginfo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    signal: Signal,
    raw: sys::signal::Info,
}

/// Why a signal was sent.
#[doc(alias = "si_code")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A process sent it to this process or its group ([`send`](super::send())). The kernel vouches for the sender.
    #[doc(alias = "SI_USER")]
    Sent,
    /// A process sent it to one thread ([`send_to_thread`](super::send_to_thread)). The kernel vouches for the sender.
    #[doc(alias = "SI_TKILL")]
    SentToThread,
    /// A process sent it with a value ([`queue`](super::queue)). Value, pid and uid are what the sender says.
    #[doc(alias = "SI_QUEUE")]
    Queued,
    /// A message came to an empty POSIX queue that notifies by signal.
    #[doc(alias = "SI_MESGQ")]
    MessageQueue,
    /// A POSIX timer ran out; it had run out this many times more before the signal was received.
    #[doc(alias = "SI_TIMER")]
    Timer {
        /// Expirations that were merged into this signal.
        overrun: u32,
    },
    /// A child ended, stopped or went on. Signals of several children merge: reap until there are no more.
    #[doc(alias = "CLD_EXITED")]
    Child(WaitStatus),
    /// The kernel itself, for a reason of its own (a key on the terminal, a limit).
    #[doc(alias = "SI_KERNEL")]
    Kernel,
    /// Something else; [`SignalInfo::code`] has the number.
    Other,
}

impl SignalInfo {
    pub(crate) fn from_raw(raw: sys::signal::Info) -> Option<Self> {
        Signal::new(raw.signal).map(|signal| Self { signal, raw })
    }

    /// Which signal.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Why it was sent.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self.raw.code {
            libc::SI_USER => Cause::Sent,
            libc::SI_TKILL => Cause::SentToThread,
            libc::SI_QUEUE => Cause::Queued,
            libc::SI_MESGQ => Cause::MessageQueue,
            libc::SI_TIMER => Cause::Timer { overrun: self.raw.uid },
            libc::SI_KERNEL => Cause::Kernel,
            _ => self.child_status().map_or(Cause::Other, Cause::Child),
        }
    }

    /// The kernel's number of the cause (`si_code`).
    #[must_use]
    pub fn code(&self) -> i32 {
        self.raw.code
    }

    /// The process that sent it, or the child that changed, if the cause has one; `None` too if that process cannot be
    /// seen from this process's pid namespace.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        Pid::new(self.raw.pid).filter(|_| self.has_sender())
    }

    /// The real user id of the process that sent it or of the child that changed, if the cause has one.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.has_sender().then_some(self.raw.uid)
    }

    /// The value that was sent along, for the causes that carry one.
    #[must_use]
    pub fn value(&self) -> Option<i32> {
        let carries = matches!(self.cause(), Cause::Queued | Cause::MessageQueue | Cause::Timer { .. });
        carries.then_some(self.raw.value)
    }

    fn has_sender(&self) -> bool {
        !matches!(self.cause(), Cause::Timer { .. } | Cause::Kernel | Cause::Other)
    }

    fn child_status(&self) -> Option<WaitStatus> {
        (self.signal == Signal::CHLD).then(|| WaitStatus::from_code(self.raw.code, self.raw.value))?
    }
}
