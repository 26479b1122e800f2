//! A log of its own for one subscriber that would rather lose the newest messages than the oldest.
//!
//! Such a subscriber keeps what it has not read although the publisher goes on, so it cannot read the publisher's log,
//! which is overwritten. The publisher copies each message into this second log as well, if the subscriber has room
//! there, and counts it if not. That costs a copy for each such subscriber and message; nobody else pays for it but
//! with the question whether there are any.
//!
//! The invariant: a slot here is written only after the subscriber has taken what was in it, so the reader needs no
//! resynchronisation; and a bucket of the pool that a message here names is reported by [`SideLogs::pinned`] until the
//! subscriber has passed the message and holds it no longer. The copies of all the others' log, the pins, and the
//! count of what was dropped are the publisher's: it believes the subscriber its cursor and hazards, and no more.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::raw::View;
use crate::raw::atomic::Ordering;
use crate::structure::log::layout::{Geometry, INLINE_MAX_BYTES, LogHeader};
use crate::structure::log::roster::Entry;
use crate::structure::log::slot::{FIRST, Length, Slots, Tag};
use crate::structure::log::{Bug, planted};

/// The publisher's end of one such log.
pub(crate) struct SideLog {
    /// The publisher's number for the subscriber.
    id: u64,
    header: View<LogHeader>,
    slots: Slots,
    entry: Entry,
    /// How many messages may be in it.
    depth: u64,
    /// The number, in this log, of the next message that is given.
    next: u64,
    /// The number, in the publisher's log, of the next message to be given or dropped.
    source: u64,
    /// The subscriber's cursor as last seen: it never goes back.
    seen: u64,
    dropped: u64,
    /// Messages with a bucket that were not known to be done with: their numbers here and in the publisher's log.
    pins: VecDeque<(u64, u64)>,
    /// How many there may be.
    pins_max: usize,
}

impl SideLog {
    /// Over an empty log. `entry` is the subscriber's, which is [prepared](Entry::prepare) at admission; at most
    /// `pins_max` buckets are kept for it.
    pub(crate) fn new(
        id: u64,
        header: View<LogHeader>,
        slots: Slots,
        geometry: &Geometry,
        depth: u64,
        entry: Entry,
        pins_max: usize,
    ) -> Self {
        // Relaxed: before the segment is shared.
        header.head().store(FIRST, Ordering::Relaxed);
        let depth = depth.clamp(1, geometry.slots as u64);
        let (next, source, seen, dropped, pins) = (FIRST, FIRST, FIRST, 0, VecDeque::new());
        Self { id, header, slots, entry, depth, next, source, seen, dropped, pins, pins_max }
    }

    /// The number of the first message that the subscriber will take.
    pub(super) const START: u64 = FIRST;

    /// The publisher's number for the subscriber.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Begins with message `source` of the publisher's log, in an entry that was just prepared.
    pub(super) fn begin(&mut self, source: u64) {
        self.source = source;
        // Relaxed: for people who look.
        self.entry.own_head().store(self.next, Ordering::Relaxed);
    }

    /// Gives the subscriber the messages of the publisher's log `from` before number `until`, as far as there is room,
    /// all at once: it sees none before all of them are there. Pooled ones are given only while `allowance` lasts.
    pub(super) fn catch_up(&mut self, from: &Slots, until: u64, allowance: usize) {
        let first = self.next;
        let mut held_back = None;
        let mut payload = [0; INLINE_MAX_BYTES];
        while self.source < until {
            let number = self.source;
            self.source += 1;
            // None is overwritten yet, the history included: see `Gates::close`. If it were, it would be counted.
            let seen = from.read(number, &mut payload, Length::Message, true);
            let Some(tag) = seen.tag().filter(|tag| self.takes(*tag, number, allowance)) else {
                self.dropped += 1;
                // Relaxed, both: counters, about nothing else in memory. The entry's is for people who look, and may
                // for a moment be another subscriber's, if this one has just died.
                self.header.dropped().store(self.dropped, Ordering::Relaxed);
                self.entry.lost().store(self.dropped, Ordering::Relaxed);
                continue;
            };
            let bytes = tag.inline_len().unwrap_or(from.payload_bytes()).min(from.payload_bytes());
            if self.next == first {
                held_back = Some((tag, payload, bytes));
            } else {
                self.slots.write(self.next, tag, &payload[..bytes]);
            }
            self.next += 1;
            crate::raw::step("side:copied");
        }
        if let Some((tag, payload, bytes)) = held_back {
            // The first stamp last: its release store publishes all of them.
            self.slots.write(first, tag, &payload[..bytes]);
            // (H1) as in the publisher's log; for people who look.
            self.header.head().store(self.next, Ordering::Release);
            // Relaxed: for people who look.
            self.entry.own_head().store(self.next, Ordering::Relaxed);
        }
    }

