//! The consumers' half of a queue: finding the next item, going past what is held, and ending a delivery.

use super::word::{State, Word, is_after};
use super::{Bug, MAX_RETRIES, Owner, RECEIVE, Taken, WorkQueue, distance, livelock, planted};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{Ordering, pause};
use crate::raw::step;

/// How long a consumer watches a producer that is writing before it goes past: about a microsecond, longer than a
/// running producer needs for a small item.
const PATIENCE_PAUSES: u32 = if cfg!(model) { 0 } else { 32 };

impl WorkQueue {
    /// Takes the next item. To be ended by [`finish`](Self::finish) or [`requeue`](Self::requeue).
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `Corrupted` if a peer wrote what none writes.
    pub(crate) fn take(&self, owner: Owner) -> Result<Taken> {
        for _ in 0..MAX_RETRIES {
            // Acquire: pairs with `raise_behind`, before which the item became ready.
            let behind = self.control.behind.load(Ordering::Acquire);
            // Relaxed: an old value costs one more look.
            if behind != self.control.served.load(Ordering::Relaxed)
                && let Some(taken) = self.take_behind(owner, behind)?
            {
                return Ok(taken);
            }
            let tail = self.control.tail.value.load(Ordering::Acquire);
            let head = self.first_position(tail);
            let Some(ready) = self.first_ready(head, tail) else {
                return Err(Error::new(RECEIVE, ErrorKind::WouldBlock));
            };
            let passed_all = positions(head, ready).all(|position| self.pass(position));
            if passed_all && let Some(taken) = self.take_at(ready, owner)? {
                return Ok(taken);
            }
        }
        Err(livelock(RECEIVE))
    }

    /// The item was dealt with: its slot is free. The caller [tells](Self::room_changed).
    ///
    /// # Errors
    /// `OwnerDied` if the item was taken away, because the others believe this member dead: it is delivered again.
    pub(crate) fn finish(&self, taken: Taken) -> Result<()> {
        step("work:finishing");
        self.leave(taken.position, taken.word, Word::release, "finish an item")?;
        step("work:finished");
        Ok(())
    }

    /// The item is refused for good: as [`finish`](Self::finish), and counted.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub(crate) fn reject(&self, taken: Taken) -> Result<()> {
        self.finish(taken)?;
        // Relaxed: a counter for people.
        self.control.rejected.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Hands the item back for somebody else, ahead of all others. The caller [tells](Self::item_added).
    ///
    /// # Errors
    /// `OwnerDied` as [`finish`](Self::finish).
    pub(crate) fn requeue(&self, taken: Taken) -> Result<()> {
        self.leave(taken.position, taken.word, Word::redeliver, "hand an item back")?;
        step("work:requeued");
        // Relaxed: a counter for people.
        self.control.requeued.fetch_add(1, Ordering::Relaxed);
        self.raise_behind();
        Ok(())
    }

    /// Where consumers look first. Positions more than a lap behind `tail` have their slots looked at a lap later.
    pub(super) fn first_position(&self, tail: u64) -> u64 {
        // Acquire: pairs with `raise`; the slots before it were seen gone past.
        let head = self.control.head.value.load(Ordering::Acquire);
        let slots = self.geometry.slots();
        if distance(head, tail) > slots.cast_signed() { tail.wrapping_sub(slots) } else { head }
    }

    /// The first item that may be taken, if a producer that is writing before it does not finish right now.
    pub(super) fn first_ready(&self, head: u64, tail: u64) -> Option<u64> {
        for position in positions(head, tail) {
            let lap = self.geometry.lap(position);
            let mut word = self.load(position);
            let mut patience = PATIENCE_PAUSES;
            while word.state() == State::Writing && patience > 0 {
                pause();
                patience -= 1;
                word = self.load(position);
            }
            if word.state() == State::Ready && !is_after(word.lap(), lap) {
                return Some(position);
            }
        }
        None
    }

    /// Leaves the mark that consumers look at `position` no more. `false` if there is an item by now.
    fn pass(&self, position: u64) -> bool {
        if planted(Bug::PassWithoutMark) {
            return true;
        }
        let lap = self.geometry.lap(position);
        let word = self.load(position);
        let is_late = is_after(lap, word.lap());
        let marked = match word.state() {
            State::Ready => return is_after(word.lap(), lap),
            // Nobody may claim it for this lap any more.
            State::Free if !is_after(word.lap(), lap) => Word::free(lap.wrapping_add(1)),
            // Its producer will find the mark and raise `behind`.
            State::Writing if !is_after(word.lap(), lap) => word.at_lap(lap).passed(),
            // Held since an earlier lap: it must not become free for this one.
            State::Taken if is_late => word.at_lap(lap),
            _ => return true,
        };
        marked == word || self.swap(position, word, marked).is_ok()
    }

    /// Takes the item at `position`; `None` if somebody else did.
    fn take_at(&self, position: u64, owner: Owner) -> Result<Option<Taken>> {
        let word = self.load(position);
        if word.state() != State::Ready || is_after(word.lap(), self.geometry.lap(position)) {
            return Ok(None);
        }
        let taken = self.take_word(position, word, owner)?;
        if taken.is_some() {
            self.raise(&self.control.head.value, position.wrapping_add(1));
            step("work:head-raised");
        }
        Ok(taken)
    }

    /// Takes the oldest item whose turn was over before it was ready.
    fn take_behind(&self, owner: Owner, behind: u64) -> Result<Option<Taken>> {
        let mut oldest: Option<(u64, Word)> = None;
        for position in 0..self.geometry.slots() {
            let word = self.load(position);
            let is_older = oldest.is_none_or(|(_, other)| is_after(other.lap(), word.lap()));
            if word.state() == State::Ready && word.is_passed() && is_older {
                oldest = Some((position, word));
            }
        }
        let Some((position, word)) = oldest else {
            // Release, though it orders nothing that is read: the count only ever grows to what somebody has seen.
            self.raise(&self.control.served, behind);
            return Ok(None);
        };
        self.take_word(position, word, owner)
    }

    fn take_word(&self, position: u64, word: Word, owner: Owner) -> Result<Option<Taken>> {
        let taken = word.taken(owner);
        if self.swap(position, word, taken).is_err() {
            return Ok(None);
        }
        step("work:taken");
        // Relaxed: the swap acquired what the producer's released.
        let len = self.len(position).load(Ordering::Relaxed);
        let taken = Taken { position, word: taken, len_bytes: len as usize, attempts: word.attempts() };
        if len > self.geometry.item_len_bytes() as u64 {
            // Whatever it was, it will not come again.
            let _ = self.finish(taken);
            self.room_changed();
            return Err(Error::new(RECEIVE, ErrorKind::Corrupted).because("an item is longer than the queue allows"));
        }
        Ok(Some(taken))
    }
}

fn positions(from: u64, to: u64) -> impl Iterator<Item = u64> {
    (0..distance(from, to).max(0).cast_unsigned()).map(move |ahead| from.wrapping_add(ahead))
}
