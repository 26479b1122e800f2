//! One message in one slot: written once by the publisher, copied by any number of readers.
//!
//! A slot is words: `stamp | payload ... | guard`. Both ends carry the message's number. The publisher stores the
//! guard, then the payload from its end to its start, then the stamp; so each cache line is written in one go, the
//! last line first, and a reader that polls the stamp takes away the first line only when all is there. A reader
//! loads the stamp, copies the payload, loads the guard.
//!
//! The invariant: stamp = number before, and guard = number after, means that what was copied is that message whole.
//! (If a word came from a later message, then that message's guard, stored before the word, is seen too.) A reader that the
//! publisher waits for finds the guard as it should be, unless the publisher has lost the line to it, of which a reader that
//! was stopped meanwhile learns later. Of a message in the pool such a reader has no more than its line anyway, so there it
//! does without the guard.

use crate::raw::View;
use crate::raw::atomic::{AtomicU64, Ordering, fence};
use crate::raw::words::{load_bytes, load_pair, store_pair};
use crate::structure::log::layout::Geometry;
use crate::structure::log::{Bug, planted};
use crate::structure::pool::Descriptor;

/// The number of the first message; slots of zeros hold none.
pub(crate) const FIRST: u64 = 1;

const LINE_BYTES: usize = 64;

/// Numbers stay below: 2^56 messages take 22 years at a hundred million a second.
const TAG_BITS: u32 = 8;

/// What is in a slot, beside the number in the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u8);

impl Tag {
    /// The payload is in the pool; the slot holds [`Descriptor`](crate::structure::pool::Descriptor).
    pub(crate) const POOLED: Self = Self(0x80);

    /// A payload of this many bytes, in the slot.
    pub(crate) fn inline(len_bytes: usize) -> Self {
        debug_assert!(len_bytes <= super::layout::INLINE_MAX_BYTES);
        // At most 112.
        Self(len_bytes as u8)
    }

    /// The length of a payload in the slot; `None` if it is not there.
    pub(crate) fn inline_len(self) -> Option<usize> {
        (usize::from(self.0) <= super::layout::INLINE_MAX_BYTES).then_some(usize::from(self.0))
    }
}

/// How many bytes of a slot are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// As many as there is room for, so that the copy is a few moves; a descriptor is copied alone.
    Room,
    /// As many as the message has.
    Message,
}

/// What a reader finds where it expects a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not published yet.
    Empty,
    /// Overwritten by a later one, before or while it was copied.
    Overrun,
    /// Copied.
    Message(Tag),
}

impl Seen {
    /// What was copied, if a message was.
    pub(crate) fn tag(self) -> Option<Tag> {
        match self {
            Self::Message(tag) => Some(tag),
            Self::Empty | Self::Overrun => None,
        }
    }
}

/// The ring of slots.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    words: View<[AtomicU64]>,
    stride: usize,
    mask: u64,
}

impl Slots {
    /// `words` must be as many as the geometry says.
    pub(crate) fn new(words: View<[AtomicU64]>, geometry: &Geometry) -> Self {
        assert_eq!(words.len(), geometry.slot_words(), "the view was made for another geometry");
        Self { words, stride: geometry.stride_words, mask: geometry.slots as u64 - 1 }
    }

    #[inline(always)]
    fn slot(&self, number: u64) -> &[AtomicU64] {
        // Masked to the number of slots.
        let start = (number & self.mask) as usize * self.stride;
        &self.words[start..start + self.stride]
    }

    /// Publisher only: message `number` is `payload`, which fits.
    #[inline(always)]
    pub(crate) fn write(&self, number: u64, tag: Tag, payload: &[u8]) {
        let slot = self.slot(number);
        let (guard, rest) = slot.split_last().expect("a slot has words");
        let (stamp, words) = rest.split_first().expect("a slot has words");
        // Guard before words, by the fence: (G1) pairs with the fence in `read`. Relaxed: the fence orders it.
        guard.store(number, Ordering::Relaxed);
        if !planted(Bug::NoFenceInWrite) {
            fence(Ordering::Release);
        }
        crate::raw::step("log:guard");
        store_backwards(words, payload);
        crate::raw::step("log:words");
        // Words before stamp: (S1) pairs with the acquire load in `read`.
        let order = if planted(Bug::RelaxedStamp) { Ordering::Relaxed } else { Ordering::Release };
        stamp.store(number << TAG_BITS | u64::from(tag.0), order);
    }

