//! The publisher's half of a log: what may be overwritten, and when to look.

use std::sync::atomic::AtomicU64 as PrivateU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::queue::log::layout::{Geometry, LogHeader};
use crate::queue::log::roster::{Entry, Roster};
use crate::queue::log::slot::{FIRST, Slots, Tag};
use crate::queue::log::{Bug, planted};
use crate::raw::View;
use crate::raw::atomic::{Ordering, fence};
use crate::wait::{Until, Waiting};

/// Whether a message found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Room {
    Free,
    /// A subscriber that is waited for has not read far enough.
    None,
}

/// Who reads a log, and who of them is waited for: changed by whoever admits and dismisses subscribers, looked at by
/// the publishing thread when it reaches the limit.
pub(crate) struct Gates {
    /// The first number that may not be written without looking. Not shared with other processes.
    limit: PrivateU64,
    members: Mutex<Vec<Member>>,
}

/// One subscriber, as the publisher knows it.
pub(crate) struct Member {
    /// The publisher's own number for it.
    pub(crate) id: u64,
    pub(crate) roster: Roster,
    pub(crate) entry: Entry,
    /// How far the publisher may get ahead of it; `None` if it is never waited for.
    pub(crate) depth: Option<u64>,
    /// The cursor as last seen: it never goes back.
    seen: u64,
}

/// Where everyone stands.
pub(crate) struct Survey {
    /// Every subscriber has taken, or given up, all messages before this one.
    pub(crate) passed: u64,
    /// Every subscriber that is waited for has taken all messages before this one.
    pub(crate) gate: u64,
    /// What is held, in no order.
    pub(crate) hazards: Vec<u64>,
}

