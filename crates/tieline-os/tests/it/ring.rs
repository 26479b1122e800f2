//! The I/O ring. Every test skips loudly on a machine without rings.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tieline_os::ErrorKind;
use tieline_os::poll::{self, Interest, Readiness};
use tieline_os::ring::{Action, Completion, Operation, Ring};
use tieline_testkit::{PATIENCE, Peer, test_name};

macro_rules! ring_or_skip {
    ($entries:expr) => {
        match Ring::new($entries) {
            // On many kernels the rings of all processes of a user count as locked memory.
            _ if may_lock_little() => tieline_testkit::skip!("RLIMIT_MEMLOCK is too small for several rings"),
            Err(error) if error.is_unsupported() => tieline_testkit::skip!("{error}"),
            ring => ring.unwrap(),
        }
    };
}

fn may_lock_little() -> bool {
    !rustix::process::geteuid().is_root() && getrlimit(Resource::Memlock).current.is_some_and(|bytes| bytes < 1 << 20)
}

fn next(ring: &mut Ring) -> Completion {
    ring.wait_timeout(PATIENCE).unwrap()
}

/// One connection from accept to end of stream, every step through the ring.
#[test]
fn a_conversation_over_a_socket() {
    let mut ring = ring_or_skip!(8);
    let directory = tieline_testkit::directory();
    let path = directory.path().join("socket");
    let listener = Arc::new(UnixListener::bind(&path).unwrap());
    ring.push(Operation::accept(Arc::clone(&listener)), 1).unwrap();
    ring.submit().unwrap();
    assert!(ring.try_wait().unwrap_err().is_would_block());
    let mut client = UnixStream::connect(&path).unwrap();
    let accepted = next(&mut ring);
    assert_eq!((accepted.token, accepted.action, accepted.result.unwrap()), (1, Action::Accept, 0));
    let server = Arc::new(accepted.descriptor.unwrap());
    assert!(rustix::io::fcntl_getfd(&server).unwrap().contains(rustix::io::FdFlags::CLOEXEC));

    ring.push(Operation::recv(Arc::clone(&server), vec![0xEE; 16]), 2).unwrap();
    ring.push(Operation::send(Arc::clone(&server), b"welcome".to_vec()), 3).unwrap();
    let sent = next(&mut ring);
    assert_eq!((sent.token, sent.result.unwrap(), &sent.buffer[..]), (3, 7, &b"welcome"[..]));
    let mut said = [0; 7];
    client.read_exact(&mut said).unwrap();
    client.write_all(b"hello").unwrap();
    let received = next(&mut ring);
    assert_eq!((received.token, received.result.unwrap(), received.buffer.len()), (2, 5, 16));
    assert_eq!(&received.buffer[..6], b"hello\xee", "not a byte more than came");

    drop(client);
    ring.push(Operation::recv(Arc::clone(&server), received.buffer), 4).unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 0, "the end");
    ring.push(Operation::send(server, b"too late".to_vec()), 5).unwrap();
    let late = next(&mut ring);
    assert_eq!(late.result.unwrap_err().kind(), ErrorKind::PeerGone);
    assert_eq!(late.buffer, b"too late");
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn files_are_read_and_written_at_positions() {
    let mut ring = ring_or_skip!(8);
    let file = Arc::new(tempfile::tempfile().unwrap());
    ring.push(Operation::write_at(Arc::clone(&file), b"world".to_vec(), 6), 1).unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 5);
    ring.push(Operation::write(Arc::clone(&file), b"hello ".to_vec()), 2).unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 6);
    ring.push(Operation::read_at(Arc::clone(&file), vec![0; 32], 0), 3).unwrap();
    let read = next(&mut ring);
    assert_eq!((read.result.unwrap(), &read.buffer[..11]), (11, &b"hello world"[..]));
    ring.push(Operation::read_at(Arc::clone(&file), vec![0; 32], u64::MAX), 4).unwrap();
    assert_eq!(next(&mut ring).result.unwrap_err().kind(), ErrorKind::InvalidInput, "no such position");
    ring.push(Operation::read(file, vec![0; 32]), 4).unwrap();
    let read = next(&mut ring);
    assert_eq!((read.result.unwrap(), &read.buffer[..5]), (5, &b"world"[..]), "from where the write ended");
}

