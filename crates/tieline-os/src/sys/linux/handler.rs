//! The signal handler of this crate, and the table that tells it where to put what came.
//!
//! One slot per signal. A registration publishes its target in the slot and installs the handler; taking it away
//! restores the old action, empties the slot, and waits until no thread is inside the handler any more. Only then may
//! the target (and the pipe's descriptor, whose number could be used again) go. There is no lock: the handler could
//! interrupt its owner, and a forked child would inherit it locked.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicIsize, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Once};

use rustix::io::Errno;

use super::check;
use super::signal::Info;

/// Where a handler puts what came.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    /// Writes the byte form of [`Info`]; a full pipe costs one more `lost`.
    Pipe { write: Arc<OwnedFd>, lost: Arc<AtomicU64> },
    /// Adds one.
    Count(Arc<AtomicU64>),
}

/// What the kernel does on a signal: an action it has told us of, or one made here. So installing it is sound.
#[derive(Clone, Copy)]
pub(crate) struct Action(libc::sigaction);

impl Action {
    pub(crate) fn ignore() -> Self {
        let mut action = Self::default();
        action.0.sa_sigaction = libc::SIG_IGN;
        action
    }

    /// Our handler, with all other signals held back while it runs: handlers do not pile up on a small stack. Faults
    /// stay open, because a blocked fault kills without a trace; with NODEFER so does the signal itself.
    fn ours(signal: i32, flags: i32) -> Self {
        let mut action = Self::default();
        action.0.sa_sigaction = handle as extern "C" fn(_, _, _) as usize;
        action.0.sa_flags = libc::SA_SIGINFO | flags;
        fill(&mut action.0.sa_mask);
        let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        let itself = (flags & libc::SA_NODEFER != 0).then_some(signal);
        for open in faults.into_iter().chain(itself) {
            // SAFETY: the set was initialised by `fill`; `open` is a signal number.
            unsafe { libc::sigdelset(&raw mut action.0.sa_mask, open) };
        }
        action
    }

    pub(crate) fn is_default(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_DFL
    }

    pub(crate) fn is_ignore(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_IGN
    }

    fn is_ours(&self) -> bool {
        self.0.sa_sigaction == handle as extern "C" fn(_, _, _) as usize
    }
}

