//! The publisher's half of a log: what may be overwritten, and when to look.

use std::sync::Arc;

use crate::error::Result;
use crate::raw::atomic::{Ordering, fence, pause};
use crate::raw::{View, cpu};
use crate::structure::log::gates::{Gates, Member};
use crate::structure::log::layout::{Geometry, LogHeader};
use crate::structure::log::roster::Roster;
use crate::structure::log::side::SideLogs;
use crate::structure::log::slot::{FIRST, Slots, Tag};
use crate::structure::log::{Bug, planted};
use crate::wait::{Until, Waiting, light};

/// A publisher that polls for room wants this part of the slots, so that it need not look again soon.
const STRETCHES: u64 = 8;
/// For so long, about fifty microseconds; then any room will do.
const STRETCH_LOOKS: u32 = if cfg!(model) { 0 } else { 32 };
/// Each look takes away the line that the subscriber stores its cursor in, so it should be rare.
const PAUSES_PER_LOOK: u32 = 32;

/// Whether a message found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Room {
    Free,
    /// A subscriber that is waited for has not read far enough.
    None,
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

/// The writing end of a log. One thread at a time.
pub(crate) struct Writer {
    header: View<LogHeader>,
    slots: Slots,
    geometry: Geometry,
    gates: Arc<Gates>,
    sides: SideLogs,
    next: u64,
    /// The first number that may not be written without looking.
    limit: u64,
    /// Copied from `gates` when it had changed `known` times.
    members: Vec<Member>,
    known: u64,
    /// Whose sleepers are woken: each of the members' once.
    rosters: Vec<Roster>,
}

impl Writer {
    /// Over an empty log.
    pub(crate) fn new(header: View<LogHeader>, slots: Slots, geometry: Geometry, gates: Arc<Gates>) -> Self {
        // Relaxed: before the segment is shared.
        header.head().store(FIRST, Ordering::Relaxed);
        header.oldest().store(FIRST, Ordering::Relaxed);
        let (sides, members, rosters) = (SideLogs::default(), Vec::new(), Vec::new());
        Self { header, slots, geometry, gates, sides, next: FIRST, limit: 0, members, known: 0, rosters }
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
        if !self.has_room() {
            return Room::None;
        }
        self.slots.write(self.next, tag, payload);
        self.tell(1);
        Room::Free
    }

    /// Publishes one message, for which there [was room](Self::has_room) when last asked. Who has come meanwhile may
    /// want it to wait, but was not promised that message, nor the one it overwrites.
    pub(crate) fn publish(&mut self, tag: Tag, payload: &[u8]) {
        self.slots.write(self.next, tag, payload);
        self.tell(1);
    }