#[test]
fn splice_moves_and_poll_waits() {
    let mut ring = ring_or_skip!(8);
    let (from, mut feed) = std::io::pipe().unwrap();
    let (mut sink, to) = std::io::pipe().unwrap();
    let (from, to) = (Arc::new(from), Arc::new(to));
    ring.push(Operation::poll(Arc::clone(&from), Interest::READABLE), 1).unwrap();
    ring.push(Operation::splice(Arc::clone(&from), Arc::clone(&to), 4096), 2).unwrap();
    assert!(ring.wait_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    feed.write_all(b"spliced").unwrap();
    let mut done = [next(&mut ring), next(&mut ring)];
    done.sort_by_key(|done| done.token);
    assert_eq!(done[0].readiness, Readiness::READABLE);
    assert_eq!(done[0].result.as_ref().unwrap(), &0);
    assert_eq!(done[1].result.as_ref().unwrap(), &7);
    let mut bytes = [0; 7];
    sink.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"spliced");
    drop(done);
    assert_eq!((Arc::strong_count(&from), Arc::strong_count(&to)), (1, 1), "shares are given back");
}

/// Four times the queue's entries: pushes submit by themselves, one past the limit is refused and given back, and
/// each operation completes exactly once.
#[test]
fn more_operations_than_entries() {
    let mut ring = ring_or_skip!(4);
    assert_eq!(ring.limit(), 8);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = Arc::new(reader);
    for token in 0..8 {
        ring.push(Operation::read(Arc::clone(&reader), vec![0; 1]), token).unwrap();
    }
    let refused = ring.push(Operation::read(Arc::clone(&reader), vec![7; 3]), 8).unwrap_err();
    assert!(refused.error.is_would_block());
    assert_eq!((refused.operation.action(), refused.operation.into_buffer()), (Action::Read, vec![7; 3]));

    let mut seen = [0; 64];
    let mut pushed = 8;
    writer.write_all(&[1; 64]).unwrap();
    while ring.in_flight() != 0 {
        let done = next(&mut ring);
        assert_eq!((done.result.unwrap(), done.buffer), (1, vec![1]));
        seen[done.token as usize] += 1;
        if pushed < 64 {
            ring.push(Operation::read(Arc::clone(&reader), vec![0; 1]), pushed).unwrap();
            pushed += 1;
        }
    }
    assert_eq!(seen, [1; 64]);
    assert_eq!(ring.wait().unwrap_err().kind(), ErrorKind::InvalidInput, "nothing is in flight");
    assert_eq!(Arc::strong_count(&reader), 1);
}

#[test]
fn a_cancelled_operation_completes_and_its_ticket_is_spent() {
    let mut ring = ring_or_skip!(4);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = Arc::new(reader);
    let ticket = ring.push(Operation::read(Arc::clone(&reader), vec![9; 8]), 1).unwrap();
    assert!(ring.cancel(ticket).unwrap());
    let done = next(&mut ring);
    let kind = done.result.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Cancelled | ErrorKind::Interrupted), "{kind:?}");
    assert_eq!((done.ticket, done.buffer), (ticket, vec![9; 8]));
    assert!(!ring.cancel(ticket).unwrap(), "it is over");

    // The next operation uses the same slot; the old ticket does not reach it.
    let second = ring.push(Operation::read(Arc::clone(&reader), vec![0; 8]), 2).unwrap();
    assert_ne!(ticket, second);
    assert!(!ring.cancel(ticket).unwrap());
    ring.submit().unwrap();
    assert!(ring.wait_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    writer.write_all(b"x").unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 1);
}

/// Dropping the ring ends what is in flight and gives descriptors and buffers back; nothing is read
/// from the pipe afterwards.
#[test]
fn a_dropped_ring_leaves_nothing_in_flight() {
    let mut ring = ring_or_skip!(16);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let (reader, ours) = (Arc::new(reader), Arc::new(ours));
    for token in 0..8 {
        ring.push(Operation::read(Arc::clone(&reader), vec![0; 4096]), token).unwrap();
        ring.push(Operation::recv(Arc::clone(&ours), vec![0; 4096]), token).unwrap();
    }
    ring.submit().unwrap();
    drop(ring);
    assert_eq!((Arc::strong_count(&reader), Arc::strong_count(&ours)), (1, 1));
    writer.write_all(b"still there").unwrap();
    assert!(poll::wait(&reader, Interest::READABLE).unwrap().can_read());
}

/// Rings are dropped while bytes arrive for what they have in flight: nothing hangs, and every share comes back.
#[test]
fn dropping_races_with_completing() {
    drop(ring_or_skip!(8));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = Arc::new(reader);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Less than the pipe holds, so this ends whatever the readers do.
            for _ in 0..30_000 {
                writer.write_all(b"x").unwrap();
            }
        });
        for round in 0..200 {
            let mut ring = Ring::new(8).unwrap();
            for token in 0..16 {
                ring.push(Operation::read(Arc::clone(&reader), vec![0; 4]), token).unwrap();
            }
            if round % 3 != 0 {
                ring.submit().unwrap();
            }
            if round % 2 == 0 {
                let _ = ring.wait_timeout(Duration::from_micros(50));
            }
            drop(ring);
            assert_eq!(Arc::strong_count(&reader), 1, "round {round}");
        }
    });
}

