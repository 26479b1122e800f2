//! What is left of a lock when those who use it die: at each named step, and anywhere.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::sync::{LockError, Mutex, MutexGuard, MutexOptions};
use tieline_shm::{Error, ErrorKind};
use tieline_testkit::{PATIENCE, Peer, pause, role, soon, test_name};

use super::{Chance, peer, rounds, segment};

type Pair = [u64; 2];

/// Longer than any death takes to be noticed.
const LONG: Duration = PATIENCE;

/// Locks; repairs what a dead holder left half done.
fn sound(lock: &Mutex<Pair>) -> MutexGuard<'_, Pair> {
    match lock.lock_timeout(LONG) {
        Ok(pair) => {
            assert_eq!(pair[0], pair[1], "half done, and nobody said so");
            pair
        }
        Err(LockError::OwnerDied(mut pair)) => {
            pair[1] = pair[0];
            pair.mark_consistent();
            pair
        }
        Err(LockError::Failed(error)) => panic!("{error}"),
    }
}

fn work(lock: &Mutex<Pair>) {
    let mut pair = sound(lock);
    pair[0] += 1;
    std::hint::black_box(&mut pair);
    pair[1] += 1;
}

const STEPS: [&str; 11] = [
    "mutex:taken",
    "mutex:linked",
    "mutex:giving",
    "mutex:unlinked",
    "mutex:given",
    "mutex:marked",
    "mutex:woken",
    "mutex:woke",
    "mutex:taken:300",
    "mutex:given:300",
    "mutex:woken:3",
];

#[test]
fn a_death_at_any_step_leaves_a_lock_that_works() {
    if let Some(me) = role() {
        let lock = Mutex::<Pair>::from_fd(segment()).unwrap();
        me.say("ready");
        loop {
            work(&lock);
            if me.name() == "survivor" && std::fs::metadata(me.env("STOP")).is_ok() {
                return;
            }
        }
    }
    for inherit in [false, true] {
        for step in STEPS {
            // The kernel does the waiting there.
            let waits = ["marked", "woken", "woke"].iter().any(|word| step.contains(word));
            if inherit && waits {
                continue;
            }
            let lock = Mutex::anonymous([0, 0], &MutexOptions::new().inherit_priority(inherit)).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let stop = directory.path().join("stop");
            let start = |role| peer(&test_name!(), role, lock.as_fd()).env("STOP", &stop);
            let mut survivor = start("survivor").spawn();
            survivor.wait_for("ready");
            let mut victim = start("victim").env("TIELINE_STEP", format!("kill:{step}")).spawn();
            // Who contends from here makes the victim wait, so that every step is passed.
            let is_dead = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_dead.load(Ordering::Relaxed) {
                        let pair = sound(&lock);
                        pause(Duration::from_micros(20));
                        drop(pair);
                    }
                });
                let status = victim.exit_status();
                is_dead.store(true, Ordering::Relaxed);
                assert!(!status.success(), "{step}: the victim was to die");
            });
            for _ in 0..100 {
                work(&lock);
            }
            std::fs::write(&stop, b"").unwrap();
            survivor.succeeds();
        }
    }
}

/// Both at once, as with a process of several threads: each waiter killed may be the one that was just woken.
#[test]
fn deaths_at_random_instants_leave_a_lock_that_works() {
    if let Some(me) = role() {
        let lock = Mutex::<Pair>::from_fd(segment()).unwrap();
        me.say("ready");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    loop {
                        work(&lock);
                    }
                });
            }
        });
        return;
    }
    let mut chance = Chance(0x0dd5_eed5);
    for inherit in [false, true] {
        let lock = Mutex::anonymous([0, 0], &MutexOptions::new().inherit_priority(inherit)).unwrap();
        let mut victims: Vec<Peer> = Vec::new();
        for round in 0..rounds(100) / 2 {
            while victims.len() < 3 {
                let mut victim = peer(&test_name!(), "victim", lock.as_fd()).spawn();
                victim.wait_for("ready");
                victims.push(victim);
            }
            pause(Duration::from_micros(chance.below(3000)));
            let mut victim = victims.swap_remove(chance.below(3) as usize);
            victim.kill();
            let before = Instant::now();
            let pair = *sound(&lock);
            assert!(before.elapsed() < LONG, "round {round}: {pair:?}");
        }
        // Nobody of those who are left sleeps for ever: all of them go on.
        let done = sound(&lock)[0];
        tieline_testkit::eventually("the others go on", || sound(&lock)[0] > done + 1000);
    }
}

#[test]
fn a_survivor_is_told_within_ten_milliseconds() {
    if let Some(me) = role() {
        let lock = Mutex::<Pair>::from_fd(segment()).unwrap();
        let guard = lock.lock().unwrap();
        me.say("locked");
        me.wait_for("never");
        drop(guard);
        return;
    }
    soon("the death of a holder", Duration::from_millis(10), || {
        let lock = Mutex::anonymous([0_u64; 2], &MutexOptions::new()).unwrap();
        let mut holder = peer(&test_name!(), "holder", lock.as_fd()).spawn();
        holder.wait_for("locked");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let answer = lock.lock_timeout(LONG).map(drop).unwrap_err().kind();
                (answer, Instant::now())
            });
            pause(Duration::from_millis(5));
            let killed = Instant::now();
            holder.kill();
            let (answer, told) = waiter.join().unwrap();
            assert_eq!(answer, ErrorKind::OwnerDied);
            told.saturating_duration_since(killed)
        })
    });
}

#[test]
fn who_does_not_repair_makes_the_lock_unusable_for_all_who_wait() {
    for inherit in [false, true] {
        let lock = Mutex::anonymous([0_u64; 2], &MutexOptions::new().inherit_priority(inherit)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| std::mem::forget(lock.lock().unwrap())).join().unwrap();
        });
        let inherited = match lock.lock() {
            Err(LockError::OwnerDied(guard)) => guard,
            other => panic!("{other:?}"),
        };
        assert!(inherited.is_inherited());
        let told = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let refused = lock.lock_timeout(LONG).map(drop).unwrap_err();
                    assert_eq!(refused.kind(), ErrorKind::NotRecoverable);
                    told.fetch_add(1, Ordering::Relaxed);
                });
            }
            pause(Duration::from_millis(30));
            assert_eq!(told.load(Ordering::Relaxed), 0, "it is still being repaired");
            drop(inherited);
        });
        assert_eq!(told.load(Ordering::Relaxed), 4);
        assert_eq!(lock.try_lock().unwrap_err().kind(), ErrorKind::NotRecoverable);
        let error: Error = lock.lock().unwrap_err().into();
        assert!(error.is_peer_dead());
    }
}

#[test]
fn a_second_death_during_the_repair_is_told_again() {
    let lock = Mutex::anonymous([0_u64; 2], &MutexOptions::new()).unwrap();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let life = scope.spawn(|| match lock.lock() {
                Ok(guard) => std::mem::forget(guard),
                Err(LockError::OwnerDied(guard)) => std::mem::forget(guard),
                Err(LockError::Failed(error)) => panic!("{error}"),
            });
            life.join().unwrap();
        });
    }
    match lock.lock() {
        Err(LockError::OwnerDied(guard)) => guard.mark_consistent(),
        other => panic!("{other:?}"),
    }
    assert!(lock.lock().is_ok());
}
