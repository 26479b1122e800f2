//! Shared memory, by the way one waits for the other side: polling, yielding, sleeping on a futex, an eventfd, a
//! condition variable.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use tieline_os::eventfd::EventFd;
use tieline_os::futex::Futex;
use tieline_os::mapping::Mapping;
use tieline_os::pthread::{Condvar, Locked, Mutex, MutexOptions, Place};

use super::slots::{GATES, Gate, SlotLink, for_both, gate_offset, memory, received};
use super::{Description, Mechanism};
use crate::control::{Outcome, Sentence};
use crate::link::{Joining, Link, Offer, Prepared};

const FAMILY: &str = "shared memory";

pub(super) static SPIN: Counting<Spin> =
    Counting::new(Description::new("shm-spin", FAMILY, "shared memory; the receiver polls"));
pub(super) static SPIN_YIELD: Counting<SpinYield> = Counting::new(Description::new(
    "shm-spin-yield",
    FAMILY,
    "shared memory; the receiver polls, and yields its processor now and then",
));
pub(super) static SPIN_FUTEX: Counting<SpinFutex> = Counting::new(Description::new(
    "shm-spin-futex",
    FAMILY,
    "shared memory; the receiver polls two thousand times, then sleeps on a futex",
));
pub(super) static FUTEX: Counting<FutexSleep> =
    Counting::new(Description::new("shm-futex", FAMILY, "shared memory; the receiver sleeps on a futex"));

/// How a receiver waits for a counter in shared memory to change.
pub(super) trait Waiting: Sync {
    /// Waits until `counter` is (probably) no longer `seen`.
    fn wait(counter: &AtomicU32, sleepers: &AtomicU32, seen: u32) -> Outcome<()>;

    /// After `counter` has changed: wakes whoever waits.
    fn notify(counter: &AtomicU32, sleepers: &AtomicU32) -> Outcome<()>;
}

pub(super) struct Spin;

impl Waiting for Spin {
    fn wait(_: &AtomicU32, _: &AtomicU32, _: u32) -> Outcome<()> {
        std::hint::spin_loop();
        Ok(())
    }

    fn notify(_: &AtomicU32, _: &AtomicU32) -> Outcome<()> {
        Ok(())
    }
}

pub(super) struct SpinYield;

impl Waiting for SpinYield {
    fn wait(counter: &AtomicU32, _: &AtomicU32, seen: u32) -> Outcome<()> {
        if !polled(counter, seen, 100) {
            rustix::thread::sched_yield();
        }
        Ok(())
    }

    fn notify(_: &AtomicU32, _: &AtomicU32) -> Outcome<()> {
        Ok(())
    }
}

pub(super) struct FutexSleep;

impl Waiting for FutexSleep {
    fn wait(counter: &AtomicU32, sleepers: &AtomicU32, seen: u32) -> Outcome<()> {
        sleepers.store(1, Ordering::Relaxed);
        // SeqCst because two locations are crossed: either the giver sees our 1, or the kernel sees its new count.
        // Pairs with the fence in `notify`.
        fence(Ordering::SeqCst);
        Futex::shared(counter).wait(seen).map(drop).sentence()
    }

    fn notify(counter: &AtomicU32, sleepers: &AtomicU32) -> Outcome<()> {
        // SeqCst: see `wait`.
        fence(Ordering::SeqCst);
        if sleepers.load(Ordering::Relaxed) != 0 && sleepers.swap(0, Ordering::Relaxed) != 0 {
            Futex::shared(counter).wake(1).sentence()?;
        }
        Ok(())
    }
}

pub(super) struct SpinFutex;

impl Waiting for SpinFutex {
    fn wait(counter: &AtomicU32, sleepers: &AtomicU32, seen: u32) -> Outcome<()> {
        if polled(counter, seen, 2000) { Ok(()) } else { FutexSleep::wait(counter, sleepers, seen) }
    }

