//! Two places in memory, one for each direction: the least that a message and its answer can cost.
//!
//! A message of up to a line is one line whose first word is its number and says that it is there. With its number apart,
//! as a payload in a pool needs it, it is told of by another line than those it lies in.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::Outcome;
use crate::shm::contestant::{Contestant, Rank};
use crate::shm::memory::Memory;
use crate::shm::stage::{Exchange, Figure, Message, Part, Stage, round_trips};
use crate::shm::subject::{Subject, Touch, Wait};

pub(super) struct Spin {
    /// Whether the number has a line of its own, so that a message that fills a line travels as two, and one of which
    /// both ends are touched as three.
    is_apart: bool,
}

pub(super) static SPIN: Spin = Spin { is_apart: false };
pub(super) static SPIN_APART: Spin = Spin { is_apart: true };

/// Neighbouring lines are fetched in pairs.
const LINES: usize = 256;

impl Contestant for Spin {
    fn name(&self) -> &'static str {
        if self.is_apart { "bare spin, number apart" } else { "bare spin" }
    }

    fn rank(&self) -> Rank {
        Rank::Floor
    }

    fn takes(&self, subject: Subject) -> bool {
        match subject {
            Subject::RoundTrip { wait: Wait::Poll, bytes: 64 | 1024 } | Subject::Loan { .. } => true,
            Subject::RoundTrip { wait: Wait::Poll, bytes: 8 } => !self.is_apart,
            _ => false,
        }
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        match subject {
            Subject::RoundTrip { bytes: 64, .. } if self.is_apart => round_trips(stage, Apart::<64>::join(stage)?),
            Subject::RoundTrip { .. } if self.is_apart => round_trips(stage, Apart::<1024>::join(stage)?),
            Subject::RoundTrip { bytes: 8, .. } => round_trips(stage, Small::<8>::join(stage)?),
            Subject::RoundTrip { bytes: 64, .. } => round_trips(stage, Small::<64>::join(stage)?),
            Subject::RoundTrip { .. } => round_trips(stage, Small::<1024>::join(stage)?),
            Subject::Loan { bytes, touch } => round_trips(stage, Large::join(stage, bytes, touch, self.is_apart)?),
            _ => Ok(None),
        }
    }
}

/// A place of each direction: its first word, and where the rest lies.
struct Place {
    memory: Memory,
    first: &'static AtomicU64,
    offset: usize,
}

impl Place {
    /// The place to write to and the place to read from.
    fn both(stage: &Stage<'_>, bytes: usize) -> Outcome<[Self; 2]> {
        let stride = bytes.next_multiple_of(LINES);
        let memory = Memory::open(stage.folder(), "places", 2 * stride)?;
        stage.meet()?;
        let place = |index: usize| {
            Ok::<_, String>(Self { memory, first: memory.word(index * stride)?, offset: index * stride })
        };
        Ok(match stage.part() {
            Part::First => [place(0)?, place(1)?],
            Part::Second => [place(1)?, place(0)?],
        })
    }

    #[inline(always)]
    fn await_other_than(&self, last: u64) -> u64 {
        loop {
            // Acquire: sees what was written before the store of this number.
            let number = self.first.load(Ordering::Acquire);
            if number != last {
                return number;
            }
            spin_loop();
        }
    }
}

struct Small<const N: usize> {
    out: Place,
    back: Place,
    last: u64,
}

impl<const N: usize> Small<N> {
    fn join(stage: &Stage<'_>) -> Outcome<Self> {
        let [out, back] = Place::both(stage, N)?;
        Ok(Self { out, back, last: 0 })
    }
}

impl<const N: usize> Exchange for Small<N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Outcome<()> {
        let message = black_box(Message::<N>::numbered(number));
        self.out.memory.copy_in(self.out.offset + 8, &message.0[8..]);
        // Release: the rest is there before the number.
        self.out.first.store(number, Ordering::Release);
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Outcome<u64> {
        let mut message = Message([0; N]);
        self.last = self.back.await_other_than(self.last);
        self.back.memory.copy_out(self.back.offset + 8, &mut message.0[8..]);
        black_box(&message);
        Ok(self.last)
    }
}

/// A message behind the line of its number.
struct Apart<const N: usize> {
    out: Place,
    back: Place,
    last: u64,
}

impl<const N: usize> Apart<N> {
    fn join(stage: &Stage<'_>) -> Outcome<Self> {
        let [out, back] = Place::both(stage, 64 + N)?;
        Ok(Self { out, back, last: 0 })
    }
}

impl<const N: usize> Exchange for Apart<N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Outcome<()> {
        let message = black_box(Message::<N>::numbered(number));
        self.out.memory.copy_in(self.out.offset + 64, &message.0);
        self.out.first.store(number, Ordering::Release);
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Outcome<u64> {
        let mut message = Message([0; N]);
        self.last = self.back.await_other_than(self.last);
        self.back.memory.copy_out(self.back.offset + 64, &mut message.0);
        black_box(&message);
        Ok(message.number())
    }
}

struct Large {
    out: Place,
    back: Place,
    last: u64,
    touch: Touch,
    /// Where the payload begins.
    start: usize,
    private: Vec<u8>,
}

impl Large {
    fn join(stage: &Stage<'_>, bytes: usize, touch: Touch, is_apart: bool) -> Outcome<Self> {
        let start = if is_apart { LINES } else { 0 };
        let [out, back] = Place::both(stage, start + bytes)?;
        Ok(Self { out, back, last: 0, touch, start, private: vec![0x5A; bytes] })
    }

    /// Which bytes of the payload are touched: not its first word if that is its number.
    fn touched(&self) -> [std::ops::Range<usize>; 2] {
        let len = self.private.len();
        match (self.touch, self.start) {
            (Touch::Every, 0) => [8..len, 0..0],
            (Touch::Every, _) => [0..len, 0..0],
            (Touch::Ends, 0) => [0..0, len - 8..len],
            (Touch::Ends, _) => [0..8, len - 8..len],
        }
    }
}

impl Exchange for Large {
    fn send(&mut self, number: u64) -> Outcome<()> {
        let end = self.private.len() - 8;
        self.private[..8].copy_from_slice(&number.to_le_bytes());
        self.private[end..].copy_from_slice(&number.to_le_bytes());
        for range in self.touched() {
            self.out.memory.copy_in(self.out.offset + self.start + range.start, &self.private[range]);
        }
        self.out.first.store(number, Ordering::Release);
        Ok(())
    }

    fn receive(&mut self) -> Outcome<u64> {
        self.last = self.back.await_other_than(self.last);
        for range in self.touched() {
            self.back.memory.copy_out(self.back.offset + self.start + range.start, &mut self.private[range]);
        }
        if self.private.last_chunk().copied().map(u64::from_le_bytes) != Some(self.last) {
            return Err("the ends of a payload differ".to_owned());
        }
        Ok(self.last)
    }
}
