//! Threads with real-time priorities: a lock that lends them, and one that does not.

use std::mem::zeroed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::sync::{MutexOptions, RawMutex};

const SPIN: Duration = Duration::from_millis(300);

/// This thread runs on the first processor it may use, before all of lower priority; says whether that is permitted.
fn run_at(priority: i32) -> bool {
    // SAFETY: all zeros is an empty set.
    let mut all: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: a place of that size; 0 is the calling thread.
    unsafe { libc::sched_getaffinity(0, size_of_val(&all), &raw mut all) };
    // SAFETY: the number is below the size of the set.
    let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| unsafe { libc::CPU_ISSET(cpu, &all) });
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(first.unwrap_or(0), &mut one) };
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: a set of that size; 0 is the calling thread.
    let is_pinned = unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) } == 0;
    // SAFETY: a parameter of the right type; 0 is the calling thread.
    is_pinned && unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) } == 0
}

fn until_set(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

/// Low holds the lock, high waits for it, and medium, which wants nothing of it, takes the only processor. Answers how
/// long high waited from then on; `None` if this machine permits no such priorities.
fn inversion(lock: &RawMutex) -> Option<Duration> {
    let [is_held, is_wanted, may_go_on] = [const { AtomicBool::new(false) }; 3];
    std::thread::scope(|scope| {
        let low = scope.spawn(|| {
            let permitted = run_at(10);
            let guard = lock.lock().unwrap();
            is_held.store(true, Ordering::Release);
            if permitted {
                until_set(&may_go_on);
            }
            drop(guard);
            permitted
        });
        let high = scope.spawn(|| {
            while !is_held.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            run_at(30);
            is_wanted.store(true, Ordering::Release);
            drop(lock.lock().unwrap());
            Instant::now()
        });
        let medium = scope.spawn(|| {
            while !is_wanted.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // High has nothing else to do, so it sleeps by now.
            std::thread::sleep(Duration::from_millis(20));
            run_at(20);
            let began = Instant::now();
            may_go_on.store(true, Ordering::Release);
            while began.elapsed() < SPIN {
                std::hint::spin_loop();
            }
            began
        });
        let (had, began) = (high.join().unwrap(), medium.join().unwrap());
        low.join().unwrap().then(|| had.saturating_duration_since(began))
    })
}

#[test]
fn priority_is_lent_to_the_holder_if_the_lock_inherits() {
    let waited = |inherit| inversion(&RawMutex::anonymous(&MutexOptions::new().inherit_priority(inherit)).unwrap());
    let (Some(with), Some(without)) = (waited(true), waited(false)) else {
        return eprintln!("skipped: this machine permits us no real-time priorities");
    };
    assert!(with < SPIN / 2, "high waited {with:?} for medium");
    assert!(without > SPIN / 2, "without inheritance high waits for medium, or this test shows nothing: {without:?}");
}
