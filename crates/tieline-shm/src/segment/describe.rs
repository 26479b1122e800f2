//! What the first page of a segment says, for peers and for lookers that have read it out of another process.
//!
//! Pure: bytes in, a value or an error out. The invariant: no number of the page is believed further than checked here.

use std::ops::Range;

use super::Kind;
use super::header::{
    ACCEPT, FACT_NAME_BYTES, FACTS_MAX, GROWABLE, HEADER_BYTES, LAYOUT_NAME_BYTES, LAYOUT_TEXT_BYTES, MAGIC,
    NAME_BYTES, PERSISTENT, VERSION, WRITER_ONLY,
};
use crate::error::{Error, ErrorKind, Result};

/// What a segment says of itself.
///
/// Anyone who can read the first page of a segment's mapping in another process (`process_vm_readv`; in
/// `/proc/PID/maps` it is called `/memfd:tieline:KIND:NAME`) can [`parse`](Self::parse) it, without being a peer. Names
/// come from others: escape them before they reach a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// What it is for; `None` if this program does not know the number.
    pub kind: Option<Kind>,
    /// The object's name.
    pub name: String,
    /// Length of the whole in bytes.
    pub len_bytes: u64,
    /// How many bytes after the first page have memory behind them.
    pub committed_bytes: u64,
    /// Whether memory is committed bit by bit.
    pub growable: bool,
    /// Whether only its creator writes it.
    pub writer_only: bool,
    /// Whether it is a file that outlives its users.
    pub persistent: bool,
    /// The hash of the payload's layout ([`Layout::hash`](crate::Layout::hash)); 0 if there is none.
    pub layout_hash: u64,
    /// The payload type's name.
    pub layout_name: String,
    /// The payload type's layout in words, perhaps cut at its end.
    pub layout_text: String,
    /// The format of what is behind the first page.
    pub body_version: u32,
    /// Who made it, in the creator's own process namespace. Not proof: ask the kernel.
    pub creator_pid: u32,
    /// The user who made it, in the creator's own user namespace.
    pub creator_uid: u32,
    /// When it was made, in nanoseconds of the wall clock since 1970.
    pub created_ns: u64,
    /// How many have a persistent segment open, dead ones included.
    pub openers: u32,
    /// How many times a persistent segment was opened while nobody had it.
    pub generation: u64,
    /// Where the structure keeps numbers that tell how it is.
    pub facts: Vec<FactPlace>,
    pub(super) boot_id: [u64; 2],
    pub(super) front_bytes: u32,
}

/// Where a number lies that tells how a structure is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FactPlace {
    /// What the number means, as the structure's page in `docs/formats` says.
    pub name: String,
    /// Where the first one lies, in bytes from the start of the segment.
    pub offset: u64,
    /// How many bytes each has: 4 or 8.
    pub width: u32,
    /// How many there are, as one for each peer.
    pub count: u32,
    /// How many bytes from one to the next.
    pub stride: u32,
}

impl Description {
    /// How many bytes of a segment describe it.
    pub const LEN_BYTES: usize = HEADER_BYTES;

    /// Understands the first page of a segment.
    ///
    /// # Errors
    /// `Corrupted` if it is no segment's, or says what cannot be; `Mismatch` for the format of another version.
    pub fn parse(page: &[u8; HEADER_BYTES]) -> Result<Self> {
        let page = Page(page);
        let corrupted = |why: &'static str| Error::new(ACCEPT, ErrorKind::Corrupted).because(why);
        if page.word(0) != MAGIC {
            return Err(corrupted("it does not begin as a segment does"));
        }
        let version = page.half(8);
        if version != VERSION {
            let why = format!("it has format {version}, and this program knows {VERSION}");
            return Err(Error::new(ACCEPT, ErrorKind::Mismatch).because(why));
        }
        let len_bytes = page.word(16);
        let committed_bytes = page.word(48);
        if len_bytes.checked_sub(HEADER_BYTES as u64).is_none_or(|body| committed_bytes > body) {
            return Err(corrupted("its header tells more memory than it has"));
        }
        let front_bytes = page.half(108);
        if u64::from(front_bytes) > len_bytes - HEADER_BYTES as u64 || !front_bytes.is_multiple_of(64) {
            return Err(corrupted("its structure begins where none does"));
        }
        let text = |place: usize, room: usize, len: u32| {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let bytes = page.0.get(place..place + room).and_then(|bytes| bytes.get(..len));
            let bytes = bytes.ok_or_else(|| corrupted("a text in its header is longer than its place"))?;
            let text = str::from_utf8(bytes).map_err(|_| corrupted("a text in its header is no text"))?;
            Ok::<_, Error>(text.to_owned())
        };
        let fact_count = usize::try_from(page.half(92)).unwrap_or(usize::MAX);
        if fact_count > FACTS_MAX {
            return Err(corrupted("it tells more facts than there is room for"));
        }
        let facts = (0..fact_count).map(|index| page.fact(index, len_bytes)).collect::<Option<_>>();
        let flags = page.half(56);
        Ok(Self {
            kind: Kind::from_number(page.half(12)),
            name: text(128, NAME_BYTES, page.half(96))?,
            len_bytes,
            committed_bytes,
            growable: flags & GROWABLE != 0,
            writer_only: flags & WRITER_ONLY != 0,
            persistent: flags & PERSISTENT != 0,
            layout_hash: page.word(24),
            layout_name: text(256, LAYOUT_NAME_BYTES, page.half(100))?,
            layout_text: text(1488, LAYOUT_TEXT_BYTES, page.half(104))?,
            body_version: page.half(88),
            creator_pid: page.half(32),
            creator_uid: page.half(36),
            created_ns: page.word(40),
            front_bytes,
            openers: page.half(60),
            generation: page.word(64),
            facts: facts.ok_or_else(|| corrupted("a fact of it does not lie within it"))?,
            boot_id: [page.word(72), page.word(80)],
        })
    }
}

/// Numbers at fixed places of a copied page.
struct Page<'a>(&'a [u8; HEADER_BYTES]);

impl Page<'_> {
    fn word(&self, offset: usize) -> u64 {
        u64::from_ne_bytes(std::array::from_fn(|index| self.0[offset + index]))
    }

    fn half(&self, offset: usize) -> u32 {
        u32::from_ne_bytes(std::array::from_fn(|index| self.0[offset + index]))
    }

    /// The fact, if all its numbers lie within the segment.
    fn fact(&self, index: usize, len_bytes: u64) -> Option<FactPlace> {
        let start = 368 + index * 56;
        let name: Range<usize> = start..start + FACT_NAME_BYTES;
        let name = self.0[name].split(|byte| *byte == 0).next().unwrap_or_default();
        let fact = FactPlace {
            name: str::from_utf8(name).ok()?.to_owned(),
            offset: self.word(start + 32),
            width: self.half(start + 40),
            count: self.half(start + 44),
            stride: self.half(start + 48),
        };
        let beyond_first = u64::from(fact.count.checked_sub(1)?).checked_mul(u64::from(fact.stride))?;
        let end = fact.offset.checked_add(beyond_first)?.checked_add(u64::from(fact.width))?;
        (matches!(fact.width, 4 | 8) && fact.offset.is_multiple_of(4) && end <= len_bytes).then_some(fact)
    }
}
