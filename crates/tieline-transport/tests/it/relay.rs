//! Bytes through a relay: every pair of stream kinds, whole and in order; limits; what is handed back.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use tieline_testkit::{PATIENCE, eventually, pause, skip};
use tieline_transport::endpoint::{Direction, Endpoint, Listener};
use tieline_transport::relay::{End, Relay};
use tieline_transport::{ErrorKind, Stop};

use crate::support::{
    Place, address, assert_same, byte_sink, byte_source, collect, data, feed, open, receive, send, unique,
};

const KINDS: [&str; 7] = ["file", "fifo", "unix", "tcp", "exec", "posix-shm", "sysv-shm"];

/// Both ends of something: what the relay opens, and what the test holds at the other end.
struct Ends {
    relayed: Endpoint,
    held: Held,
}

enum Held {
    Endpoint(Box<Endpoint>),
    /// Nobody holds it: it is filled before, or read after.
    Nobody,
    Memory(Memory),
}

/// Removes the object in the end.
struct Memory(String);

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(name) = self.0.strip_prefix("posix-shm:") {
            let _ = tieline_os::posix::shm::SharedMemory::unlink(name);
        } else if let Some(key) = self.0.strip_prefix("sysv-shm:") {
            let key = tieline_os::sysv::Key::new(key.parse::<u32>().expect("a key").cast_signed());
            let _ = tieline_os::sysv::shm::Segment::open(key).and_then(tieline_os::sysv::shm::Segment::remove);
        }
    }
}

fn both_ends(text: &str) -> (Endpoint, Endpoint) {
    let listener = Listener::bind(&address(text)).unwrap();
    let ours = open(listener.address(), Direction::Both);
    (ours, listener.accept().unwrap())
}

fn pipe_ends(place: &Place, name: &str) -> (Endpoint, Endpoint) {
    let fifo = address(&format!("{}?create=yes", place.at("fifo", name)));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| open(&fifo, Direction::Receive));
        let writer = open(&fifo, Direction::Send);
        (reader.join().unwrap(), writer)
    })
}

fn memory(kind: &str, content: &[u8]) -> Memory {
    let name = if kind == "posix-shm" {
        format!("posix-shm:/tieline-test-{}", unique())
    } else {
        format!("sysv-shm:{}", unique())
    };
    let mut made = send(&format!("{name}?create=new&capacity={}", content.len()));
    let memory = Memory(name);
    byte_sink(&mut made).write_all(content).unwrap();
    memory
}

/// A source of this kind that gives `content`.
fn source(kind: &str, place: &Place, content: &[u8]) -> Ends {
    let path = place.path("source");
    let (relayed, held) = match kind {
        "file" => {
            std::fs::write(&path, content).unwrap();
            (receive(&format!("file:{}", path.display())), Held::Nobody)
        }
        "exec" => {
            std::fs::write(&path, content).unwrap();
            (receive(&format!("exec:cat {}", path.display())), Held::Nobody)
        }
        "fifo" => {
            let (reader, writer) = pipe_ends(place, "source");
            (reader, Held::Endpoint(writer.into()))
        }
        "unix" => {
            let (ours, theirs) = both_ends(&place.at("unix", "source").to_string());
            (ours, Held::Endpoint(theirs.into()))
        }
        "tcp" => {
            let (ours, theirs) = both_ends("tcp:127.0.0.1:0");
            (ours, Held::Endpoint(theirs.into()))
        }
        memory_kind => {
            let memory = memory(memory_kind, content);
            (receive(&memory.0), Held::Memory(memory))
        }
    };
    Ends { relayed, held }
}

/// A sink of this kind for `len` bytes.
fn sink(kind: &str, place: &Place, len: usize) -> Ends {
    let path = place.path("sink");
    let (relayed, held) = match kind {
        "file" => (send(&format!("file:{}?create=yes", path.display())), Held::Nobody),
        "exec" => (send(&format!("exec:cat >{}", path.display())), Held::Nobody),
        "fifo" => {
            let (reader, writer) = pipe_ends(place, "sink");
            (writer, Held::Endpoint(reader.into()))
        }
        "unix" => {
            let (ours, theirs) = both_ends(&place.at("unix", "sink").to_string());
            (ours, Held::Endpoint(theirs.into()))
        }
        "tcp" => {
            let (ours, theirs) = both_ends("tcp:127.0.0.1:0");
            (ours, Held::Endpoint(theirs.into()))
        }
        memory_kind => {
            let memory = memory(memory_kind, &vec![0; len]);
            (send(&memory.0), Held::Memory(memory))
        }
    };
    Ends { relayed, held }
}

