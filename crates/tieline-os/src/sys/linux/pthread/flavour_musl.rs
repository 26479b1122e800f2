//! What is particular to musl.

use rustix::io::Errno;

/// The number of this library in the header of an object.
pub(super) const LIBC: u8 = 2;
/// Its name, for people.
pub(super) const NAMES: &[(u8, &str)] = &[(1, "glibc"), (2, "musl")];

/// musl does not tell its version.
pub(super) fn version() -> (u8, u8) {
    (0, 0)
}

/// musl has one kind of reader-writer lock.
pub(super) fn prefer_writers(_: &mut libc::pthread_rwlockattr_t) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}
