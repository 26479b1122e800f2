//! The topic of `tieline-shm`: one for each direction, or one for many subscribers.

use std::hint::black_box;
use std::thread;

use tieline_shm::Waiting;
use tieline_shm::topic::{Policy, Publisher, Subscriber, Topic};

use crate::control::{Outcome, Sentence};
use crate::shm::contestant::{Contestant, Rank};
use crate::shm::footprint::{Footprint, idle};
use crate::shm::stage::{Exchange, Figure, Message, Part, Stage, events, flood, number_of, round_trips, steps};
use crate::shm::subject::{Subject, Touch, Wait};

pub(super) struct Ours;

pub(super) static TOPIC: Ours = Ours;

/// The topic's own choice for small messages; as many as the bare ring has of large ones.
const SLOTS: usize = 4096;
const LARGE_SLOTS: usize = 8;
/// How many further subscribers their cost is taken from.
const FURTHER: usize = 10;
/// The name, where there is one topic.
const TOPIC_NAME: &str = "topic";

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        "tieline Topic"
    }

    fn rank(&self) -> Rank {
        Rank::Ours
    }

    fn takes(&self, subject: Subject) -> bool {
        match subject {
            Subject::RoundTrip { wait, .. } => wait != Wait::Await,
            Subject::Lock { .. } => false,
            _ => true,
        }
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        match subject {
            Subject::RoundTrip { bytes: 8, wait } => round_trips(stage, Small::<8>::join(stage, waiting(wait))?),
            Subject::RoundTrip { bytes: 1024, wait } => round_trips(stage, Small::<1024>::join(stage, waiting(wait))?),
            Subject::RoundTrip { wait, .. } => round_trips(stage, Small::<64>::join(stage, waiting(wait))?),
            Subject::Loan { bytes, touch } => round_trips(stage, Large::join(stage, bytes, touch)?),
            Subject::Flood { bytes: 64, batch } => flood(stage, Small::<64>::join(stage, Waiting::Poll)?, batch),
            Subject::Flood { bytes, batch } => flood(stage, Large::join(stage, bytes, Touch::Every)?, batch),
            Subject::Publish { subscribers } => publish(stage, subscribers),
            Subject::Memory { bytes } => memory(stage, bytes),
            Subject::Descriptors => held(stage, |footprint| footprint.descriptors),
            Subject::Mappings => held(stage, |footprint| footprint.mappings),
            Subject::Join => join(stage),
            Subject::Idle => quiet(stage),
            Subject::Lock { .. } => Ok(None),
        }
    }
}

fn waiting(wait: Wait) -> Waiting {
    match wait {
        Wait::Poll => Waiting::Poll,
        Wait::Block => Waiting::Block,
        Wait::Adaptive | Wait::Await => Waiting::Adaptive,
    }
}

/// The names of the topics to send by and to receive by.
pub(super) fn names(stage: &Stage<'_>) -> (&'static str, &'static str) {
    match stage.part() {
        Part::First => ("there", "back"),
        Part::Second => ("back", "there"),
    }
}

struct Small<const N: usize> {
    out: Publisher<[u8; N]>,
    back: Subscriber<[u8; N]>,
    batch: Vec<[u8; N]>,
}

impl<const N: usize> Small<N> {
    fn join(stage: &Stage<'_>, waiting: Waiting) -> Outcome<Self> {
        let (own, other) = names(stage);
        let out = Topic::open_or_create(own).sentence()?;
        let out = out.publisher_options().depth(SLOTS).waiting(waiting).open().sentence()?;
        stage.meet()?;
        let back = Topic::open(other).sentence()?;
        let back = back.subscriber_options().waiting(waiting).open().sentence()?;
        stage.meet()?;
        Ok(Self { out, back, batch: Vec::new() })
    }
}

impl<const N: usize> Exchange for Small<N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.out.publish(&black_box(Message::<N>::numbered(number)).0).sentence()
    }

    #[inline(always)]
    fn receive(&mut self) -> Outcome<u64> {
        let sample = self.back.recv().sentence()?;
        let message = black_box(Message(*sample));
        Ok(message.number())
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Outcome<()> {
        self.batch.clear();
        self.batch.extend((first..).take(count).map(|number| Message::<N>::numbered(number).0));
        self.out.publish_many(black_box(&self.batch)).sentence()
    }

    #[inline(always)]
    fn receive_batch(&mut self, take: &mut impl FnMut(u64) -> Outcome<()>) -> Outcome<()> {
        take(self.receive()?)?;
        let mut failure = Ok(());
        self.back
            .drain(|message| {
                let message = black_box(Message(*message));
                if failure.is_ok() {
                    failure = take(message.number());
                }
            })
            .sentence()?;
        failure
    }
}

struct Large {
    out: Publisher<[u8]>,
    back: Subscriber<[u8]>,
    touch: Touch,
    private: Vec<u8>,
}

impl Large {
    fn join(stage: &Stage<'_>, bytes: usize, touch: Touch) -> Outcome<Self> {
        let (own, other) = names(stage);
        let out = Topic::<[u8]>::open_or_create(own).sentence()?;
        let out = out
            .publisher_options()
            .depth(LARGE_SLOTS)
            .payload_max_bytes(bytes)
            .waiting(Waiting::Poll)
            .open()
            .sentence()?;
        stage.meet()?;
        let back = Topic::<[u8]>::open(other).sentence()?;
        let back = back.subscriber_options().waiting(Waiting::Poll).open().sentence()?;
        stage.meet()?;
        Ok(Self { out, back, touch, private: vec![0x5A; bytes] })
    }
}

