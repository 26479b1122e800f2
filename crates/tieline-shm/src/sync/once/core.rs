//! The protocol of a value that is made once: a word that says whether it is there, and a lock for those who make it.
//!
//! The word is set after the value is whole, while the lock is held, and never changes again. A maker that dies before
//! leaves the word as it was, and the lock to the next, who makes the value as if nobody had begun.

use crate::Result;
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::robust::planted;
use crate::raw::robust::step;

/// The value is there, and is never written again.
pub(crate) const DONE: u64 = 1;

/// The value, if it is there.
pub(crate) fn look<T>(done: &AtomicU64, read: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    // Acquire: pairs with the release below.
    if done.load(Ordering::Acquire) == DONE { read().map(Some) } else { Ok(None) }
}

/// The value; made by `make` if it is not there, which `lock` sees to that one does at a time.
///
/// # Errors
/// Those of `lock` and `read`.
pub(crate) fn look_or_make<T, G>(
    done: &AtomicU64,
    read: impl Fn() -> Result<T>,
    lock: impl FnOnce() -> Result<G>,
    make: impl FnOnce() -> T,
) -> Result<T> {
    if let Some(value) = look(done, &read)? {
        return Ok(value);
    }
    let held = lock()?;
    // Another may have made it while we waited.
    if let Some(value) = look(done, &read)?.filter(|_| !planted("nobody looks again")) {
        return Ok(value);
    }
    step("once:begun");
    if planted("done too early") {
        done.store(DONE, Ordering::Release);
    }
    let value = make();
    step("once:made");
    // Release: pairs with the acquire in `look`.
    done.store(DONE, if planted("release is missing") { Ordering::Relaxed } else { Ordering::Release });
    step("once:done");
    drop(held);
    Ok(value)
}
