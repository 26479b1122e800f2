//! Raw access to memory that other processes may change while we look.
//!
//! All accesses are atomic (relaxed) or made by an instruction the compiler does not see into, because a plain load
//! or store that races with another writer has no defined meaning in Rust. Bounds are checked one level up, in
//! [`crate::Region`], and asserted again here, because this is the last line before the memory.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use rustix::io::Errno;

use crate::sys::bytes;

/// The start and length of memory that stays mapped for as long as this value lives.
///
/// It does not own the memory: whoever unmaps it must drop (or never hand out) this value first.
pub(crate) struct RawRegion {
    start: NonNull<u8>,
    len: usize,
    pins: AtomicUsize,
}

// SAFETY: the region is an address range, not thread-bound state; every access through it is atomic or opaque, so
// concurrent use from several threads is as defined as concurrent use from several processes, which is its purpose.
unsafe impl Send for RawRegion {}
// SAFETY: as for Send; no method hands out a non-atomic reference.
unsafe impl Sync for RawRegion {}

impl RawRegion {
    /// # Safety
    /// `start..start + len` must be mapped readable (and writable, if a writing method will be called) in this
    /// process until the value is dropped, must not overlap memory that Rust knows as a plain variable, and `len`
    /// must not exceed `isize::MAX`.
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len, pins: AtomicUsize::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Says that the C library or the kernel keeps an address of this memory for now (a held robust lock): whoever
    /// owns the memory must not unmap, move or write-protect it while it is pinned.
    pub(crate) fn pin(&self) {
        // Relaxed: the owner of the memory looks at it with exclusive access, which orders every pin before.
        self.pins.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back one [`pin`](Self::pin).
    pub(crate) fn unpin(&self) {
        self.pins.fetch_sub(1, Ordering::Relaxed);
    }

    /// `EBUSY` while the memory must stay as it is. To be asked by its owner before each unmapping, moving or
    /// write-protecting.
    pub(crate) fn refuse_pinned(&self) -> Result<(), Errno> {
        if self.pins.load(Ordering::Relaxed) == 0 { Ok(()) } else { Err(Errno::BUSY) }
    }

    /// The address `offset` bytes in, after asserting that `len` bytes follow it.
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len && len <= self.len - offset, "range checked by the caller");
        // SAFETY: offset <= self.len, so the result is inside or one past the range `new` was promised.
        unsafe { self.start.as_ptr().add(offset) }
    }

    pub(crate) fn atomic_u8(&self, offset: usize) -> &AtomicU8 {
        let address = self.at(offset, 1);
        // SAFETY: mapped for the life of &self by the contract of `new`, alignment 1; all access is atomic.
        unsafe { AtomicU8::from_ptr(address) }
    }

    pub(crate) fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        let address = self.at(offset, 4).cast::<u32>();
        assert!(address.is_aligned(), "alignment checked by the caller");
        // SAFETY: mapped for the life of &self by the contract of `new`, aligned as just asserted; all access is
        // atomic here and atomic or opaque elsewhere in this file.
        unsafe { AtomicU32::from_ptr(address) }
    }

    pub(crate) fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        let address = self.at(offset, 8).cast::<u64>();
        assert!(address.is_aligned(), "alignment checked by the caller");
        // SAFETY: as for atomic_u32.
        unsafe { AtomicU64::from_ptr(address) }
    }

    /// The bytes of a range, as atomics.
    fn bytes(&self, offset: usize, len: usize) -> &[AtomicU8] {
        let start = self.at(offset, len).cast::<AtomicU8>();
        // SAFETY: `len` bytes (asserted by `at`), mapped for the life of &self by the contract of `new`, alignment 1;
        // all access is atomic, or opaque to the compiler.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Copies out of the shared memory.
    pub(crate) fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
        bytes::load(self.bytes(offset, buffer.len()), buffer);
    }

    /// Copies into the shared memory.
    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        bytes::store(self.bytes(offset, bytes.len()), bytes);
    }

    /// Sets a range to one byte.
    pub(crate) fn fill(&self, offset: usize, len: usize, byte: u8) {
        bytes::fill(self.bytes(offset, len), byte);
    }
}

/// Loads from memory that may be mapped for reading only.
///
/// There Rust allows relaxed loads alone (others may be compiled to instructions that write); a fence beside one orders
/// as much.
///
/// # Panics
/// If `order` is not one of a load, as the atomics' own functions.
pub(crate) fn load_read_only<T>(order: Ordering, load_relaxed: impl FnOnce() -> T) -> T {
    match order {
        Ordering::Relaxed => load_relaxed(),
        Ordering::Acquire => {
            let value = load_relaxed();
            fence(Ordering::Acquire);
            value
        }
        Ordering::SeqCst => {
            // One before, so that our earlier stores come first; one after, because a SeqCst load acquires too.
            fence(Ordering::SeqCst);
            let value = load_relaxed();
            fence(Ordering::Acquire);
            value
        }
        _ => panic!("a load cannot release"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every small length at every alignment, and one long copy, arrive whole and touch nothing beside.
    #[test]
    fn copies_are_exact_at_every_alignment() {
        let mut memory = vec![0_u64; 512];
        // SAFETY: the vector lives to the end of the test and is not touched directly meanwhile.
        let region = unsafe { RawRegion::new(NonNull::from(memory.as_mut_slice()).cast(), 4096) };
        for len in (0..40).chain([511, 512, 513, 2000]) {
            for offset in 1..17 {
                region.fill(0, 4096, 0xEE);
                let bytes: Vec<u8> = (0..len).map(|index| index as u8).collect();
                region.copy_in(offset, &bytes);
                let mut back = vec![0; len + 2];
                region.copy_out(offset - 1, &mut back);
                assert_eq!((back[0], back[len + 1]), (0xEE, 0xEE), "len {len} offset {offset}");
                assert_eq!(&back[1..=len], bytes, "len {len} offset {offset}");
            }
        }
    }
}
