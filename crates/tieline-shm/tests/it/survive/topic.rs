//! Topics: whole messages, in order, without loss where that is promised, and no place for payloads lost.

use std::time::{Duration, Instant};

use tieline_shm::ErrorKind;
use tieline_shm::topic::{Policy, Publisher, Subscriber, Topic};
use tieline_testkit::PATIENCE;

use super::Subject;
use super::conduct::{End, Place};

/// With the policy of this number for all subscribers.
pub(super) struct Topics<const POLICY: u8> {
    topic: Topic<[u64]>,
    /// Stays where the subscriber may leave and come back: so this process stays the host of the name, which has a few
    /// descriptors more than others.
    stays: Option<Subscriber<[u64]>>,
    subscriber: Subscriber<[u64]>,
    /// Publishers so far, ours.
    publishers: u64,
}

const DEPTH: usize = 8;
const SHORT: Duration = Duration::from_millis(50);
/// In the slot, in the pool.
const LENGTHS: [usize; 2] = [5, 700];

fn topic(place: &Place) -> Topic<[u64]> {
    Topic::open_or_create(&place.name("topic")).expect("a name")
}

/// What a message says: all words the same.
fn whole(sample: &[u64]) -> u64 {
    assert!(LENGTHS.contains(&sample.len()) && sample.iter().all(|word| *word == sample[0]), "torn: {sample:?}");
    sample[0]
}

impl<const POLICY: u8> Topics<POLICY> {
    const POLICY: Policy = match POLICY {
        0 => Policy::Block,
        1 => Policy::DropOldest,
        2 => Policy::SkipToLatest,
        _ => Policy::Disconnect,
    };

    fn subscribe(topic: &Topic<[u64]>) -> Subscriber<[u64]> {
        topic.subscriber_options().policy(Self::POLICY).open().expect("a subscriber")
    }

    fn publish(topic: &Topic<[u64]>) -> Publisher<[u64]> {
        topic.publisher_options().depth(DEPTH).open().expect("a publisher")
    }

    /// The next message; a subscriber that was disconnected comes again.
    fn receive(&mut self) -> Result<u64, ErrorKind> {
        match self.subscriber.recv_timeout(SHORT) {
            Ok(sample) => Ok(whole(&sample)),
            Err(error) if error.kind() == ErrorKind::Lagged && Self::POLICY == Policy::Disconnect => {
                self.subscriber = Self::subscribe(&self.topic);
                Err(ErrorKind::Lagged)
            }
            Err(error) => Err(error.kind()),
        }
    }

    /// All that a publisher that is now gone had published is received, and that it is gone.
    fn hear_out(&mut self) {
        let deadline = Instant::now() + PATIENCE / 2;
        while self.receive() != Err(ErrorKind::PeerGone) {
            if Instant::now() > deadline {
                assert!(Self::POLICY == Policy::Disconnect, "not told that a publisher left");
                return;
            }
            if Self::POLICY == Policy::Disconnect && self.receive() == Err(ErrorKind::TimedOut) {
                return;
            }
        }
    }

