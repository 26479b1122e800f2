//! The protocol of a condition variable: a table of waiters, each with a word that the kernel watches.
//!
//! A waiter takes a slot while it holds the mutex, and gives it back when it holds the mutex again. In between the
//! slot's `state` names it (and is in its list of owned words), and the slot's `turn` says whether it still waits or was
//! signalled. It sleeps on its own `turn` and on the `state` of all other slots at once.
//!
//! The invariant: a signal that was given to a waiter is either taken back to the mutex by it, or found in the slot of a
//! dead waiter by somebody alive, who passes it on. For when a waiter dies, at whatever point, the kernel marks its slot
//! and wakes one who sleeps on it, and every sleeper does; if that one dies too before it has looked, its own slot wakes
//! the next; and whoever wakes, for whatever reason, looks at all slots. Signals may double that way, never vanish.
//!
//! A notifier that dies between marking a waiter as signalled and waking it has that waiter's `turn` pending in its
//! list, and a signalled `turn` has no owner bits: so the kernel wakes the waiter. A notifier never waits for anybody.
//! (glibc's condition variable, until 2.41 at least, makes notifiers wait for waiters of an older group, and hangs when one
//! of those was killed.)
//!
//! Sleepers watch the first `reach` slots. It grows with the number of waiters, in two steps: first it is told, and all
//! sleepers woken so that they watch the new slots too; only then may the new slots be used.

use tieline_os::futex::AnyWaited;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::Words;
use crate::raw::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::raw::robust::{
    OWNER, OWNER_DIED, RobustWord, Thread, WAITERS, high, low, pair, planted, step, wait_any, wake_all,
};
use crate::wait::Until;

/// How many can wait at a time: with the own turn and the reach, half of what the kernel waits for in one call.
pub(crate) const SLOTS: usize = if cfg!(model) { 3 } else { 62 };

/// How far the reach goes, in steps.
const REACHES: [u32; 3] = if cfg!(model) { [1, 2, 3] } else { [4, 16, 62] };

const _: () = assert!(REACHES[2] as usize == SLOTS);

/// A condition variable as it lies in shared memory; all zeros is one that nobody waits for.
#[repr(C, align(64))]
pub(crate) struct CondvarWords {
    /// Low half: how many slots sleepers watch. High half: how many may be used.
    reach: AtomicU64,
    /// How many have ever waited: the next ticket.
    tickets: AtomicU64,
    pub(super) form: AtomicU32,
    _reserved: [AtomicU32; 11],
    slots: [RobustWord; SLOTS],
    _tail: [AtomicU64; 2],
}

// SAFETY: repr(C), 16 + 4 + 44 + 62 * 40 + 16 = 2,560 bytes of atomics, no padding.
unsafe impl Words for CondvarWords {}

#[cfg(not(model))]
const _: () = assert!(size_of::<CondvarWords>() == 2560);

// The low half of a slot's turn; the high half is the waiter's ticket. None of them looks like an owner of the word,
// of which the kernel has at most 2^22, and the signalled one looks like a word without an owner.
const FREE: u32 = 0;
const WAITING: u32 = 0x2000_0000;
const SIGNALLED: u32 = 0x8000_0000;

#[cfg(not(model))]
impl CondvarWords {
    /// Where one that lies at `at` tells lookers who waits.
    pub(crate) const fn fact(at: usize) -> crate::segment::Fact<'static> {
        let slots = at + std::mem::offset_of!(Self, slots);
        crate::segment::Fact::words("condvar waiter", slots, SLOTS, size_of::<RobustWord>())
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Notified,
    TimedOut,
}

