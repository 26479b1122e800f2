//! The publishing end, as users hold it.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::epoll::{Epoll, Events, Options};
use tieline_os::futex::Deadline;
use tieline_os::poll::{Interest, PollSet};

use super::admission::{self, Admission, RoomAlarms};
use super::{Payload, PublisherOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::rendezvous::{Membership, Role};
use crate::segment::{Details, Kind, Purpose, Segment, SegmentOptions};
use crate::structure::items::bytes_of_items;
use crate::structure::log::{
    BUCKET_MAX_BYTES, Gates, Geometry, INLINE_MAX_BYTES, LogHeader, PAGE_BYTES, RosterGeometry, SLOTS_MAX,
    SLOTS_OFFSET, Slots, Writer,
};
use crate::structure::outlet::Outlet;
use crate::structure::pool::Buckets;
use crate::wait::{Until, Waiting};

const OPEN: &str = "make a publisher";
const PUBLISH: &str = "publish";

/// Slots of a log whose messages lie in the slots: as many as keep two processors from meeting in one cache.
const DEPTH: usize = 4096;
/// Slots of a log whose messages lie in the pool.
const DEPTH_POOLED: usize = 4;
/// Slots of a log for slices, which may be either.
const DEPTH_SLICES: usize = 256;
/// Buckets beyond those for loans and held samples, of a log for slices.
const BUCKETS_SLICES: usize = 16;

/// The publishing end of a topic. One thread at a time; it may be moved to another.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::topic::Topic;
///
/// let images = Topic::<[u8]>::open_or_create("images")?;
/// let (camera, mut display) = (images.publisher()?, images.subscriber()?);
/// camera.publish(&[7; 10_000])?; // copied once, into shared memory
/// let mut image = camera.loan_slice(10_000)?; // or written there in the first place
/// image.fill(8);
/// image.send()?;
/// assert_eq!((display.recv()?[0], display.recv()?[0]), (7, 8)); // read there
/// # Ok::<(), tieline_shm::Error>(())
/// ```
///
/// Dropping it leaves the topic: subscribers receive what was published, then learn that the publisher is gone.
pub struct Publisher<T: Payload + ?Sized> {
    /// Loans give their buckets back while others are out.
    pub(super) outlet: RefCell<Outlet>,
    admission: Arc<Admission>,
    pub(super) membership: Membership,
    pub(super) waiting: Waiting,
    /// For waits that a descriptor ends: what rings, and who hears each ring once.
    room: RoomAlarms,
    ring: OnceCell<Epoll>,
    _of: std::marker::PhantomData<fn(&T)>,
}

impl<T: Payload + ?Sized> Publisher<T> {
    pub(super) fn open(builder: PublisherOptions<'_, T>) -> Result<Self> {
        let topic = builder.topic;
        if align_of::<T::Item>() > PAGE_BYTES {
            return Err(Error::new(OPEN, ErrorKind::InvalidInput).because("the type's alignment is more than a page"));
        }
        if builder.payload_max_bytes > BUCKET_MAX_BYTES {
            return Err(Error::new(OPEN, ErrorKind::TooLarge).because(format!(
                "messages of {} bytes are more than the limit of {BUCKET_MAX_BYTES}",
                builder.payload_max_bytes
            )));
        }
        crate::wait::prepare();
        let joined = topic.join(Role::Producer)?;
        let geometry = geometry(&builder);
        let name = topic.name().as_str().to_owned();
        let log = create_log::<T>(&name, topic.layout_hash(), geometry)?;
        let gates = Gates::new();
        let header = log.view(0)?;
        let slots = Slots::new(log.slice(SLOTS_OFFSET, geometry.slot_words())?, &geometry);
        let writer = Writer::new(log.view(0)?, slots.clone(), geometry, Arc::clone(&gates));
        let layout_hash = builder.topic.layout_hash();
        let (read_only, pins_max) = (log.read_only_fd()?, pins_max(&geometry, builder.loans));
        let shown = admission::Log { header, slots, geometry, layout_hash, read_only, pins_max };
        let outlet = Outlet::new(writer, lending(log, geometry)?, builder.loans);
        let rosters = RosterGeometry { entries: builder.subscribers.clamp(1, 4096), held: builder.held.min(1024) };
        let always = [rustix::process::geteuid().as_raw(), joined.owner()];
        let waits_for = admission::WaitRule {
            whom: builder.waits_for,
            always,
            guests_max: (geometry.buckets / 4 / rosters.held.max(1)).max(1),
        };
        let admission = Arc::new(Admission::new(name, shown, gates, rosters, waits_for));
        let membership = joined.start(Arc::clone(&admission) as Arc<_>)?;
        admission.settle();
        let (outlet, waiting) = (RefCell::new(outlet), builder.waiting);
        let (room, ring) = (RoomAlarms::new(Arc::clone(&admission)), OnceCell::new());
        Ok(Self { outlet, admission, membership, waiting, room, ring, _of: std::marker::PhantomData })
    }

    /// Publishes a copy of `value`. Waits while a subscriber with [`Policy::Block`](super::Policy::Block) has not read
    /// far enough; not for one that dies meanwhile.
    ///
    /// # Errors
    /// * `TooLarge`: more than the maximum payload.
    /// * `OutOfMemory`: there is no memory for a large payload; `Full`: subscribers hold all that may be used for them.
    /// * `LimitReached`: all loans are out, and a large payload needs one.
    /// * `Forked`.
    #[inline]
    pub fn publish(&self, value: &T) -> Result<()> {
        self.publish_until(value, Until::Forever)
    }

    /// [`publish`](Self::publish), without waiting.
    ///
    /// # Errors
    /// Also `WouldBlock` if it would have to wait.
    #[inline]
    pub fn try_publish(&self, value: &T) -> Result<()> {
        self.publish_until(value, Until::Now)
    }

    /// [`publish`](Self::publish), waiting at most so long.
    ///
    /// # Errors
    /// Also `TimedOut`.
    pub fn publish_timeout(&self, value: &T, timeout: Duration) -> Result<()> {
        self.publish_until(value, Until::At(Deadline::after(timeout)))
    }

    /// [`publish`](Self::publish), unless `stop` becomes readable first; whether it was published. At most so long, if
    /// there is a `timeout`.
    ///
    /// For whoever must be able to end while a subscriber stands still: it sleeps until there is room, the subscriber has
    /// gone, or `stop` is readable, as the descriptor of a signal or an event is. If there is room at once, `stop`
    /// is not looked at.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let name = format!("{}/ticks", folder.path().display());
    /// use std::io::Write;
    /// use std::os::unix::net::UnixStream;
    /// use tieline_shm::topic::Topic;
    ///
    /// let ticks = Topic::<u64>::open_or_create(&name)?;
    /// let publisher = ticks.publisher_options().depth(1).open()?;
    /// let _stands_still = ticks.subscriber()?;
    /// let (stop, mut elsewhere) = UnixStream::pair().unwrap();
    /// assert!(publisher.publish_unless(&0, &stop, None)?);
    /// elsewhere.write_all(b"stop").unwrap();
    /// let mut next = 1;
    /// while publisher.publish_unless(&next, &stop, None)? {
    ///     next += 1; // As long as there is room.
    /// }
    /// # Ok::<(), tieline_shm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`publish`](Self::publish), but `Full` only if no subscriber is left to wait for; `TimedOut`; `LimitReached`
    /// also if there is no descriptor left; `Unsupported` if it has to wait before Linux 5.16 (`futex_waitv`).
    pub fn publish_unless(&self, value: &T, stop: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
        let refused = |error| Error::system_refused(PUBLISH, error);
        let deadline = timeout.map(Deadline::after);
        loop {
            if let Some(answer) = self.attempt(value) {
                return answer.map(|()| true);
            }
            let alarms = self.room.of_all()?;
            alarms.arm();
            // Whoever made room before it was announced to told nobody.
            if let Some(answer) = self.attempt(value) {
                return answer.map(|()| true);
            }
            if self.ring.get().is_none() {
                let ring = Epoll::new().map_err(refused)?;
                ring.add_with(alarms.bell().as_fd(), 0, Interest::READABLE, Options::EDGE).map_err(refused)?;
                let _ = self.ring.set(ring);
            }
            let ring = self.ring.get().ok_or_else(|| Error::new(PUBLISH, ErrorKind::System))?;
            let mut set = PollSet::new();
            set.add(ring, Interest::READABLE);
            set.add(&stop, Interest::READABLE);
            match deadline.map(Deadline::remaining) {
                Some(rest) => match set.wait_timeout(rest) {
                    Err(error) if error.is_timeout() => return Err(Error::new(PUBLISH, ErrorKind::TimedOut)),
                    waited => waited.map_err(refused)?,
                },
                None => set.wait().map_err(refused)?,
            };
            if !set.readiness(1).is_empty() {
                return Ok(false);
            }
            match ring.try_wait(&mut Events::with_capacity(1)) {
                Err(error) if !error.is_would_block() => return Err(refused(error)),
                _ => {}
            }
        }
    }

    /// Publishes without waiting; `None` if it would have to, and somebody can make room.
    fn attempt(&self, value: &T) -> Option<Result<()>> {
        match self.try_publish(value) {
            Err(error) if error.is_would_block() => None,
            // Buckets come back from subscribers only.
            Err(error) if error.kind() == ErrorKind::Full && self.subscribers() > 0 => None,
            answer => Some(answer),
        }
    }

    #[inline]
    fn publish_until(&self, value: &T, until: Until) -> Result<()> {
        self.membership.check()?;
        self.outlet.borrow_mut().publish(bytes_of_items(value.items()), self.waiting, until)
    }

    /// How many subscribers are connected.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.admission.count()
    }

    /// How many messages were published.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.outlet.borrow().writer().next() - crate::structure::log::FIRST
    }

    /// How many places for large messages have memory.
    #[must_use]
    pub fn committed_payloads(&self) -> usize {
        self.outlet.borrow().buckets().0
    }
}

