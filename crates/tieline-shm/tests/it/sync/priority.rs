//! Threads with real-time priorities: a lock that lends them, and one that does not.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tieline_shm::sync::{MutexOptions, RawMutex};
use tieline_testkit::{eventually, pause};

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
/// the same processor. Answers how long high waited from then on; `None` if this machine permits no such priorities.
/// Nobody waits for anybody but high for the lock, so this ends whoever runs first.
fn inversion(lock: &RawMutex) -> Option<Duration> {
    let [is_held, is_wanted, may_go_on] = [const { AtomicBool::new(false) }; 3];
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
            run_at(30);
            stay_on_one_processor();
            eventually("low has the lock", || is_held.load(Ordering::Acquire));
            is_wanted.store(true, Ordering::Release);
            drop(lock.lock().unwrap());
            Instant::now()
        });
        let medium = scope.spawn(|| {
            run_at(20);
            eventually("high wants the lock", || is_wanted.load(Ordering::Acquire));
            // High has nothing else to do, so it sleeps by then.
            pause(Duration::from_millis(20));
            let began = Instant::now();
            may_go_on.store(true, Ordering::Release);
            stay_on_one_processor();
            work(LONG);
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
    assert!(with < LONG, "high waited {with:?}, for medium too");
    assert!(without >= LONG, "without inheritance high waits for medium, or this test shows nothing: {without:?}");
}
