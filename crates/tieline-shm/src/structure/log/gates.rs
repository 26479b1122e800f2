//! Who reads a log: admission and dismissal, and what the publisher knows of each.
//!
//! The invariant: whoever admits somebody promises messages only beyond what the publishing thread can overwrite before
//! it has looked at the members again ([`Gates::close`]).

use std::sync::{Arc, PoisonError};

use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::lock::{Mutex, MutexGuard};
use crate::structure::log::layout::LogHeader;
use crate::structure::log::roster::{Entry, RETIRED, Roster};
use crate::structure::log::side::{SideLog, SideLogs};
use crate::structure::log::slot::{FIRST, Slots};
use crate::structure::log::{Bug, planted};
use crate::wait::heavy_within_process;

/// Who reads a log, and who of them is waited for: changed by whoever admits and dismisses subscribers, copied by the
/// publishing thread when it finds that it has changed.
pub(crate) struct Gates {
    /// How often members came and went. Not shared with other processes.
    changes: AtomicU64,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    list: Vec<Member>,
    /// Logs of those among them who have one of their own, until the publishing thread takes them over.
    arrived: Vec<SideLog>,
}

impl Members {
    fn has(&self, id: u64) -> bool {
        self.list.iter().any(|member| member.id == id)
    }
}

/// Who wants to be let in.
pub(crate) struct Joiner<'a> {
    /// The publisher's own number for it.
    pub(crate) id: u64,
    pub(crate) roster: &'a Roster,
    pub(crate) entry: &'a Entry,
    pub(crate) policy: u64,
    pub(crate) process: u32,
    /// How many messages that were published before it wants, at most as many as the log keeps.
    pub(crate) history: u64,
}

/// One subscriber, as the publisher knows it.
#[derive(Clone)]
pub(crate) struct Member {
    /// The publisher's own number for it.
    pub(crate) id: u64,
    pub(crate) roster: Roster,
    /// `None` if it reads a log of its own.
    pub(crate) entry: Option<Entry>,
    /// How far the publisher may get ahead of it, in the publisher's copy at most as far as there are slots; `None` if it is
    /// never waited for.
    pub(crate) depth: Option<u64>,
    /// The cursor as last seen: it never goes back.
    pub(super) seen: u64,
}

impl Gates {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { changes: AtomicU64::new(0), members: Mutex::new(Members::default()) })
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Nothing is left half done when a panic passes: a member is in the list or not.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a subscriber in, `history` messages back or where the log allows; answers where it starts. The publisher
    /// gets at most `depth` messages ahead of it, if that is given.
    ///
    /// All messages from there on are there when it reads them: see [`close`](Self::close).
    pub(crate) fn admit(&self, joiner: &Joiner<'_>, depth: Option<u64>, header: &LogHeader) -> u64 {
        let mut members = self.lock();
        let (start, _) = self.close(joiner.history, header);
        joiner.entry.prepare(start, joiner.policy, joiner.process);
        members.list.push(Member {
            id: joiner.id,
            roster: joiner.roster.clone(),
            entry: Some(joiner.entry.clone()),
            depth,
            seen: start,
        });
        start
    }

    /// Lets a subscriber in that reads a log of its own, and gives it the history it wants.
    ///
    /// The history's payloads in the pool are not reused: whoever reuses them looks at the pins under the lock, after
    /// this (and finds ours) or before this (and then they are older than what [`close`](Self::close) answers).
    pub(crate) fn admit_aside(&self, joiner: &Joiner<'_>, mut side: SideLog, header: &LogHeader, slots: &Slots) -> u64 {
        let mut members = self.lock();
        let (start, head) = self.close(joiner.history, header);
        joiner.entry.prepare(SideLog::START, joiner.policy, joiner.process);
        side.begin(start);
        side.catch_up(slots, head, usize::MAX);
        members.list.push(Member {
            id: side.id(),
            roster: joiner.roster.clone(),
            entry: None,
            depth: None,
            seen: SideLog::START,
        });
        members.arrived.push(side);
        SideLog::START
    }

    /// Makes the publisher look at the members, which are locked, before it goes on; answers the number of the first
    /// message that a subscriber with so much `history` may be promised, and that of the next to be published.
    ///
    /// The change is counted first and the head loaded then, with a barrier that the publishing thread passes between.
    /// That one stores the head and looks at the count after each message: it either sees the count, or had stored,
    /// before the barrier, the head that is loaded here. So it goes past this head without looking by one message or a
    /// batch of half the slots. History is at most the other half, so nothing that is promised is overwritten.
    fn close(&self, history: u64, header: &LogHeader) -> (u64, u64) {
        let head = || header.head().load(Ordering::Acquire).max(FIRST);
        let early = planted(Bug::HeadBeforeLimit).then(head);
        // Release: pairs with nothing; the barrier and the lock order it.
        self.changes.fetch_add(1, Ordering::Release);
        if !planted(Bug::NoBarrierAtJoin) {
            // (J1) partner: `light` in `Writer::tell`.
            heavy_within_process();
        }
        // Acquire: what was published before this number is whole.
        let head = early.unwrap_or_else(head);
        // Relaxed: raised before the lock is taken to look at the members, so what matters is seen.
        let oldest = header.oldest().load(Ordering::Relaxed).max(FIRST);
        (head.saturating_sub(history).max(oldest).min(head), head)
    }

    /// Forgets a subscriber that has left or died: it holds nothing any more and is waited for no longer.
    pub(crate) fn dismiss(&self, id: u64) {
        let mut members = self.lock();
        members.arrived.retain(|side| side.id() != id);
        if let Some(index) = members.list.iter().position(|member| member.id == id) {
            let member = members.list.swap_remove(index);
            self.changes.fetch_add(1, Ordering::Release);
            if let Some(entry) = &member.entry {
                entry.clear();
            }
            drop(members);
            // It may have died between taking our announcement off and waking us.
            if !planted(Bug::DismissUnheard) {
                member.roster.room().wake_after_death();
            }
        }
    }

    /// How often members came and went.
    #[inline(always)]
    pub(super) fn changes(&self) -> u64 {
        // Relaxed: ordered by the barriers of (J1), see `close`.
        self.changes.load(Ordering::Relaxed)
    }

    /// Copies the members, and hands over the logs of those who have arrived, unless nobody came or went since the
    /// `known` change; says which change this is.
    pub(super) fn copy_to(&self, copy: &mut Vec<Member>, known: u64, sides: &SideLogs) -> Option<u64> {
        let mut members = self.lock();
        // Relaxed: changed under the lock only, as is who has arrived.
        let changes = self.changes.load(Ordering::Relaxed);
        if changes == known {
            return None;
        }
        copy.clone_from(&members.list);
        if sides.is_any() || !members.arrived.is_empty() {
            let mut arrived = std::mem::take(&mut members.arrived);
            sides.update(&mut arrived, |id| members.has(id));
        }
        Some(changes)
    }
}

impl Member {
    /// Its cursor, made to lie between what it was and `next`: who goes backwards or ahead of us lies, and gains
    /// nothing by it but to lose messages.
    pub(super) fn look(&mut self, next: u64) -> u64 {
        let Some(entry) = &self.entry else { return next };
        // (C1) pairs with the release store of `Reader::tell`: its copies are done before our overwriting.
        let cursor = entry.cursor().load(Ordering::Acquire);
        if cursor == RETIRED {
            // From now on only what it holds counts.
            (self.depth, self.seen) = (None, RETIRED);
        }
        if self.seen == RETIRED {
            return next;
        }
        if (self.seen..=next).contains(&cursor) {
            self.seen = cursor;
        }
        self.seen
    }
}
