//! The protocol of the reader-writer lock: who may enter when, whoever dies.
//!
//! Readers and the writer watch each other as in Dekker's algorithm: a reader puts its id into a slot and then looks
//! at the writer's word; a writer takes the writer's word and then looks at all slots. At least one sees the other,
//! and the reader gives way. (Big-reader locks: Corbet, "Big reader locks", LWN 2010; phases: Brandenburg and
//! Anderson, "Spin-based reader-writer synchronization for multiprocessor real-time systems", 2010.)
//!
//! The fair kind counts phases. A writer that leaves begins the next phase, and that alone lets in every reader who
//! waited in the old one: its slot says in which phase it began to wait, and a writer of a later phase waits for it.
//! Each phase uses the other one of two writer words. So a reader that was let in but has not noticed yet sleeps on
//! a word that nobody can take until it has noticed, and cannot mistake a later writer for the one it waits for.
//!
//! The invariant: while a writer is inside, each slot is empty or its owner waits for the present phase.

use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::raw::robust::{Thread, planted, step};
#[cfg(not(model))]
use crate::raw::robust::{is_held_here, low};
use crate::sync::line::{
    DIED, Line, OWNER, WAITERS, before_long, favourite, give_back, has_passed, is_shared_by_strangers, mark,
    model_fence,
};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const READ: &str = "lock for reading";
const WRITE: &str = "lock for writing";

/// Who sleeps on a writer word.
const READER: u32 = 1;
const WRITER: u32 = 2;

/// The state of a slot whose owner reads, or is about to.
const READS: u32 = 0;

/// Where in the first line the number of the present phase lies.
const PHASE: usize = 0;
/// Where in the first line it lies what the data is like.
const DATA: usize = 1;
const WHOLE: u32 = 0;
const BEING_WRITTEN: u32 = 1;
const GIVEN_UP: u32 = 2;

/// The lock's memory: two lines for writers, and the readers' slots.
#[derive(Clone, Debug)]
pub(crate) struct RwWords {
    gates: View<[Line; 2]>,
    slots: View<[Line]>,
    fair: bool,
}

/// A lock held for reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// This slot.
    Slot(usize),
    /// All slots were taken: the writer word of this phase, without driving the readers out.
    Gate(u32),
}

/// A lock held for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writing {
    phase: u32,
    /// The last writer died inside.
    pub(crate) owner_died: bool,
}

/// What a reader finds at the gate.
enum Gate {
    Open,
    Held,
}

impl RwWords {
    pub(crate) fn new(gates: View<[Line; 2]>, slots: View<[Line]>, fair: bool) -> Self {
        Self { gates, slots, fair }
    }

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

