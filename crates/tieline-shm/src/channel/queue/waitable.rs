//! A queue among other things that are waited for: its items, and its room.
//!
//! The invariant: who is told of an item is told beside the threads that sleep in `recv`, never instead of one
//! ([`EventCount::notify_one`](crate::wait::EventCount::notify_one)): a task may be cancelled and the owner of a wait set
//! be busy, and the item must not lie unseen meanwhile.

use std::sync::{Arc, OnceLock};

use super::Queue;
use crate::channel::doorbell;
use crate::channel::payload::Payload;
use crate::error::Result;
use crate::raw::process;
use crate::structure::work::WorkQueue;
use crate::wait::{Alarm, Alarms, Source, Waitable, Watch};

/// The room in a queue, to be waited for in a [`WaitSet`](crate::WaitSet); from [`Queue::room`].
///
/// It counts as ready when the next `try_send` would find room, unless another producer is first.
#[derive(Clone, Debug)]
pub struct Room(Arc<Watched>);

/// One side of a queue. It does not keep the queue open: only the memory.
#[derive(Debug)]
pub(crate) struct Watched {
    queue: WorkQueue,
    side: Side,
    generation: u32,
    alarms: OnceLock<Alarms>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Items,
    Room,
}

impl Watched {
    pub(super) fn new(queue: &WorkQueue, side: Side) -> Arc<Self> {
        let generation = process::generation();
        Arc::new(Self { queue: queue.clone(), side, generation, alarms: OnceLock::new() })
    }
}

impl Source for Watched {
    fn is_ready(&self) -> bool {
        let is_there = match self.side {
            Side::Items => self.queue.has_item(),
            Side::Room => self.queue.has_room(),
        };
        // In a forked child the next call answers an error.
        is_there || self.generation != process::generation()
    }

    fn alarms(&self) -> Result<&Alarms> {
        doorbell::alarms_at(&self.alarms, |bell| {
            let count = match self.side {
                Side::Items => self.queue.items_count(),
                Side::Room => self.queue.room_count(),
            };
            Alarm::by_relay(bell, &count)
        })
    }
}

/// Waits for items.
impl<T: Payload + ?Sized> Waitable for Queue<T> {
    fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.inner.items) as Arc<dyn Source>)
    }
}

impl Waitable for Room {
    fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0) as Arc<dyn Source>)
    }
}

impl<T: Payload + ?Sized> Queue<T> {
    /// The room in the queue, for producers that wait for it in a [`WaitSet`](crate::WaitSet).
    #[must_use]
    pub fn room(&self) -> Room {
        Room(Arc::clone(&self.inner.room))
    }
}

/// For tasks, to which "not yet" is `None`.
#[cfg(feature = "tokio")]
mod tasks {
    use super::{Arc, Payload, Queue, Result, Source};
    use crate::channel::payload;
    use crate::error::ErrorKind;
    use crate::queue::Delivery;
    use crate::wait::{Until, Waiting};

    impl<T: Payload + ?Sized> Queue<T> {
        pub(crate) fn poll_recv(&self) -> Option<Result<Delivery<T>>> {
            match self.try_recv() {
                Err(error) if error.is_would_block() => None,
                answer => Some(answer),
            }
        }

        pub(crate) fn poll_send(&self, value: &T) -> Option<Result<()>> {
            match self.inner.send(payload::bytes(value), Until::Now) {
                Err(error) if error.kind() == ErrorKind::Full => None,
                answer => Some(answer),
            }
        }

        pub(crate) fn how(&self) -> Waiting {
            self.inner.waiting
        }

        pub(crate) fn items_source(&self) -> Arc<dyn Source> {
            Arc::clone(&self.inner.items) as Arc<_>
        }

        pub(crate) fn room_source(&self) -> Arc<dyn Source> {
            Arc::clone(&self.inner.room) as Arc<_>
        }
    }
}