/// Moves `content` from a source of one kind to a sink of another, and checks that all of it arrives.
fn arrives_whole(from: &str, to: &str, content: &[u8]) {
    let place = Place::new();
    let (from_ends, to_ends) = (source(from, &place, content), sink(to, &place, content.len()));
    let feeder = match from_ends.held {
        Held::Endpoint(writer) => Some(feed(*writer, content.to_vec())),
        Held::Nobody | Held::Memory(_) => None,
    };
    let (collector, kept) = match to_ends.held {
        Held::Endpoint(reader) => (Some(collect(*reader)), None),
        Held::Memory(memory) => (None, Some(memory)),
        Held::Nobody => (None, None),
    };
    let outcome = Relay::new().one_way(from_ends.relayed, to_ends.relayed).unwrap();
    let flow = outcome.forward;
    assert!(matches!(flow.end, End::SourceEnded), "{from} -> {to}: {}", flow.end);
    assert_eq!((flow.bytes, flow.undelivered.len()), (content.len() as u64, 0), "{from} -> {to}");
    assert!(outcome.exits.iter().all(|(_, status)| status.success()));
    assert_eq!(outcome.exits.len(), usize::from(from == "exec") + usize::from(to == "exec"));
    if let Some(feeder) = feeder {
        feeder.join().unwrap();
    }
    let arrived = match (collector, kept) {
        (Some(collector), _) => collector.join().unwrap(),
        (None, Some(memory)) => collect(receive(&memory.0)).join().unwrap(),
        (None, None) => std::fs::read(place.path("sink")).unwrap(),
    };
    assert_same(&arrived, content);
}

/// An odd length, so that the last piece is never a whole page.
#[test]
fn every_pair_of_kinds_carries_two_mebibytes_whole() {
    let content = data((2 << 20) + 13);
    for from in KINDS {
        for to in KINDS {
            arrives_whole(from, to, &content);
        }
    }
}

#[test]
fn every_kind_carries_64_mebibytes_whole() {
    let content = data(64 << 20);
    for (index, from) in KINDS.iter().enumerate() {
        arrives_whole(from, KINDS[(index + 1) % KINDS.len()], &content);
    }
}

#[test]
fn every_kind_carries_nothing_at_all() {
    // A memory has at least one byte.
    for kind in &KINDS[..5] {
        arrives_whole(kind, kind, b"");
    }
}

#[test]
fn sixty_four_mebibytes_each_way_at_once() {
    let (a, far_a) = both_ends("tcp:127.0.0.1:0");
    let place = Place::new();
    let (b, far_b) = both_ends(&place.at("unix", "b").to_string());
    let (there, back) = (data(64 << 20), data((64 << 20) - 8)[8..].to_vec());
    let (mut far_a, mut far_b) = (far_a, far_b);
    let (sink_a, source_a) = (byte_sink(&mut far_a), byte_source(&mut far_a));
    let (sink_b, source_b) = (byte_sink(&mut far_b), byte_source(&mut far_b));
    let write = |mut sink: tieline_transport::endpoint::ByteSink, bytes: Vec<u8>| {
        std::thread::spawn(move || {
            sink.write_all(&bytes).unwrap();
            sink.finish().unwrap();
        })
    };
    let read = |mut source: tieline_transport::endpoint::ByteSource| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut source, &mut all).unwrap();
            all
        })
    };
    let writers = [write(sink_a, there.clone()), write(sink_b, back.clone())];
    let (got_a, got_b) = (read(source_a), read(source_b));
    let relay = Relay::new();
    let progress = relay.progress();
    let outcome = relay.both_ways(a, b).unwrap();
    let backward = outcome.backward.unwrap();
    assert!(outcome.forward.end.is_natural() && backward.end.is_natural());
    assert_eq!((outcome.forward.bytes, backward.bytes), (there.len() as u64, back.len() as u64));
    assert_eq!((progress.forward.bytes(), progress.backward.bytes()), (there.len() as u64, back.len() as u64));
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_same(&got_b.join().unwrap(), &there);
    assert_same(&got_a.join().unwrap(), &back);
}

