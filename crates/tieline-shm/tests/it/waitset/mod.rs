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
    assert!(started.elapsed() < PATIENCE / 2);
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

/// Channels of every sort, a socket and a deadline in one set; a peer process makes each of them ready in turn, and
/// dies.
#[test]
fn every_sort_of_channel_is_waited_for() {
    use tieline_shm::queue::Queue;
    use tieline_shm::reqres::{Client, Server};
    use tieline_shm::stream::{Listener, Stream};
    use tieline_shm::topic::Topic;

    if let Some(me) = role() {
        let name = |of: &str| format!("{}/{of}", me.env("PLACE"));
        let publisher = Topic::<u64>::open(&name("topic")).unwrap().publisher().unwrap();
        let queue = Queue::<u64>::open(name("queue")).unwrap();
        let client = Client::<u64, u64>::connect(name("calls")).unwrap();
        me.wait_for("publish");
        publisher.publish(&1).unwrap();
        me.wait_for("send");
        queue.send(&2).unwrap();
        me.wait_for("take");
        assert_eq!(*queue.recv().unwrap(), 3);
        me.wait_for("connect");
        let (_read, mut write) = Stream::connect(name("stream")).unwrap().split();
        me.wait_for("write");
        write.write_all(b"x").unwrap();
        me.wait_for("call");
        let pending = client.start(&4).unwrap();
        me.wait_for("never");
        drop(pending);
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let name = |of: &str| format!("{}/{of}", place.path().display());
    let mut subscriber = Topic::<u64>::create(&name("topic")).unwrap().subscriber().unwrap();
    let queue = Queue::<u64>::options().capacity(1).create(name("queue")).unwrap();
    let listener = Listener::bind(name("stream")).unwrap();
    let server = Server::<u64, u64>::bind(name("calls")).unwrap();
    let own = Client::<u64, u64>::connect(name("calls")).unwrap();
    let (socket, mut other) = std::os::unix::net::UnixStream::pair().unwrap();

    let mut set = WaitSet::new().unwrap();
    set.attach(&subscriber, 0).unwrap();
    set.attach(&queue, 1).unwrap();
    set.attach(&listener, 3).unwrap();
    set.attach(&server, 5).unwrap();
    set.attach(&own, 6).unwrap();
    set.attach_fd(&socket, Interest::READABLE, 7).unwrap();
    assert_eq!(set.attach(&queue, 9).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let mut peer = Peer::of(test_name!()).role("peer").env("PLACE", place.path()).spawn();
    let mut ready = Vec::new();
    let mut told = |set: &mut WaitSet, expected: &[u64]| {
        set.wait_timeout(&mut ready, PATIENCE).unwrap();
        assert_eq!(tokens(&ready), expected);
        assert!(expected.is_empty() || set.try_wait(&mut ready).is_ok(), "level-triggered");
    };
    let quiet = |set: &mut WaitSet| {
        let mut ready = Vec::new();
        assert!(set.wait_timeout(&mut ready, Duration::from_millis(5)).unwrap_err().is_timeout(), "{ready:?}");
    };

    quiet(&mut set);
    peer.say("publish");
    told(&mut set, &[0]);
    assert_eq!(*subscriber.try_recv().unwrap(), 1);
    quiet(&mut set);
    peer.say("send");
    told(&mut set, &[1]);
    queue.try_recv().unwrap().ack().unwrap();
    quiet(&mut set);
    queue.send(&3).unwrap();
    set.detach(1).unwrap();
    set.attach(&queue.room(), 2).unwrap();
    quiet(&mut set);
    peer.say("take");
    told(&mut set, &[2]);
    set.detach(2).unwrap();
    peer.say("connect");
    told(&mut set, &[3]);
    let (mut read, mut write) = listener.try_accept().unwrap().split();
    set.attach(&read, 4).unwrap();
    quiet(&mut set);
    peer.say("write");
    told(&mut set, &[4]);
    assert_eq!(read.try_read(&mut [0; 9]).unwrap(), 1);
    while write.try_write(&[0; 4096]).is_ok() {}
    set.attach(&write, 8).unwrap();
    quiet(&mut set);
    peer.say("call");
    told(&mut set, &[5]);
    let request = server.try_recv().unwrap();
    quiet(&mut set);
    let pending = own.start(&5).unwrap();
    told(&mut set, &[5]);
    server.try_recv().unwrap().respond(&50).unwrap();
    told(&mut set, &[6]);
    assert_eq!(*pending.try_wait().unwrap().expect("it is there"), 50);
    quiet(&mut set);
    other.write_all(b"y").unwrap();
    told(&mut set, &[7]);
    set.detach(7).unwrap();
    quiet(&mut set);

    // Its death makes ready what can never come, and wakes nobody for what others may still send.
    let started = Instant::now();
    peer.kill();
    let mut dead = std::collections::BTreeSet::new();
    while !dead.is_superset(&[0, 4, 8].into()) {
        let mut ready = Vec::new();
        set.wait_timeout(&mut ready, PATIENCE).unwrap();
        dead.extend(tokens(&ready));
    }
    assert!(started.elapsed() < PATIENCE / 2);
    assert_eq!(dead, [0, 4, 8].into());
    assert_eq!(subscriber.try_recv().unwrap_err().kind(), ErrorKind::PeerGone);
    assert_eq!(read.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::PeerGone);
    // Told on a line of its own, perhaps after the others.
    tieline_testkit::eventually("the call is cancelled", || request.is_cancelled());
}
