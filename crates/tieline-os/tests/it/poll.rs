//! Waiting for descriptors with `poll`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tieline_os::ErrorKind;
use tieline_os::poll::{self, Interest, PollSet, Readiness};
use tieline_testkit::{Peer, test_name};

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn a_set_tells_who_is_ready_and_for_what() {
    let (a, mut a_peer) = UnixStream::pair().unwrap();
    let (b, b_peer) = UnixStream::pair().unwrap();
    let mut set = PollSet::new();
    let first = set.add(&a, Interest::READABLE);
    let second = set.add(&b, Interest::READABLE | Interest::READ_CLOSED);
    assert!(set.try_wait().unwrap_err().is_would_block());

    a_peer.write_all(b"x").unwrap();
    assert_eq!(set.wait().unwrap(), 1);
    assert_eq!((set.readiness(first), set.readiness(second)), (Readiness::READABLE, Readiness::empty()));

    b_peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(set.wait().unwrap(), 2);
    assert_eq!(set.readiness(second), Readiness::READABLE | Readiness::READ_CLOSED);

    set.set_interest(first, Interest::WRITABLE);
    set.set_interest(second, Interest::empty());
    assert_eq!(set.wait().unwrap(), 1);
    assert_eq!(set.ready().collect::<Vec<_>>(), [(first, Readiness::WRITABLE)]);

    // Errors and hang-ups are told unasked.
    drop(b_peer);
    set.set_interest(first, Interest::empty());
    assert_eq!(set.wait().unwrap(), 1);
    assert!(set.readiness(second).contains(Readiness::HANG_UP));
    assert!(set.readiness(second).can_read() && set.readiness(second).can_write());
}

#[test]
fn a_timeout_is_kept_to_and_told_apart_from_not_waiting() {
    let (reader, _writer) = std::io::pipe().unwrap();
    let start = Instant::now();
    assert_eq!(poll::wait_timeout(&reader, Interest::READABLE, SHORT).unwrap_err().kind(), ErrorKind::TimedOut);
    let mut set = PollSet::new();
    set.add(&reader, Interest::READABLE);
    assert!(set.wait_timeout(SHORT).unwrap_err().is_timeout());
    assert!(start.elapsed() >= 2 * SHORT);
    assert_eq!(poll::try_wait(&reader, Interest::READABLE).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_write_end_without_reader_shows_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let shown = poll::wait(&writer, Interest::empty()).unwrap();
    assert_eq!(shown, Readiness::ERROR);
    assert!(shown.can_write());
}

/// A descriptor may be in a set twice, for different things, and the set can be emptied and reused.
#[test]
fn a_set_is_reused() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    {
        let mut set = PollSet::new();
        set.add(&writer, Interest::WRITABLE);
        set.add(&writer, Interest::empty());
        assert_eq!(set.wait().unwrap(), 1);
        set.clear();
        assert!(set.is_empty());
        assert!(set.try_wait().unwrap_err().is_would_block());
    }
    writer.write_all(b"x").unwrap();
    reader.read_exact(&mut [0]).unwrap();
}

/// Stopping and continuing a process ends the kernel's own wait with EINTR; ours goes on to what it waits for.
#[test]
fn a_wait_survives_interruption() {
    if let Some(me) = tieline_testkit::role() {
        me.say("waiting");
        let shown = poll::wait(std::io::stdin(), Interest::READABLE).unwrap();
        assert!(shown.can_read());
        return;
    }
    let mut peer = Peer::of(test_name!()).role("waiter").spawn();
    peer.wait_for("waiting");
    peer.stop_and_continue();
    peer.close_stdin();
    peer.succeeds();
}
