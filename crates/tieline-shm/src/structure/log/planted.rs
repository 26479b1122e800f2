//! Bugs that a model plants to see that it would find them. Outside models there are none, and no code for them.

/// What is wrong.
#[cfg_attr(not(all(test, model)), allow(dead_code, reason = "models plant them"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// The publisher's fence between guard and words.
    NoFenceInWrite,
    /// The reader's look at the guard.
    NoGuard,
    /// The subscriber's fence between hazard and `oldest`.
    NoFenceInHold,
    /// The subscriber's look at `oldest`.
    NoRecheck,
    /// The publisher's fence between `oldest` and hazards.
    NoFenceInGiveUp,
    /// The publisher's heed of the gate.
    NoGate,
    /// The first of a batch is not the last that is written.
    FirstOfBatchFirst,
    /// The subscriber moves its cursor before it names what it holds.
    CursorBeforeHazard,
    /// A hazard is taken away without saying that reading is over.
    RelaxedRelease,
}

#[cfg(not(all(test, model)))]
#[inline(always)]
pub(super) fn planted(_: Bug) -> bool {
    false
}

#[cfg(all(test, model))]
thread_local! {
    /// Loom runs all threads of a model on the thread of its test.
    pub(super) static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

#[cfg(all(test, model))]
pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
