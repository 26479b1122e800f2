//! `mmap` and what may be done to a mapping afterwards.
//!
//! A [`Mapped`] owns its address range together with the [`Region`] that looks at it, so that no view can outlive
//! the memory. No call here places a mapping at a given address, so none can fall on memory that is in use.

use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags};

use crate::Region;
use crate::sys::region::RawRegion;

/// An owned range of mapped memory; dropping it unmaps it.
pub(crate) struct Mapped {
    region: Region,
}

/// What to map, beside the source.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) len: usize,
    pub(crate) writable: bool,
    pub(crate) private: bool,
    pub(crate) no_reserve: bool,
    /// Binary logarithm of the size of the huge pages; anonymous memory only.
    pub(crate) huge_page_bits: Option<u8>,
}

impl Request {
    fn protection(self) -> ProtFlags {
        if self.writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
    }

    fn flags(self) -> MapFlags {
        let mut flags = if self.private { MapFlags::PRIVATE } else { MapFlags::SHARED };
        flags.set(MapFlags::NORESERVE, self.no_reserve);
        if let Some(bits) = self.huge_page_bits {
            flags |= MapFlags::HUGETLB | MapFlags::from_bits_retain(u32::from(bits) << libc::MAP_HUGE_SHIFT);
        }
        flags
    }
}

impl Mapped {
    /// Maps `fd` from `offset`, which must lie on a page boundary.
    pub(crate) fn of_file(fd: BorrowedFd<'_>, offset: u64, request: Request) -> Result<Self, Errno> {
        // SAFETY: a null address without MAP_FIXED lets the kernel choose a range nobody uses.
        let start =
            unsafe { rustix::mm::mmap(null_mut(), request.len, request.protection(), request.flags(), fd, offset)? };
        Ok(Self { region: view(start.cast(), request.len, request.writable) })
    }

