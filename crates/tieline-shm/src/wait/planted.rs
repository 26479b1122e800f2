//! Bugs that models plant on purpose, to show that they would be found: negative controls.

/// A bug that a model can plant, by the name that the environment gives it.
pub(super) struct Mistake(pub(super) &'static str);

impl Mistake {
    /// Whether this process has it; outside of models and of our own tests false at compile time.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        crate::raw::planted() == Some(self.0)
    }
}

/// A notification for one waiter is spent on a doorbell.
pub(super) const BELL_INSTEAD: Mistake = Mistake("BELL_INSTEAD");
/// Neither side uses a fence or barrier.
pub(super) const NO_FENCE: Mistake = Mistake("NO_FENCE");
/// The sleeper does not look again after announcing.
pub(super) const NO_SECOND_LOOK: Mistake = Mistake("NO_SECOND_LOOK");
/// The turn is counted before the announcement is taken off.
pub(super) const TURN_FIRST: Mistake = Mistake("TURN_FIRST");
