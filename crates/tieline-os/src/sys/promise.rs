//! Promises that only a caller can make, and so says aloud by `unsafe`.

use crate::Region;
use crate::pthread::Place;

impl<'r> Place<'r> {
    /// The place `offset` bytes into `region`, a multiple of [`ALIGN`](crate::pthread::ALIGN).
    ///
    /// # Safety
    /// As long as an object lies there, its bytes must be written by nobody but the operations of its own type: not
    /// through `region` or any other mapping of the same memory, not by an object in an overlapping place, not by a
    /// process that maps it. The C library keeps pointers in some of them and follows what it finds.
    #[must_use]
    pub unsafe fn trusting(region: &'r Region, offset: usize) -> Self {
        Self::at(region, offset)
    }
}
