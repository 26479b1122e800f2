//! Producers and consumers around a circular buffer: two counts say how many places are free and how many are filled,
//! a mutex guards the places. One producer is killed half-way through a put: the place it had taken comes back.
//!
//! Run with `cargo run -p tieline-shm --example bounded_buffer`.

mod classics;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::sync::{LockError, Mutex, MutexGuard, MutexOptions, Tokens};

const PLACES: usize = 8;
const ITEMS: u64 = 2_000;
const PRODUCERS: usize = 2;
const CONSUMERS: usize = 3;

/// The places, then: where the next is put, where the next is taken, the sum of all that was taken.
type Buffer = [u64; PLACES + 3];
const PUT: usize = PLACES;
const TAKE: usize = PLACES + 1;
const SUM: usize = PLACES + 2;

/// Tells a consumer to go home.
const NOTHING: u64 = 0;

struct Ring {
    buffer: Mutex<Buffer>,
    free: Tokens,
    filled: Tokens,
}

impl Ring {
    /// Puts an item into the next place; `dies` tells whether this process is killed before that counts.
    fn put(&self, item: u64, dies: bool) -> tieline_shm::Result<()> {
        self.free.take()?;
        let mut buffer = self.lock()?;
        let place = buffer[PUT] as usize % PLACES;
        buffer[place] = item;
        if dies {
            std::process::abort();
        }
        buffer[PUT] += 1;
        drop(buffer);
        self.filled.post(1)
    }

    /// The buffer, whole. Here only producers die, and what they put counts from the last step on: what is missing is
    /// the free place that the dead one had taken.
    fn lock(&self) -> tieline_shm::Result<MutexGuard<'_, Buffer>> {
        match self.buffer.lock() {
            Ok(buffer) => Ok(buffer),
            Err(LockError::OwnerDied(buffer)) => {
                self.free.post(1)?;
                buffer.mark_consistent();
                println!("a producer died at a put; its place is free again");
                Ok(buffer)
            }
            Err(LockError::Failed(error)) => Err(error),
        }
    }

    fn sum(&self) -> tieline_shm::Result<u64> {
        Ok(self.lock()?[SUM])
    }

    fn take(&self) -> tieline_shm::Result<u64> {
        self.filled.take()?;
        let mut buffer = self.lock()?;
        let item = buffer[buffer[TAKE] as usize % PLACES];
        buffer[TAKE] += 1;
        buffer[SUM] += item;
        drop(buffer);
        self.free.post(1)?;
        Ok(item)
    }
}

fn main() -> Outcome {
    if let Some((role, number)) = role() {
        let ring = Ring {
            buffer: Mutex::from_fd(segment(0)?)?,
            free: Tokens::from_fd(segment(1)?)?,
            filled: Tokens::from_fd(segment(2)?)?,
        };
        if role == "producer" {
            let mine = (1..=ITEMS).filter(|item| *item as usize % PRODUCERS == number);
            return Ok(mine.into_iter().try_for_each(|item| ring.put(item, false))?);
        }
        if role == "unlucky" {
            return Ok(ring.put(ITEMS, true)?);
        }
        while ring.take()? != NOTHING {}
        return Ok(());
    }
    let ring = Ring {
        buffer: Mutex::anonymous([0; PLACES + 3], &MutexOptions::new().name("buffer"))?,
        free: Tokens::anonymous("free places", PLACES as u32)?,
        filled: Tokens::anonymous("filled places", 0)?,
    };
    let segments = [ring.buffer.as_fd(), ring.free.as_fd(), ring.filled.as_fd()];
    let crowd = |role, count| (0..count).map(|number| start(role, number, &segments)).collect::<Outcome<Vec<_>>>();
    let consumers = crowd("consumer", CONSUMERS)?;
    let status = start("unlucky", 0, &segments)?.wait()?;
    assert!(!status.success(), "it was to die");
    finish(crowd("producer", PRODUCERS)?)?;
    for _ in 0..CONSUMERS {
        ring.put(NOTHING, false)?;
    }
    finish(consumers)?;
    let sum = ring.sum()?;
    assert_eq!(sum, ITEMS * (ITEMS + 1) / 2, "items were lost or doubled");
    assert_eq!(ring.free.count(), PLACES as u32, "a place is lost");
    println!("{ITEMS} items went through {PLACES} places, from {PRODUCERS} producers to {CONSUMERS} consumers");
    Ok(())
}
