//! How a queue is made.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tieline_os::unix::Credentials;

use super::waitable::{Side, Watched};
use super::{Inner, Queue, Recovery, owner_of};
use crate::channel::payload::{self, Payload};
use crate::channel::untyped::Carried;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::ShmSafe;
use crate::rendezvous::{self, Access, IntoName, Joined, Members, Name, Offer, Role};
use crate::segment::{Details, Kind, Purpose, Segment};
use crate::structure::cells::Cells;
use crate::structure::held::Trust;
use crate::structure::work::{Control, Geometry, Owner, WorkQueue};
use crate::wait::Waiting;

/// How a [`Queue`] is made, and opened.
///
/// Capacity, the maximum of an item, members and access are the creator's decision; who opens the queue gets those,
/// whatever these options say.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # // SAFETY: one thread.
/// # unsafe { std::env::set_var("TIELINE_RUNTIME_DIR", folder.path()) };
/// use tieline_shm::queue::Queue;
///
/// let frames = Queue::<[u8]>::options().capacity(8).payload_max_bytes(1 << 20).create("frames")?;
/// let mut frame = frames.reserve(1 << 20)?;
/// frame.fill(7); // where it lies: nothing is copied
/// frame.commit()?;
/// assert!(frames.recv()?.iter().all(|byte| *byte == 7));
/// # Ok::<(), tieline_shm::Error>(())
/// ```
pub struct QueueOptions<T: Payload + ?Sized> {
    capacity: u32,
    item_max: usize,
    members: u32,
    access: Access,
    waiting: Waiting,
    timeout: Duration,
    /// What it carries, if that is not what the type says.
    carried: Option<Carried>,
    of: PhantomData<fn(&T)>,
}

const CAPACITY: u32 = 256;
const ITEM_MAX_BYTES: usize = 4096;
const MEMBERS: u32 = 64;
/// A host that does not answer for so long is stopped.
const TIMEOUT: Duration = Duration::from_secs(5);
const OPEN: &str = "open the queue";

impl<T: Payload + ?Sized> QueueOptions<T> {
    pub(super) fn new() -> Self {
        Self {
            capacity: CAPACITY,
            item_max: payload::len_bytes::<T>().unwrap_or(ITEM_MAX_BYTES),
            members: MEMBERS,
            access: Access::default(),
            waiting: Waiting::default(),
            timeout: TIMEOUT,
            carried: None,
            of: PhantomData,
        }
    }

    /// How many items fit, those in work included: 1 to 2^20, rounded up to a power of two; 256 unless told otherwise.
    #[must_use]
    pub fn capacity(mut self, items: u32) -> Self {
        self.capacity = items;
        self
    }

    /// How many processes may have the queue open at once: 1 to 1023; 64 unless told otherwise.
    #[must_use]
    pub fn members(mut self, members: u32) -> Self {
        self.members = members;
        self
    }

    /// Who may take part: needs both rights. The creator's user unless told otherwise.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// How calls of this handle wait.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// How long opening may take; 5 s unless told otherwise.
    #[must_use]
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Creates the queue under a free name, with memory for all its items at once.
    ///
    /// # Errors
    /// `AlreadyExists`; `InvalidInput` for a name, capacity or number of members beyond the limits; `TooLarge` for items
    /// beyond 2^30 bytes; `OutOfMemory`; `PermissionDenied` and `NotFound` for the directory of names.
    pub fn create(self, name: impl IntoName) -> Result<Queue<T>> {
        self.join(name, rendezvous::create)
    }

    /// Opens the queue of that name.
    ///
    /// # Errors
    /// `NotFound`; `Mismatch` if it carries something else, with both layouts; `PermissionDenied`; `LimitReached` if it
    /// has all its members; `TimedOut` if whoever answers for the name is stopped; `Corrupted`.
    pub fn open(self, name: impl IntoName) -> Result<Queue<T>> {
        self.join(name, rendezvous::open)
    }

