//! iceoryx2 0.10: publish and subscribe, and with its event service where the receiver sleeps.

use std::fs;
use std::hint::{black_box, spin_loop};
use std::mem::MaybeUninit;
use std::path::Path;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, Node, NodeBuilder, SemanticString, ipc, set_log_level,
};
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use tieline_measure::shm::{
    Contestant, Exchange, Figure, Footprint, Message, Part, Rank, Stage, Subject, Touch, Wait, events, flood, idle,
    number_of, round_trips, steps,
};

use crate::Outcome;

pub(super) struct Iceoryx;

pub(super) static ICEORYX: Iceoryx = Iceoryx;

/// As many as the bare ring has of each size.
const SLOTS: usize = 1024;
const LARGE_SLOTS: usize = 8;
/// How many further subscribers their cost is taken from.
const FURTHER: usize = 10;

impl Contestant for Iceoryx {
    fn name(&self) -> &'static str {
        "iceoryx2"
    }

    fn rank(&self) -> Rank {
        Rank::Peer
    }

    fn takes(&self, subject: Subject) -> bool {
        match subject {
            Subject::RoundTrip { wait, .. } => matches!(wait, Wait::Poll | Wait::Block),
            // One by one: it has no batches.
            Subject::Flood { batch, .. } => batch == 1,
            Subject::Lock { .. } => false,
            _ => true,
        }
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        set_log_level(LogLevel::Fatal);
        let there = There::new(stage)?;
        match subject {
            Subject::RoundTrip { bytes: 8, .. } => round_trips(stage, Small::<8>::join(&there, Wait::Poll, false)?),
            Subject::RoundTrip { bytes: 1024, .. } => {
                round_trips(stage, Small::<1024>::join(&there, Wait::Poll, false)?)
            }
            Subject::RoundTrip { wait, .. } => round_trips(stage, Small::<64>::join(&there, wait, false)?),
            Subject::Loan { bytes, touch } => round_trips(stage, Large::join(&there, bytes, touch, false)?),
            Subject::Flood { bytes: 64, batch } => flood(stage, Small::<64>::join(&there, Wait::Poll, true)?, batch),
            Subject::Flood { bytes, batch } => flood(stage, Large::join(&there, bytes, Touch::Every, true)?, batch),
            Subject::Publish { subscribers } => publish(&there, subscribers),
            Subject::Memory { bytes } => memory(&there, bytes),
            Subject::Descriptors => further(&there, |footprint| footprint.descriptors),
            Subject::Mappings => further(&there, |footprint| footprint.mappings),
            Subject::Join => join(&there),
            Subject::Idle => quiet(&there),
            _ => Ok(None),
        }
    }

    /// A killed process leaves its files to whoever starts next; here nobody does.
    fn clean_up(&self, folder: &Path) {
        let prefix = prefix(&folder.file_name().unwrap_or_default().to_string_lossy());
        for place in ["/dev/shm", "/tmp/iceoryx2", "/tmp/iceoryx2/nodes", "/tmp/iceoryx2/services"] {
            for entry in fs::read_dir(place).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
                }
            }
        }
    }
}

/// What all its files of one figure begin with.
fn prefix(name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{name}_")
}

fn sentence(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

type Ipc = ipc::Service;
type Topic<T> = PortFactory<Ipc, T, ()>;

/// A node, and the stage it stands on.
struct There<'a> {
    stage: &'a Stage<'a>,
    node: Node<Ipc>,
}

/// The same in both processes, whoever makes it.
macro_rules! topic {
    ($node:expr, $name:expr, $payload:ty, $lossless:expr, $slots:expr, $subscribers:expr) => {
        $node
            .service_builder(&$name.try_into().map_err(sentence)?)
            .publish_subscribe::<$payload>()
            .enable_safe_overflow(!$lossless)
            .subscriber_max_buffer_size($slots)
            .max_subscribers($subscribers)
            .open_or_create()
            .map_err(sentence)
    };
}

impl<'a> There<'a> {
    fn new(stage: &'a Stage<'a>) -> Outcome<Self> {
        let mut config = Config::default();
        config.global.prefix = FileName::new(prefix(&stage.name()).as_bytes()).map_err(sentence)?;
        let node = NodeBuilder::new().config(&config).create::<Ipc>().map_err(sentence)?;
        Ok(Self { stage, node })
    }

    /// The names of the services to send by and to receive by.
    fn names(&self) -> (&'static str, &'static str) {
        match self.stage.part() {
            Part::First => ("there", "back"),
            Part::Second => ("back", "there"),
        }
    }
}

struct Small<const N: usize> {
    out: Publisher<Ipc, [u8; N], ()>,
    back: Subscriber<Ipc, [u8; N], ()>,
    bells: Option<(Notifier<Ipc>, Listener<Ipc>)>,
}

