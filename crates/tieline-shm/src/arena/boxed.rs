//! One value in an arena.

use std::marker::PhantomData;

use super::change::Change;
use super::{Arena, Handle, sealed, tag};
use crate::error::Result;
use crate::layout::ShmSafe;
use crate::raw::words::bytes_of;

/// One value in an [`Arena`].
///
/// ```
/// # use tieline_shm::{ArenaOptions, ShmBox};
/// # let mut arena = ArenaOptions::new("example").create(64 * 1024)?;
/// let count = arena.change(|change| ShmBox::new(change, &1_u64))?;
/// arena.change(|change| count.set(change, &2))?;
/// assert_eq!(count.get(&arena)?, 2);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct ShmBox<T> {
    offset: u64,
    holds: PhantomData<T>,
}

impl<T: ShmSafe> ShmBox<T> {
    /// Allocates a place for `value`.
    ///
    /// # Errors
    /// `Full` if there is none; `Corrupted` as always.
    pub fn new(change: &mut Change<'_>, value: &T) -> Result<Self> {
        let offset = change.allocate(size_of::<T>() as u64, Self::TAG)?;
        let this = Self::at(offset);
        this.set(change, value)?;
        Ok(this)
    }

    /// A copy of the value.
    ///
    /// # Errors
    /// `Corrupted` if this names no such box (any more), or it holds no `T`; `OwnerDied` if a change is open.
    pub fn get(&self, arena: &Arena) -> Result<T> {
        arena.reading(|heap| heap.value(heap.block(self.offset, Self::TAG)?, 0))
    }

    /// Stores another value.
    ///
    /// # Errors
    /// `TooLarge` if the journal has no room for the old one; `Corrupted` as for [`get`](Self::get).
    pub fn set(&self, change: &mut Change<'_>, value: &T) -> Result<()> {
        let block = change.heap.block(self.offset, Self::TAG)?;
        change.write(block, 0, bytes_of(value))
    }

    /// Gives the place back. What the value itself names in the arena is not freed.
    ///
    /// # Errors
    /// `Corrupted` as for [`get`](Self::get), also if it was freed before.
    pub fn free(self, change: &mut Change<'_>) -> Result<()> {
        change.free(self.offset, Self::TAG)
    }
}

impl<T: ShmSafe> sealed::Sealed for ShmBox<T> {}

impl<T: ShmSafe> Handle for ShmBox<T> {
    const TAG: u64 = tag("box", T::LAYOUT.hash());

    fn at(offset: u64) -> Self {
        Self { offset, holds: PhantomData }
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

impl<T> Copy for ShmBox<T> {}

impl<T> Clone for ShmBox<T> {
    fn clone(&self) -> Self {
        *self
    }
}
