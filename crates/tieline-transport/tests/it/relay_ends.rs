//! How an end travels through a relay: half-close, death, stop; and what the outcome says of it.

use std::io::Read;
use std::time::Duration;

use tieline_testkit::{PATIENCE, Peer, eventually, test_name};
use tieline_transport::Stop;
use tieline_transport::addr::Address;
use tieline_transport::endpoint::{Direction, Endpoint, Listener};
use tieline_transport::relay::{End, Outcome, Relay};

use crate::support::{Place, address, byte_sink, byte_source, data, open};

/// A relay between two listening addresses, started when both peers have come.
fn relay_between(a: &Address, b: &Address, relay: Relay) -> std::thread::JoinHandle<Outcome> {
    let (a, b) = (Listener::bind(a).unwrap(), Listener::bind(b).unwrap());
    std::thread::spawn(move || relay.both_ways(a.accept().unwrap(), b.accept().unwrap()).unwrap())
}

#[test]
fn a_request_that_ends_is_still_answered() {
    let place = Place::new();
    let (at_a, at_b) = (place.at("unix", "a"), place.at("unix", "b"));
    let relay = relay_between(&at_a, &at_b, Relay::new());
    let (mut client, mut server) = (open(&at_a, Direction::Both), open(&at_b, Direction::Both));
    let mut request = byte_sink(&mut client);
    request.write_all(b"question").unwrap();
    request.finish().unwrap();
    let mut asked = String::new();
    byte_source(&mut server).read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "question", "the end came through, or this read would wait for ever");
    let mut answer = byte_sink(&mut server);
    answer.write_all(b"answer").unwrap();
    answer.finish().unwrap();
    let mut answered = String::new();
    byte_source(&mut client).read_to_string(&mut answered).unwrap();
    assert_eq!(answered, "answer");
    let outcome = relay.join().unwrap();
    assert!(matches!(outcome.forward.end, End::SourceEnded), "{}", outcome.forward.end);
    assert!(matches!(outcome.backward.unwrap().end, End::SourceEnded));
}

#[test]
fn a_filter_gets_its_end_and_gives_its_last_word() {
    let place = Place::new();
    let at = place.at("unix", "a");
    let listener = Listener::bind(&at).unwrap();
    let relay = std::thread::spawn(move || {
        let sorter = open(&address("exec:sort; exit 3"), Direction::Both);
        Relay::new().both_ways(listener.accept().unwrap(), sorter).unwrap()
    });
    let mut client = open(&at, Direction::Both);
    let mut words = byte_sink(&mut client);
    words.write_all(b"b\na\n").unwrap();
    words.finish().unwrap();
    let mut sorted = String::new();
    byte_source(&mut client).read_to_string(&mut sorted).unwrap();
    assert_eq!(sorted, "a\nb\n");
    let outcome = relay.join().unwrap();
    assert_eq!(outcome.exits.len(), 1);
    assert_eq!(outcome.exits[0].1.code(), Some(3));
}

/// A Unix peer that closes with our bytes unread breaks the connection; what it had said before still arrives.
#[test]
fn a_broken_source_is_told_apart_from_one_that_ended() {
    let place = Place::new();
    let (at_a, at_b) = (place.at("unix", "a"), place.at("unix", "b"));
    let relay = Relay::new();
    let progress = relay.progress();
    let relay = relay_between(&at_a, &at_b, relay);
    let (mut a, mut b) = (open(&at_a, Direction::Both), open(&at_b, Direction::Both));
    // Kept, because dropping a sink ends its stream, and the way back shall not end by that.
    let mut back = byte_sink(&mut b);
    back.write_all(b"never read").unwrap();
    eventually("it is with the peer", || progress.backward.bytes() == 10);
    let mut last_word = byte_sink(&mut a);
    last_word.write_all(b"bye").unwrap();
    drop((last_word, a));
    let mut heard = String::new();
    byte_source(&mut b).read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "bye");
    // While b lives, only the death of a can end the way back.
    let outcome = relay.join().unwrap();
    drop((back, b));
    assert!(
        matches!(&outcome.forward.end, End::SourceBroken(error) if error.is_peer_dead()),
        "{}",
        outcome.forward.end
    );
    assert_eq!(outcome.forward.bytes, 3);
    // Which is found first, by its own direction or because the other has failed, is a matter of microseconds.
    let backward = outcome.backward.unwrap().end;
    assert!(matches!(backward, End::SinkGone | End::OtherFailed), "{backward}");
}

