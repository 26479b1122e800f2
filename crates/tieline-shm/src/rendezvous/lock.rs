//! The lock file of a name: who hosts it, and whether anybody uses it.
//!
//! Three bytes are locked, by open file description, so that the kernel lets go of them at a death:
//! * byte 0, exclusively, by the host;
//! * byte 1, shared, by every member whose user may open the file: while it is locked, the name is in use, host or not;
//! * byte 2, shared, by whoever is about to join: the last host does not take the files away under its feet.
//!
//! The invariant: byte 0 decides who may change the files of the name. A lock counts only if the file still has its
//! name once it is locked, since the last host removes the file.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tieline_os::lock::{LockKind, RangeLock, range_holder};

use super::directory::Directory;
use crate::error::{Error, Result};
use crate::raw::private_fd::Private;

const LOCK: &str = "lock the name";

const HOST: std::ops::Range<u64> = 0..1;
const MEMBER: std::ops::Range<u64> = 1..2;
const JOINING: std::ops::Range<u64> = 2..3;

/// The open lock file.
#[derive(Clone, Debug)]
pub(super) struct LockFile(Arc<Private<File>>);

/// A locked byte.
pub(super) type Locked = RangeLock<SharedFile>;

/// A share of the open file, so that each lock may own one.
#[derive(Clone, Debug)]
pub(super) struct SharedFile(Arc<Private<File>>);

impl std::os::fd::AsFd for SharedFile {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&*self.0)
    }
}

/// That this process uses a name: the open lock file, with byte 1 locked. All memberships of the process in one name
/// share one, so that a further one costs no descriptor.
///
/// Who wants to be the host locks byte 0 through a file opened for that: locks of one open file do not exclude each
/// other, and two memberships of one process are as many candidates as two of two.
#[derive(Debug)]
pub(super) struct NameUse {
    file: LockFile,
    locked: Locked,
}

impl NameUse {
    pub(super) fn new(file: LockFile, locked: Locked) -> Self {
        Self { file, locked }
    }

    pub(super) fn file(&self) -> &LockFile {
        &self.file
    }

    /// Lets go of byte 1. To be called by the last who shares it.
    pub(super) fn end(self) -> LockFile {
        drop(self.locked);
        self.file
    }

    pub(super) fn is_of_the_same_file(&self, other: &Self) -> bool {
        let ours = self.file.identity();
        ours.is_some() && ours == other.file.identity()
    }
}

/// What opening the lock file came to.
pub(super) enum Found {
    File(LockFile),
    Missing,
    /// Another user's, who does not let us lock it: we can be a member and never the host.
    NotOurs,
}

impl LockFile {
    /// Opens the file, or makes it.
    pub(super) fn open(directory: &Directory, file: &str, make: bool) -> Result<Found> {
        let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags.set(OFlags::CREATE, make);
        match rustix::fs::openat(directory.fd(), file, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(Found::File(Self(Arc::new(Private::new(File::from(fd)))))),
            Err(Errno::NOENT) if !make => Ok(Found::Missing),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if !make => Ok(Found::NotOurs),
            // In a directory with the sticky bit the kernel refuses O_CREAT on another user's file; it may still open.
            Err(Errno::ACCESS | Errno::PERM) if is_there(directory, file) => Ok(Found::NotOurs),
            Err(errno) => {
                let error = tieline_os::Error::from_errno("open the lock file", errno.raw_os_error());
                let refused = Error::system_refused(LOCK, error).on(directory.path().join(file).display());
                Err(match errno {
                    Errno::LOOP => refused.because("it is a symbolic link, and is left alone"),
                    Errno::ROFS => refused.because("the file system is read-only, so no name can be made here"),
                    Errno::ACCESS | Errno::PERM => refused.because("you may not make names in this directory"),
                    _ => refused,
                })
            }
        }
    }

    /// Whether the file we have open is still the one with the name.
    pub(super) fn has_its_name(&self, directory: &Directory, file: &str) -> bool {
        let there =
            rustix::fs::statat(directory.fd(), file, AtFlags::SYMLINK_NOFOLLOW).map(|stat| (stat.st_dev, stat.st_ino));
        let ours = self.identity();
        ours.is_some() && ours == there.ok()
    }

    /// What tells one file from another as long as it is open.
    fn identity(&self) -> Option<(u64, u64)> {
        rustix::fs::fstat(&**self.0).map(|stat| (stat.st_dev, stat.st_ino)).ok()
    }

    /// Becomes the host, if nobody is.
    pub(super) fn try_host(&self) -> Result<Option<Locked>> {
        self.try_lock(LockKind::Exclusive, HOST)
    }

    /// Says that we use the name.
    pub(super) fn member(&self) -> Result<Option<Locked>> {
        self.try_lock(LockKind::Shared, MEMBER)
    }

    /// Says that we are about to.
    pub(super) fn joining(&self) -> Result<Option<Locked>> {
        self.try_lock(LockKind::Shared, JOINING)
    }

    /// Whether anybody but us is a member.
    pub(super) fn has_members(&self) -> Result<bool> {
        self.is_locked(MEMBER)
    }

    /// Whether anybody but us is a member or about to become one.
    pub(super) fn is_wanted(&self) -> Result<bool> {
        self.is_locked(MEMBER.start..JOINING.end)
    }

    /// Whether anybody but us is the host.
    pub(super) fn has_host(&self) -> Result<bool> {
        self.is_locked(HOST)
    }

    fn try_lock(&self, kind: LockKind, range: std::ops::Range<u64>) -> Result<Option<Locked>> {
        match RangeLock::try_lock(SharedFile(Arc::clone(&self.0)), kind, range) {
            Ok(locked) => Ok(Some(locked)),
            Err(error) if error.is_would_block() => Ok(None),
            Err(error) => Err(Error::system_refused(LOCK, error)),
        }
    }

    fn is_locked(&self, range: std::ops::Range<u64>) -> Result<bool> {
        // What we hold ourselves, through the same description, is not reported.
        let holder = range_holder(&**self.0, LockKind::Exclusive, range);
        holder.map(|holder| holder.is_some()).map_err(|error| Error::system_refused(LOCK, error))
    }
}

fn is_there(directory: &Directory, file: &str) -> bool {
    rustix::fs::statat(directory.fd(), file, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}
