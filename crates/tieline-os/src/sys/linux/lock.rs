//! Record locks: `fcntl` with a `struct flock`, of the process or of the open file description.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// What `fcntl` is asked to do with the record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// `F_OFD_SETLK`, or `F_SETLK` for the process.
    Set { of_process: bool },
    /// `F_OFD_SETLKW`, or `F_SETLKW` for the process.
    SetAndWait { of_process: bool },
    /// `F_OFD_GETLK`, which shows the locks of processes too.
    Find,
}

/// What is (to be) locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
    Unlocked,
}

/// A range of bytes of a file; a length of 0 reaches to the end, wherever that will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) start: i64,
    pub(crate) len: i64,
    /// The owner, as [`Command::Find`] reports it: -1 for an open file description.
    pub(crate) pid: i32,
}

/// Runs one `fcntl` lock command, and returns the record as the kernel left it.
pub(crate) fn record_lock(fd: BorrowedFd<'_>, command: Command, record: Record) -> Result<Record, Errno> {
    let number = match command {
        Command::Set { of_process: false } => libc::F_OFD_SETLK,
        Command::Set { of_process: true } => libc::F_SETLK,
        Command::SetAndWait { of_process: false } => libc::F_OFD_SETLKW,
        Command::SetAndWait { of_process: true } => libc::F_SETLKW,
        Command::Find => libc::F_OFD_GETLK,
    };
    let kind = match record.kind {
        Kind::Shared => libc::F_RDLCK,
        Kind::Exclusive => libc::F_WRLCK,
        Kind::Unlocked => libc::F_UNLCK,
    };
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: record.start,
        l_len: record.len,
        // The open-file-description commands demand 0; the others ignore it.
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for the call's duration because it is borrowed, and `lock` is a live, initialised
    // `struct flock` of this thread, which is what each of these commands reads and F_OFD_GETLK writes.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), number, &raw mut lock) })?;
    let kind = match libc::c_int::from(lock.l_type) {
        libc::F_RDLCK => Kind::Shared,
        libc::F_WRLCK => Kind::Exclusive,
        _ => Kind::Unlocked,
    };
    Ok(Record { kind, start: lock.l_start, len: lock.l_len, pid: lock.l_pid })
}
