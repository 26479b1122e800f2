//! A work queue between processes: each item goes to one consumer, and to another one if that one dies.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::queue::Queue;
//!
//! let jobs = Queue::<u64>::open_or_create("jobs")?; // in any number of processes
//! jobs.send(&7)?;
//! let job = jobs.recv()?;
//! assert_eq!((*job, job.attempts()), (7, 0));
//! job.ack()?; // or drop it
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! # The wrong way round
//! ```text
//! job = jobs.recv(); job.ack(); work(*job)      killed at work: the job is lost
//! job = jobs.recv(); work(*job); job.ack()      killed at work: another does it again
//! ```
//!
//! # What is promised
//! * An item that was sent is delivered at least once, as long as any process uses the queue. It is delivered to one
//!   consumer; only if that one dies or hands it back, to another, which sees [`Delivery::attempts`] above 0. A consumer
//!   that dies after its work and before [`ack`](Delivery::ack) has done work that another does again: make it
//!   harmless to repeat.
//! * A producer that dies while it writes leaves nothing: its place is skipped and counted.
//! * Items come in the order in which they were sent, except what was handed back or belonged to the dead, which comes
//!   first, and what was reserved long before it was sent, which comes when it is sent.
//! * Nobody waits for a slow one: neither for a producer that holds a reservation, nor for a consumer that works on an
//!   item. But each of these holds a slot; who holds all of them fills the queue.
//! * An item wakes one of the consumers that sleep. If just that one is stopped (`SIGSTOP`, a debugger), the item stays in
//!   the queue: for the next consumer that calls `recv`, or for the one that the next item wakes, or for the stopped one
//!   when it goes on. If it is killed, another is woken. Where items are rare and must not lie, let a consumer use
//!   [`recv_timeout`](Queue::recv_timeout).
//! * The queue lives while anyone has it open; the last to leave takes the items with it.
//!
//! # What may be sent
//! Values of a [`ShmSafe`](crate::ShmSafe) type (`Queue<Job>`), or slices of such, of any length up to a maximum
//! (`Queue<[f32]>`, `Queue<[u8]>` for bytes). Large ones are written where they will be read by [`Queue::reserve`].
//!
//! # Threads and limits
//! Any thread may use a [`Queue`]; clones cost nothing. Sending waits while the queue is full, receiving while it is
//! empty; the `try_` forms answer [`Full`](crate::ErrorKind::Full) and [`WouldBlock`](crate::ErrorKind::WouldBlock). At
//! most 2^20 items of at most 2^30 bytes, all of which have their memory from the beginning.
//!
//! The memory is `docs/formats/shm-queue.md`, to the byte. Every user whom
//! [`Access`](crate::Access) admits can write all of it: a hostile one can lose or forge items and make calls answer
//! [`Corrupted`](crate::ErrorKind::Corrupted), with the queue's name and all who may write there; as long as it lives, it can
//! keep others from joining ([`LimitReached`](crate::ErrorKind::LimitReached)); no more. Deadlines hold. What it has spoilt is spoilt
//! until the last member leaves; then the name is free. In a queue for one user, payloads are used in place; in one for
//! several, they are copied first.

mod delivery;
mod options;
mod reservation;
mod waitable;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tieline_os::futex::Deadline;

use crate::channel::payload::{self, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::rendezvous::{IntoName, Members, Membership, Participant};
use crate::structure::cells::Cells;
use crate::structure::held::{Held, Trust};
use crate::structure::work::{Claimed, Owner, Taken, WorkQueue};
use crate::wait::{Until, Waiting};

pub use delivery::Delivery;
pub use options::QueueOptions;
pub use reservation::Reservation;
pub use waitable::Room;

/// A work queue, open in this process; see the [module](self). Any thread may send and receive.
///
/// Clones are the same membership. Dropping the last one, and all deliveries and reservations, leaves the queue.
pub struct Queue<T: Payload + ?Sized> {
    inner: Arc<Inner>,
    of: std::marker::PhantomData<fn(&T)>,
}

/// What the queue has seen since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Items that wait, about.
    pub waiting: u64,
    /// Items that died with their producer, half written.
    pub skipped: u64,
    /// Deliveries that ended with their consumer's death.
    pub orphaned: u64,
    /// Deliveries that were handed back.
    pub requeued: u64,
    /// Deliveries that were refused for good.
    pub rejected: u64,
}

struct Inner {
    queue: WorkQueue,
    owner: Owner,
    claims: AtomicU8,
    trust: Trust,
    waiting: Waiting,
    membership: Membership,
    /// For whoever waits for several things at once.
    items: Arc<waitable::Watched>,
    room: Arc<waitable::Watched>,
}

