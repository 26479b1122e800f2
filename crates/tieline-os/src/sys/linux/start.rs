//! What the parent gave this program and Rust's runtime changes before `main`: which of the three standard descriptors were
//! open, and whether SIGPIPE was ignored.
//!
//! The runtime opens the null device in the place of each descriptor that is closed, and afterwards nothing tells that one
//! from a null device the parent gave; and it ignores SIGPIPE in any case. So it is asked earlier, by a function in `.init_array`, which the
//! dynamic linker or the C library's start code calls before the runtime begins.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Bit N says that descriptor N was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether a standard descriptor (0, 1 or 2) was closed when the program began.
pub(crate) fn was_closed(number: u8) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}

static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Whether the program was started with SIGPIPE ignored.
pub(crate) fn was_sigpipe_ignored() -> bool {
    SIGPIPE_IGNORED.load(Ordering::Relaxed)
}

extern "C" fn look() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with no new action sigaction only writes the present one, for which there is room. It is
    // async-signal-safe and needs nothing of a runtime.
    if unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) } == 0 {
        // SAFETY: zeroed, which integers and the optional function pointer take, and filled by the call.
        let handler = unsafe { action.assume_init() }.sa_sigaction;
        // Relaxed: as below.
        SIGPIPE_IGNORED.store(handler == libc::SIG_IGN, Ordering::Relaxed);
    }
    for number in 0..3_u8 {
        // SAFETY: F_GETFD takes no further argument, and looking at a number that is no descriptor is an error, not a
        // fault. It is async-signal-safe and needs nothing of a runtime.
        if unsafe { libc::fcntl(number.into(), libc::F_GETFD) } == -1 {
            // Relaxed: written before there is a second thread, and never again.
            CLOSED.fetch_or(1 << number, Ordering::Relaxed);
        }
    }
}

// SAFETY: the section holds pointers to functions that are called with C's convention and arguments this one ignores,
// as the ELF specification (gABI, "Initialization and Termination Functions") has it; `look` neither unwinds nor uses
// anything that the start of the program has still to set up.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
