//! Memory mapped from a file, a memfd or a shared memory object, or from nothing and shared with children.
//!
//! A [`Mapping`] lends its bytes as a [`Region`], owns the address range and unmaps it when dropped. The invariant:
//! what a mapping covers existed when it was made. A range beyond the end of the file is refused, and memory asked
//! for with [`populate`](MapOptions::populate) is there, or the lack of it is an error now instead of a `SIGBUS`
//! at some later store.
//!
//! # A file can be cut under a mapping
//! Whoever may write a file may also cut it shorter. The next touch of a page that is gone raises `SIGBUS`, which ends
//! the process. Three ways out, best first:
//! * memory nobody can cut: [`Mapping::anonymous`], or a memfd sealed with [`Seals::SHRINK`](crate::memfd::Seals);
//! * [`Mapping::read_checked`] and [`Mapping::write_checked`], where the kernel copies and answers with an error;
//! * trust in everyone who may write the file.
//!
//! Plain access through [`Region`] to a file that a stranger may cut is for the third case only.
//!
//! Mapping costs far more than copying a few pages (page tables are built and torn down): map once, not per message.
//!
//! Sources: POSIX.1-2024 `mmap`, `munmap`, `mprotect`, `msync`, `mlock`; Linux mmap(2), madvise(2), mremap(2),
//! `process_vm_readv(2)`.

mod file;
mod options;

use std::ops::{Deref, Range, RangeBounds};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mm::MsyncFlags;

use crate::error::{During, Error, ErrorKind, Result};
use crate::sys::mapping::Mapped;
use crate::{Access, Region};

pub(crate) use file::is_hugetlbfs;
use file::{FileFacts, check_huge, check_len};
pub use options::{Advice, HugePages, MapOptions};

/// A mapped range of memory; it derefs to its [`Region`] and is unmapped on drop (unless the guard of a robust lock in
/// it was forgotten, see [`MutexGuard`](crate::pthread::MutexGuard)).
///
/// It is `Send` and `Sync`: all access is by copy or by atomics. A child made by `fork` inherits it at the same
/// address; `exec` ends it. The descriptor it was made from may be closed at once.
///
/// ```
/// use std::sync::atomic::Ordering;
/// use tieline_os::mapping::Mapping;
///
/// let counter = Mapping::anonymous(4096)?;
/// counter.atomic_u32(0)?.fetch_add(1, Ordering::Relaxed);
/// assert_eq!(counter.load_u32(0, Ordering::Relaxed)?, 1);
/// # Ok::<(), tieline_os::Error>(())
/// ```
///
/// What is borrowed of the memory ends before the mapping does, and before it is moved:
///
/// ```compile_fail,E0597
/// # use tieline_os::mapping::Mapping;
/// let word = {
///     let memory = Mapping::anonymous(4096).unwrap();
///     memory.atomic_u32(0).unwrap()
/// };
/// word.load(std::sync::atomic::Ordering::Relaxed);
/// ```
/// ```compile_fail,E0505
/// # use tieline_os::{Region, mapping::Mapping};
/// let memory = Mapping::anonymous(4096).unwrap();
/// let region: &Region = &memory;
/// drop(memory);
/// region.len();
/// ```
/// ```compile_fail,E0502
/// # use tieline_os::mapping::Mapping;
/// let mut memory = Mapping::anonymous(8192).unwrap();
/// let word = memory.atomic_u32(0).unwrap();
/// memory.shrink(4096).unwrap();
/// word.load(std::sync::atomic::Ordering::Relaxed);
/// ```
///
/// Nor can a region be taken out of its mapping by an exchange:
///
/// ```compile_fail,E0596
/// # use tieline_os::{Region, mapping::Mapping};
/// let (mut one, mut other) = (Mapping::anonymous(4096).unwrap(), Mapping::anonymous(4096).unwrap());
/// let (one, other): (&mut Region, &mut Region) = (&mut one, &mut other);
/// std::mem::swap(one, other);
/// ```
#[doc(alias = "mmap")]
#[doc(alias = "munmap")]
pub struct Mapping {
    mapped: Mapped,
    private: bool,
    page: usize,
    file: Option<FileId>,
}

