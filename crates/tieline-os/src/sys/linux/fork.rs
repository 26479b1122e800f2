//! `fork` in a process with one thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use rustix::process::Pid;

/// Why there is no child.
pub(crate) enum NotForked {
    /// The process has so many threads.
    Threads(usize),
    /// The threads cannot be counted.
    Uncounted(Errno),
    /// The kernel refused.
    Failed(Errno),
}

/// The exit code of a child that panicked, as that of a Rust program.
const PANICKED: u8 = 101;

/// Forks if this is the only thread, and runs `body` in the child, which then ends.
pub(crate) fn fork_alone(body: impl FnOnce() -> u8 + Send) -> Result<Pid, NotForked> {
    // Nobody but this thread could start another one between the count and the fork.
    match count_threads().map_err(NotForked::Uncounted)? {
        1 => {}
        count => return Err(NotForked::Threads(count)),
    }
    // SAFETY: with a single thread the child is a whole copy of the process: no lock is held by a thread that is
    // missing, and memory is as this thread left it.
    let answer = unsafe { libc::fork() };
    match answer {
        -1 => Err(NotForked::Failed(super::last_errno())),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
                // Its drop is anybody's code and could panic again, out of here and into the caller's functions.
                std::mem::forget(payload);
                PANICKED
            });
            // SAFETY: ends the process at once, without running anything of ours.
            unsafe { libc::_exit(code.into()) }
        }
        pid => Ok(Pid::from_raw(pid).expect("fork answers a positive id to the parent")),
    }
}

fn count_threads() -> Result<usize, Errno> {
    let entries = std::fs::read_dir("/proc/self/task");
    entries.map(Iterator::count).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::sync::atomic::{AtomicI32, Ordering};
    use std::sync::{Barrier, Mutex};

    use super::*;
    use crate::pthread::{Mutex as SharedMutex, MutexOptions, Place};

    /// Given a process with two threads, one holding a lock, when the other forks without asking, then the child has
    /// the caller alone, and finds the lock, its own copy as well as the shared one, locked by a thread that is gone.
    #[test]
    fn a_fork_with_threads_keeps_the_caller_only_and_the_locks_of_the_others() {
        let memory = crate::mapping::Mapping::anonymous(4096).unwrap();
        // SAFETY: the memory is for this mutex alone.
        let place = unsafe { Place::trusting(&memory, 0) };
        let shared = SharedMutex::create(place, MutexOptions::new()).unwrap();
        let private = Mutex::new(());
        let met = Barrier::new(2);
        let holder_id = AtomicI32::new(0);
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let held = (private.lock(), shared.lock());
                holder_id.store(rustix::thread::gettid().as_raw_pid(), Ordering::Relaxed);
                met.wait();
                met.wait();
                drop(held);
            });
            met.wait();
            let task = format!("/proc/self/task/{}", holder_id.load(Ordering::Relaxed));
            let task = CString::new(task).unwrap();
            assert!(rustix::fs::stat(task.as_c_str()).is_ok(), "the holder is a thread of this process");
            // SAFETY: the child makes system calls and looks at locks without waiting, allocating or printing.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let private_is_locked = private.try_lock().is_err();
                let shared_is_locked = shared.try_lock().is_err_and(|error| error.is_would_block());
                let holder_is_gone = rustix::fs::stat(task.as_c_str()).is_err();
                let as_expected = private_is_locked && shared_is_locked && holder_is_gone;
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!as_expected)) };
            }
            let status = rustix::process::waitpid(Pid::from_raw(child), rustix::process::WaitOptions::empty());
            met.wait();
            holder.join().unwrap();
            assert_eq!(status.unwrap().unwrap().1.exit_status(), Some(0));
        });
    }
}