/// The heart of the promise: nobody reads, the relay is stopped in the middle, and every byte is accounted for.
#[test]
fn a_stop_under_back_pressure_loses_nothing() {
    for from in ["fifo", "unix", "tcp"] {
        for to in ["fifo", "unix", "tcp"] {
            let place = Place::new();
            let content = data(24 << 20);
            let (from_ends, to_ends) = (source(from, &place, b""), sink(to, &place, 0));
            let (Held::Endpoint(writer), Held::Endpoint(mut reader)) = (from_ends.held, to_ends.held) else {
                panic!("streams have ends");
            };
            // A second handle on the source, to find what the relay left in it.
            let mut rest = byte_source_twin(&from_ends.relayed, &place, from);
            let stop = Stop::new().unwrap();
            let relay = Relay::new().stop_on(&stop).grace(Duration::from_millis(20));
            let progress = relay.progress();
            let feeder = feed(*writer, content.clone());
            let relayed = std::thread::spawn(move || relay.one_way(from_ends.relayed, to_ends.relayed).unwrap());
            settles(|| progress.forward.bytes());
            let begun = Instant::now();
            stop.request();
            let flow = relayed.join().unwrap().forward;
            // Nobody reads, so nothing else would ever end it.
            assert!(begun.elapsed() < PATIENCE, "{from} -> {to} took {:?}", begun.elapsed());
            assert!(matches!(flow.end, End::Stopped), "{from} -> {to}: {}", flow.end);
            // What arrived, what was handed back, and what was never taken, in this order, are what was sent.
            let mut all = Vec::new();
            std::io::Read::read_to_end(&mut byte_source(&mut reader), &mut all).unwrap();
            assert_eq!(all.len() as u64, flow.bytes, "{from} -> {to}");
            all.extend(&flow.undelivered);
            if let Some(rest) = &mut rest {
                std::io::Read::read_to_end(rest, &mut all).unwrap();
                feeder.join().unwrap();
                assert_same(&all, &content);
            } else {
                assert_same(&all, &content[..all.len()]);
            }
        }
    }
}

/// A FIFO can be opened again by its name; a socket that the relay has closed for reading keeps nothing.
fn byte_source_twin(_relayed: &Endpoint, place: &Place, kind: &str) -> Option<tieline_transport::endpoint::ByteSource> {
    (kind == "fifo").then(|| byte_source(&mut open(&place.at("fifo", "source"), Direction::Receive)))
}

/// Waits until a count has been the same for a while, and is not zero.
fn settles(count: impl Fn() -> u64) {
    let mut last = 0;
    eventually("the relay is stuck", || {
        pause(Duration::from_millis(30));
        let now = count();
        std::mem::replace(&mut last, now) == now && now > 0
    });
}

#[test]
fn a_limit_of_bytes_is_exact() {
    for (from, to) in [("file", "fifo"), ("fifo", "file"), ("unix", "tcp"), ("sysv-shm", "unix")] {
        let place = Place::new();
        let content = data(100_000);
        let (from_ends, to_ends) = (source(from, &place, &content), sink(to, &place, 0));
        let feeder = match from_ends.held {
            Held::Endpoint(writer) => Some(feed(*writer, content.clone())),
            _ => None,
        };
        let collector = match to_ends.held {
            Held::Endpoint(reader) => Some(collect(*reader)),
            _ => None,
        };
        let flow = Relay::new().max_bytes(70_001).one_way(from_ends.relayed, to_ends.relayed).unwrap().forward;
        assert!(matches!(flow.end, End::LimitReached), "{from} -> {to}: {}", flow.end);
        assert_eq!((flow.bytes, flow.undelivered.len()), (70_001, 0));
        let arrived = collector.map_or_else(|| std::fs::read(place.path("sink")).unwrap(), |it| it.join().unwrap());
        assert_same(&arrived, &content[..70_001]);
        drop(feeder);
    }
}

