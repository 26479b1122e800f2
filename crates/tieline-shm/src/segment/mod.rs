//! A piece of shared memory that says what it is, and that nobody can take away from those who use it.
//!
//! A [`Segment`] is sealed memory without a name (a memfd), or a file that outlives its users. The first page describes
//! it ([`Description`]); what follows belongs to the structure that lives there, or to the user who wants memory alone.
//!
//! The invariant: a segment that was accepted has all its seals, its length is that of its header, and its memory can be
//! neither cut nor found missing later. Lack of memory is an error at creation or at [`grow`](Segment::grow), never a
//! `SIGBUS` at some later store. The exception is a file, which whoever may write it may also cut; see
//! [`PersistentSegment`].
//!
//! It must not know what structures mean by their bytes.

mod access;
mod create;
mod describe;
mod file;
mod header;
mod mapped;
mod options;
mod resize;
#[cfg(all(test, not(model)))]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tieline_os::Access;
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::{Memfd, Seals};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::raw::atomic::Ordering;
use crate::raw::{View, Words};

pub use describe::{Description, FactPlace};
pub(crate) use file::open_or_create;
pub use file::{Opened, PersistentSegment};
pub(crate) use header::HEADER_BYTES;
use header::Header;
pub use options::{Obtained, Pages, SegmentOptions};

/// What a segment is for. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Kind {
    /// A publisher's log and its pool of payloads; written by the publisher alone.
    Log = 1,
    /// What the subscribers of one publisher, all of one user, tell it.
    Roster = 2,
    /// A work queue.
    Queue = 3,
    /// One connection of a byte stream.
    Stream = 4,
    /// One connection of requests and responses.
    Calls = 5,
    /// The latest value.
    Latest = 6,
    /// An event counter.
    Event = 7,
    /// Locks, and what they guard.
    Locks = 8,
    /// An arena with its containers.
    Arena = 9,
    /// Memory alone, for whatever its users agree on.
    Memory = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Log,
        Self::Roster,
        Self::Queue,
        Self::Stream,
        Self::Calls,
        Self::Latest,
        Self::Event,
        Self::Locks,
        Self::Arena,
        Self::Memory,
    ];

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// What the creator of a segment says of it.
pub(crate) struct Purpose<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    /// 0 if there is none.
    pub(crate) layout_hash: u64,
}

/// What a structure adds to the description of its segment, before anyone else sees it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Details<'a> {
    /// The payload's layout, in words.
    pub(crate) layout: Option<&'static Layout>,
    /// The format of the structure itself.
    pub(crate) version: u32,
    /// At most 20; more are left out.
    pub(crate) facts: &'a [Fact<'a>],
}

/// A number in the body that tells lookers how the structure is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fact<'a> {
    /// At most 32 bytes; the meaning is in the structure's page in `docs/formats`.
    pub(crate) name: &'a str,
    /// Of the first one, in bytes of the body; a multiple of 4.
    pub(crate) offset: usize,
    /// 4 or 8 bytes.
    pub(crate) width: u32,
    /// How many, at least 1.
    pub(crate) count: u32,
    /// Bytes from one to the next.
    pub(crate) stride: u32,
}

impl<'a> Fact<'a> {
    /// One 64-bit number.
    pub(crate) const fn word(name: &'a str, offset: usize) -> Self {
        Self { name, offset, width: 8, count: 1, stride: 8 }
    }

    /// `count` numbers of 64 bits, `stride` bytes from one to the next; what does not fit the description is left out.
    // Limited to what fits.
    pub(crate) const fn words(name: &'a str, offset: usize, count: usize, stride: usize) -> Self {
        let most = u32::MAX as usize;
        let count = if count > most { most } else { count };
        let count = if stride > most { 1 } else { count };
        Self { name, offset, width: 8, count: count as u32, stride: stride as u32 }
    }

    /// The same with numbers of 32 bits.
    pub(crate) const fn halves(name: &'a str, offset: usize, count: usize, stride: usize) -> Self {
        let words = Self::words(name, offset, count, stride);
        Self { width: 4, ..words }
    }
}

/// Which payload a segment should have.
pub(crate) struct Expected {
    hash: u64,
    text: String,
}

impl From<u64> for Expected {
    fn from(hash: u64) -> Self {
        Self {
            hash,
            text: if hash == 0 { "plain bytes".to_owned() } else { format!("a layout with the hash {hash:x}") },
        }
    }
}

impl From<(u64, String)> for Expected {
    fn from((hash, text): (u64, String)) -> Self {
        Self { hash, text }
    }
}

