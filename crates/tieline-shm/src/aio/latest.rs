//! A latest value that tasks can wait for.

use std::fmt;

use super::Parker;
use crate::channel::latest::LatestReader as Blocking;
use crate::error::Result;
use crate::layout::ShmSafe;

/// A reader of a [`Latest`](crate::latest::Latest) value, for tasks: made of a [`LatestReader`](crate::latest::LatestReader).
pub struct LatestReader<T> {
    reader: Blocking<T>,
    parker: Parker,
}

impl<T: ShmSafe> LatestReader<T> {
    /// The latest value; see [`LatestReader::read`](crate::latest::LatestReader::read).
    ///
    /// # Errors
    /// As there.
    pub fn read(&mut self) -> Result<Option<T>> {
        self.reader.read()
    }

    /// Waits for a value that this reader has not read yet. Cancelling it loses nothing. The first call binds it to its
    /// tokio runtime.
    ///
    /// # Errors
    /// As [`LatestReader::changed`](crate::latest::LatestReader::changed); `Unsupported` outside of a tokio runtime with
    /// input and output; `LimitReached` if there is no descriptor left.
    pub async fn changed(&mut self) -> Result<T> {
        let Self { reader, parker } = self;
        let source = reader.source();
        parker.wait(reader.how(), || source.alarms(), || reader.poll_changed()).await?
    }

    /// The blocking twin.
    #[must_use]
    pub fn into_inner(self) -> Blocking<T> {
        self.reader
    }
}

impl<T> From<Blocking<T>> for LatestReader<T> {
    fn from(reader: Blocking<T>) -> Self {
        Self { reader, parker: Parker::default() }
    }
}

impl<T> fmt::Debug for LatestReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}
