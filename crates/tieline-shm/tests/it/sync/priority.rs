//! Threads with real-time priorities: a lock that lends them, and one that does not.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tieline_shm::sync::{MutexOptions, RawMutex};
use tieline_testkit::{eventually, pause};

const SPIN: Duration = Duration::from_millis(300);

/// This thread runs on the first processor it may use, before all of lower priority; says whether that is permitted.
fn run_at(priority: u32) -> bool {
    let all = rustix::thread::sched_getaffinity(None).unwrap();
    let mut first = rustix::thread::CpuSet::new();
    first.set((0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap_or(0));
    let thread = rustix::thread::gettid();
    let mut chrt = Command::new("chrt");
    chrt.args(["--fifo", "--pid", &priority.to_string(), &thread.as_raw_nonzero().to_string()]);
    let is_permitted = chrt.output().is_ok_and(|output| output.status.success());
    is_permitted && rustix::thread::sched_setaffinity(None, &first).is_ok()
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
            eventually("low has the lock", || is_held.load(Ordering::Acquire));
            run_at(30);
            is_wanted.store(true, Ordering::Release);
            drop(lock.lock().unwrap());
            Instant::now()
        });
        let medium = scope.spawn(|| {
            eventually("high wants the lock", || is_wanted.load(Ordering::Acquire));
            // High has nothing else to do, so it sleeps by then.
            pause(Duration::from_millis(20));
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