    /// Maps zeroed memory without a file.
    pub(crate) fn anonymous(request: Request) -> Result<Self, Errno> {
        // SAFETY: as in `of_file`.
        let start =
            unsafe { rustix::mm::mmap_anonymous(null_mut(), request.len, request.protection(), request.flags())? };
        Ok(Self { region: view(start.cast(), request.len, request.writable) })
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// Changes what may be done with the whole range. Exclusive access means that no atomic of it is borrowed.
    pub(crate) fn protect(&mut self, writable: bool) -> Result<(), Errno> {
        self.region.raw().refuse_pinned()?;
        let flags = if writable { MprotectFlags::READ | MprotectFlags::WRITE } else { MprotectFlags::READ };
        let (start, len) = self.pages(0, self.region.len());
        // SAFETY: the range is ours alone (see `view`); reading stays allowed, and `self.region` learns at once
        // whether writing is.
        unsafe { rustix::mm::mprotect(start, len, flags)? };
        self.region = view(self.region.raw().as_ptr(), self.region.len(), writable);
        Ok(())
    }

    /// Makes the mapping shorter or longer, perhaps elsewhere. Exclusive access means that no atomic of it is
    /// borrowed, so nobody holds the old address.
    pub(crate) fn resize(&mut self, new_len: usize) -> Result<(), Errno> {
        self.region.raw().refuse_pinned()?;
        let (start, old_len) = self.pages(0, self.region.len());
        // SAFETY: the old range is ours alone and no reference into it exists (`&mut self`); with MAYMOVE and no
        // fixed address the kernel picks an unused new range.
        let start = unsafe { rustix::mm::mremap(start, old_len, new_len, MremapFlags::MAYMOVE)? };
        self.region = view(start.cast(), new_len, self.region.is_writable());
        Ok(())
    }

    pub(crate) fn sync(&self, offset: usize, len: usize, flags: MsyncFlags) -> Result<(), Errno> {
        let (start, len) = self.pages(offset, len);
        // SAFETY: the range is mapped and ours; msync changes no byte of it.
        unsafe { rustix::mm::msync(start, len, flags) }
    }

    /// Gives advice that keeps the range mapped.
    pub(crate) fn advise(&self, offset: usize, len: usize, advice: Advice) -> Result<(), Errno> {
        // In a child after DONTFORK the range would be unmapped behind the region's back; POISON kills the page.
        assert!(!matches!(advice, Advice::LinuxDontFork | Advice::LinuxHwPoison | Advice::LinuxSoftOffline));
        let (start, len) = self.pages(offset, len);
        // SAFETY: the range is ours and stays mapped under every advice but the ones refused above. Advice may
        // change its bytes (to zeros), which a region's readers must expect from a peer anyhow.
        unsafe { rustix::mm::madvise(start, len, advice) }
    }

    pub(crate) fn lock(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let (start, len) = self.pages(offset, len);
        // SAFETY: the range is mapped and ours; locking changes no byte of it.
        unsafe { rustix::mm::mlock(start, len) }
    }

    pub(crate) fn unlock(&self, offset: usize, len: usize) -> Result<(), Errno> {
        let (start, len) = self.pages(offset, len);
        // SAFETY: as for `lock`.
        unsafe { rustix::mm::munlock(start, len) }
    }

    /// Copies out by the kernel; answers how many bytes could be read, perhaps fewer than asked.
    pub(crate) fn copy_out_checked(&self, offset: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
        let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let remote = self.iovec(offset, buffer.len());
        // SAFETY: `local` is `buffer`, ours to write; `remote` is only an address to the kernel, which answers EFAULT
        // for what is not there. Both structures live through the call.
        let copied = unsafe { libc::process_vm_readv(own_pid(), &raw const local, 1, &raw const remote, 1, 0) };
        super::check(copied).map(isize::cast_unsigned)
    }

    /// Copies in by the kernel; answers how many bytes could be written, perhaps fewer than asked.
    pub(crate) fn copy_in_checked(&self, offset: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let remote = self.iovec(offset, bytes.len());
        // SAFETY: `local` is only read, and is `bytes`; `remote` lies inside our mapping (`iovec` asserts it), where
        // any change is allowed, and the kernel answers EFAULT for what is not there or not writable.
        let copied = unsafe { libc::process_vm_writev(own_pid(), &raw const local, 1, &raw const remote, 1, 0) };
        super::check(copied).map(isize::cast_unsigned)
    }

    fn iovec(&self, offset: usize, len: usize) -> libc::iovec {
        assert!(offset <= self.region.len() && len <= self.region.len() - offset, "range checked by the caller");
        libc::iovec { iov_base: self.region.raw().as_ptr().wrapping_add(offset).cast(), iov_len: len }
    }

    /// The pages that hold `len` bytes from `offset`: what calls on address ranges take.
    fn pages(&self, offset: usize, len: usize) -> (*mut std::ffi::c_void, usize) {
        assert!(offset <= self.region.len() && len <= self.region.len() - offset, "range checked by the caller");
        let slack = offset % rustix::param::page_size();
        (self.region.raw().as_ptr().wrapping_add(offset - slack).cast(), len + slack)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.region.raw().refuse_pinned().is_err() {
            return;
        }
        let (start, len) = (self.region.raw().as_ptr().cast(), self.region.len());
        // SAFETY: the range is ours alone, every borrow of the region ended before this drop, and it is not pinned.
        // Failure (a hole punched by somebody's raw munmap) leaves nothing for us to do.
        let _ = unsafe { rustix::mm::munmap(start, len) };
    }
}

/// The view of a range that the caller has just mapped, moved or re-protected, and owns.
fn view(start: *mut u8, len: usize, writable: bool) -> Region {
    let start = NonNull::new(start).expect("the kernel maps nothing at address zero unless told to");
    // SAFETY: the range is mapped as `writable` says; it is no Rust variable, because the kernel chose a range that
    // nobody used; `len` fits isize, because no mapping is larger; and it stays mapped until the `Mapped` that holds
    // this region unmaps it in `drop` or replaces the region in `resize`, both with exclusive access.
    let raw = unsafe { RawRegion::new(start, len) };
    Region::new(raw, writable)
}

/// Asked each time: a cached id would be the parent's after a fork.
fn own_pid() -> libc::pid_t {
    rustix::process::getpid().as_raw_pid()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::mapping::Mapping;

    #[test]
    fn a_forked_child_shares_anonymous_memory() {
        let memory = Mapping::anonymous(4096).unwrap();
        let word = memory.atomic_u32(0).unwrap();
        // SAFETY: the child makes one store and ends, neither of which needs a lock another thread might hold.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            word.store(7, Ordering::Release);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        // SAFETY: `child` is our child, and `status` lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((status, word.load(Ordering::Acquire)), (0, 7));
    }
}
