//! Memory barriers on other processors.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, compiler_fence};

use tieline_os::ErrorKind;
use tieline_os::membarrier::{self, Barrier};
use tieline_testkit::{Peer, role, test_name};

/// Registration belongs to the process, and tests share one; so this runs in a process of its own.
#[test]
fn a_barrier_of_the_process_must_be_registered_for() {
    if let Some(me) = role() {
        for barrier in [Barrier::Process, Barrier::ProcessCode] {
            if !barrier.is_supported() {
                assert_eq!(membarrier::run(barrier).unwrap_err().kind(), ErrorKind::Unsupported);
                continue;
            }
            let early = membarrier::run(barrier).unwrap_err();
            assert_eq!((early.kind(), early.errno()), (ErrorKind::PermissionDenied, Some(1)), "{early}");
            assert!(early.to_string().ends_with("register for this barrier first"), "{early}");
            membarrier::register(barrier).unwrap();
            membarrier::register(barrier).unwrap();
            membarrier::run(barrier).unwrap();
        }
        // The one who calls for everyone registered need not be registered, and the slow one needs nothing.
        for barrier in [Barrier::Registered, Barrier::Machine] {
            if barrier.is_supported() {
                membarrier::run(barrier).unwrap();
                membarrier::register(barrier).unwrap();
                membarrier::run(barrier).unwrap();
            } else {
                assert_eq!(membarrier::run(barrier).unwrap_err().kind(), ErrorKind::Unsupported);
            }
        }
        me.say("done");
        return;
    }
    let mut peer = Peer::of(test_name!()).role("alone").spawn();
    peer.wait_for("done");
    peer.succeeds();
}

/// The store-then-load pair: without a fence on both sides each may miss the other's store. Here the fast side has
/// only a compiler fence, and in no round do both miss.
#[test]
fn the_fast_side_needs_no_fence() {
    const ROUNDS: u32 = 20_000;
    if !Barrier::Process.is_supported() {
        tieline_testkit::skip!("no private expedited membarrier");
    }
    membarrier::register(Barrier::Process).unwrap();
    let (fast, slow, round, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let fast_saw: Vec<AtomicU32> = (0..=ROUNDS).map(|_| AtomicU32::new(u32::MAX)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = round.load(Ordering::Acquire);
                if now == last {
                    std::thread::yield_now();
                    continue;
                }
                last = now;
                fast.store(now, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                fast_saw[now as usize].store(slow.load(Ordering::Relaxed), Ordering::Release);
            }
        });
        for now in 1..=ROUNDS {
            round.store(now, Ordering::Release);
            slow.store(now, Ordering::Relaxed);
            membarrier::run(Barrier::Process).unwrap();
            let slow_saw = fast.load(Ordering::Relaxed);
            let fast_saw = loop {
                match fast_saw[now as usize].load(Ordering::Acquire) {
                    u32::MAX => std::thread::yield_now(),
                    seen => break seen,
                }
            };
            assert!(slow_saw == now || fast_saw == now, "both missed the other in round {now}");
        }
        done.store(true, Ordering::Relaxed);
    });
}
