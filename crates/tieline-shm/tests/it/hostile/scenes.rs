//! Who attacks whom.

use std::any::Any;
use std::time::{Duration, Instant};

use tieline_shm::event::{Event, Listener};
use tieline_shm::latest::{Latest, LatestReader, LatestWriter};
use tieline_shm::queue::Queue;
use tieline_shm::reqres::{Client, Server};
use tieline_shm::stream::{self, Stream};
use tieline_shm::topic::{Policy, Publisher, Subscriber, Topic};
use tieline_shm::{Allowed, ErrorKind, Name, Result};
use tieline_testkit::PATIENCE;

use super::{Scene, access, listening};

const SHORT: Duration = Duration::from_millis(50);

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn ready() {
    tieline_testkit::role().expect("a peer").say("ready");
}

fn boxed<T: 'static>(value: T) -> Result<Box<dyn Any>> {
    Ok(Box::new(value))
}

/// Where several may have done it, the error names them and the object.
fn tells_who(error: &tieline_shm::Error) {
    if error.kind() == ErrorKind::Corrupted {
        let text = error.to_string();
        let users = format!("user 0 and users {}, {} may write its memory", super::ATTACKER, super::HONEST);
        assert!(text.contains(&users) && text.contains("/object"), "{text}");
    }
}

fn whole(sample: &[u64]) -> u64 {
    assert!(!sample.is_empty() && sample.iter().all(|word| *word == sample[0]), "torn: {sample:?}");
    sample[0]
}

/// A subscriber against a publisher, beside subscribers of the publisher's user and of a third.
pub(super) struct Told {
    publisher: Publisher<[u64]>,
    subscriber: Subscriber<[u64]>,
    next: u64,
    heard: u64,
}

impl Told {
    fn hear(&mut self) {
        while let Ok(sample) = self.subscriber.try_recv() {
            let value = whole(&sample);
            assert_eq!(value, self.heard + 1, "an honest subscriber missed something");
            self.heard = value;
        }
    }

    fn publish(&mut self) -> bool {
        let len = if self.next.is_multiple_of(2) { 5 } else { 700 };
        match self.publisher.publish_timeout(&vec![self.next + 1; len], SHORT) {
            Ok(()) => {
                self.next += 1;
                true
            }
            Err(error) => {
                assert!(error.is_timeout() || error.kind() == ErrorKind::Full, "{error}");
                false
            }
        }
    }
}

impl Scene for Told {
    fn start(name: &str) -> Self {
        let topic = Topic::<[u64]>::create(name).expect("a topic").access(listening());
        let options = topic.publisher_options().depth(16).waits_for(Allowed::Users(vec![super::HONEST]));
        let publisher = options.open().expect("a publisher");
        let subscriber = topic.subscriber().expect("a subscriber");
        Self { publisher, subscriber, next: 0, heard: 0 }
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        let topic = Topic::<[u64]>::open(name)?;
        if super::is_attacker() {
            // It is not waited for.
            let refused = topic.subscriber().expect_err("an attacker is waited for");
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
            assert!(refused.to_string().contains("waits_for"), "{refused}");
        }
        let mut subscriber = topic.subscriber_options().policy(Policy::DropOldest).open()?;
        let held = subscriber.recv_timeout(SHORT).ok();
        boxed((held, subscriber))
    }

    fn work(&mut self) {
        self.publish();
        self.hear();
    }

    fn after(&mut self) {
        tieline_testkit::eventually("the attacker is dismissed", || self.publisher.subscribers() == 2);
        for _ in 0..100 {
            // The honest one may have to wait for a processor.
            tieline_testkit::eventually("an attacker that is gone is not waited for", || self.publish());
            self.hear();
        }
        assert_eq!(self.heard, self.next);
    }