/// Which part of which file is behind the memory; the descriptor itself need not be kept.
struct FileId {
    device: u64,
    inode: u64,
    offset: u64,
}

const MAP: &str = "map memory";

impl Mapping {
    /// Maps a file, a memfd or a shared memory object.
    ///
    /// Does not block, except on a slow file system when asked to populate.
    ///
    /// # Errors
    /// * `InvalidInput`: length zero or more than a process can map, an offset that is not a multiple of the page
    ///   size, a range that reaches beyond the end of the file, something that is not a file.
    /// * `PermissionDenied`: the descriptor was not opened for this access, or the memfd is sealed against writing.
    /// * `OutOfMemory`, `LimitReached`: there are too few pages, too little space or too many mappings.
    /// * `Unsupported`: the file system cannot map, or the kernel cannot populate.
    pub fn of(fd: impl AsFd, options: &MapOptions) -> Result<Self> {
        let fd = fd.as_fd();
        refuse_write_only(options)?;
        if options.huge_pages.is_some() {
            return Err(Error::invalid(MAP, "huge pages are chosen when the memfd or hugetlbfs file is made"));
        }
        let file = FileFacts::of(fd)?;
        let len = file.check_range(options.offset, options.len)?;
        if options.populate && file.in_memory(fd) {
            crate::memory::refuse_impossible(MAP, (len as u64).saturating_sub(file.backed))?;
        }
        let mapped =
            Mapped::of_file(fd, options.offset, options.request(len)).map_err(|errno| explain_file(errno, options))?;
        let id = FileId { device: file.device, inode: file.inode, offset: options.offset };
        Self { mapped, private: options.private, page: file.page, file: Some(id) }.populated(options)
    }

    /// Maps `len_bytes` of zeroed memory without a name or a file, shared with children made by `fork` afterwards.
    ///
    /// The kernel reserves the memory but finds pages only when they are touched; see
    /// [`MapOptions::populate`] with [`anonymous_with`](Self::anonymous_with).
    ///
    /// # Errors
    /// `InvalidInput` for length zero or more than a process can map; `OutOfMemory`.
    #[doc(alias = "MAP_ANONYMOUS")]
    pub fn anonymous(len_bytes: usize) -> Result<Self> {
        Self::anonymous_with(&MapOptions::new().len(len_bytes))
    }

    /// [`anonymous`](Self::anonymous) memory with options; a length is needed, an offset has no meaning.
    ///
    /// # Errors
    /// As `anonymous`; with huge pages also `InvalidInput` for a length that is not a multiple of their size and
    /// `OutOfMemory` if too few are reserved.
    pub fn anonymous_with(options: &MapOptions) -> Result<Self> {
        refuse_write_only(options)?;
        let len = options.len.ok_or_else(|| Error::invalid(MAP, "memory without a file needs a length"))?;
        if options.offset != 0 {
            return Err(Error::invalid(MAP, "memory without a file has no offset"));
        }
        check_len(len)?;
        let page = options.huge_pages.map_or_else(rustix::param::page_size, HugePages::size);
        check_huge(MAP, len, page)?;
        // Huge pages were taken out of the common memory beforehand, and the kernel counts them itself.
        if options.populate && options.huge_pages.is_none() {
            crate::memory::refuse_impossible(MAP, len as u64)?;
        }
        let mapped = Mapped::anonymous(options.request(len)).map_err(|errno| match (errno, options.huge_pages) {
            (Errno::NOMEM, Some(_)) => Error::new(MAP, errno)
                .hint("the administrator reserves huge pages in /proc/sys/vm/nr_hugepages or /sys/kernel/mm/hugepages"),
            (Errno::INVAL, Some(_)) => {
                Error::new(MAP, errno).sorted_as(ErrorKind::Unsupported).hint("no huge pages of this size here")
            }
            _ => explain(errno),
        })?;
        Self { mapped, private: options.private, page, file: None }.populated(options)
    }

    fn populated(self, options: &MapOptions) -> Result<Self> {
        if options.populate {
            self.populate(..)?;
        }
        Ok(self)
    }

