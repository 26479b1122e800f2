//! What a thread shares with the rest of its process.

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Gives the calling thread a root, a working directory and a umask of its own, with the values they have now.
pub(crate) fn unshare_file_system_state() -> Result<(), Errno> {
    // SAFETY: what could break memory or descriptors of other threads is a table of descriptors of one's own, and
    // `FILES` is not asked for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
}
