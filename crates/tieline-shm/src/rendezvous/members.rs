//! The table of members at the start of a core segment: who shares it, and who of them is dead.
//!
//! Each member has a line with a word that the kernel changes when the member dies ([`alive`](crate::raw::alive)), so
//! that anybody sees it by a load. The invariant: a line becomes free again only after somebody alive has undone what
//! its dead member held, and while somebody does, nobody else may claim it. That somebody holds the line meanwhile, on
//! its own robust list, so if it dies too, another one starts again.
//!
//! The states of a word, in `docs/formats/shm-rendezvous.md` to the bit: 0 free; a thread's id: alive; a thread's id and
//! [`MARKED`]: left or dead, and that thread undoes what it held; [`DIED`]: dead.
//!
//! Where other users share the segment, any of them may write the words. Then they only tell the news: who has a number
//! is told by the [`Roll`], and the host gives them.

use std::fmt;
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::roll::{self, Roll};
use crate::error::{Error, ErrorKind, Result};
use crate::raw::alive::{DIED, Held, MARKED, Register};
use crate::raw::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::raw::{View, Words, step};
use crate::segment::{Fact, HEADER_BYTES, Segment};

/// The most members a table can have.
pub(crate) const MEMBERS_MAX: u32 = 1024;

/// The table's own line.
#[repr(C, align(64))]
struct Head {
    /// How many lines follow.
    capacity: AtomicU32,
    _reserved: [AtomicU32; 15],
}

// SAFETY: repr(C), sixteen 32-bit atomics, no padding.
#[allow(unsafe_code, reason = "Words is a promise about a layout")]
unsafe impl Words for Head {}

/// What one member says of itself; written by that member alone, except for `alive`.
#[repr(C, align(64))]
struct Line {
    alive: AtomicU32,
    /// How often the line was claimed.
    generation: AtomicU32,
    /// In the member's own process namespace.
    pid: AtomicU32,
    uid: AtomicU32,
    _reserved: [AtomicU64; 6],
}

// SAFETY: repr(C), four 32-bit and six 64-bit atomics, no padding.
#[allow(unsafe_code, reason = "Words is a promise about a layout")]
unsafe impl Words for Line {}

const HEAD_BYTES: usize = 64;
const LINE_BYTES: usize = 64;

/// How often somebody may write over our word while we take it, until we give up.
const TRIES: usize = 32;

/// A view of the table. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Members {
    lines: View<[Line]>,
    segment: Arc<Segment>,
    /// If other users share the segment.
    roll: Option<Arc<Roll>>,
}

/// What a line says of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nobody has this number.
    Free,
    Alive,
    /// Left or died, and what it held is not yet all undone.
    Dead,
}

impl Members {
    /// The bytes of a table for `capacity` members; it lies right after the segment's header.
    pub(crate) const fn bytes(capacity: u32) -> usize {
        HEAD_BYTES + capacity as usize * LINE_BYTES
    }

    /// Makes the table in a fresh segment.
    ///
    /// # Errors
    /// `InvalidInput` if `capacity` is 0 or beyond [`MEMBERS_MAX`]; `Corrupted` if the segment has no room for it.
    pub(crate) fn create(segment: &Arc<Segment>, capacity: u32) -> Result<Self> {
        if capacity == 0 || capacity > MEMBERS_MAX {
            return Err(Error::new("make a table of members", ErrorKind::InvalidInput)
                .because(format!("an object is for 1 to {MEMBERS_MAX} members")));
        }
        let front = segment.with_front(0);
        let lines = front.slice(HEAD_BYTES, capacity as usize)?;
        // Relaxed: nobody else has the segment yet, and handing over its descriptor orders everything.
        front.view::<Head>(0)?.capacity.store(capacity, Ordering::Relaxed);
        Ok(Self { lines, segment: Arc::clone(segment), roll: None })
    }

