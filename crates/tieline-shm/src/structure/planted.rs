//! Bugs that models plant on purpose, to show that they would be found: negative controls.
//!
//! The environment names one: `TIELINE_PLANT=NoNotify`. Outside of models and of our own tests (feature `steps`) every
//! question is answered `false` at compile time.

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

impl Bug {
    /// As the environment names it.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Whether this process has the bug.
#[inline]
pub(crate) fn planted(bug: Bug) -> bool {
    crate::raw::planted().is_some_and(|name| name == bug.name())
}
