//! Bounded waits. The only place of the workspace's tests where a thread sleeps.

use std::fs;
use std::time::{Duration, Instant};

/// How long a test waits for what should happen at once: long enough for a slow machine on which much else goes on, short
/// enough to notice.
pub const PATIENCE: Duration = Duration::from_secs(60);

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

/// Measures `once` until it took less than `limit`, and five times at least: how a test sees that something is soon done on
/// a machine that may do other things first, as often as it likes, but not always. Answers all times.
///
/// # Panics
/// If it never took less, within [`PATIENCE`] and 20 measurements.
#[track_caller]
pub fn soon(what: &str, limit: Duration, mut once: impl FnMut() -> Duration) -> Vec<Duration> {
    let deadline = Instant::now() + PATIENCE;
    let mut times = Vec::new();
    loop {
        times.push(once());
        let is_soon = times.iter().any(|time| *time < limit);
        if is_soon && times.len() >= 5 {
            return times;
        }
        let is_over = times.len() >= 20 && Instant::now() >= deadline;
        assert!(is_soon || !is_over, "{what} never took less than {limit:?}: {times:?}");
    }
}

/// Whether the thread `tid` sleeps in the kernel, as seen in `/proc`: how a test knows that a peer is waiting. One that
/// only waits its turn for a moment, such as for a lock of the allocator's, does not sleep.
#[must_use]
pub fn sleeps(tid: u32) -> bool {
    let first = sleep_of(tid);
    first.is_some() && {
        std::thread::sleep(STEP / 2);
        sleep_of(tid) == first
    }
}

/// If the thread sleeps, the number of its sleep.
fn sleep_of(tid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let sleep = value("voluntary_ctxt_switches:")?.parse().ok()?;
    value("State:")?.starts_with('S').then_some(sleep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_soon_done_at_times_is_soon_done() {
        let mut count = 0;
        let times = soon("it", Duration::from_millis(10), || {
            count += 1;
            Duration::from_millis(if count == 7 { 9 } else { 11 })
        });
        assert_eq!(times.len(), 7);
    }

    #[test]
    fn who_waits_sleeps_and_who_has_ended_does_not() {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let own = fs::read_link("/proc/thread-self").expect("a thread");
            let tid = own.file_name().and_then(|tid| tid.to_str()).and_then(|tid| tid.parse().ok());
            tell.send(tid.expect("a number")).expect("the test waits");
            let _ = ended.recv();
        });
        let tid = told.recv().expect("a thread");
        eventually("it sleeps", || sleeps(tid));
        drop(end);
        thread.join().expect("it ends");
        assert!(!sleeps(tid), "it has ended");
    }
}
