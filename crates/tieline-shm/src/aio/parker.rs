//! How tasks sleep until a handle's bell rings.
//!
//! The invariant: a task that sleeps was registered with the runtime before it announced itself to the notifiers, and
//! looked once more after that. A task that is cancelled leaves an announcement, which costs the next notifier one ring
//! in vain, and nothing else.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tokio::task::coop;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::reactor::{self, Watched};
use crate::wait::{Alarms, Bell, Waiting};

const AWAIT: &str = "await";

/// Lets tasks sleep until a handle's bell rings.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    /// Registered with the runtime of the first task that had to sleep.
    bell: OnceLock<AsyncFd<Watched>>,
}

/// One wait, from the first look to the answer.
#[derive(Debug, Default)]
pub(crate) struct Nap {
    has_looked: bool,
    /// Until when it looked in vain, if it did.
    looked_until: Option<Instant>,
    has_slept: bool,
}

impl Nap {
    /// Looks for a while before the first sleep, where the notifier runs on another processor and has been quick
    /// lately; the runtime's thread is held for that long, a tenth of a millisecond at most.
    fn look<R>(&mut self, alarms: &Alarms, how: Waiting, ready: &mut impl FnMut() -> Option<R>) -> Option<R> {
        if std::mem::replace(&mut self.has_looked, true) || how == Waiting::Block {
            return None;
        }
        match alarms.look_a_while(ready) {
            Ok(answer) => Some(answer),
            Err(looked_until) => {
                self.looked_until = looked_until;
                None
            }
        }
    }

    /// The answer is there: what this wait teaches is noted, and the next one begins.
    fn end<'a>(&mut self, alarms: impl FnOnce() -> Result<&'a Alarms>) {
        let ended = std::mem::take(self);
        if ended.has_slept
            && let Some(looked_until) = ended.looked_until
            && let Ok(alarms) = alarms()
        {
            alarms.slept(looked_until);
        }
    }
}

impl Parker {
    /// Waits until `ready` answers; whoever has the `alarms` rings when it may. Cancelling it loses nothing: what
    /// `ready` takes is returned at once. One task at a time; see [`wait_among`](Self::wait_among).
    ///
    /// The first call that sleeps binds the parker to its runtime, which must go on running for later ones.
    ///
    /// # Errors
    /// What `ready` answers ends the wait, also if it is an error. `LimitReached` if there is no descriptor left,
    /// `Unsupported` outside of a tokio runtime with input and output.
    pub(crate) async fn wait<'a, R>(
        &self,
        how: Waiting,
        mut alarms: impl FnMut() -> Result<&'a Alarms>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        let mut nap = Nap::default();
        poll_fn(|task| self.poll(task, &mut nap, how, &mut alarms, &mut ready)).await
    }

    /// Asks `ready`; if it does not answer, sees to it that `task` is woken when it may.
    pub(crate) fn poll<'a, R>(
        &self,
        task: &mut Context<'_>,
        nap: &mut Nap,
        how: Waiting,
        alarms: &mut impl FnMut() -> Result<&'a Alarms>,
        ready: &mut impl FnMut() -> Option<R>,
    ) -> Poll<Result<R>> {
        // A channel that always has something must not keep the other tasks waiting.
        let turn = ready!(coop::poll_proceed(task));
        if let Some(answer) = ready() {
            turn.made_progress();
            nap.end(alarms);
            return Poll::Ready(Ok(answer));
        }
        let alarms = alarms()?;
        if let Some(answer) = nap.look(alarms, how, ready) {
            turn.made_progress();
            *nap = Nap::default();
            return Poll::Ready(Ok(answer));
        }
        let bell = self.bell(alarms.bell())?;
        // Rings so far are forgotten, and the task is registered for the next: before announcing, so that a ring
        // after it is not missed.
        while let Poll::Ready(rung) = bell.poll_read_ready(task) {
            rung.map_err(refused)?.clear_ready();
        }
        alarms.arm();
        match ready() {
            Some(answer) => {
                turn.made_progress();
                *nap = Nap::default();
                Poll::Ready(Ok(answer))
            }
            None => {
                nap.has_slept = true;
                Poll::Pending
            }
        }
    }

    /// [`wait`](Self::wait) for handles that several tasks wait for at once; each ring wakes all of them.
    ///
    /// # Errors
    /// As `wait`.
    pub(crate) async fn wait_among<'a, R>(
        &self,
        how: Waiting,
        mut alarms: impl FnMut() -> Result<&'a Alarms>,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        let mut nap = Nap::default();
        loop {
            coop::consume_budget().await;
            if let Some(answer) = ready() {
                nap.end(alarms);
                return Ok(answer);
            }
            let alarms = alarms()?;
            if let Some(answer) = nap.look(alarms, how, &mut ready) {
                return Ok(answer);
            }
            let bell = self.bell(alarms.bell())?;
            // A place in the runtime's list, left when this is dropped. If another task forgets a ring that came
            // after this one had taken its place, this one is woken all the same.
            let mut rung = pin!(bell.readable());
            let mut is_armed = false;
            let answer = poll_fn(|task| match rung.as_mut().poll(task) {
                Poll::Ready(Ok(mut earlier)) => {
                    earlier.clear_ready();
                    Poll::Ready(Ok(None))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(refused(error))),
                Poll::Pending if is_armed => Poll::Pending,
                Poll::Pending => {
                    alarms.arm();
                    (is_armed, nap.has_slept) = (true, true);
                    match ready() {
                        Some(answer) => Poll::Ready(Ok(Some(answer))),
                        None => Poll::Pending,
                    }
                }
            });
            if let Some(answer) = answer.await? {
                return Ok(answer);
            }
        }
    }

    fn bell(&self, bell: &Bell) -> Result<&AsyncFd<Watched>> {
        if let Some(bell) = self.bell.get() {
            return Ok(bell);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(AWAIT, ErrorKind::Unsupported).because("this is no task of a tokio runtime"));
        }
        let registered = reactor::watch(bell.counter()).map_err(refused)?;
        Ok(self.bell.get_or_init(|| registered))
    }
}

fn refused(error: std::io::Error) -> Error {
    let kind = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => ErrorKind::LimitReached,
        _ => ErrorKind::System,
    };
    Error::new(AWAIT, kind).because(error.to_string())
}