/// A write that was pushed but never submitted does not happen when the ring is dropped.
#[test]
fn what_was_not_submitted_is_not_done() {
    let mut ring = ring_or_skip!(16);
    let (reader, writer) = std::io::pipe().unwrap();
    let (silent, _idle) = std::io::pipe().unwrap();
    ring.push(Operation::read(Arc::new(silent), vec![0; 8]), 0).unwrap();
    ring.submit().unwrap();
    let writer = Arc::new(writer);
    ring.push(Operation::write(Arc::clone(&writer), b"never".to_vec()), 1).unwrap();
    drop(ring);
    assert_eq!(Arc::strong_count(&writer), 1);
    assert!(poll::try_wait(&reader, Interest::READABLE).unwrap_err().is_would_block());
}

/// A descriptor whose last other owner drops it stays open, and its number its own, while an operation uses it.
#[test]
fn an_operation_keeps_its_descriptor_open() {
    let mut ring = ring_or_skip!(4);
    let (reader, mut writer) = std::io::pipe().unwrap();
    ring.push(Operation::read(Arc::new(reader), vec![0; 8]), 1).unwrap();
    let (_decoy, _decoy_writer) = std::io::pipe().unwrap();
    ring.submit().unwrap();
    writer.write_all(b"mine").unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 4);
    // The kernel, and a process that another test starts, may keep it a moment longer than we do.
    tieline_testkit::eventually("it is closed after the completion", || writer.write_all(b"x").is_err());
}

