//! Waiting inside a lock, and who gets the signal when a waiter or a notifier dies.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::sync::{Condvar, LockError, Mutex, MutexGuard, MutexKind, MutexOptions, RawMutex, WaitOutcome};
use tieline_testkit::{PATIENCE, Peer, eventually, pause, role, test_name};

use super::{Chance, peer, rounds, segment, segment_of};

const LONG: Duration = PATIENCE;

/// Locks. A holder that died may have taken a signal and not what it stood for, so all are told to look.
fn sound<'a>(items: &'a Mutex<u64>, not_empty: &Condvar) -> MutexGuard<'a, u64> {
    match items.lock_timeout(LONG) {
        Ok(guard) => guard,
        Err(LockError::OwnerDied(guard)) => {
            guard.mark_consistent();
            not_empty.notify_all();
            guard
        }
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

/// Takes an item; `None` after too long a time.
fn take(items: &Mutex<u64>, not_empty: &Condvar) -> Option<u64> {
    let began = Instant::now();
    let mut held = sound(items, not_empty);
    while *held == 0 {
        let waited = not_empty.wait_timeout(held, LONG);
        let (guard, _) = match waited {
            Ok(pair) => pair,
            Err(LockError::OwnerDied((guard, outcome))) => {
                guard.mark_consistent();
                not_empty.notify_all();
                (guard, outcome)
            }
            Err(LockError::Failed(error)) => panic!("{error}"),
        };
        held = guard;
        if began.elapsed() >= LONG {
            return None;
        }
    }
    *held -= 1;
    Some(*held)
}

/// Also with a lock that inherits priority, whose state once was mistaken for a waiter count (musl, 2d0bbe6c).
#[test]
fn a_wait_ends_by_signal_or_by_time() {
    for inherit in [false, true] {
        let items = Mutex::anonymous(0_u64, &MutexOptions::new().inherit_priority(inherit)).unwrap();
        let condvar = Condvar::anonymous().unwrap();
        let before = Instant::now();
        let (guard, outcome) = condvar.wait_timeout(items.lock().unwrap(), Duration::from_millis(20)).unwrap();
        assert_eq!(outcome, WaitOutcome::TimedOut);
        assert!(before.elapsed() >= Duration::from_millis(20));
        drop(guard);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| take(&items, &condvar));
            eventually("it waits", || condvar.waiters() == 1);
            *items.lock().unwrap() += 1;
            condvar.notify_one();
            assert_eq!(waiter.join().unwrap(), Some(0));
        });
        assert_eq!(condvar.waiters(), 0);
    }
}

#[test]
fn who_has_waited_longest_is_signalled_first() {
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    let condvar = Condvar::anonymous().unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for number in 0..20_usize {
            let (lock, condvar, order) = (&lock, &condvar, &order);
            scope.spawn(move || {
                let guard = lock.lock().unwrap();
                let guard = condvar.wait(guard).unwrap();
                order.lock().unwrap().push(number);
                drop(guard);
            });
            eventually("it waits", || condvar.waiters() == number + 1);
        }
        for number in 0..20 {
            condvar.notify_one();
            eventually("one was woken", || order.lock().unwrap().len() == number + 1);
        }
    });
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[test]
fn notify_all_wakes_all_and_more_than_the_table_holds_are_refused() {
    const ROOM: usize = 62;
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    let condvar = Condvar::anonymous().unwrap();
    let woken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ROOM {
            scope.spawn(|| {
                let guard = lock.lock().unwrap();
                drop(condvar.wait(guard).unwrap());
                woken.fetch_add(1, Ordering::Relaxed);
            });
        }
        eventually("all wait", || condvar.waiters() == ROOM);
        let refused = condvar.wait(lock.lock().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::LimitReached);
        assert!(!lock.is_locked());
        condvar.notify_all();
    });
    assert_eq!(woken.load(Ordering::Relaxed), 62);
}

#[test]
fn what_others_could_never_end_is_refused() {
    let lock = RawMutex::anonymous(&MutexOptions::new().kind(MutexKind::Recursive)).unwrap();
    let condvar = Condvar::anonymous().unwrap();
    let _outer = lock.lock().unwrap();
    let refused = condvar.wait(lock.lock().unwrap()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Deadlock);
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    std::thread::scope(|scope| scope.spawn(|| std::mem::forget(lock.lock())).join().unwrap());
    let Err(LockError::OwnerDied(guard)) = lock.lock() else { panic!("its owner died") };
    let Err(LockError::OwnerDied(guard)) = condvar.wait(guard) else { panic!("unrepaired, it comes back") };
    guard.mark_consistent();
}

