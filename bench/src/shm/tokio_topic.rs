//! Our topic under tokio: what the socket is compared with.

use tieline_measure::shm::{Contestant, Exchange, Figure, Message, Part, Rank, Stage, Subject, Wait, round_trips};
use tieline_shm::aio::topic::{Publisher, Subscriber};
use tieline_shm::topic::Topic;
use tokio::runtime::{Builder, Runtime};

use crate::Outcome;

pub(super) struct Awaited;

pub(super) static TOPIC: Awaited = Awaited;

impl Contestant for Awaited {
    fn name(&self) -> &'static str {
        "tieline Topic, tokio"
    }

    fn rank(&self) -> Rank {
        Rank::Ours
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(subject, Subject::RoundTrip { wait: Wait::Await, .. })
    }

    fn play(&self, _: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        let runtime = Builder::new_current_thread().enable_io().build().map_err(sentence)?;
        let (own, other) = match stage.part() {
            Part::First => ("there", "back"),
            Part::Second => ("back", "there"),
        };
        let out = Topic::open_or_create(own).and_then(|topic| topic.publisher()).map_err(sentence)?;
        stage.meet()?;
        let back = Topic::open(other).and_then(|topic| topic.subscriber()).map_err(sentence)?;
        stage.meet()?;
        round_trips(stage, Ends { runtime, out: out.into(), back: back.into() })
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Ends {
    runtime: Runtime,
    out: Publisher<[u8; 64]>,
    back: Subscriber<[u8; 64]>,
}

impl Exchange for Ends {
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.runtime.block_on(self.out.publish(&Message::<64>::numbered(number).0)).map_err(sentence)
    }

    fn receive(&mut self) -> Outcome<u64> {
        let sample = self.runtime.block_on(self.back.recv()).map_err(sentence)?;
        Ok(Message(*sample).number())
    }
}
