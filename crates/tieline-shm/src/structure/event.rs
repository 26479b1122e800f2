//! Numbered events, counted: many notifiers, many listeners.
//!
//! The invariant: the shared memory only counts up. Each event has a counter that notifiers raise; a listener keeps to
//! itself how far it has seen, so listeners do not disturb each other, and one that dies leaves nothing. Counts coalesce:
//! who looks late sees how often, not when. A notifier that dies in between leaves a count that may be seen or not.
//!
//! Layout: `docs/formats/shm-event.md`.

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::{View, Words, step};
#[cfg(not(model))]
use crate::segment::Fact;
use crate::structure::planted::{Bug, planted};
use crate::wait::EventCount;

/// What lies before the counters.
#[repr(C, align(128))]
pub(crate) struct Control {
    /// How many notifications there were of all events together: who finds it unchanged need not look further.
    total: AtomicU64,
    _total_line: [AtomicU64; 15],
    /// Listeners sleep here.
    pub(crate) count: EventCount,
    _count_line: [AtomicU64; 8],
}

// SAFETY: repr(C), atomics and a struct of atomics of alignment 64 at offset 128; 256 bytes without a gap.
unsafe impl Words for Control {}

impl Control {
    /// Where an object of `ids` events tells lookers how it is, if its control part lies at `at`.
    #[cfg(not(model))]
    pub(crate) const fn facts(at: usize, ids: u32) -> [Fact<'static>; 3] {
        [
            Fact::word("total", at + std::mem::offset_of!(Self, total)),
            Fact::word("listeners asleep", at + std::mem::offset_of!(Self, count)),
            Fact::words("count", at + size_of::<Self>(), ids as usize, 8),
        ]
    }
}

/// The counters, one for each event.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) control: View<Control>,
    cells: View<[AtomicU64]>,
}

/// How far a listener has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    total: u64,
    cells: Box<[u64]>,
}

impl Counters {
    /// How many bytes the control part takes.
    pub(crate) const CONTROL_BYTES: usize = size_of::<Control>();

    /// Both are zero when the object is new.
    pub(crate) fn new(control: View<Control>, cells: View<[AtomicU64]>) -> Self {
        Self { control, cells }
    }

    /// How many events there are.
    pub(crate) fn ids(&self) -> u32 {
        u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }

    /// Counts `times` notifications of event `id` and wakes listeners.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such event.
    pub(crate) fn notify(&self, id: u32, times: u64) -> Result<()> {
        let Some(cell) = self.cells.get(id as usize) else {
            let why = format!("there is no event {id}: the object was made for {}", self.cells.len());
            return Err(Error::new("notify", ErrorKind::InvalidInput).because(why));
        };
        // Relaxed: ordered before the total, which listeners look at first.
        cell.fetch_add(times, Ordering::Relaxed);
        step("event:counted");
        // Release: partner is the acquire in `total`.
        self.control.total.fetch_add(1, Ordering::Release);
        step("event:totalled");
        if !planted(Bug::NoNotify) {
            self.control.count.notify();
        }
        Ok(())
    }

    /// As far as it has come now: where a listener that joins begins.
    pub(crate) fn now(&self) -> Seen {
        let mut seen = Seen { total: 0, cells: vec![0; self.cells.len()].into() };
        self.collect(&mut seen, |_, _| {});
        seen
    }

    pub(crate) fn total(&self) -> u64 {
        // Acquire: partner is the release in `notify`; the counts behind it are visible.
        self.control.total.load(Ordering::Acquire)
    }

    /// Tells of each event that was notified since `seen`, and how often; how many there were.
    pub(crate) fn collect(&self, seen: &mut Seen, mut tell: impl FnMut(u32, u64)) -> usize {
        let total = self.total();
        if total == seen.total {
            return 0;
        }
        seen.total = total;
        let mut told = 0;
        for (id, (cell, seen)) in (0..).zip(self.cells.iter().zip(&mut seen.cells)) {
            // Relaxed: a count that came after the total is told now, or next time.
            let now = cell.load(Ordering::Relaxed);
            let times = now.wrapping_sub(*seen);
            if times != 0 {
                *seen = now;
                told += 1;
                tell(id, times);
            }
        }
        told
    }
}

