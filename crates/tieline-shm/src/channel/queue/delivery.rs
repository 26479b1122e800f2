//! An item that a consumer works on.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Inner;
use crate::channel::payload::{self, Payload};
use crate::error::Result;
use crate::structure::held::Held;
use crate::structure::work::{Taken, WorkQueue};

/// An item of a [`Queue`](super::Queue), which is this process's until it is ended: by [`ack`](Self::ack), by
/// [`requeue`](Self::requeue), or by [`reject`](Self::reject).
///
/// Dropping it is an `ack`, unless the thread panics: then the item is handed back. If the process dies, the item is
/// delivered again. It dereferences to the item, where it lies (in a queue for several users: to a copy).
///
/// In a child made by `fork` the item stays the parent's: ending it there answers `Forked`, dropping it does nothing,
/// and what it dereferences to may change as soon as the parent ends it.
#[must_use = "dropping it acknowledges the item"]
pub struct Delivery<T: Payload + ?Sized> {
    inner: Arc<Inner>,
    /// `None` once it is ended.
    taken: Option<Taken>,
    attempts: u8,
    item: Held,
    of: std::marker::PhantomData<fn(&T)>,
}

impl<T: Payload + ?Sized> Delivery<T> {
    pub(super) fn new(inner: Arc<Inner>, taken: Taken) -> Result<Self> {
        let mut item = inner.held(taken);
        if let Err(error) = payload::check::<T>(&mut item, super::RECEIVE) {
            // No consumer could read it.
            inner.end(|queue| queue.reject(taken))?;
            return Err(error);
        }
        let attempts = taken.attempts;
        Ok(Self { inner, taken: Some(taken), attempts, item, of: std::marker::PhantomData })
    }

    /// How often the item was delivered before, to consumers that died or handed it back; 31 means 31 or more.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::from(self.attempts)
    }

    /// Whether the item was delivered before.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.attempts > 0
    }

    /// The work is done: the item is gone.
    ///
    /// # Errors
    /// `OwnerDied` if the others took this process for dead: they do the work again. `Corrupted`; `Forked`.
    pub fn ack(mut self) -> Result<()> {
        self.end(WorkQueue::finish)
    }

    /// The item shall not be tried again: it is gone, and counted.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn reject(mut self) -> Result<()> {
        self.end(WorkQueue::reject)
    }

    /// Hands the item back: it is delivered again, perhaps here, before all others.
    ///
    /// # Errors
    /// As [`ack`](Self::ack).
    pub fn requeue(mut self) -> Result<()> {
        self.hand_back()
    }

    fn hand_back(&mut self) -> Result<()> {
        self.inner.membership.check()?;
        let Some(taken) = self.taken.take() else { return Ok(()) };
        self.inner.queue.requeue(taken)?;
        self.inner.queue.item_added();
        Ok(())
    }

    fn end(&mut self, how: impl FnOnce(&WorkQueue, Taken) -> Result<()>) -> Result<()> {
        self.inner.membership.check()?;
        let Some(taken) = self.taken.take() else { return Ok(()) };
        self.inner.end(|queue| how(queue, taken))
    }
}

impl<T: Payload + ?Sized> Deref for Delivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        payload::view(&self.item)
    }
}

impl<T: Payload + ?Sized> Drop for Delivery<T> {
    fn drop(&mut self) {
        // Nobody to tell: who wants to know calls `ack`. In a forked child the item is the parent's, and this an error.
        let _ = if std::thread::panicking() { self.hand_back() } else { self.end(WorkQueue::finish) };
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}