impl From<&'static Layout> for Expected {
    fn from(layout: &'static Layout) -> Self {
        Self { hash: layout.hash(), text: layout.to_string() }
    }
}

/// Shared memory with a description, mapped here.
///
/// Made by [`SegmentOptions::create`]; sent to other processes by its descriptor ([`AsFd`], over a Unix socket or by
/// inheritance), and mapped there by [`SegmentOptions::accept`], which checks seals, length and description first. It
/// is gone with its last user, however that one ends: nothing is left in any directory.
///
/// Bytes are copied in and out; words are atomic. Who may write when is for its users to agree on: with a lock from
/// [`sync`](crate::sync), or with the words themselves. A peer that dies leaves what it had written.
///
/// ```
/// use tieline_shm::SegmentOptions;
///
/// let ours = SegmentOptions::new("example").create(64 * 1024)?;
/// ours.write(0, b"pixels")?;
///
/// // What another process does with the descriptor it was sent:
/// let sent = ours.try_clone_fd()?;
/// let theirs = SegmentOptions::new("example").accept(sent)?;
/// let mut copy = [0; 6];
/// theirs.read(0, &mut copy)?;
/// assert_eq!(&copy, b"pixels");
/// # Ok::<(), tieline_shm::Error>(())
/// ```
pub struct Segment {
    store: Arc<Store>,
    memory: Arc<Mapping>,
    kind: Kind,
    obtained: Obtained,
    /// Holes can be punched and memory added.
    growable: bool,
    /// How many bytes after the header lie before the structure: the table of members, if a name leads here.
    front: usize,
}

/// What is behind the memory.
enum Store {
    Memfd(Memfd),
    File(std::fs::File),
}

impl Segment {
    /// Makes a segment with room for `body_len_bytes` after its header, all of it backed by memory now.
    pub(crate) fn create(purpose: &Purpose<'_>, body_len_bytes: usize) -> Result<Self> {
        create::create(purpose, body_len_bytes, &SegmentOptions::new(purpose.name))
    }

    /// [`create`](Self::create) with pages, nodes, growth and rights of choice.
    pub(crate) fn create_with(purpose: &Purpose<'_>, body_len_bytes: usize, options: &SegmentOptions) -> Result<Self> {
        create::create(purpose, body_len_bytes, options)
    }

    /// Takes a segment that a peer sent, after checking everything its header claims.
    ///
    /// Give the payload's [`Layout`] rather than its hash where it is known: the error of a mismatch shows both then.
    pub(crate) fn accept(fd: OwnedFd, kind: Kind, expected: impl Into<Expected>, access: Access) -> Result<Self> {
        Self::take(fd, kind, |memfd, _| memfd.map(&MapOptions::new().access(access)).map(Arc::new))?
            .checked(&expected.into())
    }

    /// [`accept`](Self::accept), without a second mapping of what this process has already mapped in this way, of what
    /// came from the same `peer`. For what many handles of one process take.
    pub(crate) fn accept_once(fd: OwnedFd, peer: u64, kind: Kind, expected_hash: u64, access: Access) -> Result<Self> {
        Self::take(fd, kind, |memfd, len| mapped::map(memfd, peer, len, access))?.checked(&expected_hash.into())
    }

    /// Takes a segment of fixed length whose kind and measures were told by somebody else than its header: nothing is
    /// read there, because whoever may write the segment may have written over it.
    pub(crate) fn accept_told(fd: OwnedFd, kind: Kind, access: Access) -> Result<Self> {
        Self::take(fd, kind, |memfd, _| memfd.map(&MapOptions::new().access(access)).map(Arc::new))
    }

    fn checked(mut self, expected: &Expected) -> Result<Self> {
        let description = self.header()?.check(self.kind, expected, self.memory.len() as u64)?;
        (self.growable, self.front) = (description.growable, description.front_bytes as usize);
        Ok(self)
    }

    fn take(
        fd: OwnedFd,
        kind: Kind,
        map: impl FnOnce(&Memfd, u64) -> tieline_os::Result<Arc<Mapping>>,
    ) -> Result<Self> {
        let refused = |error| Error::system_refused(header::ACCEPT, error);
        crate::wait::prepare();
        let memfd = Memfd::from_fd(fd, Seals::SHRINK | Seals::GROW).map_err(refused)?;
        let len = memfd.len().map_err(refused)?;
        if len < HEADER_BYTES as u64 {
            return Err(Error::new(header::ACCEPT, ErrorKind::Corrupted).because("it is shorter than a header"));
        }
        let memory = map(&memfd, len).map_err(refused)?;
        let obtained = Obtained::unasked(&memory);
        Ok(Self { store: Arc::new(Store::Memfd(memfd)), memory, kind, obtained, growable: false, front: 0 })
    }

