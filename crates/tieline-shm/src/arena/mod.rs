//! Memory that several processes allocate from, and containers in it.
//!
//! An [`Arena`] is a segment with an allocator and a journal. Containers ([`ShmBox`], [`ShmVec`], [`ShmString`],
//! [`ShmMap`]) are handles: an offset into the arena, which means the same in every process and may itself be stored in
//! a container. Everything read is copied out and checked: the block a handle names must be one, be in use, be large
//! enough, and hold the type that the handle says; so no peer can do more than cause an error.
//!
//! # Changes
//! Whatever changes the arena does so within [`Arena::change`], and happens whole or not at all: an error takes all of
//! it back, and so does [`Arena::recover`] after a process died in the middle. There is no lock that a death could leave
//! held. Before a word is changed its old value is written to the journal; dropping the journal's length to zero, one
//! store, is the commit.
//!
//! # Who keeps order
//! An arena is meant to live under a lock: one changes while nobody reads. [`SharedArena`] is both, under a name. What is
//! checked without one: a second change while one is open is refused, and so is a read that overlaps a change
//! ([`ErrorKind::OwnerDied`] in both cases, because a change that was left open by the dead looks the same). Call
//! [`recover`](Arena::recover) only while holding the lock: it takes back the change of whoever is in the middle of one.
//!
//! The invariant: at every instant the memory is one recovery away from the state before or after each change.
//!
//! It must not know what the stored values mean, nor who shares the arena.

mod block;
mod boxed;
mod change;
mod check;
mod death;
#[allow(unsafe_code, reason = "an implementation of ShmSafe is a promise about a layout")]
mod handle;
mod hash;
mod heap;
mod journal;
mod map;
#[cfg(not(model))]
mod shared;
mod splice;
mod string;
#[cfg(all(test, not(model)))]
mod tests;
mod vec;

use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tieline_os::Access;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::Ordering;
use crate::segment::{
    self, Details, Expected, Fact, Kind, Opened, PersistentSegment, Purpose, Segment, SegmentOptions,
};

pub use boxed::ShmBox;
pub use change::Change;
use heap::{Geometry, Heap, Word};
pub use map::{ShmMap, ShmMapIter};
#[cfg(not(model))]
pub use shared::{ArenaReadGuard, ArenaWriteGuard, SharedArena, SharedArenaOptions};
pub use string::ShmString;
pub use vec::ShmVec;

/// The format of what lies in the segment.
const FORMAT: u32 = 1;

/// The least an arena can be made with: its own words, the smallest journal, and some room.
const LEN_MIN: usize = 32 * 1024;
const JOURNAL_ENTRIES_MIN: usize = 512;
const JOURNAL_ENTRIES_MAX: usize = 1 << 20;

const CREATE: &str = "create an arena";
const OPEN: &str = "open an arena";
const READ: &str = "read from an arena";

/// Memory to allocate from, shared between processes, with containers that survive the death of a writer.
///
/// ```
/// use tieline_shm::{Arena, ArenaOptions, ShmMap};
///
/// let mut arena = ArenaOptions::new("prices").create(64 * 1024)?;
/// let prices = arena.change(|change| {
///     let prices = ShmMap::<u32, f64>::new(change)?;
///     prices.insert(change, &7, &9.5)?;
///     change.set_root(prices)?;
///     Ok::<_, tieline_shm::Error>(prices)
/// })?;
///
/// // What another process does with the descriptor it was sent:
/// let theirs = Arena::accept(arena.try_clone_fd()?)?;
/// let found: ShmMap<u32, f64> = theirs.root()?.expect("it was set");
/// assert_eq!(found.get(&theirs, &7)?, Some(9.5));
///
/// // An error takes the whole change back.
/// let failed = arena.change(|change| {
///     prices.insert(change, &8, &1.0)?;
///     prices.get(change, &9)?.ok_or_else(|| std::io::Error::other("no such price"))?;
///     Ok::<_, Box<dyn std::error::Error>>(())
/// });
/// assert!(failed.is_err());
/// assert_eq!(prices.get(&arena, &8)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Most want a [`SharedArena`], which is one of these under a name and under the lock it needs.
///
/// # Containers
/// [`ShmBox`], [`ShmVec`], [`ShmString`] and [`ShmMap`] are handles: an offset, which means the same in every process, and
/// may itself be stored in a container. Everything read is copied out and checked, so no peer can do more than cause an
/// error.
///
/// # Changes and death
/// Whatever changes the arena does so within [`change`](Self::change), and happens whole or not at all: an error takes it
/// back, so does a panic, and after a process died in the middle so does [`recover`](Self::recover).
///
/// # Who keeps order
/// One changes while nobody reads: that is for a lock to see to. What is checked without one: a second change while one
/// is open is refused, and so is a read that overlaps a change, both with [`ErrorKind::OwnerDied`], because a change that
/// the dead left open looks the same. Call `recover` only while holding the lock.
///
/// ```text
/// without a lock
/// P: change: insert ... not yet done
/// Q: change -> OwnerDied. Did P die? Q thinks so: recover takes back what P is in the middle of
/// P: goes on, and finds its change taken from it: OwnerDied
/// ```
pub struct Arena {
    store: Store,
    heap: Heap,
    /// Another number for each handle; never 0.
    nonce: u64,
    /// Whether a change through this handle is open, so that it may read its own.
    changing: AtomicBool,
}