/// For tasks, to which "not yet" is `None`.
#[cfg(feature = "tokio")]
impl<T: Payload + ?Sized> Publisher<T> {
    /// By `&mut`, although `&` would do, so that a future that calls it may go from thread to thread.
    pub(crate) fn poll_publish(&mut self, value: &T) -> Option<Result<()>> {
        self.attempt(value)
    }

    /// As [`poll_publish`](Self::poll_publish).
    pub(crate) fn poll_room(&mut self) -> Option<Result<()>> {
        if let Err(error) = self.membership.check() {
            return Some(Err(error));
        }
        match self.outlet.borrow_mut().has_room_to_lend() {
            Ok(false) if self.subscribers() > 0 => None,
            answer => Some(answer.map(|_| ())),
        }
    }

    pub(crate) fn room_alarms(&self) -> RoomAlarms {
        RoomAlarms::new(Arc::clone(&self.admission))
    }

    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }
}

impl<T: Payload> Publisher<T> {
    /// Publishes copies of all values, as many at a time as there is room for: subscribers see none of those before
    /// all of them are there. Waits as [`publish`](Self::publish) does.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); what was published before the error stays.
    #[inline]
    pub fn publish_many(&self, values: &[T]) -> Result<()> {
        self.membership.check()?;
        let mut outlet = self.outlet.borrow_mut();
        if size_of::<T>() > INLINE_MAX_BYTES {
            return values
                .iter()
                .try_for_each(|value| outlet.publish(bytes_of_items(value.items()), self.waiting, Until::Forever));
        }
        let mut rest = values;
        while !rest.is_empty() {
            let payloads = rest.iter().map(|value| bytes_of_items(value.items()));
            let count = outlet.publish_some(payloads, self.waiting, Until::Forever)?;
            rest = &rest[count..];
        }
        Ok(())
    }
}

