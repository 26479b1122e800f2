//! Which of the three standard descriptors were open when the program began.
//!
//! Rust's runtime opens the null device in the place of each that is closed, before `main`, and afterwards nothing tells
//! that one from a null device the parent gave. So it is asked earlier, by a function in `.init_array`, which the
//! dynamic linker or the C library's start code calls before the runtime begins.

use std::sync::atomic::{AtomicU8, Ordering};

/// Bit N says that descriptor N was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Whether a standard descriptor (0, 1 or 2) was closed when the program began.
pub(crate) fn was_closed(number: u8) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << number) != 0
}

extern "C" fn look() {
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
