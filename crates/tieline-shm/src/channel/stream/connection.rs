//! The memory of one connection, and who is at its other end.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tieline_os::Access;
use tieline_os::unix::Credentials;

use super::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::raw::{View, process};
use crate::rendezvous::{Link, Membership};
use crate::segment::{Details, Kind, Purpose, Segment};
use crate::structure::cells::Cells;
use crate::structure::held::Trust;
use crate::structure::stream::{Control, Ring};

/// A ring has at most so many bytes.
pub(super) const MAX_CAPACITY: usize = 1 << 30;
pub(super) const MIN_CAPACITY: usize = 4096;

const OPEN: &str = "open a stream";
/// The first byte of what the listening side sends.
const VERSION: u8 = 1;
/// What it sends instead to a peer that it does not want.
pub(super) const REFUSAL: [u8; 1] = [0];

/// What both halves of a stream share.
pub(super) struct Line {
    link: Link,
    is_gone: AtomicBool,
    rings: [View<Control>; 2],
    /// Kept so that the line stays; given up when the peer is gone, so that the name becomes free.
    membership: Mutex<Option<Arc<Membership>>>,
    generation: u32,
}

impl Line {
    /// Refuses in a forked child.
    pub(super) fn check(&self) -> Result<()> {
        if self.generation == process::generation() {
            Ok(())
        } else {
            Err(Error::new("use the stream", ErrorKind::Forked))
        }
    }

    /// Whether the peer left or died; what it wrote before is there by then.
    pub(super) fn is_gone(&self) -> bool {
        // Acquire: pairs with `peer_is_gone`.
        self.is_gone.load(Ordering::Acquire)
    }

    /// To be called when the peer left or died: wakes whoever waits for it.
    pub(super) fn peer_is_gone(&self) {
        // Release: what the keeper saw before. Pairs with `is_gone`.
        self.is_gone.store(true, Ordering::Release);
        for ring in &self.rings {
            ring.bytes.wake_after_death();
            ring.room.wake_after_death();
        }
        self.give_up_name();
    }

    fn give_up_name(&self) {
        let membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without the lock: leaving waits for calls that may want it.
        drop(membership);
    }

    pub(super) fn belongs_to(&self, membership: Arc<Membership>) {
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = Some(membership);
        if self.is_gone() {
            self.give_up_name();
        }
    }

    pub(super) fn peer_uid(&self) -> u32 {
        self.link.peer().uid
    }

    pub(super) fn trust(&self) -> Trust {
        if self.peer_uid() == Credentials::own().uid { Trust::SameUser } else { Trust::Nobody }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("link", &self.link).field("is_gone", &self.is_gone()).finish_non_exhaustive()
    }
}

/// Makes a connection's memory, sends it to the peer, and gives our end.
pub(super) fn offer(link: &Link, name: &str, capacity: usize) -> Result<(Stream, Arc<Line>)> {
    let purpose = Purpose { kind: Kind::Stream, name, layout_hash: 0 };
    let segment = Segment::create(&purpose, 2 * (size_of::<Control>() + capacity))?;
    segment.describe(&Details { layout: None, version: 1, facts: &Control::FACTS })?;
    let opened = open(&segment, capacity, link, true)?;
    let mut message = vec![VERSION];
    message.extend((capacity as u64).to_le_bytes());
    link.send(&message, &[segment.as_fd()])?;
    Ok(opened)
}

/// Takes the memory that the listening side sent, and gives our end.
pub(super) fn accept(link: &Link, message: &[u8], fds: Vec<OwnedFd>) -> Result<(Stream, Arc<Line>)> {
    let corrupted = || Error::new(OPEN, ErrorKind::Corrupted).because("its peer says what no peer says");
    let Some((&[VERSION], rest)) = message.split_first_chunk() else { return Err(corrupted()) };
    let capacity = rest.try_into().ok().and_then(|bytes| usize::try_from(u64::from_le_bytes(bytes)).ok());
    let capacity =
        capacity.filter(|capacity| (MIN_CAPACITY..=MAX_CAPACITY).contains(capacity)).ok_or_else(corrupted)?;
    let fd = fds.into_iter().next().ok_or_else(corrupted)?;
    let segment = Segment::accept(fd, Kind::Stream, 0, Access::ReadWrite)?;
    open(&segment, capacity, link, false)
}

/// First the controls of both rings, then their bytes. The listening side writes into the first.
fn open(segment: &Segment, capacity: usize, link: &Link, listens: bool) -> Result<(Stream, Arc<Line>)> {
    let ring = |index: usize| {
        let cells = segment.slice(2 * size_of::<Control>() + index * capacity, capacity / 8)?;
        Ring::new(segment.view(index * size_of::<Control>())?, Cells::new(cells))
    };
    let (first, second) = (ring(0)?, ring(1)?);
    let line = Arc::new(Line {
        link: link.clone(),
        is_gone: AtomicBool::new(false),
        rings: [first.control().clone(), second.control().clone()],
        membership: Mutex::new(None),
        generation: process::generation(),
    });
    let (out, into) = if listens { (first, second) } else { (second, first) };
    Ok((Stream::new(into.reader(), out.writer(), Arc::clone(&line)), line))
}
