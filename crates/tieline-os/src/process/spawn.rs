//! Ties between parent and child, and what happens between fork and exec.

use std::os::fd::AsFd;
use std::process::Command;

use crate::error::{During, Result};
use crate::signal::{Signal, SignalSet};
use crate::sys::process as sys;

/// Lets the kernel send `signal` to this process when its parent *thread* ends; `None` takes it back.
///
/// The thread that spawned this process counts, not its process: with a parent that spawns from short-lived threads,
/// the signal comes while the parent lives. Lost on fork, kept on exec, except of a set-user-id or set-group-id
/// program. If the parent has ended before this call nothing comes; [`SpawnExt::die_with_parent`] closes that gap.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "prctl", alias = "PR_SET_PDEATHSIG")]
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    sys::set_parent_death_signal(signal.map_or(0, Signal::number)).during("set the parent-death signal")
}

/// The signal that comes when the parent thread ends, if one is set.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "PR_GET_PDEATHSIG")]
pub fn parent_death_signal() -> Result<Option<Signal>> {
    sys::parent_death_signal().map(Signal::new).during("read the parent-death signal")
}

/// Makes this process the new parent of descendants whose own parent has ended (or no longer so).
///
/// It must then wait for children it did not start.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "PR_SET_CHILD_SUBREAPER")]
pub fn set_child_subreaper(on: bool) -> Result<()> {
    sys::set_child_subreaper(on).during("become a subreaper")
}

/// Whether this process is a subreaper.
///
/// # Errors
/// None in a usual process.
#[doc(alias = "PR_GET_CHILD_SUBREAPER")]
pub fn is_child_subreaper() -> Result<bool> {
    sys::child_subreaper().during("ask for a subreaper")
}

/// What [`Command`] lacks between fork and exec.
///
/// Each makes `spawn` take the slower way of fork and exec. They run in the child in the order of their calls, after
/// everything `Command` itself does there; if one fails, `spawn` returns its error.
///
/// ```
/// use tieline_os::process::{self, Pid, SpawnExt, WaitStatus};
/// use tieline_os::signal::Signal;
/// let spawn = || std::process::Command::new("sleep").arg("60").die_with_parent(Signal::KILL).spawn();
/// let child = std::thread::spawn(spawn).join().unwrap().unwrap();
/// // The parent thread has ended.
/// let end = process::wait_timeout(Pid::of(&child), std::time::Duration::from_secs(10))?;
/// assert_eq!(end, WaitStatus::Killed { signal: Signal::KILL, core_dumped: false });
/// # Ok::<(), tieline_os::Error>(())
/// ```
pub trait SpawnExt {
    /// The child gets `signal` when the *thread* that spawns it ends, however it ends; see
    /// [`set_parent_death_signal`]. The calling process must be the one that spawns.
    #[doc(alias = "PR_SET_PDEATHSIG")]
    fn die_with_parent(&mut self, signal: Signal) -> &mut Self;

    /// The child's program starts with exactly `signals` blocked, instead of what the spawning thread blocks.
    fn signal_mask(&mut self, signals: impl Into<SignalSet>) -> &mut Self;

    /// The child's program starts with the default action for `signals`, also for those this process ignores.
    fn default_signals(&mut self, signals: impl Into<SignalSet>) -> &mut Self;

    /// The child leads a session of its own, with `terminal` as its controlling terminal if one is given.
    ///
    /// Do not combine with `process_group`: the leader of a group cannot make a session.
    ///
    /// # Errors
    /// `LimitReached` if the terminal's descriptor cannot be duplicated.
    #[doc(alias = "setsid")]
    #[doc(alias = "TIOCSCTTY")]
    fn new_session(&mut self, terminal: Option<&dyn AsFd>) -> Result<&mut Self>;
}

/// The lowest descriptor that is none of the standard streams, which a child replaces before the steps here run.
const ABOVE_STANDARD: i32 = 3;

impl SpawnExt for Command {
    fn die_with_parent(&mut self, signal: Signal) -> &mut Self {
        sys::die_with_parent(self, signal.number());
        self
    }

    fn signal_mask(&mut self, signals: impl Into<SignalSet>) -> &mut Self {
        sys::start_with_mask(self, signals.into().bits());
        self
    }

    fn default_signals(&mut self, signals: impl Into<SignalSet>) -> &mut Self {
        sys::start_with_default(self, signals.into().bits());
        self
    }

    fn new_session(&mut self, terminal: Option<&dyn AsFd>) -> Result<&mut Self> {
        let duplicate = |terminal: &dyn AsFd| rustix::io::fcntl_dupfd_cloexec(terminal.as_fd(), ABOVE_STANDARD);
        sys::start_session(self, terminal.map(duplicate).transpose().during("duplicate the terminal")?);
        Ok(self)
    }
}
