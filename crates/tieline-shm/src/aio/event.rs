//! Events that tasks can wait for.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tieline_shm::{aio, event::Event};
//!
//! let doors = Event::open_or_create("doors")?; // in any number of processes
//! let mut listener = aio::event::Listener::from(doors.listener());
//! doors.notify(2)?;
//! let mut fired = Vec::new();
//! listener.wait(&mut fired).await?;
//! assert_eq!((fired[0].id, fired[0].times), (2, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use super::Parker;
use crate::channel::event::{Fired, Listener as Blocking};
use crate::error::Result;

/// A listener for tasks: made of a [`Listener`](crate::event::Listener).
#[derive(Debug)]
pub struct Listener {
    listener: Blocking,
    parker: Parker,
}

impl Listener {
    /// Waits until something has happened since it was last told, and says what, in `fired`, whose earlier content is
    /// forgotten; how many ids. Cancelling it loses nothing. The first call binds it to its tokio runtime.
    ///
    /// # Errors
    /// `Forked`; `Unsupported` outside of a tokio runtime with input and output; `LimitReached` if there is no
    /// descriptor left.
    pub async fn wait(&mut self, fired: &mut Vec<Fired>) -> Result<usize> {
        fired.clear();
        let Self { listener, parker } = self;
        let source = listener.source();
        parker.wait(listener.how(), || source.alarms(), || listener.poll_fired(fired)).await?
    }

    /// The blocking twin.
    #[must_use]
    pub fn into_inner(self) -> Blocking {
        self.listener
    }
}

impl From<Blocking> for Listener {
    fn from(listener: Blocking) -> Self {
        Self { listener, parker: Parker::default() }
    }
}