/// The peer is killed while a receive is in flight, and while a send waits for room: both complete.
#[test]
fn a_killed_peer_completes_what_is_in_flight() {
    if let Some(me) = tieline_testkit::role() {
        me.say("up");
        tieline_testkit::pause(PATIENCE);
        return;
    }
    let mut ring = ring_or_skip!(4);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut peer = Peer::of(test_name!()).role("victim").stdin(theirs.into()).spawn();
    peer.wait_for("up");
    let ours = Arc::new(ours);
    ours.set_nonblocking(true).unwrap();
    while (&*ours).write(&[0; 4096]).is_ok() {}
    ring.push(Operation::recv(Arc::clone(&ours), vec![0; 8]), 1).unwrap();
    ring.push(Operation::send(ours, vec![0; 4096]), 2).unwrap();
    assert!(ring.wait_timeout(Duration::from_millis(50)).unwrap_err().is_timeout());
    peer.kill();
    for _ in 0..2 {
        let done = next(&mut ring);
        match (done.token, done.result) {
            // Bytes the peer did not read turn its end into a reset.
            (1, Ok(count)) => assert_eq!(count, 0),
            (_, Err(error)) => assert!(error.is_peer_dead(), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

/// An operation belongs to the thread that submitted it. If that has ended when the operation could go on, it
/// completes as cancelled, and what it would have read is still there; the ring goes on.
#[test]
fn the_end_of_the_submitting_thread_cancels() {
    let mut ring = ring_or_skip!(4);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = Arc::new(reader);
    let copy = Arc::clone(&reader);
    let submit = move || {
        for token in 1..=2 {
            ring.push(Operation::read(Arc::clone(&copy), vec![0; 8]), token).unwrap();
        }
        ring.submit().unwrap();
        ring
    };
    let mut ring = std::thread::spawn(submit).join().unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(next(&mut ring).result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(next(&mut ring).result.unwrap_err().kind(), ErrorKind::Cancelled);
    ring.push(Operation::read(Arc::clone(&reader), vec![0; 8]), 3).unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 1);
    assert_eq!(Arc::strong_count(&reader), 1);
}

/// Operations of a thread that has ended are cancelled like others: by ticket, and by dropping the ring.
#[test]
fn operations_of_an_ended_thread_can_be_cancelled() {
    let mut ring = ring_or_skip!(4);
    let (reader, _writer) = std::io::pipe().unwrap();
    let reader = Arc::new(reader);
    let copy = Arc::clone(&reader);
    let submit = move || {
        let ticket = ring.push(Operation::read(Arc::clone(&copy), vec![0; 8]), 1).unwrap();
        ring.push(Operation::read(copy, vec![0; 8]), 2).unwrap();
        ring.submit().unwrap();
        (ring, ticket)
    };
    let (mut ring, ticket) = std::thread::spawn(submit).join().unwrap();
    assert!(ring.cancel(ticket).unwrap());
    let done = next(&mut ring);
    assert_eq!((done.token, done.result.unwrap_err().kind()), (1, ErrorKind::Cancelled));
    drop(ring);
    assert_eq!(Arc::strong_count(&reader), 1);
}

/// The ring waits for a non-blocking descriptor as for any other.
#[test]
fn a_nonblocking_descriptor_is_waited_for() {
    let mut ring = ring_or_skip!(4);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = Arc::new(ours);
    ring.push(Operation::read(Arc::clone(&ours), vec![0; 8]), 1).unwrap();
    assert!(ring.wait_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    theirs.write_all(b"xy").unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 2);
}

#[test]
fn the_ring_itself_can_be_waited_for() {
    let mut ring = ring_or_skip!(4);
    let (reader, mut writer) = std::io::pipe().unwrap();
    ring.push(Operation::read(Arc::new(reader), vec![0; 8]), 1).unwrap();
    ring.submit().unwrap();
    assert!(poll::try_wait(&ring, Interest::READABLE).unwrap_err().is_would_block());
    writer.write_all(b"x").unwrap();
    poll::wait_timeout(&ring, Interest::READABLE, PATIENCE).unwrap();
    assert_eq!(ring.try_wait().unwrap().token, 1);
}

#[test]
fn a_ring_knows_what_it_can() {
    let mut ring = ring_or_skip!(1);
    for action in [Action::Read, Action::Write, Action::Recv, Action::Send, Action::Accept, Action::Poll] {
        assert!(ring.supports(action), "{action:?} is older than 5.11");
    }
    // A pipe is no socket: the operation fails, not the ring.
    let (reader, _writer) = std::io::pipe().unwrap();
    ring.push(Operation::recv(Arc::new(reader), vec![0; 8]), 1).unwrap();
    let done = next(&mut ring);
    assert_eq!(done.result.unwrap_err().kind(), ErrorKind::InvalidInput);
    ring.push(Operation::read(Arc::new(tempfile::tempfile().unwrap()), Vec::new()), 2).unwrap();
    assert_eq!(next(&mut ring).result.unwrap(), 0, "an empty buffer");
}

#[test]
fn odd_sizes_are_refused() {
    for entries in [0, Ring::MAX_ENTRIES + 1, u32::MAX] {
        assert_eq!(Ring::new(entries).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let ring = ring_or_skip!(5);
    assert_eq!(ring.limit(), 16, "twice the next power of two");
}

/// Out of descriptors, the answer is a limit, not "unsupported": a program must not fall back for ever because of it.
#[test]
fn no_descriptors_left_is_a_limit() {
    if tieline_testkit::role().is_none() {
        let _ = ring_or_skip!(4);
        return Peer::of(test_name!()).role("poor").spawn().succeeds();
    }
    let old = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: old.maximum }).unwrap();
    let error = Ring::new(4).unwrap_err();
    setrlimit(Resource::Nofile, old).unwrap();
    assert_eq!((error.kind(), error.is_unsupported()), (ErrorKind::LimitReached, false), "{error}");
}

/// Rings, operations and accepted connections, dropped at every stage, leave no descriptor behind.
#[test]
fn no_descriptor_leaks() {
    if tieline_testkit::role().is_none() {
        let _ = ring_or_skip!(4);
        return Peer::of(test_name!()).role("alone").spawn().succeeds();
    }
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let directory = tieline_testkit::directory();
    let path = directory.path().join("socket");
    let listener = Arc::new(OwnedFd::from(UnixListener::bind(&path).unwrap()));
    let before = open();
    for stage in 0..20 {
        let mut ring = Ring::new(4).unwrap();
        ring.push(Operation::accept(Arc::clone(&listener)), 1).unwrap();
        let _client = (stage % 2 == 0).then(|| UnixStream::connect(&path).unwrap());
        if stage % 4 != 3 {
            ring.submit().unwrap();
        }
        if stage % 4 == 0 {
            drop(ring.wait().unwrap());
        }
        drop(ring);
        // Whoever was not accepted is taken off the backlog.
        while poll::try_wait(&listener, Interest::READABLE).is_ok() {
            drop(rustix::net::accept(&listener).unwrap());
        }
    }
    assert_eq!((open(), Arc::strong_count(&listener)), (before, 1));
}

/// Stopping and continuing the process in the middle of a wait does not end it.
#[test]
fn a_wait_survives_interruption() {
    if let Some(me) = tieline_testkit::role() {
        let mut ring = Ring::new(4).unwrap();
        let stdin = rustix::io::dup(std::io::stdin()).unwrap();
        ring.push(Operation::read(Arc::new(stdin), vec![0; 1]), 1).unwrap();
        me.say("waiting");
        assert_eq!(ring.wait_timeout(PATIENCE).unwrap().result.unwrap(), 0);
        return;
    }
    let _ = ring_or_skip!(4);
    let mut peer = Peer::of(test_name!()).role("waiter").spawn();
    peer.wait_for("waiting");
    peer.stop_and_continue();
    peer.close_stdin();
    peer.succeeds();
}
