//! Committing memory bit by bit, and giving it back.
//!
//! The address space of a growable segment is there from the start, in every process; what grows is the part with memory
//! behind it. The header tells how long that part is, so peers learn of growth by a load, and nobody maps anew.

use std::os::fd::AsFd;

use rustix::fs::FallocateFlags;
use tieline_os::memfd::Seals;

use super::{Segment, Store};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::Ordering;

const GROW: &str = "grow a segment";
const SHRINK: &str = "shrink a segment";

impl Segment {
    /// Commits memory up to `new_len_bytes`; less than is there already changes nothing. Peers see it by
    /// [`committed_len`](Self::committed_len) from now on.
    ///
    /// May be called by several at once, by whoever may write.
    ///
    /// # Errors
    /// * `OutOfMemory`, `LimitReached`: there is not enough memory (on a disk: room); the length stays.
    /// * `TooLarge`: more than the maximum it was created with; `Unsupported`: it is not growable.
    pub fn grow(&self, new_len_bytes: usize) -> Result<()> {
        self.may_resize(GROW)?;
        if new_len_bytes > self.len() {
            let why = format!("{new_len_bytes} bytes are more than the {} it was created for", self.len());
            return Err(Error::new(GROW, ErrorKind::TooLarge).because(why));
        }
        let now = self.committed_len();
        if new_len_bytes <= now {
            return Ok(());
        }
        self.commit(now, new_len_bytes - now)?;
        // Release: partner of the acquire in `committed_len`. The largest wins, whoever comes last.
        self.header()?.committed_bytes.fetch_max((self.front + new_len_bytes) as u64, Ordering::Release);
        Ok(())
    }

    /// Gives the memory behind `new_len_bytes` back to the system; more than is there changes nothing. What was there
    /// reads as zeros after growing again.
    ///
    /// Peers must have agreed on it: one that still touches the memory finds zeros, and brings the memory back.
    ///
    /// # Errors
    /// `Unsupported`: it is not growable, or was made [`writer_only`](super::SegmentOptions::writer_only).
    pub fn shrink(&self, new_len_bytes: usize) -> Result<()> {
        self.may_resize(SHRINK)?;
        let now = self.committed_len();
        if new_len_bytes >= now {
            return Ok(());
        }
        if self.keeps_memory() {
            return Err(kept());
        }
        // The length first, so that no peer finds a length without memory behind it.
        self.header()?.committed_bytes.store((self.front + new_len_bytes) as u64, Ordering::Release);
        self.discard(new_len_bytes, now - new_len_bytes)
    }

    /// Finds memory for `len` bytes from `offset` of the body, without telling peers a length: for pools, whose
    /// peers hear of memory by the messages that lie in it.
    pub(crate) fn commit(&self, offset: usize, len: usize) -> Result<()> {
        self.check_range(GROW, offset, len)?;
        let start = (self.start() + offset) as u64;
        match &*self.store {
            Store::Memfd(memfd) => {
                memfd.reserve_range(start, len as u64).map_err(|error| Error::system_refused(GROW, error))
            }
            Store::File(file) => rustix::fs::fallocate(file.as_fd(), FallocateFlags::empty(), start, len as u64)
                .map_err(|errno| no_room(GROW, errno)),
        }
    }

    /// Gives the memory of whole pages within `len` bytes from `offset` of the body back to the system; what is
    /// only a part of a page is set to zero.
    pub(crate) fn discard(&self, offset: usize, len: usize) -> Result<()> {
        self.check_range(SHRINK, offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let start = (self.start() + offset) as u64;
        match &*self.store {
            Store::Memfd(memfd) => memfd.punch_hole(start, len as u64).map_err(|error| match error.kind() {
                tieline_os::ErrorKind::PermissionDenied => kept(),
                _ => Error::system_refused(SHRINK, error),
            }),
            Store::File(file) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(file.as_fd(), flags, start, len as u64).map_err(|errno| no_room(SHRINK, errno))
            }
        }
    }

    /// Whether the kernel will not take memory back, because that counts as writing.
    fn keeps_memory(&self) -> bool {
        match &*self.store {
            Store::Memfd(memfd) => {
                memfd.seals().is_ok_and(|seals| seals.intersects(Seals::FUTURE_WRITE | Seals::WRITE))
            }
            Store::File(_) => false,
        }
    }

    fn may_resize(&self, operation: &'static str) -> Result<()> {
        if self.growable {
            return Ok(());
        }
        Err(Error::new(operation, ErrorKind::Unsupported).because("it was created with one length for ever"))
    }

    fn check_range(&self, operation: &'static str, offset: usize, len: usize) -> Result<()> {
        if self.len().checked_sub(offset).is_some_and(|rest| rest >= len) {
            return Ok(());
        }
        let why = format!("{len} bytes from {offset} do not lie within its {}", self.len());
        Err(Error::new(operation, ErrorKind::InvalidInput).because(why))
    }
}

fn kept() -> Error {
    Error::new(SHRINK, ErrorKind::Unsupported).because("a segment that only its creator may write keeps its memory")
}

/// A file system's refusal of room.
pub(super) fn no_room(operation: &'static str, errno: rustix::io::Errno) -> Error {
    let kind = match errno {
        rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG => ErrorKind::LimitReached,
        rustix::io::Errno::NOMEM => ErrorKind::OutOfMemory,
        rustix::io::Errno::OPNOTSUPP => ErrorKind::Unsupported,
        _ => ErrorKind::System,
    };
    Error::new(operation, kind).because(format!("the file system says: {}", std::io::Error::from(errno)))
}