enum Store {
    Shared(Segment),
    File(PersistentSegment),
}

/// How to make an [`Arena`].
#[derive(Clone, Debug)]
pub struct ArenaOptions {
    segment: SegmentOptions,
    name: String,
    max_len: Option<usize>,
    journal_entries: Option<usize>,
}

/// How much of an arena is in use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaUsage {
    /// In blocks that hold something, rounding and 16 bytes each included.
    pub used: u64,
    /// What has been taken into use of the memory so far.
    pub heap: u64,
    /// What it may grow to.
    pub max: u64,
    /// How many changes were taken back after a death.
    pub recoveries: u64,
}

/// What [`Arena::recover`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// No change was open.
    Nothing,
    /// A change was open, and has been taken back.
    TakenBack,
}

impl ArenaOptions {
    /// An arena called `name`, which people see in `/proc/PID/maps`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { segment: SegmentOptions::new(name), name: name.to_owned(), max_len: None, journal_entries: None }
    }

    /// Lets it grow, when it is full, up to `max_len_bytes`; see [`SegmentOptions::growable`].
    #[must_use]
    pub fn growable(mut self, max_len_bytes: usize) -> Self {
        self.segment = self.segment.growable(max_len_bytes);
        self.max_len = Some(max_len_bytes);
        self
    }

    /// Wishes for pages and nodes, as for any segment.
    #[must_use]
    pub fn huge_pages(mut self, pages: crate::HugePages) -> Self {
        self.segment = self.segment.huge_pages(pages);
        self
    }

    /// How many words of existing memory one change may alter: 512 to 2²⁰, 16 bytes each. Without this, one in 32 words
    /// of the arena's greatest length, but at most 65536, and no more than take a quarter of its first length. Memory that
    /// a change allocates itself does not count.
    #[must_use]
    pub fn journal_entries(mut self, entries: usize) -> Self {
        self.journal_entries = Some(entries);
        self
    }

    /// Makes an arena of `len_bytes`, at least 32 KiB, which its journal and its own words share.
    ///
    /// # Errors
    /// As [`SegmentOptions::create`]; `InvalidInput` if it is too short, or too short for its journal.
    pub fn create(&self, len_bytes: usize) -> Result<Arena> {
        let geometry = self.geometry(len_bytes)?;
        let segment = Segment::create_with(&self.purpose(), len_bytes, &self.segment)?;
        establish(&segment, geometry)?;
        Arena::over(Store::Shared(segment))
    }

    /// Opens the arena in a file, or makes one; see [`PersistentSegment`]. A change that a death left open is taken back
    /// if nobody else has the file.
    ///
    /// The journal protects against the death of processes. After the system stopped ([`Opened::SystemStopped`]) pages
    /// may be old and new at once, so look at [`Arena::opened`] and [`Arena::check`].
    ///
    /// # Errors
    /// As [`SegmentOptions::open_or_create_file`], and as [`create`](Self::create).
    pub fn open_or_create_file(&self, path: impl AsRef<Path>, len_bytes: usize) -> Result<Arena> {
        let geometry = self.geometry(len_bytes)?;
        let expected = Expected::from(0);
        let prepare = |segment: &Segment| establish(segment, geometry);
        let (path, purpose) = (path.as_ref(), self.purpose());
        let file = segment::open_or_create(path, &purpose, &expected, len_bytes, &self.segment, prepare)?;
        let opened = file.opened();
        let mut arena = Arena::over(Store::File(file))?;
        if opened != Opened::Joined {
            arena.recover()?;
        }
        Ok(arena)
    }

    fn purpose(&self) -> Purpose<'_> {
        Purpose { kind: Kind::Arena, name: &self.name, layout_hash: 0 }
    }

    fn geometry(&self, len: usize) -> Result<Geometry> {
        let invalid = |why: String| Error::new(CREATE, ErrorKind::InvalidInput).on(&self.name).because(why);
        let max = self.max_len.unwrap_or(len);
        if len < LEN_MIN || max < len {
            return Err(invalid(format!("it needs {LEN_MIN} bytes at least, and no more than it may grow to")));
        }
        let usual = (max / 8 / 32).min(len / 16 / 4).clamp(JOURNAL_ENTRIES_MIN, 1 << 16);
        let entries = self.journal_entries.unwrap_or(usual);
        if !(JOURNAL_ENTRIES_MIN..=JOURNAL_ENTRIES_MAX).contains(&entries) {
            return Err(invalid(format!("{entries} entries of a journal are too few or too many")));
        }
        Geometry::plan(max as u64, entries as u64, RandomState::new().hash_one(0_u8))
            .filter(|geometry| geometry.heap_start + 4096 <= len as u64)
            .ok_or_else(|| invalid(format!("a journal of {entries} entries leaves no room in {len} bytes")))
    }
}

