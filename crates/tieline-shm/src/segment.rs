//! A piece of shared memory with a header that says what it is.
//!
//! The invariant: a segment that was accepted has all its seals, its length is that of its header, and its memory can
//! be neither cut nor found missing later. The first page is the header, written once by the creator before anyone
//! else can see it; what follows belongs to the structure that lives there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use tieline_os::Access;
use tieline_os::mapping::{MapOptions, Mapping};
use tieline_os::memfd::{Memfd, MemfdOptions, Seals};

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::raw::{View, Words};
use crate::wait;

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
}

/// The bytes before the structure: one page.
pub(crate) const HEADER_BYTES: usize = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"TIELINE\x01");

/// The first bytes of every segment.
#[repr(C)]
pub(crate) struct Header {
    magic: AtomicU64,
    /// Of this header and of the structure behind it.
    version: AtomicU32,
    kind: AtomicU32,
    /// Of the whole segment.
    len_bytes: AtomicU64,
    /// The hash of the payload's layout; 0 for plain bytes.
    layout_hash: AtomicU64,
    /// Who made it, in the creator's own process namespace.
    creator_pid: AtomicU32,
    name_len: AtomicU32,
    /// The object's name, for people who look from outside.
    name: [AtomicU8; 128],
}

// SAFETY: repr(C), atomics only, no padding (48 bytes of words, then 128 bytes).
#[allow(unsafe_code, reason = "Words is a promise about a layout")]
unsafe impl Words for Header {}

/// A sealed piece of memory, mapped here.
pub(crate) struct Segment {
    memfd: Memfd,
    memory: Arc<Mapping>,
    kind: Kind,
}

/// What the creator of a segment says of it.
pub(crate) struct Purpose<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) layout_hash: u64,
}

const CREATE: &str = "create a segment";
const ACCEPT: &str = "accept a segment";

impl Segment {
    /// Makes a segment with room for `body_len_bytes` after its header, all of it backed by memory now.
    pub(crate) fn create(purpose: &Purpose<'_>, body_len_bytes: usize) -> Result<Self> {
        let len = HEADER_BYTES
            .checked_add(body_len_bytes)
            .ok_or_else(|| Error::new(CREATE, ErrorKind::TooLarge).on(purpose.name))?;
        let refused = |error| Error::system_refused(CREATE, error).on(purpose.name);
        wait::prepare();
        let memfd = Memfd::create(&memfd_name(purpose), &MemfdOptions::new()).map_err(refused)?;
        memfd.set_len(len as u64).map_err(refused)?;
        memfd.reserve().map_err(refused)?;
        memfd.add_seals(Seals::SHRINK | Seals::GROW).map_err(refused)?;
        let memory = Arc::new(memfd.map(&MapOptions::new().populate()).map_err(refused)?);
        let segment = Self { memfd, memory, kind: purpose.kind };
        segment.header()?.fill(purpose, len as u64);
        Ok(segment)
    }

    /// Takes a segment that a peer sent, after checking everything its header claims.
    pub(crate) fn accept(fd: OwnedFd, kind: Kind, layout_hash: u64, access: Access) -> Result<Self> {
        let refused = |error| Error::system_refused(ACCEPT, error);
        wait::prepare();
        let memfd = Memfd::from_fd(fd, Seals::SHRINK | Seals::GROW).map_err(refused)?;
        let memory = Arc::new(memfd.map(&MapOptions::new().access(access)).map_err(refused)?);
        let segment = Self { memfd, memory, kind };
        segment.header()?.check(kind, layout_hash, segment.memory.len() as u64)?;
        Ok(segment)
    }

    /// The `T` at `offset` bytes after the header.
    pub(crate) fn view<T: Words>(&self, offset: usize) -> Result<View<T>> {
        View::of(&self.memory, HEADER_BYTES.saturating_add(offset))
    }

    /// `count` of `T` from `offset` bytes after the header.
    pub(crate) fn slice<T: Words>(&self, offset: usize, count: usize) -> Result<View<[T]>> {
        View::slice(&self.memory, HEADER_BYTES.saturating_add(offset), count)
    }

    /// The descriptor to hand to peers that may write.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }

    /// A descriptor to hand to peers that may only read.
    pub(crate) fn read_only_fd(&self) -> Result<OwnedFd> {
        Ok(self.memfd.read_only().map_err(|error| Error::system_refused("share a segment", error))?.into())
    }

    fn header(&self) -> Result<View<Header>> {
        View::of(&self.memory, 0)
    }
}

impl Header {
    fn fill(&self, purpose: &Purpose<'_>, len_bytes: u64) {
        // Relaxed throughout: nobody else has the segment yet, and handing over its descriptor orders everything.
        self.version.store(1, Ordering::Relaxed);
        self.kind.store(purpose.kind as u32, Ordering::Relaxed);
        self.len_bytes.store(len_bytes, Ordering::Relaxed);
        self.layout_hash.store(purpose.layout_hash, Ordering::Relaxed);
        self.creator_pid.store(std::process::id(), Ordering::Relaxed);
        let name = &purpose.name.as_bytes()[..purpose.name.len().min(self.name.len())];
        for (cell, byte) in self.name.iter().zip(name) {
            cell.store(*byte, Ordering::Relaxed);
        }
        self.name_len.store(u32::try_from(name.len()).unwrap_or(0), Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Relaxed);
    }

    fn check(&self, kind: Kind, layout_hash: u64, len_bytes: u64) -> Result<()> {
        let corrupted = |why| Err(Error::new(ACCEPT, ErrorKind::Corrupted).because(why));
        if self.magic.load(Ordering::Relaxed) != MAGIC {
            return corrupted("it does not begin as a segment does");
        }
        if self.len_bytes.load(Ordering::Relaxed) != len_bytes {
            return corrupted("its header tells another length");
        }
        if self.kind.load(Ordering::Relaxed) != kind as u32 {
            return Err(Error::new(ACCEPT, ErrorKind::Mismatch).because("it is of another kind"));
        }
        if self.layout_hash.load(Ordering::Relaxed) != layout_hash {
            return Err(Error::new(ACCEPT, ErrorKind::Mismatch).because("its payload has another layout"));
        }
        Ok(())
    }
}

/// What shows in `/proc/PID/maps` as `/memfd:tieline:...`.
fn memfd_name(purpose: &Purpose<'_>) -> String {
    let room = 200;
    let name: String = purpose.name.chars().take(room).collect();
    format!("tieline:{:?}:{name}", purpose.kind).to_lowercase()
}
