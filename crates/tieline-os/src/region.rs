//! A view of memory that other processes may change at any time.
//!
//! The invariant: no `&` or `&mut` to plain bytes of the memory ever exists. Bytes are copied in and out, words are
//! atomics. So a peer that writes at the wrong moment gives the reader odd values, never undefined behaviour.
//! (Rust's memory model does not say what two unordered atomic accesses of different sizes to the same bytes do; every
//! processor this crate runs on, and every compiler for it, makes each of them whole. Within one process, use one size
//! for one word all the same.)
//! What made the memory (a mapping, a System V attachment) owns it and lends its [`Region`] by `Deref`.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::sys;

/// A range of memory shared with other processes: bytes are copied, words are atomic.
///
/// Offsets count in bytes from the start of the region. Nothing here blocks or calls the kernel, and only a refusal
/// allocates, for its sentence; so what is sure to succeed may be used in a signal handler. When a peer dies in the middle of a write, its bytes are left half-written;
/// telling so is the work of a protocol above (a sequence number, a lock).
///
/// Touching memory whose file another process has cut shorter raises `SIGBUS`. Memory this crate makes anonymous
/// or sealed against shrinking cannot be cut; for others see [`crate::mapping`].
///
/// ```
/// use std::sync::atomic::Ordering;
/// use tieline_os::mapping::Mapping;
///
/// let memory = Mapping::anonymous(4096)?; // lends its region
/// memory.write(8, b"data")?;
/// memory.atomic_u32(0)?.store(1, Ordering::Release); // "it is complete"
///
/// assert_eq!(memory.load_u32(0, Ordering::Acquire)?, 1);
/// let mut copy = [0; 4];
/// memory.read(8, &mut copy)?;
/// assert_eq!(&copy, b"data");
/// assert!(memory.read(4094, &mut copy).is_err(), "beyond the end");
/// # Ok::<(), tieline_os::Error>(())
/// ```
pub struct Region {
    raw: sys::region::RawRegion,
    writable: bool,
}

impl Region {
    pub(crate) fn new(raw: sys::region::RawRegion, writable: bool) -> Self {
        Self { raw, writable }
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.len()
    }

    /// Whether the region has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it may be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Where the region begins in this process; another process has it elsewhere, so the address means nothing there.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.raw.as_ptr()
    }

    /// Copies `buffer.len()` bytes from `offset` into `buffer`.
    ///
    /// If a peer writes meanwhile, the copy may mix old and new bytes.
    ///
    /// # Errors
    /// `InvalidInput` if the range does not lie within the region; nothing is copied.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        self.check("read shared memory", offset, buffer.len())?;
        self.raw.copy_out(offset, buffer);
        Ok(())
    }

    /// Copies all of `bytes` to `offset`.
    ///
    /// # Errors
    /// `InvalidInput` if the range does not lie within the region, `PermissionDenied` if it is read-only; nothing is
    /// written then.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.check_writable("write shared memory")?;
        self.check("write shared memory", offset, bytes.len())?;
        self.raw.copy_in(offset, bytes);
        Ok(())
    }

    /// Sets `len` bytes from `offset` to `byte`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn fill(&self, offset: usize, len: usize, byte: u8) -> Result<()> {
        self.check_writable("fill shared memory")?;
        self.check("fill shared memory", offset, len)?;
        self.raw.fill(offset, len, byte);
        Ok(())
    }

    /// The 32-bit word at `offset` as an atomic, for futexes and counters.
    ///
    /// # Errors
    /// `InvalidInput` if the word lies outside the region or not on a multiple of four; `PermissionDenied` if the
    /// region is read-only (use [`load_u32`](Self::load_u32)).
    pub fn atomic_u32(&self, offset: usize) -> Result<&AtomicU32> {
        self.check_writable("use an atomic of shared memory")?;
        self.check_word("use an atomic of shared memory", offset, 4)?;
        Ok(self.raw.atomic_u32(offset))
    }

    /// The 64-bit word at `offset` as an atomic.
    ///
    /// # Errors
    /// As [`atomic_u32`](Self::atomic_u32), with multiples of eight.
    pub fn atomic_u64(&self, offset: usize) -> Result<&AtomicU64> {
        self.check_writable("use an atomic of shared memory")?;
        self.check_word("use an atomic of shared memory", offset, 8)?;
        Ok(self.raw.atomic_u64(offset))
    }

    /// The byte at `offset` as an atomic.
    ///
    /// # Errors
    /// As [`atomic_u32`](Self::atomic_u32), at any offset.
    pub fn atomic_u8(&self, offset: usize) -> Result<&AtomicU8> {
        self.check_writable("use an atomic of shared memory")?;
        self.check("use an atomic of shared memory", offset, 1)?;
        Ok(self.raw.atomic_u8(offset))
    }

    /// Loads the 32-bit word at `offset`; works on read-only regions too.
    ///
    /// # Errors
    /// `InvalidInput` if the word lies outside the region or not on a multiple of four.
    ///
    /// # Panics
    /// If `order` is `Release` or `AcqRel`, as [`AtomicU32::load`].
    pub fn load_u32(&self, offset: usize, order: Ordering) -> Result<u32> {
        self.check_word("load from shared memory", offset, 4)?;
        let word = self.raw.atomic_u32(offset);
        Ok(if self.writable {
            word.load(order)
        } else {
            sys::region::load_read_only(order, || word.load(Ordering::Relaxed))
        })
    }

    /// Loads the 64-bit word at `offset`; works on read-only regions too.
    ///
    /// # Errors
    /// `InvalidInput` if the word lies outside the region or not on a multiple of eight.
    ///
    /// # Panics
    /// If `order` is `Release` or `AcqRel`, as [`AtomicU64::load`].
    pub fn load_u64(&self, offset: usize, order: Ordering) -> Result<u64> {
        self.check_word("load from shared memory", offset, 8)?;
        let word = self.raw.atomic_u64(offset);
        Ok(if self.writable {
            word.load(order)
        } else {
            sys::region::load_read_only(order, || word.load(Ordering::Relaxed))
        })
    }

    /// The raw memory, for the system calls of this crate that take an address range.
    pub(crate) fn raw(&self) -> &sys::region::RawRegion {
        &self.raw
    }

    /// Refuses a range that does not lie within the region.
    pub(crate) fn check(&self, operation: &'static str, offset: usize, len: usize) -> Result<()> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len() => Ok(()),
            _ => Err(Error::invalid(
                operation,
                format!("bytes {offset}..{offset}+{len} lie outside the region's {} bytes", self.len()),
            )),
        }
    }

    fn check_word(&self, operation: &'static str, offset: usize, size: usize) -> Result<()> {
        if !offset.is_multiple_of(size) {
            return Err(Error::invalid(operation, format!("offset {offset} is not a multiple of {size}")));
        }
        self.check(operation, offset, size)
    }

    fn check_writable(&self, operation: &'static str) -> Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(Error::of_kind(operation, crate::ErrorKind::PermissionDenied, "the region is mapped read-only"))
        }
    }
}

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).field("writable", &self.writable).finish()
    }
}
