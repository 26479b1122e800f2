//! Bells with numbers: something happened, and how often, but not what.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::event::Event;
//!
//! let doors = Event::open_or_create("doors")?; // in any number of processes
//! let mut listener = doors.listener();
//! doors.notify(2)?;
//! doors.notify(2)?;
//! let mut fired = Vec::new();
//! listener.wait(&mut fired)?;
//! assert_eq!((fired[0].id, fired[0].times), (2, 2));
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! # What is promised
//! * Every listener is told of everything since it was made. Counts coalesce: who looks late is told once, with the
//!   count; so nothing is lost, nothing is queued, and nobody waits for a slow listener.
//! * [`Event::notify`] never waits, and makes no system call unless somebody sleeps.
//! * Death: a killed listener leaves nothing behind. A notifier killed in the middle of a notification leaves a count
//!   that listeners may be told of only with the next one. The object lives while anyone has it open.
//!
//! An event says that something else has changed: put what changed where it belongs first, notify after. Where the
//! message itself is to travel, use a [topic](crate::topic).
//!
//! # Threads and limits
//! Any thread may notify; a [`Listener`] belongs to one thread at a time. Up to 65,536 ids ([`EventOptions::ids`]); counts
//! are 64 bits long.
//!
//! The memory is `docs/formats/shm-event.md`, to the byte. Whom [`Access`] admits may write all of it: a hostile one can forge
//! notifications, keep listeners from being woken, and, as long as it lives, keep others from joining
//! ([`LimitReached`](crate::ErrorKind::LimitReached)); no more. Deadlines hold.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tieline_os::futex::Deadline;

use crate::channel::doorbell;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::rendezvous::{
    self, Access, IntoName, Joined, MEMBERS_MAX, Members, Membership, Name, Offer, Participant, Role,
};
use crate::segment::{Details, Kind, Purpose, Segment};
use crate::structure::event::{Control, Counters, Seen};
use crate::wait::{Alarm, Alarms, EventCount, Source, Until, Waitable, Waiting, Watch};

/// Numbered events that any member may notify and any listener is told of, with how often; see the [module](self).
///
/// Any thread may notify. Clones are the same membership; dropping the last one, and all listeners, leaves the name.
#[derive(Clone)]
pub struct Event {
    shared: Arc<Shared>,
    membership: Arc<Membership>,
}

