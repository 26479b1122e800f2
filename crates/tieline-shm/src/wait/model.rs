//! Loom models of waiting: two notifiers and sleepers of each sort, every interleaving up to the stated number of
//! preemptions. Each model fails by deadlock when a wake-up is lost. Negative controls plant a mistake and demand
//! that the model finds it.
//!
//! The barrier is a fence on both sides here; see `barrier`.

use std::sync::Arc;

use loom::thread;
use tieline_testkit::test_name;

use super::event_count::EventCount;
use super::planted;
use super::{Bell, Hung, Until, Waiting};
use crate::model::{explore, must_fail};
use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};

/// A word that changes, and an event count beside it.
struct Place {
    value: AtomicU32,
    count: EventCount,
}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self { value: AtomicU32::new(0), count: EventCount::new() })
    }

    fn raise(&self) {
        // Relaxed in the models: that the change is seen at all is what is checked.
        self.value.fetch_add(1, Ordering::Relaxed);
        self.count.notify();
    }

    fn await_at_least(&self, least: u32) {
        let reached = self.count.wait(Waiting::Block, Until::Forever, "wait", || {
            let value = self.value.load(Ordering::Relaxed);
            (value >= least).then_some(())
        });
        reached.expect("no deadline");
    }
}

fn one_to_one() {
    let place = Place::new();
    let notifier = {
        let place = Arc::clone(&place);
        thread::spawn(move || {
            // A plain store, as rings do it.
            place.value.store(1, Ordering::Relaxed);
            place.count.notify();
        })
    };
    place.await_at_least(1);
    notifier.join().unwrap();
}

fn two_changes() {
    let place = Place::new();
    let notifier = {
        let place = Arc::clone(&place);
        thread::spawn(move || {
            place.raise();
            place.raise();
        })
    };
    place.await_at_least(1);
    place.await_at_least(2);
    notifier.join().unwrap();
}

fn two_sleepers() {
    let place = Place::new();
    let sleeper = {
        let place = Arc::clone(&place);
        thread::spawn(move || place.await_at_least(1))
    };
    let other = {
        let place = Arc::clone(&place);
        thread::spawn(move || place.await_at_least(2))
    };
    place.raise();
    place.raise();
    sleeper.join().unwrap();
    other.join().unwrap();
}

#[test]
fn model_one_notifier_and_one_sleeper() {
    explore("one to one", 5, one_to_one);
}

#[test]
fn model_two_changes_in_a_row() {
    explore("two changes", 4, two_changes);
}

#[test]
fn model_two_sleepers_on_one_count() {
    explore("two sleepers", 2, two_sleepers);
}

#[test]
fn model_two_notifiers_and_one_sleeper() {
    explore("two notifiers", 3, || {
        let place = Place::new();
        let notifiers = [0, 1].map(|_| {
            let place = Arc::clone(&place);
            thread::spawn(move || place.raise())
        });
        place.await_at_least(2);
        notifiers.into_iter().for_each(|notifier| notifier.join().unwrap());
    });
}

#[test]
fn model_one_wake_up_for_each_of_two_takers() {
    explore("notify one", 2, || {
        let place = Place::new();
        let takers = [0, 1].map(|_| {
            let place = Arc::clone(&place);
            thread::spawn(move || {
                let taken = place.count.wait(Waiting::Block, Until::Forever, "take", || {
                    let less = |value: u32| value.checked_sub(1);
                    place.value.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()
                });
                taken.expect("no deadline");
            })
        });
        for _ in 0..2 {
            place.value.fetch_add(1, Ordering::AcqRel);
            place.count.notify_one();
        }
        takers.into_iter().for_each(|taker| taker.join().unwrap());
    });
}

#[test]
fn model_a_sleeper_on_either_of_two_counts() {
    explore("two counts", 3, || {
        let places = Arc::new([Place::new(), Place::new()]);
        let notifiers = [0, 1].map(|index| {
            let places = Arc::clone(&places);
            thread::spawn(move || places[index].raise())
        });
        let counts = [&places[0].count, &places[1].count];
        let both = EventCount::wait_any(&counts, Waiting::Block, Until::Forever, "wait", || {
            places.iter().all(|place| place.value.load(Ordering::Relaxed) == 1).then_some(())
        });
        both.expect("no deadline");
        notifiers.into_iter().for_each(|notifier| notifier.join().unwrap());
    });
}

