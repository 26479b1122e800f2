//! The latest value of something: one writer, any number of readers, no queue.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! # // SAFETY: one thread.
//! # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
//! use tieline_shm::latest::Latest;
//!
//! let mut writer = Latest::<f64>::at("temperature")?.writer()?;
//! let mut reader = Latest::<f64>::at("temperature")?.reader()?; // in any number of processes
//! writer.write(&21.5)?;
//! assert_eq!(reader.read()?, Some(21.5));
//! assert!(reader.try_changed().unwrap_err().is_would_block(), "we have seen this one");
//! # Ok::<(), tieline_shm::Error>(())
//! ```
//!
//! For state: a pose, a price, a configuration. Each reader sees the newest value whenever it looks, whole, never half
//! of one and half of another. Who does not look misses values, and that is the point; where each one matters, use a
//! [topic](crate::topic).
//!
//! # What is promised
//! * The writer never waits, for nobody. A reader waits only in [`changed`](LatestReader::changed).
//! * A reader has the memory read-only: nothing it does, nor its death, disturbs the writer or another reader.
//! * A writer that dies, at any instruction, leaves its last whole value, and another may take its place. A name has one
//!   writer at a time.
//! * The value lives while a writer or any reader has it open.
//!
//! # Why not a value under a lock?
//! A [`sync::RwLock`](crate::sync::RwLock) does the same for values that several change. But there a reader that is
//! stopped in the middle stops the writer, and a writer that dies in the middle stops the readers until somebody
//! repairs. Here neither can happen, because there are two places and the writer always fills the other one.
//!
//! # Several users
//! A reader of another user gets a descriptor that cannot write, and no mapping of it can. A user who may write (both
//! rights of [`Access`]) can write any value, also one that is none, which readers get as
//! [`Corrupted`](crate::ErrorKind::Corrupted) with all who may write; and as long as it lives it can keep
//! other writers out. Readers can always join.
//!
//! # Threads and limits
//! The writer and each reader belong to one thread at a time; have a reader for each. Reading and writing copy the
//! value. Up to 1,023 readers ([`Latest::members`]).
//!
//! The memory is `docs/formats/shm-latest.md`, to the byte.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tieline_os::futex::Deadline;

use crate::channel::doorbell;
use crate::channel::untyped::Carried;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, ShmSafe};
use crate::rendezvous::{
    self, Access, Condition, IntoName, Joined, Members, Membership, Name, Offer, Participant, Role,
};
use crate::segment::{Details, Kind, Purpose, Segment};
use crate::structure::cells::Cells;
use crate::structure::latest::{Control, LatestCell, bytes_of, value_of};
use crate::wait::{Alarm, Alarms, Source, Until, Waitable, Waiting, Watch};

/// The latest value of something, by its name; see the [module](self). The writer and readers are made from it; it holds
/// nothing itself.
#[derive(Debug)]
#[must_use = "nothing is opened before `writer` or `reader`"]
pub struct Latest<T: ?Sized> {
    name: Name,
    access: Access,
    members: u32,
    waiting: Waiting,
    join_timeout: Duration,
    shape: Shape,
    value: PhantomData<fn(&T)>,
}

/// What a value is, as those who meet at the name must agree on it.
#[derive(Clone, Debug)]
struct Shape {
    hash: u64,
    text: String,
    len: usize,
    /// Where it is a type of this program.
    layout: Option<&'static Layout>,
}

const MEMBERS: u32 = 256;
/// How long to wait for whoever answers for a name.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

impl<T: ShmSafe> Latest<T> {
    /// The value of this name. Nothing is opened yet.
    ///
    /// # Errors
    /// `InvalidInput` if it is no [`Name`].
    pub fn at(name: impl IntoName) -> Result<Self> {
        let shape =
            Shape { hash: T::LAYOUT.hash(), text: T::LAYOUT.to_string(), len: size_of::<T>(), layout: Some(T::LAYOUT) };
        Self::of(name, shape)
    }
}

impl Latest<[u8]> {
    /// The value of this name, of a type that this program was not compiled with: what
    /// [`untyped::look`](crate::untyped::look) has found there. Nothing is opened yet.
    ///
    /// # Errors
    /// `InvalidInput` if it is no [`Name`]; `Mismatch` if `carried` is no one value that this version understands.
    pub fn carrying(name: impl IntoName, carried: &Carried) -> Result<Self> {
        let len = carried.contents().ok().and_then(|contents| contents.len_bytes());
        let none = || Error::new("open a latest value", ErrorKind::Mismatch).because("what it carries is no value");
        let shape =
            Shape { hash: carried.hash(), text: carried.layout().to_owned(), len: len.ok_or_else(none)?, layout: None };
        Self::of(name, shape)
    }
}

impl<T: ?Sized> Latest<T> {
    fn of(name: impl IntoName, shape: Shape) -> Result<Self> {
        Ok(Self {
            name: name.into_name()?,
            access: Access::default(),
            members: MEMBERS,
            waiting: Waiting::default(),
            join_timeout: JOIN_TIMEOUT,
            shape,
            value: PhantomData,
        })
    }

