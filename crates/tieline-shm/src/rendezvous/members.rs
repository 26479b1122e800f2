//! The table of members at the start of a core segment: who shares it, and who of them is dead.
//!
//! Each member has a line with a word that the kernel changes when the member dies ([`alive`](crate::raw::alive)), so
//! that anybody sees it by a load. The invariant: a line becomes free again only after somebody alive has undone what
//! its dead member held, and while somebody does, nobody else may claim it. That somebody holds the line meanwhile, on
//! its own robust list, so if it dies too, another one starts again.
//!
//! The states of a word, in `docs/formats/shm-rendezvous.md` to the bit: 0 free; a thread's id: alive; a thread's id and
//! [`MARKED`]: left or dead, and that thread undoes what it held; [`DIED`]: dead.

use std::fmt;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::sync::Arc;

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

/// A view of the table. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Members {
    lines: View<[Line]>,
    segment: Arc<Segment>,
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

/// Who a member is, as it says itself: for people, not for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberInfo {
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) generation: u32,
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
        Ok(Self { lines, segment: Arc::clone(segment) })
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
        Ok(Self { lines, segment: Arc::clone(segment) })
    }

    pub(crate) fn capacity(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(MEMBERS_MAX)
    }

    /// One load; a number beyond the table is nobody's.
    pub(crate) fn condition(&self, member: u32) -> Condition {
        match self.line(member) {
            // Acquire: meets the kernel's (or the leaver's) change, so what the member wrote before is seen after.
            Some(line) => match line.alive.load(Ordering::Acquire) {
                0 => Condition::Free,
                word if word & (DIED | MARKED) != 0 => Condition::Dead,
                _ => Condition::Alive,
            },
            None => Condition::Free,
        }
    }

    /// Whether the member left or died and what it held may be taken from it. A freed line is not dead: what it held
    /// was undone before.
    #[cfg(test)]
    pub(crate) fn is_dead(&self, member: u32) -> bool {
        self.condition(member) == Condition::Dead
    }

    /// Who has a number, if somebody has.
    pub(crate) fn who(&self, member: u32) -> Option<MemberInfo> {
        let line = self.line(member).filter(|_| self.condition(member) != Condition::Free)?;
        // Relaxed: for people; a member that is just arriving may show what the last one wrote.
        Some(MemberInfo {
            pid: line.pid.load(Ordering::Relaxed),
            uid: line.uid.load(Ordering::Relaxed),
            generation: line.generation.load(Ordering::Relaxed),
        })
    }

    /// Takes a free number for as long as the answer lives.
    pub(super) fn claim(&self, register: &Arc<Register>) -> Result<Member> {
        for number in 0..self.capacity() {
            let Some(line) = self.line(number).filter(|line| line.alive.load(Ordering::Relaxed) == 0) else { continue };
            let Some(held) = self.hold(register, number, 0, 0)? else { continue };
            // Relaxed: for people.
            line.generation.fetch_add(1, Ordering::Relaxed);
            line.pid.store(std::process::id(), Ordering::Relaxed);
            line.uid.store(rustix::process::geteuid().as_raw(), Ordering::Relaxed);
            step("members:claimed");
            return Ok(Member { number, held });
        }
        Err(Error::new("join", ErrorKind::LimitReached)
            .because(format!("it was made for {} members and has as many", self.capacity())))
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