    /// Adds what only the structure knows to the description; to be called before anyone else has the segment.
    pub(crate) fn describe(&self, details: &Details<'_>) -> Result<()> {
        self.header()?.describe(details, self.start());
        Ok(())
    }

    /// Tells the layout of a payload that is not of one type; as [`describe`](Self::describe).
    pub(crate) fn tell_layout(&self, name: &str, text: &str) -> Result<()> {
        self.header()?.tell_layout(name, text);
        Ok(())
    }

    /// Adds facts to the description, of what lies in the body; as [`describe`](Self::describe).
    pub(crate) fn declare(&self, facts: &[Fact<'_>]) -> Result<()> {
        self.header()?.declare(facts, self.start());
        Ok(())
    }

    /// The `T` at `offset` bytes of the body.
    pub(crate) fn view<T: Words>(&self, offset: usize) -> Result<View<T>> {
        View::of(&self.memory, self.start().saturating_add(offset))
    }

    /// `count` of `T` from `offset` bytes of the body.
    pub(crate) fn slice<T: Words>(&self, offset: usize, count: usize) -> Result<View<[T]>> {
        View::slice(&self.memory, self.start().saturating_add(offset), count)
    }

    /// The same memory, for another user of it.
    pub(crate) fn share(&self) -> Self {
        Self { store: Arc::clone(&self.store), memory: Arc::clone(&self.memory), ..*self }
    }

    /// The same memory, with a body that begins `offset` bytes after the header: for what lies in front of a structure.
    pub(crate) fn with_front(&self, offset: usize) -> Self {
        Self { front: offset, ..self.share() }
    }

    /// How many bytes after the header lie before the body.
    pub(crate) fn front(&self) -> usize {
        self.front
    }

    /// Where the body begins in the mapping.
    fn start(&self) -> usize {
        HEADER_BYTES.saturating_add(self.front)
    }

    /// A descriptor to hand to peers that may only read.
    pub(crate) fn read_only_fd(&self) -> Result<OwnedFd> {
        let refused = |error| Error::system_refused("share a segment", error);
        match &*self.store {
            Store::Memfd(memfd) => Ok(memfd.read_only().map_err(refused)?.into()),
            Store::File(_) => Err(Error::new("share a segment", ErrorKind::Unsupported)
                .because("a file is shared by its path, and its mode says who may read")),
        }
    }

    fn header(&self) -> Result<View<Header>> {
        View::of(&self.memory, 0)
    }

    /// How many bytes it has after the first page. Where memory is committed bit by bit, the address space: see
    /// [`committed_len`](Self::committed_len).
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len().saturating_sub(self.start())
    }

    /// Whether it has no bytes of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes from the start have memory behind them: all, unless it is growable. As the header tells it now;
    /// another process may grow or shrink it.
    #[must_use]
    pub fn committed_len(&self) -> usize {
        // Acquire: partner of the release in `grow`; who sees the length finds memory behind it.
        let told = self.header().map_or(0, |header| header.committed_bytes.load(Ordering::Acquire));
        usize::try_from(told).unwrap_or(usize::MAX).saturating_sub(self.front).min(self.len())
    }

    /// What was got of the pages and the node that were wished for.
    #[must_use]
    pub fn obtained(&self) -> Obtained {
        self.obtained
    }

    /// What the first page says, as a looker would read it.
    ///
    /// # Errors
    /// `Corrupted` if a peer has destroyed the page.
    pub fn description(&self) -> Result<Description> {
        Description::parse(&self.header()?.copy())
    }

    /// A second descriptor, to send to a peer.
    ///
    /// # Errors
    /// `LimitReached` if no descriptor is free.
    pub fn try_clone_fd(&self) -> Result<OwnedFd> {
        self.as_fd().try_clone_to_owned().map_err(|error| {
            let kind =
                if error.raw_os_error() == Some(libc::EMFILE) { ErrorKind::LimitReached } else { ErrorKind::System };
            Error::new("share a segment", kind).because(error.to_string())
        })
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.store {
            Store::Memfd(memfd) => memfd.as_fd(),
            Store::File(file) => file.as_fd(),
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("kind", &self.kind).field("len", &self.len()).finish_non_exhaustive()
    }
}
