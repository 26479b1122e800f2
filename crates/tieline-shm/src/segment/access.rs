//! Bytes, values and words of a segment, for users who want memory alone.

use tieline_os::Region;

use super::Segment;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::words::{bytes_of, value_of};

const USE: &str = "use the memory of a segment";

impl Segment {
    /// Copies from `offset` on, counted from the start of the first page; `None` where no memory is.
    #[cfg(not(model))]
    pub(crate) fn look(&self, offset: u64, buffer: &mut [u8]) -> Option<()> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(buffer.len())?;
        if end > self.start().saturating_add(self.committed_len()) {
            return None;
        }
        self.memory.read(offset, buffer).ok()
    }

    /// Copies `buffer.len()` bytes from `offset` into `buffer`. If a peer writes meanwhile, the copy may mix old and new
    /// bytes.
    ///
    /// # Errors
    /// `InvalidInput` if the range does not lie within the [committed](Self::committed_len) memory.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let place = self.place(offset, buffer.len())?;
        self.memory.read(place, buffer).map_err(refused)
    }

    /// Copies all of `bytes` to `offset`. If this process dies in the middle, some of them are there.
    ///
    /// # Errors
    /// `InvalidInput` as for [`read`](Self::read); `PermissionDenied` if the segment was accepted for reading.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let place = self.place(offset, bytes.len())?;
        self.memory.write(place, bytes).map_err(refused)
    }

    /// A copy of the value at `offset`, checked. If a peer writes meanwhile, the copy may mix old and new bytes.
    ///
    /// # Errors
    /// `InvalidInput` as for [`read`](Self::read); `Corrupted` if the bytes there are no `T`.
    pub fn load<T: ShmSafe>(&self, offset: usize) -> Result<T> {
        const STACK_BYTES: usize = 256;
        let (mut short, mut long) = ([0; STACK_BYTES], Vec::new());
        let bytes = match short.get_mut(..size_of::<T>()) {
            Some(bytes) => bytes,
            None => {
                long.resize(size_of::<T>(), 0);
                &mut long[..]
            }
        };
        self.read(offset, bytes)?;
        value_of(bytes).map_err(|invalid| Error::new(USE, ErrorKind::Corrupted).because(invalid.to_string()))
    }

    /// Copies `value` to `offset`.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn store<T: ShmSafe>(&self, offset: usize, value: &T) -> Result<()> {
        self.write(offset, bytes_of(value))
    }

    /// The 32-bit word at `offset` as an atomic: for flags, counters and futexes.
    ///
    /// # Errors
    /// `InvalidInput` as for [`read`](Self::read), and if `offset` is no multiple of 4; `PermissionDenied` if the
    /// segment was accepted for reading.
    pub fn atomic_u32(&self, offset: usize) -> Result<&std::sync::atomic::AtomicU32> {
        let place = self.place(offset, 4)?;
        Region::atomic_u32(&self.memory, place).map_err(refused)
    }

    /// The 64-bit word at `offset` as an atomic.
    ///
    /// # Errors
    /// As for [`atomic_u32`](Self::atomic_u32), with 8 for 4.
    pub fn atomic_u64(&self, offset: usize) -> Result<&std::sync::atomic::AtomicU64> {
        let place = self.place(offset, 8)?;
        Region::atomic_u64(&self.memory, place).map_err(refused)
    }

    /// Where a range of the body begins in the mapping, if there is memory behind it.
    fn place(&self, offset: usize, len: usize) -> Result<usize> {
        let limit = if self.growable { self.committed_len() } else { self.len() };
        if limit.checked_sub(offset).is_none_or(|rest| rest < len) {
            let why = format!("{len} bytes from {offset} do not lie within the {limit} that are there");
            return Err(Error::new(USE, ErrorKind::InvalidInput).because(why));
        }
        Ok(self.start() + offset)
    }
}

fn refused(error: tieline_os::Error) -> Error {
    Error::system_refused(USE, error)
}
