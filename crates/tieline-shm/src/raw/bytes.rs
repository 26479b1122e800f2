//! A range of plain bytes in shared memory: where a large payload lies.
//!
//! The invariant: a range lies within its mapping, which stays mapped as long as the range lives. Bytes are copied, or
//! reached by pointer; that nobody writes them meanwhile is known only to the structure that lent the range, so the
//! references are `unsafe` to make and the argument stands where they are made.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use tieline_os::mapping::Mapping;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Invalid, ShmSafe};
use crate::raw::words::value_of;

const REACH: &str = "reach a payload in shared memory";

/// Some bytes of a mapping.
#[derive(Clone)]
pub(crate) struct Bytes {
    memory: Arc<Mapping>,
    offset: usize,
    len: usize,
}

impl Bytes {
    /// `len` bytes from `offset` of the mapping.
    ///
    /// # Errors
    /// `Corrupted` if they do not lie within it.
    pub(crate) fn of(memory: &Arc<Mapping>, offset: usize, len: usize) -> Result<Self> {
        if memory.len().checked_sub(offset).is_none_or(|rest| rest < len) {
            return Err(Error::new(REACH, ErrorKind::Corrupted).because("it does not lie within the segment"));
        }
        Ok(Self { memory: Arc::clone(memory), offset, len })
    }

    /// A part of these bytes.
    ///
    /// # Errors
    /// `Corrupted` if it does not lie within them.
    pub(crate) fn part(&self, offset: usize, len: usize) -> Result<Self> {
        if self.len.checked_sub(offset).is_none_or(|rest| rest < len) {
            return Err(Error::new(REACH, ErrorKind::Corrupted).because("it does not lie within its payload"));
        }
        Ok(Self { memory: Arc::clone(&self.memory), offset: self.offset + offset, len })
    }

    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where they begin in this process. Never null; writing through it needs a mapping made for writing.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        let start = self.memory.as_ptr().wrapping_add(self.offset).cast_mut();
        NonNull::new(start).unwrap_or(NonNull::dangling())
    }

    /// Copies out; a peer that writes meanwhile leaves a mixture.
    ///
    /// # Errors
    /// `TooLarge` if `buffer` is longer than the range.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<()> {
        self.fits(buffer.len())?;
        self.memory.read(self.offset, buffer).map_err(|error| Error::system_refused(REACH, error))
    }

    /// Copies in, from the start of the range.
    ///
    /// # Errors
    /// `TooLarge` if `bytes` is longer than the range; `PermissionDenied` if it is mapped read-only.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        self.fits(bytes.len())?;
        self.memory.write(self.offset, bytes).map_err(|error| Error::system_refused(REACH, error))
    }

    /// A checked copy of the `T` at the start of the range, through a copy of its bytes.
    ///
    /// # Errors
    /// `TooLarge` if the range is shorter than a `T`; `Corrupted` if its bytes are no `T`.
    pub(crate) fn read_value<T: ShmSafe>(&self) -> Result<T> {
        let mut bytes = vec![0; size_of::<T>()];
        self.read(&mut bytes)?;
        value_of(&bytes).map_err(|invalid| Error::new(REACH, ErrorKind::Corrupted).because(invalid.to_string()))
    }

    fn fits(&self, len: usize) -> Result<()> {
        if len <= self.len {
            return Ok(());
        }
        let why = format!("{len} bytes do not fit into {}", self.len);
        Err(Error::new(REACH, ErrorKind::TooLarge).because(why))
    }

    /// The bytes themselves.
    ///
    /// # Safety
    /// Until the slice is gone, nobody writes them: no thread, and no process that maps the memory.
    pub(crate) unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: inside a mapping (`of`) that `self.memory` keeps, readable, and initialised because a mapping's bytes
        // always are; no larger than isize::MAX because no mapping is; unchanged by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.as_ptr().as_ptr(), self.len) }
    }

    /// The bytes themselves, to write.
    ///
    /// # Safety
    /// The mapping is writable, and until the slice is gone nobody else reads or writes them: no other range, no
    /// thread, and no process that maps the memory.
    #[expect(clippy::mut_from_ref, reason = "who else may reach the bytes is the caller's promise, not this borrow")]
    pub(crate) unsafe fn as_mut_slice(&self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; writable and exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().as_ptr(), self.len) }
    }

    /// The `T` at the start of the range, in place, after its bytes were checked.
    ///
    /// # Errors
    /// `TooLarge` if the range is too short; `InvalidInput` if it is not aligned for a `T`; `Corrupted` if the bytes are
    /// no `T`.
    ///
    /// # Safety
    /// As [`as_slice`](Self::as_slice).
    pub(crate) unsafe fn as_value<T: ShmSafe>(&self) -> Result<&T> {
        let start = self.typed::<T>(1)?;
        // SAFETY: the caller's promise is the one that as_slice demands.
        let bytes = unsafe { self.as_slice() };
        T::check(&bytes[..size_of::<T>()]).map_err(|invalid| corrupted(&invalid))?;
        // SAFETY: aligned and within the range (`typed`), its bytes are a valid T (just checked) and do not change
        // while the reference lives (the caller's promise).
        Ok(unsafe { start.as_ref() })
    }

    /// As many `T` as `count`, in place, after their bytes were checked.
    ///
    /// # Errors
    /// As [`as_value`](Self::as_value).
    ///
    /// # Safety
    /// As [`as_slice`](Self::as_slice).
    pub(crate) unsafe fn as_values<T: ShmSafe>(&self, count: usize) -> Result<&[T]> {
        let start = self.typed::<T>(count)?;
        // SAFETY: the caller's promise is the one that as_slice demands.
        let bytes = unsafe { self.as_slice() };
        if size_of::<T>() > 0 {
            let each = bytes[..size_of::<T>() * count].chunks_exact(size_of::<T>());
            each.map(T::check).collect::<Result<(), Invalid>>().map_err(|invalid| corrupted(&invalid))?;
        }
        // SAFETY: as in `as_value`, for `count` of them.
        Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), count) })
    }

    /// As many `T` as `count`, in place and to write, after their bytes were checked.
    ///
    /// # Errors
    /// As [`as_value`](Self::as_value).
    ///
    /// # Safety
    /// As [`as_mut_slice`](Self::as_mut_slice).
    #[expect(clippy::mut_from_ref, reason = "as for as_mut_slice")]
    pub(crate) unsafe fn as_values_mut<T: ShmSafe>(&self, count: usize) -> Result<&mut [T]> {
        // SAFETY: the caller's promise includes the one that as_values demands.
        unsafe { self.as_values::<T>(count)? };
        let start = self.typed::<T>(count)?;
        // SAFETY: checked by as_values, whose borrow has ended; writable and exclusive by the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), count) })
    }

    /// The address of `count` of `T` at the start of the range.
    fn typed<T>(&self, count: usize) -> Result<NonNull<T>> {
        self.fits(size_of::<T>().saturating_mul(count))?;
        let start = self.as_ptr().cast::<T>();
        if !start.is_aligned() {
            return Err(Error::new(REACH, ErrorKind::InvalidInput).because("the payload is not aligned for its type"));
        }
        Ok(start)
    }
}

