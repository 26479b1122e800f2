//! A subscriber's half of a log: taking the next message, or finding out that it is gone.

use std::sync::Arc;
use std::sync::atomic::AtomicU64 as PrivateU64;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::View;
use crate::raw::atomic::{Ordering, fence};
use crate::structure::log::layout::{Geometry, LogHeader};
use crate::structure::log::roster::{Entry, RETIRED, Roster};
use crate::structure::log::slot::{Length, Seen, Slots, Tag};
use crate::structure::log::{Bug, planted};

/// What happens to a subscriber that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The publisher waits.
    Gated,
    /// It loses the oldest messages.
    SkipOldest,
    /// It loses the newest messages: the log is its own, and the publisher gives it none that it has no room for.
    DropNewest,
    /// It always gets the newest message and loses those before.
    SkipToLatest,
    /// It gets `Lagged` and nothing else any more.
    Disconnect,
}

impl Overflow {
    /// Whether the publisher keeps what the subscriber has not taken.
    #[inline(always)]
    fn is_kept(self) -> bool {
        matches!(self, Self::Gated | Self::DropNewest)
    }
}

/// What [`Reader::peek`] found.
pub(crate) type Taken = Option<Tag>;

/// A resynchronised reader may be overrun again at once; after so many times it lets its caller wait instead.
const RESYNCS_MAX: usize = 16;

/// Numbers have 56 bits in a stamp; a higher `head` is garbage.
const NUMBER_MAX: u64 = 1 << 56;

const RECEIVE: &str = "receive";

/// So many messages one after the other, without waiting for any, are a stream.
const STREAM: u32 = if cfg!(model) { 1 } else { 16 };
/// In a stream, so many slots ahead are asked for: about what arrives while one line travels.
const AHEAD: u64 = 12;
/// The part of the depth that a publisher may be told of late. All of it would do: who is told of so many may go on.
const STRETCHES: u64 = if cfg!(model) { 1 } else { 16 };
/// And at most so many messages: by then it costs nothing any more.
const STRETCH_MAX: u64 = 32;

/// The reading end of a log, with its entry in the roster.
pub(crate) struct Reader {
    header: View<LogHeader>,
    slots: Slots,
    geometry: Geometry,
    roster: Roster,
    entry: Entry,
    overflow: Overflow,
    /// Whether the publisher goes on without us, so that payloads in the pool may be gone when we come to them.
    is_guarded: bool,
    /// `next`, for others in this process.
    position: Arc<PrivateU64>,
    /// In a stream the publisher is told once for so many messages.
    stretch: u64,
    /// What the cursor says.
    told: u64,
    /// How many messages were there when looked for, since the last time that none was.
    in_a_row: u32,
    next: u64,
    received: u64,
    lost: u64,
    lagged: bool,
}

impl Reader {
    /// `entry` was prepared by the publisher to start at `start`.
    pub(crate) fn new(
        header: View<LogHeader>,
        slots: Slots,
        geometry: Geometry,
        roster: Roster,
        entry: Entry,
        overflow: Overflow,
        start: u64,
    ) -> Self {
        Self {
            header,
            slots,
            geometry,
            roster,
            entry,
            overflow,
            is_guarded: !overflow.is_kept(),
            position: Arc::new(PrivateU64::new(start)),
            stretch: 1,
            told: start,
            in_a_row: 0,
            next: start,
            received: 0,
            lost: 0,
            lagged: false,
        }
    }

    /// The number of the message that is taken next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Where [`next`](Self::next) stands at any time, for who looks from elsewhere in this process whether there is
    /// something to take. Nothing else is ordered by it.
    pub(crate) fn position(&self) -> Arc<PrivateU64> {
        Arc::clone(&self.position)
    }

    /// How many messages were taken.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// How many messages were lost.
    pub(crate) fn lost(&self) -> u64 {
        if self.overflow == Overflow::DropNewest {
            // Relaxed: a counter, kept by the publisher.
            return self.header.dropped().load(Ordering::Relaxed);
        }
        self.lost
    }

