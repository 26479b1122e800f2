//! A queue for one producer and one consumer: positions on lines of their own, the peer's position remembered.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::Outcome;
use crate::shm::contestant::{Contestant, Rank};
use crate::shm::memory::Memory;
use crate::shm::stage::{Exchange, Figure, Message, Part, Stage, flood, number_of, round_trips};
use crate::shm::subject::{Subject, Touch, Wait};

pub(super) struct Ring;

pub(super) static RING: Ring = Ring;

/// Positions lie so far apart that no two are fetched together.
const POSITION_STRIDE: usize = 128;
const HEADER_BYTES: usize = 4096;
/// Slots for small messages, and for large ones.
const SLOTS: usize = 1024;
const LARGE_SLOTS: usize = 8;

impl Contestant for Ring {
    fn name(&self) -> &'static str {
        "bare ring"
    }

    fn rank(&self) -> Rank {
        Rank::Floor
    }

    fn takes(&self, subject: Subject) -> bool {
        matches!(
            subject,
            Subject::RoundTrip { wait: Wait::Poll, bytes: 8 | 64 | 1024 }
                | Subject::Loan { .. }
                | Subject::Flood { .. }
        )
    }

    fn play(&self, subject: Subject, stage: &Stage<'_>) -> Outcome<Option<Figure>> {
        match subject {
            Subject::RoundTrip { bytes: 8, .. } => round_trips(stage, Small::<8>::join(stage)?),
            Subject::RoundTrip { bytes: 64, .. } => round_trips(stage, Small::<64>::join(stage)?),
            Subject::RoundTrip { .. } => round_trips(stage, Small::<1024>::join(stage)?),
            Subject::Loan { bytes, touch } => round_trips(stage, Large::join(stage, bytes, touch)?),
            Subject::Flood { bytes: 64, batch } => flood(stage, Small::<64>::join(stage)?, batch),
            Subject::Flood { bytes, batch } => flood(stage, Large::join(stage, bytes, Touch::Every)?, batch),
            _ => Ok(None),
        }
    }
}

/// One end of one direction.
struct Half {
    memory: Memory,
    slots: usize,
    slot_bytes: usize,
    start: usize,
    /// What this end writes, and what the other writes.
    own: &'static AtomicU64,
    other: &'static AtomicU64,
    position: u64,
    seen: u64,
}

impl Half {
    /// The half to send with, and the half to receive with.
    fn both(stage: &Stage<'_>, slot_bytes: usize, slots: usize) -> Outcome<[Self; 2]> {
        let direction = HEADER_BYTES + slot_bytes * slots;
        let memory = Memory::open(stage.folder(), "ring", 2 * direction)?;
        stage.meet()?;
        let (out, back) = match stage.part() {
            Part::First => (0, direction),
            Part::Second => (direction, 0),
        };
        let half = |base: usize, own: usize| {
            Ok::<_, String>(Self {
                memory,
                slots,
                slot_bytes,
                start: base + HEADER_BYTES,
                own: memory.word(base + own * POSITION_STRIDE)?,
                other: memory.word(base + (1 - own) * POSITION_STRIDE)?,
                position: 0,
                seen: 0,
            })
        };
        Ok([half(out, 0)?, half(back, 1)?])
    }

    #[inline(always)]
    fn slot(&self) -> usize {
        self.start + (self.position as usize & (self.slots - 1)) * self.slot_bytes
    }

    /// Waits until the slot may be written.
    #[inline(always)]
    fn await_room(&mut self) {
        while self.position - self.seen == self.slots as u64 {
            // Acquire: what is read of a slot is read before it is given back.
            self.seen = self.other.load(Ordering::Acquire);
            if self.position - self.seen == self.slots as u64 {
                spin_loop();
            }
        }
    }

    /// Waits until the slot may be read.
    #[inline(always)]
    fn await_item(&mut self) {
        while self.position == self.seen {
            // Acquire: sees the slot that was written before the position.
            self.seen = self.other.load(Ordering::Acquire);
            if self.position == self.seen {
                spin_loop();
            }
        }
    }

    #[inline(always)]
    fn publish(&self) {
        // Release: pairs with the acquire of the other end's `await_*`.
        self.own.store(self.position, Ordering::Release);
    }
}

struct Small<const N: usize> {
    out: Half,
    back: Half,
}

impl<const N: usize> Small<N> {
    fn join(stage: &Stage<'_>) -> Outcome<Self> {
        let [out, back] = Half::both(stage, N, SLOTS)?;
        Ok(Self { out, back })
    }

    #[inline(always)]
    fn put(&mut self, number: u64) {
        let message = black_box(Message::<N>::numbered(number));
        self.out.await_room();
        self.out.memory.copy_in(self.out.slot(), &message.0);
        self.out.position += 1;
    }

    #[inline(always)]
    fn take(&mut self) -> u64 {
        let mut message = Message([0; N]);
        self.back.memory.copy_out(self.back.slot(), &mut message.0);
        self.back.position += 1;
        black_box(&message);
        message.number()
    }
}

impl<const N: usize> Exchange for Small<N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.put(number);
        self.out.publish();
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Outcome<u64> {
        self.back.await_item();
        let number = self.take();
        self.back.publish();
        Ok(number)
    }

    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Outcome<()> {
        for number in (first..).take(count) {
            self.put(number);
        }
        self.out.publish();
        Ok(())
    }

    #[inline(always)]
    fn receive_batch(&mut self, take: &mut impl FnMut(u64) -> Outcome<()>) -> Outcome<()> {
        self.back.await_item();
        while self.back.position != self.back.seen {
            take(self.take())?;
        }
        self.back.publish();
        Ok(())
    }
}

struct Large {
    out: Half,
    back: Half,
    touch: Touch,
    private: Vec<u8>,
}

impl Large {
    fn join(stage: &Stage<'_>, bytes: usize, touch: Touch) -> Outcome<Self> {
        let [out, back] = Half::both(stage, bytes, LARGE_SLOTS)?;
        Ok(Self { out, back, touch, private: vec![0x5A; bytes] })
    }
}

impl Exchange for Large {
    fn send(&mut self, number: u64) -> Outcome<()> {
        self.out.await_room();
        let (slot, end) = (self.out.slot(), self.private.len() - 8);
        self.private[..8].copy_from_slice(&number.to_le_bytes());
        match self.touch {
            Touch::Every => self.out.memory.copy_in(slot, &self.private),
            Touch::Ends => {
                self.out.memory.copy_in(slot, &self.private[..8]);
                self.out.memory.copy_in(slot + end, &self.private[end..]);
            }
        }
        self.out.position += 1;
        self.out.publish();
        Ok(())
    }

    fn receive(&mut self) -> Outcome<u64> {
        self.back.await_item();
        let (slot, end) = (self.back.slot(), self.private.len() - 8);
        match self.touch {
            Touch::Every => self.back.memory.copy_out(slot, &mut self.private),
            Touch::Ends => {
                self.back.memory.copy_out(slot, &mut self.private[..8]);
                self.back.memory.copy_out(slot + end, &mut self.private[end..]);
            }
        }
        self.back.position += 1;
        self.back.publish();
        Ok(number_of(&self.private))
    }
}
