//! How long to look before sleeping: learned for each thing waited for, and never where looking keeps the peer from
//! running.
//!
//! To spin a while and then sleep costs at most about twice the better of the two, if the while is what sleeping
//! costs. Three observations make it cheaper: on the notifier's own processor spinning is always wrong, but making way for
//! it is cheaper than sleeping; where answers come after `t`, a little more than `t` is enough; where spinning failed and
//! the answer came much later, it will fail again. What was learned is this process's own: a peer cannot make us spin
//! longer than [`LONGEST`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{Until, Waiting};
use crate::raw::atomic::pause;
use crate::raw::cpu;

/// The first guess: about what it costs to be woken on another processor of a virtual machine.
const FIRST: Duration = Duration::from_micros(50);
/// What is tried where spinning never helped, to notice when it does again.
const SHORTEST: Duration = Duration::from_micros(1);
/// Nothing that takes longer is worth a processor.
const LONGEST: Duration = Duration::from_micros(100);
/// An answer this late, its wake-up included, would not have come to a spinner either.
const LATE: Duration = Duration::from_micros(250);
/// How many looks between two looks at the clock: about half a microsecond.
const LOOKS: u32 = 16;
/// A poller offers its processor to others this often: whom it waits for may need that very one.
const OFFER_EVERY: u32 = 64;
/// How often one on the notifier's own processor makes way before it sleeps.
const WAYS: u32 = 2;
/// For so many waits at most nobody makes way because it was in vain.
const REST_MAX: u32 = 64;
/// And because the processor came back late.
const REST_MAX_LATE: u32 = 1 << 14;
/// After so many waits in a row that met their event awake, notifiers are let off their fence.
const CALM_AFTER: u32 = 256;

/// What this process learned about waiting at one place.
#[derive(Debug)]
pub(super) struct Habit {
    /// How long to spin, in nanoseconds.
    spin_ns: AtomicU32,
    /// How many waits in a row ended without sleeping.
    awake: AtomicU32,
    /// How many waits are to go without making way for the notifier.
    rest: AtomicU32,
    /// How many the last rest was, less since it was of use again.
    penalty: AtomicU32,
}

/// One line for each of a few hundred places; two that share one learn from each other, which does no harm.
static HABITS: [Habit; 256] = [const { Habit::new() }; 256];

/// How spinning ended.
pub(super) enum Spun<R> {
    Ready(R),
    Expired,
    GaveUp,
}

impl Habit {
    const fn new() -> Self {
        Self {
            spin_ns: AtomicU32::new(nanos(FIRST)),
            awake: AtomicU32::new(0),
            rest: AtomicU32::new(0),
            penalty: AtomicU32::new(1),
        }
    }

