//! On which processors the processes of a run are.
//!
//! With three processes on two processors, where the scheduler happens to put them decides more than the program does:
//! the same copy costs several times as much when every buffer wakes somebody on the other processor.

use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Placement {
    /// Wherever the scheduler puts them
    Free,
    /// All on one processor: nothing runs at once, so the time is what everything costs together
    One,
    /// The program on one processor, source and sink on another
    Apart,
}

/// The processors this process may use, and how they are shared out.
pub(crate) struct Processors {
    allowed: CpuSet,
    placement: Placement,
}

impl Processors {
    pub(crate) fn new(placement: Placement) -> Outcome<Self> {
        let allowed = sched_getaffinity(None).map_err(|errno| format!("ask for the processors: {errno}"))?;
        if placement == Placement::Apart && allowed.count() < 2 {
            return Err("--placement apart needs two processors".to_owned());
        }
        Ok(Self { allowed, placement })
    }

    /// From here on this process and those it starts are where the program under test shall be.
    pub(crate) fn for_program(&self) -> Outcome {
        self.set(usize::from(self.placement == Placement::Apart))
    }

    /// Likewise for sources and sinks.
    pub(crate) fn for_ends(&self) -> Outcome {
        self.set(0)
    }

    fn set(&self, index: usize) -> Outcome {
        let mut set = self.allowed;
        if self.placement != Placement::Free {
            set.clear();
            let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| self.allowed.is_set(*cpu));
            set.set(allowed.nth(index).unwrap_or_default());
        }
        sched_setaffinity(None, &set).map_err(|errno| format!("choose a processor: {errno}"))
    }
}

impl Drop for Processors {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.allowed);
    }
}
