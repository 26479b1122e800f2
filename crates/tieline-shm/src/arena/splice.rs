//! A growing run of bytes: what vectors and strings are.
//!
//! A head block holds the length in bytes and the place of a second block with the bytes. There is one way to change
//! it, [`splice`]: in place if the journal has room for what changes, else into a new block that takes the place of the
//! old one in one store. Either way the bytes before are there until the change has been committed.

use super::block::Block;
use super::change::Change;
use super::heap::{Heap, corrupted};
use crate::error::Result;

const LEN: u64 = 0;
const DATA: u64 = 8;
const HEAD_BYTES: u64 = 16;

/// How the blocks of one sort of run are marked.
#[derive(Clone, Copy)]
pub(super) struct Tags {
    pub(super) head: u64,
    pub(super) data: u64,
}

/// What a head says, checked.
#[derive(Clone, Copy)]
pub(super) struct Run {
    head: Block,
    pub(super) len: u64,
    /// The block with the bytes; none before the first byte.
    data: Option<Block>,
    content: u64,
}

/// Makes an empty run; answers where its head is.
pub(super) fn create(change: &mut Change<'_>, tags: Tags) -> Result<u64> {
    let head = change.allocate(HEAD_BYTES, tags.head)?;
    let block = change.heap.block(head, tags.head)?;
    change.put(block, LEN, 0)?;
    change.put(block, DATA, 0)?;
    Ok(head)
}

/// Looks at the head at `offset`.
pub(super) fn open(heap: &Heap, offset: u64, tags: Tags) -> Result<Run> {
    let head = heap.block(offset, tags.head)?;
    let len = heap.content_word(head, LEN)?;
    let content = heap.content_word(head, DATA)?;
    let data = if content == 0 { None } else { Some(heap.block(content, tags.data)?) };
    if len > data.map_or(0, Block::room) {
        return Err(corrupted("a length that its block has no room for"));
    }
    Ok(Run { head, len, data, content })
}

/// Copies bytes out, which must lie within the length.
pub(super) fn read(heap: &Heap, run: Run, place: u64, bytes: &mut [u8]) -> Result<()> {
    let end = place.checked_add(bytes.len() as u64);
    match run.data {
        _ if bytes.is_empty() => Ok(()),
        Some(data) if end.is_some_and(|end| end <= run.len) => heap.read(data, place, bytes),
        _ => Err(corrupted("a place behind the length")),
    }
}

/// All bytes from `place` to the length.
pub(super) fn read_from(heap: &Heap, run: Run, place: u64) -> Result<Vec<u8>> {
    // No longer than a block of the heap, so a length that lies costs no more than there is.
    let mut bytes = vec![0; usize::try_from(run.len.saturating_sub(place)).unwrap_or(0)];
    read(heap, run, place, &mut bytes)?;
    Ok(bytes)
}

/// The block with the bytes, for values.
pub(super) fn data(run: Run) -> Result<Block> {
    run.data.ok_or_else(|| corrupted("a run without bytes"))
}

/// Replaces `removed` bytes at `place`, both within the length, by `bytes`.
pub(super) fn splice(
    change: &mut Change<'_>,
    offset: u64,
    tags: Tags,
    place: u64,
    removed: u64,
    bytes: &[u8],
) -> Result<()> {
    let run = open(&change.heap, offset, tags)?;
    let added = bytes.len() as u64;
    let kept = run.len.checked_sub(removed).filter(|_| place.saturating_add(removed) <= run.len);
    let new_len =
        kept.and_then(|kept| kept.checked_add(added)).ok_or_else(|| corrupted("a place behind the length"))?;
    let tail = if removed == added { Vec::new() } else { read_from(&change.heap, run, place + removed)? };
    let words = (added + tail.len() as u64) / 8 + 4;
    match run.data {
        Some(data) if new_len <= data.room() && change.has_journal_for(words) => {
            change.write(data, place, bytes)?;
            change.write(data, place + added, &tail)?;
        }
        None if new_len == 0 => {}
        _ => move_to_new(change, run, tags, new_len, place, bytes, &tail)?,
    }
    change.put(run.head, LEN, new_len)
}

/// Writes everything into a new block.
fn move_to_new(
    change: &mut Change<'_>,
    run: Run,
    tags: Tags,
    new_len: u64,
    place: u64,
    bytes: &[u8],
    tail: &[u8],
) -> Result<()> {
    // A block's size is a power of two, so asking for what is needed doubles when it grows.
    let content = change.allocate(new_len, tags.data)?;
    let target = change.heap.block(content, tags.data)?;
    let mut before = vec![0; usize::try_from(place).unwrap_or(0)];
    read(&change.heap, run, 0, &mut before)?;
    change.write(target, 0, &before)?;
    change.write(target, place, bytes)?;
    change.write(target, place + bytes.len() as u64, tail)?;
    if new_len > place + bytes.len() as u64 + tail.len() as u64 {
        // As much was removed as added, so the tail stays where it is: it was not read yet.
        let behind = place + bytes.len() as u64;
        let rest = read_from(&change.heap, run, behind)?;
        change.write(target, behind, &rest)?;
    }
    change.put(run.head, DATA, content)?;
    if run.content != 0 {
        change.free(run.content, tags.data)?;
    }
    Ok(())
}

/// Frees both blocks.
pub(super) fn destroy(change: &mut Change<'_>, offset: u64, tags: Tags) -> Result<()> {
    let run = open(&change.heap, offset, tags)?;
    if run.content != 0 {
        change.free(run.content, tags.data)?;
    }
    change.free(offset, tags.head)
}