impl<const N: usize> Small<N> {
    fn join(there: &There<'_>, wait: Wait, lossless: bool) -> Outcome<Self> {
        let (own, other) = there.names();
        let out: Topic<[u8; N]> = topic!(there.node, own, [u8; N], lossless, SLOTS, 2)?;
        let back: Topic<[u8; N]> = topic!(there.node, other, [u8; N], lossless, SLOTS, 2)?;
        let out = out
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(sentence)?;
        let back = back.subscriber_builder().create().map_err(sentence)?;
        let bell = |name: &str| {
            let name = format!("{name} bell");
            let builder = there.node.service_builder(&name.as_str().try_into().map_err(sentence)?);
            builder.event().open_or_create().map_err(sentence)
        };
        let bells = if wait == Wait::Block {
            let notifier = bell(own)?.notifier_builder().create().map_err(sentence)?;
            let listener = bell(other)?.listener_builder().create().map_err(sentence)?;
            Some((notifier, listener))
        } else {
            None
        };
        there.stage.meet()?;
        Ok(Self { out, back, bells })
    }
}

impl<const N: usize> Exchange for Small<N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Outcome<()> {
        let sample = self.out.loan_uninit().map_err(sentence)?;
        sample.write_payload(black_box(Message::<N>::numbered(number)).0).send().map_err(sentence)?;
        if let Some((notifier, _)) = &self.bells {
            notifier.notify().map_err(sentence)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Outcome<u64> {
        loop {
            if let Some(sample) = self.back.receive().map_err(sentence)? {
                let message = black_box(Message(*sample.payload()));
                return Ok(message.number());
            }
            match &mut self.bells {
                Some((_, listener)) => listener.blocking_wait(|_| {}).map(drop).map_err(sentence)?,
                None => spin_loop(),
            }
        }
    }
}

struct Large {
    out: Publisher<Ipc, [u8], ()>,
    back: Subscriber<Ipc, [u8], ()>,
    touch: Touch,
    private: Vec<u8>,
}

impl Large {
    fn join(there: &There<'_>, bytes: usize, touch: Touch, lossless: bool) -> Outcome<Self> {
        let (own, other) = there.names();
        let out: Topic<[u8]> = topic!(there.node, own, [u8], lossless, LARGE_SLOTS, 2)?;
        let back: Topic<[u8]> = topic!(there.node, other, [u8], lossless, LARGE_SLOTS, 2)?;
        let out = out
            .publisher_builder()
            .initial_max_slice_len(bytes)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(sentence)?;
        let back = back.subscriber_builder().create().map_err(sentence)?;
        there.stage.meet()?;
        Ok(Self { out, back, touch, private: vec![0x5A; bytes] })
    }
}

impl Exchange for Large {
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.private[..8].copy_from_slice(&number.to_le_bytes());
        let end = self.private.len() - 8;
        let mut sample = self.out.loan_slice_uninit(self.private.len()).map_err(sentence)?;
        let sample = match self.touch {
            Touch::Every => sample.write_from_slice(&self.private),
            Touch::Ends => {
                let place = sample.payload_mut();
                fill(&mut place[..8], &self.private[..8]);
                fill(&mut place[end..], &self.private[end..]);
                assume_init(sample)
            }
        };
        sample.send().map(drop).map_err(sentence)
    }

    fn receive(&mut self) -> Outcome<u64> {
        loop {
            if let Some(sample) = self.back.receive().map_err(sentence)? {
                let payload = sample.payload();
                let end = payload.len() - 8;
                match self.touch {
                    Touch::Every => self.private.copy_from_slice(payload),
                    Touch::Ends => {
                        self.private[..8].copy_from_slice(&payload[..8]);
                        self.private[end..].copy_from_slice(&payload[end..]);
                    }
                }
                return Ok(number_of(&self.private));
            }
            spin_loop();
        }
    }
}

fn fill(place: &mut [MaybeUninit<u8>], bytes: &[u8]) {
    for (place, byte) in place.iter_mut().zip(bytes) {
        place.write(*byte);
    }
}

type Loan<T> = iceoryx2::sample_mut_uninit::SampleMutUninit<Ipc, T, ()>;

#[allow(unsafe_code, reason = "its only way to send a slice that is not written as a whole")]
fn assume_init(sample: Loan<[MaybeUninit<u8>]>) -> iceoryx2::sample_mut::SampleMut<Ipc, [u8], ()> {
    // SAFETY: the bytes lie in pages of a shared memory file, which the kernel has filled with zeros or a peer has
    // written: none of them is undefined to the processor, and the compiler does not see where they come from.
    unsafe { sample.assume_init() }
}

