//! Counting signals: how a test sees that one arrived, or lets one interrupt a call.

use std::sync::atomic::{AtomicUsize, Ordering};

const SIGNALS: usize = 65;

static COUNTS: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(0) }; SIGNALS];

extern "C" fn count(signal: libc::c_int) {
    if let Some(count) = usize::try_from(signal).ok().and_then(|signal| COUNTS.get(signal)) {
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Installs a handler that counts this signal, restarting interrupted calls (`SA_RESTART`) or not. It is the whole
/// process's, so call this in a [`Peer`](crate::Peer).
///
/// # Panics
/// If there is no such signal, or it cannot be caught.
pub fn count_signal(signal: i32, restart: bool) {
    // SAFETY: a sigaction is integers, a mask and pointers, for all of which zero is a value.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = count as *const () as usize;
    action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
    // SAFETY: the handler only adds to an atomic, which is async-signal-safe; both pointers are good for the call.
    let answer = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    assert_eq!(answer, 0, "signal {signal} cannot be caught");
}

/// How many of this signal the handler has counted.
#[must_use]
pub fn signals_counted(signal: i32) -> usize {
    usize::try_from(signal).ok().and_then(|signal| COUNTS.get(signal)).map_or(0, |count| count.load(Ordering::SeqCst))
}
