//! Bugs that models plant on purpose, to show that they would be found: negative controls.
//!
//! Outside of models and of our own tests (feature `steps`) every question is answered `false` at compile time. In the
//! tests the environment names one: `TIELINE_PLANT=NoNotify`.

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
    /// A reader of the latest value does not look whether it was written over meanwhile.
    ReadWithoutCheck,
    /// Nobody is told after a change.
    NoNotify,
}

#[cfg(not(any(all(test, model), feature = "steps")))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(all(feature = "steps", not(all(test, model))))]
pub(crate) fn planted(bug: Bug) -> bool {
    crate::raw::planted().is_some_and(|name| name == format!("{bug:?}"))
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

    /// Checks that `model`, which is the test called `test`, fails with the bug planted.
    ///
    /// It fails in a process of its own, because loom cannot clean up after a deadlock and aborts.
    pub(crate) fn must_fail(test: String, bug: Bug, model: impl FnOnce()) {
        const CHILD: &str = "TIELINE_PLANTED";
        if std::env::var_os(CHILD).is_some() {
            PLANTED.set(Some(bug));
            return model();
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let output = child.args([&test, "--exact"]).env(CHILD, "1").output().unwrap();
        assert!(!output.status.success(), "the model does not find {bug:?}");
    }
}

#[cfg(all(test, model))]
pub(crate) use control::{must_fail, planted};
