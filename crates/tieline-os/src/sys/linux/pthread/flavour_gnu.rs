//! What is particular to the GNU C library.

use rustix::io::Errno;

/// The number of this library in the header of an object.
pub(super) const LIBC: u8 = 1;
/// Its name, for people.
pub(super) const NAMES: &[(u8, &str)] = &[(1, "glibc"), (2, "musl")];

/// The running version. Objects changed their inner layout between versions (condition variables in 2.25 and 2.41),
/// and the library promises nothing across versions.
pub(super) fn version() -> (u8, u8) {
    // SAFETY: takes nothing, returns a static string.
    let text = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: the string is static and ends with NUL.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    let mut numbers = text.to_str().unwrap_or_default().split('.').map(|number| number.parse().unwrap_or(u8::MAX));
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// From `pthread.h`: prefers writers, and a reader must not lock twice.
const PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP: libc::c_int = 2;

/// Makes a reader-writer lock let no new reader in while a writer waits.
pub(super) fn prefer_writers(attributes: &mut libc::pthread_rwlockattr_t) -> Result<(), Errno> {
    // SAFETY: the attributes are initialised (the caller holds them by reference) and the kind is one of the three.
    super::check(unsafe {
        libc::pthread_rwlockattr_setkind_np(attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    })
}