    fn notify(counter: &AtomicU32, sleepers: &AtomicU32) -> Outcome<()> {
        FutexSleep::notify(counter, sleepers)
    }
}

/// Polls so many times; whether the counter changed meanwhile.
fn polled(counter: &AtomicU32, seen: u32, times: u32) -> bool {
    (0..times).any(|_| {
        std::hint::spin_loop();
        counter.load(Ordering::Relaxed) != seen
    })
}

/// Shared memory whose gates are counters in the memory itself.
pub(super) struct Counting<W> {
    description: Description,
    waiting: PhantomData<W>,
}

impl<W> Counting<W> {
    const fn new(description: Description) -> Self {
        Self { description, waiting: PhantomData }
    }
}

impl<W: Waiting + 'static> Mechanism for Counting<W> {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        let (memory, mapping, geometry) = memory(largest)?;
        for index in 0..GATES {
            let counter = mapping.atomic_u32(gate_offset(index)).sentence()?;
            counter.store(geometry.first_value(index), Ordering::Relaxed);
        }
        Ok(Prepared::new(for_both(memory)?))
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let memory = received(offer.descriptors.into_iter().next())?;
        let link = SlotLink::join(joining, memory.clone(), |index| {
            Ok(CountingGate::<W> { memory: memory.clone(), offset: gate_offset(index), taken: 0, waiting: PhantomData })
        })?;
        Ok(Box::new(link))
    }
}

/// The gate counts what was ever given; the taker knows how much of it it has taken.
struct CountingGate<W> {
    memory: Arc<Mapping>,
    offset: usize,
    taken: u32,
    waiting: PhantomData<W>,
}

impl<W> CountingGate<W> {
    fn words(&self) -> Outcome<(&AtomicU32, &AtomicU32)> {
        let word = |offset| self.memory.atomic_u32(offset).sentence();
        Ok((word(self.offset)?, word(self.offset + 64)?))
    }
}

impl<W: Waiting> Gate for CountingGate<W> {
    fn take(&mut self) -> Outcome<()> {
        let (given, sleepers) = self.words()?;
        // Acquire pairs with the Release in `give`: what was written before giving is read after taking.
        while given.load(Ordering::Acquire) == self.taken {
            W::wait(given, sleepers, self.taken)?;
        }
        self.taken = self.taken.wrapping_add(1);
        Ok(())
    }

    fn give(&mut self) -> Outcome<()> {
        let (given, sleepers) = self.words()?;
        // Only this side writes the counter, so a load and a store do instead of an atomic addition.
        given.store(given.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        W::notify(given, sleepers)
    }
}

/// Shared memory whose gates are eventfds in semaphore mode.
pub(super) struct EventFds {
    description: Description,
}

pub(super) static EVENTFD: EventFds = EventFds {
    description: Description::new("eventfd+shm", FAMILY, "shared memory; the receiver sleeps in an eventfd"),
};

impl Mechanism for EventFds {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        let (memory, _, geometry) = memory(largest)?;
        let mut offers = for_both(memory)?;
        for index in 0..GATES {
            let gate = OwnedFd::from(EventFd::semaphore(geometry.first_value(index)).sentence()?);
            offers[0].descriptors.push(gate.try_clone().sentence()?);
            offers[1].descriptors.push(gate);
        }
        Ok(Prepared::new(offers))
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let mut descriptors = offer.descriptors.into_iter();
        let memory = received(descriptors.next())?;
        let gates: Vec<_> = descriptors.map(EventFd::from_fd).collect::<Result<_, _>>().sentence()?;
        let mut gates: Vec<_> = gates.into_iter().map(Some).collect();
        let link = SlotLink::join(joining, memory, |index| {
            gates
                .get_mut(index)
                .and_then(Option::take)
                .map(EventFdGate)
                .ok_or_else(|| "an eventfd is missing".to_owned())
        })?;
        Ok(Box::new(link))
    }
}

