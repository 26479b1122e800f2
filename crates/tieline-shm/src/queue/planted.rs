//! Bugs that models plant on purpose, to show that they would be found: negative controls.
//!
//! Outside of models every question is answered `false` at compile time.

/// A bug that a model can plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A consumer goes past a slot in writing without leaving a mark.
    PassWithoutMark,
    /// An item is released without looking whether it is still held.
    ReleaseWithoutCheck,
    /// Recovery does not tell consumers that there is something behind them.
    RecoverWithoutNotice,
    /// The position is published before the bytes.
    PositionBeforeBytes,
    /// The stamp of a message is stored before its words.
    StampBeforeWords,
    /// Nobody is told after a change.
    NoNotify,
}

#[cfg(not(all(test, model)))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(all(test, model))]
mod control {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        // Loom runs all threads of a model on one thread of the system.
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Runs `model`, which must fail, with the bug planted.
    pub(crate) fn must_fail(bug: Bug, model: impl FnOnce() + std::panic::UnwindSafe) {
        PLANTED.set(Some(bug));
        let outcome = std::panic::catch_unwind(model);
        PLANTED.set(None);
        assert!(outcome.is_err(), "the model does not find {bug:?}");
    }
}

#[cfg(all(test, model))]
pub(crate) use control::{must_fail, planted};
