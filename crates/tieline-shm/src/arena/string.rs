//! A text in an arena.

use super::change::Change;
use super::splice::{self, Tags};
use super::{Arena, Container, Handle, sealed, tag};
use crate::error::{Error, ErrorKind, Result};

/// A growing text in an [`Arena`], UTF-8 whatever a peer writes.
///
/// ```
/// # use tieline_shm::{ArenaOptions, ShmString};
/// # let mut arena = ArenaOptions::new("example").create(64 * 1024)?;
/// let greeting = arena.change(|change| ShmString::new(change, "hello"))?;
/// arena.change(|change| greeting.push_str(change, ", world"))?;
/// assert_eq!(greeting.get(&arena)?, "hello, world");
/// # Ok::<(), tieline_shm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ShmString {
    offset: u64,
}

impl ShmString {
    const TAGS: Tags = Tags { head: Self::TAG, data: tag("text data", 0) };

    /// Allocates a place for `text`.
    ///
    /// # Errors
    /// `Full` if there is none; `Corrupted` as always.
    pub fn new(change: &mut Change<'_>, text: &str) -> Result<Self> {
        let this = Self::at(splice::create(change, Self::TAGS)?);
        this.push_str(change, text)?;
        Ok(this)
    }

    /// A copy of the text.
    ///
    /// # Errors
    /// `Corrupted` if this names no text (any more), or a peer made it none; `OwnerDied` if a change is open.
    pub fn get(&self, arena: &Arena) -> Result<String> {
        let bytes = arena.reading(|heap| {
            let run = splice::open(heap, self.offset, Self::TAGS)?;
            splice::read_from(heap, run, 0)
        })?;
        String::from_utf8(bytes).map_err(|_| {
            Error::new("read from an arena", ErrorKind::Corrupted).because("what should be a text is no UTF-8")
        })
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn len(&self, arena: &Arena) -> Result<usize> {
        let len = arena.reading(|heap| Ok(splice::open(heap, self.offset, Self::TAGS)?.len))?;
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Whether the text has no bytes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self, arena: &Arena) -> Result<bool> {
        Ok(self.len(arena)? == 0)
    }

    /// Stores another text.
    ///
    /// # Errors
    /// `Full` if the arena is; `Corrupted` as for [`get`](Self::get).
    pub fn set(&self, change: &mut Change<'_>, text: &str) -> Result<()> {
        let len = self.len(change)? as u64;
        splice::splice(change, self.offset, Self::TAGS, 0, len, text.as_bytes())
    }

    /// Adds `text` at the end.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn push_str(&self, change: &mut Change<'_>, text: &str) -> Result<()> {
        let len = self.len(change)? as u64;
        splice::splice(change, self.offset, Self::TAGS, len, 0, text.as_bytes())
    }

    /// Gives its memory back.
    ///
    /// # Errors
    /// `Corrupted` as for [`get`](Self::get), also if it was freed before.
    pub fn free(self, change: &mut Change<'_>) -> Result<()> {
        splice::destroy(change, self.offset, Self::TAGS)
    }
}

impl sealed::Sealed for ShmString {}

impl Handle for ShmString {
    const TAG: u64 = tag("text", 0);

    fn at(offset: u64) -> Self {
        Self { offset }
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

impl Container for ShmString {
    fn make(change: &mut Change<'_>) -> Result<Self> {
        Self::new(change, "")
    }
}
