//! Waiting for many descriptors with `epoll`.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_os::ErrorKind;
use tieline_os::epoll::{Epoll, Events, Options, Registration};
use tieline_os::poll::{Interest, Readiness};
use tieline_testkit::{Peer, test_name};

const NO: Options = Options::empty();

fn tokens(epoll: &Epoll) -> Vec<u64> {
    let mut events = Events::with_capacity(16);
    match epoll.try_wait(&mut events) {
        Ok(count) => assert_eq!(count, events.len()),
        Err(error) => assert!(error.is_would_block(), "{error}"),
    }
    events.iter().map(|event| event.token).collect()
}

#[test]
fn a_level_is_reported_until_it_is_gone() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&reader, u64::MAX, Interest::READABLE).unwrap();
    assert_eq!(tokens(&epoll), []);
    writer.write_all(b"ab").unwrap();
    assert_eq!(tokens(&epoll), [u64::MAX]);
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!(tokens(&epoll), [u64::MAX]);
    reader.read_exact(&mut [0]).unwrap();
    assert_eq!(tokens(&epoll), []);
    drop(writer);
    let mut events = Events::with_capacity(1);
    epoll.wait(&mut events).unwrap();
    assert_eq!(events.iter().next().unwrap().readiness, Readiness::HANG_UP);
}

#[test]
fn a_one_shot_is_silent_until_modified() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add_with(&reader, 1, Interest::READABLE, Options::ONE_SHOT).unwrap();
    writer.write_all(b"ab").unwrap();
    assert_eq!((tokens(&epoll), tokens(&epoll)), (vec![1], vec![]));
    epoll.modify(&reader, 2, Interest::READABLE).unwrap();
    assert_eq!(tokens(&epoll), [2]);
}

