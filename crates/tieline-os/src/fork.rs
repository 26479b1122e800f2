//! A child process that shares this one's memory mappings and descriptors: `fork`, where it is safe.
//!
//! What has no name (an anonymous [`Mapping`](crate::mapping::Mapping), a pipe, a locked place in shared memory)
//! travels to a child by `fork`. The invariant: only a process with one thread forks. In a process with several,
//! the child has the caller's thread alone, every lock another thread held stays locked there for ever, the
//! allocator's and the standard library's included, and its memory is not even a picture of one moment, because the
//! others went on writing while it was copied. POSIX therefore allows such a child nothing but the
//! async-signal-safe functions until it calls `exec`, which no closure can promise. A program with threads starts a
//! child with [`std::process::Command`] and passes descriptors.
//!
//! Sources: POSIX.1-2024 `fork`, `_Fork`, `_exit`; fork(2).

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::error::{During, Error, ErrorKind, Result};
use crate::sys;

const FORK: &str = "fork";

/// Runs `body` in a child process, a copy of this one that shares its shared mappings and open files, and returns to
/// the caller at once. The child ends with the number `body` returns, or 101 if it panics.
///
/// The child never returns into the caller's functions, so nothing that stands in them is dropped twice: no guard
/// of a lock the parent holds, no temporary directory. `body` is dropped in the parent. It is `Send`, so that it
/// cannot take a lock's guard along; the child owns none of the parent's locks. The child does not run exit handlers,
/// and does not flush what stands in the buffer of standard output.
///
/// ```standalone_crate
/// use std::sync::atomic::Ordering;
/// use tieline_os::mapping::Mapping;
///
/// # fn main() -> tieline_os::Result<()> {
/// let shared = Mapping::anonymous(4096)?;
/// let word = shared.atomic_u32(0)?;
/// let child = tieline_os::fork::fork(|| {
///     word.store(7, Ordering::Release);
///     3
/// })?;
/// assert_eq!(child.wait()?.code(), Some(3));
/// assert_eq!(word.load(Ordering::Acquire), 7);
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use tieline_os::mapping::Mapping;
/// # use tieline_os::pthread::{Place, RwLock};
/// # let memory = Mapping::anonymous(4096).unwrap();
/// # // SAFETY: the memory is for this lock alone.
/// # let place = unsafe { Place::trusting(&memory, 0) };
/// # let lock = RwLock::create(place).unwrap();
/// let guard = lock.write().unwrap();
/// tieline_os::fork::fork(|| {
///     drop(guard); // the lock is the parent's
///     0
/// });
/// ```
///
/// # Errors
/// * `Busy`: the process has other threads.
/// * `LimitReached` (`EAGAIN`): too many processes of this user, or in this control group; `OutOfMemory`.
/// * `Unsupported`: `/proc` is not there to count the threads.
pub fn fork(body: impl FnOnce() -> u8 + Send) -> Result<Child> {
    match sys::fork::fork_alone(body) {
        Ok(pid) => Ok(Child { pid }),
        Err(sys::fork::NotForked::Threads(count)) => Err(Error::of_kind(
            FORK,
            ErrorKind::Busy,
            format!("{count} threads run, and locks they hold would stay locked in the child; start a program instead"),
        )),
        Err(sys::fork::NotForked::Uncounted(errno)) => Err(Error::new(FORK, errno)
            .sorted_as(ErrorKind::Unsupported)
            .hint("/proc is needed to see that this is the only thread")),
        Err(sys::fork::NotForked::Failed(errno @ Errno::AGAIN)) => Err(Error::new(FORK, errno)
            .sorted_as(ErrorKind::LimitReached)
            .hint("too many processes (RLIMIT_NPROC, pids.max)")),
        Err(sys::fork::NotForked::Failed(errno)) => Err(Error::new(FORK, errno)),
    }
}

/// A child made by [`fork`]. Dropping it neither ends the child nor waits for it; a child nobody waits for stays as
/// a zombie until this process ends.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
}

impl Child {
    /// The child's process id; it is not used again before [`wait`](Self::wait).
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Waits for the child's end. A signal handler that runs meanwhile does not end the wait.
    ///
    /// # Errors
    /// `NotFound` (`ECHILD`) if somebody else has waited for it, or this process ignores `SIGCHLD`.
    #[doc(alias = "waitpid")]
    pub fn wait(self) -> Result<ExitStatus> {
        loop {
            match waitpid(Some(self.pid), WaitOptions::empty()) {
                Err(Errno::INTR) => {}
                Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
                // Only a call that does not wait finds nothing to tell.
                Ok(None) => {}
                Err(errno) => return Err(errno).during("wait for child"),
            }
        }
    }
}