#[test]
fn a_memory_that_is_full_is_an_error_and_one_that_just_fits_is_not() {
    for kind in ["posix-shm", "sysv-shm"] {
        for (len, fits) in [(4096, true), (4097, false), (70_000, false)] {
            let place = Place::new();
            let content = data(len);
            let target = memory(kind, &[0; 4096]);
            for from in ["fifo", "file"] {
                let ends = source(from, &place, &content);
                if let Held::Endpoint(writer) = ends.held {
                    drop(feed(*writer, content.clone()));
                }
                let flow = Relay::new().one_way(ends.relayed, send(&target.0)).unwrap().forward;
                assert_eq!(flow.bytes, 4096, "{from} -> {kind}");
                match (&flow.end, fits) {
                    (End::SourceEnded, true) => {}
                    (End::Failed(error), false) => {
                        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                        assert!(!flow.undelivered.is_empty(), "what shows that there was more");
                        assert_same(&flow.undelivered, &content[4096..4096 + flow.undelivered.len()]);
                    }
                    (end, _) => panic!("{from} -> {kind}, {len} bytes: {end}"),
                }
                std::fs::remove_file(place.path("source")).unwrap();
            }
        }
    }
}

#[test]
fn devices_are_sources_and_sinks() {
    let place = Place::new();
    let zeros = || receive("file:/dev/zero");
    let out = send(&format!("{}?create=yes", place.at("file", "zeros")));
    let flow = Relay::new().max_bytes(100_001).one_way(zeros(), out).unwrap().forward;
    assert!(matches!(flow.end, End::LimitReached), "{}", flow.end);
    assert_same(&std::fs::read(place.path("zeros")).unwrap(), &vec![0; 100_001]);

    let flow = Relay::new().one_way(zeros(), send("file:/dev/full")).unwrap().forward;
    let End::Failed(error) = &flow.end else { panic!("{}", flow.end) };
    assert_eq!(error.kind(), ErrorKind::System(tieline_os::ErrorKind::LimitReached), "{error}");
    assert_eq!(flow.bytes, 0);
    assert!(!flow.undelivered.is_empty());
}

#[test]
fn time_ends_a_relay() {
    let place = Place::new();
    let (a, _far_a) = both_ends(&place.at("unix", "a").to_string());
    let (b, _far_b) = both_ends(&place.at("unix", "b").to_string());
    let begun = Instant::now();
    let outcome = Relay::new().timeout(Duration::from_millis(60)).both_ways(a, b).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(60));
    for end in [outcome.forward.end, outcome.backward.unwrap().end] {
        assert!(matches!(end, End::TimedOut | End::OtherFailed), "{end}");
    }
}

#[test]
fn idleness_counts_for_both_directions_together() {
    const IDLE: Duration = Duration::from_millis(300);
    const WORDS: u64 = 10;
    // A machine that lets none of us run for as long as the idle time proves nothing; another time it will.
    for _ in 0..12 {
        let place = Place::new();
        let (a, _far_a) = both_ends(&place.at("unix", "a").to_string());
        let (b, mut far_b) = both_ends(&place.at("unix", "b").to_string());
        let mut sink = byte_sink(&mut far_b);
        let relay = Relay::new().idle_timeout(IDLE);
        let progress = relay.progress();
        let begun = Instant::now();
        let relay = std::thread::spawn(move || (relay.both_ways(a, b).unwrap(), begun.elapsed()));
        // One direction speaks, which keeps the silent one alive.
        let (mut last, mut was_held_up) = (begun, false);
        for word in 1..=WORDS {
            pause(IDLE / 5);
            let _ = sink.write_all(b"x");
            eventually("the word is through, or the relay has ended", || {
                progress.backward.bytes() == word || relay.is_finished()
            });
            // From before the relay moved one until after it has moved the next.
            was_held_up |= last.elapsed() >= IDLE;
            last = Instant::now();
        }
        let (outcome, elapsed) = relay.join().unwrap();
        if was_held_up && outcome.backward.as_ref().is_some_and(|backward| backward.bytes < WORDS) {
            continue;
        }
        let backward = outcome.backward.unwrap();
        assert_eq!(backward.bytes, WORDS, "it ended while somebody spoke");
        assert!(elapsed >= WORDS as u32 * IDLE / 5 + IDLE, "{elapsed:?}");
        assert!([&outcome.forward.end, &backward.end].iter().any(|end| matches!(end, End::Idle)));
        return;
    }
    skip!("this machine keeps threads from running for longer than {IDLE:?} again and again");
}

