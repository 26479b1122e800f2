//! A reader's half: a slot of its own, a look at the gate, and waiting there.

use super::gate::{READER, sleep_at};
use super::words::{GIVEN_UP, READS, RwWords, waits_in};
use crate::raw::atomic::Ordering;
use crate::raw::robust::{Thread, planted, step};
use crate::sync::line::{DIED, Line, OWNER, WAITERS, favourite, give_back, model_fence};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const READ: &str = "lock for reading";

/// A lock held for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// This slot.
    Slot(usize),
    /// All slots were taken: the writer word of this phase, without driving the readers out.
    Gate(u32),
}

/// What a reader finds at the gate.
enum Gate {
    Open,
    Held,
}

/// Why a reader woke at the gate.
enum Passed {
    Phase,
    Gate,
    Deadline,
}

impl RwWords {
    /// Reads, if the slot that the thread's id points to is empty and no writer is inside, or waits to be, or has died.
    #[inline]
    pub(crate) fn read_at_once(&self, thread: Thread) -> Option<Reading> {
        let at = favourite(thread, self.slots.len());
        let slot = self.slots.get(at)?;
        // Relaxed: a guess that the exchange checks.
        if slot.word().load(Ordering::Relaxed) != 0 || !claim_slot(thread, slot, 0) {
            return None;
        }
        step("rwlock:read-claimed");
        if self.is_open(slot) {
            return Some(Reading::Slot(at));
        }
        self.leave(thread, slot);
        None
    }

    #[inline]
    pub(crate) fn read(&self, thread: Thread, until: Until) -> Result<Reading> {
        match self.read_at_once(thread) {
            Some(held) => Ok(held),
            None => self.read_slowly(thread, until),
        }
    }

    #[inline]
    pub(crate) fn unlock_read(&self, thread: Thread, held: Reading) {
        match held {
            Reading::Slot(slot) => self.leave(thread, &self.slots[slot]),
            Reading::Gate(phase) if thread.holds(&self.gate(phase).robust) => {
                self.open_gate(thread, phase, self.fair);
            }
            Reading::Gate(_) => {}
        }
    }

    /// Whether the owner of a slot may read at once.
    #[inline]
    fn is_open(&self, slot: &Line) -> bool {
        // Relaxed: only the owner of the slot writes it, and a former owner's store was acquired with the word.
        if slot.robust.note.load(Ordering::Relaxed) != READS {
            slot.robust.note.store(READS, Ordering::SeqCst);
        }
        model_fence();
        let gate = self.gate(self.phase().load(Ordering::SeqCst));
        // SeqCst, with [take]; Acquire of what the last writer wrote.
        let seen = gate.word().load(Ordering::SeqCst);
        // Relaxed, the data: it comes with the word. Half written, a dead writer's mark is in the word.
        (seen & (OWNER | DIED) == 0 || planted("gate is not looked at"))
            && self.data().load(Ordering::Relaxed) != GIVEN_UP
    }

    #[cold]
    fn read_slowly(&self, thread: Thread, until: Until) -> Result<Reading> {
        let Some(slot) = self.claim(thread)? else {
            return self.read_at_gate(thread, until);
        };
        step("rwlock:read-claimed");
        match self.enter(thread, &self.slots[slot], until) {
            Ok(()) => Ok(Reading::Slot(slot)),
            Err(error) => {
                self.leave(thread, &self.slots[slot]);
                Err(error)
            }
        }
    }

    /// Takes a free slot, beginning with the one that the thread's id points to.
    fn claim(&self, thread: Thread) -> Result<Option<usize>> {
        let me = u64::from(thread.id());
        let count = self.slots.len();
        let first = favourite(thread, count);
        let mut at = first;
        for _ in 0..count {
            let line = &self.slots[at];
            let here = at;
            at = if at + 1 == count { 0 } else { at + 1 };
            // Relaxed: a guess that the exchange checks.
            let seen = line.word().load(Ordering::Relaxed);
            if seen & OWNER != 0 {
                if seen & OWNER == me && thread.holds(&line.robust) {
                    return Err(Error::new(READ, ErrorKind::Deadlock).because("this thread reads already"));
                }
                continue;
            }
            if claim_slot(thread, line, seen) {
                return Ok(Some(here));
            }
        }
        Ok(None)
    }

    /// Waits, in a slot, until no writer is inside or about to be.
    fn enter(&self, thread: Thread, slot: &Line, until: Until) -> Result<()> {
        if self.is_open(slot) {
            return Ok(());
        }
        self.enter_later(thread, slot, until)
    }

