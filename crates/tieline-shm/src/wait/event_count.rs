//! The shared half of waiting: what notifiers do, and how sleepers announce themselves. How a waiter waits is `sleep`.
//!
//! Sources: the event count of Dmitry Vyukov; the sleeper's barrier as in ringfire and folly (`AsymmetricThreadFence`).
//! The order of the steps is argued here, checked by loom in `model.rs`, and, with store buffers, by Spin in
//! `models/eventcount.pml`. The layout to the byte is `docs/formats/shm-waiting.md`.

use super::spin::Habit;
use super::{barrier, bell, planted};
use crate::raw::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::raw::{Words, cpu, futex, step};

/// The shared half of waiting: who sleeps says so here, who changes something looks here.
///
/// Both sides must be able to write it; a side that lies costs the other wake-ups, in vain or missed.
#[repr(C, align(64))]
pub(crate) struct EventCount {
    /// Who sleeps, and whether notifiers must use a fence: the bits below.
    pub(super) state: AtomicU64,
    /// The futex: counts notifications that found a sleeper.
    pub(super) turn: AtomicU32,
    /// The processor on which a notifier was last seen, plus one; 0 if unknown.
    pub(super) notifier_cpu: AtomicU32,
    /// The futex of relays, apart from that of threads: counts notifications that found a relay announced.
    pub(super) relay_turn: AtomicU32,
    _reserved: [AtomicU32; 11],
}

// SAFETY: repr(C), one 64-bit and fourteen 32-bit atomics, no padding: 64 bytes.
#[allow(unsafe_code, reason = "Words is a promise about a layout")]
unsafe impl Words for EventCount {}

/// Somebody sleeps on the turn, or is about to.
pub(super) const ASLEEP: u64 = 1;
/// Notifiers must use a fence of their own. Set by the first sleeper, cleared after a while without any.
const FENCE: u64 = 1 << 1;
/// Every notifier that might have missed `FENCE` has passed the barrier: sleepers need none.
const SETTLED: u64 = 1 << 2;
/// A relay is waited for that sleeps on its own turn.
const RELAYED: u64 = 1 << 3;
/// Counts how often `FENCE` was cleared, so that a sleeper who was long about its barrier settles nothing newer.
const EPOCH: u64 = 0xffff << 8;
const EPOCH_ONE: u64 = 1 << 8;
/// One bit for each doorbell that its owner waits for.
const BELLS: u64 = !0 << BELLS_SHIFT;
const BELLS_SHIFT: u32 = 24;
/// Who is waited for through a descriptor, whoever writes to it.
const RUNG: u64 = RELAYED | BELLS;
/// Anybody at all.
const ANNOUNCED: u64 = ASLEEP | RUNG;

/// How many doorbells are told apart; more share.
pub(crate) const BELL_COUNT: u32 = u64::BITS - BELLS_SHIFT;

impl EventCount {
    /// One that nobody has used, as zeroed memory is.
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            turn: AtomicU32::new(0),
            notifier_cpu: AtomicU32::new(0),
            relay_turn: AtomicU32::new(0),
            _reserved: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Whether a state that was read from outside says that somebody sleeps, or was about to.
    #[cfg(not(model))]
    pub(crate) const fn tells_sleepers(state: u64) -> bool {
        state & (ASLEEP | BELLS) != 0
    }

    /// To be called after the change, which must be a store (or any later one by the same thread): wakes everyone who
    /// sleeps here.
    ///
    /// Does not block. One load of shared memory while nobody has slept here lately.
    #[inline(always)]
    pub(crate) fn notify(&self) {
        self.order_change_before_look();
        // Relaxed: ordered after the change by the barrier that sleepers make us pass, or by the fence below.
        let state = self.state.load(Ordering::Relaxed);
        if state & (ANNOUNCED | FENCE) != 0 || !barrier::is_covered() {
            self.notify_fenced(Self::wake);
        }
    }