impl Gates {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { limit: PrivateU64::new(u64::MAX), members: Mutex::new(Vec::new()) })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        // Nothing is left half done when a panic passes: a member is in the list or not.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a subscriber in at message `start`, or where `history` allows; answers where it starts.
    ///
    /// The publisher may be in the middle of one message that it was free to write before; history is at most half
    /// the slots, so that message overwrites none that was promised.
    #[allow(clippy::too_many_arguments, reason = "what is known of a subscriber at admission")]
    pub(crate) fn admit(
        &self,
        id: u64,
        roster: &Roster,
        entry: &Entry,
        depth: Option<u64>,
        policy: u64,
        process: u32,
        header: &LogHeader,
        history: u64,
    ) -> u64 {
        let mut members = self.lock();
        // Acquire: what was published before this number is whole.
        let head = header.head().load(Ordering::Acquire).max(FIRST);
        let oldest = header.oldest().load(Ordering::Relaxed).max(FIRST);
        let start = head.saturating_sub(history).max(oldest).min(head);
        entry.prepare(start, policy, process);
        members.push(Member { id, roster: roster.clone(), entry: entry.clone(), depth, seen: start });
        // Release, and the lock: the publisher looks before its next message.
        self.limit.store(0, Ordering::Release);
        start
    }

    /// Forgets a subscriber that has left or died: it holds nothing any more and is waited for no longer.
    pub(crate) fn dismiss(&self, id: u64) {
        let mut members = self.lock();
        if let Some(index) = members.iter().position(|member| member.id == id) {
            let member = members.swap_remove(index);
            self.limit.store(0, Ordering::Release);
            member.entry.clear();
            drop(members);
            // It may have died between taking our announcement off and waking us.
            member.roster.room().wake_after_death();
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Where everyone stands, given that `next` is the next number to be written.
    pub(crate) fn survey(&self, next: u64) -> Survey {
        let mut members = self.lock();
        let mut survey = Survey { passed: next, gate: next, hazards: Vec::new() };
        for member in members.iter_mut() {
            let cursor = member.look(next);
            survey.passed = survey.passed.min(cursor);
            if member.depth.is_some() {
                survey.gate = survey.gate.min(cursor);
            }
        }
        // After all cursors: (C1) whoever is seen to have passed a message is seen to hold it, if it does.
        for member in members.iter() {
            // (R1) where a hazard is gone, the subscriber's reads of the payload are done.
            survey.hazards.extend(member.entry.hazards().map(|word| word.load(Ordering::Acquire)).filter(|h| *h != 0));
        }
        survey
    }
}

impl Member {
    /// Its cursor, made to lie between what it was and `next`: who goes backwards or ahead of us lies, and gains
    /// nothing by it but to lose messages.
    fn look(&mut self, next: u64) -> u64 {
        // (C1) pairs with the release store of `Reader::advance`: its copies are done before our overwriting.
        let cursor = self.entry.cursor().load(Ordering::Acquire);
        if (self.seen..=next).contains(&cursor) {
            self.seen = cursor;
        }
        self.seen
    }
}

/// The writing end of a log. One thread at a time.
pub(crate) struct Writer {
    header: View<LogHeader>,
    slots: Slots,
    geometry: Geometry,
    gates: Arc<Gates>,
    next: u64,
    /// Whose sleepers are woken: a copy of what `gates` has.
    rosters: Vec<Roster>,
    subscribers: usize,
}

impl Writer {
    /// Over an empty log.
    pub(crate) fn new(header: View<LogHeader>, slots: Slots, geometry: Geometry, gates: Arc<Gates>) -> Self {
        // Relaxed: before the segment is shared.
        header.head().store(FIRST, Ordering::Relaxed);
        header.oldest().store(FIRST, Ordering::Relaxed);
        Self { header, slots, geometry, gates, next: FIRST, rosters: Vec::new(), subscribers: 0 }
    }

    /// The number of the next message.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Publishes one message, unless a subscriber that is waited for has not read far enough.
    #[inline(always)]
    pub(crate) fn try_publish(&mut self, tag: Tag, payload: &[u8]) -> Room {
        if self.next >= self.limit() && self.look() == Room::None {
            return Room::None;
        }
        self.slots.write(self.next, tag, payload);
        self.tell(1);
        Room::Free
    }

    /// Publishes as many of `messages` as there is room for, up to half the slots, all at once: no subscriber sees
    /// any before all of them are there. Answers how many.
    #[inline(always)]
    pub(crate) fn try_publish_all<'a>(&mut self, messages: impl ExactSizeIterator<Item = (Tag, &'a [u8])>) -> usize {
        let mut room = self.limit().saturating_sub(self.next);
        let wanted = (messages.len() as u64).min(self.geometry.slots as u64 / 2);
        if room < wanted {
            let _ = self.look();
            room = self.limit().saturating_sub(self.next);
        }
        #[allow(clippy::cast_possible_truncation, reason = "at most the length of an iterator")]
        let count = room.min(wanted) as usize;
        let mut messages = messages.take(count);
        let Some(first) = messages.next() else { return 0 };
        // The first stamp last: its release store publishes all of them.
        for (number, (tag, payload)) in (self.next + 1..).zip(messages) {
            self.slots.write(number, tag, payload);
        }
        crate::raw::step("log:batch");
        self.slots.write(self.next, first.0, first.1);
        self.tell(count as u64);
        count
    }

    /// Whether one more message has room.
    pub(crate) fn has_room(&mut self) -> bool {
        self.next < self.limit() || self.look() == Room::Free
    }

    /// How many subscribers there were when last looked.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers
    }

    /// The rosters of those who subscribe now.
    pub(crate) fn rosters(&self) -> Vec<Roster> {
        distinct(&self.gates.lock())
    }

    #[inline(always)]
    fn limit(&self) -> u64 {
        // Relaxed: a new subscriber may be noticed a message late, see `Gates::admit`.
        self.gates.limit.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn tell(&mut self, count: u64) {
        self.next += count;
        // (H1) pairs with the acquire loads of those who start or skip here.
        self.header.head().store(self.next, Ordering::Release);
        crate::raw::step("log:published");
        for roster in &self.rosters {
            roster.sleepers().notify();
        }
    }

    /// Looks how far everybody is, and who there is.
    #[cold]
    pub(crate) fn look(&mut self) -> Room {
        let mut members = self.gates.lock();
        let mut limit = u64::MAX;
        for member in members.iter_mut() {
            let cursor = member.look(self.next);
            if let Some(depth) = member.depth {
                limit = limit.min(cursor + depth.min(self.geometry.slots as u64));
            }
        }
        self.rosters = distinct(&members);
        self.subscribers = members.len();
        // Relaxed: changed under the lock only.
        self.gates.limit.store(limit, Ordering::Relaxed);
        if self.next < limit { Room::Free } else { Room::None }
    }

    /// Sleeps until there is room for one more message.
    ///
    /// # Errors
    /// `TimedOut`, `WouldBlock`.
    pub(crate) fn wait_for_room(&mut self, how: Waiting, until: Until) -> Result<()> {
        while self.look() == Room::None {
            let Some((id, roster)) = self.slowest() else { continue };
            roster.room().wait(how, until, "publish", || {
                let free = self.look() == Room::Free;
                let moved = || self.slowest().is_none_or(|(slowest, _)| slowest != id);
                (free || moved()).then_some(())
            })?;
        }
        Ok(())
    }

    /// Who is waited for, and where it will tell.
    pub(crate) fn slowest(&self) -> Option<(u64, Roster)> {
        let members = self.gates.lock();
        let gating = members.iter().filter_map(|member| Some((member.seen + member.depth?, member)));
        gating.min_by_key(|(limit, _)| *limit).map(|(_, member)| (member.id, member.roster.clone()))
    }

    /// Where everyone stands.
    pub(crate) fn survey(&self) -> Survey {
        self.gates.survey(self.next)
    }

    /// Declares the payloads of all messages before `number` gone, and looks who holds some of them nevertheless.
    ///
    /// `number` must not be past the survey's gate: subscribers that are waited for do not look at `oldest`.
    pub(crate) fn give_up(&self, number: u64) -> Survey {
        self.header.oldest().store(number, Ordering::Relaxed);
        // Two threads store and then load what the other stores: here `oldest`, then hazards; in `Reader::hold` a
        // hazard, then `oldest`. Only sequentially consistent fences on both sides rule out that both miss. (O1)
        if !planted(Bug::NoFenceInGiveUp) {
            fence(Ordering::SeqCst);
        }
        self.survey()
    }
}

/// Each roster once.
fn distinct(members: &[Member]) -> Vec<Roster> {
    let mut rosters: Vec<Roster> = Vec::new();
    for member in members {
        let address = member.roster.sleepers().address();
        if !rosters.iter().any(|known| known.sleepers().address() == address) {
            rosters.push(member.roster.clone());
        }
    }
    rosters
}
