//! A bounded work queue of many producers and many consumers: each item goes to one consumer, and is delivered again
//! if that one dies.
//!
//! The invariant: **the word of a slot alone says who may do what with it.** A producer or consumer owns a slot from
//! the instruction that swapped its owner in to the one that swaps it out, so at whatever instruction it dies, the word
//! names it and [`departed`](WorkQueue::departed) finds it. `head` and `tail` only say where to look; who is late to
//! move them is helped. A swap by someone whose slot was taken away fails, because the word has changed.
//!
//! A *position* counts up for ever; position `p` lies in slot `p % slots` at lap `p / slots`. Producers take positions
//! at `tail`, consumers at `head`. Neither waits for a slot that somebody holds:
//! * A producer goes past a slot that is held from an earlier lap. It calls the queue full when the slot's item has not
//!   been taken yet.
//! * A consumer goes past a slot that is held, too, but leaves a mark: the slot's word then says that this lap's turn
//!   is over. So nobody can put an item where consumers no longer look without noticing; who notices raises `behind`,
//!   and consumers serve what is behind them first.
//!
//! So items are delivered in the order of their positions, except those whose turn was over before they were ready: a
//! reservation held for long, an item handed back, an item of a dead consumer.
//!
//! The slots with a number of their own are D. Vyukov's bounded MPMC queue, whose words say "it is position p's turn";
//! new here are the owner in the word, going past, and recovery. It knows nothing of names, processes and types.

mod consume;
mod control;
#[cfg(all(test, model))]
pub(in crate::structure) mod model;
mod slot;
#[cfg(all(test, not(model)))]
mod tests;
mod word;

use crate::error::{Error, ErrorKind, Result};
use crate::raw::atomic::{AtomicU64, Ordering};
use crate::raw::{View, step};
use crate::structure::cells::Cells;
use crate::structure::planted::{Bug, planted};
use crate::wait::EventCount;
use word::{State, Word, is_after};

#[cfg(all(test, model))]
use control::Position;
pub(crate) use control::{Control, Counters};
pub(crate) use slot::{Claimed, Geometry, Taken};
pub(crate) use word::Owner;
#[cfg(not(model))]
pub(crate) use word::Seen;

/// The queue as one member sees it.
#[derive(Clone, Debug)]
pub(crate) struct WorkQueue {
    control: View<Control>,
    cells: Cells,
    geometry: Geometry,
}

const SEND: &str = "send to the queue";
const RECEIVE: &str = "receive from the queue";

/// Swaps that fail because others succeed are tried again; so often in a row only if a peer does it on purpose.
const MAX_RETRIES: u32 = 1 << 16;

