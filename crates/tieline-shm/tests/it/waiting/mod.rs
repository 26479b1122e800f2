//! Waiting between real processes: no wake-up is lost, whoever dies or stops, and nobody pays for a sleeper that is not
//! there.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tieline_shm::Waiting;
use tieline_shm::testing::Signal;
use tieline_testkit::{PATIENCE, Peer, role, soon, test_name};

/// Starts this test again as a peer that has the signal's memory as its standard input.
fn peer_with(test: String, signal: &Signal, step: Option<&str>) -> Peer {
    let fd: OwnedFd = signal.fd().try_clone_to_owned().unwrap();
    let builder = Peer::of(test).role("peer").stdin(fd);
    match step {
        Some(step) => builder.env("TIELINE_STEP", step).spawn(),
        None => builder.spawn(),
    }
}

/// The signal of the parent, in the peer.
fn inherited() -> Signal {
    Signal::accept(std::io::stdin().as_fd().try_clone_to_owned().unwrap(), false).unwrap()
}

/// Numbers go to and fro between two processes, in each way of waiting; each side must see every one.
#[test]
fn no_wake_up_is_lost_between_two_processes() {
    const ROUNDS: u64 = 4000;
    if let Some(me) = role() {
        let signal = inherited();
        me.say("ready");
        for how in [Waiting::Block, Waiting::Adaptive] {
            for round in 0..ROUNDS {
                // We raise to odd numbers, the parent to even ones.
                let base = if how == Waiting::Block { 0 } else { 2 * ROUNDS };
                let seen = signal.beyond_timeout(base + 2 * round, how, PATIENCE).unwrap();
                assert_eq!(seen, base + 2 * round + 1);
                signal.raise(seen + 1);
            }
        }
        return;
    }
    let signal = Signal::create().unwrap();
    let mut peer = peer_with(test_name!(), &signal, None);
    peer.wait_for("ready");
    let mut value = 0;
    for how in [Waiting::Block, Waiting::Adaptive] {
        for _ in 0..ROUNDS {
            signal.raise(value + 1);
            value = signal.beyond_timeout(value + 1, how, PATIENCE).unwrap();
        }
    }
    assert_eq!(value, 4 * ROUNDS);
    peer.succeeds();
}

/// A notifier killed at each point of waking: told of the death, the survivor wakes within ten milliseconds.
#[test]
fn a_notifier_killed_while_waking_leaves_nobody_asleep() {
    if let Some(me) = role() {
        let signal = inherited();
        me.say("ready");
        signal.raise(1);
        // Only the first step is reached by everyone.
        me.say("lived");
        return;
    }
    for step in ["kill:wait:cleared", "kill:wait:turned"] {
        // What the machine does besides is in most of them; what the telling takes is in the quickest.
        soon(step, Duration::from_millis(10), || time_to_wake_after(test_name!(), step));
    }
}

/// From when somebody tells of the notifier's death until the sleeper is awake.
fn time_to_wake_after(test: String, step: &str) -> Duration {
    let signal = Signal::create().unwrap();
    let sleeper = signal.again(false).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()).unwrap();
        let seen = sleeper.beyond_timeout(0, Waiting::Block, PATIENCE);
        (seen.unwrap(), Instant::now())
    });
    // The peer must find a sleeper.
    let thread_id = told.recv().unwrap();
    tieline_testkit::eventually("the sleeper sleeps", || tieline_testkit::sleeps(thread_id));
    let mut peer = peer_with(test, &signal, Some(step));
    peer.wait_for("ready");
    assert!(!peer.exit_status().success(), "{step}: it was not killed");
    let told = Instant::now();
    signal.wake_after_death();
    let (seen, woken) = thread.join().unwrap();
    assert_eq!(seen, 1, "{step}");
    woken.saturating_duration_since(told)
}

/// Sleepers killed at each point of falling asleep, many of them: notifiers go on, and later sleepers are woken.
#[test]
fn killed_sleepers_leave_nothing_behind() {
    if let Some(me) = role() {
        let signal = inherited();
        me.say("ready");
        let _ = signal.beyond(u64::MAX - 1, Waiting::Block);
        return;
    }
    let signal = Signal::create().unwrap();
    for (round, step) in ["kill:wait:fenced", "kill:wait:announced", "none"].iter().cycle().take(12).enumerate() {
        let mut peer = peer_with(test_name!(), &signal, Some(step));
        peer.wait_for("ready");
        if *step == "none" {
            peer.sleeps();
        } else if *step == "kill:wait:announced" {
            assert!(!peer.exit_status().success(), "it was not killed");
        }
        peer.kill();
        let value = round as u64 + 1;
        let sleeper = signal.again(false).unwrap();
        let thread = std::thread::spawn(move || sleeper.beyond_timeout(value - 1, Waiting::Block, PATIENCE));
        signal.raise(value);
        assert_eq!(thread.join().unwrap().unwrap(), value, "after {step}");
    }
}