    /// Gets the pages of a range (in bytes) now, as [`MapOptions::populate`] does for the whole, but without asking
    /// beforehand whether the machine has that much.
    ///
    /// # Errors
    /// * `InvalidInput`: the range does not lie within the mapping.
    /// * `OutOfMemory`: the machine or the control group has too few pages.
    /// * `LimitReached`: the file system is full, or the file was cut shorter.
    /// * `Unsupported`: the kernel is older than 5.14, or the memory is a secret memfd.
    #[doc(alias = "MADV_POPULATE_WRITE")]
    #[doc(alias = "MAP_POPULATE")]
    pub fn populate(&self, range: impl RangeBounds<usize>) -> Result<()> {
        const POPULATE: &str = "populate mapping";
        let range = self.range(POPULATE, range)?;
        let advice = if self.is_writable() {
            rustix::mm::Advice::LinuxPopulateWrite
        } else {
            rustix::mm::Advice::LinuxPopulateRead
        };
        retry(|| self.mapped.advise(range.start, range.len(), advice)).map_err(|errno| {
            let error = Error::new(POPULATE, errno);
            match errno {
                Errno::FAULT => error
                    .sorted_as(ErrorKind::LimitReached)
                    .hint("nothing can back all of it: the file system is full, or the file was cut shorter"),
                Errno::INVAL => {
                    error.sorted_as(ErrorKind::Unsupported).hint("this needs Linux 5.14 and ordinary memory")
                }
                _ => error,
            }
        })
    }

    /// Changes whether the memory may be written, for this mapping only.
    ///
    /// # Errors
    /// `PermissionDenied` if the file was not opened for writing or is sealed; `InvalidInput` for `WriteOnly`;
    /// `Busy` while a forgotten guard holds a robust lock in it.
    #[doc(alias = "mprotect")]
    pub fn protect(&mut self, access: Access) -> Result<()> {
        const PROTECT: &str = "change protection of mapping";
        if access == Access::WriteOnly {
            return Err(write_only(PROTECT));
        }
        self.mapped.protect(access.writes()).map_err(|errno| {
            let error = Error::new(PROTECT, errno);
            if errno == Errno::ACCESS { error.hint("the file was opened read-only, or is sealed") } else { error }
        })
    }

    /// Writes changed pages of a range (in bytes) to the file's storage, and waits for it. Memory that is not on a
    /// disk has nothing to write.
    ///
    /// # Errors
    /// `InvalidInput` if the range does not lie within the mapping; the disk's error (`EIO`, `ENOSPC`) otherwise.
    #[doc(alias = "msync")]
    pub fn sync(&self, range: impl RangeBounds<usize>) -> Result<()> {
        const SYNC: &str = "write mapping to storage";
        let range = self.range(SYNC, range)?;
        retry(|| self.mapped.sync(range.start, range.len(), MsyncFlags::SYNC)).during(SYNC)
    }

    /// Asks for [`sync`](Self::sync) without waiting for it. On Linux the kernel writes changed pages back by itself
    /// in time, and this call does nothing but check the range.
    ///
    /// # Errors
    /// As `sync`.
    pub fn sync_async(&self, range: impl RangeBounds<usize>) -> Result<()> {
        const SYNC: &str = "write mapping to storage";
        let range = self.range(SYNC, range)?;
        self.mapped.sync(range.start, range.len(), MsyncFlags::ASYNC).during(SYNC)
    }

    /// Tells the kernel how a range (in bytes) will be used.
    ///
    /// # Errors
    /// `InvalidInput` if the range does not lie within the mapping, or if the advice does not fit this memory
    /// ([`Advice::Discard`] needs whole pages of a shared, writable mapping).
    #[doc(alias = "madvise")]
    #[doc(alias = "posix_madvise")]
    pub fn advise(&self, range: impl RangeBounds<usize>, advice: Advice) -> Result<()> {
        const ADVISE: &str = "advise on mapping";
        let range = self.range(ADVISE, range)?;
        if advice == Advice::Discard {
            let page = self.page;
            if self.private || !self.is_writable() {
                return Err(Error::invalid(ADVISE, "only shared, writable memory can be discarded"));
            }
            // The last page of the mapping may be a part of one: what follows in it belongs to nobody.
            let ends_well = range.end == self.len() || range.end.is_multiple_of(page);
            if !range.start.is_multiple_of(page) || !ends_well {
                return Err(Error::invalid(ADVISE, format!("only whole pages of {page} bytes can be discarded")));
            }
        }
        retry(|| self.mapped.advise(range.start, range.len(), advice.for_kernel())).during(ADVISE)
    }

