//! A child by `fork` alone, without a new program: what handles do in it is a question many tests ask.
//!
//! The tests themselves have several threads, which is why nothing safe offers this. What the child runs may use the
//! allocator, which the C library repairs after a fork, and the handles under test.

use rustix::process::{Pid, WaitOptions, waitpid};

/// A child that runs a part of this process's memory. It is not ended when this is dropped.
#[derive(Debug)]
pub struct Forked {
    pid: Pid,
}

impl Forked {
    /// Forks. The child runs `body` and ends with 0, or with 1 if it panics; nothing else of its parent's runs in it.
    ///
    /// # Panics
    /// If the system refuses.
    #[must_use]
    #[allow(unsafe_code, reason = "fork itself is the subject")]
    pub fn run(body: impl FnOnce()) -> Self {
        // SAFETY: the child uses the allocator, which the C library repairs after a fork, and what `body` captured, whose
        // behaviour in such a child is the subject; then it ends without returning.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let is_done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
            // SAFETY: ends the child without running what belongs to its parent.
            unsafe { libc::_exit(i32::from(!is_done)) };
        }
        Self { pid: Pid::from_raw(pid).expect("a child") }
    }

    /// As [`run`](Self::run), as the first process of a new pid namespace, which is killed when the calling thread ends.
    /// Later children of the caller cannot be born.
    ///
    /// # Panics
    /// If the system refuses: only root may.
    #[must_use]
    #[allow(unsafe_code, reason = "the standard library makes no namespaces")]
    pub fn run_in_pid_namespace(body: impl FnOnce()) -> Self {
        // SAFETY: touches no memory.
        let answer = unsafe { libc::unshare(libc::CLONE_NEWPID) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
        Self::run(|| {
            let dies_with_us = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            dies_with_us.expect("a signal to die by");
            body();
        })
    }

    /// The child's number.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for the child's end.
    ///
    /// # Panics
    /// If it panicked, or was killed.
    pub fn succeeds(self) {
        let (_, status) = waitpid(Some(self.pid), WaitOptions::empty()).expect("our own child").expect("its end");
        assert_eq!(status.exit_status(), Some(0), "the child found what it should not: {status:?}");
    }
}
