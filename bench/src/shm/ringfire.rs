//! ringfire 0.5: a ring of slots in a file in memory, each with its sequence number before the payload.

use std::hint::{black_box, spin_loop};

use ringfire::{BusySpin, FlowControl, FutexWait, RingConsumer, RingProducer, RingProducerBuilder, WaitStrategy};
use tieline_measure::shm::{
    Contestant, Exchange, Figure, Message, Part, Rank, Stage, Subject, Wait, flood, round_trips, steps,
};

use crate::Outcome;

pub(super) struct Ringfire;

pub(super) static RINGFIRE: Ringfire = Ringfire;

/// As many slots as the bare ring has.
const SLOTS: u64 = 1024;

impl Contestant for Ringfire {
    fn name(&self) -> &'static str {
        "ringfire"
    }

    fn rank(&self) -> Rank {
        Rank::Peer
    }

    fn takes(&self, subject: Subject) -> bool {
        match subject {
            Subject::RoundTrip { wait, .. } => wait != Wait::Await,
            Subject::Flood { bytes, .. } => bytes == 64,
            // A reader that does not look costs its writer nothing, and the writer loses what it had not read.
            Subject::Publish { .. } => true,
            _ => false,
        }
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        match subject {
            Subject::RoundTrip { bytes: 8, .. } => round_trips(stage, Ends::<8, _>::join(stage, BusySpin, false)?),
            Subject::RoundTrip { bytes: 1024, .. } => {
                round_trips(stage, Ends::<1024, _>::join(stage, BusySpin, false)?)
            }
            Subject::RoundTrip { wait: Wait::Poll, .. } => {
                round_trips(stage, Ends::<64, _>::join(stage, BusySpin, false)?)
            }
            Subject::RoundTrip { wait: Wait::Block, .. } => {
                round_trips(stage, Ends::<64, _>::join(stage, FutexWait::new(0, None), false)?)
            }
            Subject::RoundTrip { .. } => round_trips(stage, Ends::<64, _>::join(stage, FutexWait::default(), false)?),
            Subject::Flood { batch, .. } => flood(stage, Ends::<64, _>::join(stage, BusySpin, true)?, batch),
            Subject::Publish { subscribers } => publish(stage, subscribers),
            _ => Ok(None),
        }
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

type Slot<const N: usize> = [u8; N];

fn producer<const N: usize>(stage: &Stage<'_>, name: &str, lossless: bool) -> Outcome<RingProducer<Slot<N>>> {
    let flow = if lossless { FlowControl::LosslessBackpressure } else { FlowControl::LossyLatestWins };
    let builder = RingProducerBuilder::new(SLOTS).flow_control(flow);
    builder.build(stage.folder().join(name)).map_err(sentence)
}

struct Ends<const N: usize, W> {
    out: RingProducer<Slot<N>>,
    back: RingConsumer<Slot<N>>,
    wait: W,
    batch: Vec<Slot<N>>,
}

impl<const N: usize, W: WaitStrategy> Ends<N, W> {
    fn join(stage: &Stage<'_>, wait: W, lossless: bool) -> Outcome<Self> {
        let (own, other) = match stage.part() {
            Part::First => ("there", "back"),
            Part::Second => ("back", "there"),
        };
        let out = producer(stage, own, lossless)?;
        stage.meet()?;
        let back = RingConsumer::attach(stage.folder().join(other)).map_err(sentence)?;
        stage.meet()?;
        Ok(Self { out, back, wait, batch: vec![[0; N]; 64] })
    }
}

impl<const N: usize, W: WaitStrategy> Exchange for Ends<N, W> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.out.push(&black_box(Message::<N>::numbered(number)).0);
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Outcome<u64> {
        let message = Message(self.back.recv_blocking(&mut self.wait));
        black_box(&message);
        Ok(message.number())
    }

    fn send_batch(&mut self, first: u64, count: usize) -> Outcome<()> {
        for (slot, number) in self.batch.iter_mut().zip((first..).take(count)) {
            *slot = Message::numbered(number).0;
        }
        self.out.push_batch(black_box(&self.batch[..count]));
        Ok(())
    }

    fn receive_batch(&mut self, take: &mut impl FnMut(u64) -> Outcome<()>) -> Outcome<()> {
        loop {
            let count = self.back.recv_batch(&mut self.batch);
            if count > 0 {
                let messages = black_box(&self.batch[..count]);
                return messages.iter().try_for_each(|message| take(Message(*message).number()));
            }
            spin_loop();
        }
    }
}

fn publish(stage: &Stage<'_>, subscribers: usize) -> Outcome<Option<Figure>> {
    if stage.part() == Part::Second {
        stage.meet()?;
        let attach = |_| RingConsumer::<Slot<64>>::attach(stage.folder().join("topic")).map_err(sentence);
        let _readers: Vec<_> = (0..subscribers).map(attach).collect::<Outcome<_>>()?;
        stage.meet()?;
        stage.meet()?;
        return Ok(None);
    }
    let mut producer = producer::<64>(stage, "topic", false)?;
    stage.meet()?;
    stage.meet()?;
    let mut number = 0;
    let figure = steps(stage.window(), 1000, || {
        number += 1;
        producer.push(&black_box(Message::<64>::numbered(number)).0);
        Ok(())
    })?;
    stage.meet()?;
    Ok(figure)
}