/// How an [`Event`] is created or opened.
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`, `create` or `open_or_create`"]
pub struct EventOptions {
    ids: u32,
    access: Access,
    members: u32,
    join_timeout: Duration,
}

/// An event that was notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fired {
    /// Which.
    pub id: u32,
    /// How often since this listener was last told; at least once.
    pub times: u64,
}

const OPEN: &str = "open an event";
const WAIT: &str = "wait for an event";
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Event {
    /// The most ids that one object may have. A listener that wakes looks at each.
    pub const IDS_MAX: u32 = 1 << 16;

    /// Counts of ids and members, and access, other than the usual.
    pub fn options() -> EventOptions {
        EventOptions { ids: 64, access: Access::default(), members: 256, join_timeout: JOIN_TIMEOUT }
    }

    /// Creates events 0 to 63 under a free name; see [`EventOptions::create`].
    ///
    /// # Errors
    /// As [`EventOptions::create`].
    pub fn create(name: impl IntoName) -> Result<Self> {
        Self::options().create(name)
    }

    /// Opens the events of that name; see [`EventOptions::open`].
    ///
    /// # Errors
    /// As [`EventOptions::open`].
    pub fn open(name: impl IntoName) -> Result<Self> {
        Self::options().open(name)
    }

    /// Opens the events of that name, or creates 0 to 63; see [`EventOptions::open_or_create`].
    ///
    /// # Errors
    /// As [`EventOptions::open_or_create`].
    pub fn open_or_create(name: impl IntoName) -> Result<Self> {
        Self::options().open_or_create(name)
    }

    /// How many events there are: ids from 0 to one less.
    #[must_use]
    pub fn ids(&self) -> u32 {
        self.shared.counters.ids()
    }

    /// Tells all listeners that `id` happened. Never waits.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such id; `Forked`.
    pub fn notify(&self, id: u32) -> Result<()> {
        self.notify_times(id, 1)
    }

    /// As [`notify`](Self::notify), so many times at once.
    ///
    /// # Errors
    /// As `notify`.
    pub fn notify_times(&self, id: u32, times: u64) -> Result<()> {
        self.membership.check()?;
        self.shared.counters.notify(id, times)
    }

    /// A listener that is told of what happens from now on. As many as one likes.
    #[must_use]
    pub fn listener(&self) -> Listener {
        let seen = self.shared.counters.now();
        let watched = Watched {
            shared: Arc::clone(&self.shared),
            seen_total: AtomicU64::new(seen.total()),
            alarms: OnceLock::new(),
        };
        Listener { event: self.clone(), seen, watched: Arc::new(watched), waiting: Waiting::default() }
    }
}

impl EventOptions {
    /// How many ids there are, if this creates the object: 1 to [`Event::IDS_MAX`]; 64 unless told otherwise.
    pub fn ids(mut self, ids: u32) -> Self {
        self.ids = ids;
        self
    }

    /// Who may take part, if this creates the object: all need both rights. The creator's user unless told otherwise.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How many processes may have it open at once, if this creates the object: 1 to 1024; 256 unless told otherwise.
    pub fn members(mut self, members: u32) -> Self {
        self.members = members;
        self
    }

    /// How long to wait for whoever answers for the name; five seconds by default.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// Creates the object.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is used; `InvalidInput` for a count of ids or members that cannot be; otherwise as
    /// [`open_or_create`](Self::open_or_create).
    pub fn create(self, name: impl IntoName) -> Result<Event> {
        self.check()?;
        let name = name.into_name()?;
        start(rendezvous::create(&name, self.offer(&name), self.join_timeout)?)
    }

    /// Opens an object that somebody uses.
    ///
    /// # Errors
    /// `NotFound` if nobody does; otherwise as [`open_or_create`](Self::open_or_create).
    pub fn open(self, name: impl IntoName) -> Result<Event> {
        let name = name.into_name()?;
        start(rendezvous::open(&name, self.offer(&name), self.join_timeout)?)
    }

    /// Opens the object, or creates it if the name is free.
    ///
    /// # Errors
    /// `Mismatch` if the name belongs to another kind of object; `PermissionDenied`; `LimitReached` if it has as many
    /// members as it was made for; `OutOfMemory`; `TimedOut` if whoever answers for the name does not; `InvalidInput`.
    pub fn open_or_create(self, name: impl IntoName) -> Result<Event> {
        self.check()?;
        let name = name.into_name()?;
        start(rendezvous::open_or_create(&name, self.offer(&name), self.join_timeout)?)
    }

    fn check(&self) -> Result<()> {
        let invalid = |why: String| Err(Error::new(OPEN, ErrorKind::InvalidInput).because(why));
        if self.ids == 0 || self.ids > Event::IDS_MAX {
            return invalid(format!("{} ids are not 1 to {}", self.ids, Event::IDS_MAX));
        }
        if self.members == 0 || self.members > MEMBERS_MAX {
            return invalid(format!("{} members are not 1 to {MEMBERS_MAX}", self.members));
        }
        Ok(())
    }

    fn offer<'a>(&'a self, name: &'a Name) -> Offer<'a> {
        let make = || {
            let purpose = Purpose { kind: Kind::Event, name: name.as_str(), layout_hash: 0 };
            let at = body(self.members);
            let segment = Segment::create(&purpose, at + Counters::CONTROL_BYTES + self.ids as usize * 8)?;
            let facts = [&Members::facts(self.members)[..], &Control::facts(at, self.ids)];
            segment.describe(&Details { layout: None, version: 1, facts: &facts.concat() })?;
            Ok(segment)
        };
        Offer {
            kind: Kind::Event,
            role: Role::Sharer,
            layout_hash: 0,
            layout_text: String::new(),
            config: self.ids.to_le_bytes().to_vec(),
            access: self.access.clone(),
            members_max: self.members,
            core: Some(Box::new(make)),
        }
    }
}

fn start(joined: Joined) -> Result<Event> {
    let corrupted = |why| Error::new(OPEN, ErrorKind::Corrupted).because(why);
    let ids = joined.config().try_into().map(u32::from_le_bytes).unwrap_or(0);
    if ids == 0 || ids > Event::IDS_MAX {
        return Err(corrupted("its configuration tells no count of ids"));
    }
    let core = joined.core().ok_or_else(|| corrupted("it has no segment"))?;
    let members = joined.members().ok_or_else(|| corrupted("it has no table of members"))?;
    let at = body(members.capacity());
    let cells = core.slice(at + Counters::CONTROL_BYTES, ids as usize)?;
    let shared = Arc::new(Shared { counters: Counters::new(core.view(at)?, cells) });
    let membership = joined.start(Arc::clone(&shared) as Arc<dyn Participant>)?;
    Ok(Event { shared, membership: Arc::new(membership) })
}

/// Where the structure begins, behind a table of so many members.
fn body(members: u32) -> usize {
    Members::bytes(members).next_multiple_of(128)
}

#[derive(Debug)]
struct Shared {
    counters: Counters,
}

impl Shared {
    fn count(&self) -> View<EventCount> {
        self.counters.control.part(|control| &control.count)
    }
}

impl Participant for Shared {
    fn departed(&self, _: u32) {
        // It may have died between taking an announcement off and waking.
        self.counters.control.count.wake_after_death();
    }
}

/// What a listener shares with wait sets.
#[derive(Debug)]
struct Watched {
    shared: Arc<Shared>,
    /// How far the listener has seen.
    seen_total: AtomicU64,
    alarms: OnceLock<Alarms>,
}

impl Source for Watched {
    fn is_ready(&self) -> bool {
        // Relaxed: the listener's own note, which only decides whether to look.
        self.shared.counters.total() != self.seen_total.load(Ordering::Relaxed)
    }

    fn alarms(&self) -> Result<&Alarms> {
        doorbell::alarms_at(&self.alarms, |bell| Alarm::by_relay(bell, &self.shared.count()))
    }
}

/// Is told of the events of an [`Event`] since it was made.
pub struct Listener {
    event: Event,
    seen: Seen,
    watched: Arc<Watched>,
    waiting: Waiting,
}

impl Listener {
    /// How it waits.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// The object it listens to, to notify others.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Says what has happened since it was last told, in `fired`, whose earlier content is forgotten; how many ids.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has; `Forked`.
    pub fn try_wait(&mut self, fired: &mut Vec<Fired>) -> Result<usize> {
        self.wait_until(fired, Until::Now)
    }

    /// Waits until something has happened since it was last told, and says what; see [`try_wait`](Self::try_wait).
    ///
    /// # Errors
    /// `Forked`.
    pub fn wait(&mut self, fired: &mut Vec<Fired>) -> Result<usize> {
        self.wait_until(fired, Until::Forever)
    }

    /// [`wait`](Self::wait) for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; `Forked`.
    pub fn wait_timeout(&mut self, fired: &mut Vec<Fired>, timeout: Duration) -> Result<usize> {
        self.wait_until(fired, Until::At(Deadline::after(timeout)))
    }

    fn wait_until(&mut self, fired: &mut Vec<Fired>, until: Until) -> Result<usize> {
        self.event.membership.check()?;
        fired.clear();
        let shared = Arc::clone(&self.event.shared);
        shared.counters.control.count.wait(self.waiting, until, WAIT, || self.collect(fired))
    }

    /// What has happened, if anything has.
    fn collect(&mut self, fired: &mut Vec<Fired>) -> Option<usize> {
        let count = self.event.shared.counters.collect(&mut self.seen, |id, times| fired.push(Fired { id, times }));
        // Relaxed: see `is_ready`.
        self.watched.seen_total.store(self.seen.total(), Ordering::Relaxed);
        (count > 0).then_some(count)
    }

    /// [`try_wait`](Self::try_wait) for tasks, where "not yet" is `None`.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_fired(&mut self, fired: &mut Vec<Fired>) -> Option<Result<usize>> {
        if let Err(error) = self.event.membership.check() {
            return Some(Err(error));
        }
        self.collect(fired).map(Ok)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.watched) as Arc<dyn Source>
    }
}

impl Waitable for Listener {
    fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.watched) as Arc<dyn Source>)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("ids", &self.ids()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("seen", &self.seen.total()).finish_non_exhaustive()
    }
}
