//! Bare memory of two processes, for the floors: nothing stands between them and the processor.
//!
//! The invariant is the caller's protocol: bytes are copied in only by the end whose turn it is, and copied out only
//! after an acquire load that saw the release store made after them. Both ends are ours.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};

use tieline_os::mapping::{MapOptions, Mapping};

use crate::control::{Outcome, Sentence};

/// A file in memory, mapped for good.
#[derive(Clone, Copy)]
pub(super) struct Memory(&'static Mapping);

impl Memory {
    /// Maps the file `name` of the folder, making it if it is not there; every page is present.
    pub(super) fn open(folder: &Path, name: &str, len: usize) -> Outcome<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(folder.join(name));
        let file = file.sentence()?;
        file.set_len(len as u64).sentence()?;
        let mapping = Mapping::of(&file, &MapOptions::new().populate()).sentence()?;
        // The ends of a measurement use it until their process ends.
        Ok(Self(Box::leak(Box::new(mapping))))
    }

    pub(super) fn word(self, offset: usize) -> Outcome<&'static AtomicU64> {
        self.0.atomic_u64(offset).sentence()
    }

    pub(super) fn futex(self, offset: usize) -> Outcome<&'static AtomicU32> {
        self.0.atomic_u32(offset).sentence()
    }

    /// Where it begins, for one thing that fills it alone.
    pub(super) fn place<T>(self) -> *mut T {
        self.0.as_ptr().cast_mut().cast()
    }

    /// Copies all of `bytes` to `offset`.
    #[inline(always)]
    #[allow(unsafe_code, reason = "a floor must not pay for the checks of a library")]
    pub(super) fn copy_in(self, offset: usize, bytes: &[u8]) {
        let target = self.at(offset, bytes.len());
        // SAFETY: the range lies in the mapping (`at`), which is never unmapped (leaked) and is no Rust variable; by the
        // protocol of the caller (module page) no other process touches these bytes now.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
    }

    /// Fills `bytes` from `offset`.
    #[inline(always)]
    #[allow(unsafe_code, reason = "as for copy_in")]
    pub(super) fn copy_out(self, offset: usize, bytes: &mut [u8]) {
        let source = self.at(offset, bytes.len());
        // SAFETY: as in copy_in.
        unsafe { std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len()) };
    }

    /// The address of `offset`, after asserting that `len` bytes follow it.
    #[inline(always)]
    fn at(self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset + len <= self.0.len());
        self.0.as_ptr().cast_mut().wrapping_add(offset)
    }
}