fn publish(there: &There<'_>, subscribers: usize) -> Outcome<Option<Figure>> {
    let topic: Topic<[u8; 64]> = topic!(there.node, "topic", [u8; 64], false, 2, 256)?;
    if there.stage.part() == Part::Second {
        let subscribe = |_| topic.subscriber_builder().create().map_err(sentence);
        let _subscribers: Vec<_> = (0..subscribers).map(subscribe).collect::<Outcome<_>>()?;
        there.stage.meet()?;
        there.stage.meet()?;
        return Ok(None);
    }
    let publisher = topic.publisher_builder().create().map_err(sentence)?;
    there.stage.meet()?;
    let mut number = 0;
    let figure = steps(there.stage.window(), 100, || {
        number += 1;
        let sample = publisher.loan_uninit().map_err(sentence)?;
        sample.write_payload(black_box(Message::<64>::numbered(number)).0).send().map(drop).map_err(sentence)
    })?;
    there.stage.meet()?;
    Ok(figure)
}

/// With everything at its default.
fn memory(there: &There<'_>, bytes: usize) -> Outcome<Option<Figure>> {
    let before = Footprint::look()?.shared_bytes;
    let builder = there.node.service_builder(&"topic".try_into().map_err(sentence)?);
    let topic = builder.publish_subscribe::<[u8]>().open_or_create().map_err(sentence)?;
    if there.stage.part() == Part::Second {
        let subscriber = topic.subscriber_builder().create().map_err(sentence)?;
        there.stage.meet()?;
        there.stage.meet()?;
        while subscriber.receive().map_err(sentence)?.is_some() {}
        there.stage.meet()?;
        return Ok(None);
    }
    let publisher = topic.publisher_builder().initial_max_slice_len(bytes).create().map_err(sentence)?;
    there.stage.meet()?;
    let private = vec![0x5A; bytes];
    for _ in 0..3 {
        let sample = publisher.loan_slice_uninit(bytes).map_err(sentence)?;
        sample.write_from_slice(&private).send().map_err(sentence)?;
    }
    there.stage.meet()?;
    let held = Footprint::look()?.shared_bytes.saturating_sub(before);
    there.stage.meet()?;
    Ok(Some(Figure::plain(held as f64)))
}

/// What a further subscriber in a process that has one already costs.
fn further(there: &There<'_>, count: fn(Footprint) -> usize) -> Outcome<Option<Figure>> {
    let topic: Topic<[u8; 64]> = topic!(there.node, "topic", [u8; 64], false, 2, 2 + FURTHER)?;
    let publisher = match there.stage.part() {
        Part::First => Some(topic.publisher_builder().create().map_err(sentence)?),
        Part::Second => None,
    };
    let subscribe = || topic.subscriber_builder().create().map_err(sentence);
    let mut subscribers = Vec::new();
    // It learns of each other when something is sent or received.
    let look = |publisher: &Option<Publisher<Ipc, [u8; 64], ()>>, subscribers: &[Subscriber<Ipc, [u8; 64], ()>]| {
        there.stage.meet()?;
        if let Some(publisher) = publisher {
            publisher.send_copy([0; 64]).map_err(sentence)?;
        }
        there.stage.meet()?;
        for subscriber in subscribers {
            subscriber.receive().map_err(sentence)?;
        }
        Footprint::look().map(count)
    };
    if publisher.is_none() {
        subscribers.push(subscribe()?);
    }
    let before = look(&publisher, &subscribers)?;
    there.stage.meet()?;
    if publisher.is_none() {
        for _ in 0..FURTHER {
            subscribers.push(subscribe()?);
        }
    }
    let after = look(&publisher, &subscribers)?;
    there.stage.meet()?;
    let each = (after.saturating_sub(before)) as f64 / FURTHER as f64;
    Ok(Some(Figure::plain(each)))
}

fn join(there: &There<'_>) -> Outcome<Option<Figure>> {
    if there.stage.part() == Part::Second {
        let topic: Topic<[u8; 64]> = topic!(there.node, "topic", [u8; 64], false, 2, 8)?;
        let _publisher = topic.publisher_builder().create().map_err(sentence)?;
        there.stage.meet()?;
        there.stage.meet()?;
        return Ok(None);
    }
    there.stage.meet()?;
    let figure = events(there.stage.window(), || {
        let topic: Topic<[u8; 64]> = topic!(there.node, "topic", [u8; 64], false, 2, 8)?;
        let subscriber = topic.subscriber_builder().create().map_err(sentence)?;
        Ok((subscriber, topic))
    })?;
    there.stage.meet()?;
    Ok(figure)
}

fn quiet(there: &There<'_>) -> Outcome<Option<Figure>> {
    let topic: Topic<[u8; 64]> = topic!(there.node, "topic", [u8; 64], false, 2, 2)?;
    match there.stage.part() {
        Part::First => {
            let _publisher = topic.publisher_builder().create().map_err(sentence)?;
            idle(there.stage)
        }
        Part::Second => {
            let _subscriber = topic.subscriber_builder().create().map_err(sentence)?;
            idle(there.stage)
        }
    }
}