impl Exchange for Large {
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.private[..8].copy_from_slice(&number.to_le_bytes());
        let end = self.private.len() - 8;
        let mut loan = self.out.loan_slice(self.private.len()).sentence()?;
        match self.touch {
            Touch::Every => loan.copy_from_slice(&self.private),
            Touch::Ends => {
                loan[..8].copy_from_slice(&self.private[..8]);
                loan[end..].copy_from_slice(&self.private[end..]);
            }
        }
        loan.send().sentence()
    }

    fn receive(&mut self) -> Outcome<u64> {
        let sample = self.back.recv().sentence()?;
        let end = sample.len() - 8;
        match self.touch {
            Touch::Every => self.private.copy_from_slice(&sample),
            Touch::Ends => {
                self.private[..8].copy_from_slice(&sample[..8]);
                self.private[end..].copy_from_slice(&sample[end..]);
            }
        }
        Ok(number_of(&self.private))
    }
}

fn topic() -> Outcome<Topic<[u8; 64]>> {
    Ok(Topic::open_or_create(TOPIC_NAME).sentence()?.members(256))
}

/// A subscriber that nobody waits for.
fn subscribe(topic: &Topic<[u8; 64]>) -> Outcome<Subscriber<[u8; 64]>> {
    topic.subscriber_options().policy(Policy::DropOldest).open().sentence()
}

fn publish(stage: &Stage<'_>, subscribers: usize) -> Outcome<Option<Figure>> {
    let topic = topic()?;
    if stage.part() == Part::Second {
        stage.meet()?;
        let _subscribers: Vec<_> = (0..subscribers).map(|_| subscribe(&topic)).collect::<Outcome<_>>()?;
        stage.meet()?;
        stage.meet()?;
        return Ok(None);
    }
    let publisher = topic.publisher_options().depth(SLOTS).max_subscribers(256).open().sentence()?;
    stage.meet()?;
    stage.meet()?;
    if publisher.subscribers() != subscribers {
        return Err(format!("{} of {subscribers} subscribers are connected", publisher.subscribers()));
    }
    let mut number = 0;
    let figure = steps(stage.window(), 1000, || {
        number += 1;
        publisher.publish(&black_box(Message::<64>::numbered(number)).0).sentence()
    })?;
    stage.meet()?;
    Ok(figure)
}

/// With everything at its default.
fn memory(stage: &Stage<'_>, bytes: usize) -> Outcome<Option<Figure>> {
    let before = Footprint::look()?.shared_bytes;
    let topic = Topic::<[u8]>::open_or_create(TOPIC_NAME).sentence()?;
    if stage.part() == Part::Second {
        stage.meet()?;
        let _subscriber = topic.subscriber().sentence()?;
        stage.meet()?;
        stage.meet()?;
        return Ok(None);
    }
    let publisher = topic.publisher_options().payload_max_bytes(bytes).open().sentence()?;
    stage.meet()?;
    stage.meet()?;
    let private = vec![0x5A; bytes];
    for _ in 0..3 {
        publisher.publish(&private).sentence()?;
    }
    let held = Footprint::look()?.shared_bytes.saturating_sub(before);
    stage.meet()?;
    Ok(Some(Figure::plain(held as f64)))
}

/// What a further subscriber costs the publisher's process and its own, which has one already.
fn held(stage: &Stage<'_>, count: fn(Footprint) -> usize) -> Outcome<Option<Figure>> {
    let topic = topic()?;
    let publisher = match stage.part() {
        Part::First => Some(topic.publisher().sentence()?),
        Part::Second => None,
    };
    stage.meet()?;
    let mut subscribers = Vec::new();
    let mut add = |number: usize| {
        for _ in 0..if publisher.is_some() { 0 } else { number } {
            subscribers.push(subscribe(&topic)?);
        }
        stage.meet()?;
        Footprint::look().map(count)
    };
    let before = add(1)?;
    stage.meet()?;
    let after = add(FURTHER)?;
    stage.meet()?;
    Ok(Some(Figure::plain(after.saturating_sub(before) as f64 / FURTHER as f64)))
}

/// The host of the name is the counterpart; the keeper of this process runs already.
fn join(stage: &Stage<'_>) -> Outcome<Option<Figure>> {
    let topic = topic()?;
    if stage.part() == Part::Second {
        let _publisher = topic.publisher().sentence()?;
        stage.meet()?;
        stage.meet()?;
        return Ok(None);
    }
    stage.meet()?;
    let _first = subscribe(&topic)?;
    let figure = events(stage.window(), || subscribe(&topic))?;
    stage.meet()?;
    Ok(figure)
}

fn quiet(stage: &Stage<'_>) -> Outcome<Option<Figure>> {
    let topic = topic()?;
    if stage.part() == Part::First {
        let _publisher = topic.publisher().sentence()?;
        stage.meet()?;
        return idle(stage);
    }
    stage.meet()?;
    let mut subscriber = subscribe(&topic)?;
    // It waits until its process ends.
    thread::spawn(move || subscriber.recv().map(drop));
    idle(stage)
}
