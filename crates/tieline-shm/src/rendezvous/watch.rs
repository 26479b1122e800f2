//! Being told when somebody may have begun to answer for a name, without asking again and again.
//!
//! The invariant: a host that binds the name after the watch was made is told of: it moves its socket to the name's
//! file, and that is an event of the directory. The watch tells nothing of whether that host still lives.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tieline_os::inotify::{Inotify, Options, What};

use super::Name;
use super::directory::Directory;
use super::site::Site;
use crate::error::{Error, ErrorKind, Result};

const WATCH: &str = "wait for a name";

/// The directory of a name, watched for the name's socket.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Inotify,
    socket: OsString,
}

impl Watch {
    /// Watches the directory of `name`; the user's own is made if it is not there.
    ///
    /// # Errors
    /// `NotFound` for a directory that is not there; `PermissionDenied` if it cannot be listed or is not to be
    /// believed; `LimitReached`.
    pub(crate) fn new(name: &Name) -> Result<Self> {
        let site = Site { name: name.clone(), directory: Arc::new(Directory::of(name, true)?) };
        let refused = |error| Error::system_refused(WATCH, error).on(name);
        let inotify = Inotify::new().map_err(refused)?;
        let what = What::MOVED_IN | What::CREATED | What::SELF_REMOVED | What::SELF_MOVED;
        inotify.watch_with(site.directory.reach("."), what, Options::ONLY_DIRECTORY).map_err(refused)?;
        Ok(Self { inotify, socket: site.socket_file().into() })
    }

    /// Takes what was told since the last call: whether a look at the name is worth while.
    ///
    /// # Errors
    /// `NotFound` once the directory itself is gone or has another name.
    pub(crate) fn take(&mut self) -> Result<bool> {
        let mut may_be_there = false;
        loop {
            let event = match self.inotify.try_read() {
                Err(error) if error.is_would_block() => return Ok(may_be_there),
                event => event.map_err(|error| Error::system_refused(WATCH, error))?,
            };
            let is_over = What::SELF_REMOVED | What::SELF_MOVED | What::WATCH_ENDED | What::UNMOUNTED;
            if event.what.intersects(is_over) {
                return Err(Error::new(WATCH, ErrorKind::NotFound).because("the directory of the name is gone"));
            }
            may_be_there |= event.is_overflow() || event.name.as_ref() == Some(&self.socket);
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