    /// Keeps the pages of a range (in bytes) in memory: read in now, never swapped out. Ends with
    /// [`unlock`](Self::unlock) or the mapping.
    ///
    /// # Errors
    /// `LimitReached` past `RLIMIT_MEMLOCK`; `OutOfMemory`; `InvalidInput` if the range does not lie within.
    #[doc(alias = "mlock")]
    pub fn lock(&self, range: impl RangeBounds<usize>) -> Result<()> {
        const LOCK: &str = "lock mapping in memory";
        let range = self.range(LOCK, range)?;
        self.mapped.lock(range.start, range.len()).map_err(|errno| match errno {
            // The kernel says ENOMEM both past the limit and for pages that cannot be had.
            Errno::NOMEM | Errno::AGAIN | Errno::PERM => Error::new(LOCK, errno)
                .sorted_as(ErrorKind::LimitReached)
                .hint("RLIMIT_MEMLOCK (ulimit -l) bounds what a process may lock"),
            _ => Error::new(LOCK, errno),
        })
    }

    /// Lets the pages of a range (in bytes) be swapped out again.
    ///
    /// # Errors
    /// `InvalidInput` if the range does not lie within the mapping.
    #[doc(alias = "munlock")]
    pub fn unlock(&self, range: impl RangeBounds<usize>) -> Result<()> {
        const UNLOCK: &str = "unlock mapping";
        let range = self.range(UNLOCK, range)?;
        self.mapped.unlock(range.start, range.len()).during(UNLOCK)
    }

    /// Makes the mapping shorter, giving the rest of the address range back; the file keeps its length.
    ///
    /// # Errors
    /// `InvalidInput` for length zero, more than now, or a part of a huge page; `Busy` while a forgotten guard holds a
    /// robust lock in it.
    #[doc(alias = "mremap")]
    pub fn shrink(&mut self, new_len_bytes: usize) -> Result<()> {
        const SHRINK: &str = "shrink mapping";
        if new_len_bytes == 0 || new_len_bytes > self.len() {
            return Err(Error::invalid(SHRINK, format!("the new length must be from 1 to {} bytes", self.len())));
        }
        check_huge(SHRINK, new_len_bytes, self.page)?;
        self.mapped.resize(new_len_bytes).during(SHRINK)
    }

    /// Makes the mapping longer, perhaps at another address, after its file has grown.
    ///
    /// `fd` is the file it was made from: the new end is checked against it. Memory without a file cannot grow,
    /// because the kernel fixed its size when it was made.
    ///
    /// # Errors
    /// `InvalidInput` if the mapping has no file, `fd` is another one, the new length is less than now or reaches
    /// beyond the end of the file; `OutOfMemory` if no address range is long enough; `Busy` while a forgotten
    /// guard holds a robust lock in it.
    #[doc(alias = "mremap")]
    pub fn grow(&mut self, fd: impl AsFd, new_len_bytes: usize) -> Result<()> {
        const GROW: &str = "grow mapping";
        let Some(id) = &self.file else {
            return Err(Error::invalid(GROW, "memory without a file keeps the size it was made with"));
        };
        let file = FileFacts::of(fd.as_fd())?;
        if (file.device, file.inode) != (id.device, id.inode) {
            return Err(Error::invalid(GROW, "this is not the file the mapping was made from"));
        }
        if new_len_bytes < self.len() {
            return Err(Error::invalid(GROW, format!("the new length must be at least {} bytes", self.len())));
        }
        file.check_range(id.offset, Some(new_len_bytes))?;
        self.mapped.resize(new_len_bytes).during(GROW)
    }

    /// Copies as [`Region::read`] does, but by the kernel: if the file was cut shorter meanwhile, the answer is an
    /// error instead of `SIGBUS`. One system call, about a microsecond more than the plain copy.
    ///
    /// # Errors
    /// * `InvalidInput`: the range does not lie within the mapping.
    /// * `Removed`: the memory is not there any more (or cannot be found, or is a secret memfd); `buffer` may hold
    ///   some of it.
    /// * `PermissionDenied`, `Unsupported`: a sandbox forbids `process_vm_readv`.
    #[doc(alias = "process_vm_readv")]
    pub fn read_checked(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        const READ: &str = "read shared memory";
        self.check(READ, offset, buffer.len())?;
        let len = buffer.len();
        let mut done = 0;
        while done < len {
            done += whole_or_gone(READ, self.mapped.copy_out_checked(offset + done, &mut buffer[done..]))?;
        }
        Ok(())
    }