    /// Where a table for `capacity` members tells lookers who is in it.
    pub(crate) const fn facts(capacity: u32) -> [Fact<'static>; 4] {
        [
            Fact::halves("member alive", HEAD_BYTES + offset_of!(Line, alive), capacity as usize, LINE_BYTES),
            Fact::halves("member generation", HEAD_BYTES + offset_of!(Line, generation), capacity as usize, LINE_BYTES),
            Fact::halves("member pid", HEAD_BYTES + offset_of!(Line, pid), capacity as usize, LINE_BYTES),
            Fact::halves("member uid", HEAD_BYTES + offset_of!(Line, uid), capacity as usize, LINE_BYTES),
        ]
    }

    /// Finds the table of a segment that a peer made, for as many members as the host tells. What the table says of
    /// itself, any sharer may have changed.
    ///
    /// # Errors
    /// `Corrupted` if the segment has no room for such a table.
    pub(crate) fn open(segment: &Arc<Segment>, capacity: u32) -> Result<Self> {
        let lines = segment.with_front(0).slice(HEAD_BYTES, capacity as usize)?;
        Ok(Self { lines, segment: Arc::clone(segment), roll: None })
    }

    /// The same table, of which the roll tells who has a number.
    pub(super) fn with_roll(self, roll: Arc<Roll>) -> Self {
        Self { roll: Some(roll), ..self }
    }

    pub(super) fn roll(&self) -> Option<&Arc<Roll>> {
        self.roll.as_ref()
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(MEMBERS_MAX)
    }

    /// By one load, and where other users may write the word, by what the kernel says of who it calls alive or free. A
    /// number beyond the table is nobody's.
    pub(crate) fn condition(&self, member: u32) -> Condition {
        let Some(line) = self.line(member) else { return Condition::Free };
        // Acquire: meets the kernel's (or the leaver's) change, so what the member wrote before is seen after.
        let word = line.alive.load(Ordering::Acquire);
        // What the kernel cannot say is left to the word.
        let told = |roll: &Arc<Roll>| roll.number() == Some(member) || roll.has_other(member).unwrap_or(word != 0);
        match word {
            word if word & (DIED | MARKED) != 0 => Condition::Dead,
            word if self.roll.as_ref().map_or(word != 0, told) => Condition::Alive,
            0 => Condition::Free,
            _ => Condition::Dead,
        }
    }

    /// Whether the member left or died and what it held may be taken from it. A freed line is not dead: what it held
    /// was undone before.
    #[cfg(test)]
    pub(crate) fn is_dead(&self, member: u32) -> bool {
        self.condition(member) == Condition::Dead
    }

    /// How often the number was claimed, so that who has it now is told from who had it before.
    pub(crate) fn generation(&self, member: u32) -> Option<u32> {
        // Relaxed: who has the number wrote it itself; others ask after they have seen, by an acquire, that it is dead.
        self.line(member).map(|line| line.generation.load(Ordering::Relaxed))
    }

    /// Takes the number that the host has given us; without a roll, a free one. For as long as the answer lives.
    pub(super) fn claim(&self, register: &Arc<Register>) -> Result<Member> {
        if let Some(roll) = &self.roll {
            return self.take_given(register, roll);
        }
        for number in 0..self.capacity() {
            let Some(line) = self.line(number).filter(|line| line.alive.load(Ordering::Relaxed) == 0) else { continue };
            let Some(held) = self.hold(register, number, 0, 0)? else { continue };
            line.introduce();
            return Ok(Member { number, held, _on_roll: None });
        }
        Err(Error::new("join", ErrorKind::LimitReached)
            .because(format!("it was made for {} members and has as many", self.capacity())))
    }