impl<T: Payload + ?Sized> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("subscribers", &self.subscribers()).finish_non_exhaustive()
    }
}

fn geometry<T: Payload + ?Sized>(builder: &PublisherOptions<'_, T>) -> Geometry {
    let pooled = builder.is_pooled();
    let default_depth = match (T::COUNT.is_some(), pooled) {
        (true, false) => DEPTH,
        (true, true) => DEPTH_POOLED,
        (false, _) => DEPTH_SLICES,
    };
    let depth = builder.depth.unwrap_or(default_depth);
    let inline = match T::COUNT {
        Some(_) if pooled => crate::structure::pool::Descriptor::BYTES,
        _ => builder.payload_max_bytes.min(INLINE_MAX_BYTES),
    };
    // No log has more slots, so this is no limit, but it keeps the sums small.
    let kept = if T::COUNT.is_some() { depth.min(SLOTS_MAX).next_power_of_two() } else { BUCKETS_SLICES };
    let held = builder.held.saturating_mul(builder.subscribers);
    let buckets = builder
        .buckets
        .unwrap_or_else(|| kept.saturating_add(builder.history).saturating_add(builder.loans).saturating_add(held));
    // Also small messages can be lent: then they lie in a bucket.
    Geometry::new(depth, inline.max(crate::structure::pool::Descriptor::BYTES))
        .with_pool(buckets.max(1), builder.payload_max_bytes.max(1))
        .with_history(builder.history)
}

/// How many buckets subscribers that keep the oldest messages may hold up: what is not needed for the log itself and
/// for loans, or half of few. So the publisher always finds one for the others.
fn pins_max(geometry: &Geometry, loans: usize) -> usize {
    let needed = geometry.slots.saturating_add(geometry.history).saturating_add(loans);
    geometry.buckets.saturating_sub(needed).max(geometry.buckets / 2)
}

fn create_log<T: Payload + ?Sized>(name: &str, layout_hash: u64, geometry: Geometry) -> Result<Segment> {
    let purpose = Purpose { kind: Kind::Log, name, layout_hash };
    let options = SegmentOptions::new(name).growable(geometry.body_bytes()).writer_only();
    let log = Segment::create_with(&purpose, geometry.pool_offset(), &options)?;
    geometry.announce(&*log.view(0)?);
    // Of a type that this program was not compiled with, only the hash is told.
    let layout = (layout_hash == crate::channel::payload::hash::<T>()).then_some(<T::Item as ShmSafe>::LAYOUT);
    log.describe(&Details { layout, version: 1, facts: &LogHeader::FACTS })?;
    Ok(log)
}

fn lending(log: Segment, geometry: Geometry) -> Result<Option<(Buckets, crate::structure::outlet::Back)>> {
    let buckets = Buckets::new(log.slice(geometry.pool_offset(), geometry.pool_bytes() / 8)?, &geometry);
    let back = move |range: std::ops::Range<usize>| log.commit(geometry.pool_offset() + range.start, range.len());
    Ok(Some((buckets, Box::new(back))))
}