    /// Copies as [`Region::write`] does, but by the kernel: if the file was cut shorter meanwhile, the answer is an
    /// error instead of `SIGBUS`. Lack of space is found here as well.
    ///
    /// # Errors
    /// As [`read_checked`](Self::read_checked), and `PermissionDenied` if the mapping is read-only. Some bytes may
    /// have been written.
    #[doc(alias = "process_vm_writev")]
    pub fn write_checked(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        const WRITE: &str = "write shared memory";
        if !self.is_writable() {
            return Err(Error::of_kind(WRITE, ErrorKind::PermissionDenied, "the region is mapped read-only"));
        }
        self.check(WRITE, offset, bytes.len())?;
        let mut done = 0;
        while done < bytes.len() {
            done += whole_or_gone(WRITE, self.mapped.copy_in_checked(offset + done, &bytes[done..]))?;
        }
        Ok(())
    }

    /// Whether what we write stays ours ([`MapOptions::private`]).
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The size of this mapping's pages in bytes: what offsets into its file must be a multiple of.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page
    }

    /// A range of this mapping as plain numbers; empty ranges are fine.
    fn range(&self, operation: &'static str, range: impl RangeBounds<usize>) -> Result<Range<usize>> {
        use std::ops::Bound;
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len(),
        };
        let len = end.checked_sub(start).ok_or_else(|| Error::invalid(operation, "the range ends before it begins"))?;
        self.check(operation, start, len)?;
        Ok(start..end)
    }
}

impl Deref for Mapping {
    type Target = Region;

    fn deref(&self) -> &Region {
        self.mapped.region()
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("region", self.mapped.region()).field("private", &self.private).finish()
    }
}

fn refuse_write_only(options: &MapOptions) -> Result<()> {
    if options.write_only { Err(write_only(MAP)) } else { Ok(()) }
}

fn write_only(operation: &'static str) -> Error {
    Error::invalid(operation, "memory that can be written can be read: ask for ReadWrite")
}

fn explain_file(errno: Errno, options: &MapOptions) -> Error {
    match errno {
        Errno::ACCESS if options.read_only => Error::new(MAP, errno).hint("the descriptor was not opened for reading"),
        Errno::ACCESS => {
            Error::new(MAP, errno).hint("to write shared memory the descriptor must be open for reading and writing")
        }
        Errno::PERM => Error::new(MAP, errno).hint("the memfd is sealed against writing, or the file forbids it"),
        Errno::NODEV => Error::new(MAP, errno).hint("this file system cannot map files"),
        _ => explain(errno),
    }
}

fn explain(errno: Errno) -> Error {
    let error = Error::new(MAP, errno);
    match errno {
        Errno::NOMEM => error.hint("too little memory or address space, or more than vm.max_map_count mappings"),
        Errno::AGAIN => error.sorted_as(ErrorKind::LimitReached).hint("RLIMIT_MEMLOCK bounds locked memory"),
        _ => error,
    }
}

/// A signal handler that runs meanwhile does not end the call.
fn retry(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            // The kernel says so while pages move; it is never lasting.
            Err(Errno::AGAIN) => std::thread::yield_now(),
            answer => return answer,
        }
    }
}

/// Sorts the answer of a copy by the kernel; a copy that stops short is tried again and then names its reason.
fn whole_or_gone(operation: &'static str, copied: Result<usize, Errno>) -> Result<usize> {
    match copied {
        Ok(0) | Err(Errno::FAULT) => Err(Error::new(operation, Errno::FAULT)
            .sorted_as(ErrorKind::Removed)
            .hint("the memory is not there any more: its file was cut shorter, or cannot be backed")),
        Ok(count) => Ok(count),
        Err(Errno::INTR) => Ok(0),
        Err(errno) => Err(Error::new(operation, errno)),
    }
}