/// The sink's process is killed in the middle of a flood: the relay ends by itself, and its books balance.
#[test]
fn a_killed_reader_ends_the_relay() {
    if let Some(me) = tieline_testkit::role() {
        let at = address(&me.env("ADDRESS"));
        let mut endpoint = open(&at, if at.scheme().name() == "fifo" { Direction::Receive } else { Direction::Both });
        let mut source = byte_source(&mut endpoint);
        let mut buffer = vec![0; 1 << 16];
        assert!(source.read(&mut buffer).unwrap() > 0);
        me.say("reading");
        me.wait_for("the end, which is a signal");
        return;
    }
    for kind in ["unix", "tcp", "fifo"] {
        let place = Place::new();
        let source_at = place.at("unix", "source");
        let feeding = Listener::bind(&source_at).unwrap();
        let mut writer = open(&source_at, Direction::Both);
        let from = feeding.accept().unwrap();
        let (sink_at, listener) = match kind {
            "tcp" => listen(&address("tcp:127.0.0.1:0")),
            "unix" => listen(&place.at("unix", "sink")),
            _ => {
                let fifo = place.at("fifo", "sink");
                drop(tieline_os::fifo::create(place.path("sink"), tieline_os::Mode::OWNER));
                (fifo, None)
            }
        };
        let mut peer = Peer::of(test_name!()).role("reader").env("ADDRESS", sink_at.to_string()).spawn();
        let to = listener.map_or_else(|| open(&sink_at, Direction::Send), |listener| listener.accept().unwrap());
        let relay = std::thread::spawn(move || Relay::new().one_way(from, to).unwrap().forward);
        let flood = std::thread::spawn(move || byte_sink(&mut writer).write_all(&data(32 << 20)));
        peer.wait_for("reading");
        peer.kill();
        let flow = relay.join().unwrap();
        assert!(matches!(flow.end, End::SinkGone), "{kind}: {}", flow.end);
        let refused = flood.join().unwrap().unwrap_err();
        assert!(refused.is_peer_dead(), "the writer is told, {kind}: {refused}");
        let content = data(flow.bytes as usize + flow.undelivered.len());
        assert!(content.ends_with(&flow.undelivered), "what is handed back follows what was given");
    }
}

fn listen(at: &Address) -> (Address, Option<Listener>) {
    let listener = Listener::bind(at).unwrap();
    (listener.address().clone(), Some(listener))
}

/// Nothing is sent, so no write can fail; the death of the reader is noticed all the same.
///
/// A TCP peer that merely closes looks like one that has only finished sending; a killed one with unread bytes, or one
/// that gives up, resets the connection, and that shows.
#[test]
fn a_reader_that_leaves_a_silent_relay_ends_it() {
    for kind in ["unix", "tcp", "fifo", "unix-seqpacket"] {
        let place = Place::new();
        let source_at = place.at("unix", "source");
        let feeding = Listener::bind(&source_at).unwrap();
        let _silent = open(&source_at, Direction::Both);
        let from = feeding.accept().unwrap();
        let (to, leave): (Endpoint, Box<dyn FnOnce()>) = match kind {
            "fifo" => {
                let fifo = address(&format!("{}?create=yes", place.at("fifo", "sink")));
                let (to, reader) = std::thread::scope(|scope| {
                    let reader = scope.spawn(|| open(&fifo, Direction::Receive));
                    (open(&fifo, Direction::Send), reader.join().unwrap())
                });
                (to, Box::new(move || drop(reader)))
            }
            "tcp" => {
                let listener = Listener::bind(&address("tcp:127.0.0.1:0")).unwrap();
                let at = listener.address().target().to_string();
                let reader = tieline_os::tcp::Stream::connect(at).unwrap();
                reader.set_linger(Some(Duration::ZERO)).unwrap();
                (listener.accept().unwrap(), Box::new(move || drop(reader)))
            }
            _ => {
                let listener = Listener::bind(&place.at(kind, "sink")).unwrap();
                let reader = open(listener.address(), Direction::Both);
                (listener.accept().unwrap(), Box::new(move || drop(reader)))
            }
        };
        let relay = std::thread::spawn(move || Relay::new().one_way(from, to).unwrap().forward);
        tieline_testkit::pause(Duration::from_millis(20));
        assert!(!relay.is_finished());
        leave();
        eventually(&format!("the relay to {kind} ends"), || relay.is_finished());
        let flow = relay.join().unwrap();
        assert!(matches!(flow.end, End::SinkGone), "{kind}: {}", flow.end);
    }
}

