//! A word and a wake-up for each direction: the least that sleeping and being woken can cost.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use tieline_os::futex::Futex;

use crate::control::{Outcome, Sentence};
use crate::shm::contestant::{Contestant, Rank};
use crate::shm::memory::Memory;
use crate::shm::stage::{Exchange, Figure, Message, Part, Stage, round_trips};
use crate::shm::subject::{Subject, Wait};

pub(super) struct Bare;

pub(super) static FUTEX: Bare = Bare;

const DIRECTION_BYTES: usize = 256;
const PAYLOAD_BYTES: usize = 64;

impl Contestant for Bare {
    fn name(&self) -> &'static str {
        "bare futex"
    }

    fn rank(&self) -> Rank {
        Rank::Floor
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(subject, Subject::RoundTrip { wait: Wait::Block, bytes: PAYLOAD_BYTES })
    }

    fn play(&self, _: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        let memory = Memory::open(stage.folder(), "words", 2 * DIRECTION_BYTES)?;
        stage.meet()?;
        let (out, back) = match stage.part() {
            Part::First => (0, DIRECTION_BYTES),
            Part::Second => (DIRECTION_BYTES, 0),
        };
        let ends = Ends { memory, out, back, out_word: memory.futex(out)?, back_word: memory.futex(back)?, seen: 0 };
        round_trips(stage, ends)
    }
}

struct Ends {
    memory: Memory,
    out: usize,
    back: usize,
    out_word: &'static AtomicU32,
    back_word: &'static AtomicU32,
    /// How many messages came.
    seen: u32,
}

impl Exchange for Ends {
    fn send(&mut self, number: u64) -> Outcome<()> {
        let message = black_box(Message::<PAYLOAD_BYTES>::numbered(number));
        self.memory.copy_in(self.out + 8, &message.0);
        // Only this end writes the word.
        let next = self.out_word.load(Ordering::Relaxed).wrapping_add(1);
        // Release: the message is there before the count of it.
        self.out_word.store(next, Ordering::Release);
        Futex::shared(self.out_word).wake(1).map(drop).sentence()
    }

    fn receive(&mut self) -> Outcome<u64> {
        // Acquire: sees the message counted.
        while self.back_word.load(Ordering::Acquire) == self.seen {
            // Whether it was woken or not, the word tells.
            let _ = Futex::shared(self.back_word).wait(self.seen).sentence()?;
        }
        self.seen = self.seen.wrapping_add(1);
        let mut message = Message([0; PAYLOAD_BYTES]);
        self.memory.copy_out(self.back + 8, &mut message.0);
        black_box(&message);
        Ok(message.number())
    }
}