    fn take_given(&self, register: &Arc<Register>, roll: &Arc<Roll>) -> Result<Member> {
        let corrupted = |why| Error::new("join", ErrorKind::Corrupted).because(why);
        let nobody = || corrupted("its host gave us a number that is none, or another's");
        let number = roll.number().ok_or_else(nobody)?;
        let line = self.line(number).ok_or_else(nobody)?;
        let on_roll = roll.take(number)?.ok_or_else(nobody)?;
        for _ in 0..TRIES {
            // Whatever is written there: the number is ours. Relaxed: the exchange decides.
            let there = line.alive.load(Ordering::Relaxed);
            if let Some(held) = self.hold(register, number, there, 0)? {
                line.introduce();
                return Ok(Member { number, held, _on_roll: Some(on_roll) });
            }
        }
        Err(corrupted("another member keeps writing over its table of members"))
    }

    /// Finds a number for a new member that nobody alive has, and a description of the roll on which it is its. What
    /// the last who had it held is undone before, whatever the words say of that; `None` if all are taken.
    pub(super) fn give(
        &self,
        register: &Arc<Register>,
        mut departed: impl FnMut(u32),
    ) -> Result<Option<(u32, OwnedFd)>> {
        let Some(roll) = &self.roll else { return Ok(None) };
        let fresh = roll.open_again()?;
        for (number, line) in (0..).zip(&*self.lines) {
            let undo = || {
                step("members:giving");
                // Acquire: what the dead wrote is seen by `departed`.
                let word = line.alive.load(Ordering::Acquire);
                departed(number);
                // Free, so that nobody begins to undo once more; by a mapping of its own, since readers host, too. If
                // somebody changes it at the same time, it has a right to, or none to the memory.
                if word != 0 { self.hold(register, number, word, MARKED).map(drop) } else { Ok(()) }
            };
            if roll::give(&fresh, number, undo)? {
                step("members:given");
                return Ok(Some((number, fresh)));
            }
        }
        Ok(None)
    }

    /// Calls `departed` for every dead member whose line nobody else works on, and frees the line. Anybody may call it,
    /// at any time; `departed` must bear being called again for a member if somebody died in it.
    ///
    /// Answers how many lines were freed.
    pub(super) fn recover(&self, register: &Arc<Register>, mut departed: impl FnMut(u32)) -> Result<u32> {
        let mut freed = 0;
        for (number, line) in (0..).zip(&*self.lines) {
            // Acquire: what the dead wrote is seen by `departed`.
            let word = line.alive.load(Ordering::Acquire);
            if word & DIED == 0 {
                continue;
            }
            let _undoing = match &self.roll {
                Some(roll) => match roll.undo(number)? {
                    Some(undoing) => Some(undoing),
                    None => continue,
                },
                None => None,
            };
            if let Some(held) = self.hold(register, number, word, MARKED)? {
                step("members:recovering");
                departed(number);
                step("members:recovered");
                drop(held);
                freed += 1;
            }
        }
        Ok(freed)
    }

    fn hold(&self, register: &Arc<Register>, number: u32, expected: u32, mark: u32) -> Result<Option<Held>> {
        let offset = HEADER_BYTES + HEAD_BYTES + number as usize * LINE_BYTES;
        register.hold(self.segment.as_fd(), offset as u64, expected, mark)
    }

    fn line(&self, member: u32) -> Option<&Line> {
        self.lines.get(usize::try_from(member).ok()?)
    }
}

impl Line {
    fn introduce(&self) {
        // Relaxed: see `Members::generation`; the rest is for people.
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.pid.store(std::process::id(), Ordering::Relaxed);
        self.uid.store(rustix::process::geteuid().as_raw(), Ordering::Relaxed);
        step("members:claimed");
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// A number in the table. Dropping it frees the number without undoing anything: for a member that holds nothing.
#[derive(Debug)]
pub(crate) struct Member {
    number: u32,
    held: Held,
    /// Let go of last, when the number is free for others.
    _on_roll: Option<roll::Locked>,
}

impl Member {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Calls `departed` for this member itself, after which it holds nothing, and frees its number.
    pub(super) fn leave(mut self, departed: impl FnOnce(u32)) {
        self.held.mark();
        step("members:leaving");
        departed(self.number);
    }
}
