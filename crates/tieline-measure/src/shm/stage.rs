//! The inside of one process of a measurement: where it stands, and the loops that every contestant goes through.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tieline_os::unix::SeqPacket;

use crate::control::{Answer, Order, Outcome, receive, send};

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Begins: it times, sends the flood, publishes.
    First,
    /// Answers.
    Second,
}

/// One figure of one process.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The median of what was timed, or the count or rate.
    pub value: f64,
    /// The 99th percentile of what was timed one by one.
    pub p99: Option<f64>,
}

impl Figure {
    /// A count, a rate, or a time without percentiles.
    #[must_use]
    pub fn plain(value: f64) -> Self {
        Self { value, p99: None }
    }

    fn of(times: &Histogram<u64>) -> Self {
        Self { value: times.value_at_quantile(0.5) as f64, p99: Some(times.value_at_quantile(0.99) as f64) }
    }
}

/// Where a contestant plays its part.
pub struct Stage<'a> {
    pub(crate) part: Part,
    pub(crate) folder: PathBuf,
    pub(crate) window: Duration,
    pub(crate) cpus: [usize; 2],
    pub(crate) control: &'a SeqPacket,
}

impl Stage<'_> {
    /// Which of the two processes this is.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// How long to measure.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// The processors of the first and the second process.
    #[must_use]
    pub fn cpus(&self) -> [usize; 2] {
        self.cpus
    }

    /// A folder in memory that both processes of this figure, and nobody else, use; it is empty at first.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A word that no other figure of this run has.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        name.chars().filter(char::is_ascii_alphanumeric).collect()
    }

    /// Waits until the other process is here too. Both must call it equally often.
    ///
    /// # Errors
    /// If the conductor is gone.
    pub fn meet(&self) -> Outcome<()> {
        send(self.control, &Answer::Here, &[])?;
        match receive(self.control, None)? {
            Some((Order::GoOn, _)) => Ok(()),
            other => Err(format!("an order out of turn: {other:?}")),
        }
    }
}

/// One end of a channel that carries numbered messages both ways.
///
/// Generic, so that no call through a pointer is part of a figure. What is sent besides the number, and how the
/// receiver waits, was settled when the end was made.
pub trait Exchange {
    /// Sends a message with this number, waiting for room.
    ///
    /// # Errors
    /// A sentence; the figure is missing then.
    fn send(&mut self, number: u64) -> Outcome<()>;

    /// Waits for a message; answers its number.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn receive(&mut self) -> Outcome<u64>;

    /// Sends messages with this number and the following, to be seen at once.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn send_batch(&mut self, first: u64, count: usize) -> Outcome<()> {
        (first..).take(count).try_for_each(|number| self.send(number))
    }

    /// Waits for messages and hands over the numbers of all that are there.
    ///
    /// # Errors
    /// As [`send`](Self::send); what `take` answers ends it.
    fn receive_batch(&mut self, take: &mut impl FnMut(u64) -> Outcome<()>) -> Outcome<()> {
        let number = self.receive()?;
        take(number)
    }
}

/// The number that ends an exchange; others begin with 1.
pub const LAST: u64 = u64::MAX;

/// A message of fixed length whose first eight bytes are its number.
#[derive(Clone, Copy)]
pub struct Message<const N: usize>(pub [u8; N]);

impl<const N: usize> Message<N> {
    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        number_of(&self.0)
    }

    /// A message with this number.
    #[must_use]
    pub fn numbered(number: u64) -> Self {
        let mut bytes = [0x5A; N];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }
}

/// The number at the beginning of a message.
#[must_use]
pub fn number_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

/// A round trip longer than this is recorded as this.
const LONGEST_NS: u64 = 60_000_000_000;

fn times() -> Outcome<Histogram<u64>> {
    Histogram::new_with_max(LONGEST_NS, 3).map_err(|error| error.to_string())
}