    #[inline]
    pub(crate) fn read(&self, thread: Thread, until: Until) -> Result<Reading> {
        match self.read_at_once(thread) {
            Some(held) => Ok(held),
            None => self.read_slowly(thread, until),
        }
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

    #[inline]
    pub(crate) fn write(&self, thread: Thread, until: Until) -> Result<Writing> {
        let phase = self.take_gate(thread, WRITE, until, |_| Ok(()))?;
        step("rwlock:write-gate");
        if let Err(error) = self.drain(thread, phase, until) {
            // Nothing was written. After a dead writer the data is what it was: the next one must learn of it.
            if self.data().load(Ordering::Relaxed) == BEING_WRITTEN {
                self.leave_for_dead(thread, phase);
            } else {
                self.open_gate(thread, phase, false);
            }
            return Err(error);
        }
        step("rwlock:write-drained");
        // Relaxed: only the holder of the gate writes it, and whoever reads it has acquired the gate's word.
        let owner_died = self.data().load(Ordering::Relaxed) == BEING_WRITTEN;
        self.data().store(BEING_WRITTEN, Ordering::Relaxed);
        step("rwlock:write-inside");
        Ok(Writing { phase, owner_died })
    }

    /// `whole` tells whether the data makes sense; if not, nobody enters any more.
    #[inline]
    pub(crate) fn unlock_write(&self, thread: Thread, held: Writing, whole: bool) {
        if !thread.holds(&self.gate(held.phase).robust) {
            // Inherited by fork: the lock is the parent's.
            return;
        }
        step("rwlock:write-leaving");
        // Relaxed: published by the release of the phase and of the gate's word.
        self.data().store(if whole { WHOLE } else { GIVEN_UP }, Ordering::Relaxed);
        step("rwlock:write-whole");
        self.open_gate(thread, held.phase, self.fair);
    }

    /// Who holds the gate, as of a moment ago.
    #[cfg(not(model))]
    pub(crate) fn writer(&self) -> Option<u32> {
        let word = self.gate(self.phase().load(Ordering::Relaxed)).word().load(Ordering::Relaxed);
        owner(word)
    }

    /// Who was in a slot a moment ago.
    #[cfg(not(model))]
    pub(crate) fn reading(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().filter_map(|slot| owner(slot.word().load(Ordering::Relaxed)))
    }

    /// Whether a thread of this process holds a part of it.
    #[cfg(not(model))]
    pub(crate) fn is_held_here(&self) -> bool {
        self.gates.iter().chain(self.slots.iter()).any(|line| is_held_here(low(line.word().load(Ordering::Relaxed))))
    }

    fn given_up(&self, operation: &'static str) -> Result<()> {
        match self.data().load(Ordering::Relaxed) {
            GIVEN_UP => Err(Error::new(operation, ErrorKind::NotRecoverable)),
            _ => Ok(()),
        }
    }

    // --- readers ---

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

    /// Refuses if the last holder of a gate that nobody holds died writing.
    fn dead_inside(&self, seen: u64, operation: &'static str) -> Result<()> {
        // Relaxed: the word was acquired, and what a dead thread stored last comes before the kernel's mark.
        if seen & DIED != 0 && self.data().load(Ordering::Relaxed) == BEING_WRITTEN {
            return Err(
                Error::new(operation, ErrorKind::OwnerDied).because("a writer died; lock for writing to repair")
            );
        }
        Ok(())
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
        Ok(Reading::Gate(phase))
    }

    // --- writers ---

    /// Takes the gate of the present phase. `admissible` is asked about what stands in a word that nobody owns.
    #[inline]
    fn take_gate(
        &self,
        thread: Thread,
        operation: &'static str,
        until: Until,
        admissible: impl Fn(u64) -> Result<()>,
    ) -> Result<u32> {
        let me = u64::from(thread.id());
        loop {
            let phase = self.phase().load(Ordering::SeqCst);
            let gate = self.gate(phase);
            thread.begin(&gate.robust);
            let taken = self.take(thread, gate, phase, me, operation, until, &admissible);
            if !matches!(taken, Ok(true)) {
                self.pass_on(gate);
            }
            thread.end();
            if !taken? {
                continue;
            }
            // SeqCst, with [open]: only the holder of the present gate begins the next phase.
            if self.phase().load(Ordering::SeqCst) != phase && !planted("phase is not looked at again") {
                self.open_gate(thread, phase, false);
                continue;
            }
            if let Err(error) = self.given_up(operation) {
                self.open_gate(thread, phase, false);
                return Err(error);
            }
            return Ok(phase);
        }
    }

    /// Takes one gate, or finds that its phase is over.
    #[expect(clippy::too_many_arguments, reason = "the two halves of one loop")]
    #[inline]
    fn take(
        &self,
        thread: Thread,
        gate: &Line,
        phase: u32,
        me: u64,
        operation: &'static str,
        until: Until,
        admissible: &impl Fn(u64) -> Result<()>,
    ) -> Result<bool> {
        loop {
            let seen = gate.word().load(Ordering::SeqCst);
            if seen & OWNER == 0 {
                if let Err(error) = admissible(seen) {
                    // What is said of the data may concern a later phase.
                    return if self.phase().load(Ordering::SeqCst) == phase { Err(error) } else { Ok(false) };
                }
                step("rwlock:gate-free");
                // SeqCst, with [look]: the gate is taken before the slots are looked at. Acquire of the last writer.
                let new = me | seen & WAITERS;
                if gate.word().compare_exchange(seen, new, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                    step("rwlock:gate-taken");
                    thread.link(&gate.robust);
                    model_fence();
                    return Ok(true);
                }
                continue;
            }
            if matches!(until, Until::Now) {
                return Err(Error::new(operation, ErrorKind::WouldBlock));
            }
            self.refuse_own(thread, gate, operation)?;
            step("rwlock:gate-sleeps");
            let timed_out = sleep_at(thread, gate, seen, WRITER, until)?;
            if timed_out && gate.word().load(Ordering::SeqCst) & OWNER != 0 {
                return Err(Error::new(operation, ErrorKind::TimedOut));
            }
            if self.phase().load(Ordering::SeqCst) != phase {
                return Ok(false);
            }
        }
    }

    /// Waits until every slot is empty, or its owner waits for us.
    fn drain(&self, thread: Thread, phase: u32, until: Until) -> Result<()> {
        for slot in self.slots.iter() {
            self.drain_slot(thread, slot, phase, until)?;
        }
        Ok(())
    }

    fn drain_slot(&self, thread: Thread, slot: &Line, phase: u32, until: Until) -> Result<()> {
        loop {
            // SeqCst, with [claim]; Acquire, with [leave]: the reader has read before we write.
            let seen = slot.word().load(Ordering::SeqCst);
            if seen & OWNER == 0 {
                // A dead reader leaves nothing behind but its mark, which the next reader takes off.
                return Ok(());
            }
            let waits = slot.robust.note.load(Ordering::SeqCst);
            if waits == waits_in(phase) || planted("all who wait are passed over") && waits != READS {
                return Ok(());
            }
            if matches!(until, Until::Now) {
                return Err(Error::new(WRITE, ErrorKind::WouldBlock));
            }
            if seen & OWNER == u64::from(thread.id()) && thread.holds(&slot.robust) {
                return Err(
                    Error::new(WRITE, ErrorKind::Deadlock).because("this thread reads, and would wait for itself")
                );
            }
            if seen & WAITERS == 0 {
                // Look at the state once more behind the mark, with [tell_drainer].
                let _ = mark(slot.word(), seen);
                model_fence();
                continue;
            }
            step("rwlock:drain-sleeps");
            if slot.sleep(seen, WRITER, until)? {
                let now = slot.word().load(Ordering::SeqCst);
                if now & OWNER != 0 && slot.robust.note.load(Ordering::SeqCst) != waits_in(phase) {
                    return Err(Error::new(WRITE, ErrorKind::TimedOut));
                }
            }
        }
    }

    /// Gives up a gate we hold.
    #[inline]
    fn open_gate(&self, thread: Thread, phase: u32, next_phase: bool) {
        let gate = self.gate(phase);
        thread.begin(&gate.robust);
        step("rwlock:gate-opening");
        if next_phase {
            // Release, with the readers' and writers' loads of the phase: whom it lets in sees what we wrote.
            self.phase().store(phase.wrapping_add(1), Ordering::SeqCst);
            step("rwlock:gate-phase");
        }
        thread.unlink(&gate.robust);
        // Release, with [look] and [take].
        let before = give_back(gate.word(), thread.id().into());
        step("rwlock:gate-open");
        if before & WAITERS != 0 {
            self.wake(gate);
        }
        thread.end();
    }

    /// Gives up a gate we hold as if we had died: the data is as a dead writer left it.
    fn leave_for_dead(&self, thread: Thread, phase: u32) {
        let gate = self.gate(phase);
        thread.begin(&gate.robust);
        thread.unlink(&gate.robust);
        let mut seen = gate.word().load(Ordering::Relaxed);
        while let Err(now) =
            gate.word().compare_exchange_weak(seen, DIED | seen & WAITERS, Ordering::SeqCst, Ordering::Relaxed)
        {
            seen = now;
        }
        if seen & WAITERS != 0 {
            gate.robust.unmark();
        }
        thread.end();
    }

    /// Somebody who slept at a gate, and may have been woken in another's place, goes without taking it.
    fn pass_on(&self, gate: &Line) {
        if planted("wake-up is not passed on") {
            return;
        }
        let seen = gate.word().load(Ordering::SeqCst);
        // An owner has kept the mark and will wake.
        if seen & OWNER == 0 && seen & WAITERS != 0 {
            step("rwlock:pass-on");
            self.wake(gate);
        }
    }

    /// Wakes whose turn it is at a gate that nobody owns: a writer; without one, or if phases let them in, the readers.
    fn wake(&self, gate: &Line) {
        if gate.robust.wake_as(1, WRITER) == 0 {
            gate.robust.unmark();
        } else if self.fair {
            gate.robust.wake_as(u32::MAX, READER);
        }
    }

    /// Refuses a wait for a lock that this thread holds itself.
    fn refuse_own(&self, thread: Thread, gate: &Line, operation: &'static str) -> Result<()> {
        if gate.word().load(Ordering::Relaxed) & OWNER == u64::from(thread.id()) && thread.holds(&gate.robust) {
            return Err(Error::new(operation, ErrorKind::Deadlock).because("this thread holds the lock already"));
        }
        Ok(())
    }

    fn gate(&self, phase: u32) -> &Line {
        &self.gates[(phase & 1) as usize]
    }

    fn phase(&self) -> &AtomicU32 {
        &self.gates[0].more[PHASE]
    }

    fn data(&self) -> &AtomicU32 {
        &self.gates[0].more[DATA]
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

/// Sleeps at a gate that was announced and is `seen`; answers whether the deadline passed. See `line::admit` for what is
/// different among threads of several pid namespaces.
fn sleep_at(thread: Thread, gate: &Line, seen: u64, kind: u32, until: Until) -> Result<bool> {
    let Ok(marked) = mark(gate.word(), seen) else {
        return Ok(has_passed(until));
    };
    if !is_shared_by_strangers(&gate.robust) {
        return gate.sleep(marked, kind, until);
    }
    thread.end();
    let slept = gate.sleep(marked, kind, before_long(until));
    thread.begin(&gate.robust);
    slept?;
    Ok(has_passed(until))
}

/// Why a reader woke at the gate.
enum Passed {
    Phase,
    Gate,
    Deadline,
}

/// The state of a slot whose owner waits for the writer of `phase`.
fn waits_in(phase: u32) -> u32 {
    phase << 1 | 1
}

#[cfg(not(model))]
fn owner(word: u64) -> Option<u32> {
    let owner = low(word & OWNER);
    (owner != 0).then_some(owner)
}