/// Undoes what dead members held.
struct Recovery {
    queue: WorkQueue,
    members: Members,
}

impl Participant for Recovery {
    fn departed(&self, member: u32) {
        if let Some(owner) = owner_of(&self.members, member) {
            // What a hostile peer keeps from being recovered is lost with the queue, which it may write anyway.
            let _ = self.queue.departed(owner);
        }
    }
}

fn owner_of(members: &Members, member: u32) -> Option<Owner> {
    Owner::new(member, members.generation(member)?)
}

const SEND: &str = "send to the queue";
const RECEIVE: &str = "receive from the queue";

impl<T: Payload + ?Sized> Queue<T> {
    /// Sizes, access and ways of waiting other than the usual.
    #[must_use]
    pub fn options() -> QueueOptions<T> {
        QueueOptions::new()
    }

    /// Creates a queue with the usual options under a free name; see [`QueueOptions::create`].
    ///
    /// # Errors
    /// As [`QueueOptions::create`].
    pub fn create(name: impl IntoName) -> Result<Self> {
        Self::options().create(name)
    }

    /// Opens the queue of that name; see [`QueueOptions::open`].
    ///
    /// # Errors
    /// As [`QueueOptions::open`].
    pub fn open(name: impl IntoName) -> Result<Self> {
        Self::options().open(name)
    }

    /// Opens the queue of that name, or creates it with the usual options; see [`QueueOptions::open_or_create`].
    ///
    /// # Errors
    /// As [`QueueOptions::open_or_create`].
    pub fn open_or_create(name: impl IntoName) -> Result<Self> {
        Self::options().open_or_create(name)
    }

    /// How many items fit; those that are being written or worked on count.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.inner.queue.geometry().slots() as usize
    }

    /// How many bytes an item may have.
    #[must_use]
    pub fn payload_max_bytes(&self) -> usize {
        self.inner.queue.geometry().item_len_bytes()
    }

    /// What happened so far. Read without a lock: the figures need not be of one moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counters = self.inner.queue.counters();
        Counters {
            waiting: self.inner.queue.len_about(),
            skipped: counters.skipped,
            orphaned: counters.orphaned,
            requeued: counters.requeued,
            rejected: counters.rejected,
        }
    }

    /// Takes the next item, if one is there.
    ///
    /// # Errors
    /// `WouldBlock`; `Corrupted` if a peer wrote what none writes; `Forked`.
    pub fn try_recv(&self) -> Result<Delivery<T>> {
        self.recv_until(Until::Now)
    }

    /// Takes the next item; waits until one is there. The death of others does not end the wait.
    ///
    /// # Errors
    /// `Corrupted`, `Forked` as [`try_recv`](Self::try_recv).
    pub fn recv(&self) -> Result<Delivery<T>> {
        self.recv_until(Until::Forever)
    }

    /// Takes the next item; waits for `timeout` at most.
    ///
    /// # Errors
    /// `TimedOut`; `Corrupted`, `Forked` as [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Delivery<T>> {
        self.recv_until(Until::At(Deadline::after(timeout)))
    }

    /// Waits for an item, and takes as many more as are there, up to `most` in all.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). What was taken before an error is delivered; the next call answers the error, unless it
    /// was of one item that is none, which is [counted](Counters::rejected).
    pub fn recv_many(&self, most: usize) -> Result<Vec<Delivery<T>>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let mut deliveries = vec![self.recv()?];
        while deliveries.len() < most {
            match self.try_recv() {
                Ok(delivery) => deliveries.push(delivery),
                Err(_) => break,
            }
        }
        Ok(deliveries)
    }

    fn recv_until(&self, until: Until) -> Result<Delivery<T>> {
        let inner = &self.inner;
        inner.membership.check()?;
        let taken =
            inner.queue.control().items.wait(inner.waiting, until, RECEIVE, || match inner.queue.take(inner.owner) {
                Err(error) if error.is_would_block() => None,
                answer => Some(answer),
            });
        taken
            .and_then(|taken| Delivery::new(Arc::clone(inner), taken?))
            .map_err(|error| self.inner.membership.blame(error))
    }
}

impl<T: Payload + ?Sized> Queue<T> {
    /// Sends a copy of `value`, if there is room.
    ///
    /// # Errors
    /// `Full`; `TooLarge` for a slice of more than [`payload_max_bytes`](Self::payload_max_bytes); `Corrupted`;
    /// `Forked`; `OwnerDied` if the others took this process for dead: nothing was sent.
    pub fn try_send(&self, value: &T) -> Result<()> {
        self.inner.send(payload::bytes(value), Until::Now)
    }

