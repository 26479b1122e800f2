//! Waiting and notifying under loom, with deaths at each step. Three slots; preemption bound stated with each count.

use tieline_testkit::test_name;

use super::core::{CondvarWords, Outcome};
use crate::model::{explore, must_fail};
use crate::raw::View;
use crate::raw::atomic::{AtomicU32, Ordering};
use crate::raw::robust::model::live;
use crate::raw::robust::{RobustWord, Thread};
use crate::sync::mutex::core::{self as mutex, Taken};
use crate::sync::mutex::spins::Spins;
use crate::wait::Until;

type Death = Option<(&'static str, u32)>;

struct Shared {
    lock: RobustWord,
    condvar: CondvarWords,
    /// Changed under the lock only.
    items: AtomicU32,
}

fn lock(shared: &Shared, me: Thread) {
    let taken = mutex::take(&shared.lock, me, Until::Forever, &Spins::default()).unwrap();
    if taken == Taken::OwnerDied {
        mutex::mark_consistent(&shared.lock);
    }
}

/// Waits for an item and takes it.
fn take_item(shared: &Shared) {
    let me = Thread::current().unwrap();
    lock(shared, me);
    while shared.items.load(Ordering::Relaxed) == 0 {
        let place = shared.condvar.enter(me).unwrap();
        mutex::give_back(&shared.lock, me);
        let outcome = shared.condvar.sleep(place, me, Until::Forever).unwrap();
        assert_eq!(outcome, Outcome::Notified);
        lock(shared, me);
        shared.condvar.leave(place, me);
    }
    shared.items.fetch_sub(1, Ordering::Relaxed);
    mutex::give_back(&shared.lock, me);
}

fn put_item(shared: &Shared) {
    let me = Thread::current().unwrap();
    lock(shared, me);
    shared.items.fetch_add(1, Ordering::Relaxed);
    mutex::give_back(&shared.lock, me);
    shared.condvar.notify_one(me);
}

/// Takes an item, unless it dies at that, and puts it back.
fn pass_item(shared: &Shared, id: u32, death: Death) {
    if live(id, death, || take_item(shared)).is_some() {
        live(id, None, || put_item(shared));
    }
}

/// Takers with their deaths, and one item that goes round: all who live must have it once.
fn check(name: &str, bound: usize, takers: &'static [Death]) {
    check_with(name, bound, takers, None);
}

fn check_with(name: &str, bound: usize, takers: &'static [Death], notifier: Death) {
    explore(name, bound, move || {
        let shared = View::leak(Box::new(Shared {
            lock: RobustWord::new(),
            condvar: CondvarWords::new(),
            items: AtomicU32::new(0),
        }));
        let takers: Vec<_> = takers
            .iter()
            .enumerate()
            .map(|(place, &death)| {
                let shared = shared.clone();
                loom::thread::spawn(move || pass_item(&shared, place as u32 + 2, death))
            })
            .collect();
        // Whoever dies has taken no item: the one he was signalled for must reach somebody else. Whoever has taken it
        // puts it back for the others.
        live(1, notifier, || put_item(&shared));
        for taker in takers {
            taker.join().unwrap();
        }
    });
}

#[test]
fn model_a_waiter_is_notified() {
    check("one waiter", 3, &[None]);
}

#[test]
fn model_a_signalled_waiter_that_dies_passes_the_signal_on() {
    check("sleeping", 2, &[Some(("condvar:sleeping", 1)), None]);
    check("woken", 2, &[Some(("condvar:woken", 1)), None]);
}

#[test]
fn model_a_waiter_that_dies_while_it_takes_the_lock_passes_the_signal_on() {
    check("marked", 2, &[Some(("mutex:marked", 1)), None]);
    check("taken", 2, &[Some(("mutex:taken", 2)), None]);
    check("leaving", 2, &[Some(("condvar:leaving", 1)), None]);
}

/// Negative control: nobody watches the others' slots.
#[test]
fn model_unwatched_a_signal_dies_with_its_waiter() {
    must_fail(&test_name!(), "watch", || check("planted: unwatched", 2, &[Some(("condvar:woken", 1)), None]));
}

/// Negative control: the dead one's slot is freed and its signal forgotten.
#[test]
fn model_a_signal_that_is_not_passed_on_is_lost() {
    must_fail(&test_name!(), "rescue", || check("planted: not passed on", 2, &[Some(("condvar:woken", 1)), None]));
}

#[test]
fn model_a_notifier_that_dies_has_woken_whom_it_signalled() {
    check_with("notifier", 3, &[None], Some(("condvar:signalled", 1)));
}

/// Negative control: the signalled waiter's word is not pending in the notifier's list.
#[test]
fn model_a_notifier_without_a_pending_word_leaves_a_sleeper() {
    must_fail(&test_name!(), "notifier", || {
        check_with("planted: not pending", 3, &[None], Some(("condvar:signalled", 1)))
    });
}
