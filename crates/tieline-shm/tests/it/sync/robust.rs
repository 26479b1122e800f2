//! The thread's list of what it holds, shared with the C library.

use std::mem::forget;

use rustix::process::Signal;
use tieline_os::mapping::Mapping;
use tieline_os::pthread::{self, Locked, Place};
use tieline_shm::ErrorKind;
use tieline_shm::sync::{LockError, MutexOptions, RawMutex};
use tieline_testkit::{Forked, role, test_name};

use super::{Chance, peer, rounds, segment};

/// Locks and unlocks of both sorts, mixed in every order, by a thread that then ends with some of them held.
#[test]
fn the_c_librarys_robust_mutexes_and_ours_share_a_thread() {
    const EACH: usize = 4;
    for seed in 1..=u64::from(rounds(300)) {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let memory = Mapping::anonymous(4096).unwrap();
        let theirs: Vec<_> = (0..EACH)
            .map(|number| {
                // SAFETY: the memory is this test's alone.
                let place = unsafe { Place::trusting(&memory, number * 128) };
                pthread::Mutex::create(place, pthread::MutexOptions::new().robust(true)).unwrap()
            })
            .collect();
        let ours: Vec<_> = (0..EACH)
            .map(|number| RawMutex::anonymous(&MutexOptions::new().inherit_priority(number == 0)).unwrap())
            .collect();
        let (theirs, ours) = (&theirs, &ours);
        let (left_theirs, left_ours) = std::thread::scope(|scope| {
            let life = scope.spawn(move || {
                let mut held_theirs: [Option<_>; EACH] = Default::default();
                let mut held_ours: [Option<_>; EACH] = Default::default();
                for _ in 0..40 {
                    let place = chance.below(EACH as u64) as usize;
                    if chance.below(2) == 0 {
                        held_theirs[place] = match held_theirs[place].take() {
                            Some(_) => None,
                            None => match theirs[place].lock().unwrap() {
                                Locked::Clean(guard) => Some(guard),
                                Locked::OwnerDied(_) => panic!("seed {seed}: nobody died"),
                            },
                        };
                    } else {
                        held_ours[place] = match held_ours[place].take() {
                            Some(_) => None,
                            None => Some(ours[place].lock().unwrap()),
                        };
                    }
                }
                let left = (held_theirs.each_ref().map(Option::is_some), held_ours.each_ref().map(Option::is_some));
                forget((held_theirs, held_ours));
                left
            });
            life.join().unwrap()
        });
        for place in 0..EACH {
            let died = matches!(theirs[place].try_lock().unwrap(), Locked::OwnerDied(_));
            assert_eq!(died, left_theirs[place], "seed {seed}: the C library's mutex {place}");
            let died = matches!(ours[place].try_lock(), Err(LockError::OwnerDied(_)));
            assert_eq!(died, left_ours[place], "seed {seed}: our lock {place}");
        }
    }
}

#[test]
fn a_thread_that_ends_without_unlocking_is_a_dead_owner() {
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    for _ in 0..50 {
        std::thread::scope(|scope| {
            // Joined by hand: the end of the scope does not wait until the kernel has ended the thread.
            scope.spawn(|| forget(lock.lock().unwrap())).join().unwrap();
        });
        match lock.try_lock() {
            Err(LockError::OwnerDied(guard)) => guard.mark_consistent(),
            other => panic!("{other:?}"),
        }
        drop(lock.lock().unwrap());
    }
}

/// The list goes on to name the memory of a forgotten guard: it must stay there, and stay the lock's, or the kernel
/// would write to what is mapped there by then (the kind of race of musl's 233bb697).
#[test]
fn a_forgotten_guard_keeps_the_memory_although_the_handle_is_dropped() {
    let looker = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    let fd = looker.as_fd().unwrap().try_clone_to_owned().unwrap();
    std::thread::scope(|scope| {
        let life = scope.spawn(|| {
            let lock = RawMutex::from_fd(fd).unwrap();
            forget(lock.lock().unwrap());
            drop(lock);
        });
        life.join().unwrap();
    });
    assert_eq!(looker.try_lock().unwrap_err().kind(), ErrorKind::OwnerDied);
}

#[test]
fn a_child_by_fork_owns_nothing_of_its_parents() {
    if role().is_some() {
        let lock = RawMutex::from_fd(segment()).unwrap();
        let guard = lock.lock().unwrap();
        let mut guard = Some(guard);
        let child = Forked::run(|| {
            drop(guard.take());
            assert!(lock.is_locked(), "the lock of the parent");
            assert_eq!(lock.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
            let other = RawMutex::anonymous(&MutexOptions::new()).unwrap();
            let own = other.lock().unwrap();
            assert_eq!(other.owner(), Some(rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()));
            drop(own);
            assert!(!other.is_locked());
            // The child ends holding the lock it made, and that of its parent stays the parent's.
            forget(other.lock());
        });
        child.succeeds();
        assert!(lock.is_locked(), "still ours");
        drop(guard);
        assert!(!lock.is_locked());
        return;
    }
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    peer(&test_name!(), "parent", lock.as_fd().unwrap()).spawn().succeeds();
    drop(lock.lock().unwrap());
}

#[test]
fn a_stopped_holder_holds_on() {
    if let Some(me) = role() {
        let lock = RawMutex::from_fd(segment()).unwrap();
        let guard = lock.lock().unwrap();
        me.say("locked");
        me.wait_for("unlock");
        drop(guard);
        return;
    }
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    let mut holder = peer(&test_name!(), "holder", lock.as_fd().unwrap()).spawn();
    holder.wait_for("locked");
    holder.stop();
    let refused = lock.lock_timeout(std::time::Duration::from_millis(50)).unwrap_err();
    assert!(refused.is_timeout(), "{refused:?}");
    holder.signal(Signal::CONT);
    holder.say("unlock");
    drop(lock.lock().unwrap());
    holder.succeeds();
}
