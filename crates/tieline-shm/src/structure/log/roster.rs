//! What the subscribers of one publisher tell it: how far each has read, and what each still holds.
//!
//! One roster for each user whose processes subscribe: its memory is writable by that user's subscribers and by the
//! publisher, so the worst a lying subscriber can do is to hold up, or mislead about progress, those of its own user.
//! The invariant: an entry is written by its subscriber only, from admission to dismissal; the publisher writes it
//! before the one and after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Private};

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::raw::{View, Words};
#[cfg(not(model))]
use crate::segment::Fact;
use crate::wait::EventCount;

/// Where the entries begin, after the header.
pub(crate) const ENTRIES_OFFSET: usize = 512;
/// More subscribers of one user to one publisher than anyone needs.
pub(crate) const ENTRIES_MAX: usize = 4096;
/// More loans held by one subscriber than anyone needs; each costs the publisher a load whenever it looks for buckets.
pub(crate) const HELD_MAX: usize = 1024;

/// Hazard words that share the line of the cursor.
const NEAR_HAZARDS: usize = 7;
/// Line 0: cursor and near hazards; line 1: counters; line 2: what the publisher writes; far hazards follow.
const FIXED_WORDS: usize = 24;

/// The cursor of a subscriber that will take nothing more, but may hold what it has taken.
pub(crate) const RETIRED: u64 = u64::MAX;

const RECEIVED: usize = 8;
const LOST: usize = 9;
const POLICY: usize = 10;
const PROCESS: usize = 11;
/// On a line that the subscriber does not write: in a log of its own, the number of the next message.
const OWN_HEAD: usize = 16;

/// In the word of the process, beside its number: somebody has the entry.
pub(crate) const ADMITTED: u64 = 1 << 32;

/// The start of a roster segment's body.
#[repr(C, align(128))]
pub(crate) struct RosterHeader {
    /// Subscribers sleep here until something is published. Loaded by the publisher at each message.
    sleepers: EventCount,
    _sleepers_pair: [AtomicU32; 16],
    /// The publisher sleeps here until a subscriber makes room. Loaded by subscribers at each message.
    room: EventCount,
    _room_pair: [AtomicU32; 16],
    /// [`RosterGeometry`], in the order of its fields. Written before the segment is shared.
    geometry: [AtomicU64; 2],
    /// The inode of the log's memory, for people who look: which log these are the subscribers of.
    log: AtomicU64,
    _reserved: [AtomicU64; 13],
}

// SAFETY: repr(C), event counts and atomics, 384 bytes without padding.
unsafe impl Words for RosterHeader {}

#[cfg(not(model))]
impl RosterHeader {
    /// Where a roster tells lookers how it is, if its header begins the segment's body.
    pub(crate) fn facts(geometry: RosterGeometry) -> [Fact<'static>; 10] {
        let of_each = |name, word: usize| {
            Fact::words(name, ENTRIES_OFFSET + word * 8, geometry.entries, geometry.entry_words() * 8)
        };
        [
            Fact::word("log inode", std::mem::offset_of!(Self, log)),
            Fact::word("held most", std::mem::offset_of!(Self, geometry) + 8),
            Fact::word("subscribers asleep", Roster::SLEEPERS_OFFSET),
            Fact::word("publisher asleep", Roster::ROOM_OFFSET),
            of_each("cursor", 0),
            of_each("received", RECEIVED),
            of_each("lost", LOST),
            of_each("policy", POLICY),
            of_each("process", PROCESS),
            of_each("own head", OWN_HEAD),
        ]
    }
}

/// The measures of a roster, all fixed at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RosterGeometry {
    pub(crate) entries: usize,
    /// How many loans each subscriber may hold at once.
    pub(crate) held: usize,
}

impl RosterGeometry {
    pub(crate) fn entry_words(&self) -> usize {
        // Whole pairs of lines, so that no two subscribers write to the same.
        (FIXED_WORDS + self.held.saturating_sub(NEAR_HAZARDS)).next_multiple_of(16)
    }

