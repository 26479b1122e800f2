//! A latest value that tasks can wait for.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tieline_shm::{aio, latest::Latest};
//!
//! let mut writer = Latest::<f64>::at("temperature")?.writer()?;
//! let mut reader = aio::latest::LatestReader::from(Latest::<f64>::at("temperature")?.reader()?); // in others
//! writer.write(&21.5)?;
//! assert_eq!(reader.changed().await?, 21.5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

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