impl Arena {
    /// Takes an arena that a peer sent.
    ///
    /// # Errors
    /// * `InvalidInput`, `PermissionDenied`: no memfd, one without seals, or a read-only one.
    /// * `Corrupted`, `Mismatch`: no arena, one of another format, or one that contradicts itself.
    pub fn accept(fd: OwnedFd) -> Result<Self> {
        Self::over(Store::Shared(Segment::accept(fd, Kind::Arena, 0, Access::ReadWrite)?))
    }

    /// Believes nothing of what the segment says of itself but what has been checked.
    fn over(store: Store) -> Result<Self> {
        let version = store.segment().description()?.body_version;
        if version != FORMAT {
            let why = format!("its format is {version}, and this program knows {FORMAT}");
            return Err(Error::new(OPEN, ErrorKind::Mismatch).because(why));
        }
        let words = store.segment().slice(0, store.segment().len() / 8)?;
        let heap = Heap::open(words, store.segment().len() as u64)?;
        Ok(Self { store, heap, nonce: nonce(), changing: AtomicBool::new(false) })
    }

    /// Changes the arena, whole or not at all: when `work` answers an error, or panics, or this process dies in it,
    /// everything it did is taken back.
    ///
    /// Does not block. Call it while holding the lock that orders the arena's users.
    ///
    /// # Errors
    /// What `work` answers, and:
    /// * `OwnerDied`: a change is open, by somebody who died in the middle (then [`recover`](Self::recover)), or who does
    ///   not keep to the lock.
    /// * `Corrupted`: a peer destroyed what the arena needs.
    pub fn change<R, E: From<Error>>(&mut self, work: impl FnOnce(&mut Change<'_>) -> Result<R, E>) -> Result<R, E> {
        let mut change = Change::begin(self)?;
        let answer = work(&mut change)?;
        change.commit()?;
        Ok(answer)
    }

    /// Takes back the change that somebody left open by dying. Call it only while holding the lock that orders the
    /// arena's users, after it said that its owner died; may be called at any time then, also twice.
    ///
    /// # Errors
    /// `Corrupted` if the journal is not one that a change of ours leaves.
    pub fn recover(&mut self) -> Result<Recovered> {
        journal::recover(&self.heap, self.nonce)
    }

    /// Whether a change is open: by whoever holds the lock now, or else by somebody who died.
    #[must_use]
    pub fn is_change_open(&self) -> bool {
        // Acquire: partner of the release stores that end a change.
        self.heap.word(Word::Owner).load(Ordering::Acquire) != 0
    }

    /// The container that was [set](Change::set_root) as the one to begin with, if one was.
    ///
    /// # Errors
    /// `Mismatch` if it is of another type; `OwnerDied` if a change is open.
    pub fn root<H: Handle>(&self) -> Result<Option<H>> {
        self.reading(|heap| {
            let (offset, tag) = (heap.load(Word::Root), heap.load(Word::RootTag));
            if offset == 0 {
                return Ok(None);
            }
            if tag != H::TAG {
                let why = "its first container is of another type than the one asked for";
                return Err(Error::new(READ, ErrorKind::Mismatch).because(why));
            }
            heap.block(offset, H::TAG)?;
            Ok(Some(H::at(offset)))
        })
    }

    /// How much is in use. Numbers may be of different moments if somebody changes it meanwhile.
    #[must_use]
    pub fn usage(&self) -> ArenaUsage {
        ArenaUsage {
            used: self.heap.load(Word::Used),
            heap: self.heap.load(Word::HeapLen),
            max: self.heap.geometry.heap_max,
            recoveries: self.heap.load(Word::Recoveries),
        }
    }

    /// How its file was found; `None` if it is in no file.
    #[must_use]
    pub fn opened(&self) -> Option<Opened> {
        match &self.store {
            Store::Shared(_) => None,
            Store::File(file) => Some(file.opened()),
        }
    }

    /// Writes everything to storage, if the arena is in a file; see [`PersistentSegment::sync`].
    ///
    /// # Errors
    /// As there.
    pub fn sync(&self) -> Result<()> {
        match &self.store {
            Store::Shared(_) => Ok(()),
            Store::File(file) => file.sync(),
        }
    }

    /// A second descriptor, to send to a peer.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is free.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.store.segment().try_clone_fd()
    }