    /// Publishes as many of `messages` as there is room for, up to half the slots, all at once: no subscriber sees
    /// any before all of them are there. Answers how many.
    #[inline(always)]
    pub(crate) fn try_publish_all<'a>(&mut self, messages: impl ExactSizeIterator<Item = (Tag, &'a [u8])>) -> usize {
        let wanted = (messages.len() as u64).min(self.geometry.slots as u64 / 2);
        if self.has_changed() || self.limit.saturating_sub(self.next) < wanted {
            let _ = self.look();
        }
        let room = self.limit.saturating_sub(self.next);
        // At most the length of an iterator.
        let count = room.min(wanted) as usize;
        let mut messages = messages.take(count);
        let Some(first) = messages.next() else { return 0 };
        // The first stamp last: its release store publishes all of them.
        if planted(Bug::FirstOfBatchFirst) {
            self.slots.write(self.next, first.0, first.1);
        }
        for (number, (tag, payload)) in (self.next + 1..).zip(messages) {
            self.slots.write(number, tag, payload);
        }
        crate::raw::step("log:batch");
        self.slots.write(self.next, first.0, first.1);
        self.tell(count as u64);
        count
    }

    /// Whether one more message has room.
    #[inline(always)]
    pub(crate) fn has_room(&mut self) -> bool {
        (self.next < self.limit && !self.has_changed()) || self.look() == Room::Free
    }

    /// The rosters of those who subscribe now.
    pub(crate) fn rosters(&mut self) -> &[Roster] {
        self.refresh();
        &self.rosters
    }

    /// Whether subscribers came or went since this was last looked at.
    #[inline(always)]
    fn has_changed(&self) -> bool {
        self.gates.changes() != self.known
    }

    #[inline(always)]
    fn tell(&mut self, count: u64) {
        self.next += count;
        // (H1) pairs with the acquire loads of those who start or skip here.
        self.header.head().store(self.next, Ordering::Release);
        // (J1) head before the look at the count of changes; partner: the barrier in `Gates::close`.
        light();
        crate::raw::step("log:published");
        if self.has_changed() && !planted(Bug::LateRoster) {
            // Who has come while this was written may sleep already, and waits for this one too.
            self.refresh();
        }
        if self.sides.is_any() {
            self.sides.catch_up(&self.slots, self.next);
        }
        for roster in &self.rosters {
            roster.sleepers().notify();
        }
        self.slots.prepare(self.next);
    }

    /// Looks how far everybody is, and who there is.
    #[cold]
    pub(crate) fn look(&mut self) -> Room {
        if self.has_changed() {
            self.refresh();
        }
        let mut limit = u64::MAX;
        for member in &mut self.members {
            if let Some(depth) = member.depth.filter(|_| !planted(Bug::NoGate)) {
                limit = limit.min(member.look(self.next) + depth);
            }
        }
        self.limit = limit;
        if self.sides.is_any() {
            self.sides.catch_up(&self.slots, self.next);
        }
        if self.next < limit { Room::Free } else { Room::None }
    }

    /// Learns who there is. Who is admitted after this sees what was stored before it.
    #[cold]
    fn refresh(&mut self) {
        // What was seen of their cursors is forgotten: a member may have left and come back with another entry.
        let Some(changes) = self.gates.copy_to(&mut self.members, self.known, &self.sides) else { return };
        self.known = changes;
        let slots = self.geometry.slots as u64;
        for depth in self.members.iter_mut().filter_map(|member| member.depth.as_mut()) {
            *depth = slots.min(*depth);
        }
        self.rosters = distinct(&self.members);
        // Nobody has asked the new ones yet.
        self.limit = if planted(Bug::StaleLimit) { self.limit } else { 0 };
    }

    /// Waits until there is room for one more message, and while it polls anyway, for more than one: two that take turns
    /// at one slot spend their time on the lines in between.
    ///
    /// # Errors
    /// `TimedOut`, `WouldBlock`.
    #[cold]
    pub(crate) fn wait_for_room(&mut self, how: Waiting, until: Until) -> Result<()> {
        let is_brief = matches!(until, Until::Now) || how == Waiting::Block;
        if !is_brief && self.await_stretch(until) == Room::Free {
            return Ok(());
        }
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

    /// Looks a while for room for a good many messages; whether there is any in the end.
    fn await_stretch(&mut self, until: Until) -> Room {
        let Some((_, roster)) = self.slowest() else { return self.look() };
        if roster.room().notifier_is_here() || !cpu::are_several() {
            return self.look();
        }
        let depths = self.members.iter().filter_map(|member| member.depth);
        let stretch = depths.fold(self.geometry.slots as u64, u64::min) / STRETCHES;
        for _ in 0..STRETCH_LOOKS {
            let is_over = matches!(until, Until::At(deadline) if deadline.remaining().is_zero());
            if self.look() == Room::Free && (is_over || self.limit - self.next >= stretch) {
                return Room::Free;
            }
            if is_over {
                return Room::None;
            }
            for _ in 0..PAUSES_PER_LOOK {
                pause();
            }
        }
        self.look()
    }

    /// Who is waited for, and where it will tell.
    pub(crate) fn slowest(&self) -> Option<(u64, Roster)> {
        let gating = self.members.iter().filter_map(|member| Some((member.seen.saturating_add(member.depth?), member)));
        gating.min_by_key(|(limit, _)| *limit).map(|(_, member)| (member.id, member.roster.clone()))
    }

    /// Where everyone stands.
    pub(crate) fn survey(&mut self) -> Survey {
        self.refresh();
        let mut survey = Survey { passed: self.next, gate: self.next, hazards: Vec::new() };
        for member in &mut self.members {
            let cursor = member.look(self.next);
            survey.passed = survey.passed.min(cursor);
            if member.depth.is_some() {
                survey.gate = survey.gate.min(cursor);
            }
        }
        // After all cursors: (C1) whoever is seen to have passed a message is seen to hold it, if it does.
        for entry in self.members.iter().filter_map(|member| member.entry.as_ref()) {
            // (R1) where a hazard is gone, the subscriber's reads of the payload are done.
            survey.hazards.extend(entry.hazards().map(|word| word.load(Ordering::Acquire)).filter(|h| *h != 0));
        }
        if self.sides.is_any() {
            self.sides.catch_up(&self.slots, self.next);
            self.sides.pinned(&mut survey.hazards);
        }
        survey
    }

    /// Declares the payloads of all messages before `number` gone, and looks who holds some of them nevertheless.
    ///
    /// `number` must not be past the survey's gate: subscribers that are waited for do not look at `oldest`. Who is
    /// admitted while this runs is in the survey, or finds `oldest` as it is now: both take the lock of `gates`.
    pub(crate) fn give_up(&mut self, number: u64) -> Survey {
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
