//! Byte streams, between real processes.

use std::io::{BufRead, ErrorKind as Io, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::stream::{Listener, Stream, StreamEnd};
use tieline_testkit::{Forked, PATIENCE, Peer, Role, assert_same, data, role, soon, test_name};

use crate::alone::{alone, peer};

fn pair() -> (Listener, Stream, Stream) {
    let listener = Listener::options().capacity(4096).bind("stream").unwrap();
    let client = Stream::connect("stream").unwrap();
    let server = listener.accept_timeout(PATIENCE).unwrap();
    (listener, client, server)
}

#[test]
fn both_directions_end_separately() {
    alone(test_name!(), |_| {
        let (_listener, mut client, mut server) = pair();
        assert!(client.reader().try_read(&mut [0]).unwrap_err().is_would_block());
        assert!(client.reader().read_timeout(&mut [0], Duration::from_millis(1)).unwrap_err().is_timeout());
        client.write_all(b"one\ntwo\n").unwrap();
        client.writer().shutdown();
        assert_eq!(client.writer().try_write(b"x").unwrap_err().kind(), ErrorKind::InvalidInput);
        let mut line = String::new();
        server.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        assert_eq!(server.fill_buf().unwrap(), b"two\n");
        server.consume(2);
        server.write_all(b"answer").unwrap();
        let mut rest = String::new();
        server.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "o\n");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer", "the end, not an error");
    });
}

/// It took them away from its parent.
#[test]
fn a_child_of_fork_consumes_nothing_of_what_its_parent_was_shown() {
    alone(test_name!(), |_| {
        let (_listener, mut client, mut server) = pair();
        client.write_all(b"for the parent").unwrap();
        assert_eq!(server.fill_buf().unwrap(), b"for the parent");
        Forked::run(|| {
            server.consume(4);
            let error = server.fill_buf().unwrap_err();
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<tieline_shm::Error>());
            assert_eq!(inner.map(tieline_shm::Error::kind), Some(ErrorKind::Forked));
        })
        .succeeds();
        server.consume(4);
        drop(client);
        let mut rest = String::new();
        server.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "the parent");
    });
}

#[test]
fn a_name_has_one_listener_and_a_later_one_after_it() {
    alone(test_name!(), |_| {
        assert_eq!(Stream::connect("stream").unwrap_err().kind(), ErrorKind::NotFound);
        let (listener, client, server) = pair();
        assert_eq!(Listener::bind("stream").unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop((listener, client, server));
        let listener = Listener::options().backlog(1).bind("stream").unwrap();
        assert!(listener.try_accept().unwrap_err().is_would_block());
        assert!(listener.accept_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
        let _first = Stream::connect("stream").unwrap();
        assert_eq!(Stream::connect("stream").unwrap_err().kind(), ErrorKind::PeerGone, "too many wait");
        assert_eq!(Listener::options().capacity(1).bind("x").unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn eight_mebibytes_come_through_whole() {
    if let Some(me) = role()
        && me.name() == "sender"
    {
        let mut stream = Stream::connect("stream").unwrap();
        let sent = data(8 << 20);
        let mut rest = &sent[..];
        for len in (1..).map(|index| (index * 7919) % 100_000 + 1) {
            let (part, more) = rest.split_at(len.min(rest.len()));
            stream.write_all(part).unwrap();
            rest = more;
            if rest.is_empty() {
                return;
            }
        }
    }
    alone(test_name!(), |directory| {
        let listener = Listener::bind("stream").unwrap();
        let sender = peer(test_name!(), "sender", directory).spawn();
        let mut stream = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert_same(&received, &data(8 << 20));
        sender.succeeds();
    });
}

fn play(me: &Role) {
    let mut stream = Stream::connect("stream").unwrap();
    me.say("connected");
    match me.name() {
        "writer" => {
            stream.write_all(&data(1000)).unwrap();
            me.say("written");
            stream.write_all(&data(100)).unwrap();
            let _ = stream.read(&mut [0]);
        }
        _ => {
            let mut buffer = [0; 64];
            while stream.read(&mut buffer).unwrap() > 0 {}
        }
    }
}

#[test]
fn a_killed_peer_is_told_of_after_its_last_byte_and_within_ten_milliseconds() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        soon("the death of a peer", Duration::from_millis(10), || {
            let listener = Listener::bind("stream").unwrap();
            let mut writer = peer(test_name!(), "writer", directory).spawn();
            let mut stream = listener.accept().unwrap();
            writer.wait_for("connected");
            writer.wait_for("written");
            let mut all = vec![0; 1100];
            stream.read_exact(&mut all[..1100]).unwrap();
            let reading = std::thread::spawn(move || {
                let end = stream.read(&mut [0]).unwrap_err();
                (end, Instant::now(), stream)
            });
            tieline_testkit::pause(Duration::from_millis(20));
            let killed = Instant::now();
            writer.kill();
            let (end, at, mut stream) = reading.join().unwrap();
            assert_eq!(end.kind(), Io::ConnectionReset);
            assert_eq!(stream.write(b"x").unwrap_err().kind(), Io::BrokenPipe);
            at.saturating_duration_since(killed)
        });
    });
}

#[test]
fn a_peer_killed_at_any_step_gives_whole_what_it_gave() {
    if let Some(me) = role()
        && me.name() != "alone"
    {
        return play(&me);
    }
    alone(test_name!(), |directory| {
        for (step, expected) in [("copied-in", 1000), ("published", 1100)] {
            let listener = Listener::bind("stream").unwrap();
            let step = format!("kill:stream:{step}:2");
            let mut writer = peer(test_name!(), "writer", directory).env("TIELINE_STEP", step).spawn();
            let mut stream = listener.accept().unwrap();
            writer.exit_status();
            let mut received = Vec::new();
            assert_eq!(stream.read_to_end(&mut received).unwrap_err().kind(), Io::ConnectionReset);
            assert_eq!(received.len(), expected);
            assert_eq!(received[..1000], data(1000));
        }
        for step in ["copied-out", "consumed"] {
            let listener = Listener::options().capacity(4096).bind("stream").unwrap();
            let step = format!("kill:stream:{step}:2");
            let mut reader = peer(test_name!(), "reader", directory).env("TIELINE_STEP", step).spawn();
            let mut stream = listener.accept().unwrap();
            assert_eq!(stream.write_all(&data(100_000)).unwrap_err().kind(), Io::BrokenPipe, "not blocked for ever");
            reader.exit_status();
        }
    });
}

#[test]
fn an_end_without_a_name_is_inherited() {
    if let Some(me) = role() {
        let fd: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
        let mut stream = StreamEnd::from_fd(fd).unwrap().meet(false).unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
        drop(me);
        return;
    }
    let (one, other) = Stream::ends().unwrap();
    let peer = Peer::of(test_name!()).role("child").stdin(other.into()).spawn();
    let mut stream = one.meet(true).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");
    peer.succeeds();
}
