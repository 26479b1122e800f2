//! The first page of every segment: what it is, for peers and for people who look from outside.
//!
//! The offsets are in `docs/formats/shm-segment.md`. The invariant: everything a peer may have written is loaded once
//! and checked before it is used.

use super::describe::Description;
use super::{Details, Expected, Fact, Kind, Purpose};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Mismatch;
use crate::raw::Words;
use crate::raw::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// The bytes before the structure: one page.
pub(crate) const HEADER_BYTES: usize = 4096;
/// The number that changes when the meaning of this page does.
pub(super) const VERSION: u32 = 1;
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"TIELINE\x01");

pub(super) const NAME_BYTES: usize = 128;
pub(super) const LAYOUT_NAME_BYTES: usize = 96;
pub(super) const LAYOUT_TEXT_BYTES: usize = 2560;
/// How many `Fact`s a structure may declare.
pub(super) const FACTS_MAX: usize = 20;
pub(super) const FACT_NAME_BYTES: usize = 32;

/// The memory is committed bit by bit.
pub(super) const GROWABLE: u32 = 1;
/// Only the creator may write.
pub(super) const WRITER_ONLY: u32 = 2;
/// It is a file that outlives its users.
pub(super) const PERSISTENT: u32 = 4;

/// The first bytes of every segment.
#[repr(C)]
pub(crate) struct Header {
    pub(super) magic: AtomicU64,
    pub(super) version: AtomicU32,
    pub(super) kind: AtomicU32,
    /// Of the whole segment, header and all; where memory is committed bit by bit, of the address space.
    pub(super) len_bytes: AtomicU64,
    /// The hash of the payload's layout; 0 if there is none.
    pub(super) layout_hash: AtomicU64,
    /// Who made it, in the creator's own process namespace.
    pub(super) creator_pid: AtomicU32,
    pub(super) creator_uid: AtomicU32,
    /// When it was made, in nanoseconds of the wall clock since 1970.
    pub(super) created_ns: AtomicU64,
    /// How many bytes after the header have memory behind them. Grows and shrinks in a growable segment.
    pub(super) committed_bytes: AtomicU64,
    pub(super) flags: AtomicU32,
    /// How many have a persistent segment open; not zero while nobody has: somebody died.
    pub(super) openers: AtomicU32,
    /// How many times a persistent segment was opened by somebody while nobody else had it.
    pub(super) generation: AtomicU64,
    /// The running system's boot, when a persistent segment was last opened first.
    pub(super) boot_id: [AtomicU64; 2],
    /// The structure's own format version; 0 if it has none.
    pub(super) body_version: AtomicU32,
    pub(super) fact_count: AtomicU32,
    pub(super) name_len: AtomicU32,
    pub(super) layout_name_len: AtomicU32,
    pub(super) layout_text_len: AtomicU32,
    /// How many bytes lie between this page and the structure, for the table of members; 0 where the structure counts
    /// them itself, or has none.
    pub(super) front_bytes: AtomicU32,
    _reserved: [AtomicU32; 4],
    /// For people who look from outside.
    pub(super) name: [AtomicU8; NAME_BYTES],
    pub(super) layout_name: [AtomicU8; LAYOUT_NAME_BYTES],
    _reserved_too: [AtomicU64; 2],
    pub(super) facts: [RawFact; FACTS_MAX],
    /// The payload's layout in words, for the error of whoever has another.
    pub(super) layout_text: [AtomicU8; LAYOUT_TEXT_BYTES],
}

/// One `Fact` as it lies in memory.
#[repr(C)]
pub(super) struct RawFact {
    pub(super) name: [AtomicU8; FACT_NAME_BYTES],
    /// From the start of the segment.
    pub(super) offset: AtomicU64,
    pub(super) width: AtomicU32,
    pub(super) count: AtomicU32,
    pub(super) stride: AtomicU32,
    _reserved: AtomicU32,
}

// SAFETY: repr(C), atomics only, no padding: the size is that of the fields (see the assertion below).
#[allow(unsafe_code, reason = "Words is a promise about a layout")]
unsafe impl Words for Header {}

#[cfg(not(model))]
const _: () = {
    assert!(size_of::<RawFact>() == 56);
    assert!(std::mem::offset_of!(Header, name) == 128);
    assert!(std::mem::offset_of!(Header, layout_name) == 256);
    assert!(std::mem::offset_of!(Header, facts) == 368);
    assert!(std::mem::offset_of!(Header, layout_text) == 1488);
    assert!(size_of::<Header>() == 4048 && size_of::<Header>() <= HEADER_BYTES);
};

pub(super) const ACCEPT: &str = "accept a segment";

