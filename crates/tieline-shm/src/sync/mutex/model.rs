//! The word's protocol under loom, with the kernel's part, and with deaths at each step.
//!
//! Each model: some threads lock, check that they are alone, and unlock; one or two of them die at a named step. All
//! who live must come to their end (loom reports a deadlock otherwise), and a death while the lock is held must be
//! told. Preemption bound 3 with two threads, 2 with three.

use loom::cell::UnsafeCell;
use tieline_testkit::test_name;

use super::core::{self, Taken};
use super::spins::Spins;
use crate::error::ErrorKind;
use crate::model::{explore, must_fail};
use crate::raw::View;
use crate::raw::atomic::Ordering;
use crate::raw::robust::model::live;
use crate::raw::robust::{RobustWord, Thread, WAITERS};
use crate::wait::Until;

type Death = Option<(&'static str, u32)>;

struct Shared {
    word: RobustWord,
    /// What the lock guards: loom fails a model in which two touch it at once.
    value: UnsafeCell<u32>,
}

// SAFETY: the value is touched under the lock only, which is what the models check.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// One turn: says what came of it.
fn turn(shared: &Shared, repairs: bool) -> Result<Taken, ErrorKind> {
    let me = Thread::current().unwrap();
    let taken = core::take(&shared.word, me, Until::Forever, &Spins::default()).map_err(|error| error.kind())?;
    // SAFETY: loom checks it.
    shared.value.with_mut(|value| unsafe { *value += 1 });
    if taken == Taken::OwnerDied && repairs {
        core::mark_consistent(&shared.word);
    }
    core::give_back(&shared.word, me);
    Ok(taken)
}

/// Runs each life, of so many turns and with its death, in a thread of its own; counts the executions.
fn check(name: &str, bound: usize, lives: &'static [(u32, Death)]) {
    explore(name, bound, move || {
        let shared = View::leak(Box::new(Shared { word: RobustWord::new(), value: UnsafeCell::new(0) }));
        let run = |place: usize| {
            let shared = shared.clone();
            let (turns, death) = lives[place];
            move || live(place as u32 + 1, death, || (0..turns).for_each(|_| assert!(turn(&shared, true).is_ok())))
        };
        let others: Vec<_> = (1..lives.len()).map(|place| loom::thread::spawn(run(place))).collect();
        run(0)();
        for other in others {
            let _ = other.join().unwrap();
        }
        // Whoever is dead, the lock is left such that it can be taken.
        live(9, None, || turn(&shared, true).unwrap());
    });
}

#[test]
fn model_two_threads_exclude_each_other() {
    check("two threads", 3, &[(2, None), (1, None)]);
}

#[test]
fn model_three_threads_exclude_each_other() {
    check("three threads", 2, &[(1, None), (1, None), (1, None)]);
}

#[test]
fn model_a_holder_dies_at_any_step() {
    check("taken", 3, &[(1, Some(("mutex:taken", 1))), (1, None)]);
    check("linked", 3, &[(1, Some(("mutex:linked", 1))), (1, None)]);
    check("giving", 3, &[(1, Some(("mutex:giving", 1))), (1, None)]);
    check("unlinked", 3, &[(1, Some(("mutex:unlinked", 1))), (1, None)]);
    check("given", 3, &[(1, Some(("mutex:given", 1))), (1, None)]);
    check("woke", 3, &[(1, Some(("mutex:woke", 1))), (1, None)]);
}

#[test]
fn model_a_waiter_dies_at_any_step_while_another_waits() {
    check("marked", 2, &[(1, None), (1, Some(("mutex:marked", 1))), (1, None)]);
    check("woken", 2, &[(1, None), (1, Some(("mutex:woken", 1))), (1, None)]);
    check("taken", 2, &[(1, None), (1, Some(("mutex:taken", 1))), (1, None)]);
}

/// glibc's mutex fails here: the one woken dies, and who came in between knows of no waiters. (musl's 882aedf6 and
/// 159d1f6c repair the same in its semaphore: a wake-up that depends on a count that was true a moment ago.)
#[test]
fn model_a_woken_waiter_dies_while_another_barges_in() {
    check("woken, barging", 2, &[(2, None), (1, Some(("mutex:woken", 1))), (1, None)]);
}

#[test]
fn model_holder_and_waiter_die() {
    check("given and woken", 2, &[(1, Some(("mutex:given", 1))), (1, Some(("mutex:woken", 1))), (1, None)]);
    check("linked and woken", 2, &[(1, Some(("mutex:linked", 1))), (1, Some(("mutex:woken", 1))), (1, None)]);
}

#[test]
fn model_a_lock_given_up_is_told_to_all() {
    explore("given up", 2, || {
        let shared = View::leak(Box::new(Shared { word: RobustWord::new(), value: UnsafeCell::new(0) }));
        live(1, Some(("mutex:linked", 1)), || turn(&shared, true));
        let lives = [None, Some(("mutex:given-up", 1)), None];
        let others: Vec<_> = (2..4)
            .map(|id| {
                let shared = shared.clone();
                loom::thread::spawn(move || live(id, lives[id as usize - 1], || turn(&shared, false)))
            })
            .collect();
        let mine = live(4, None, || turn(&shared, false)).unwrap();
        let answers: Vec<_> = others.into_iter().filter_map(|other| other.join().unwrap()).chain([mine]).collect();
        assert!(answers.iter().filter(|answer| answer.is_ok()).count() <= 1, "{answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(Taken::OwnerDied) | Err(ErrorKind::NotRecoverable))));
    });
}

/// Who gave the lock back, woke nobody, and is slow to wipe the mark, must not wipe that of sleepers who came since:
/// whoever took the marked lock in between has changed the turn. (As a model of its own this takes five threads.)
fn a_marked_lock_that_is_taken_again_does_not_look_as_before() {
    explore("a marked lock, taken again", None, || {
        let word = View::leak(Box::new(RobustWord::new()));
        let left = u64::from(WAITERS);
        word.state.store(left, Ordering::Relaxed);
        live(1, None, || {
            let me = Thread::current().unwrap();
            core::take(&word, me, Until::Forever, &Spins::default()).unwrap();
            assert_ne!(word.state.load(Ordering::Relaxed) - u64::from(me.id()), left, "it looks as before");
        });
    });
}

#[test]
fn model_a_slow_wipe_fails() {
    a_marked_lock_that_is_taken_again_does_not_look_as_before();
}

/// Negative control: who takes the lock does not change its turn.
#[test]
fn model_a_slow_wipe_needs_the_turn() {
    must_fail(&test_name!(), "turn", a_marked_lock_that_is_taken_again_does_not_look_as_before);
}

/// Negative control: a release that wipes the mark, as glibc's does.
#[test]
fn model_a_release_that_wipes_the_mark_forgets_a_sleeper() {
    must_fail(&test_name!(), "wipe", || {
        check("planted: wipe", 2, &[(2, None), (1, Some(("mutex:woken", 1))), (1, None)])
    });
}

/// Negative control: who waits does not have the lock pending.
#[test]
fn model_a_waiter_without_a_pending_lock_swallows_a_wake_up() {
    must_fail(&test_name!(), "pending", || {
        check("planted: not pending", 2, &[(1, None), (1, Some(("mutex:woken", 1))), (1, None)])
    });
}

/// Negative control: who woke nobody clears the mark without looking whether somebody has taken the lock meanwhile.
#[test]
fn model_a_mark_that_is_cleared_unseen_forgets_a_sleeper() {
    must_fail(&test_name!(), "clear", || check("planted: cleared unseen", 3, &[(1, None), (1, None), (1, None)]));
}