    /// Where in an entry its hazards lie, in bytes: two rows.
    #[cfg(not(model))]
    pub(crate) fn hazard_bytes(held: usize) -> [std::ops::Range<usize>; 2] {
        let (near, far) = (held.min(NEAR_HAZARDS), held.min(HELD_MAX).saturating_sub(NEAR_HAZARDS));
        [8..8 + near * 8, FIXED_WORDS * 8..(FIXED_WORDS + far) * 8]
    }

    pub(crate) fn words(&self) -> usize {
        self.entries * self.entry_words()
    }

    /// Bytes of the segment's body.
    pub(crate) fn body_bytes(&self) -> usize {
        ENTRIES_OFFSET + self.words() * 8
    }

    /// Tells subscribers, and lookers to which log this belongs; before the segment is shared.
    pub(crate) fn announce(&self, header: &RosterHeader, log_inode: u64) {
        header.log.store(log_inode, Ordering::Relaxed);
        for (word, field) in header.geometry.iter().zip([self.entries, self.held]) {
            // Relaxed: handing over the descriptor of the segment orders it.
            word.store(field as u64, Ordering::Relaxed);
        }
    }

    /// What the publisher claims, if it is possible in a segment of `body_bytes`.
    ///
    /// # Errors
    /// `Corrupted`.
    pub(crate) fn claimed(header: &RosterHeader, body_bytes: usize) -> Result<Self> {
        // Relaxed: written before the segment was handed over. Each is loaded once and checked as loaded.
        let field =
            |index: usize| usize::try_from(header.geometry[index].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let claim = Self { entries: field(0), held: field(1) };
        if (1..=ENTRIES_MAX).contains(&claim.entries) && claim.held <= HELD_MAX && claim.body_bytes() <= body_bytes {
            Ok(claim)
        } else {
            Err(Error::new("accept a roster", ErrorKind::Corrupted).because("its measures are impossible"))
        }
    }
}

/// A roster as either side sees it.
#[derive(Clone)]
pub(crate) struct Roster {
    sleepers: View<EventCount>,
    room: View<EventCount>,
    words: View<[AtomicU64]>,
    geometry: RosterGeometry,
}

impl Roster {
    /// Where [`sleepers`](Self::sleepers) lies, in bytes after the start of the body.
    pub(crate) const SLEEPERS_OFFSET: usize = std::mem::offset_of!(RosterHeader, sleepers);
    /// Where [`room`](Self::room) lies.
    pub(crate) const ROOM_OFFSET: usize = std::mem::offset_of!(RosterHeader, room);

    /// `words` must be as many as the geometry says.
    pub(crate) fn new(
        sleepers: View<EventCount>,
        room: View<EventCount>,
        words: View<[AtomicU64]>,
        geometry: RosterGeometry,
    ) -> Self {
        assert_eq!(words.len(), geometry.words(), "the view was made for another geometry");
        Self { sleepers, room, words, geometry }
    }

    /// Where subscribers sleep.
    #[inline(always)]
    pub(crate) fn sleepers(&self) -> &View<EventCount> {
        &self.sleepers
    }

    /// Where the publisher sleeps.
    #[inline(always)]
    pub(crate) fn room(&self) -> &View<EventCount> {
        &self.room
    }

    /// The entry of that number; `None` if there are not so many.
    pub(crate) fn entry(&self, index: usize) -> Option<Entry> {
        let stride = self.geometry.entry_words();
        (index < self.geometry.entries).then(|| Entry {
            words: self.words.clone(),
            start: index * stride,
            stride,
            held: (0..self.geometry.held).map(|_| AtomicBool::new(false)).collect(),
        })
    }
}

/// One subscriber's lines.
#[derive(Clone)]
pub(crate) struct Entry {
    words: View<[AtomicU64]>,
    start: usize,
    stride: usize,
    /// Which hazard words its subscriber uses: a record of its own, because others may write the words. Not shared
    /// with other processes.
    held: Arc<[AtomicBool]>,
}

impl Entry {
    #[inline(always)]
    fn line(&self) -> &[AtomicU64] {
        &self.words[self.start..self.start + self.stride]
    }