    /// How many messages are there that were not taken, at most; a hostile publisher may claim any number.
    pub(crate) fn lag(&self) -> u64 {
        self.header.head().load(Ordering::Acquire).saturating_sub(self.next)
    }

    /// Whether the publisher waits for us.
    #[cfg(test)]
    pub(crate) fn is_gated(&self) -> bool {
        self.overflow == Overflow::Gated
    }

    /// In a stream, tells the publisher once for several messages: a small part of the `depth` that it may be ahead. Not
    /// one that drops messages for want of room.
    pub(crate) fn with_depth(mut self, depth: u64) -> Self {
        if self.overflow == Overflow::DropNewest {
            return self;
        }
        self.stretch = (depth.min(self.geometry.slots as u64) / STRETCHES).clamp(1, STRETCH_MAX);
        self.stretch += u64::from(planted(Bug::ToldTooLate));
        self
    }

    /// The publisher waits for us no longer: from now on the copy of a descriptor, too, is checked to be whole.
    pub(crate) fn distrust(&mut self) {
        self.is_guarded = true;
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    #[cfg(test)]
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether there is something to take: a message, or an error.
    #[inline(always)]
    pub(crate) fn is_ready(&self) -> bool {
        self.lagged || self.slots.is_published(self.next)
    }

    /// Copies the next message into `payload` without taking it; of one in the pool, the descriptor. After it,
    /// [`advance`](Self::advance).
    ///
    /// # Errors
    /// `Lagged`; `Corrupted` if the publisher's numbers make no sense.
    #[inline(always)]
    pub(crate) fn peek(&mut self, payload: &mut [u8], length: Length) -> Result<Taken> {
        if self.overflow == Overflow::SkipToLatest {
            self.skip_to_latest()?;
        }
        match self.slots.read(self.next, payload, length, self.is_guarded) {
            Seen::Message(tag) => Ok(Some(tag)),
            Seen::Empty => {
                self.in_a_row = 0;
                Ok(None)
            }
            Seen::Overrun => self.catch_up(payload, length),
        }
    }

    /// The message that was peeked is taken. With `tell`, the publisher is told, at once or, in a stream, soon; without,
    /// not before [`tell`](Self::tell).
    #[inline(always)]
    pub(crate) fn advance(&mut self, tell: bool) {
        self.next += 1;
        self.received += 1;
        // Relaxed: see `position`.
        self.position.store(self.next, Ordering::Relaxed);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if self.in_a_row < STREAM {
            if tell {
                self.tell();
            }
            return;
        }
        self.slots.prefetch(self.next + AHEAD);
        if tell && self.next - self.told >= self.stretch {
            self.tell();
        }
    }

    /// To be called before the caller waits, or turns to something else: tells what is not told yet.
    #[inline(always)]
    pub(crate) fn pause(&mut self) {
        self.in_a_row = 0;
        if self.told != self.next {
            self.tell();
        }
    }

    /// Tells the publisher how far we are.
    #[inline(always)]
    pub(crate) fn tell(&mut self) {
        crate::raw::step("log:taken");
        // (C1) pairs with the acquire load of `Member::look`: our copies, and our hazards, come before it.
        self.entry.cursor().store(self.next, Ordering::Release);
        self.told = self.next;
        // Relaxed: counters for people who look.
        self.entry.received().store(self.received, Ordering::Relaxed);
        if self.overflow.is_kept() {
            self.roster.room().notify();
        }
    }

    /// Holds the payload of the peeked message in the pool beyond [`advance`](Self::advance), until the hazard word
    /// of the answered number is [released](release). `None` if the payload is gone: peek again.
    ///
    /// # Errors
    /// `LimitReached` if too many are held already; `Lagged`.
    pub(crate) fn hold(&mut self) -> Result<Option<usize>> {
        let index = self.entry.take_hazard().ok_or_else(|| {
            Error::new(RECEIVE, ErrorKind::LimitReached)
                .because("this subscriber holds as many samples as it may; drop some, or ask for more when subscribing")
        })?;
        let word = self.entry.hazard(index);
        // Relaxed: seen by who sees our cursor move on (C1); else ordered by the fence.
        word.store(self.next, Ordering::Relaxed);
        crate::raw::step("log:held");
        if !self.overflow.is_kept() {
            // We are not waited for: either the publisher sees our hazard, or we see that it gave the payload up. Both
            // store first and load then, so both need a sequentially consistent fence between. (O1)
            if !planted(Bug::NoFenceInHold) {
                fence(Ordering::SeqCst);
            }
            if self.header.oldest().load(Ordering::Relaxed) > self.next && !planted(Bug::NoRecheck) {
                // Relaxed: nothing of the payload was read.
                word.store(0, Ordering::Relaxed);
                self.entry.give_hazard_back(index);
                if self.overflow == Overflow::Disconnect {
                    return Err(self.lag_behind());
                }
                self.lose(1);
                return Ok(None);
            }
        }
        Ok(Some(index))
    }

    /// Nothing more will be taken: the publisher need not wait for us. What is held stays held.
    pub(crate) fn retire(&self) {
        // (C1) as in `tell`.
        self.entry.cursor().store(RETIRED, Ordering::Release);
        if !planted(Bug::RetireUnheard) {
            self.roster.room().notify();
        }
    }

    fn skip_to_latest(&mut self) -> Result<()> {
        if self.slots.is_published(self.next + 1) {
            let head = self.head()?;
            // The newest but for those whose head is not stored yet.
            let newest = head.saturating_sub(1).max(self.next);
            self.lose(newest - self.next);
        }
        Ok(())
    }

    #[cold]
    fn catch_up(&mut self, payload: &mut [u8], length: Length) -> Result<Taken> {
        for _ in 0..RESYNCS_MAX {
            if self.overflow == Overflow::DropNewest {
                return Err(Error::new(RECEIVE, ErrorKind::Corrupted)
                    .because("the publisher wrote over a message that it had to keep"));
            }
            if self.overflow == Overflow::Disconnect {
                return Err(self.lag_behind());
            }
            let slots = self.geometry.slots as u64;
            // Not to the very oldest, which is about to be overwritten.
            let oldest = self.head()?.saturating_sub(slots - slots / 8);
            self.lose(oldest.saturating_sub(self.next).max(1));
            match self.slots.read(self.next, payload, length, true) {
                Seen::Message(tag) => return Ok(Some(tag)),
                Seen::Empty => return Ok(None),
                Seen::Overrun => {}
            }
        }
        Ok(None)
    }

    /// Nothing more is taken of this publisher.
    #[cold]
    fn lag_behind(&mut self) -> Error {
        self.lagged = true;
        Error::new(RECEIVE, ErrorKind::Lagged)
            .because("this subscriber fell behind by more than the publisher keeps; subscribe again")
    }

    fn lose(&mut self, count: u64) {
        self.next += count;
        self.lost += count;
        // Relaxed: see `position`.
        self.position.store(self.next, Ordering::Relaxed);
        // Relaxed: a counter for people who look.
        self.entry.lost().store(self.lost, Ordering::Relaxed);
    }

    fn head(&self) -> Result<u64> {
        // (H1) what is before this number is published.
        let head = self.header.head().load(Ordering::Acquire);
        if head > NUMBER_MAX {
            return Err(Error::new(RECEIVE, ErrorKind::Corrupted).because("the publisher's numbers make no sense"));
        }
        Ok(head)
    }
}

/// Gives back a payload that was [held](Reader::hold): any thread, any order.
pub(crate) fn release(roster: &Roster, entry: &Entry, index: usize) {
    // (R1) pairs with the acquire load of `Writer::survey`: our reads of the payload are done.
    entry.hazard(index).store(0, if planted(Bug::RelaxedRelease) { Ordering::Relaxed } else { Ordering::Release });
    entry.give_hazard_back(index);
    roster.room().notify();
}