#[test]
fn model_a_doorbell_and_a_thread_on_one_count() {
    explore("doorbell", 2, || {
        let count = View::leak(Box::new(EventCount::new()));
        let value = Arc::new(AtomicU32::new(0));
        let bell = Bell::new().unwrap();
        let hung = Hung::new(&bell, &count, 3);
        let notifier = {
            let (value, count) = (Arc::clone(&value), count.clone());
            thread::spawn(move || {
                value.store(1, Ordering::Relaxed);
                count.notify();
            })
        };
        let sleeper = {
            let (value, count) = (Arc::clone(&value), count.clone());
            thread::spawn(move || {
                let changed = count.wait(Waiting::Block, Until::Forever, "wait", || {
                    (value.load(Ordering::Relaxed) == 1).then_some(())
                });
                changed.expect("no deadline");
            })
        };
        // As a wait set does it: look, announce, look, sleep until a ring.
        let mut rung = 0;
        while value.load(Ordering::Relaxed) == 0 {
            count.announce_bell(3);
            if value.load(Ordering::Relaxed) == 0 {
                rung = bell.wait(rung);
            }
        }
        notifier.join().unwrap();
        sleeper.join().unwrap();
        drop(hung);
    });
}

/// A notifier that dies at any point of waking: the survivor is told by a flag and `wake_after_death`.
#[test]
fn model_a_notifier_that_dies_while_waking() {
    explore("death", 3, || {
        let place = Place::new();
        let dead = Arc::new(AtomicU32::new(0));
        let dying = {
            let place = Arc::clone(&place);
            thread::spawn(move || place.count.take_announcement_off_and_die())
        };
        let keeper = {
            let (place, dead) = (Arc::clone(&place), Arc::clone(&dead));
            thread::spawn(move || {
                dying.join().unwrap();
                dead.store(1, Ordering::Relaxed);
                place.count.wake_after_death();
            })
        };
        let told = place
            .count
            .wait(Waiting::Block, Until::Forever, "wait", || (dead.load(Ordering::Relaxed) == 1).then_some(()));
        told.expect("no deadline");
        keeper.join().unwrap();
    });
}

/// An item for one taker, with a thread and a doorbell waiting. The bell's owner takes the item if it comes first, but
/// is never bound to: whatever it does, the thread must not sleep while the item lies there.
fn one_item_beside_a_bell() {
    let count = View::leak(Box::new(EventCount::new()));
    let items = Arc::new(AtomicU32::new(0));
    let bell = Bell::new().unwrap();
    let hung = Hung::new(&bell, &count, 3);
    let producer = {
        let (items, count) = (Arc::clone(&items), count.clone());
        thread::spawn(move || {
            items.store(1, Ordering::Release);
            count.notify_one();
        })
    };
    let taker = {
        let (items, count) = (Arc::clone(&items), count.clone());
        thread::spawn(move || {
            let taken = count.wait(Waiting::Block, Until::Forever, "take", || {
                items.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Acquire).ok()
            });
            taken.expect("no deadline");
        })
    };
    // A task that announces and is cancelled.
    count.announce_bell(3);
    producer.join().unwrap();
    taker.join().unwrap();
    drop(hung);
}

#[test]
fn model_an_item_is_not_spent_on_a_doorbell() {
    explore("notify one beside a bell", 3, one_item_beside_a_bell);
}

/// The doorbell's owner is told as well, where it is the one that takes.
#[test]
fn model_an_item_for_a_doorbell_beside_a_thread() {
    explore("notify one for a bell", 2, || {
        let count = View::leak(Box::new(EventCount::new()));
        let items = Arc::new(AtomicU32::new(0));
        let bell = Bell::new().unwrap();
        let hung = Hung::new(&bell, &count, 3);
        let take = |items: &AtomicU32| {
            let less = |value: u32| value.checked_sub(1);
            items.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()
        };
        let producer = {
            let (items, count) = (Arc::clone(&items), count.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    items.fetch_add(1, Ordering::AcqRel);
                    count.notify_one();
                }
            })
        };
        let taker = {
            let (items, count) = (Arc::clone(&items), count.clone());
            thread::spawn(move || {
                count.wait(Waiting::Block, Until::Forever, "take", || take(&items)).expect("no deadline");
            })
        };
        let mut rung = 0;
        while take(&items).is_none() {
            count.announce_bell(3);
            if take(&items).is_some() {
                break;
            }
            rung = bell.wait(rung);
        }
        producer.join().unwrap();
        taker.join().unwrap();
        drop(hung);
    });
}

#[test]
fn model_finds_an_item_spent_on_a_doorbell() {
    must_fail(&test_name!(), planted::BELL_INSTEAD.0, || explore("planted", 3, one_item_beside_a_bell));
}

#[test]
fn model_finds_a_missing_fence() {
    must_fail(&test_name!(), planted::NO_FENCE.0, || explore("planted", 3, one_to_one));
}

#[test]
fn model_finds_a_missing_second_look() {
    must_fail(&test_name!(), planted::NO_SECOND_LOOK.0, || explore("planted", 3, one_to_one));
}

#[test]
fn model_finds_a_turn_before_its_time() {
    must_fail(&test_name!(), planted::TURN_FIRST.0, || explore("planted", 3, two_changes));
}