/// A relay that waits must sleep: its thread's processor time shows whether it does.
#[test]
fn an_idle_relay_uses_no_processor() {
    let place = Place::new();
    let pairs: Vec<_> = ["unix", "tcp", "fifo"].into_iter().map(|kind| (kind, source(kind, &place, b""))).collect();
    for (kind, ends) in pairs {
        let sink_place = Place::new();
        let to = sink("unix", &sink_place, 0);
        let begun = thread_ticks();
        let flow = Relay::new().timeout(Duration::from_millis(300)).one_way(ends.relayed, to.relayed).unwrap().forward;
        assert!(matches!(flow.end, End::TimedOut), "{kind}: {}", flow.end);
        let used = thread_ticks() - begun;
        assert!(used < 15, "{kind}: {used} ticks of ten milliseconds in 300 ms of waiting");
    }
    let key = unique();
    let (sysv, mq) = (format!("sysv-mq:{key}"), format!("/tieline-test-{}", unique()));
    let from_mq = receive(&format!("mq:{mq}?create=new"));
    let from_sysv = receive(&format!("{sysv}?create=new"));
    tieline_os::posix::mq::MessageQueue::unlink(&mq).unwrap();
    let key = tieline_os::sysv::Key::new(key.cast_signed());
    let _remove = tieline_os::sysv::RemoveOnDrop::new(tieline_os::sysv::msg::MessageQueue::open(key).unwrap());
    let silent = [("mq", from_mq), ("sysv-mq", from_sysv), ("udp", receive("udp:127.0.0.1:0?listen=yes"))];
    for (kind, from) in silent {
        let begun = thread_ticks();
        let to = send("file:/dev/null");
        let flow = Relay::new().timeout(Duration::from_millis(300)).one_way(from, to).unwrap().forward;
        assert!(matches!(flow.end, End::TimedOut), "{kind}: {}", flow.end);
        let used = thread_ticks() - begun;
        assert!(used < 15, "{kind}: {used} ticks of ten milliseconds in 300 ms of waiting");
    }
}

/// User and system time of this thread, in clock ticks.
fn thread_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn what_cannot_be_joined_is_refused_before_anything_moves() {
    let place = Place::new();
    let one_way = || open(&address(&format!("{}?create=yes", place.at("file", "f"))), Direction::Send);
    let error = Relay::new().both_ways(one_way(), open(&address("exec:cat"), Direction::Both)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = Relay::new().one_way(one_way(), one_way()).unwrap_err();
    assert!(error.to_string().contains("receive"), "{error}");
    let own = open(&address("pipe:"), Direction::Both);
    assert!(Relay::new().both_ways(own, open(&address("exec:cat"), Direction::Both)).is_err());
}

/// Given pipes of the usual capacity, when much passes, then they are wider afterwards, but for one whose address says
/// how wide it is.
#[test]
fn busy_pipes_are_widened_unless_their_address_says_how_wide_they_are() {
    const USUAL: usize = 64 << 10;
    let content = data(1 << 20);
    for sized in [false, true] {
        let (source, feed) = tieline_os::pipe::pipe().unwrap();
        let (out, sink) = tieline_os::pipe::pipe().unwrap();
        if source.capacity().unwrap() != USUAL || out.capacity().unwrap() != USUAL {
            skip!("pipes are not of the usual size: pages are large, or pipes take up too much memory");
        }
        let options = if sized { "?capacity=64K" } else { "" };
        let from = receive(&format!("fd:{}", source.as_fd().as_raw_fd()));
        let to = send(&format!("fd:{}{options}", sink.as_fd().as_raw_fd()));
        let arrived = std::thread::scope(|scope| {
            scope.spawn(|| {
                let feed = feed;
                feed.write_all(&content).unwrap();
            });
            let reading = scope.spawn(|| {
                let (mut arrived, mut part) = (Vec::new(), vec![0; USUAL]);
                while arrived.len() < content.len() {
                    let count = out.read(&mut part).unwrap();
                    arrived.extend_from_slice(&part[..count]);
                }
                arrived
            });
            let flow = Relay::new().one_way(from, to).unwrap().forward;
            assert_eq!((flow.bytes, flow.undelivered.len()), (content.len() as u64, 0), "{}", flow.end);
            reading.join().unwrap()
        });
        assert_same(&arrived, &content);
        if source.capacity().unwrap() == USUAL {
            skip!("this user may not have wider pipes now");
        }
        assert_eq!(out.capacity().unwrap() == USUAL, sized);
    }
}
