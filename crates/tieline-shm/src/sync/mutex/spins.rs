//! How long it pays to spin before one sleeps: learned, for each handle of a lock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::raw::atomic::pause;

/// What one handle has learned.
///
/// A lock that is held for less than a sleep takes comes free while one spins. A lock whose holder does not run, because
/// it waits for something or because it shares our processor, does not; then what is learned shrinks to a rare look.
///
/// Between two looks the lock's line stays with those who use it: a look takes it from them, and costs them more than a
/// lock that nobody else wants. (Anderson, "The performance of spin lock alternatives for shared-memory
/// multiprocessors", 1990, on delay between references.)
#[derive(Debug)]
pub(crate) struct Spins {
    /// For how long to spin, in nanoseconds.
    learned: AtomicU32,
    /// How often it was not worth it since it was tried last.
    skipped: AtomicU32,
}

/// About what it costs to sleep and to be woken: whoever spins for so long and then sleeps loses no more than twice
/// what was possible. (Karlin, Li, Manasse and Owicki, "Empirical studies of competitive spinning", 1991.)
const MOST_NS: u32 = 10_000;

/// Less than this is not worth it: not even two looks.
const LEAST_NS: u32 = 500;

/// Pauses between two looks. A pause takes some 20 to 140 cycles.
const PAUSES: u32 = 32;

/// How rarely it is tried where it did not pay, to notice a change for the better.
const RARELY: u32 = 16;

impl Default for Spins {
    fn default() -> Self {
        Self { learned: AtomicU32::new(MOST_NS), skipped: AtomicU32::new(0) }
    }
}

impl Spins {
    /// Spins until `ready`, or until it is not worth it any longer.
    pub(crate) fn until(&self, ready: impl Fn() -> bool) {
        // A model's threads take turns.
        if cfg!(model) {
            return;
        }
        // Relaxed throughout: a guess, for whose loss or mixing nobody suffers.
        let mut limit = self.learned.load(Ordering::Relaxed);
        if limit < LEAST_NS {
            let skipped = self.skipped.load(Ordering::Relaxed) + 1;
            self.skipped.store(skipped % RARELY, Ordering::Relaxed);
            if skipped < RARELY {
                return;
            }
            limit = LEAST_NS;
        }
        let started = Instant::now();
        loop {
            (0..PAUSES).for_each(|_| pause());
            if ready() {
                return self.learned.store((2 * limit).min(MOST_NS), Ordering::Relaxed);
            }
            if started.elapsed().as_nanos() > u128::from(limit) {
                return self.learned.store(limit / 2, Ordering::Relaxed);
            }
        }
    }
}