    /// Looks at every block and every list of free ones. For tests, and after [`Opened::SystemStopped`]; takes as long
    /// as there are blocks.
    ///
    /// # Errors
    /// `Corrupted` says what is wrong; `OwnerDied` if a change is open.
    pub fn check(&self) -> Result<()> {
        self.reading(check::check)
    }

    /// Runs `read` and refuses its answer if a change was open meanwhile.
    fn reading<R>(&self, read: impl FnOnce(&Heap) -> Result<R>) -> Result<R> {
        if self.changing.load(Ordering::Relaxed) {
            return read(&self.heap);
        }
        let before = self.heap.quiet_version()?;
        let answer = read(&self.heap);
        self.heap.still(before)?;
        answer
    }
}

/// Writes the words of a new arena, before anyone else can see it.
fn establish(segment: &Segment, geometry: Geometry) -> Result<()> {
    Heap::new(segment.slice(0, segment.len() / 8)?, geometry).format();
    let facts = Word::FACTS.map(|(name, word)| Fact { name, offset: word as usize * 8, width: 8, count: 1, stride: 8 });
    segment.describe(&Details { version: FORMAT, facts: &facts, ..Details::default() })
}

/// Another number for each handle; never 0, which stands for nobody.
fn nonce() -> u64 {
    RandomState::new().hash_one(std::process::id()) | 1
}

impl Store {
    fn segment(&self) -> &Segment {
        match self {
            Self::Shared(segment) => segment,
            Self::File(file) => file,
        }
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.store.segment().as_fd()
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

/// A container in an [`Arena`], by its place. A handle is a value like any other: it may be copied, stored in another
/// container, and sent; what it names lives until freed.
pub trait Handle: crate::ShmSafe + sealed::Sealed {
    /// Marks the blocks of such containers.
    #[doc(hidden)]
    const TAG: u64;

    /// The container at this place.
    #[doc(hidden)]
    fn at(offset: u64) -> Self;

    /// Where it is.
    #[doc(hidden)]
    fn offset(&self) -> u64;
}

/// A container that can be empty, as [`Change::root_or_new`] makes it.
pub trait Container: Handle {
    /// An empty one.
    #[doc(hidden)]
    fn make(change: &mut Change<'_>) -> Result<Self>;
}

mod sealed {
    /// Only our own containers are handles.
    pub trait Sealed {}
}

/// What marks the blocks of one sort of container for one sort of content.
const fn tag(sort: &str, content: u64) -> u64 {
    let mut tag = content ^ 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < sort.len() {
        tag = (tag ^ sort.as_bytes()[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    tag
}