/// A sleeper that is stopped does not hold the notifier up, and wakes when it goes on.
#[test]
fn a_stopped_sleeper_wakes_when_it_goes_on() {
    if let Some(me) = role() {
        let signal = inherited();
        me.say("ready");
        assert_eq!(signal.beyond_timeout(999, Waiting::Block, PATIENCE).unwrap(), 1000);
        return;
    }
    let signal = Signal::create().unwrap();
    let mut peer = peer_with(test_name!(), &signal, None);
    peer.wait_for("ready");
    peer.sleeps();
    peer.stop();
    // Held up, this would never end: nobody else lets the peer go on.
    (1..=1000).for_each(|value| signal.raise(value));
    peer.signal(rustix::process::Signal::CONT);
    peer.succeeds();
}

/// One wake-up each: several takers, as many items, none left over and nobody asleep beside one.
#[test]
fn each_of_many_takers_gets_one() {
    const TAKERS: u64 = 6;
    const ITEMS: u64 = 2000;
    let signal = Signal::create().unwrap();
    let takers: Vec<_> = (0..TAKERS)
        .map(|_| {
            let signal = signal.again(false).unwrap();
            std::thread::spawn(move || {
                for _ in 0..ITEMS {
                    signal.take_one(Waiting::Block, PATIENCE).unwrap();
                }
            })
        })
        .collect();
    for _ in 0..TAKERS * ITEMS {
        signal.add_one();
    }
    takers.into_iter().for_each(|taker| taker.join().unwrap());
}

#[test]
fn any_of_several_ends_the_wait() {
    let signals: Vec<_> = (0..5).map(|_| Signal::create().unwrap()).collect();
    let all: Vec<&Signal> = signals.iter().collect();
    let mut seen = [0; 5];
    for round in 0..200 {
        let which = round * 7 % 5;
        let raised = signals[which].again(false).unwrap();
        let value = seen[which] + 1;
        let thread = std::thread::spawn(move || raised.raise(value));
        assert_eq!(Signal::any_beyond(&all, &seen, Waiting::Block, PATIENCE).unwrap(), which);
        seen[which] = value;
        thread.join().unwrap();
    }
    let timeout = Signal::any_beyond(&all, &seen, Waiting::Block, Duration::from_millis(5)).unwrap_err();
    assert!(timeout.is_timeout());
    let many: Vec<&Signal> = all.iter().copied().cycle().take(129).collect();
    // More than the kernel watches at once; the last of them is looked at all the same.
    let ended = Signal::any_beyond(&many, &[u64::MAX; 129], Waiting::Block, Duration::from_millis(5)).unwrap_err();
    assert!(ended.is_timeout(), "{ended}");
    let mut seen = [u64::MAX; 129];
    seen[128] = 0;
    many[128].raise(7);
    assert_eq!(Signal::any_beyond(&many, &seen, Waiting::Block, Duration::from_secs(5)).unwrap(), 128);
}

/// The deadline holds in each way of waiting.
#[test]
fn a_deadline_ends_each_way_of_waiting() {
    let signal = Signal::create().unwrap();
    for how in [Waiting::Poll, Waiting::Block, Waiting::Adaptive] {
        for wait in [Duration::ZERO, Duration::from_micros(20), Duration::from_millis(20)] {
            let started = Instant::now();
            assert!(signal.beyond_timeout(0, how, wait).unwrap_err().is_timeout());
            assert!(started.elapsed() >= wait && started.elapsed() < wait + PATIENCE / 2, "{how:?}");
        }
    }
}

/// A peer that wakes us in vain all the time does not carry us past the deadline.
#[test]
fn wake_ups_in_vain_do_not_move_the_deadline() {
    let signal = Signal::create().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                signal.wake_after_death();
            }
        });
        let started = Instant::now();
        let waited = signal.beyond_timeout(0, Waiting::Block, Duration::from_millis(20));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(waited.unwrap_err().is_timeout());
        assert!(started.elapsed() < PATIENCE / 2);
    });
}