    /// Who may write and who may read, if this creates the object; its creator's user by default. A writer needs both
    /// rights, a reader that to subscribe.
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How many may have it open at once, the writer and who wants to become one included, if this creates the object: 1
    /// to 1,024; 256 unless told otherwise.
    pub fn members(mut self, members: u32) -> Self {
        self.members = members;
        self
    }

    /// How a reader waits for a change.
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// How long to wait for whoever answers for the name; five seconds by default.
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// Becomes the writer; creates the object if the name is free.
    ///
    /// # Errors
    /// `AlreadyExists` if it has a writer that lives; `Mismatch` if the name belongs to another type or kind of object;
    /// `LimitReached` if it has as many members as it was made for; `InvalidInput` if that is no possible number;
    /// `PermissionDenied`; `OutOfMemory`; `TimedOut` if whoever answers for the name does not.
    pub fn writer(self) -> Result<LatestWriter<T>> {
        let joined = rendezvous::open_or_create(&self.name, self.offer(Role::Sharer), self.join_timeout)?;
        let shared = Arc::new(Shared::new(&joined, self.shape.len, false)?);
        let member = joined.member().ok_or_else(|| corrupted("it gave us no number"))?;
        let members = joined.members().ok_or_else(|| corrupted("it has no table of members"))?;
        shared.cell.claim(member, |other| members.condition(other) != Condition::Alive)?;
        let version = shared.cell.version();
        let membership = joined.start(Arc::clone(&shared) as Arc<dyn Participant>)?;
        Ok(LatestWriter { shared, version, membership, len: self.shape.len, value: PhantomData })
    }

    /// Becomes a reader of an object that a writer has made.
    ///
    /// # Errors
    /// `NotFound` if nobody uses the name; otherwise as [`writer`](Self::writer), without `AlreadyExists`.
    pub fn reader(self) -> Result<LatestReader<T>> {
        let joined = rendezvous::open(&self.name, self.offer(Role::Reader), self.join_timeout)?;
        let shared = Arc::new(Shared::new(&joined, self.shape.len, true)?);
        let membership = joined.start(Arc::clone(&shared) as Arc<dyn Participant>)?;
        let copy = vec![0; self.shape.len].into();
        Ok(LatestReader { shared, membership, copy, waiting: self.waiting, value: PhantomData })
    }

    fn offer(&self, role: Role) -> Offer<'_> {
        let make = || {
            let purpose = Purpose { kind: Kind::Latest, name: self.name.as_str(), layout_hash: self.shape.hash };
            let len = body(self.members) + LatestCell::CONTROL_BYTES + LatestCell::cells_bytes(self.shape.len);
            let segment = Segment::create(&purpose, len)?;
            let facts = [&Members::facts(self.members)[..], &Control::facts(body(self.members))];
            segment.describe(&Details { layout: self.shape.layout, version: 1, facts: &facts.concat() })?;
            Ok(segment)
        };
        Offer {
            kind: Kind::Latest,
            role,
            layout_hash: self.shape.hash,
            layout_text: self.shape.text.clone(),
            config: Vec::new(),
            access: self.access.clone(),
            members_max: self.members,
            core: (role == Role::Sharer).then(|| Box::new(make) as rendezvous::CoreMaker<'_>),
        }
    }
}

/// Where the structure begins, behind a table of so many members.
fn body(members: u32) -> usize {
    Members::bytes(members).next_multiple_of(128)
}

fn corrupted(why: &'static str) -> Error {
    Error::new("open a latest value", ErrorKind::Corrupted).because(why)
}

/// What a handle shares with the keeper and with wait sets.
#[derive(Debug)]
struct Shared {
    cell: LatestCell,
    is_read_only: bool,
    /// The version the reader has taken last.
    seen: AtomicU32,
    alarms: OnceLock<Alarms>,
}

impl Shared {
    fn new(joined: &Joined, len: usize, is_read_only: bool) -> Result<Self> {
        let core = joined.core().ok_or_else(|| corrupted("it has no segment"))?;
        let members = joined.members().ok_or_else(|| corrupted("it has no table of members"))?;
        let at = body(members.capacity());
        let words = LatestCell::cells_bytes(len) / 8;
        let cells = Cells::new(core.slice(at + LatestCell::CONTROL_BYTES, words)?);
        let cell = LatestCell::new(core.view(at)?, cells, len)?;
        Ok(Self { cell, is_read_only, seen: AtomicU32::new(0), alarms: OnceLock::new() })
    }

    /// Relaxed: the reader's own note, which only decides whether to look.
    fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Participant for Shared {
    fn departed(&self, member: u32) {
        if self.is_read_only {
            self.cell.wake();
        } else {
            self.cell.give_up(member);
        }
    }
}

impl Source for Shared {
    fn is_ready(&self) -> bool {
        self.cell.version() != self.seen()
    }