    /// Copies message `number` into `payload`, as much as it holds and there is.
    ///
    /// `payload` should be as long as the longest message may be; what it holds beyond the message's own length, or
    /// when the answer is no message, means nothing. Not `is_guarded` is for those before whom the publisher stops: the
    /// guard of a descriptor, which may lie on a line of its own, is not looked at then.
    #[inline(always)]
    pub(crate) fn read(&self, number: u64, payload: &mut [u8], length: Length, is_guarded: bool) -> Seen {
        let slot = self.slot(number);
        let (guard, rest) = slot.split_last().expect("a slot has words");
        let (stamp, words) = rest.split_first().expect("a slot has words");
        if length == Length::Room && payload.len() > LINE_BYTES - 8 {
            // The end of the message is on another line: ask for both at once.
            prefetch(guard);
        }
        // (S1) the words are at least those of the stamp that is seen.
        let seen = stamp.load(Ordering::Acquire);
        if seen >> TAG_BITS != number && !(planted(Bug::NoNumber) && seen != 0) {
            return if seen >> TAG_BITS > number { Seen::Overrun } else { Seen::Empty };
        }
        // The low byte is meant.
        let tag = Tag(seen as u8);
        match (tag.inline_len(), length) {
            (Some(_), Length::Room) => load(words, payload),
            (Some(len), Length::Message) => {
                let len = len.min(payload.len());
                load(words, &mut payload[..len]);
            }
            (None, _) => {
                let len = Descriptor::BYTES.min(payload.len());
                load(words, &mut payload[..len]);
                if !is_guarded {
                    return Seen::Message(tag);
                }
            }
        }
        #[cfg(all(feature = "steps", not(model)))]
        if planted(Bug::NoGuard) && payload.len() > 8 {
            crate::raw::give_turn();
            load(&words[1..], &mut payload[8..]);
        }
        // (G1) if any word was of a later message, that one's guard is seen now.
        fence(Ordering::Acquire);
        if guard.load(Ordering::Relaxed) != number && !planted(Bug::NoGuard) {
            return Seen::Overrun;
        }
        Seen::Message(tag)
    }

    /// Publisher only: asks for the line of the end of a slot, which nobody polls, ahead of writing it. The longer the
    /// stores to it take, the likelier it is that a poller takes the line of the stamp away between them.
    #[inline(always)]
    pub(crate) fn prepare(&self, number: u64) {
        if let Some(last) = self.slot(number).last().filter(|_| self.stride > LINE_BYTES / 8) {
            prefetch_to_write(last);
        }
    }

    /// Asks for the lines of a message ahead of its use.
    #[inline(always)]
    pub(crate) fn prefetch(&self, number: u64) {
        let slot = self.slot(number);
        prefetch(&slot[0]);
        if let Some(last) = slot.last().filter(|_| slot.len() > LINE_BYTES / 8) {
            prefetch(last);
        }
    }

    /// How many bytes of payload a slot has room for.
    pub(crate) fn payload_bytes(&self) -> usize {
        (self.stride - 2) * 8
    }

    /// Any word of any slot.
    #[cfg(test)]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        &self.words[index]
    }

    /// Whether message `number` is there or was.
    #[inline(always)]
    pub(crate) fn is_published(&self, number: u64) -> bool {
        // Acquire: for who goes on to read what was published before it.
        self.slot(number)[0].load(Ordering::Acquire) >> TAG_BITS >= number
    }
}

/// Stores bytes as words, the last first; bytes of the last word past the end are zero.
#[inline(always)]
fn store_backwards(words: &[AtomicU64], bytes: &[u8]) {
    let words = &words[..bytes.len().div_ceil(8)];
    let (pairs, rest) = bytes.as_chunks::<16>();
    let (in_pairs, behind) = words.split_at(2 * pairs.len());
    // Relaxed: the caller's fence and release store order them.
    let (whole, end) = rest.as_chunks::<8>();
    if let Some(word) = behind.get(whole.len()) {
        let mut last = [0; 8];
        last[..end.len()].copy_from_slice(end);
        word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
    if let ([word, ..], [chunk]) = (behind, whole) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    let (in_pairs, _) = in_pairs.as_chunks::<2>();
    for (pair, chunk) in in_pairs.iter().zip(pairs).rev() {
        store_pair(pair, chunk);
    }
}

/// Loads as many bytes as there are words.
#[cold]
fn load_less(words: &[AtomicU64], bytes: &mut [u8]) {
    load_bytes(words, bytes);
}

/// Loads as many bytes as both have.
#[inline(always)]
fn load(words: &[AtomicU64], bytes: &mut [u8]) {
    if bytes.len() > words.len() * 8 {
        // Only if a publisher's measures are not what its type needs: its messages are shorter than the room.
        return load_less(words, &mut bytes[..words.len() * 8]);
    }
    let (pairs, rest) = bytes.as_chunks_mut::<16>();
    let (in_pairs, behind) = words.split_at(2 * pairs.len());
    let (in_pairs, _) = in_pairs.as_chunks::<2>();
    // Relaxed: the caller's acquire load and fence order them.
    for (pair, chunk) in in_pairs.iter().zip(pairs) {
        *chunk = load_pair(pair);
    }
    let (whole, end) = rest.as_chunks_mut::<8>();
    for (word, chunk) in behind.iter().zip(whole.iter_mut()) {
        *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if !end.is_empty() {
        let last = behind[whole.len()].load(Ordering::Relaxed).to_ne_bytes();
        end.copy_from_slice(&last[..end.len()]);
    }
}

/// Asks for the line of `word`, to be had by no other processor, ahead of writing it.
#[inline(always)]
pub(crate) fn prefetch_to_write(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(model)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch changes nothing and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(word).cast()) };
    }
    #[cfg(any(not(target_arch = "x86_64"), model))]
    let _ = word;
}

/// Asks for the line of `word` ahead of its use.
#[inline(always)]
pub(crate) fn prefetch(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(model)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing into the program and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
    }
    #[cfg(any(not(target_arch = "x86_64"), model))]
    let _ = word;
}
