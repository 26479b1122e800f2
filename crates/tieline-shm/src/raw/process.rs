//! Who we are: the thread's id, and whether this process is the one that opened a handle.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::private_fd;

/// How many forks lie between this process and the first one that asked: a handle remembers the number it was opened
/// at, and is refused at another.
///
/// One load. Forks made through the C library are seen (`pthread_atfork`); a raw `clone` is not.
#[inline]
pub(crate) fn generation() -> u32 {
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        // SAFETY: the handler uses atomics and system calls only, which is async-signal-safe. If memory is short the
        // call fails, and forks go unseen, as with a raw clone.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    // Relaxed: changed only in a child before it runs anything else.
    FORKS.load(Ordering::Relaxed)
}

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    private_fd::replace_all();
}

/// The kernel's id of this thread, as its own namespace has it.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}
