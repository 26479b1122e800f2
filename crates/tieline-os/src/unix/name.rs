//! Between an [`Address`] and what the kernel takes: long paths are reached through `/proc/self/fd`.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Address;
use super::address::PATH_MAX_BYTES;
use crate::error::{During, Error, Result};
use crate::sys::socket as sys;
use crate::sys::socket::RawName;

/// The name of a socket that exists, with the descriptor that a long path's `/proc` name needs meanwhile.
pub(super) struct Existing {
    raw: RawName,
    _file: Option<OwnedFd>,
}

impl Existing {
    pub(super) fn of(address: &Address, operation: &'static str) -> Result<Self> {
        if address.is_unnamed() {
            return Err(Error::invalid(operation, "an unnamed socket cannot be reached by its name"));
        }
        if let Some(raw) = address.to_raw() {
            return Ok(Self { raw, _file: None });
        }
        let path = address.as_path().unwrap_or(Path::new(""));
        let file = pin(path, OFlags::empty()).map_err(|errno| Error::new(operation, errno).on(address))?;
        Ok(Self { raw: through_proc(&file, None).during(operation)?, _file: Some(file) })
    }

    pub(super) fn raw(&self) -> &RawName {
        &self.raw
    }
}

/// The name of a socket to be made, with the directory that a long path's `/proc` name needs meanwhile.
pub(super) struct New {
    raw: RawName,
    _directory: Option<OwnedFd>,
}

impl New {
    pub(super) fn of(address: &Address, operation: &'static str) -> Result<Self> {
        if let Some(raw) = address.to_raw() {
            return Ok(Self { raw, _directory: None });
        }
        let path = address.as_path().unwrap_or(Path::new(""));
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else {
            return Err(Error::invalid(operation, "the path has no file name").on(address));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let directory =
            pin(parent, OFlags::DIRECTORY).map_err(|errno| Error::new(operation, errno).on(parent.display()))?;
        let raw = through_proc(&directory, Some(Path::new(file))).map_err(|_| {
            let len = file.len();
            let why = format!("a socket's file name may have about 85 bytes, and the last part of this path has {len}");
            Error::invalid(operation, why).on(address)
        })?;
        Ok(Self { raw, _directory: Some(directory) })
    }

    pub(super) fn raw(&self) -> &RawName {
        &self.raw
    }
}

/// Holds a file without opening it.
pub(super) fn pin(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty())
}

/// The `/proc` name of a pinned file, or of a file in a pinned directory.
pub(super) fn through_proc(pinned: &OwnedFd, file: Option<&Path>) -> Result<RawName, Errno> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", pinned.as_raw_fd()));
    path.extend(file);
    let fits = path.as_os_str().len() <= PATH_MAX_BYTES;
    Address::path(path).ok().filter(|_| fits).and_then(|address| address.to_raw()).ok_or(Errno::NAMETOOLONG)
}

pub(super) fn local(fd: BorrowedFd<'_>) -> Result<Address> {
    sys::local_name(fd).map(|raw| Address::from_raw(&raw)).during("read the name of a Unix socket")
}

pub(super) fn peer(fd: BorrowedFd<'_>) -> Result<Address> {
    sys::peer_name(fd).map(|raw| Address::from_raw(&raw)).during("read the name of a Unix socket's peer")
}