/// Of two epolls that hold the same pipe exclusively, a wake reaches at least one; the kernel may wake both.
#[test]
fn exclusive_has_its_rules() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add_with(&reader, 1, Interest::READABLE, Options::EXCLUSIVE).unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(tokens(&epoll), [1]);
    assert_eq!(epoll.modify(&reader, 1, Interest::READABLE).unwrap_err().kind(), ErrorKind::InvalidInput);
    let both = Options::EXCLUSIVE | Options::ONE_SHOT;
    assert_eq!(epoll.add_with(&writer, 2, Interest::WRITABLE, both).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn misuse_is_told_by_kind() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let epoll = Epoll::new().unwrap();
    let readable = Interest::READABLE;
    assert_eq!(epoll.remove(&reader).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(epoll.modify(&reader, 1, readable).unwrap_err().kind(), ErrorKind::NotFound);
    epoll.add(&reader, 1, readable).unwrap();
    assert_eq!(epoll.add(&reader, 2, readable).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(epoll.add(&epoll, 3, readable).unwrap_err().kind(), ErrorKind::InvalidInput);
    let file = tempfile::tempfile().unwrap();
    let error = epoll.add(&file, 4, readable).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("always ready"), "{error}");
    let outer = Epoll::new().unwrap();
    outer.add(&epoll, 5, readable).unwrap();
    assert_eq!(epoll.add(&outer, 6, readable).unwrap_err().errno(), Some(rustix::io::Errno::LOOP.raw_os_error()));
    let other = Epoll::from(OwnedFd::from(file));
    assert_eq!(other.wait(&mut Events::with_capacity(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// More ready descriptors than the buffer holds come in turns, none starves.
#[test]
fn a_small_buffer_gets_all_in_turn() {
    let pipes: Vec<_> = (0..10).map(|_| std::io::pipe().unwrap()).collect();
    let epoll = Epoll::new().unwrap();
    for (token, (_, writer)) in pipes.iter().enumerate() {
        epoll.add(writer, token as u64, Interest::WRITABLE).unwrap();
    }
    let mut seen = [0; 10];
    let mut events = Events::with_capacity(0);
    for _ in 0..30 {
        assert_eq!(epoll.wait(&mut events).unwrap(), 1);
        seen[events.iter().next().unwrap().token as usize] += 1;
    }
    assert_eq!(seen, [3; 10]);
}

/// A timeout below a millisecond is neither cut to nothing nor rounded up to one.
#[test]
fn timeouts_are_finer_than_a_millisecond() {
    let begun = Instant::now();
    let epoll = Epoll::new().unwrap();
    let mut events = Events::with_capacity(1);
    let timeout = Duration::from_micros(300);
    let is_fine = |took: Duration| took < Duration::from_millis(1);
    // A busy machine wakes late, so one quick wake-up in many is enough; but if no sleep of this length is quick here, a
    // wait cannot be either.
    let (mut waits_are_fine, mut sleeps_are_fine) = (false, 0);
    while !waits_are_fine && sleeps_are_fine < 500 {
        let start = Instant::now();
        assert!(epoll.wait_timeout(&mut events, timeout).unwrap_err().is_timeout());
        assert!(start.elapsed() >= timeout);
        waits_are_fine = is_fine(start.elapsed());
        let start = Instant::now();
        tieline_testkit::pause(timeout);
        sleeps_are_fine += u32::from(is_fine(start.elapsed()));
        if begun.elapsed() > tieline_testkit::PATIENCE && sleeps_are_fine < 20 {
            tieline_testkit::skip!("this machine is too busy, or has no fine timers: no sleep of {timeout:?} is short");
        }
    }
    assert!(waits_are_fine, "none of the waits was as short as {sleeps_are_fine} sleeps");
    assert!(events.is_empty());
}

/// An event of another thread's adding ends a wait that began before.
#[test]
fn another_thread_may_add_during_a_wait() {
    let epoll = Epoll::new().unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut events = Events::with_capacity(1);
            epoll.wait(&mut events).unwrap();
            events.iter().next().unwrap().token
        });
        epoll.add(&writer, 9, Interest::WRITABLE).unwrap();
        assert_eq!(waiter.join().unwrap(), 9);
    });
}

/// A registration removes its source before closing it, so that no duplicate keeps it firing.
#[test]
fn a_registration_leaves_nothing_behind() {
    let epoll = Arc::new(Epoll::new().unwrap());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let duplicate = reader.try_clone().unwrap();
    let registered = Registration::new(Arc::clone(&epoll), reader, 1, Interest::READABLE, NO).unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(tokens(&epoll), [1]);
    registered.modify(2, Interest::READABLE, Options::EDGE).unwrap();
    assert_eq!(tokens(&epoll), [2]);
    drop(registered);
    writer.write_all(b"x").unwrap();
    assert_eq!(tokens(&epoll), []);

    let registered = Registration::new(&*epoll, duplicate, 3, Interest::READABLE, NO).unwrap();
    assert_eq!(tokens(&epoll), [3]);
    let mut reader = registered.into_source();
    assert_eq!(tokens(&epoll), []);
    reader.read_exact(&mut [0; 2]).unwrap();
}

/// The kernel ends an epoll wait with EINTR when a process is stopped and continued; ours goes on.
#[test]
fn a_wait_survives_interruption() {
    if let Some(me) = tieline_testkit::role() {
        let epoll = Epoll::new().unwrap();
        epoll.add(std::io::stdin(), 1, Interest::READABLE).unwrap();
        me.say("waiting");
        let mut events = Events::with_capacity(1);
        assert_eq!(epoll.wait_timeout(&mut events, tieline_testkit::PATIENCE).unwrap(), 1);
        return;
    }
    let mut peer = Peer::of(test_name!()).role("waiter").spawn();
    peer.wait_for("waiting");
    peer.stop_and_continue();
    peer.close_stdin();
    peer.succeeds();
}

/// The killed peer of a socket shows as hang-up, without any interest in it.
#[test]
fn a_killed_peer_is_an_event() {
    if let Some(me) = tieline_testkit::role() {
        me.say("up");
        tieline_testkit::pause(tieline_testkit::PATIENCE);
        return;
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut peer = Peer::of(test_name!()).role("victim").stdin(theirs.into()).spawn();
    peer.wait_for("up");
    let epoll = Epoll::new().unwrap();
    epoll.add(&ours, 1, Interest::empty()).unwrap();
    assert_eq!(tokens(&epoll), []);
    peer.kill();
    let mut events = Events::with_capacity(1);
    epoll.wait(&mut events).unwrap();
    assert!(events.iter().next().unwrap().readiness.contains(Readiness::HANG_UP));
}
