//! Telling a forked child from its parent, without entering the kernel.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

/// How many forks lie between the process this counter began in and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process in which something was made that a forked child must leave alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birthplace(u32);

impl Birthplace {
    /// This process; `ENOMEM` if there is no memory to be told of forks.
    pub(crate) fn here() -> Result<Self, Errno> {
        static COUNTING: OnceLock<i32> = OnceLock::new();
        // SAFETY: `count_fork` may run in a forked child, as it only adds to an atomic.
        let answer = *COUNTING.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(count_fork)) });
        // Relaxed: it changes only while the process has no other thread.
        if answer == 0 { Ok(Self(FORKS.load(Ordering::Relaxed))) } else { Err(Errno::from_raw_os_error(answer)) }
    }

    /// Whether this is still that process. Enters no kernel.
    pub(crate) fn is_here(self) -> bool {
        self.0 == FORKS.load(Ordering::Relaxed)
    }
}

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
