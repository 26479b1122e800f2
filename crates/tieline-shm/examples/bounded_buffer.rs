//! Producers and consumers around a circular buffer: two counts say how many places are free and how many are filled,
//! a mutex guards the places.
//!
//! Run with `cargo run -p tieline-shm --example bounded_buffer`.

mod classics;

use classics::{Outcome, finish, role, segment, start};
use tieline_shm::sync::{Mutex, MutexOptions, Tokens};

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
    fn put(&self, item: u64) -> tieline_shm::Result<()> {
        self.free.take()?;
        let mut buffer = self.buffer.lock()?;
        let place = buffer[PUT] as usize % PLACES;
        buffer[place] = item;
        buffer[PUT] += 1;
        drop(buffer);
        self.filled.post(1)
    }

    fn sum(&self) -> tieline_shm::Result<u64> {
        Ok(self.buffer.lock()?[SUM])
    }

    fn take(&self) -> tieline_shm::Result<u64> {
        self.filled.take()?;
        let mut buffer = self.buffer.lock()?;
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
            return Ok(mine.into_iter().try_for_each(|item| ring.put(item))?);
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
    finish(crowd("producer", PRODUCERS)?)?;
    for _ in 0..CONSUMERS {
        ring.put(NOTHING)?;
    }
    finish(consumers)?;
    let sum = ring.sum()?;
    assert_eq!(sum, ITEMS * (ITEMS + 1) / 2, "items were lost or doubled");
    println!("{ITEMS} items went through {PLACES} places, from {PRODUCERS} producers to {CONSUMERS} consumers");
    Ok(())
}