impl Seen {
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counters(ids: usize) -> Counters {
        // SAFETY: zero is a value of every atomic.
        let control = unsafe { Box::<Control>::new_zeroed().assume_init() };
        Counters::new(View::leak(control), View::leak((0..ids).map(|_| AtomicU64::new(0)).collect()))
    }

    #[test]
    fn the_layout_is_as_documented() {
        assert_eq!((size_of::<Control>(), align_of::<Control>()), (256, 128));
        assert_eq!(std::mem::offset_of!(Control, total), 0);
        assert_eq!(std::mem::offset_of!(Control, count), 128);
    }

    #[test]
    fn an_event_beyond_the_last_is_refused() {
        assert_eq!(counters(3).notify(3, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    proptest! {
        /// Three listeners that look whenever they like, against plain counts of each.
        #[test]
        fn each_listener_is_told_every_count_once(
            steps in prop::collection::vec((0..4_usize, 0..5_u32, 1..4_u64), 0..100),
        ) {
            let counters = counters(5);
            let mut listeners = vec![(counters.now(), [0; 5]); 3];
            for (who, id, times) in steps {
                match listeners.get_mut(who) {
                    Some((seen, expected)) => {
                        let mut told = [0; 5];
                        let count = counters.collect(seen, |id, times| told[id as usize] = times);
                        prop_assert_eq!(told, *expected);
                        prop_assert_eq!(count, expected.iter().filter(|times| **times != 0).count());
                        *expected = [0; 5];
                    }
                    None => {
                        counters.notify(id, times).unwrap();
                        listeners.iter_mut().for_each(|(_, expected)| expected[id as usize] += times);
                    }
                }
            }
        }
    }

    /// A liar that sets counters at will: values, no panic.
    #[test]
    fn counters_that_go_back_are_borne() {
        let counters = counters(2);
        counters.notify(0, 5).unwrap();
        let mut seen = counters.now();
        counters.cells[0].store(1, Ordering::Relaxed);
        counters.control.total.store(0, Ordering::Relaxed);
        let mut told = Vec::new();
        counters.collect(&mut seen, |id, times| told.push((id, times)));
        assert_eq!(told, [(0, 1_u64.wrapping_sub(5))]);
    }
}

#[cfg(all(test, model))]
mod model {
    use loom::thread;
    use tieline_testkit::test_name;

    use super::*;
    use crate::model::{explore, must_fail};
    use crate::wait::{Until, Waiting};

    impl Counters {
        fn of(ids: usize) -> Self {
            let control = Control {
                total: AtomicU64::new(0),
                _total_line: std::array::from_fn(|_| AtomicU64::new(0)),
                count: EventCount::new(),
                _count_line: std::array::from_fn(|_| AtomicU64::new(0)),
            };
            Self::new(View::leak(Box::new(control)), View::leak((0..ids).map(|_| AtomicU64::new(0)).collect()))
        }
    }

    /// Two notifiers of different events; the listener is told of both, however they interleave.
    fn two_notifiers() {
        let counters = Counters::of(2);
        let mut seen = counters.now();
        let notifiers = [0, 1].map(|id| {
            let counters = counters.clone();
            thread::spawn(move || counters.notify(id, 1).unwrap())
        });
        let mut told = [0; 2];
        while told != [1, 1] {
            let waited = counters.control.count.wait(Waiting::Block, Until::Forever, "wait", || {
                let count = counters.collect(&mut seen, |id, times| told[id as usize] += times);
                (count > 0).then_some(())
            });
            waited.unwrap();
        }
        notifiers.into_iter().for_each(|notifier| notifier.join().unwrap());
    }

    #[test]
    fn model_a_listener_is_told_of_both_notifiers() {
        explore("event: two notifiers", 2, two_notifiers);
    }

    #[test]
    fn model_finds_a_notifier_that_wakes_nobody() {
        must_fail(&test_name!(), &Bug::NoNotify.name(), || explore("planted", 2, two_notifiers));
    }
}
