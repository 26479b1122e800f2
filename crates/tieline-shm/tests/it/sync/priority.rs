//! Threads with real-time priorities: a lock that lends them, and one that does not.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tieline_shm::sync::{MutexOptions, RawMutex};
use tieline_testkit::{eventually, skip, sleeps};

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_millis(300);

/// This thread runs before all of lower priority; says whether that is permitted.
fn run_at(priority: u32) -> bool {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut chrt = Command::new("chrt");
    chrt.args(["--fifo", "--pid", &priority.to_string(), &thread]);
    chrt.output().is_ok_and(|output| output.status.success())
}

/// This thread runs on the first processor it may use and on no other.
fn stay_on_one_processor() {
    let all = sched_getaffinity(None).unwrap();
    let mut first = CpuSet::new();
    first.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("it runs somewhere"));
    sched_setaffinity(None, &first).unwrap();
}

/// Works until this thread has used so much of a processor.
fn work(amount: Duration) {
    let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let began = used();
    while used() - began < amount {
        std::hint::spin_loop();
    }
}

/// Low holds the lock and has work to do, high waits for it, and medium, which wants nothing of it, has more work to do on
/// the same processor. Answers whether high had the lock before medium was done; `None` if this machine permits no such
/// priorities. Nobody waits for anybody but high for the lock, so this ends whoever runs first.
fn inversion(lock: &RawMutex) -> Option<bool> {
    let [is_held, may_go_on, is_done] = [const { AtomicBool::new(false) }; 3];
    let wants_it = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let low = scope.spawn(|| {
            let permitted = run_at(10);
            stay_on_one_processor();
            let guard = lock.lock().unwrap();
            is_held.store(true, Ordering::Release);
            eventually("medium is there", || may_go_on.load(Ordering::Acquire));
            work(SHORT);
            drop(guard);
            permitted
        });
        let high = scope.spawn(|| {
            let permitted = run_at(30);
            stay_on_one_processor();
            eventually("low has the lock", || is_held.load(Ordering::Acquire));
            wants_it.store(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(), Ordering::Release);
            drop(lock.lock().unwrap());
            permitted.then(|| !is_done.load(Ordering::Acquire))
        });
        let medium = scope.spawn(|| {
            let permitted = run_at(20);
            eventually("high waits for the lock", || match wants_it.load(Ordering::Acquire) {
                0 => false,
                high => sleeps(high),
            });
            // From here on low runs there only in the place of high.
            stay_on_one_processor();
            may_go_on.store(true, Ordering::Release);
            work(LONG);
            is_done.store(true, Ordering::Release);
            permitted
        });
        let (was_before, permitted) = (high.join().unwrap(), medium.join().unwrap());
        was_before.filter(|_| low.join().unwrap() && permitted)
    })
}

#[test]
fn priority_is_lent_to_the_holder_if_the_lock_inherits() {
    let is_before = |inherit| inversion(&RawMutex::anonymous(&MutexOptions::new().inherit_priority(inherit)).unwrap());
    let (Some(with), Some(without)) = (is_before(true), is_before(false)) else {
        skip!("this machine permits us no real-time priorities");
    };
    assert!(with, "high waited for medium too");
    assert!(!without, "without inheritance high waits for medium, or this test shows nothing");
}