#[test]
fn a_stop_is_heard_at_once_wherever_the_relay_waits() {
    let place = Place::new();
    let key = crate::support::unique();
    let queue = format!("sysv-mq:{key}");
    let silent = [
        ("sysv", open(&address(&format!("{queue}?create=new")), Direction::Receive)),
        ("udp", open(&address("udp:127.0.0.1:0?listen=yes"), Direction::Receive)),
        ("exec", open(&address("exec:exec sleep 1000"), Direction::Receive)),
    ];
    let key = tieline_os::sysv::Key::new(key.cast_signed());
    let _remove = tieline_os::sysv::RemoveOnDrop::new(tieline_os::sysv::msg::MessageQueue::open(key).unwrap());
    for (kind, from) in silent {
        let to = open(&address(&format!("{}?create=yes", place.at("file", kind))), Direction::Send);
        let stop = Stop::new().unwrap();
        let relay = Relay::new().stop_on(&stop);
        let relay = std::thread::spawn(move || relay.one_way(from, to).unwrap());
        tieline_testkit::pause(Duration::from_millis(20));
        let begun = std::time::Instant::now();
        stop.request();
        let outcome = relay.join().unwrap();
        assert!(matches!(outcome.forward.end, End::Stopped), "{kind}: {}", outcome.forward.end);
        // Nothing else would end it for a quarter of an hour.
        assert!(begun.elapsed() < PATIENCE, "{kind} took {:?}", begun.elapsed());
        assert_eq!(outcome.exits.len(), usize::from(kind == "exec"), "the child was ended and collected");
    }
}

#[test]
fn a_stop_while_both_directions_flow_ends_both() {
    let place = Place::new();
    stop_in_full_flow(place.at("unix", "a"), place.at("unix", "b"));
    stop_in_full_flow(address("tcp:127.0.0.1:0"), address("tcp:127.0.0.1:0"));
}

fn stop_in_full_flow(a: Address, b: Address) {
    let (a, b) = (Listener::bind(&a).unwrap(), Listener::bind(&b).unwrap());
    let (at_a, at_b) = (a.address().clone(), b.address().clone());
    let stop = Stop::new().unwrap();
    let relay = Relay::new().stop_on(&stop);
    let progress = relay.progress();
    let relay = std::thread::spawn(move || relay.both_ways(a.accept().unwrap(), b.accept().unwrap()).unwrap());
    let (mut a, mut b) = (open(&at_a, Direction::Both), open(&at_b, Direction::Both));
    let endless = |endpoint: &mut Endpoint| {
        let mut sink = byte_sink(endpoint);
        std::thread::spawn(move || while sink.write_all(&[7; 4096]).is_ok() {})
    };
    let floods = [endless(&mut a), endless(&mut b)];
    let drains = [drain(a), drain(b)];
    eventually("both flow", || progress.forward.bytes() > 1 << 20 && progress.backward.bytes() > 1 << 20);
    stop.request();
    let outcome = relay.join().unwrap();
    let backward = outcome.backward.unwrap();
    assert!(matches!(outcome.forward.end, End::Stopped) && matches!(backward.end, End::Stopped));
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    let [got_a, got_b] = drains.map(|drain| drain.join().unwrap());
    assert_eq!((got_b, got_a), (outcome.forward.bytes, backward.bytes), "what was counted arrived");
}

/// Counts what comes until the end, which may be a reset: we had sent more than the relay took.
fn drain(mut endpoint: Endpoint) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut source = byte_source(&mut endpoint);
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return count,
                Err(error) if error.is_peer_dead() => return count,
                answer => count += answer.unwrap() as u64,
            }
        }
    })
}