    /// Sends a copy of `value`; waits until there is room.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send) without `Full`.
    pub fn send(&self, value: &T) -> Result<()> {
        self.inner.send(payload::bytes(value), Until::Forever)
    }

    /// Sends a copy of `value`; waits for `timeout` at most.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `TimedOut`.
    pub fn send_timeout(&self, value: &T, timeout: Duration) -> Result<()> {
        self.inner.send(payload::bytes(value), Until::At(Deadline::after(timeout)))
    }

    /// Sends copies of as many of `values` as there is room for, and says how many; wakes consumers once.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), if none could be sent.
    pub fn try_send_many<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<usize>
    where
        T: 'a,
    {
        self.inner.send_many(values.into_iter().map(payload::bytes))
    }
}

impl<T: ShmSafe> Queue<[T]> {
    /// Takes a slot of the queue to write `count` values into, without a copy; waits until there is room.
    ///
    /// The slot is held until the reservation is committed or dropped; others go past it meanwhile.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `InvalidInput` if zeros are no value of the type.
    pub fn reserve(&self, count: usize) -> Result<Reservation<T>> {
        self.reserve_until(count, Until::Forever)
    }

    /// Takes a slot as [`reserve`](Self::reserve), if there is room.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), and `InvalidInput` if zeros are no value of the type.
    pub fn try_reserve(&self, count: usize) -> Result<Reservation<T>> {
        self.reserve_until(count, Until::Now)
    }

    fn reserve_until(&self, count: usize, until: Until) -> Result<Reservation<T>> {
        let len = count.saturating_mul(size_of::<T>());
        let claimed = self.inner.claim(len, until)?;
        Reservation::new(Arc::clone(&self.inner), claimed, len)
    }
}

impl Inner {
    fn claim(&self, len: usize, until: Until) -> Result<Claimed> {
        self.membership.check()?;
        let most = self.queue.geometry().item_len_bytes();
        if len > most {
            return Err(Error::new(SEND, ErrorKind::TooLarge)
                .because(format!("an item may have {most} bytes, and this one has {len}")));
        }
        // Relaxed: only has to differ from the last few.
        let claim = self.claims.fetch_add(1, Ordering::Relaxed);
        let claimed =
            self.queue.control().room.wait(self.waiting, until, SEND, || match self.queue.claim(self.owner, claim) {
                Err(error) if error.kind() == ErrorKind::Full => None,
                answer => Some(answer),
            });
        match claimed {
            Err(error) if error.is_would_block() => Err(Error::new(SEND, ErrorKind::Full)),
            claimed => claimed?.map_err(|error| self.membership.blame(error)),
        }
    }

    fn put(&self, bytes: &[u8], until: Until) -> Result<()> {
        let claimed = self.claim(bytes.len(), until)?;
        self.cells().copy_in(claimed.item_offset(self.queue.geometry()), bytes);
        // Fits: no item has more bytes than the geometry's 2^30.
        self.queue.commit(claimed, bytes.len() as u32)
    }

    fn send(&self, bytes: &[u8], until: Until) -> Result<()> {
        self.put(bytes, until)?;
        self.queue.item_added();
        Ok(())
    }

    fn send_many<'a>(&self, items: impl IntoIterator<Item = &'a [u8]>) -> Result<usize> {
        let mut sent = Unannounced { queue: &self.queue, count: 0 };
        for bytes in items {
            match self.put(bytes, Until::Now) {
                Ok(()) => sent.count += 1,
                Err(error) if sent.count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent.count)
    }

    /// Gives a slot back, by any way that makes room.
    fn end(&self, how: impl FnOnce(&WorkQueue) -> Result<()>) -> Result<()> {
        how(&self.queue)?;
        self.queue.room_changed();
        Ok(())
    }

    fn held(&self, taken: Taken) -> Held {
        Held::to_read(self.cells(), taken.item_offset(self.queue.geometry()), taken.len_bytes, self.trust)
    }

    fn cells(&self) -> &Cells {
        self.queue.cells()
    }
}

/// Items that are in the queue and of which no consumer was told yet; they are told also if the user's iterator panics.
struct Unannounced<'q> {
    queue: &'q WorkQueue,
    count: usize,
}

impl Drop for Unannounced<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.queue.items_added();
        }
    }
}

impl<T: Payload + ?Sized> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), of: self.of }
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("of", &payload::text::<T>())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
