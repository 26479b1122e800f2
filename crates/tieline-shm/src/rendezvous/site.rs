//! Where a name lies: its directory, and its files in it.

use std::sync::Arc;

use rustix::fs::AtFlags;
use tieline_os::unix::Address;

use super::Name;
use super::directory::Directory;
use super::lock::LockFile;

/// Where a name lies.
pub(super) struct Site {
    pub(super) name: Name,
    pub(super) directory: Arc<Directory>,
}

impl Site {
    pub(super) fn lock_file(&self) -> String {
        format!("{}.lock", self.name.as_str())
    }

    pub(super) fn socket_file(&self) -> String {
        format!("{}.sock", self.name.as_str())
    }

    /// The socket before it has its name.
    pub(super) fn new_socket_file(&self) -> String {
        format!("{}.new", self.name.as_str())
    }

    /// Takes the files away if nobody uses the name any more. To be called with no lock held: of several who leave at
    /// the same time, or were about to join and found nobody, the one who looks last sees that the others have let go.
    pub(super) fn remove_if_unused(&self, file: &LockFile) {
        let unused = || matches!(file.is_wanted(), Ok(false));
        if unused()
            && let Ok(Some(_locked)) = file.try_host()
            && unused()
            && file.has_its_name(&self.directory, &self.lock_file())
        {
            // The socket first: while the lock file has its name, nobody else touches the socket.
            for file in [self.socket_file(), self.lock_file()] {
                let _ = rustix::fs::unlinkat(self.directory.fd(), file.as_str(), AtFlags::empty());
            }
        }
    }

    pub(super) fn address(&self) -> tieline_os::Result<Address> {
        Address::path(self.directory.reach(&self.socket_file()))
    }
}
