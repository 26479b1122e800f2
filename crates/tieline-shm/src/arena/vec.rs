//! A growing sequence of values in an arena.

use std::marker::PhantomData;

use super::change::Change;
use super::heap::{Heap, corrupted};
use super::splice::{self, Run, Tags};
use super::{Arena, Container, Handle, sealed, tag};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::raw::words::bytes_of;

/// A growing sequence of values in an [`Arena`].
///
/// Adding at the end costs what a `Vec` costs, and a word in the journal for each that is stored; inserting and removing
/// in the middle move what is behind.
///
/// ```
/// # use tieline_shm::{ArenaOptions, ShmVec};
/// # let mut arena = ArenaOptions::new("example").create(64 * 1024)?;
/// let primes = arena.change(|change| {
///     let primes = ShmVec::new(change)?;
///     primes.extend_from_slice(change, &[2_u32, 3, 5])?;
///     Ok::<_, tieline_shm::Error>(primes)
/// })?;
/// assert_eq!(primes.get(&arena, 1)?, Some(3));
/// assert_eq!(primes.to_vec(&arena)?, [2, 3, 5]);
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct ShmVec<T> {
    offset: u64,
    holds: PhantomData<T>,
}

impl<T: ShmSafe> ShmVec<T> {
    const TAGS: Tags = Tags { head: Self::TAG, data: tag("vec data", T::LAYOUT.hash()) };

    /// The size of one, which is not zero: a length in bytes would not tell how many there are.
    const SIZE: u64 = {
        assert!(size_of::<T>() > 0, "a vector of values without bytes cannot be counted");
        size_of::<T>() as u64
    };

    /// Makes an empty one.
    ///
    /// # Errors
    /// `Full` if there is no place for it; `Corrupted` as always.
    pub fn new(change: &mut Change<'_>) -> Result<Self> {
        Ok(Self::at(splice::create(change, Self::TAGS)?))
    }

    /// How many values there are.
    ///
    /// # Errors
    /// `Corrupted` if this names no such vector (any more); `OwnerDied` if a change is open.
    pub fn len(&self, arena: &Arena) -> Result<usize> {
        arena.reading(|heap| Ok(self.run(heap)?.1))
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn is_empty(&self, arena: &Arena) -> Result<bool> {
        Ok(self.len(arena)? == 0)
    }

    /// A copy of the value at `index`, if there is one.
    ///
    /// # Errors
    /// As [`len`](Self::len), and `Corrupted` if its bytes are no `T`.
    pub fn get(&self, arena: &Arena, index: usize) -> Result<Option<T>> {
        arena.reading(|heap| {
            let (run, len) = self.run(heap)?;
            if index >= len {
                return Ok(None);
            }
            heap.value(splice::data(run)?, index as u64 * Self::SIZE).map(Some)
        })
    }

    /// Copies of all values.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn to_vec(&self, arena: &Arena) -> Result<Vec<T>> {
        arena.reading(|heap| {
            let (run, _) = self.run(heap)?;
            let bytes = splice::read_from(heap, run, 0)?;
            let values = bytes.chunks_exact(size_of::<T>()).map(crate::raw::words::value_of);
            values
                .collect::<Result<_, _>>()
                .map_err(|invalid| Error::new("read from an arena", ErrorKind::Corrupted).because(invalid.to_string()))
        })
    }

    /// Adds a value at the end.
    ///
    /// # Errors
    /// `Full` if the arena is; `TooLarge` if the journal is too small; `Corrupted` as for [`len`](Self::len).
    pub fn push(&self, change: &mut Change<'_>, value: &T) -> Result<()> {
        let len = self.len(change)?;
        self.splice(change, len, 0, bytes_of(value))
    }

    /// Adds values at the end.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn extend_from_slice(&self, change: &mut Change<'_>, values: &[T]) -> Result<()> {
        let len = self.len(change)?;
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| bytes.extend_from_slice(bytes_of(value)));
        self.splice(change, len, 0, &bytes)
    }

    /// Takes the last value away.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn pop(&self, change: &mut Change<'_>) -> Result<Option<T>> {
        let Some(last) = self.len(change)?.checked_sub(1) else { return Ok(None) };
        let value = self.get(change, last)?;
        self.splice(change, last, 1, &[])?;
        Ok(value)
    }

    /// Stores another value at `index`.
    ///
    /// # Errors
    /// `InvalidInput` if there is none at `index`; else as [`push`](Self::push).
    pub fn set(&self, change: &mut Change<'_>, index: usize, value: &T) -> Result<()> {
        self.splice(change, index, 1, bytes_of(value))
    }

    /// Puts a value before the one at `index`, or at the end if `index` is the length.
    ///
    /// # Errors
    /// `InvalidInput` if `index` is greater than the length; else as [`push`](Self::push).
    pub fn insert(&self, change: &mut Change<'_>, index: usize, value: &T) -> Result<()> {
        self.splice(change, index, 0, bytes_of(value))
    }

    /// Takes the value at `index` out; those behind move up.
    ///
    /// # Errors
    /// `InvalidInput` if there is none at `index`; else as [`push`](Self::push).
    pub fn remove(&self, change: &mut Change<'_>, index: usize) -> Result<T> {
        let value = self.get(change, index)?.ok_or_else(|| out_of_range(index))?;
        self.splice(change, index, 1, &[])?;
        Ok(value)
    }

    /// Keeps the first `len` values; fewer change nothing. The memory stays the vector's.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn truncate(&self, change: &mut Change<'_>, len: usize) -> Result<()> {
        let now = self.len(change)?;
        if len >= now { Ok(()) } else { self.splice(change, len, now - len, &[]) }
    }

    /// Gives its memory back. What the values themselves name in the arena is not freed.
    ///
    /// # Errors
    /// `Corrupted` as for [`len`](Self::len), also if it was freed before.
    pub fn free(self, change: &mut Change<'_>) -> Result<()> {
        splice::destroy(change, self.offset, Self::TAGS)
    }

    /// The run, and how many values it holds.
    fn run(&self, heap: &Heap) -> Result<(Run, usize)> {
        let run = splice::open(heap, self.offset, Self::TAGS)?;
        if !run.len.is_multiple_of(Self::SIZE) {
            return Err(corrupted("a length that is no number of values"));
        }
        Ok((run, usize::try_from(run.len / Self::SIZE).unwrap_or(0)))
    }

    fn splice(&self, change: &mut Change<'_>, index: usize, removed: usize, bytes: &[u8]) -> Result<()> {
        let len = self.len(change)?;
        if index.checked_add(removed).is_none_or(|end| end > len) {
            return Err(out_of_range(index));
        }
        let (place, removed) = (index as u64 * Self::SIZE, removed as u64 * Self::SIZE);
        splice::splice(change, self.offset, Self::TAGS, place, removed, bytes)
    }
}

fn out_of_range(index: usize) -> Error {
    let why = format!("there is nothing at {index}");
    Error::new("change a vector", ErrorKind::InvalidInput).because(why)
}

impl<T: ShmSafe> sealed::Sealed for ShmVec<T> {}

impl<T: ShmSafe> Handle for ShmVec<T> {
    const TAG: u64 = tag("vec", T::LAYOUT.hash());

    fn at(offset: u64) -> Self {
        Self { offset, holds: PhantomData }
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

impl<T: ShmSafe> Container for ShmVec<T> {
    fn make(change: &mut Change<'_>) -> Result<Self> {
        Self::new(change)
    }
}

impl<T> Copy for ShmVec<T> {}

impl<T> Clone for ShmVec<T> {
    fn clone(&self) -> Self {
        *self
    }
}
