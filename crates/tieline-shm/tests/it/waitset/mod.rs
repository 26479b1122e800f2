//! Waiting for any of many channels and descriptors in one thread.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tieline_os::poll::Interest;
use tieline_shm::testing::Signal;
use tieline_shm::{ErrorKind, Ready, WaitSet};
use tieline_testkit::{PATIENCE, Peer, role, test_name};

fn tokens(ready: &[Ready]) -> Vec<u64> {
    let mut tokens: Vec<u64> = ready.iter().map(|ready| ready.token).collect();
    tokens.sort_unstable();
    tokens
}

/// How many descriptors this process has.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn what_is_ready_is_told_until_it_is_not() {
    let (one, two) = (Signal::create().unwrap(), Signal::create().unwrap());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut set = WaitSet::new().unwrap();
    set.attach(&one, 1).unwrap();
    set.attach(&two, 2).unwrap();
    set.attach_fd(&reader, Interest::READABLE, 3).unwrap();
    let mut ready = Vec::new();
    assert!(set.try_wait(&mut ready).unwrap_err().is_would_block());
    assert!(set.wait_timeout(&mut ready, Duration::from_millis(3)).unwrap_err().is_timeout());

    one.raise(1);
    for _ in 0..3 {
        set.wait_timeout(&mut ready, PATIENCE).unwrap();
        assert_eq!(tokens(&ready), [1], "level-triggered");
    }
    writer.write_all(b"x").unwrap();
    two.raise(1);
    tieline_testkit::eventually("all three are told", || {
        set.try_wait(&mut ready).is_ok() && tokens(&ready) == [1, 2, 3]
    });
    one.set_seen(1);
    two.set_seen(1);
    set.wait_timeout(&mut ready, PATIENCE).unwrap();
    assert_eq!(tokens(&ready), [3]);

    set.detach(3).unwrap();
    assert!(set.try_wait(&mut ready).unwrap_err().is_would_block());
    assert_eq!(set.detach(3).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(set.attach(&one, 2).unwrap_err().kind(), ErrorKind::AlreadyExists);
    one.raise(2);
    set.wait_timeout(&mut ready, PATIENCE).unwrap();
    assert_eq!(tokens(&ready), [1]);
    assert_eq!(set.len(), 2);
}

/// A notifier in another process races with falling asleep, thousands of times, by its own ring or by the relay.
#[test]
fn no_wake_up_is_lost_between_looking_and_sleeping() {
    const ROUNDS: u64 = 5000;
    for is_lined in [true, false] {
        let (ping, pong) = (Signal::create().unwrap(), Signal::create().unwrap());
        let (mine, theirs) = (pong.again(is_lined).unwrap(), ping.again(is_lined).unwrap());
        let hung =
            is_lined.then(|| (pong.hang(mine.bell().unwrap()).unwrap(), ping.hang(theirs.bell().unwrap()).unwrap()));
        let echo = std::thread::spawn(move || {
            let mut set = WaitSet::new().unwrap();
            set.attach(&theirs, 0).unwrap();
            let mut ready = Vec::new();
            for round in 1..=ROUNDS {
                set.wait_timeout(&mut ready, PATIENCE).unwrap();
                theirs.set_seen(round);
                pong.raise(round);
            }
        });
        let mut set = WaitSet::new().unwrap();
        set.attach(&mine, 0).unwrap();
        let mut ready = Vec::new();
        for round in 1..=ROUNDS {
            ping.raise(round);
            set.wait_timeout(&mut ready, PATIENCE).unwrap();
            mine.set_seen(round);
        }
        echo.join().unwrap();
        drop(hung);
    }
}

/// A peer process rings the bell it was given, and, killed, is no more than silent.
#[test]
fn another_process_rings_the_bell_it_was_given() {
    if let Some(me) = role() {
        let signal = Signal::accept(std::io::stdin().as_fd().try_clone_to_owned().unwrap(), false).unwrap();
        // A relay of the sleeper's own process wakes it here; the bell's own way is tested with threads.
        me.say("ready");
        for value in 1.. {
            signal.raise(value);
            tieline_testkit::pause(Duration::from_millis(1));
        }
        return;
    }
    let signal = Signal::create().unwrap();
    let mut set = WaitSet::new().unwrap();
    set.attach(&signal, 9).unwrap();
    let mut peer = Peer::of(test_name!()).role("peer").stdin(signal.fd().try_clone_to_owned().unwrap()).spawn();
    peer.wait_for("ready");
    let mut ready = Vec::new();
    for _ in 0..50 {
        set.wait_timeout(&mut ready, PATIENCE).unwrap();
        assert_eq!(tokens(&ready), [9]);
        signal.set_seen(signal.beyond(0, tieline_shm::Waiting::Poll).unwrap());
    }
    peer.kill();
    signal.set_seen(signal.beyond(0, tieline_shm::Waiting::Poll).unwrap());
    let started = Instant::now();
    assert!(set.wait_timeout(&mut ready, Duration::from_millis(30)).unwrap_err().is_timeout());
    assert!(started.elapsed() < Duration::from_secs(2));
}

/// A busy channel does not starve the others.
#[test]
fn a_busy_member_starves_nobody() {
    let signals: Vec<_> = (0..20).map(|_| Signal::create().unwrap()).collect();
    let mut set = WaitSet::new().unwrap();
    for (token, signal) in (0..).zip(&signals) {
        set.attach(signal, token).unwrap();
    }
    let mut ready = Vec::new();
    signals[0].raise(1);
    set.wait_timeout(&mut ready, PATIENCE).unwrap();
    // The first stays ready for ever; each other is told as soon as it is.
    for (token, signal) in (1..).zip(&signals[1..]) {
        signal.raise(1);
        tieline_testkit::eventually("the other is told", || {
            set.try_wait(&mut ready).unwrap();
            tokens(&ready) == [0, token]
        });
        signal.set_seen(1);
    }
}

#[test]
fn a_hundred_thousand_waits_leak_nothing() {
    // Alone in its process: other tests open descriptors, too.
    if role().is_none() {
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let signal = Signal::create().unwrap();
    let mut set = WaitSet::new().unwrap();
    set.attach(&signal, 0).unwrap();
    let mut ready = Vec::new();
    let before = descriptors();
    for value in 1..=100_000 {
        assert!(set.try_wait(&mut ready).is_err());
        signal.raise(value);
        signal.set_seen(value);
    }
    for _ in 0..100 {
        let mut other = WaitSet::new().unwrap();
        other.attach(&signal, 1).unwrap();
    }
    assert_eq!(descriptors(), before);
}
