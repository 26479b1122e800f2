//! Moments as a wall clock shows them: `localtime_r`.

use std::mem::MaybeUninit;

use rustix::io::Errno;

use super::last_errno;

/// The broken-down time of the system's time zone, or of `TZ`.
pub(crate) fn local(seconds: libc::time_t) -> Result<libc::tm, Errno> {
    let mut broken_down = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: the C library reads one time_t and writes one tm; both live through the call. It reads the environment,
    // which a program may change only in unsafe code that answers for this.
    let filled = unsafe { libc::localtime_r(&raw const seconds, broken_down.as_mut_ptr()) };
    if filled.is_null() {
        return Err(last_errno());
    }
    // SAFETY: zeroed before, which all fields take (the name of the zone is a raw pointer), and filled since.
    Ok(unsafe { broken_down.assume_init() })
}
