//! How a reader-writer lock is made: [`RwLockOptions`].

use crate::error::{Error, ErrorKind, Result};
#[cfg(doc)]
use crate::sync::order;

/// The largest number of [readers](RwLockOptions::readers) a lock can be made for.
pub const MAX_READERS: u32 = 512;

/// Who goes first when both readers and writers want the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RwLockKind {
    /// Writers: readers who come while a writer waits wait until no writer does. Readers may wait for ever if writers
    /// never pause.
    #[default]
    WriterPreferring,
    /// Turns: a writer that leaves lets in all readers who came while it was inside or waited for, and the next writer
    /// waits for those. A reader waits for one writer at most, a writer for one group of readers and for other writers.
    /// Writers among themselves have no order, but a thread that leaves and comes back gives precedence, for a
    /// millisecond at most, to the writer that it woke.
    Fair,
}

/// How a lock is made. Those who attach find it as it was made.
#[derive(Clone, Debug)]
pub struct RwLockOptions {
    pub(super) kind: RwLockKind,
    pub(super) readers: u32,
    pub(super) name: String,
}

impl RwLockOptions {
    /// A lock that prefers writers, for 32 readers at a time, without a name.
    #[must_use]
    pub fn new() -> Self {
        Self { kind: RwLockKind::default(), readers: 32, name: String::new() }
    }

    /// Who goes first.
    #[must_use]
    pub fn kind(mut self, kind: RwLockKind) -> Self {
        self.kind = kind;
        self
    }

    /// How many threads can read at a time without being in each other's way, from 1 to [`MAX_READERS`].
    ///
    /// Each takes 64 bytes, and each makes locking for writing a little slower, because a writer looks at all of them.
    /// The limit is soft. One reader more is let in, but while it reads, those who come later wait until it leaves.
    /// Choose at least twice the number of threads that really read at the same moment, so that each finds its own line
    /// of the cache.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers;
        self
    }

    /// A name for people who look at the segment, and the lock's class for the [order check](order).
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
}

impl RwLockOptions {
    pub(crate) fn checked(&self) -> Result<&Self> {
        if (1..=MAX_READERS).contains(&self.readers) {
            return Ok(self);
        }
        Err(Error::new("create a reader-writer lock", ErrorKind::InvalidInput)
            .because(format!("it can have 1 to {MAX_READERS} readers, not {}", self.readers)))
    }

    pub(crate) fn reader_count(&self) -> u32 {
        self.readers
    }
}

impl Default for RwLockOptions {
    fn default() -> Self {
        Self::new()
    }
}