    const HONEST_PEER: Option<fn(&str)> = Some(|name| {
        let mut subscriber = Topic::<[u64]>::open(name).expect("a topic").subscriber().expect("a subscriber");
        ready();
        let mut last = None;
        loop {
            match subscriber.recv() {
                Ok(sample) => {
                    let value = whole(&sample);
                    assert!(last.is_none_or(|last| value == last + 1), "{value} after {last:?}");
                    last = Some(value);
                }
                Err(error) if error.is_peer_dead() => return,
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// A publisher against a subscriber that listens to an honest publisher as well.
pub(super) struct Heard {
    publisher: Publisher<[u64]>,
    subscriber: Subscriber<[u64]>,
    topic: Topic<[u64]>,
    next: u64,
    heard: u64,
}

/// Honest values; what the attacker publishes is anything.
const HONEST_BIT: u64 = 0x00c0_ffee_0000_0000;

impl Heard {
    fn hear(&mut self) {
        let deadline = Instant::now() + SHORT;
        while self.heard < self.next && Instant::now() < deadline {
            match self.subscriber.recv_timeout(SHORT) {
                Ok(sample) => {
                    if sample.first().is_some_and(|word| word & HONEST_BIT == HONEST_BIT) && sample.len() == 5 {
                        assert_eq!(whole(&sample), HONEST_BIT | (self.heard + 1), "an honest message is lost");
                        self.heard += 1;
                    }
                }
                Err(error) => {
                    let expected = [
                        ErrorKind::Corrupted,
                        ErrorKind::TimedOut,
                        ErrorKind::PeerGone,
                        // What a publisher may say when it refuses.
                        ErrorKind::PermissionDenied,
                        ErrorKind::LimitReached,
                        ErrorKind::OutOfMemory,
                        ErrorKind::System,
                    ];
                    assert!(expected.contains(&error.kind()), "{error}");
                }
            }
        }
    }
}

impl Scene for Heard {
    fn start(name: &str) -> Self {
        let topic = Topic::<[u64]>::create(name).expect("a topic").access(access());
        let subscriber = topic.subscriber().expect("a subscriber");
        let publisher = topic.publisher_options().depth(1024).open().expect("a publisher");
        Self { publisher, subscriber, topic, next: 0, heard: 0 }
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        let publisher = Topic::<[u64]>::open(name)?.publisher_options().depth(64).open()?;
        for value in 0..40_usize {
            let _ = publisher.try_publish(&vec![value as u64; if value.is_multiple_of(2) { 3 } else { 300 }]);
        }
        boxed(publisher)
    }

    fn work(&mut self) {
        if self.next - self.heard < 500 {
            self.publisher.try_publish(&[HONEST_BIT | (self.next + 1); 5]).expect("room");
            self.next += 1;
        }
        self.hear();
        // Who comes now is served as well.
        let late = self.topic.subscriber().expect("others cannot keep us out");
        drop(late);
    }

    fn after(&mut self) {
        let deadline = Instant::now() + PATIENCE / 2;
        while self.heard < self.next {
            assert!(Instant::now() < deadline, "{} of {}", self.heard, self.next);
            self.hear();
        }
    }
}

/// A member against a queue, which it may destroy; but not its other members.
pub(super) struct Shared(Queue<[u8]>);

impl Scene for Shared {
    fn start(name: &str) -> Self {
        let queue = Queue::<[u8]>::options().capacity(8).payload_max_bytes(1000).access(access()).create(name);
        Self(queue.expect("a queue"))
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        let queue = Queue::<[u8]>::open(name)?;
        let held: Vec<_> = (0..3).map_while(|_| queue.try_recv().ok()).collect();
        let reserved = queue.try_reserve(10).ok();
        boxed((held, reserved, queue))
    }

    fn work(&mut self) {
        let sent = self.0.send_timeout(&[7; 500], SHORT);
        let got = self.0.recv_timeout(SHORT).and_then(|delivery| {
            assert!(delivery.len() <= 1000);
            delivery.ack()
        });
        for answer in [sent, got] {
            if let Err(error) = answer {
                let expected = [ErrorKind::TimedOut, ErrorKind::Corrupted, ErrorKind::Full, ErrorKind::OwnerDied];
                assert!(expected.contains(&error.kind()), "{error}");
                tells_who(&error);
            }
        }
    }

    fn after(&mut self) {
        for _ in 0..20 {
            self.work();
        }
    }
}

/// A member against events.
pub(super) struct Rung(Event, Listener);

impl Scene for Rung {
    fn start(text: &str) -> Self {
        let event = Event::options().access(access()).create(name(text)).expect("events");
        let listener = event.listener();
        Self(event, listener)
    }

    fn join(text: &str) -> Result<Box<dyn Any>> {
        let event = Event::open(name(text))?;
        let listener = event.listener();
        boxed((event, listener))
    }

    fn work(&mut self) {
        self.0.notify(3).expect("notified");
        let mut fired = Vec::new();
        match self.1.wait_timeout(&mut fired, SHORT) {
            Ok(_) => assert!(fired.len() <= 64 && fired.iter().all(|one| one.id < 64), "{fired:?}"),
            Err(error) => assert!([ErrorKind::TimedOut, ErrorKind::Corrupted].contains(&error.kind()), "{error}"),
        }
    }

    fn after(&mut self) {
        let mut fired = Vec::new();
        let deadline = Instant::now() + PATIENCE / 2;
        while !fired.iter().any(|one: &tieline_shm::event::Fired| one.id == 5) {
            assert!(Instant::now() < deadline, "a new listener hears nothing");
            self.0.notify(5).expect("notified");
            let _ = self.1.wait_timeout(&mut fired, SHORT);
        }
    }
}

/// A reader against the writer of a latest value.
pub(super) struct Read(LatestWriter<[u64; 20]>, LatestReader<[u64; 20]>, u64);

impl Scene for Read {
    fn start(text: &str) -> Self {
        let at = || Latest::at(name(text)).expect("a name").access(listening());
        let writer = at().writer().expect("a writer");
        Self(writer, at().reader().expect("a reader"), 0)
    }

    fn join(text: &str) -> Result<Box<dyn Any>> {
        boxed(Latest::<[u64; 20]>::at(name(text))?.reader()?)
    }

    fn work(&mut self) {
        self.2 += 1;
        self.0.write(&[self.2; 20]).expect("written");
        assert_eq!(self.1.read().expect("readable"), Some([self.2; 20]));
    }

    fn after(&mut self) {
        self.work();
    }
}

/// The writer of a latest value against a reader.
pub(super) struct Written(LatestReader<[bool; 60]>, String);

impl Scene for Written {
    fn start(text: &str) -> Self {
        let at = || Latest::<[bool; 60]>::at(name(text)).expect("a name").access(access());
        drop(at().writer().expect("a writer").write(&[true; 60]));
        let mut writer = at().writer().expect("a writer");
        writer.write(&[true; 60]).expect("written");
        let reader = at().reader().expect("a reader");
        drop(writer);
        Self(reader, text.to_owned())
    }

    fn join(text: &str) -> Result<Box<dyn Any>> {
        let mut writer = Latest::<[bool; 60]>::at(name(text))?.writer()?;
        writer.write(&[false; 60])?;
        boxed(writer)
    }

    fn work(&mut self) {
        for answer in [self.0.changed_timeout(SHORT).map(Some), self.0.read()] {
            match answer {
                Ok(Some(value)) => drop(std::hint::black_box(value.iter().filter(|bit| **bit).count())),
                Ok(None) => {}
                Err(error) => {
                    let expected = [ErrorKind::TimedOut, ErrorKind::Corrupted, ErrorKind::Lagged];
                    assert!(expected.contains(&error.kind()), "{error}");
                    tells_who(&error);
                }
            }
        }
    }

    fn after(&mut self) {
        // Readers come in whatever happened.
        Latest::<[bool; 60]>::at(name(&self.1)).and_then(Latest::reader).expect("readers can always join");
        // Its place is free, whatever it has written there.
        Latest::<[bool; 60]>::at(name(&self.1)).and_then(Latest::writer).expect("the writer is dead");
    }
}

/// A stream's client against whoever accepts it.
pub(super) struct Streamed {
    listener: stream::Listener,
    streams: Vec<Stream>,
    name: String,
}

impl Scene for Streamed {
    fn start(name: &str) -> Self {
        let listener = stream::Listener::options().capacity(4096).access(listening()).bind(name).expect("a listener");
        Self { listener, streams: Vec::new(), name: name.to_owned() }
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        boxed(Stream::connect(name)?)
    }

    fn work(&mut self) {
        if let Ok(stream) = self.listener.accept_timeout(Duration::from_millis(5)) {
            self.streams.push(stream);
            let extra = self.streams.len().saturating_sub(16);
            self.streams.drain(..extra);
        }
        self.streams.retain_mut(|stream| {
            let short = Duration::from_millis(2);
            let read = stream.reader().read_timeout(&mut [0; 3000], short);
            let written = stream.writer().write_timeout(&[1; 3000], short);
            [read, written].into_iter().all(|answer| match answer {
                Ok(count) => count <= 3000,
                Err(error) => {
                    let expected = [ErrorKind::TimedOut, ErrorKind::PeerGone, ErrorKind::Corrupted];
                    assert!(expected.contains(&error.kind()), "{error}");
                    error.is_timeout()
                }
            })
        });
    }

    fn after(&mut self) {
        self.streams.clear();
        while self.listener.accept_timeout(SHORT).is_ok() {}
        let mut client = Stream::connect(&self.name).expect("honest ones connect");
        let mut server = self.listener.accept_timeout(PATIENCE / 2).expect("honest ones are accepted");
        client.writer().write_timeout(b"hello", SHORT).expect("written");
        let mut buffer = [0; 5];
        assert_eq!(server.reader().read_timeout(&mut buffer, PATIENCE / 2).expect("read"), 5);
        assert_eq!(&buffer, b"hello");
    }
}

/// A client against its server, which has another.
pub(super) struct Served {
    server: Server<[u8], [u8]>,
}

impl Scene for Served {
    fn start(name: &str) -> Self {
        let server = Server::options().areas(2).payload_max_bytes(8192).access(listening()).patience(SHORT).bind(name);
        Self { server: server.expect("a server") }
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        let client = Client::<[u8], [u8]>::connect(name)?;
        let pending: Vec<_> = (0..8).map_while(|index| client.start(&vec![0; 10 + index % 2 * 5000]).ok()).collect();
        boxed((pending, client))
    }

    fn work(&mut self) {
        match self.server.recv_timeout(SHORT) {
            Ok(request) => {
                let answer: Vec<u8> = request.iter().map(|byte| !byte).collect();
                if let Err(error) = request.respond(&answer) {
                    let expected = [
                        ErrorKind::PeerGone,
                        ErrorKind::Corrupted,
                        ErrorKind::LimitReached,
                        ErrorKind::Full,
                        ErrorKind::WouldBlock,
                    ];
                    assert!(expected.contains(&error.kind()), "{error}");
                }
            }
            Err(error) => assert!(error.is_timeout(), "{error}"),
        }
    }

    fn after(&mut self) {
        let begin = Instant::now();
        while self.server.clients() > 1 {
            assert!(begin.elapsed() < PATIENCE / 2, "a client that is gone is not forgotten");
            self.work();
        }
        for _ in 0..20 {
            self.work();
        }
    }

    const HONEST_PEER: Option<fn(&str)> = Some(|name| {
        let client = Client::<[u8], [u8]>::connect(name).expect("a client");
        ready();
        for count in 0_usize.. {
            let asked = vec![count as u8; if count.is_multiple_of(3) { 4000 } else { 20 }];
            let answer = match client.call_timeout(&asked, PATIENCE) {
                Ok(answer) => answer,
                Err(error) if error.is_peer_dead() => return,
                Err(error) => panic!("{error}"),
            };
            assert!(answer.len() == asked.len() && answer.iter().zip(&asked).all(|(got, asked)| *got == !asked));
        }
    });
}

/// A server against clients.
pub(super) struct Asked {
    name: String,
    client: Option<Client<[u8], [u8]>>,
    calls: u32,
}

/// A directory where the attacker may offer names, too.
fn open_to_the_attacker(name: &str) {
    let directory = std::path::Path::new(name).parent().expect("a directory");
    std::os::unix::fs::chown(directory, Some(super::ATTACKER), None).expect("we are root");
}

fn of_the_attacker(name: &str) -> String {
    format!("{name}?owner={}", super::ATTACKER)
}

/// The name as its owner writes it.
fn own(name: &str) -> &str {
    name.split('?').next().unwrap_or(name)
}

impl Scene for Asked {
    fn start(name: &str) -> Self {
        open_to_the_attacker(name);
        Self { name: name.to_owned(), client: None, calls: 0 }
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        let server = Server::<[u8], [u8]>::options().access(access()).bind(own(name))?;
        // For memory of its own to copy and to destroy.
        let client = Client::<[u8], [u8]>::connect(own(name))?;
        boxed((client, server))
    }

    fn work(&mut self) {
        let Some(client) = &self.client else {
            self.client = Client::connect_timeout(of_the_attacker(&self.name), SHORT).ok();
            return;
        };
        self.calls += 1;
        let was_used_enough = !self.calls.is_multiple_of(4);
        match client.call_timeout(&[1; 5000], SHORT / 10) {
            Ok(answer) => drop(std::hint::black_box(answer.len())),
            Err(error) => {
                let expected = [
                    ErrorKind::TimedOut,
                    ErrorKind::PeerGone,
                    ErrorKind::Corrupted,
                    ErrorKind::LimitReached,
                    ErrorKind::Failed,
                    ErrorKind::TooLarge,
                ];
                assert!(expected.contains(&error.kind()), "{error}");
                if !error.is_timeout() || was_used_enough {
                    self.client = None;
                }
            }
        }
    }

    fn after(&mut self) {
        self.client = None;
    }
}

/// A stream's listener against who connects.
pub(super) struct Linked {
    name: String,
    streams: Vec<Stream>,
}

impl Scene for Linked {
    fn start(name: &str) -> Self {
        open_to_the_attacker(name);
        Self { name: name.to_owned(), streams: Vec::new() }
    }

    fn join(name: &str) -> Result<Box<dyn Any>> {
        let listener = stream::Listener::options().capacity(4096).access(access()).bind(own(name))?;
        boxed((Stream::connect(own(name))?, listener))
    }

    fn work(&mut self) {
        let short = Duration::from_millis(2);
        match Stream::connect_timeout(of_the_attacker(&self.name), SHORT) {
            Ok(stream) => self.streams.push(stream),
            Err(error) => {
                let expected = [
                    ErrorKind::TimedOut,
                    ErrorKind::PeerGone,
                    ErrorKind::NotFound,
                    ErrorKind::PermissionDenied,
                    ErrorKind::Corrupted,
                    ErrorKind::LimitReached,
                    ErrorKind::Mismatch,
                ];
                assert!(expected.contains(&error.kind()), "{error}");
            }
        }
        let extra = self.streams.len().saturating_sub(4);
        self.streams.drain(..extra);
        for stream in &mut self.streams {
            let read = stream.reader().read_timeout(&mut [0; 3000], short);
            let written = stream.writer().write_timeout(&[1; 3000], short);
            for answer in [read, written] {
                match answer {
                    Ok(count) => assert!(count <= 3000, "{count}"),
                    Err(error) => {
                        let expected = [ErrorKind::TimedOut, ErrorKind::PeerGone, ErrorKind::Corrupted];
                        assert!(expected.contains(&error.kind()), "{error}");
                    }
                }
            }
        }
    }

    fn after(&mut self) {
        self.streams.clear();
    }
}
