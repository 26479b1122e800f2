//! Segments of `tieline-shm`: what they say of themselves, joined with what the kernel knows of those who map them.

use tieline_shm::inspect::{Live, Policy};

use super::{Memory, Text};

/// A segment of `tieline-shm`.
///
/// What it says is a claim of those who may write it; who maps it is told by the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its memory.
    pub memory: Memory,
    /// What its first page says; `None` if it could not be read.
    pub told: Option<Told>,
    /// Why its first page makes no sense, if it was read and does not.
    pub damage: Option<Text>,
    /// The name it is joined by, with its directory; `None` for one without a name, and where no user of it could be
    /// seen to hold the name's lock.
    pub path: Option<Text>,
    /// The process that answers for the name.
    pub host: Option<u32>,
}

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The type of what it carries; empty if it has none.
    pub layout: Text,
    /// The hash of that type's layout; 0 if it has none.
    pub layout_hash: u64,
    /// Who made it, in its maker's own pid namespace.
    pub creator: u32,
    /// Those who take part and are known to it by number.
    pub members: Vec<Member>,
    /// How it is doing, by its kind.
    pub live: Live,
    /// Whether numbers were left out because they are too many, or could not be read.
    pub is_cut: bool,
}

/// Somebody who takes part, by the segment's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number in the segment.
    pub number: u32,
    /// Its process, in the pid namespace of who wrote it down.
    pub pid: u32,
    /// Whether that process maps the segment, so that `pid` means the process of that number here.
    pub is_seen: bool,
    /// Whether the segment counts it among the living. A dead one that is still there was not cleared away yet.
    pub is_alive: bool,
    /// Of a subscriber: how it is doing.
    pub reading: Option<Reading>,
    /// Of a queue: how many items it has taken, and how many it is writing.
    pub items: (u64, u64),
    /// Whether it writes the value.
    pub is_writer: bool,
}

/// How a subscriber is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// How many messages it is behind.
    pub lag: u64,
    /// How many loans it holds.
    pub held: u32,
    /// How many messages it took.
    pub received: u64,
    /// How many it lost.
    pub lost: u64,
    /// What happens when it is slow.
    pub policy: Policy,
}

impl Segment {
    /// Those of its members that are gone and not cleared away: the segment counts them as dead, or nobody of that number
    /// maps it.
    pub fn stale(&self) -> impl Iterator<Item = &Member> {
        self.members().iter().filter(|member| !member.is_alive || !member.is_seen)
    }

    /// Those who take part.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.told.as_ref().map_or(&[], |told| &told.members)
    }

    /// What that process does with it, by the segment's own word.
    pub fn of_process(&self, pid: u32) -> impl Iterator<Item = &Member> {
        self.members().iter().filter(move |member| member.is_seen && member.pid == pid)
    }
}