impl Default for Action {
    fn default() -> Self {
        // SAFETY: all zero is SIG_DFL with an empty mask and no flags; the struct holds integers and an optional
        // function.
        Self(unsafe { MaybeUninit::zeroed().assume_init() })
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Action({:#x}, flags {:#x})", self.0.sa_sigaction, self.0.sa_flags)
    }
}

fn fill(set: &mut libc::sigset_t) {
    // SAFETY: writes the set it is given and nothing else.
    unsafe { libc::sigfillset(set) };
}

/// What is done on `signal` now. EINVAL for numbers that are no signal of the program.
pub(crate) fn action(signal: i32) -> Result<Action, Errno> {
    let mut action = Action::default();
    // SAFETY: without a new action only reads; `action` has room for the old one.
    check(unsafe { libc::sigaction(signal, ptr::null(), &raw mut action.0) })?;
    Ok(action)
}

/// Async-signal-safe.
pub(crate) fn set_action(signal: i32, action: &Action) -> Result<(), Errno> {
    // SAFETY: an `Action` is default, ignore, our handler, or one that was installed before and so is a function that
    // may be called as a handler for as long as the code that installed it stays loaded, which it had to promise.
    check(unsafe { libc::sigaction(signal, &raw const action.0, ptr::null_mut()) }).map(drop)
}

struct Slot {
    /// How many threads run the handler between taking the target and being done with it.
    inside: AtomicIsize,
    target: AtomicPtr<Target>,
}

#[derive(Debug)]
struct Target {
    sink: Sink,
    before: Action,
}

static SLOTS: [Slot; 65] =
    [const { Slot { inside: AtomicIsize::new(0), target: AtomicPtr::new(ptr::null_mut()) } }; 65];

fn slot(signal: i32) -> Option<&'static Slot> {
    SLOTS.get(usize::try_from(signal).ok()?)
}

pub(crate) fn is_registered(signal: i32) -> bool {
    slot(signal).is_some_and(|slot| !slot.target.load(Ordering::Acquire).is_null())
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the address of this thread's errno is valid while the thread runs.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above; nothing else of this thread runs meanwhile.
    let kept = unsafe { *errno };
    if let Some(slot) = slot(signal) {
        // Both SeqCst, against `Registration::drop`: there the pointer is cleared and then the count read, here the
        // count is raised and then the pointer read. In the one order of all four, either we see the pointer cleared
        // or the owner sees the count raised and waits.
        slot.inside.fetch_add(1, Ordering::SeqCst);
        let target = slot.target.load(Ordering::SeqCst);
        // SAFETY: not null means published by a registration whose drop waits for `inside` to come down to zero
        // before it lets go of the target; we are counted.
        if let Some(target) = unsafe { target.as_ref() } {
            // SAFETY: with SA_SIGINFO the kernel passes a complete siginfo_t that lives while the handler runs.
            if let Some(info) = unsafe { info.as_ref() } {
                deliver(&target.sink, info);
            }
        }
        // Release, with the load in `Registration::drop`: our use of the target is over before the owner goes on.
        slot.inside.fetch_sub(1, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { *errno = kept };
}

fn deliver(sink: &Sink, info: &libc::siginfo_t) {
    match sink {
        // Release, with the acquire in `Flag`.
        Sink::Count(count) => drop(count.fetch_add(1, Ordering::Release)),
        Sink::Pipe { write, lost } => {
            let record = Info::from_siginfo(info).to_bytes();
            // SAFETY: the descriptor is open while its Arc lives, `record` is BYTES long; write is async-signal-safe
            // and does not block, because the pipe was made so.
            let written = unsafe { libc::write(write.as_raw_fd(), record.as_ptr().cast(), record.len()) };
            if written < 0 {
                // Relaxed: a count by itself.
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A signal whose handler is ours and puts what comes into a sink. Dropping it restores what was done before.
#[derive(Debug)]
pub(crate) struct Registration {
    signal: i32,
    target: Arc<Target>,
}

impl Registration {
    /// EBUSY if the signal is registered already, EINVAL if it cannot be handled.
    pub(crate) fn new(signal: i32, flags: i32, sink: Sink) -> Result<Self, Errno> {
        forget_in_children();
        let slot = slot(signal).ok_or(Errno::INVAL)?;
        let target = Arc::new(Target { sink, before: action(signal)? });
        // AcqRel: the release publishes the target's contents to the handler, the acquire follows the last owner's
        // clearing.
        let published = slot.target.compare_exchange(
            ptr::null_mut(),
            Arc::as_ptr(&target).cast_mut(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        published.map_err(|_| Errno::BUSY)?;
        // From here on `drop` tidies up, also if the kernel refuses.
        let registration = Self { signal, target };
        set_action(signal, &Action::ours(signal, flags))?;
        Ok(registration)
    }

    pub(crate) fn signal(&self) -> i32 {
        self.signal
    }

    fn is_published(&self, slot: &Slot) -> bool {
        ptr::eq(slot.target.load(Ordering::Acquire), Arc::as_ptr(&self.target))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // In a forked child the slot is empty already, or another's.
        let Some(slot) = slot(self.signal).filter(|slot| self.is_published(slot)) else { return };
        if action(self.signal).is_ok_and(|action| action.is_ours()) {
            let _ = set_action(self.signal, &self.target.before);
        }
        // SeqCst twice: see `handle`.
        slot.target.store(ptr::null_mut(), Ordering::SeqCst);
        while slot.inside.load(Ordering::SeqCst) > 0 {
            // Another thread is in the middle of the handler, some microseconds of work; a sleep, not a yield, lets
            // it run even if its priority is lower than ours.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    }
}

/// Makes every forked child start with the actions from before, so that its signals do not go to our pipes.
fn forget_in_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `forget` may run in a forked child: it only loads and stores atomics and calls sigaction. Without
        // memory for the entry nothing is registered, and a child's signals go to the shared pipe until its exec.
        unsafe { libc::pthread_atfork(None, None, Some(forget)) };
    });
}

extern "C" fn forget() {
    for (signal, slot) in (0..).zip(&SLOTS) {
        // Only this thread exists in the child, and it is here and not in the handler.
        slot.inside.store(0, Ordering::Relaxed);
        let target = slot.target.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: at the moment of the fork the target was published, hence alive; the child has its own copy.
        if let Some(target) = unsafe { target.as_ref() } {
            let _ = set_action(signal, &target.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{Disposition, Pipe, Signal, disposition, raise};

    #[test]
    fn a_forked_child_has_the_dispositions_from_before_and_leaves_the_pipe_alone() {
        // Ignored by default, so that a child without our handler survives it.
        let pipe = Pipe::new(Signal::URG).unwrap();
        // SAFETY: the child makes only async-signal-safe calls and leaves by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let raised = raise(Signal::URG).is_ok();
            let is_default = action(libc::SIGURG).is_ok_and(|action| action.is_default());
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(if raised && is_default && !is_registered(libc::SIGURG) { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `status` has room for the int the kernel writes.
        check(unsafe { libc::waitpid(child, &raw mut status, 0) }).unwrap();
        assert_eq!(libc::WEXITSTATUS(status), 7);
        assert!(pipe.try_receive().unwrap_err().is_would_block());
        assert_eq!(disposition(Signal::URG).unwrap(), Disposition::Handled);
        raise(Signal::URG).unwrap();
        assert_eq!(pipe.receive().unwrap().signal(), Signal::URG);
    }
}