    fn hear_a_victim(&mut self, end: &End) -> Option<Instant> {
        let (mut last, mut silent_since) = (0, None);
        loop {
            match self.receive() {
                Ok(value) => {
                    let follows = if Self::POLICY == Policy::Block { value == last + 1 } else { value > last };
                    assert!(follows, "{value} after {last}");
                    last = value;
                }
                Err(ErrorKind::PeerGone) => {
                    let told = Instant::now();
                    if last == 0 && !end.may_be_dead() {
                        // The one before, which died as it came, and was met only now.
                        continue;
                    }
                    assert!(end.may_be_dead(), "told of a death that was none");
                    return Some(told);
                }
                Err(ErrorKind::TimedOut) if end.is_reaped() => {
                    let since = *silent_since.get_or_insert_with(Instant::now);
                    let is_told = end.was_ready() && Self::POLICY != Policy::Disconnect;
                    // Of one that did not say that it had come it is not known whether it had.
                    let is_there = self.subscriber.counters().publishers > 0;
                    if !is_told && !is_there && since.elapsed() > Duration::from_millis(150) {
                        return None;
                    }
                    assert!(since.elapsed() < PATIENCE / 2, "not told of the publisher's death");
                }
                Err(ErrorKind::TimedOut | ErrorKind::Lagged) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn talk_to_a_victim(&mut self, end: &End) -> Option<Instant> {
        self.publishers += 1;
        let publisher = Self::publish(&self.topic);
        // On a busy machine they may not have met yet when the publisher stops waiting for that.
        while self.subscriber.counters().publishers == 0 {
            let _ = self.subscriber.try_recv();
            end.is_dead();
        }
        let (mut value, mut received) = (0, 0);
        let mut told = None;
        // Then some more, in which every place is used again.
        let mut rest = 3 * DEPTH;
        while rest > 0 {
            let len = LENGTHS[value as usize % 2];
            // The bystander lives and is waited for, however long a busy machine keeps it from running.
            let patience = if told.is_some() { PATIENCE / 2 } else { SHORT };
            match publisher.publish_timeout(&vec![value + 1; len], patience) {
                Ok(()) => value += 1,
                Err(error) => {
                    assert!(error.is_timeout(), "{error}");
                    assert!(Self::POLICY == Policy::Block, "waited for a subscriber that is not to be waited for");
                    assert!(told.is_none(), "waits though only the living subscribe: {end:?}");
                }
            }
            while received < value {
                match self.receive() {
                    Ok(got) => {
                        let follows = if Self::POLICY == Policy::Block { got == received + 1 } else { got > received };
                        assert!(follows, "{got} after {received} of {value}");
                        received = got;
                    }
                    // Disconnected, it has missed some.
                    Err(ErrorKind::Lagged) => received = value,
                    Err(other) => panic!("{other:?}: {received} of {value}"),
                }
            }
            assert!(publisher.committed_payloads() <= DEPTH + 12, "{} places", publisher.committed_payloads());
            if told.is_some() {
                rest -= 1;
            } else if end.is_reaped() && publisher.subscribers() <= 2 + usize::from(self.stays.is_some()) {
                told = Some(Instant::now());
            }
        }
        drop(publisher);
        self.hear_out();
        told.filter(|_| end.was_ready())
    }
}

impl<const POLICY: u8> Subject for Topics<POLICY> {
    const ROLES: &'static [&'static str] = &["publisher", "subscriber"];
    const STEPS: &'static [&'static str] = &["log", "pool", "topic"];
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[("log:batch", "topic::death")];
    const BYSTANDER: Option<&'static str> = Some("subscriber");

    fn start(place: &Place) -> Self {
        let topic = topic(place);
        let stays = || topic.subscriber_options().policy(Policy::SkipToLatest).open().expect("a subscriber");
        let stays = (Self::POLICY == Policy::Disconnect).then(stays);
        let subscriber = Self::subscribe(&topic);
        Self { topic, stays, subscriber, publishers: 0 }
    }

    fn victim(role: &str, place: &Place) {
        let topic = topic(place);
        if role == "publisher" {
            let publisher = Self::publish(&topic);
            place.ready();
            for value in 1.. {
                match value % 4 {
                    0 => publisher.publish(&[value; LENGTHS[0]]).expect("published"),
                    1 => publisher.publish(&[value; LENGTHS[1]]).expect("published"),
                    2 => {
                        let mut loan = publisher.loan_slice(LENGTHS[1]).expect("a loan");
                        loan.fill(value);
                        loan.send().expect("published");
                    }
                    _ => {
                        // Given back unused.
                        drop(publisher.loan_slice(LENGTHS[1]).expect("a loan"));
                        publisher.publish(&[value; LENGTHS[1]]).expect("published");
                    }
                }
            }
        }
        let mut subscriber = Self::subscribe(&topic);
        place.ready();
        let mut held = None;
        loop {
            match subscriber.recv() {
                Ok(sample) => {
                    whole(&sample);
                    held = Some(sample);
                }
                Err(error) if error.kind() == ErrorKind::PeerGone => held = None,
                Err(error) if error.kind() == ErrorKind::Lagged => {
                    drop(held.take());
                    subscriber = Self::subscribe(&topic);
                }
                Err(error) => panic!("{error}"),
            }
            if let Some(sample) = &held {
                whole(sample);
            }
        }
    }

    fn look(&mut self) {
        // On a busy machine it may have been told of a publisher's end after it had stopped waiting for that.
        for subscriber in self.stays.iter_mut().chain([&mut self.subscriber]) {
            while subscriber.try_recv().is_ok() {}
        }
    }

    fn round(&mut self, role: &str, end: &End) -> Option<Instant> {
        if role == "publisher" { self.hear_a_victim(end) } else { self.talk_to_a_victim(end) }
    }
}