    /// The number of the next message the subscriber will take.
    #[inline(always)]
    pub(crate) fn cursor(&self) -> &AtomicU64 {
        &self.line()[0]
    }

    /// The numbers of the messages whose payload the subscriber holds; 0 where it holds none.
    pub(crate) fn hazards(&self) -> impl Iterator<Item = &AtomicU64> {
        let line = self.line();
        let near = &line[1..=NEAR_HAZARDS];
        near.iter().chain(&line[FIXED_WORDS..]).take(self.held.len())
    }

    /// The hazard word of that number, which must be less than the geometry's `held`.
    #[inline(always)]
    pub(crate) fn hazard(&self, index: usize) -> &AtomicU64 {
        let line = self.line();
        if index < NEAR_HAZARDS { &line[1 + index] } else { &line[FIXED_WORDS + index - NEAR_HAZARDS] }
    }

    /// Subscriber: a hazard word that is not in use, from now on in use.
    #[inline(always)]
    pub(crate) fn take_hazard(&self) -> Option<usize> {
        // Acquire: pairs with the release in `give_hazard_back`, before which the word was cleared.
        let index = self.held.iter().position(|flag| !flag.load(Private::Acquire))?;
        // Relaxed: only the one thread of the reader takes, and others give back what is taken only.
        self.held[index].store(true, Private::Relaxed);
        Some(index)
    }

    /// Subscriber, any thread: the hazard word, cleared before, is not in use any more.
    #[inline(always)]
    pub(crate) fn give_hazard_back(&self, index: usize) {
        // Release: pairs with the acquire above.
        self.held[index].store(false, Private::Release);
    }

    /// Any word of it.
    #[cfg(test)]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        &self.line()[index]
    }

    /// Messages taken, for people who look.
    #[inline(always)]
    pub(crate) fn received(&self) -> &AtomicU64 {
        &self.line()[RECEIVED]
    }

    /// Messages lost, for people who look.
    #[inline(always)]
    pub(crate) fn lost(&self) -> &AtomicU64 {
        &self.line()[LOST]
    }

    /// The number of the next message in the subscriber's own log, if it has one; for people who look.
    pub(crate) fn own_head(&self) -> &AtomicU64 {
        &self.line()[OWN_HEAD]
    }

    /// Publisher, after the subscriber has gone: nobody has the entry.
    pub(crate) fn clear(&self) {
        // Relaxed: for people who look.
        self.line()[PROCESS].store(0, Ordering::Relaxed);
    }

    /// Publisher, before the subscriber knows of the entry.
    pub(crate) fn prepare(&self, cursor: u64, policy: u64, process: u32) {
        // Relaxed: the message that tells the subscriber orders it.
        for word in self.line() {
            word.store(0, Ordering::Relaxed);
        }
        self.line()[POLICY].store(policy, Ordering::Relaxed);
        self.line()[PROCESS].store(ADMITTED | u64::from(process), Ordering::Relaxed);
        self.cursor().store(cursor, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn the_header_lies_as_documented() {
        assert_eq!(size_of::<RosterHeader>(), 384);
        assert_eq!(std::mem::offset_of!(RosterHeader, sleepers), 0);
        assert_eq!(std::mem::offset_of!(RosterHeader, room), 128);
        assert_eq!(std::mem::offset_of!(RosterHeader, geometry), 256);
    }

    #[test]
    fn entries_are_whole_pairs_of_lines() {
        for (held, words) in [(0, 32), (1, 32), (7, 32), (15, 32), (16, 48), (64, 96)] {
            let geometry = RosterGeometry { entries: 3, held };
            assert_eq!(geometry.entry_words(), words, "{held} loans");
            assert!(FIXED_WORDS + held.saturating_sub(NEAR_HAZARDS) <= words);
        }
    }
}