    /// [`notify`](Self::notify) for a change that serves one waiter only, any of them: wakes one who sleeps in a
    /// thread, and everyone who waits through a descriptor.
    ///
    /// A thread that is woken takes what it was woken for. Of a task or a wait set nobody knows: a task may have been
    /// cancelled, the owner of a set be busy elsewhere. So they are told, but never instead of a thread.
    ///
    /// A waiter that dies between being woken and taking what it was woken for took the wake-up with it: whoever
    /// learns of the death calls [`wake_after_death`](Self::wake_after_death).
    #[inline]
    pub(crate) fn notify_one(&self) {
        self.order_change_before_look();
        // Relaxed: as in `notify`.
        let state = self.state.load(Ordering::Relaxed);
        if state & (ANNOUNCED | FENCE) != 0 || !barrier::is_covered() {
            self.notify_fenced(Self::wake_one);
        }
    }

    #[inline(always)]
    fn order_change_before_look(&self) {
        if !planted::NO_FENCE.is_on() {
            barrier::light();
        }
    }

    #[inline(never)]
    fn notify_fenced(&self, wake: fn(&Self)) {
        if !barrier::is_covered() {
            barrier::prepare();
        }
        if !planted::NO_FENCE.is_on() {
            // SeqCst: store the change, then load who sleeps, against announce, then load the change, in `announce`:
            // one of the two must see the other, which no weaker order gives. Partner: the fence in `announce`.
            fence(Ordering::SeqCst);
        }
        // Relaxed: ordered by the fence.
        if self.state.load(Ordering::Relaxed) & ANNOUNCED != 0 {
            wake(self);
        }
    }

    /// Wakes everyone who announced before, thread or doorbell.
    ///
    /// The announcements are taken off first. A sleeper announces after reading the turn, so the turn that follows
    /// keeps it from sleeping, or wakes it; were the turn first, it could read the new one, have its announcement
    /// taken off, and sleep unseen.
    fn wake(&self) {
        if planted::TURN_FIRST.is_on() {
            self.turn.fetch_add(1, Ordering::Release);
        }
        // SeqCst: a sleeper that announces after this one sees the change; partner: `announce`. It is one total order
        // with the fences there, which acquire and release would not give.
        let before = self.state.fetch_and(!ANNOUNCED, Ordering::SeqCst);
        step("wait:cleared");
        self.leave_address();
        if before & ASLEEP != 0 {
            if !planted::TURN_FIRST.is_on() {
                // Release: partner is the load of the turn in `wait`, which then sees the change.
                self.turn.fetch_add(1, Ordering::Release);
            }
            step("wait:turned");
            futex::wake(&self.turn, u32::MAX);
        }
        self.ring(before);
    }

    /// Rings for those of `announced` who wait through a descriptor.
    fn ring(&self, announced: u64) {
        if announced & RELAYED != 0 {
            // Release: partner is the load in the relay, whose bell then orders the owner's look after the change.
            self.relay_turn.fetch_add(1, Ordering::Release);
            futex::wake(&self.relay_turn, u32::MAX);
        }
        if announced & BELLS != 0 {
            bell::ring(self.address(), announced >> BELLS_SHIFT);
        }
    }

    /// Wakes one thread, and rings for everyone who waits through a descriptor. The threads' announcement stays, for
    /// it may have been made by several; it goes with the first wake-up that finds nobody.
    fn wake_one(&self) {
        // Relaxed: what was announced before the fence is seen; what is announced later looks again.
        let mut state = self.state.load(Ordering::Relaxed);
        if state & RUNG != 0 {
            // SeqCst: as in `wake`.
            state = self.state.fetch_and(!RUNG, Ordering::SeqCst);
            step("wait:cleared");
            self.leave_address();
            self.ring(state);
            if planted::BELL_INSTEAD.is_on() {
                return;
            }
        }
        if state & ASLEEP == 0 {
            return;
        }
        self.leave_address();
        // Release: as in `wake`.
        self.turn.fetch_add(1, Ordering::Release);
        step("wait:turned");
        if futex::wake(&self.turn, 1) == 0 {
            self.wake();
        }
    }

