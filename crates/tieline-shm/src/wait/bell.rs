//! Doorbells: how a notifier wakes who sleeps in `poll`, `epoll` or an async runtime instead of on a futex.
//!
//! A [`Bell`] is an event counter (`eventfd(2)`) of the sleeper's. Its owner hands a copy to each notifying process,
//! once, which hangs it beside its view of the `EventCount`, under the owner's number. The owner announces
//! that number before it sleeps; the notifier that takes the announcement off rings what hangs there. Never read: each
//! ring is an edge for whoever registered it edge-triggered.
//!
//! The invariant: no ring blocks, and none is lost on a bell that hangs there before its owner announces.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::event_count::{BELL_COUNT, EventCount};
use crate::raw::{PerProcess, View};

#[cfg(not(model))]
pub(crate) use kernel::Bell;
#[cfg(model)]
pub(crate) use model::Bell;

#[cfg(not(model))]
mod kernel {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::Arc;

    use tieline_os::eventfd::EventFd;

    use crate::error::{Error, Result};

    /// A doorbell: a descriptor that becomes readable, with an edge for each ring. A clone is the same bell.
    #[derive(Clone, Debug)]
    pub(crate) struct Bell(Arc<EventFd>);

    impl Bell {
        /// A new one.
        ///
        /// # Errors
        /// `LimitReached` if there is no descriptor left.
        pub(crate) fn new() -> Result<Self> {
            EventFd::new(0).map(Arc::new).map(Self).map_err(|error| Error::system_refused("make a doorbell", error))
        }

        /// Takes over a copy that a peer of the *same user* sent. Another user's could be made to block us: whoever
        /// shares it can fill it and take its non-blocking flag away.
        ///
        /// # Errors
        /// `InvalidInput` if it is no event counter.
        pub(crate) fn from_peer(fd: OwnedFd) -> Result<Self> {
            EventFd::from_fd(fd)
                .map(Arc::new)
                .map(Self)
                .map_err(|error| Error::system_refused("take a peer's doorbell", error))
        }

        /// Rings. A counter that is full is readable already; its owner counts edges, and each further ring of it is
        /// lost, after 2^64 of them.
        pub(crate) fn ring(&self) {
            let _ = self.0.try_add(1);
        }

        /// The counter itself.
        #[cfg(any(test, feature = "steps", feature = "tokio"))]
        pub(crate) fn counter(&self) -> &Arc<EventFd> {
            &self.0
        }

        pub(super) fn is(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl AsFd for Bell {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(model)]
mod model {
    use std::sync::Arc;

    use crate::error::Result;
    use crate::raw::atomic::{AtomicU32, Ordering};
    use crate::raw::futex;

    /// A doorbell that remembers its rings as an event counter does.
    #[derive(Clone, Debug)]
    pub(crate) struct Bell(Arc<AtomicU32>);

    impl Bell {
        pub(crate) fn new() -> Result<Self> {
            Ok(Self(Arc::new(AtomicU32::new(0))))
        }

        pub(crate) fn ring(&self) {
            self.0.fetch_add(1, Ordering::Release);
            futex::wake(&self.0, u32::MAX);
        }

        pub(super) fn is(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }

        /// Sleeps until it has been rung more often than `seen`, and says how often.
        pub(crate) fn wait(&self, seen: u32) -> u32 {
            while self.0.load(Ordering::Acquire) == seen {
                let _ = futex::wait(&self.0, seen, None);
            }
            self.0.load(Ordering::Acquire)
        }
    }
}

/// What hangs at one `EventCount`: bells with their numbers.
type Place = Vec<(u32, Bell)>;

/// Bells by the address of the `EventCount` they hang at.
type Table = RwLock<Option<HashMap<usize, Place>>>;

/// The bells of this process.
static HANGING: PerProcess<Table> = PerProcess::new(RwLock::new(None));

/// A bell that hangs until this is dropped.
#[derive(Debug)]
pub(crate) struct Hung {
    /// Keeps the memory mapped, so that the address stays this one's.
    count: View<EventCount>,
    bell: Bell,
    /// Of the process that hung it.
    table: &'static Table,
}

impl Hung {
    /// Hangs `bell` at `count` under `number` (taken modulo [`BELL_COUNT`]): from now on it is rung when a notification
    /// of this process finds that number announced there.
    pub(crate) fn new(bell: &Bell, count: &View<EventCount>, number: u32) -> Self {
        let table = HANGING.get();
        let mut hanging = table.write().unwrap_or_else(PoisonError::into_inner);
        let place = hanging.get_or_insert_default().entry(count.address()).or_default();
        place.push((number % BELL_COUNT, bell.clone()));
        Self { count: count.clone(), bell: bell.clone(), table }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let mut hanging = if std::ptr::eq(self.table, HANGING.get()) {
            self.table.write().unwrap_or_else(PoisonError::into_inner)
        } else {
            // A forked child: a thread of its parent may have had the table, and nobody looks at this copy of it.
            let Ok(hanging) = self.table.try_write() else { return };
            hanging
        };
        let Some(places) = hanging.as_mut() else { return };
        if let Some(place) = places.get_mut(&self.count.address()) {
            if let Some(index) = place.iter().position(|(_, bell)| bell.is(&self.bell)) {
                place.swap_remove(index);
            }
            if place.is_empty() {
                places.remove(&self.count.address());
            }
        }
    }
}

/// Rings what hangs at `address` under the numbers whose bits are set.
#[cold]
pub(super) fn ring(address: usize, numbers: u64) {
    let hanging = HANGING.get().read().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = hanging.as_ref().and_then(|places| places.get(&address)) else { return };
    for (number, bell) in place {
        if numbers & (1 << number) != 0 {
            bell.ring();
        }
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use tieline_testkit::{Forked, Peer, role, test_name};

    use super::*;

    /// The parent forks while one of its threads hangs a bell.
    #[test]
    fn a_forked_child_hangs_and_takes_down_bells_whatever_its_parents_threads_did() {
        if role().is_none() {
            return Peer::of(test_name!()).role("parent").spawn().succeeds();
        }
        let count = View::leak(Box::new(EventCount::new()));
        let bell = Bell::new().unwrap();
        let mut inherited = Some(Hung::new(&bell, &count, 1));
        let held = HANGING.get().write().unwrap();
        let child = Forked::run(|| {
            drop(inherited.take());
            let own = Bell::new().unwrap();
            let _own = Hung::new(&own, &count, 2);
            count.announce_bell(2);
            count.notify();
            assert_eq!(own.counter().try_read().unwrap(), 1);
        });
        drop(held);
        child.succeeds();
        count.announce_bell(1);
        count.notify();
        assert_eq!(bell.counter().try_read().unwrap(), 1, "the parent's hangs as before");
    }
}