    fn enter_later(&self, thread: Thread, slot: &Line, until: Until) -> Result<()> {
        let mut timed_out = false;
        loop {
            let phase = self.phase().load(Ordering::SeqCst);
            let gate = self.gate(phase);
            if matches!(self.look(gate)?, Gate::Open) {
                return Ok(());
            }
            if timed_out {
                return Err(Error::new(READ, ErrorKind::TimedOut));
            }
            if matches!(until, Until::Now) {
                return Err(Error::new(READ, ErrorKind::WouldBlock));
            }
            self.refuse_own(thread, gate, READ)?;
            slot.robust.note.store(waits_in(phase), Ordering::SeqCst);
            model_fence();
            self.tell_drainer(slot);
            step("rwlock:read-waits");
            thread.begin(&gate.robust);
            let waited = self.wait_for_phase(thread, phase, until);
            // Release, with [drain]; sequentially consistent, because the gate is looked at next.
            slot.robust.note.store(READS, Ordering::SeqCst);
            model_fence();
            self.pass_on(gate);
            thread.end();
            match waited? {
                Passed::Phase => return self.given_up(READ),
                Passed::Gate => {}
                Passed::Deadline => timed_out = true,
            }
        }
    }

    /// Sleeps at the gate of `phase` until the phase is over or the gate is free.
    fn wait_for_phase(&self, thread: Thread, phase: u32, until: Until) -> Result<Passed> {
        let gate = self.gate(phase);
        loop {
            if self.phase().load(Ordering::SeqCst) != phase {
                return Ok(Passed::Phase);
            }
            let seen = gate.word().load(Ordering::SeqCst);
            if seen & OWNER == 0 {
                return Ok(Passed::Gate);
            }
            step("rwlock:read-sleeps");
            if sleep_at(thread, gate, seen, READER, until)? {
                return Ok(Passed::Deadline);
            }
        }
    }

    /// What stands at a gate, seen by somebody who is in a slot.
    #[inline]
    fn look(&self, gate: &Line) -> Result<Gate> {
        // SeqCst, with [take]; Acquire of what the last writer wrote.
        let seen = gate.word().load(Ordering::SeqCst);
        if seen & OWNER != 0 && !planted("gate is not looked at") {
            return Ok(Gate::Held);
        }
        self.dead_inside(seen, READ)?;
        self.given_up(READ)?;
        Ok(Gate::Open)
    }

    /// Empties a slot. A mark stays until the one who sleeps is woken with it.
    #[inline]
    fn leave(&self, thread: Thread, slot: &Line) {
        thread.begin(&slot.robust);
        if !thread.unlink(&slot.robust) {
            // Inherited by fork: the parent reads, not we.
            thread.end();
            return;
        }
        step("rwlock:read-leaving");
        // Release, with [drain]: what was read was read before.
        let before = give_back(slot.word(), thread.id().into());
        step("rwlock:read-left");
        if before & WAITERS != 0 {
            slot.robust.unmark();
        }
        thread.end();
    }

    /// A writer may sleep on a slot whose owner waits for the writer: it must look again.
    fn tell_drainer(&self, slot: &Line) {
        if slot.word().load(Ordering::SeqCst) & WAITERS != 0 && !planted("drainer is not told") {
            slot.robust.unmark();
        }
    }

    /// All slots are taken: reads as the holder of the gate, which keeps writers out and later readers waiting.
    fn read_at_gate(&self, thread: Thread, until: Until) -> Result<Reading> {
        let phase = self.take_gate(thread, READ, until, |seen| self.dead_inside(seen, READ))?;
        if let Err(error) = self.drain_unaware(thread, phase, until) {
            self.open_gate(thread, phase, false);
            return Err(error);
        }
        Ok(Reading::Gate(phase))
    }

    /// Waits until nobody waits for a phase that is over: the next one, which begins when we leave, has the word on which
    /// they sleep, or are about to.
    fn drain_unaware(&self, thread: Thread, phase: u32, until: Until) -> Result<()> {
        if !self.fair || planted("who has not noticed is passed over") {
            return Ok(());
        }
        self.slots.iter().try_for_each(|slot| {
            self.drain_slot(thread, slot, READ, until, |state| state == READS || state == waits_in(phase))
        })
    }
}

/// Takes a slot that nobody owns, and says whether that worked.
#[inline]
fn claim_slot(thread: Thread, slot: &Line, seen: u64) -> bool {
    thread.begin(&slot.robust);
    step("rwlock:read-begun");
    // SeqCst, with [drain]: the slot is taken before the gate is looked at, and a writer that does not see it is seen
    // there. Acquire: what the last owner left in the line.
    let me = u64::from(thread.id()) | seen & WAITERS;
    let taken = slot.word().compare_exchange(seen, me, Ordering::SeqCst, Ordering::Relaxed).is_ok();
    if taken {
        step("rwlock:read-taken");
        thread.link(&slot.robust);
    }
    thread.end();
    taken
}
