//! What may be wished for when a segment is made, and what was got.

use std::os::fd::OwnedFd;

use tieline_os::Access;
use tieline_os::mapping::{HugePages, Mapping};

use super::{Details, Expected, Kind, Purpose, Segment, create};
use crate::error::Result;
use crate::layout::{Layout, ShmSafe};

/// How to make, or accept, a [`Segment`].
///
/// Without any setting: usual pages of any node, all memory found at once, everyone who is sent the segment may write.
///
/// Huge pages and nodes are wishes. Machines differ, so a wish that cannot be met is not an error: [`Segment::obtained`]
/// tells what was got. Room is never a wish: what was asked for is there, or creation fails.
#[derive(Clone, Debug)]
pub struct SegmentOptions {
    pub(super) name: String,
    pub(super) huge_pages: Option<HugePages>,
    pub(super) numa_node: Option<u32>,
    pub(super) max_len: Option<usize>,
    pub(super) writer_only: bool,
    pub(super) front: usize,
    pub(super) access: Access,
    layout: Option<&'static Layout>,
}

/// Which pages are behind a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pages {
    /// The machine's usual ones.
    Usual,
    /// Usual ones that the kernel was asked to join into huge ones, where the machine has that switched on
    /// (`/sys/kernel/mm/transparent_hugepage/shmem_enabled`); how many it joined can be read in `/proc/PID/smaps`.
    Transparent,
    /// Huge ones that the administrator had reserved.
    Huge(HugePages),
}

/// What was got of the wishes in [`SegmentOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Obtained {
    /// The pages.
    pub pages: Pages,
    /// The node that all memory is taken from, if one was wished for and the kernel agreed.
    pub numa_node: Option<u32>,
}

impl Obtained {
    /// Of a segment that somebody else made: what can be seen of the mapping.
    pub(super) fn unasked(memory: &Mapping) -> Self {
        let huge = [HugePages::Mib2, HugePages::Gib1].into_iter().find(|pages| pages.size() == memory.page_size());
        Self { pages: huge.map_or(Pages::Usual, Pages::Huge), numa_node: None }
    }
}

impl SegmentOptions {
    /// A segment called `name`, which people see in `/proc/PID/maps`; it need not be unique.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            huge_pages: None,
            numa_node: None,
            max_len: None,
            writer_only: false,
            front: 0,
            access: Access::ReadWrite,
            layout: None,
        }
    }

    /// Says that the segment holds values of `T`: whoever accepts it must say the same, or is refused with an error that
    /// shows both layouts.
    #[must_use]
    pub fn holds<T: ShmSafe>(mut self) -> Self {
        self.layout = Some(T::LAYOUT);
        self
    }

    /// Wishes for huge pages: fewer entries in the processor's page tables, so fewer misses on large data.
    ///
    /// Reserved huge pages of this size are tried first, then transparent ones, then usual ones. Reserved ones make
    /// sense for large segments only: the length is rounded up to a whole one.
    #[must_use]
    pub fn huge_pages(mut self, pages: HugePages) -> Self {
        self.huge_pages = Some(pages);
        self
    }

    /// Wishes for memory of one node of a machine with several, by the kernel's number: near the processors that use it
    /// most. A machine with one node has node 0.
    #[must_use]
    pub fn numa_node(mut self, node: u32) -> Self {
        self.numa_node = Some(node);
        self
    }

    /// Reserves address space for `max_len_bytes`, so that the segment can [`grow`](Segment::grow) to that length
    /// without moving in anybody's address space; memory is committed for the length given to
    /// [`create`](Self::create). Address space costs next to nothing.
    #[must_use]
    pub fn growable(mut self, max_len_bytes: usize) -> Self {
        self.max_len = Some(max_len_bytes);
        self
    }

    /// Nobody but this handle may ever write the memory, whatever descriptor they have: the kernel refuses.
    ///
    /// Memory cannot be given back by [`shrink`](Segment::shrink) then, because the kernel counts that as writing.
    #[must_use]
    pub fn writer_only(mut self) -> Self {
        self.writer_only = true;
        self
    }

    /// Maps an accepted segment for reading only; needed for one that its creator made
    /// [`writer_only`](Self::writer_only), or of which a read-only descriptor was sent.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// Calls it something else.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Leaves so many bytes between header and body: for the table of members, which is there where a name leads.
    pub(crate) fn front(mut self, len_bytes: usize) -> Self {
        self.front = len_bytes;
        self
    }

    /// Makes a segment of `len_bytes`, zeroed. Does not block, but finds all memory, which takes about half a
    /// millisecond for each MiB.
    ///
    /// # Errors
    /// * `OutOfMemory`, `LimitReached`: there is not enough memory, address space or descriptors.
    /// * `TooLarge`: more than a process can map, or than the growable maximum; `InvalidInput`: the name has a NUL.
    pub fn create(&self, len_bytes: usize) -> Result<Segment> {
        let (purpose, _) = self.purpose();
        let segment = create::create(&purpose, len_bytes, self)?;
        self.describe(&segment)?;
        Ok(segment)
    }

    /// Maps a segment that a peer sent, if it is one: sealed against cutting, and as long as its header tells. Wishes
    /// are ignored: its creator has chosen. On failure the descriptor is closed.
    ///
    /// # Errors
    /// * `InvalidInput`, `PermissionDenied`: no memfd, or one without seals; or read-only, and not accepted so.
    /// * `Corrupted`: its header contradicts itself or the kernel.
    /// * `Mismatch`: it is no plain memory, or holds values of another layout; the text shows both.
    pub fn accept(&self, fd: OwnedFd) -> Result<Segment> {
        let (purpose, expected) = self.purpose();
        Segment::accept(fd, purpose.kind, expected, self.access)
    }

    /// What the options say of plain memory.
    pub(super) fn purpose(&self) -> (Purpose<'_>, Expected) {
        let layout_hash = self.layout.map_or(0, Layout::hash);
        let expected = self.layout.map_or_else(|| Expected::from(0), Expected::from);
        (Purpose { kind: Kind::Memory, name: &self.name, layout_hash }, expected)
    }

    /// Writes what the options say of the payload into the description.
    pub(super) fn describe(&self, segment: &Segment) -> Result<()> {
        segment.describe(&Details { layout: self.layout, ..Details::default() })
    }
}