    /// The habit of whoever waits at `address`.
    pub(super) fn of(address: usize) -> &'static Self {
        // Multiplied by a large odd number, so that neighbours and same offsets in several segments spread.
        let spread = (address >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize);
        &HABITS[spread >> (usize::BITS - 8)]
    }

    /// Looks for as long as `how` and the habit allow; `in_vain` if the notifier needs this very processor.
    pub(super) fn look<R>(
        &self,
        in_vain: bool,
        how: Waiting,
        until: Until,
        ready: &mut impl FnMut() -> Option<R>,
    ) -> Spun<R> {
        match how {
            Waiting::Adaptive if in_vain || !cpu::are_several() => self.make_way(ready),
            Waiting::Block => Spun::GaveUp,
            Waiting::Adaptive | Waiting::Poll => self.spin(how, until, ready),
        }
    }

    /// Lets others run on this processor, the notifier among them: if it answers at once, neither of us has slept.
    ///
    /// Where others want the processor as well, it comes back late, while who sleeps is preferred when woken; so then it is
    /// hardly ever tried.
    fn make_way<R>(&self, ready: &mut impl FnMut() -> Option<R>) -> Spun<R> {
        // Relaxed, here and below: counts that decide about speed only.
        let rest = self.rest.load(Ordering::Relaxed);
        if cfg!(model) || rest > 0 {
            self.rest.store(rest.saturating_sub(1), Ordering::Relaxed);
            return Spun::GaveUp;
        }
        let penalty = self.penalty.load(Ordering::Relaxed);
        let begun = Instant::now();
        for _ in 0..WAYS {
            std::thread::yield_now();
            let answer = ready();
            let is_late = begun.elapsed() > LONGEST;
            if is_late {
                self.rest_for(penalty.saturating_mul(4).clamp(REST_MAX, REST_MAX_LATE));
            } else if answer.is_some() {
                self.penalty.store((penalty / 2).max(1), Ordering::Relaxed);
            }
            match answer {
                Some(answer) => return Spun::Ready(answer),
                None if is_late => return Spun::GaveUp,
                None => {}
            }
        }
        self.rest_for(penalty.saturating_mul(2).min(REST_MAX.max(penalty)));
        Spun::GaveUp
    }

    fn rest_for(&self, waits: u32) {
        self.rest.store(waits, Ordering::Relaxed);
        self.penalty.store(waits, Ordering::Relaxed);
    }

    fn spin<R>(&self, how: Waiting, until: Until, ready: &mut impl FnMut() -> Option<R>) -> Spun<R> {
        let mut started = None;
        for round in 1_u32.. {
            for _ in 0..LOOKS {
                pause();
                if let Some(answer) = ready() {
                    // The first round is not timed: a clock costs as much as what is measured.
                    if let Some(started) = started {
                        self.was_worth_it(how, started);
                    }
                    return Spun::Ready(answer);
                }
            }
            if let Until::At(deadline) = until
                && deadline.remaining().is_zero()
            {
                return Spun::Expired;
            }
            let started = *started.get_or_insert_with(Instant::now);
            match how {
                Waiting::Poll if round % OFFER_EVERY == 0 => std::thread::yield_now(),
                Waiting::Poll => {}
                Waiting::Block | Waiting::Adaptive => {
                    // Relaxed, here and below: a guess that stands alone.
                    if nanos(started.elapsed()) >= self.spin_ns.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
        }
        Spun::GaveUp
    }

    fn was_worth_it(&self, how: Waiting, started: Instant) {
        if how != Waiting::Adaptive {
            return;
        }
        let before = self.spin_ns.load(Ordering::Relaxed);
        let wished = nanos(started.elapsed().saturating_mul(3));
        self.learn(before - before / 16 + wished / 16);
    }

    /// A wait had to sleep; from when on, if it had spun before.
    pub(super) fn slept(&self, spun_until: Option<Instant>) {
        self.awake.store(0, Ordering::Relaxed);
        if let Some(spun_until) = spun_until {
            let before = self.spin_ns.load(Ordering::Relaxed);
            self.learn(if spun_until.elapsed() > LATE { before / 2 } else { before.saturating_mul(2) });
        }
    }

    /// A task looked in vain. It may be cancelled before it learns how late the answer was, so this counts at once;
    /// [`task_slept`](Self::task_slept) makes good for it.
    #[cfg(feature = "tokio")]
    pub(super) fn task_looked_in_vain(&self) {
        self.learn(self.spin_ns.load(Ordering::Relaxed) / 2);
    }

    /// A task slept after it had looked in vain until then.
    #[cfg(feature = "tokio")]
    pub(super) fn task_slept(&self, looked_until: Instant) {
        if looked_until.elapsed() <= LATE {
            self.learn(self.spin_ns.load(Ordering::Relaxed).saturating_mul(4));
        }
    }

    fn learn(&self, spin_ns: u32) {
        self.spin_ns.store(spin_ns.clamp(nanos(SHORTEST), nanos(LONGEST)), Ordering::Relaxed);
    }

    /// Counts a wait that met its event awake; whether there were enough of them in a row.
    pub(super) fn is_calm(&self) -> bool {
        if cfg!(model) {
            // What is remembered from one execution to the next would make a model undetermined.
            return false;
        }
        // Relaxed: a count that decides about speed only; a lost increment delays it.
        let awake = self.awake.load(Ordering::Relaxed) + 1;
        self.awake.store(awake % CALM_AFTER, Ordering::Relaxed);
        awake >= CALM_AFTER
    }
}

/// As far as 32 bits hold: four seconds.
const fn nanos(duration: Duration) -> u32 {
    let nanos = duration.as_nanos();
    if nanos > u32::MAX as u128 { u32::MAX } else { nanos as u32 }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    #[test]
    fn who_makes_way_in_vain_does_so_less_and_less() {
        let habit = Habit::new();
        let mut looks = 0;
        for _ in 0..400 {
            let spun = habit.look(true, Waiting::Adaptive, Until::Forever, &mut || {
                looks += 1;
                None::<()>
            });
            assert!(matches!(spun, Spun::GaveUp));
        }
        assert!((1..=2 * 12).contains(&looks), "{looks} looks");
    }
}