impl WorkQueue {
    /// `control` and `cells` are zero when the queue is new, which makes an empty queue.
    ///
    /// # Errors
    /// `Corrupted` if the memory is not as large as the geometry demands.
    pub(crate) fn new(control: View<Control>, cells: Cells, geometry: Geometry) -> Result<Self> {
        if cells.len_bytes() < geometry.cells_len_bytes() {
            return Err(Error::new("open a queue", ErrorKind::Corrupted).because("its segment is too small"));
        }
        Ok(Self { control, cells, geometry })
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Takes a slot to write an item into. To be ended by [`commit`](Self::commit) or [`abandon`](Self::abandon).
    ///
    /// `claim` distinguishes this claim from others of the same owner; any counter will do.
    ///
    /// # Errors
    /// `Full`: the oldest items have not been taken, or all slots are held.
    pub(crate) fn claim(&self, owner: Owner, claim: u8) -> Result<Claimed> {
        for _ in 0..MAX_RETRIES {
            // Acquire: pairs with `raise`; who went past a position had seen `tail` beyond it.
            let tail = self.control.tail.value.load(Ordering::Acquire);
            for position in (0..self.geometry.slots()).map(|ahead| tail.wrapping_add(ahead)) {
                let lap = self.geometry.lap(position);
                let word = self.load(position);
                match word.state() {
                    State::Free if !is_after(word.lap(), lap) => {
                        let writing = Word::writing(lap, owner, claim);
                        // On failure the slot is somebody's; the next one may be ours.
                        if self.swap(position, word, writing).is_ok() {
                            step("work:claimed");
                            self.raise(&self.control.tail.value, position.wrapping_add(1));
                            step("work:tail-raised");
                            return Ok(Claimed { position, word: writing });
                        }
                    }
                    // Its turn has not come, so neither has that of this lap. One whose turn is over is gone past.
                    State::Ready if is_after(lap, word.lap()) && !word.is_passed() => {
                        return Err(Error::new(SEND, ErrorKind::Full));
                    }
                    _ => {}
                }
            }
            if self.control.tail.value.load(Ordering::Acquire) == tail {
                return Err(Error::new(SEND, ErrorKind::Full));
            }
        }
        Err(livelock(SEND))
    }

    /// Makes the item in a claimed slot ready for a consumer. The caller [tells](Self::item_added).
    ///
    /// # Errors
    /// `OwnerDied` if the slot was taken away, because the others believe this member dead: the item was not sent.
    pub(crate) fn commit(&self, claimed: Claimed, len: u32) -> Result<()> {
        // Relaxed: the swap to `Ready` releases it, as it does the bytes of the item.
        self.len(claimed.position).store(u64::from(len), Ordering::Relaxed);
        step("work:written");
        let left = self.leave(claimed.position, claimed.word, Word::ready, SEND)?;
        step("work:committed");
        if left.is_passed() {
            self.raise_behind();
        }
        Ok(())
    }

    /// Gives a claimed slot back without an item.
    ///
    /// # Errors
    /// `OwnerDied` as [`commit`](Self::commit).
    pub(crate) fn abandon(&self, claimed: Claimed) -> Result<()> {
        self.leave(claimed.position, claimed.word, Word::release, SEND)?;
        Ok(())
    }

    /// Takes from a dead member all it held: what it was writing is skipped, what it had taken is delivered again.
    ///
    /// Anyone may call it at any time, several at once, and again after a caller that died in the middle.
    ///
    /// # Errors
    /// `Corrupted` if a peer keeps it from ending.
    pub(crate) fn departed(&self, owner: Owner) -> Result<()> {
        for position in 0..self.geometry.slots() {
            let mut word = self.load(position);
            let mut retries = 0;
            while word.is_held_by(owner) {
                let (left, counter) = match word.state() {
                    State::Writing => (word.release(), &self.control.skipped),
                    _ => (word.redeliver(), &self.control.orphaned),
                };
                match self.swap(position, word, left) {
                    Ok(()) => {
                        // Relaxed: a counter for people.
                        counter.fetch_add(1, Ordering::Relaxed);
                        step("work:recovered");
                        break;
                    }
                    Err(other) => word = other,
                }
                retries += 1;
                if retries > MAX_RETRIES {
                    return Err(livelock("recover what a dead member held"));
                }
            }
        }
        // Always: the dead, or one who recovered before us and died, may have changed a slot and told nobody.
        if !planted(Bug::RecoverWithoutNotice) {
            self.raise_behind();
        }
        self.control.items.wake_after_death();
        self.control.room.wake_after_death();
        Ok(())
    }

    /// Whether a consumer would find an item, unless another is first.
    pub(crate) fn has_item(&self) -> bool {
        // Acquire and Relaxed: as in `take`.
        let behind = self.control.behind.load(Ordering::Acquire);
        if behind != self.control.served.load(Ordering::Relaxed) {
            return true;
        }
        let tail = self.control.tail.value.load(Ordering::Acquire);
        self.first_ready(self.first_position(tail), tail).is_some()
    }

    /// Whether a producer would find room, unless another is first.
    pub(crate) fn has_room(&self) -> bool {
        // Acquire: as in `claim`, whose loop this is.
        let tail = self.control.tail.value.load(Ordering::Acquire);
        for position in (0..self.geometry.slots()).map(|ahead| tail.wrapping_add(ahead)) {
            let (lap, word) = (self.geometry.lap(position), self.load(position));
            match word.state() {
                State::Free if !is_after(word.lap(), lap) => return true,
                State::Ready if is_after(lap, word.lap()) && !word.is_passed() => return false,
                _ => {}
            }
        }
        false
    }

    /// Where consumers sleep.
    pub(crate) fn items_count(&self) -> View<EventCount> {
        self.control.part(|control| &control.items)
    }

    /// Where producers sleep.
    pub(crate) fn room_count(&self) -> View<EventCount> {
        self.control.part(|control| &control.room)
    }

    /// Wakes a consumer that sleeps, for one item.
    pub(crate) fn item_added(&self) {
        if !planted(Bug::NoNotify) {
            self.control.items.notify_one();
        }
    }

    /// Wakes consumers that sleep, for several items.
    pub(crate) fn items_added(&self) {
        self.control.items.notify();
    }

    /// Wakes producers that sleep: all, because a slot that becomes free may be what several free ones lie behind.
    pub(crate) fn room_changed(&self) {
        self.control.room.notify();
    }

    /// How many items wait, about: positions between head and tail.
    pub(crate) fn len_about(&self) -> u64 {
        // Relaxed: for people.
        let head = self.control.head.value.load(Ordering::Relaxed);
        let tail = self.control.tail.value.load(Ordering::Relaxed);
        if distance(head, tail) < 0 { 0 } else { tail.wrapping_sub(head).min(self.geometry.slots()) }
    }

    pub(crate) fn counters(&self) -> Counters {
        // Relaxed: for people.
        Counters {
            skipped: self.control.skipped.load(Ordering::Relaxed),
            orphaned: self.control.orphaned.load(Ordering::Relaxed),
            requeued: self.control.requeued.load(Ordering::Relaxed),
            rejected: self.control.rejected.load(Ordering::Relaxed),
        }
    }

    /// Ends a holding: swaps what the word has become, by marks of others, for what `next` makes of it.
    fn leave(&self, position: u64, held: Word, next: fn(Word) -> Word, operation: &'static str) -> Result<Word> {
        let mut word = held;
        for _ in 0..MAX_RETRIES {
            let left = next(word);
            match self.swap(position, word, left) {
                Ok(()) => return Ok(left),
                Err(other) if other.is_same_holding(held) || planted(Bug::ReleaseWithoutCheck) => word = other,
                Err(_) => {
                    return Err(Error::new(operation, ErrorKind::OwnerDied)
                        .because("this process was taken for dead, and what it held was given to others"));
                }
            }
        }
        Err(livelock(operation))
    }

    fn raise_behind(&self) {
        // Release: pairs with the load in `take`; whoever sees the count sees the item.
        self.control.behind.fetch_add(1, Ordering::Release);
    }

    /// Moves a count forward; a failed swap means that somebody moved it.
    fn raise(&self, count: &AtomicU64, to: u64) {
        // Relaxed: the swap decides.
        let mut seen = count.load(Ordering::Relaxed);
        for _ in 0..MAX_RETRIES {
            if distance(seen, to) <= 0 {
                return;
            }
            // Release: pairs with the acquiring loads of `tail` and `head`.
            match count.compare_exchange_weak(seen, to, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    #[inline]
    fn load(&self, position: u64) -> Word {
        // Acquire: pairs with the release in `swap`.
        Word(self.cells.word(self.geometry.slot_offset(position)).load(Ordering::Acquire))
    }

    /// The one place where a slot's word changes.
    #[inline]
    fn swap(&self, position: u64, from: Word, to: Word) -> Result<(), Word> {
        let cell = self.cells.word(self.geometry.slot_offset(position));
        // Release: what the former owner wrote. Acquire: what owners before it wrote. Pairs with itself and `load`.
        let swapped = cell.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire);
        swapped.map(drop).map_err(Word)
    }

    #[inline]
    fn len(&self, position: u64) -> &AtomicU64 {
        self.cells.word(self.geometry.slot_offset(position) + slot::LEN_OFFSET)
    }
}

/// How far `to` lies after `from`; positions wrap around.
#[inline]
fn distance(from: u64, to: u64) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

#[cold]
fn livelock(operation: &'static str) -> Error {
    Error::new(operation, ErrorKind::Corrupted).because("a peer changes the queue faster than it can be used")
}