const WAITER_STEPS: [&str; 12] = [
    "condvar:taken",
    "condvar:waiting",
    "condvar:sleeping",
    "condvar:woken",
    "condvar:leaving",
    "condvar:unlinked",
    "condvar:freed",
    "condvar:rescuing",
    "condvar:reach-told",
    "condvar:reach-woken",
    "mutex:woken",
    "mutex:taken:2",
];

/// Two survivors and a victim wait for items; the victim dies at the step. Every item that is put afterwards is taken.
#[test]
fn a_waiter_that_dies_at_any_step_swallows_no_signal() {
    if let Some(me) = role() {
        let items = Mutex::<u64>::from_fd(segment()).unwrap();
        let not_empty = Condvar::from_fd(segment_of("CONDVAR")).unwrap();
        me.say("ready");
        while take(&items, &not_empty).is_some() {
            me.say("took");
        }
        panic!("forgotten");
    }
    for step in WAITER_STEPS {
        let items = Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
        let not_empty = Condvar::anonymous().unwrap();
        let start = |name: &str, step: &str| {
            let mut peer = peer(&test_name!(), name, items.as_fd());
            peer = super::with_segment(peer, "CONDVAR", not_empty.as_fd());
            let mut peer = peer.env("TIELINE_STEP", step).spawn();
            peer.wait_for("ready");
            peer
        };
        // The victim first: it has waited longest, and is signalled first.
        let mut victim = start("victim", &format!("kill:{step}"));
        let mut survivors = [start("survivor", ""), start("survivor", "")];
        eventually("they wait", || not_empty.waiters() >= 2);
        for _ in 0..20 {
            *sound(&items, &not_empty) += 1;
            not_empty.notify_one();
            eventually(&format!("the item is taken, {step}"), || *sound(&items, &not_empty) == 0);
        }
        victim.kill();
        survivors.iter_mut().for_each(Peer::kill);
    }
}

#[test]
fn a_notifier_that_dies_after_the_signal_has_woken() {
    if let Some(me) = role() {
        let items = Mutex::<u64>::from_fd(segment()).unwrap();
        let not_empty = Condvar::from_fd(segment_of("CONDVAR")).unwrap();
        *items.lock().unwrap() += 1;
        not_empty.notify_one();
        me.say("not reached");
        return;
    }
    for step in ["condvar:signalled", "condvar:notified"] {
        let items = Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
        let not_empty = Condvar::anonymous().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| take(&items, &not_empty));
            eventually("it waits", || not_empty.waiters() == 1);
            let notifier = peer(&test_name!(), "notifier", items.as_fd());
            let notifier = super::with_segment(notifier, "CONDVAR", not_empty.as_fd());
            let mut notifier = notifier.env("TIELINE_STEP", format!("kill:{step}")).spawn();
            assert!(!notifier.exit_status().success());
            assert_eq!(waiter.join().unwrap(), Some(0));
        });
    }
}

/// Takers of two threads each are killed at random; every item is taken, and nobody is forgotten.
#[test]
fn takers_killed_at_random_swallow_no_signal() {
    if let Some(me) = role() {
        let items = Mutex::<u64>::from_fd(segment()).unwrap();
        let not_empty = Condvar::from_fd(segment_of("CONDVAR")).unwrap();
        me.say("ready");
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| while take(&items, &not_empty).is_some() {});
            }
        });
        panic!("forgotten");
    }
    let items = Mutex::anonymous(0_u64, &MutexOptions::new()).unwrap();
    let not_empty = Condvar::anonymous().unwrap();
    let mut chance = Chance(0x00c0_ffee);
    let mut takers: Vec<Peer> = Vec::new();
    for round in 0..rounds(100) {
        while takers.len() < 3 {
            let taker = super::with_segment(peer(&test_name!(), "taker", items.as_fd()), "CONDVAR", not_empty.as_fd());
            let mut taker = taker.spawn();
            taker.wait_for("ready");
            takers.push(taker);
        }
        let mut victim = takers.swap_remove(chance.below(3) as usize);
        std::thread::scope(|scope| {
            let delay = Duration::from_micros(chance.below(300));
            scope.spawn(move || {
                pause(delay);
                victim.kill();
            });
            for _ in 0..5 {
                *sound(&items, &not_empty) += 1;
                not_empty.notify_one();
            }
        });
        eventually(&format!("all items are taken, round {round}"), || *sound(&items, &not_empty) == 0);
    }
}
