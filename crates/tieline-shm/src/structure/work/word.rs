//! The state word of a slot: who may do what with it, in one 64-bit word that is only ever changed by compare and swap.
//!
//! ```text
//!  63            32 31                8 7        3   2    1   0
//! +----------------+-------------------+----------+------+-----+
//! |      lap       |       owner       | attempts |passed|state|
//! +----------------+-------------------+----------+------+-----+
//! ```

/// Who holds a slot: a member of the queue's table, and which one of those that had its number.
///
/// The invariant: a member that was declared dead never acts again under the same `Owner`; whoever joins later with
/// the same number has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner(u32);

impl Owner {
    /// The highest member number.
    pub(crate) const MAX_MEMBER: u32 = (1 << Self::MEMBER_BITS) - 2;

    const MEMBER_BITS: u32 = 10;
    const GENERATION_BITS: u32 = OWNER_BITS - Self::MEMBER_BITS;

    /// `None` for a number beyond [`MAX_MEMBER`](Self::MAX_MEMBER). Of the generation only the low 14 bits are kept.
    pub(crate) fn new(member: u32, generation: u32) -> Option<Self> {
        let generation = generation & ((1 << Self::GENERATION_BITS) - 1);
        // Plus one, so that no owner is zero.
        (member <= Self::MAX_MEMBER).then_some(Self(generation << Self::MEMBER_BITS | (member + 1)))
    }
}

/// What may be done with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A producer may claim it for a position of its lap or a later one.
    Free = 0,
    /// Its owner, a producer, writes.
    Writing = 1,
    /// A consumer may take it.
    Ready = 2,
    /// Its owner, a consumer, holds it.
    Taken = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

const STATE_MASK: u64 = 0b11;
const PASSED: u64 = 0b100;
const ATTEMPTS_SHIFT: u32 = 3;
/// Deliveries beyond this many are not counted.
pub(super) const ATTEMPTS_MAX: u8 = 31;
const OWNER_SHIFT: u32 = 8;
const OWNER_BITS: u32 = 24;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;
const LAP_SHIFT: u32 = 32;

impl Word {
    pub(super) fn free(lap: u32) -> Self {
        Self(u64::from(lap) << LAP_SHIFT | State::Free as u64)
    }

    /// `claim` distinguishes this writing from others of the same owner.
    pub(super) fn writing(lap: u32, owner: Owner, claim: u8) -> Self {
        Self::free(lap).with(State::Writing).with_owner(owner.0).with_attempts(claim & ATTEMPTS_MAX)
    }

    /// What a writing becomes when its item is complete: it keeps lap and mark.
    pub(super) fn ready(self) -> Self {
        self.with(State::Ready).with_owner(0).with_attempts(0)
    }

    pub(super) fn taken(self, owner: Owner) -> Self {
        Self(self.with(State::Taken).with_owner(owner.0).0 & !PASSED)
    }

    /// What a held item becomes that is to be delivered again: marked as passed, because its turn is over.
    pub(super) fn redeliver(self) -> Self {
        let attempts = self.attempts().saturating_add(1).min(ATTEMPTS_MAX);
        self.with(State::Ready).with_owner(0).with_attempts(attempts).passed()
    }

    /// What a held slot becomes when nobody needs it: free for the next lap.
    pub(super) fn release(self) -> Self {
        Self::free(self.lap().wrapping_add(1))
    }

    pub(super) fn passed(self) -> Self {
        Self(self.0 | PASSED)
    }

    pub(super) fn at_lap(self, lap: u32) -> Self {
        Self(self.0 & !(u64::from(u32::MAX) << LAP_SHIFT) | u64::from(lap) << LAP_SHIFT)
    }

    pub(super) fn state(self) -> State {
        match self.0 & STATE_MASK {
            0 => State::Free,
            1 => State::Writing,
            2 => State::Ready,
            _ => State::Taken,
        }
    }

    pub(super) fn is_passed(self) -> bool {
        self.0 & PASSED != 0
    }

    /// How often the item was delivered before.
    pub(super) fn attempts(self) -> u8 {
        ((self.0 >> ATTEMPTS_SHIFT) as u8) & ATTEMPTS_MAX
    }

    pub(super) fn is_held_by(self, owner: Owner) -> bool {
        matches!(self.state(), State::Writing | State::Taken) && self.owner() == owner.0
    }

    /// Whether both are one and the same holding: others change only lap and mark of what is held.
    pub(super) fn is_same_holding(self, other: Self) -> bool {
        let rest = |word: Self| word.at_lap(0).0 & !PASSED;
        rest(self) == rest(other)
    }

    pub(super) fn lap(self) -> u32 {
        (self.0 >> LAP_SHIFT) as u32
    }

    fn owner(self) -> u32 {
        ((self.0 >> OWNER_SHIFT) & OWNER_MASK) as u32
    }

    fn with(self, state: State) -> Self {
        Self(self.0 & !STATE_MASK | state as u64)
    }

    fn with_owner(self, owner: u32) -> Self {
        Self(self.0 & !(OWNER_MASK << OWNER_SHIFT) | u64::from(owner) << OWNER_SHIFT)
    }

    fn with_attempts(self, attempts: u8) -> Self {
        Self(self.0 & !(u64::from(ATTEMPTS_MAX) << ATTEMPTS_SHIFT) | u64::from(attempts) << ATTEMPTS_SHIFT)
    }
}

/// What a word says to somebody who looks from outside.
#[cfg(not(model))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Free,
    /// Waits to be taken, after so many deliveries that failed.
    Ready(u8),
    /// That member writes it.
    Writing(u32),
    /// That member has it, after so many deliveries that failed.
    Taken(u32, u8),
}

#[cfg(not(model))]
impl Seen {
    pub(crate) fn of(word: u64) -> Self {
        let word = Word(word);
        let member = (word.owner() & ((1 << Owner::MEMBER_BITS) - 1)).wrapping_sub(1);
        match word.state() {
            State::Free => Self::Free,
            State::Writing => Self::Writing(member),
            State::Ready => Self::Ready(word.attempts()),
            State::Taken => Self::Taken(member, word.attempts()),
        }
    }
}

/// Whether lap `a` comes after lap `b`; laps wrap around.
pub(super) fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
