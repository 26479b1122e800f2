//! Waiting in tasks, under tokio.
//!
//! A [`Parker`] belongs to one handle and lets tasks sleep until the handle's bell rings. No thread waits on a task's
//! behalf, nothing is polled by the clock, and a task that is cancelled leaves nothing behind but an announcement, which
//! costs the next notifier one ring in vain.

use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::unix::AsyncFd;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::reactor::{self, Watched};
use crate::wait::{Bell, Source};

/// Lets tasks sleep until a handle's bell rings.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    /// Registered with the runtime of the first task that had to sleep.
    bell: OnceLock<AsyncFd<Watched>>,
}

impl Parker {
    /// Waits until `ready` answers; `source` is asked to ring whenever it may.
    ///
    /// Looks for a while first where the notifier runs on another processor and has been quick lately; the runtime's
    /// thread is held for that long, a tenth of a millisecond at most. Cancelling it loses nothing: what `ready` takes
    /// is returned at once.
    ///
    /// The first call that sleeps binds the parker to its runtime, which must go on running for later ones.
    ///
    /// # Errors
    /// What `ready` answers ends the wait, also if it is an error. `LimitReached` if there is no descriptor left,
    /// `Unsupported` outside of a tokio runtime with input and output.
    pub(crate) async fn wait<R>(&self, source: &dyn Source, mut ready: impl FnMut() -> Option<R>) -> Result<R> {
        if let Some(answer) = ready() {
            return Ok(answer);
        }
        if let Some(answer) = source.alarms()?.look_a_while(&mut ready) {
            return Ok(answer);
        }
        poll_fn(|task| self.poll(task, source, &mut ready)).await
    }

    /// Asks `ready`; if it does not answer, sees to it that `task` is woken when it may.
    pub(crate) fn poll<R>(
        &self,
        task: &mut Context<'_>,
        source: &dyn Source,
        ready: &mut impl FnMut() -> Option<R>,
    ) -> Poll<Result<R>> {
        if let Some(answer) = ready() {
            return Poll::Ready(Ok(answer));
        }
        let alarms = source.alarms()?;
        let bell = self.bell(alarms.bell())?;
        // Rings so far are forgotten, and the task is registered for the next: before announcing, so that a ring
        // after it is not missed.
        while let Poll::Ready(rung) = bell.poll_read_ready(task) {
            rung.map_err(|error| Error::new(AWAIT, ErrorKind::System).because(error.to_string()))?.clear_ready();
        }
        alarms.arm();
        match ready() {
            Some(answer) => Poll::Ready(Ok(answer)),
            None => Poll::Pending,
        }
    }

    fn bell(&self, bell: &Bell) -> Result<&AsyncFd<Watched>> {
        if let Some(bell) = self.bell.get() {
            return Ok(bell);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(AWAIT, ErrorKind::Unsupported).because("this is no task of a tokio runtime"));
        }
        let registered = reactor::watch(Arc::clone(bell.counter()));
        let registered = registered.map_err(|error| Error::new(AWAIT, ErrorKind::System).because(error.to_string()))?;
        Ok(self.bell.get_or_init(|| registered))
    }
}

const AWAIT: &str = "await";