    /// Whether the subscriber has room for one more; pins the bucket of a pooled one.
    fn takes(&mut self, tag: Tag, number: u64, allowance: usize) -> bool {
        if self.next >= self.seen + self.depth && !planted(Bug::NoRoomAside) {
            self.look();
            if self.next >= self.seen + self.depth {
                return false;
            }
        }
        if tag == Tag::POOLED && !planted(Bug::NoPin) {
            if self.pins.len() >= self.pins_max.min(allowance) {
                self.unpin();
            }
            if self.pins.len() >= self.pins_max.min(allowance) {
                return false;
            }
            self.pins.push_back((self.next, number));
        }
        true
    }

    /// The subscriber's cursor, made to lie between what it was and what it was given.
    fn look(&mut self) {
        // (C1) pairs with the release store of `Reader::tell`: its copies, and its hazards, come before it.
        let cursor = self.entry.cursor().load(Ordering::Acquire);
        if (self.seen..=self.next).contains(&cursor) {
            self.seen = cursor;
        }
    }

    /// Lets go of the buckets of messages that were passed and are not held.
    fn unpin(&mut self) {
        // The cursor first: (C1) whoever is seen to have passed a message is seen to hold it, if it does.
        self.look();
        // (R1) where a hazard is gone, the subscriber's reads of the payload are done.
        let held: Vec<u64> = self.entry.hazards().map(|word| word.load(Ordering::Acquire)).collect();
        let seen = self.seen;
        self.pins.retain(|(number, _)| *number >= seen || held.contains(number));
    }
}

/// All such logs of one publisher, in the hands of its thread.
#[derive(Default)]
pub(crate) struct SideLogs {
    logs: RefCell<Vec<SideLog>>,
    is_any: Cell<bool>,
}

impl SideLogs {
    #[inline(always)]
    pub(super) fn is_any(&self) -> bool {
        self.is_any.get()
    }

    /// Takes over those who were admitted, and lets those go of whom `is_member` knows nothing.
    pub(super) fn update(&self, arrived: &mut Vec<SideLog>, is_member: impl Fn(u64) -> bool) {
        let mut logs = self.logs.borrow_mut();
        logs.append(arrived);
        logs.retain(|log| is_member(log.id));
        self.is_any.set(!logs.is_empty());
    }

    /// Gives all of them what they do not have of the messages before `until`.
    #[cold]
    pub(super) fn catch_up(&self, from: &Slots, until: u64) {
        let mut logs = self.logs.borrow_mut();
        for index in 0..logs.len() {
            // What one may pin is what the others leave of the least that all are allowed together.
            let others: usize = logs.iter().map(|log| log.pins.len()).sum::<usize>() - logs[index].pins.len();
            let log = &mut logs[index];
            log.catch_up(from, until, log.pins_max.saturating_sub(others));
        }
    }

    /// The messages, by their numbers in the publisher's log, whose buckets must be kept for one of them.
    pub(super) fn pinned(&self, pinned: &mut Vec<u64>) {
        for log in self.logs.borrow_mut().iter_mut() {
            log.unpin();
            pinned.extend(log.pins.iter().map(|(_, number)| *number));
        }
    }
}