    fn alarms(&self) -> Result<&Alarms> {
        doorbell::alarms_at(&self.alarms, |bell| Alarm::by_word(bell, self.cell.word()))
    }
}

/// The one writer of a [`Latest`] value. Dropping it lets another take its place; the value stays.
pub struct LatestWriter<T: ?Sized> {
    membership: Membership,
    shared: Arc<Shared>,
    /// Of the value written last, by whomever.
    version: u32,
    len: usize,
    value: PhantomData<fn(&T)>,
}

impl<T: ShmSafe> LatestWriter<T> {
    /// Makes `value` the latest, and wakes readers that wait for a change. Never waits.
    ///
    /// # Errors
    /// `Forked`.
    pub fn write(&mut self, value: &T) -> Result<()> {
        self.write_quietly(value)?;
        self.shared.cell.wake();
        Ok(())
    }

    /// As [`write`](Self::write), without the system call that wakes: for values that change a million times a second,
    /// whose readers look when they like. Readers that wait see it at the next `write`.
    ///
    /// # Errors
    /// `Forked`.
    pub fn write_quietly(&mut self, value: &T) -> Result<()> {
        self.membership.check()?;
        self.version = self.shared.cell.publish(self.version, bytes_of(value));
        Ok(())
    }
}

impl LatestWriter<[u8]> {
    /// Makes the value of these bytes the latest. They are not looked at:
    /// [`Contents::check`](crate::untyped::Contents::check) tells whether they are a value, and readers refuse what is none.
    ///
    /// # Errors
    /// `InvalidInput` if they are more or less than a value has; `Forked`.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.membership.check()?;
        if bytes.len() != self.len {
            let why = format!("a value has {} bytes, and these are {}", self.len, bytes.len());
            return Err(Error::new("write the latest value", ErrorKind::InvalidInput).because(why));
        }
        self.version = self.shared.cell.publish(self.version, bytes);
        self.shared.cell.wake();
        Ok(())
    }
}

/// A reader of a [`Latest`] value.
pub struct LatestReader<T: ?Sized> {
    membership: Membership,
    shared: Arc<Shared>,
    copy: Box<[u8]>,
    waiting: Waiting,
    value: PhantomData<fn(&T)>,
}

impl LatestReader<[u8]> {
    /// The latest value if this reader has not read it yet, as its bytes.
    ///
    /// # Errors
    /// `WouldBlock` if it has; `Lagged` if the writer overtakes the copy a thousand times in a row; `Forked`.
    pub fn try_changed_bytes(&mut self) -> Result<&[u8]> {
        self.membership.check()?;
        if !self.shared.is_ready() {
            return Err(Error::new("read the latest value", ErrorKind::WouldBlock));
        }
        let version = self.shared.cell.read(&mut self.copy)?;
        self.shared.seen.store(version.unwrap_or_default(), Ordering::Relaxed);
        Ok(&self.copy)
    }
}

impl<T: ShmSafe> LatestReader<T> {
    /// The latest value; `None` before the first. Never waits.
    ///
    /// # Errors
    /// `Lagged` if the writer overtakes the copy a thousand times in a row; `Corrupted` if the bytes are no value of the
    /// type; `Forked`.
    pub fn read(&mut self) -> Result<Option<T>> {
        self.membership.check()?;
        let Some(version) = self.shared.cell.read(&mut self.copy)? else { return Ok(None) };
        self.shared.seen.store(version, Ordering::Relaxed);
        value_of(&self.copy, "read the latest value").map(Some).map_err(|error| self.membership.blame(error))
    }

    /// The latest value if this reader has not read it yet.
    ///
    /// # Errors
    /// `WouldBlock` if it has; as [`read`](Self::read).
    pub fn try_changed(&mut self) -> Result<T> {
        self.changed_until(Until::Now)
    }

    /// Waits for a value that this reader has not read yet. A writer that dies does not end the wait: another may come.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn changed(&mut self) -> Result<T> {
        self.changed_until(Until::Forever)
    }

    /// [`changed`](Self::changed) for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; as [`read`](Self::read).
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<T> {
        self.changed_until(Until::At(Deadline::after(timeout)))
    }

    fn changed_until(&mut self, until: Until) -> Result<T> {
        self.membership.check()?;
        self.shared.cell.wait_changed(self.shared.seen(), self.waiting, until)?;
        self.read_some()
    }

    /// The value, where there is a version.
    fn read_some(&mut self) -> Result<T> {
        self.read()?.ok_or_else(|| {
            let error = Error::new("read the latest value", ErrorKind::Corrupted);
            self.membership.blame(error.because("its version went back to none"))
        })
    }

    /// [`try_changed`](Self::try_changed) for tasks, where "not yet" is `None`.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_changed(&mut self) -> Option<Result<T>> {
        if let Err(error) = self.membership.check() {
            return Some(Err(error));
        }
        self.shared.is_ready().then(|| self.read_some())
    }
}

impl<T: ?Sized> LatestReader<T> {
    #[cfg(feature = "tokio")]
    pub(crate) fn how(&self) -> Waiting {
        self.waiting
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<dyn Source>
    }
}

impl<T: ?Sized> Waitable for LatestReader<T> {
    fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared) as Arc<dyn Source>)
    }
}

impl<T: ?Sized> fmt::Debug for LatestWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestWriter").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<T: ?Sized> fmt::Debug for LatestReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestReader").field("seen", &self.shared.seen()).finish_non_exhaustive()
    }
}
