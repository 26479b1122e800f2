//! A writer's half: the gate, and then the readers who are still inside.

use super::gate::WRITER;
use super::words::{BEING_WRITTEN, GIVEN_UP, READS, RwWords, WHOLE, waits_in};
use crate::raw::atomic::Ordering;
use crate::raw::robust::{Thread, planted, step};
use crate::sync::line::{Line, OWNER, WAITERS, mark, model_fence};
use crate::wait::Until;
use crate::{Error, ErrorKind, Result};

const WRITE: &str = "lock for writing";

/// A lock held for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writing {
    phase: u32,
    /// The last writer died inside.
    pub(crate) owner_died: bool,
}

impl RwWords {
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

    /// Waits until every slot is empty, or its owner waits for us.
    fn drain(&self, thread: Thread, phase: u32, until: Until) -> Result<()> {
        for slot in self.slots.iter() {
            self.drain_slot(thread, slot, WRITE, until, |state| state == waits_in(phase))?;
        }
        Ok(())
    }

    /// Waits until a slot is empty, or its owner in a state that may `stay`.
    pub(super) fn drain_slot(
        &self,
        thread: Thread,
        slot: &Line,
        operation: &'static str,
        until: Until,
        stay: impl Fn(u32) -> bool,
    ) -> Result<()> {
        loop {
            // SeqCst, with [claim]; Acquire, with [leave]: the reader has read before we write.
            let seen = slot.word().load(Ordering::SeqCst);
            if seen & OWNER == 0 {
                // A dead reader leaves nothing behind but its mark, which the next reader takes off.
                return Ok(());
            }
            let state = slot.robust.note.load(Ordering::SeqCst);
            if stay(state) || planted("all who wait are passed over") && state != READS {
                return Ok(());
            }
            if matches!(until, Until::Now) {
                return Err(Error::new(operation, ErrorKind::WouldBlock));
            }
            if seen & OWNER == u64::from(thread.id()) && thread.holds(&slot.robust) {
                return Err(
                    Error::new(operation, ErrorKind::Deadlock).because("this thread reads, and would wait for itself")
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
                if now & OWNER != 0 && !stay(slot.robust.note.load(Ordering::SeqCst)) {
                    return Err(Error::new(operation, ErrorKind::TimedOut));
                }
            }
        }
    }
}
