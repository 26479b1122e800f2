//! How long it pays to spin before one sleeps: learned, for each handle of a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::raw::atomic::pause;

/// What one handle has learned.
///
/// A lock that is held for less than a sleep takes comes free while one spins. A lock whose holder does not run, because
/// it waits for something or because it shares our processor, does not; then what is learned shrinks to a few looks.
#[derive(Debug, Default)]
pub(crate) struct Spins {
    learned: AtomicU32,
}

/// A pause takes some 20 to 140 cycles: this is at most a few microseconds, what a sleep and a wake-up cost.
const MOST: u32 = 100;

/// Always worth trying: costs less than the system call that follows, and is how a change for the better is noticed.
const FEWEST: u32 = 8;

impl Spins {
    /// Spins until `ready`, or until it is not worth it any longer.
    pub(crate) fn until(&self, ready: impl Fn() -> bool) {
        if is_alone() {
            return;
        }
        // Relaxed throughout: a guess, for whose loss or mixing nobody suffers.
        let learned = self.learned.load(Ordering::Relaxed);
        let limit = (2 * learned + FEWEST).min(MOST);
        for spun in 0..limit {
            if ready() {
                self.learned.store(learned - learned / 8 + spun.div_ceil(8), Ordering::Relaxed);
                return;
            }
            pause();
        }
        self.learned.store(learned / 2, Ordering::Relaxed);
    }
}

/// Whether this process may run on one processor only: while we spin, no owner of its runs.
fn is_alone() -> bool {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    // A model's threads take turns.
    cfg!(model) || *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)) == 1
}