    /// Wakes all who wait here, whatever they announced: for whoever learned that a peer is dead, which may have died
    /// between taking an announcement off and waking.
    ///
    /// Store what the waiters shall see (that the peer is gone) before. To be called in each process that is told of
    /// the death; doorbells are rung as far as this process has them. So announcements stay: one may be of a process that
    /// has looked already, whose bell is not ours, and who waits for the next change. They go with the next notification.
    pub(crate) fn wake_after_death(&self) {
        // Release: as in `wake`.
        self.turn.fetch_add(1, Ordering::Release);
        futex::wake(&self.turn, u32::MAX);
        self.ring(RUNG);
    }

    /// Tells waiters where we run. Only who had to wake somebody does so: a waiter that spins with success need not
    /// know, and one that spins in vain sleeps in the end.
    fn leave_address(&self) {
        let here = cpu::current().wrapping_add(1);
        // Relaxed, both: a hint. The load keeps the line shared where nothing changed.
        if self.notifier_cpu.load(Ordering::Relaxed) != here {
            self.notifier_cpu.store(here, Ordering::Relaxed);
        }
    }

    /// Says that doorbell `bell` is waited for (taken modulo [`BELL_COUNT`]). Look again afterwards, then sleep.
    pub(crate) fn announce_bell(&self, bell: u32) {
        self.announce(1 << (BELLS_SHIFT + bell % BELL_COUNT));
    }

    /// Says that a bell is waited for that a relay rings. Look again afterwards, then sleep.
    pub(crate) fn announce_relay(&self) {
        self.announce(RELAYED);
    }

    /// The word that relays sleep on; it changes when one that was announced is to ring.
    ///
    /// A relay sleeps all the time, whether or not its owner waits; on the threads' own word it would swallow the
    /// wake-ups that [`notify_one`](Self::notify_one) means for a thread.
    pub(crate) fn relay_turn(&self) -> &AtomicU32 {
        &self.relay_turn
    }

    /// Where this one lies in this process.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn announce(&self, who: u64) {
        // SeqCst: see `wake`, which takes this off.
        let before = self.state.fetch_or(who | FENCE, Ordering::SeqCst);
        if before & SETTLED == 0 && !planted::NO_FENCE.is_on() {
            step("wait:fenced");
            barrier::heavy();
            self.settle(before & EPOCH);
        }
        if !planted::NO_FENCE.is_on() {
            // SeqCst: announce, then look, against change, then load, in `notify_fenced`; see there.
            fence(Ordering::SeqCst);
        }
    }

    /// Tells other sleepers that the barrier after `FENCE` has been passed, if that one still stands.
    fn settle(&self, epoch: u64) {
        // Relaxed: the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        while state & (EPOCH | FENCE | SETTLED) == epoch | FENCE {
            // Release: who reads `SETTLED` (`announce`) sees all that the barrier made visible to us.
            match self.state.compare_exchange_weak(state, state | SETTLED, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }

    /// A wait ended without sleeping.
    #[inline]
    pub(super) fn met_awake(&self) {
        // Relaxed: a hint; the exchange in `calm` decides.
        if self.state.load(Ordering::Relaxed) & FENCE != 0 {
            self.calm();
        }
    }

    /// Lets notifiers off their fence once nobody has slept for a while.
    #[cold]
    fn calm(&self) {
        if !Habit::of(self.address()).is_calm() {
            return;
        }
        // Relaxed: the exchange decides.
        let state = self.state.load(Ordering::Relaxed);
        if state & !EPOCH == FENCE | SETTLED {
            let next = state.wrapping_add(EPOCH_ONE) & EPOCH;
            // Relaxed: it changes who uses a fence, and orders nothing; the next sleeper starts with the barrier.
            let _ = self.state.compare_exchange(state, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, model))]
impl EventCount {
    /// The first step of `wake`, after which the notifier is no more.
    pub(super) fn take_announcement_off_and_die(&self) {
        self.state.fetch_and(!ANNOUNCED, Ordering::SeqCst);
    }
}