impl Header {
    /// Writes everything, the magic last: who finds no magic finds no segment.
    pub(super) fn fill(&self, purpose: &Purpose<'_>, len_bytes: u64, committed_bytes: u64, flags: u32, front: u32) {
        // Relaxed throughout: nobody else has the segment yet, and handing over its descriptor orders everything.
        self.version.store(VERSION, Ordering::Relaxed);
        self.kind.store(purpose.kind as u32, Ordering::Relaxed);
        self.len_bytes.store(len_bytes, Ordering::Relaxed);
        self.layout_hash.store(purpose.layout_hash, Ordering::Relaxed);
        self.creator_pid.store(std::process::id(), Ordering::Relaxed);
        self.creator_uid.store(rustix::process::geteuid().as_raw(), Ordering::Relaxed);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.created_ns.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.committed_bytes.store(committed_bytes, Ordering::Relaxed);
        self.flags.store(flags, Ordering::Relaxed);
        self.front_bytes.store(front, Ordering::Relaxed);
        write_text(&self.name, &self.name_len, purpose.name);
        // Release, for a file that others may open: who sees the magic (Acquire in `check`) sees the rest.
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Adds what only the structure knows; facts that do not fit are left out.
    pub(super) fn describe(&self, details: &Details<'_>, start: usize) {
        if let Some(layout) = details.layout {
            self.tell_layout(layout.name, &layout.to_string());
        }
        self.body_version.store(details.version, Ordering::Relaxed);
        self.fact_count.store(0, Ordering::Relaxed);
        self.declare(details.facts, start);
    }

    /// The payload's layout, for people; what does not fit is cut. Before anyone else has the segment.
    pub(super) fn tell_layout(&self, name: &str, text: &str) {
        write_text(&self.layout_name, &self.layout_name_len, name);
        write_text(&self.layout_text, &self.layout_text_len, text);
    }

    /// Adds facts to those that are there; those that do not fit are left out. Before anyone else has the segment.
    pub(super) fn declare(&self, facts: &[Fact<'_>], start: usize) {
        // Relaxed, as all of this: lookers take what they find and check it.
        let before = self.fact_count.load(Ordering::Relaxed) as usize;
        let declared = self.facts.iter().skip(before).zip(facts);
        for (raw, fact) in declared.clone() {
            let bytes = fact.name.as_bytes();
            for (index, cell) in raw.name.iter().enumerate() {
                cell.store(bytes.get(index).copied().unwrap_or(0), Ordering::Relaxed);
            }
            raw.offset.store((start + fact.offset) as u64, Ordering::Relaxed);
            raw.width.store(fact.width, Ordering::Relaxed);
            raw.count.store(fact.count, Ordering::Relaxed);
            raw.stride.store(fact.stride, Ordering::Relaxed);
        }
        self.fact_count.store(u32::try_from(before + declared.len()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Believes nothing: what this segment is, if it is what was expected and `len_bytes` long.
    pub(super) fn check(&self, kind: Kind, expected: &Expected, len_bytes: u64) -> Result<Description> {
        let description = Description::parse(&self.copy())?;
        let refuse =
            |kind, why: String| Err(Error::new(ACCEPT, kind).on(format!("{:?}", description.name)).because(why));
        if description.len_bytes != len_bytes {
            let why = format!("it is {len_bytes} bytes long, and its header tells {}", description.len_bytes);
            return refuse(ErrorKind::Corrupted, why);
        }
        if description.kind != Some(kind) {
            let theirs = description.kind.map_or("unknown".to_owned(), |kind| format!("{kind:?}"));
            return refuse(ErrorKind::Mismatch, format!("it is of the kind {theirs}, and should be {kind:?}"));
        }
        if description.layout_hash != expected.hash {
            let theirs = if description.layout_hash == 0 { "plain bytes" } else { &description.layout_text };
            let both = Mismatch::new(&expected.text, theirs);
            return refuse(ErrorKind::Mismatch, format!("its payload has another layout:\n{both}"));
        }
        Ok(description)
    }

    /// A copy of the page, as a looker reads it.
    pub(super) fn copy(&self) -> [u8; HEADER_BYTES] {
        let mut page = [0; HEADER_BYTES];
        let mut place = 0;
        let mut put = |bytes: &[u8]| {
            page[place..place + bytes.len()].copy_from_slice(bytes);
            place += bytes.len();
        };
        let text = |cells: &[AtomicU8]| cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect::<Vec<u8>>();
        // Acquire: partner of the release in `fill`. The rest Relaxed: each is checked for itself.
        put(&self.magic.load(Ordering::Acquire).to_ne_bytes());
        put(&self.version.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.kind.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.len_bytes.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.layout_hash.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.creator_pid.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.creator_uid.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.created_ns.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.committed_bytes.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.flags.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.openers.load(Ordering::Relaxed).to_ne_bytes());
        put(&self.generation.load(Ordering::Relaxed).to_ne_bytes());
        for word in &self.boot_id {
            put(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        let counts =
            [&self.body_version, &self.fact_count, &self.name_len, &self.layout_name_len, &self.layout_text_len];
        for word in counts.into_iter().chain([&self.front_bytes]) {
            put(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        put(&[0; 16]);
        put(&text(&self.name));
        put(&text(&self.layout_name));
        put(&[0; 16]);
        for fact in &self.facts {
            put(&text(&fact.name));
            put(&fact.offset.load(Ordering::Relaxed).to_ne_bytes());
            for word in [&fact.width, &fact.count, &fact.stride] {
                put(&word.load(Ordering::Relaxed).to_ne_bytes());
            }
            put(&[0; 4]);
        }
        put(&text(&self.layout_text));
        page
    }
}

/// Writes as much of a text as there is room for, cut between characters, and its length.
fn write_text(cells: &[AtomicU8], len: &AtomicU32, text: &str) {
    let fitting = &text[..text.floor_char_boundary(cells.len())];
    for (cell, byte) in cells.iter().zip(fitting.bytes()) {
        cell.store(byte, Ordering::Relaxed);
    }
    len.store(u32::try_from(fitting.len()).unwrap_or(0), Ordering::Relaxed);
}
