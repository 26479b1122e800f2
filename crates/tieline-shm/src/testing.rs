//! The bare waiting machinery, for our own benches and tests between processes, and the decoders of what peers say, for
//! our fuzzer; not for users.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tieline_os::Access;
use tieline_os::futex::Deadline;

pub use crate::channel::topic::stranger::Stranger;
use crate::error::Result;
use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::segment::{Kind, Purpose, Segment};
use crate::wait::{Alarm, Alarms, Bell, EventCount, Hung, Source, Until, Waitable, Waiting, Watch};

/// A number that rises, and an event count beside it, in memory that other processes may map.
#[derive(Debug)]
pub struct Signal {
    inner: Arc<Inner>,
    #[cfg(feature = "tokio")]
    parker: crate::aio::Parker,
}

#[derive(Debug)]
struct Inner {
    memory: Segment,
    count: View<EventCount>,
    value: View<AtomicU64>,
    is_lined: bool,
    /// How far the owner of this handle has looked.
    seen: AtomicU64,
    alarms: OnceLock<Alarms>,
}

/// A peer's doorbell that hangs at a signal until dropped.
#[derive(Debug)]
pub struct HungBell {
    _hung: Hung,
}

/// What a packet of the meeting place means, as bytes again; `None` if nothing.
#[must_use]
pub fn reread_meeting(packet: &[u8]) -> Option<Vec<u8>> {
    crate::rendezvous::reread(packet)
}

/// What a message between publisher and subscriber means, as bytes again; `None` if nothing.
#[must_use]
pub fn reread_topic_line(message: &[u8]) -> Option<Vec<u8>> {
    crate::channel::topic::reread(message)
}

const OPERATION: &str = "wait for a signal";
const LINE: usize = 128;

impl Signal {
    /// A new one, at zero.
    ///
    /// # Errors
    /// As for any segment.
    pub fn create() -> Result<Self> {
        Self::over(Segment::create(&Purpose { kind: Kind::Event, name: "signal", layout_hash: 0 }, 4096)?, false)
    }

    /// The same one, received from another process; `is_lined` if the notifiers will have its bell.
    ///
    /// # Errors
    /// As for any segment.
    pub fn accept(fd: OwnedFd, is_lined: bool) -> Result<Self> {
        Self::over(Segment::accept(fd, Kind::Event, 0, Access::ReadWrite)?, is_lined)
    }

    /// Another handle on the same memory.
    ///
    /// # Errors
    /// `LimitReached`.
    pub fn again(&self, is_lined: bool) -> Result<Self> {
        let fd = self
            .fd()
            .try_clone_to_owned()
            .map_err(|error| crate::Error::new(OPERATION, crate::ErrorKind::LimitReached).because(error.to_string()))?;
        Self::accept(fd, is_lined)
    }

    fn over(memory: Segment, is_lined: bool) -> Result<Self> {
        let inner = Inner {
            count: memory.view(0)?,
            value: memory.view(LINE)?,
            memory,
            is_lined,
            seen: AtomicU64::new(0),
            alarms: OnceLock::new(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            #[cfg(feature = "tokio")]
            parker: crate::aio::Parker::default(),
        })
    }

    /// The memory, to hand on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inner.memory.as_fd()
    }

    /// Raises the number to `value` and notifies.
    pub fn raise(&self, value: u64) {
        // Release: partner is the acquire in `Inner::beyond`.
        self.inner.value.store(value, Ordering::Release);
        self.inner.count.notify();
    }

    /// Raises the number by one and notifies one waiter.
    pub fn add_one(&self) {
        // Release: as above.
        self.inner.value.fetch_add(1, Ordering::Release);
        self.inner.count.notify_one();
    }

    /// Takes one off, waiting while there is none.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn take_one(&self, how: Waiting, timeout: Duration) -> Result<u64> {
        self.inner.count.wait(how, Until::At(Deadline::after(timeout)), OPERATION, || {
            let less = |value: u64| value.checked_sub(1);
            self.inner.value.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()
        })
    }

    /// As if a peer had died.
    pub fn wake_after_death(&self) {
        self.inner.count.wake_after_death();
    }

    /// Waits until the number is above `seen`.
    ///
    /// # Errors
    /// None.
    pub fn beyond(&self, seen: u64, how: Waiting) -> Result<u64> {
        self.inner.count.wait(how, Until::Forever, OPERATION, || self.inner.beyond(seen))
    }

    /// Waits until the number is above `seen`, for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn beyond_timeout(&self, seen: u64, how: Waiting, timeout: Duration) -> Result<u64> {
        let until = Until::At(Deadline::after(timeout));
        self.inner.count.wait(how, until, OPERATION, || self.inner.beyond(seen))
    }

    /// Waits until one of `signals` is above what stands at the same place of `seen`; says which.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn any_beyond(signals: &[&Self], seen: &[u64], how: Waiting, timeout: Duration) -> Result<usize> {
        let counts: Vec<&EventCount> = signals.iter().map(|signal| &*signal.inner.count).collect();
        EventCount::wait_any(&counts, how, Until::At(Deadline::after(timeout)), OPERATION, || {
            signals.iter().zip(seen).position(|(signal, seen)| signal.inner.beyond(*seen).is_some())
        })
    }

    /// [`beyond`](Self::beyond) in a task.
    ///
    /// # Errors
    /// As for a parker.
    #[cfg(feature = "tokio")]
    pub async fn beyond_in_task(&self, seen: u64) -> Result<u64> {
        self.parker.wait_among(Waiting::Adaptive, || self.inner.alarms(), || self.inner.beyond(seen)).await
    }

    /// Tells which number this handle has seen: it is ready, for a wait set, when there is a higher one.
    pub fn set_seen(&self, seen: u64) {
        self.inner.seen.store(seen, Ordering::Relaxed);
    }

    /// The doorbell of this handle, to send to notifiers.
    ///
    /// # Errors
    /// `LimitReached`.
    pub fn bell(&self) -> Result<OwnedFd> {
        let counter = self.inner.alarms()?.bell().counter();
        counter
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| crate::Error::new(OPERATION, crate::ErrorKind::LimitReached).because(error.to_string()))
    }

    /// Hangs a sleeper's doorbell here, on the side of a notifier.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn hang(&self, bell: OwnedFd) -> Result<HungBell> {
        Ok(HungBell { _hung: Hung::new(&Bell::from_peer(bell)?, &self.inner.count, NUMBER) })
    }
}

const NUMBER: u32 = 7;

impl Inner {
    fn beyond(&self, seen: u64) -> Option<u64> {
        // Acquire: partner is the release in `raise`.
        let value = self.value.load(Ordering::Acquire);
        (value > seen).then_some(value)
    }
}

impl Source for Inner {
    fn is_ready(&self) -> bool {
        self.beyond(self.seen.load(Ordering::Relaxed)).is_some()
    }

    fn alarms(&self) -> Result<&Alarms> {
        if self.alarms.get().is_none() {
            let alarms = Alarms::new()?;
            let alarm = if self.is_lined {
                Alarm::by_lines(alarms.bell(), &self.count, NUMBER)
            } else {
                Alarm::by_relay(alarms.bell(), &self.count)?
            };
            alarms.add(0, alarm);
            let _ = self.alarms.set(alarms);
        }
        Ok(self.alarms.get().expect("set above, or by another"))
    }
}

impl Waitable for Signal {
    fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.inner) as Arc<dyn Source>)
    }
}
