//! What a lock does while everyone lives.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::sync::{Mutex, MutexKind, MutexOptions, RawMutex};
use tieline_testkit::{PATIENCE, eventually, role, test_name};

use super::{peer, segment};

fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

fn all_kinds() -> Vec<MutexOptions> {
    let kinds = [MutexKind::Normal, MutexKind::Recursive, MutexKind::ErrorChecking];
    let options = |kind, inherit| MutexOptions::new().kind(kind).inherit_priority(inherit);
    kinds.into_iter().flat_map(|kind| [options(kind, false), options(kind, true)]).collect()
}

#[test]
fn a_lock_keeps_others_out() {
    for inherit in [false, true] {
        let options = MutexOptions::new().name("balance").inherit_priority(inherit);
        let lock = Mutex::anonymous(1_u64, &options).unwrap();
        let other = Mutex::<u64>::from_fd(lock.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let guard = lock.lock().unwrap();
        assert!(other.raw().is_locked());
        assert_eq!(other.raw().owner(), Some(thread_id()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(other.try_lock().unwrap_err().kind(), ErrorKind::WouldBlock);
                let before = Instant::now();
                assert!(other.lock_timeout(Duration::from_millis(30)).unwrap_err().is_timeout());
                assert!(before.elapsed() >= Duration::from_millis(30));
            });
        });
        drop(guard);
        assert!(!other.raw().is_locked());
        *other.lock().unwrap() += 1;
        assert_eq!(*lock.lock().unwrap(), 2);
    }
}

#[test]
fn locking_twice_does_what_the_kind_says() {
    for options in all_kinds() {
        let lock = RawMutex::anonymous(&options).unwrap();
        let _held = lock.lock().unwrap();
        let forever = lock.lock().map(drop).map_err(|error| error.kind());
        let now = lock.try_lock().map(drop).map_err(|error| error.kind());
        let timed = lock.lock_timeout(Duration::from_millis(5)).map(drop).map_err(|error| error.kind());
        let expected = match lock.kind() {
            MutexKind::Recursive => [Ok(()), Ok(()), Ok(())],
            MutexKind::ErrorChecking => [Err(ErrorKind::Deadlock); 3],
            _ => [Err(ErrorKind::Deadlock), Err(ErrorKind::WouldBlock), Err(ErrorKind::TimedOut)],
        };
        assert_eq!([forever, now, timed], expected, "{options:?}");
        assert!(lock.is_locked());
    }
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    for inherit in [false, true] {
        let locks: Vec<_> =
            (0..5).map(|_| RawMutex::anonymous(&MutexOptions::new().inherit_priority(inherit)).unwrap()).collect();
        let mut guards: Vec<_> = locks.iter().map(|lock| Some(lock.lock().unwrap())).collect();
        for place in [2, 0, 4, 3, 1] {
            guards[place] = None;
            for (lock, guard) in locks.iter().zip(&guards) {
                assert_eq!(lock.is_locked(), guard.is_some());
            }
        }
    }
}

#[test]
fn locking_again_is_no_lock_more() {
    let recursive = RawMutex::anonymous(&MutexOptions::new().kind(MutexKind::Recursive)).unwrap();
    let many: Vec<_> = (0..5000).map(|_| recursive.lock().unwrap()).collect();
    assert_eq!(recursive.owner(), Some(thread_id()));
    drop(many);
    assert!(!recursive.is_locked());
}

#[test]
fn what_is_no_lock_is_refused() {
    let number = Mutex::anonymous(1_u64, &MutexOptions::new()).unwrap();
    let fd = || number.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(Mutex::<i64>::from_fd(fd()).unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(RawMutex::from_fd(fd()).unwrap_err().kind(), ErrorKind::Mismatch);
    let recursive = MutexOptions::new().kind(MutexKind::Recursive);
    assert_eq!(Mutex::anonymous(1_u64, &recursive).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn eight_processes_count_together() {
    const EACH: u64 = 20_000;
    if let Some(me) = role() {
        let lock = Mutex::<[u64; 2]>::from_fd(segment()).unwrap();
        me.say("ready");
        me.wait_for("go");
        for _ in 0..EACH {
            let mut pair = lock.lock().unwrap();
            assert_eq!(pair[0], pair[1], "somebody else is in here");
            pair[0] += 1;
            pair[1] += 1;
        }
        return;
    }
    for inherit in [false, true] {
        let lock = Mutex::anonymous([0_u64; 2], &MutexOptions::new().inherit_priority(inherit)).unwrap();
        let mut peers: Vec<_> = (0..8).map(|_| peer(&test_name!(), "counter", lock.as_fd()).spawn()).collect();
        peers.iter_mut().for_each(|peer| peer.wait_for("ready"));
        peers.iter_mut().for_each(|peer| peer.say("go"));
        peers.into_iter().for_each(tieline_testkit::Peer::succeeds);
        assert_eq!(*lock.lock().unwrap(), [8 * EACH; 2]);
        assert!(!lock.raw().is_locked());
    }
}

#[test]
fn waiters_that_give_up_leave_the_others_their_turn() {
    let lock = RawMutex::anonymous(&MutexOptions::new()).unwrap();
    let got = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let guard = lock.lock().unwrap();
        let start = |patience| {
            let (lock, got) = (&lock, &got);
            scope.spawn(move || match lock.lock_timeout(patience) {
                Ok(_) => drop(got.fetch_add(1, Ordering::Relaxed)),
                Err(error) => assert!(error.is_timeout(), "{error:?}"),
            })
        };
        let patient = |_| drop(start(PATIENCE));
        (0..2).for_each(patient);
        let impatient = [1, 5, 10].map(|patience_ms| start(Duration::from_millis(patience_ms)));
        (0..1).for_each(patient);
        tieline_testkit::pause(Duration::from_millis(40));
        // They give up while it is held, however late they begin.
        impatient.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(got.load(Ordering::Relaxed), 0);
        drop(guard);
        eventually("the patient ones get their turn", || got.load(Ordering::Relaxed) == 3);
    });
}
