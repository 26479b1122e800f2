//! Bounded waits. The only place of the workspace's tests where a thread sleeps.

use std::fs;
use std::time::{Duration, Instant};

/// How long a test waits for what should happen at once: long enough for a loaded machine, short enough to notice.
pub const PATIENCE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(2);

/// Polls `probe` until it gives a value.
///
/// # Panics
/// If it gives none within [`PATIENCE`]; `what` says what was awaited.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up after {PATIENCE:?} waiting until {what}");
        std::thread::sleep(STEP);
    }
}

/// Polls `condition` until it holds.
///
/// # Panics
/// If it does not hold within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}

/// Lets `duration` pass, for tests whose subject is the passing of time or that nothing happens meanwhile.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Whether the thread `tid` sleeps in the kernel, as seen in `/proc`: how a test knows that a peer is waiting.
#[must_use]
pub fn sleeps(tid: u32) -> bool {
    fs::read_to_string(format!("/proc/{tid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('S')))
        .unwrap_or(false)
}
