//! Bugs that a model plants to see that it would find them. Outside models and our own tests (feature `steps`, where the
//! environment names one: `TIELINE_PLANT=NoGate`) there are none, and no code for them.

/// What is wrong.
#[cfg_attr(not(all(test, model)), allow(dead_code, reason = "models plant them"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// The publisher's fence between guard and words.
    NoFenceInWrite,
    /// The publisher's promise, with the stamp, that the words are there.
    RelaxedStamp,
    /// The reader's look at the number in the stamp: any message will do.
    NoNumber,
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
    /// The publisher's number is read before it is made to look at a new subscriber.
    HeadBeforeLimit,
    /// The publisher does not pass a barrier when a subscriber joins.
    NoBarrierAtJoin,
    /// The publisher goes on to where it had room before a subscriber joined.
    StaleLimit,
    /// A subscriber that joins while a message is written is told of the next one only.
    LateRoster,
    /// A subscriber tells of its progress later than the publisher can go without.
    ToldTooLate,
    /// A subscriber that leaves wakes nobody.
    RetireUnheard,
    /// A publisher that waits for somebody who died is not woken.
    DismissUnheard,
    /// What a subscriber that loses the newest has not taken is overwritten.
    NoRoomAside,
    /// A bucket is reused though a log of a subscriber's own names it.
    NoPin,
}

impl Bug {
    /// As the environment names it.
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Whether this process has the bug.
#[inline]
pub(super) fn planted(bug: Bug) -> bool {
    crate::raw::planted().is_some_and(|name| name == bug.name())
}
