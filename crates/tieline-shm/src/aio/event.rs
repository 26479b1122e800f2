//! Events that tasks can wait for.

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