fn corrupted(invalid: &Invalid) -> Error {
    Error::new(REACH, ErrorKind::Corrupted).because(invalid.to_string())
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes").field("offset", &self.offset).field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_their_mapping() {
        let memory = Arc::new(Mapping::anonymous(8192).unwrap());
        assert!(Bytes::of(&memory, 0, 8192).is_ok() && Bytes::of(&memory, 8192, 0).is_ok());
        for (offset, len) in [(0, 8193), (8192, 1), (8193, 0), (usize::MAX, 1), (1, usize::MAX)] {
            assert_eq!(Bytes::of(&memory, offset, len).unwrap_err().kind(), ErrorKind::Corrupted);
        }
        let range = Bytes::of(&memory, 4096, 64).unwrap();
        assert!(range.part(64, 0).is_ok() && range.part(60, 5).is_err() && range.part(usize::MAX, 2).is_err());
        assert_eq!(range.write(&[0; 65]).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn values_are_checked_in_place_and_as_copies() {
        let memory = Arc::new(Mapping::anonymous(4096).unwrap());
        let range = Bytes::of(&memory, 8, 16).unwrap();
        range.write(&[1, 0, 2]).unwrap();
        // SAFETY: nobody else has this memory.
        unsafe {
            assert!(*range.as_value::<bool>().unwrap());
            assert_eq!(range.as_values::<bool>(2).unwrap(), [true, false]);
            assert_eq!(range.as_values::<bool>(3).unwrap_err().kind(), ErrorKind::Corrupted);
            assert_eq!(range.as_values::<u64>(3).unwrap_err().kind(), ErrorKind::TooLarge);
            assert_eq!(range.part(1, 8).unwrap().as_value::<u64>().unwrap_err().kind(), ErrorKind::InvalidInput);
            range.as_values_mut::<u8>(16).unwrap().fill(7);
            assert_eq!(range.as_mut_slice(), [7; 16]);
        }
        assert_eq!(range.read_value::<u16>().unwrap(), 0x0707);
        assert_eq!(range.read_value::<bool>().unwrap_err().kind(), ErrorKind::Corrupted);
    }
}
