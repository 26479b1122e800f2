//! Who has which number in an object that other users share: the kernel's word, where the memory may say anything.
//!
//! The roll is an empty memory file. Each member has an open description of it of its own, on which the byte of its
//! number is locked: by the host, before it hands the description over, so that no moment passes in which the number is
//! nobody's. The kernel lets go when the member dies, and keeps what it has when a host dies; so a new host knows as much
//! as the last one. A second byte of each number is locked by who undoes what its dead holder held.
//!
//! The invariant: a number is given by who holds both its bytes alone, so nobody alive has it, and nobody alive still
//! undoes what somebody else held under it. Who shares may lock bytes that are not its own, and keeps the numbers from
//! others by that; no longer than it lives.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tieline_os::lock::{LockKind, RangeLock, range_holder};
use tieline_os::memfd::{Memfd, MemfdOptions, Seals};

use super::MEMBERS_MAX;
use crate::error::{Error, Result};
use crate::raw::private_fd::Private;

const KEEP: &str = "keep the roll of members";

/// An open description of the roll, and the number that is locked on it.
#[derive(Debug)]
pub(super) struct Roll {
    file: Private<OwnedFd>,
    number: Option<u32>,
}

/// A locked byte.
pub(super) type Locked = RangeLock<Arc<Roll>>;

impl Roll {
    /// A roll on which the creator has the number 0.
    pub(super) fn create(name: &str) -> Result<Arc<Self>> {
        let refused = |error| Error::system_refused(KEEP, error);
        let file = Memfd::create(&format!("tieline:members:{name}"), &MemfdOptions::new()).map_err(refused)?;
        // It is there for its locks; whoever has it puts nothing into it, and cannot open it again as another user.
        file.add_seals(Seals::SHRINK | Seals::GROW | Seals::WRITE | Seals::SEAL).map_err(refused)?;
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| refused(tieline_os::Error::from_errno("set the mode of a memfd", errno.raw_os_error())))?;
        Ok(Self::accept(file.into(), Some(0)))
    }

    /// What a host has sent, with the number that it has locked there.
    pub(super) fn accept(file: OwnedFd, number: Option<u32>) -> Arc<Self> {
        Arc::new(Self { file: Private::new(file), number })
    }

    /// The number that is ours.
    pub(super) fn number(&self) -> Option<u32> {
        self.number
    }

    /// A description of its own for another member, without a number.
    pub(super) fn open_again(&self) -> Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
            Error::system_refused(KEEP, tieline_os::Error::from_errno("open the roll again", errno.raw_os_error()))
        })
    }

    /// Whether somebody else has the number.
    pub(super) fn has_other(&self, number: u32) -> Result<bool> {
        let holder = range_holder(self, LockKind::Exclusive, held(number));
        holder.map(|holder| holder.is_some()).map_err(|error| Error::system_refused(KEEP, error))
    }

    /// Takes hold of the lock that the host has made for us; `None` if it has not, and somebody else has the number.
    pub(super) fn take(self: &Arc<Self>, number: u32) -> Result<Option<Locked>> {
        try_lock(Arc::clone(self), LockKind::Exclusive, held(number))
    }

    /// Keeps the number from being given while what its dead holder held is undone; `None` if it is being given.
    pub(super) fn undo(self: &Arc<Self>, number: u32) -> Result<Option<Locked>> {
        try_lock(Arc::clone(self), LockKind::Shared, undone(number))
    }
}

impl AsFd for Roll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Locks the number on a description that will be the new holder's, if nobody has it or undoes what was held under it;
/// before that is so, and after `undo` has run, nobody else can.
pub(super) fn give(fresh: &OwnedFd, number: u32, undo: impl FnOnce() -> Result<()>) -> Result<bool> {
    let Some(had) = try_lock(fresh, LockKind::Exclusive, held(number))? else { return Ok(false) };
    let Some(alone) = try_lock(fresh, LockKind::Exclusive, undone(number))? else { return Ok(false) };
    undo()?;
    drop(alone);
    // It stays with the description, for whoever has that.
    std::mem::forget(had);
    Ok(true)
}

fn held(number: u32) -> std::ops::Range<u64> {
    u64::from(number)..u64::from(number) + 1
}

fn undone(number: u32) -> std::ops::Range<u64> {
    held(number + MEMBERS_MAX)
}

fn try_lock<F: AsFd>(file: F, kind: LockKind, range: std::ops::Range<u64>) -> Result<Option<RangeLock<F>>> {
    match RangeLock::try_lock(file, kind, range) {
        Ok(locked) => Ok(Some(locked)),
        Err(error) if error.is_would_block() => Ok(None),
        Err(error) => Err(Error::system_refused(KEEP, error)),
    }
}
