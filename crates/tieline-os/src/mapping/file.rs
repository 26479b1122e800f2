//! What is looked at before a file is mapped.

use std::os::fd::BorrowedFd;

use rustix::fs::FileType;

use super::MAP;
use crate::error::{During, Error, Result};

/// What must be known of a file before it is mapped.
pub(super) struct FileFacts {
    pub(super) device: u64,
    pub(super) inode: u64,
    len: u64,
    /// How many bytes have memory or storage behind them already.
    pub(super) backed: u64,
    pub(super) page: usize,
}

impl FileFacts {
    pub(super) fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let stat = rustix::fs::fstat(fd).during(MAP)?;
        // Memory of devices and rings may be anything, even this process's own variables.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::invalid(MAP, "only files, memfds and shared memory objects can be mapped"));
        }
        let mut page = rustix::param::page_size();
        // hugetlbfs shows its page as the block size; asking which file system it is costs a call only then.
        let block = usize::try_from(stat.st_blksize).unwrap_or(page);
        if block > page && is_hugetlbfs(fd) {
            page = block;
        }
        let len = u64::try_from(stat.st_size).unwrap_or(0);
        let backed = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        Ok(Self { device: stat.st_dev, inode: stat.st_ino, len, backed, page })
    }

    /// Whether what backs the file is the machine's memory.
    pub(super) fn in_memory(&self, fd: BorrowedFd<'_>) -> bool {
        rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type == libc::TMPFS_MAGIC)
    }

    /// The length to map from `offset`, if all of it exists.
    pub(super) fn check_range(&self, offset: u64, len: Option<usize>) -> Result<usize> {
        let refuse = |why: String| Err(Error::invalid(MAP, why));
        if !offset.is_multiple_of(self.page as u64) {
            return refuse(format!("offset {offset} is not a multiple of the {}-byte page", self.page));
        }
        let available = self.len.saturating_sub(offset);
        let len = match len {
            Some(len) => len,
            None => usize::try_from(available).unwrap_or(usize::MAX),
        };
        if len as u64 > available {
            return refuse(format!("{len} bytes from {offset} reach beyond the end of the file at {}", self.len));
        }
        check_len(len)?;
        check_huge(MAP, len, self.page)?;
        Ok(len)
    }
}

pub(crate) fn is_hugetlbfs(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type == libc::HUGETLBFS_MAGIC)
}

pub(super) fn check_len(len: usize) -> Result<()> {
    if len == 0 {
        return Err(Error::invalid(MAP, "there is nothing to map: the length is zero"));
    }
    if isize::try_from(len).is_err() {
        return Err(Error::invalid(MAP, format!("{len} bytes are more than a process can map")));
    }
    Ok(())
}

/// Huge pages are mapped and unmapped whole.
pub(super) fn check_huge(operation: &'static str, len: usize, page: usize) -> Result<()> {
    if page > rustix::param::page_size() && !len.is_multiple_of(page) {
        return Err(Error::invalid(operation, format!("{len} bytes are not a multiple of the {page}-byte huge page")));
    }
    Ok(())
}