    /// Opens the queue of that name, or creates it.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(self, name: impl IntoName) -> Result<Queue<T>> {
        self.join(name, rendezvous::open_or_create)
    }

    fn join(self, name: impl IntoName, join: fn(&Name, Offer<'_>, Duration) -> Result<Joined>) -> Result<Queue<T>> {
        let name = name.into_name()?;
        let hash = self.carried.as_ref().map_or_else(payload::hash::<T>, Carried::hash);
        if self.members > Owner::MAX_MEMBER + 1 {
            return Err(Error::new("create a queue", ErrorKind::InvalidInput).because("it has up to 1023 members"));
        }
        let geometry = Geometry::new(self.capacity, self.item_max)?;
        let make = || {
            let purpose = Purpose { kind: Kind::Queue, name: name.as_str(), layout_hash: hash };
            let cells_at = cells_offset(self.members);
            let segment = Segment::create(&purpose, cells_at.saturating_add(geometry.cells_len_bytes()))?;
            let facts =
                [&Members::facts(self.members)[..], &Control::facts(control_offset(self.members), cells_at, geometry)];
            segment.describe(&Details {
                layout: Some(<T::Item as ShmSafe>::LAYOUT),
                version: 1,
                facts: &facts.concat(),
            })?;
            Ok(segment)
        };
        let config =
            Config { capacity: self.capacity, item_max: self.item_max, is_shared: !self.access.is_owner_only() };
        let offer = Offer {
            kind: Kind::Queue,
            role: Role::Sharer,
            layout_hash: hash,
            layout_text: self.carried.map_or_else(payload::text::<T>, |carried| carried.layout().to_owned()),
            config: config.to_bytes(),
            access: self.access.clone(),
            members_max: self.members,
            core: Some(Box::new(make)),
        };
        let joined = join(&name, offer, self.timeout)?;
        Ok(Queue { inner: Arc::new(build::<T>(joined, self.waiting)?), of: PhantomData })
    }
}

impl QueueOptions<[u8]> {
    /// Items of a type that this program was not compiled with, as bytes. Who sends
    /// [checks](crate::untyped::Contents::check) them.
    #[must_use]
    pub fn carrying(mut self, carried: Carried) -> Self {
        self.carried = Some(carried);
        self
    }
}

impl<T: ShmSafe> QueueOptions<[T]> {
    /// How many bytes an item may have: up to 2^30; 4096 unless told otherwise. All items are that large in memory.
    #[must_use]
    pub fn payload_max_bytes(mut self, bytes: usize) -> Self {
        self.item_max = bytes;
        self
    }
}

fn build<T: Payload + ?Sized>(joined: Joined, waiting: Waiting) -> Result<Inner> {
    let corrupted = || Error::new(OPEN, ErrorKind::Corrupted).because("its host describes it as no host does");
    let config = Config::from_bytes(joined.config()).ok_or_else(corrupted)?;
    if payload::len_bytes::<T>().is_some_and(|len| len != config.item_max) {
        return Err(corrupted());
    }
    let geometry = Geometry::new(config.capacity, config.item_max)?;
    let (core, members) = joined.core().zip(joined.members()).ok_or_else(corrupted)?;
    let (control, cells) = (control_offset(members.capacity()), cells_offset(members.capacity()));
    let cells = Cells::new(core.slice(cells, geometry.cells_len_bytes() / 8)?);
    let queue = WorkQueue::new(core.view(control)?, cells, geometry)?;
    let members = members.clone();
    let own = joined.member().and_then(|member| owner_of(&members, member)).ok_or_else(corrupted)?;
    let is_private = !config.is_shared && joined.owner() == Credentials::own().uid;
    let (items, room) = (Watched::new(&queue, Side::Items), Watched::new(&queue, Side::Room));
    let recovery = Recovery { queue: queue.clone(), members };
    let membership = joined.start(Arc::new(recovery))?;
    let trust = if is_private { Trust::SameUser } else { Trust::Nobody };
    Ok(Inner { queue, owner: own, claims: 0.into(), trust, waiting, membership, items, room })
}

/// In the segment's body the table of members comes first.
fn control_offset(members: u32) -> usize {
    Members::bytes(members).next_multiple_of(align_of::<Control>())
}

fn cells_offset(members: u32) -> usize {
    control_offset(members) + size_of::<Control>()
}

/// What must be known before the memory is mapped.
struct Config {
    capacity: u32,
    item_max: usize,
    /// Whether users other than the creator's may take part.
    is_shared: bool,
}

impl Config {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, u8::from(self.is_shared)];
        bytes.extend(self.capacity.to_le_bytes());
        bytes.extend((self.item_max as u64).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[1, is_shared @ 0..=1], rest) = bytes.split_first_chunk()? else { return None };
        let (capacity, rest) = rest.split_first_chunk()?;
        let item_max = u64::from_le_bytes(rest.try_into().ok()?);
        Some(Self {
            capacity: u32::from_le_bytes(*capacity),
            item_max: item_max.try_into().ok()?,
            is_shared: is_shared == 1,
        })
    }
}
