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
//! a word that nobody can take until it has noticed, and cannot mistake a later writer for the one it waits for: whoever
//! holds the word of the phase in between, to write or because all slots are taken, waits for it before leaving.
//!
//! The invariant: while a writer is inside, each slot is empty or its owner waits for the present phase.

use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::raw::robust::Thread;
#[cfg(not(model))]
use crate::raw::robust::{is_held_here, low};
use crate::sync::line::{DIED, Line, OWNER};
use crate::{Error, ErrorKind, Result};

/// The state of a slot whose owner reads, or is about to.
pub(super) const READS: u32 = 0;

/// Where in the first line the number of the present phase lies.
const PHASE: usize = 0;
/// Where in the first line it lies what the data is like.
const DATA: usize = 1;
pub(super) const WHOLE: u32 = 0;
pub(super) const BEING_WRITTEN: u32 = 1;
pub(super) const GIVEN_UP: u32 = 2;

/// The lock's memory: two lines for writers, and the readers' slots.
#[derive(Clone, Debug)]
pub(crate) struct RwWords {
    gates: View<[Line; 2]>,
    pub(super) slots: View<[Line]>,
    pub(super) fair: bool,
}

impl RwWords {
    pub(crate) fn new(gates: View<[Line; 2]>, slots: View<[Line]>, fair: bool) -> Self {
        Self { gates, slots, fair }
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

    pub(super) fn given_up(&self, operation: &'static str) -> Result<()> {
        match self.data().load(Ordering::Relaxed) {
            GIVEN_UP => Err(Error::new(operation, ErrorKind::NotRecoverable)),
            _ => Ok(()),
        }
    }

    /// Refuses if the last holder of a gate that nobody holds died writing.
    pub(super) fn dead_inside(&self, seen: u64, operation: &'static str) -> Result<()> {
        // Relaxed: the word was acquired, and what a dead thread stored last comes before the kernel's mark.
        if seen & DIED != 0 && self.data().load(Ordering::Relaxed) == BEING_WRITTEN {
            return Err(
                Error::new(operation, ErrorKind::OwnerDied).because("a writer died; lock for writing to repair")
            );
        }
        Ok(())
    }

    /// Refuses a wait for a lock that this thread holds itself.
    pub(super) fn refuse_own(&self, thread: Thread, gate: &Line, operation: &'static str) -> Result<()> {
        if gate.word().load(Ordering::Relaxed) & OWNER == u64::from(thread.id()) && thread.holds(&gate.robust) {
            return Err(Error::new(operation, ErrorKind::Deadlock).because("this thread holds the lock already"));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn gate(&self, phase: u32) -> &Line {
        &self.gates[(phase & 1) as usize]
    }

    #[inline]
    pub(super) fn phase(&self) -> &AtomicU32 {
        &self.gates[0].more[PHASE]
    }

    #[inline]
    pub(super) fn data(&self) -> &AtomicU32 {
        &self.gates[0].more[DATA]
    }
}

/// The state of a slot whose owner waits for the writer of `phase`.
pub(super) fn waits_in(phase: u32) -> u32 {
    phase << 1 | 1
}

#[cfg(not(model))]
fn owner(word: u64) -> Option<u32> {
    let owner = low(word & OWNER);
    (owner != 0).then_some(owner)
}