struct EventFdGate(EventFd);

impl Gate for EventFdGate {
    fn take(&mut self) -> Outcome<()> {
        self.0.read().map(drop).sentence()
    }

    fn give(&mut self) -> Outcome<()> {
        self.0.add(1).sentence()
    }
}

/// Shared memory whose gates are counters under a mutex, with a condition variable to wait on: the textbook's way.
pub(super) struct MutexCondition {
    description: Description,
}

pub(super) static MUTEX_CONDITION: MutexCondition = MutexCondition {
    description: Description::new(
        "mutex-cond+shm",
        FAMILY,
        "shared memory guarded by the C library's process-shared mutex and condition variable",
    ),
};

/// Where the condition variable and the count lie behind the mutex of a gate.
const CONDITION_OFFSET: usize = 256;
const COUNT_OFFSET: usize = 512;

/// Where a lock of the C library lies.
#[allow(unsafe_code, reason = "only the maker of the memory can promise what is written to it")]
fn place(memory: &Mapping, offset: usize) -> Place<'_> {
    // SAFETY: the memory was made for one measurement and is known to its conductor and its two players only; each
    // gate has bytes of its own, the mutex and the condition variable within it lie apart, and after the gates were
    // made everything else is written to the slots, which begin behind them.
    unsafe { Place::trusting(memory, offset) }
}

impl Mechanism for MutexCondition {
    fn description(&self) -> &Description {
        &self.description
    }

    fn prepare(&self, largest: usize) -> Outcome<Prepared> {
        let (memory, mapping, geometry) = memory(largest)?;
        for index in 0..GATES {
            let offset = gate_offset(index);
            Mutex::create(place(&mapping, offset), MutexOptions::new().robust(false)).sentence()?;
            Condvar::create(place(&mapping, offset + CONDITION_OFFSET)).sentence()?;
            let count = mapping.atomic_u32(offset + COUNT_OFFSET).sentence()?;
            count.store(geometry.first_value(index), Ordering::Relaxed);
        }
        Ok(Prepared::new(for_both(memory)?))
    }

    fn join(&self, joining: Joining, offer: Offer) -> Outcome<Box<dyn Link>> {
        let memory = received(offer.descriptors.into_iter().next())?;
        // The objects borrow the mapping, which a player keeps to its end anyway.
        let mapping: &'static Mapping = Box::leak(Box::new(memory.clone()));
        let link = SlotLink::join(joining, memory, |index| {
            let offset = gate_offset(index);
            Ok(MutexGate {
                mutex: Mutex::attach(place(mapping, offset)).sentence()?,
                condition: Condvar::attach(place(mapping, offset + CONDITION_OFFSET)).sentence()?,
                count: mapping.atomic_u32(offset + COUNT_OFFSET).sentence()?,
            })
        })?;
        Ok(Box::new(link))
    }
}

struct MutexGate {
    mutex: Mutex<'static>,
    condition: Condvar<'static>,
    /// Only touched with the mutex held; atomic because it lies in shared memory.
    count: &'static AtomicU32,
}

impl Gate for MutexGate {
    fn take(&mut self) -> Outcome<()> {
        let guard = clean(self.mutex.lock().sentence()?)?;
        let waited = self.condition.wait_while(guard, || self.count.load(Ordering::Relaxed) == 0);
        let _guard = clean(waited.sentence()?)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn give(&mut self) -> Outcome<()> {
        let guard = clean(self.mutex.lock().sentence()?)?;
        self.count.fetch_add(1, Ordering::Relaxed);
        drop(guard);
        self.condition.notify_one().sentence()
    }
}

fn clean(locked: Locked<'_>) -> Outcome<tieline_os::pthread::MutexGuard<'_>> {
    match locked {
        Locked::Clean(guard) => Ok(guard),
        Locked::OwnerDied(_) => Err("the other end died with the lock held".to_owned()),
    }
}
