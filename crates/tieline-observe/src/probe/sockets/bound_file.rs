//! The file that a Unix socket is bound to: who owns it and who may connect.
//!
//! The path was chosen by whoever bound the socket, and may lead through a file system whose answers never come. While
//! the socket lives the kernel keeps its file and the folders above it at hand, so only what is at hand is asked for:
//! no file system is spoken to, and nobody can make us wait.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, makedev};
use rustix::io::Errno;
use tieline_os::sock_diag::{State, UnixKind, UnixSocket};

use crate::model::Owner;
use crate::probe::at_hand;

/// Where paths begin for some process.
pub(super) struct Root {
    /// `None` if it cannot be had.
    folder: Option<OwnedFd>,
    /// This kernel cannot be asked for what is at hand only (Linux before 5.12).
    is_refused: Cell<bool>,
}

/// What the file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BoundFile {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) mode: u32,
    pub(super) owner: Owner,
}

impl Root {
    /// The root of a process, which may have another one than we do.
    pub(super) fn of_process(pid: u32) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty()).ok();
        Self { folder, is_refused: Cell::new(false) }
    }

    /// One in which nothing is found.
    pub(super) fn unknown() -> Self {
        Self { folder: None, is_refused: Cell::new(false) }
    }

    /// The file of a socket that others may connect or send to; `None` if it has no path, or if the path leads to another
    /// file by now, or in another mount namespace.
    pub(super) fn file_of(&self, socket: &UnixSocket<'_>) -> Option<BoundFile> {
        let (device, inode) = socket.file?;
        let path = socket.name.filter(|name| name.first() == Some(&b'/'))?;
        // What `accept` returns has its listener's name, and nobody connects to it.
        if socket.state == State::Established && socket.kind != UnixKind::Datagram || self.is_refused.get() {
            return None;
        }
        let found = self.look_up(OsStr::from_bytes(path))?;
        // The kernel tells of the inode the low half.
        (found.device == device && found.inode & u64::from(u32::MAX) == u64::from(inode)).then_some(found)
    }

    fn look_up(&self, path: &OsStr) -> Option<BoundFile> {
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = match at_hand::open(self.folder.as_ref()?, path, OFlags::NOFOLLOW, within) {
            Ok(file) => file,
            Err(errno) => {
                self.is_refused.set(matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::PERM));
                return None;
            }
        };
        let how = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(&file, c"", how, StatxFlags::BASIC_STATS).ok()?;
        Some(BoundFile {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mode: u32::from(stat.stx_mode) & 0o777,
            owner: Owner { uid: stat.stx_uid, gid: stat.stx_gid },
        })
    }
}