impl CondvarWords {
    #[cfg(model)]
    pub(super) fn new() -> Self {
        Self {
            reach: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            form: AtomicU32::new(0),
            _reserved: std::array::from_fn(|_| AtomicU32::new(0)),
            slots: std::array::from_fn(|_| RobustWord::new()),
            _tail: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Becomes a waiter: from here on a signal reaches the caller, who holds the mutex.
    ///
    /// # Errors
    /// `LimitReached` if all slots are taken, or the thread owns too much.
    pub(crate) fn enter(&self, me: Thread) -> Result<usize> {
        if !me.has_room() {
            return Err(full("this thread holds 1,024 locks"));
        }
        for (place, slot) in self.slots.iter().enumerate() {
            self.extend_over(place);
            self.rescue(place, me);
            // Relaxed: the exchange tells whether it holds.
            let seen = slot.state.load(Ordering::Relaxed);
            if low(seen) != 0 {
                continue;
            }
            me.begin(slot);
            let taken = pair(me.id() | WAITERS, high(seen).wrapping_add(1));
            // Acquire: pairs with the release in `leave`.
            if slot.state.compare_exchange(seen, taken, Ordering::Acquire, Ordering::Relaxed).is_err() {
                me.end();
                continue;
            }
            step("condvar:taken");
            me.link(slot);
            me.end();
            // Relaxed: drawn under the mutex; only the order of those who wait matters.
            let ticket = low(self.tickets.fetch_add(1, Ordering::Relaxed));
            // SeqCst with the notifier's look at `turn`: who notifies after the mutex was given back sees it. Release
            // would do for that; it is SeqCst to stand in one order with the marks of the dead.
            slot.turn.store(pair(WAITING, ticket), Ordering::SeqCst);
            step("condvar:waiting");
            return Ok(place);
        }
        Err(full("as many wait already as a condition variable has room for"))
    }

    /// Sleeps until signalled. The caller has [entered](Self::enter) and given the mutex back, takes the mutex
    /// afterwards, and [leaves](Self::leave), whatever this answers.
    ///
    /// # Errors
    /// `Unsupported`: no `futex_waitv` here; `OutOfMemory`.
    pub(crate) fn sleep(&self, place: usize, me: Thread, until: Until) -> Result<Outcome> {
        let answer = self.sleep_signalled(place, me, until);
        if !matches!(answer, Ok(Outcome::Notified)) {
            let turn = &self.slots[place].turn;
            // Relaxed: only we and notifiers change it, and the exchange tells.
            let seen = turn.load(Ordering::Relaxed);
            // Acquire: if it was signalled after all, what the notifier did before is seen.
            if low(seen) != WAITING
                || turn.compare_exchange(seen, pair(FREE, high(seen)), Ordering::Acquire, Ordering::Acquire).is_err()
            {
                return Ok(Outcome::Notified);
            }
        }
        answer
    }

    fn sleep_signalled(&self, place: usize, me: Thread, until: Until) -> Result<Outcome> {
        if matches!(until, Until::Now) {
            return Ok(Outcome::TimedOut);
        }
        let own = &self.slots[place];
        loop {
            self.rescue_all(me);
            // Acquire: pairs with the notifier's exchange.
            if low(own.turn.load(Ordering::Acquire)) != WAITING {
                return Ok(Outcome::Notified);
            }
            // Acquire: pairs with the release in `extend_over`.
            let reach = low(self.reach.load(Ordering::Acquire));
            let mut watched = [(&own.turn, WAITING); SLOTS + 2];
            watched[1] = (&self.reach, reach);
            let mut count = 2;
            let mut has_dead = false;
            for (other, slot) in self.slots.iter().enumerate().take(reach as usize) {
                if other != place && !planted("watch") {
                    // Acquire: pairs with the kernel's mark.
                    let state = low(slot.state.load(Ordering::Acquire));
                    has_dead |= has_died(state);
                    watched[count] = (&slot.state, state);
                    count += 1;
                }
            }
            if has_dead {
                continue;
            }
            step("condvar:sleeping");
            let waited =
                wait_any(&watched[..count], until.deadline()).map_err(|error| Error::system_refused(WAIT, error))?;
            step("condvar:woken");
            if waited == AnyWaited::TimedOut {
                self.rescue_all(me);
                return Ok(Outcome::TimedOut);
            }
        }
    }

    /// Gives the slot back. The caller holds the mutex again, or has failed to get it.
    pub(crate) fn leave(&self, place: usize, me: Thread) {
        let slot = &self.slots[place];
        step("condvar:leaving");
        me.begin(slot);
        if me.unlink(slot) {
            step("condvar:unlinked");
            // Relaxed: the ticket is ours.
            let ticket = high(slot.turn.load(Ordering::Relaxed));
            // Release: pairs with the acquire of a rescuer. From here on the signal is the lock's holder's.
            slot.turn.store(pair(FREE, ticket), Ordering::Release);
            step("condvar:freed");
            // Relaxed: the slot is ours; its generation tells a slow rescuer that it is another's now.
            let generation = high(slot.state.load(Ordering::Relaxed)).wrapping_add(1);
            // Release: pairs with the acquire in `enter`.
            slot.state.store(pair(0, generation), Ordering::Release);
        }
        me.end();
    }

    /// Signals who has waited longest, and says whether anybody waited.
    pub(crate) fn notify_one(&self, me: Thread) -> bool {
        while let Some((place, seen)) = self.oldest() {
            if self.signal(place, seen, me) {
                return true;
            }
        }
        false
    }

    /// Signals everyone who waits now.
    pub(crate) fn notify_all(&self, me: Thread) {
        for place in 0..self.in_use() {
            // SeqCst: see `enter`.
            let seen = self.slots[place].turn.load(Ordering::SeqCst);
            if low(seen) == WAITING {
                self.signal(place, seen, me);
            }
        }
    }

    /// How many wait now and have not been signalled: for lookers.
    pub(crate) fn waiters(&self) -> usize {
        // Relaxed: old when it is given.
        let is_waiting = |slot: &&RobustWord| low(slot.turn.load(Ordering::Relaxed)) == WAITING;
        self.slots[..self.in_use()].iter().filter(is_waiting).count()
    }

    /// Gives the signal to the waiter of this slot, if it still waits as `seen`; says whether it has it.
    fn signal(&self, place: usize, seen: u64, me: Thread) -> bool {
        let slot = &self.slots[place];
        if !planted("notifier") {
            me.begin_turn(slot);
        }
        let signalled = pair(SIGNALLED, high(seen));
        // SeqCst: release for the waiter's acquire; and before the look at the mark below, while the kernel's mark comes
        // before a rescuer's look at `turn`: one of the two finds the signal in the dead one's slot.
        let is_ours = slot.turn.compare_exchange(seen, signalled, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        if is_ours {
            step("condvar:signalled");
            slot.wake_turn(1);
            step("condvar:notified");
        }
        me.end();
        if is_ours {
            fence(Ordering::SeqCst);
            self.rescue(place, me);
        }
        is_ours
    }

    fn oldest(&self) -> Option<(usize, u64)> {
        // Relaxed: tickets drawn meanwhile lie ahead of this one, and are younger than all.
        let next = low(self.tickets.load(Ordering::Relaxed));
        let waiting = self.slots[..self.in_use()].iter().enumerate().filter_map(|(place, slot)| {
            // SeqCst: see `enter`.
            let turn = slot.turn.load(Ordering::SeqCst);
            // Relaxed: a mark that comes later is looked for after the signal.
            let state = low(slot.state.load(Ordering::Relaxed));
            (low(turn) == WAITING && !has_died(state)).then_some((place, turn))
        });
        waiting.max_by_key(|&(_, turn)| next.wrapping_sub(high(turn)).cast_signed())
    }

    fn rescue_all(&self, me: Thread) {
        for place in 0..self.in_use() {
            self.rescue(place, me);
        }
    }

    /// If the slot's waiter is dead: passes on the signal that it may have had, and frees the slot. Anyone may, at any
    /// time, and may die at it: the mark stays until the signal is with somebody else.
    fn rescue(&self, place: usize, me: Thread) {
        let slot = &self.slots[place];
        // SeqCst: before the look at `turn`; see `signal`.
        let state = slot.state.load(Ordering::SeqCst);
        if !has_died(low(state)) {
            return;
        }
        loop {
            // SeqCst: see `signal`.
            let turn = slot.turn.load(Ordering::SeqCst);
            if low(turn) == SIGNALLED {
                step("condvar:rescuing");
                // Relaxed: if the slot is another's by now, somebody has rescued already.
                if slot.state.load(Ordering::Relaxed) != state {
                    return;
                }
                if !planted("rescue") {
                    self.notify_one(me);
                }
            }
            let free = pair(FREE, high(turn));
            // Relaxed: the dead one tells nothing more; the ticket makes sure that it is the same waiter's turn.
            if slot.turn.compare_exchange(turn, free, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        step("condvar:rescued");
        let freed = pair(0, high(state).wrapping_add(1));
        // Release: pairs with the acquire in `enter`. If it fails, somebody else was faster.
        let _ = slot.state.compare_exchange(state, freed, Ordering::Release, Ordering::Relaxed);
    }

    /// How many slots may be in use; whatever a stranger wrote there, no more than there are.
    fn in_use(&self) -> usize {
        // Acquire: pairs with the release in `extend_over`.
        (high(self.reach.load(Ordering::Acquire)) as usize).min(SLOTS)
    }

    /// Makes sure that every sleeper watches the slot before it is used.
    fn extend_over(&self, place: usize) {
        // Acquire: pairs with the release below.
        let mut seen = self.reach.load(Ordering::Acquire);
        while high(seen) as usize <= place {
            let reach = REACHES.into_iter().find(|&reach| reach as usize > place).unwrap_or(REACHES[2]);
            let told = pair(reach, high(seen));
            // SeqCst as all that has to do with the dead: sleepers see the reach or are woken.
            if let Err(other) = self.reach.compare_exchange(seen, told, Ordering::SeqCst, Ordering::Acquire) {
                seen = other;
                continue;
            }
            step("condvar:reach-told");
            wake_all(&self.reach);
            step("condvar:reach-woken");
            let _ = self.reach.compare_exchange(told, pair(reach, reach), Ordering::SeqCst, Ordering::Relaxed);
            seen = self.reach.load(Ordering::Acquire);
        }
    }
}

/// Whether the kernel has marked the slot of a dead waiter. With an owner beside the mark, which nobody writes, it has not.
fn has_died(state: u32) -> bool {
    state & (OWNER_DIED | OWNER) == OWNER_DIED
}

fn full(why: &'static str) -> Error {
    Error::new(WAIT, ErrorKind::LimitReached).because(why)
}

pub(super) const WAIT: &str = "wait on a condition variable";

#[cfg(all(test, not(model)))]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_layout_is_what_the_page_says() {
        assert_eq!(offset_of!(CondvarWords, tickets), 8);
        assert_eq!(offset_of!(CondvarWords, form), 16);
        assert_eq!(offset_of!(CondvarWords, slots), 64);
        assert_eq!(offset_of!(CondvarWords, _tail), 2544);
    }

    fn words() -> Box<CondvarWords> {
        Box::new(CondvarWords {
            reach: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            form: AtomicU32::new(0),
            _reserved: std::array::from_fn(|_| AtomicU32::new(0)),
            slots: std::array::from_fn(|_| RobustWord::new()),
            _tail: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// Who notifies outside of the mutex may have looked at the tickets before the last ones were drawn.
    #[test]
    fn who_comes_while_another_notifies_is_not_taken_for_the_oldest() {
        let words = words();
        words.reach.store(pair(4, 4), Ordering::Relaxed);
        words.tickets.store(5, Ordering::Relaxed);
        for (slot, ticket) in words.slots.iter().zip([6, 3, 5, 4]) {
            slot.turn.store(pair(WAITING, ticket), Ordering::Relaxed);
        }
        let oldest = || {
            let (place, seen) = words.oldest()?;
            words.slots[place].turn.store(pair(SIGNALLED, high(seen)), Ordering::Relaxed);
            Some(high(seen))
        };
        assert_eq!([oldest(), oldest(), oldest(), oldest(), oldest()], [Some(3), Some(4), Some(5), Some(6), None]);
    }

    #[test]
    fn nonsense_from_a_peer_ends_no_call_badly() {
        let words = words();
        words.reach.store(u64::MAX, Ordering::Relaxed);
        words.tickets.store(u64::MAX, Ordering::Relaxed);
        let me = Thread::current().unwrap();
        for nonsense in [u64::MAX, u64::from(OWNER_DIED), u64::from(WAITING), u64::from(SIGNALLED)] {
            for slot in &words.slots {
                slot.state.store(nonsense, Ordering::Relaxed);
                slot.turn.store(nonsense, Ordering::Relaxed);
            }
            words.notify_one(me);
            words.notify_all(me);
            let _ = words.waiters();
            // With room for one.
            words.slots[1].state.store(0, Ordering::Relaxed);
            if let Ok(place) = words.enter(me) {
                let soon = tieline_os::futex::Deadline::after(std::time::Duration::from_millis(1));
                let _ = words.sleep(place, me, Until::At(soon));
                words.leave(place, me);
            }
        }
    }
}
