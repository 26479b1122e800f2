//! Work queues that tasks send to and receive from.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! use tieline_shm::{aio, queue::Queue};
//!
//! let jobs = aio::queue::Queue::from(Queue::<u64>::open_or_create("jobs")?); // in any number of processes
//! jobs.send(&7).await?;
//! let job = jobs.recv().await?;
//! assert_eq!(*job, 7);
//! job.ack()?; // or drop it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::fmt;

use super::Parker;
use crate::channel::payload::Payload;
use crate::error::Result;
use crate::queue::{self, Delivery};

/// A work queue, for tasks: made of a [`queue::Queue`]. Any task may send and receive.
///
/// Tasks that wait through one handle are all woken by each item, and all but one wait again: give each a clone if the
/// queue is busy, or better, have one task receive and hand on. A clone is the same membership, with a descriptor of its
/// own as soon as it waits.
pub struct Queue<T: Payload + ?Sized> {
    queue: queue::Queue<T>,
    items: Parker,
    room: Parker,
}

impl<T: Payload + ?Sized> Queue<T> {
    /// Takes the next item; waits until one is there. The death of others does not end the wait.
    ///
    /// Cancelling it loses no item: none is taken before it is returned. Beware of cancelling what comes after it: a
    /// [`Delivery`] that is dropped is acknowledged. The first call that sleeps binds the handle to its tokio runtime.
    ///
    /// # Errors
    /// `Corrupted`, `Forked` as [`queue::Queue::try_recv`]; `LimitReached` if there is no descriptor left;
    /// `Unsupported` outside of a tokio runtime with input and output, or before Linux 5.16.
    pub async fn recv(&self) -> Result<Delivery<T>> {
        let source = self.queue.items_source();
        self.items.wait_among(self.queue.how(), || source.alarms(), || self.queue.poll_recv()).await?
    }

    /// Takes the next item, if one is there.
    ///
    /// # Errors
    /// As [`queue::Queue::try_recv`].
    pub fn try_recv(&self) -> Result<Delivery<T>> {
        self.queue.try_recv()
    }

    /// The blocking twin, for what never waits: `try_` forms and figures.
    #[must_use]
    pub fn get_ref(&self) -> &queue::Queue<T> {
        &self.queue
    }

    /// The blocking twin.
    #[must_use]
    pub fn into_inner(self) -> queue::Queue<T> {
        self.queue
    }

    /// Sends a copy of `value`; waits until there is room. Cancelled, it has sent nothing.
    ///
    /// # Errors
    /// `TooLarge` for a slice of more than [`payload_max_bytes`](queue::Queue::payload_max_bytes); `OwnerDied` if the
    /// others took this process for dead: nothing was sent; the others as [`recv`](Self::recv).
    pub async fn send(&self, value: &T) -> Result<()> {
        let source = self.queue.room_source();
        self.room.wait_among(self.queue.how(), || source.alarms(), || self.queue.poll_send(value)).await?
    }
}

impl<T: Payload + ?Sized> From<queue::Queue<T>> for Queue<T> {
    fn from(queue: queue::Queue<T>) -> Self {
        Self { queue, items: Parker::default(), room: Parker::default() }
    }
}

impl<T: Payload + ?Sized> Clone for Queue<T> {
    fn clone(&self) -> Self {
        self.queue.clone().into()
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.fmt(f)
    }
}
