//! The gates: the words that a writer owns, and who is woken when one of them is free.

#[cfg(not(model))]
use std::cell::Cell;
#[cfg(not(model))]
use std::time::{Duration, Instant};

use super::words::RwWords;
use crate::raw::atomic::Ordering;
use crate::raw::robust::{Thread, planted, step};
use crate::sync::line::{
    DIED, Line, OWNER, WAITERS, before_long, give_back, is_shared_by_strangers, mark, model_fence,
};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

/// Who sleeps on a writer word.
pub(super) const READER: u32 = 1;
pub(super) const WRITER: u32 = 2;

/// For so long at most whoever left a fair lock gives precedence to the writer that it woke: more than it takes to wake one
/// on a processor that has time. One that is dead or stopped holds nobody up for longer.
#[cfg(not(model))]
const PRECEDENCE: Duration = Duration::from_millis(1);

#[cfg(not(model))]
thread_local! {
    /// Where the number of phases lies of the fair lock in which this thread woke a writer when it last left it, and the
    /// phase that then began.
    static LEFT: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

impl RwWords {
    /// Takes the gate of the present phase. `admissible` is asked about what stands in a word that nobody owns.
    #[inline]
    pub(super) fn take_gate(
        &self,
        thread: Thread,
        operation: &'static str,
        until: Until,
        admissible: impl Fn(u64) -> Result<()>,
    ) -> Result<u32> {
        let me = u64::from(thread.id());
        #[cfg(not(model))]
        if self.fair && !matches!(until, Until::Now) {
            self.give_precedence(until);
        }
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

    /// Gives up a gate we hold.
    #[inline]
    pub(super) fn open_gate(&self, thread: Thread, phase: u32, next_phase: bool) {
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
        let has_woken = before & WAITERS != 0 && self.wake(gate);
        thread.end();
        #[cfg(not(model))]
        if has_woken && next_phase {
            LEFT.set((std::ptr::from_ref(self.phase()).addr(), phase.wrapping_add(1)));
        }
        #[cfg(model)]
        let _ = has_woken;
    }

    /// Lets the writer that we woke when we left go first. It takes a thousand times longer to come than we do, and one that
    /// comes back at once would have the gate for itself: it sleeps with the gate in its hands, until the readers have gone.
    #[cfg(not(model))]
    #[inline]
    fn give_precedence(&self, until: Until) {
        let (lock, phase) = LEFT.get();
        if lock != std::ptr::from_ref(self.phase()).addr() {
            return;
        }
        LEFT.set((0, 0));
        let begun = Instant::now();
        // Relaxed: guesses; who takes the gate looks again.
        while self.phase().load(Ordering::Relaxed) == phase
            && self.gate(phase).word().load(Ordering::Relaxed) & OWNER == 0
            && begun.elapsed() < PRECEDENCE
            && !until.has_passed()
        {
            std::thread::yield_now();
        }
    }

    /// Gives up a gate we hold as if we had died: the data is as a dead writer left it.
    pub(super) fn leave_for_dead(&self, thread: Thread, phase: u32) {
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
    pub(super) fn pass_on(&self, gate: &Line) {
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
    /// Whether there was a writer.
    fn wake(&self, gate: &Line) -> bool {
        let is_writer_woken = gate.robust.wake_as(1, WRITER) > 0;
        if !is_writer_woken {
            gate.robust.unmark();
        } else if self.fair {
            gate.robust.wake_as(u32::MAX, READER);
        }
        is_writer_woken
    }
}

/// Sleeps at a gate that was announced and is `seen`; answers whether the deadline passed. See `line::admit` for what is
/// different among threads of several pid namespaces.
pub(super) fn sleep_at(thread: Thread, gate: &Line, seen: u64, kind: u32, until: Until) -> Result<bool> {
    let Ok(marked) = mark(gate.word(), seen) else {
        return Ok(until.has_passed());
    };
    if !is_shared_by_strangers(&gate.robust) {
        return gate.sleep(marked, kind, until);
    }
    thread.end();
    let slept = gate.sleep(marked, kind, before_long(until));
    thread.begin(&gate.robust);
    slept?;
    Ok(until.has_passed())
}
