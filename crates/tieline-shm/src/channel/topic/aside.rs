//! The memory of a log of its own, for a subscriber with [`Policy::DropNewest`](super::Policy::DropNewest): made by the
//! publisher, read by that one subscriber.

use std::os::fd::OwnedFd;

use crate::error::Result;
use crate::raw::View;
use crate::segment::{Details, Kind, Purpose, Segment, SegmentOptions};
use crate::structure::log::{Geometry, LogHeader, SLOTS_OFFSET, Slots};

/// Such a log, before the subscriber is let in.
pub(super) struct Aside {
    pub(super) header: View<LogHeader>,
    pub(super) slots: Slots,
    pub(super) geometry: Geometry,
    /// For the subscriber.
    pub(super) read_only: OwnedFd,
}

impl Aside {
    /// For messages of a log of that geometry and inode, `depth` of them at least. All its memory is found now.
    ///
    /// # Errors
    /// `OutOfMemory`, `LimitReached` for descriptors.
    pub(super) fn create(name: &str, layout_hash: u64, log: (&Geometry, u64), depth: u64) -> Result<Self> {
        let (log, log_inode) = log;
        let slots = usize::try_from(depth).unwrap_or(log.slots).min(log.slots);
        // Where the buckets would begin, because they are those of the publisher's log.
        let geometry = Geometry { slots: slots.next_power_of_two().max(2), buckets: 0, bucket_bytes: 0, ..*log };
        let geometry = geometry.with_history(0);
        let purpose = Purpose { kind: Kind::Log, name, layout_hash };
        let segment = Segment::create_with(&purpose, geometry.body_bytes(), &SegmentOptions::new(name).writer_only())?;
        let header: View<LogHeader> = segment.view(0)?;
        geometry.announce(&header);
        header.tell_log(log_inode);
        segment.describe(&Details { layout: None, version: 1, facts: &LogHeader::OWN_FACTS })?;
        let slots = Slots::new(segment.slice(SLOTS_OFFSET, geometry.slot_words())?, &geometry);
        Ok(Self { header, slots, geometry, read_only: segment.read_only_fd()? })
    }
}

/// What a subscriber finds in such a log: its own slots, and the buckets of the publisher's.
pub(super) struct AsideRead {
    pub(super) header: View<LogHeader>,
    pub(super) slots: Slots,
    pub(super) geometry: Geometry,
}

impl AsideRead {
    /// The log in a descriptor that the publisher of `log` sent.
    ///
    /// # Errors
    /// `Corrupted`, `Mismatch`.
    pub(super) fn accept(fd: OwnedFd, layout_hash: u64, log: &Geometry) -> Result<Self> {
        let segment = Segment::accept(fd, Kind::Log, layout_hash, tieline_os::Access::ReadOnly)?;
        let header: View<LogHeader> = segment.view(0)?;
        let own = Geometry::claimed(&header, segment.len())?;
        let geometry = Geometry { buckets: log.buckets, bucket_bytes: log.bucket_bytes, ..own };
        let slots = Slots::new(segment.slice(SLOTS_OFFSET, geometry.slot_words())?, &geometry);
        Ok(Self { header, slots, geometry })
    }
}