/// Times round trips in the first process, sends back in the second.
///
/// # Errors
/// If the exchange fails, or a message comes back as another.
pub fn round_trips(stage: &Stage<'_>, mut exchange: impl Exchange) -> Outcome<Option<Figure>> {
    if stage.part() == Part::Second {
        loop {
            let number = exchange.receive()?;
            exchange.send(number)?;
            if number == LAST {
                // The other end may still be reading; and it looks at memory that this one made.
                stage.meet()?;
                return Ok(None);
            }
        }
    }
    let mut times = times()?;
    let warm = Instant::now();
    let (mut start, mut last) = (None, warm);
    for number in 1.. {
        exchange.send(number)?;
        let back = exchange.receive()?;
        if back != number {
            return Err(format!("message {number} came back as number {back}"));
        }
        let now = Instant::now();
        match start {
            // A tenth of the window warms caches, page tables and what adapts itself.
            None => start = (now - warm >= stage.window() / 10).then_some(now),
            Some(start) => {
                times.saturating_record(nanoseconds(now - last));
                if now - start >= stage.window() {
                    break;
                }
            }
        }
        last = now;
    }
    exchange.send(LAST)?;
    exchange.receive()?;
    stage.meet()?;
    Ok(Some(Figure::of(&times)))
}

/// Sends as fast as the second process takes; that one counts.
///
/// # Errors
/// If the exchange fails, or a message is lost.
pub fn flood(stage: &Stage<'_>, mut exchange: impl Exchange, batch: usize) -> Outcome<Option<Figure>> {
    if stage.part() == Part::First {
        let start = Instant::now();
        let mut number = 1;
        // The clock costs more than a small message, so it is read once in a while only.
        while number % 64 != 1 || start.elapsed() < stage.window() {
            if batch == 1 {
                exchange.send(number)?;
            } else {
                exchange.send_batch(number, batch)?;
            }
            number += batch as u64;
        }
        exchange.send(LAST)?;
        stage.meet()?;
        return Ok(None);
    }
    let mut expected = exchange.receive()? + 1;
    let start = Instant::now();
    let mut is_over = false;
    while !is_over {
        let mut take = |number| {
            is_over = number == LAST;
            if !is_over && number != expected {
                return Err(format!("message {number} came instead of {expected}"));
            }
            expected += 1;
            Ok(())
        };
        if batch == 1 {
            let number = exchange.receive()?;
            take(number)?;
        } else {
            exchange.receive_batch(&mut take)?;
        }
    }
    let rate = (expected - 2) as f64 / start.elapsed().as_secs_f64();
    stage.meet()?;
    Ok(Some(Figure::plain(rate)))
}

/// What one of many short steps costs: the median of batches.
///
/// # Errors
/// If a step fails.
pub fn steps(window: Duration, per_batch: u32, mut step: impl FnMut() -> Outcome<()>) -> Outcome<Option<Figure>> {
    let mut batches = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < window || batches.len() < 3 {
        let start = Instant::now();
        for _ in 0..per_batch {
            black_box(step()?);
        }
        batches.push(start.elapsed().as_nanos() as f64 / f64::from(per_batch));
    }
    batches.sort_by(f64::total_cmp);
    Ok(Some(Figure { value: batches[batches.len() / 2], p99: batches.get(batches.len() * 99 / 100).copied() }))
}

/// What an event takes that is long enough to be timed by itself; undoing it is not timed.
///
/// # Errors
/// If an event fails.
pub fn events<E>(window: Duration, mut event: impl FnMut() -> Outcome<E>) -> Outcome<Option<Figure>> {
    let mut times = times()?;
    let begin = Instant::now();
    while begin.elapsed() < window || times.len() < 20 {
        let start = Instant::now();
        let made = event()?;
        times.saturating_record(nanoseconds(start.elapsed()));
        drop(made);
    }
    Ok(Some(Figure::of(&times)))
}

/// How often a second a step can be made until the window is over.
///
/// # Errors
/// If a step fails.
pub fn rate(window: Duration, mut step: impl FnMut() -> Outcome<()>) -> Outcome<Option<Figure>> {
    let start = Instant::now();
    let mut count = 0_u64;
    while !count.is_multiple_of(64) || start.elapsed() < window {
        step()?;
        count += 1;
    }
    Ok(Some(Figure::plain(count as f64 / start.elapsed().as_secs_f64())))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS).max(1)
}
