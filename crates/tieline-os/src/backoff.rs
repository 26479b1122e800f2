//! Waiting for what the kernel has no event for: trying again, less and less often.
//!
//! Two facilities need it: a timed file lock (the kernel's waiting form has no deadline) and a timed open of a FIFO for
//! writing (a reader that is itself waiting in `open` shows nowhere). Each attempt must be atomic and free of effects
//! when it fails; then trying again is late by at most [`LONGEST`], but never wrong.

use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::nanosleep;

use crate::wait::{Wait, timespec};

/// The first pause: about the cost of two context switches, so that a short wait stays short.
const SHORTEST: Duration = Duration::from_micros(50);
/// The last pause: 250 attempts a second cost well under a thousandth of a processor.
const LONGEST: Duration = Duration::from_millis(4);

/// Runs `attempt` until it answers something else than `EAGAIN`, or the time is up.
///
/// For [`Wait::Forever`] the kernel's own waiting form is better; this one tries for ever all the same.
pub(crate) fn retry_with_pauses<T>(wait: Wait, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut pause = SHORTEST;
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = wait.remaining().unwrap_or(LONGEST);
                if left.is_zero() {
                    return Err(wait.gave_up());
                }
                // Cut short by a signal handler, it only tries sooner.
                let _ = nanosleep(&timespec(pause.min(left)));
                pause = (pause * 2).min(LONGEST);
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_stops_at_the_deadline_and_not_before() {
        let start = Instant::now();
        let limit = Duration::from_millis(20);
        let answer = retry_with_pauses::<()>(Wait::timeout(limit), || Err(Errno::AGAIN));
        assert_eq!(answer, Err(Errno::TIMEDOUT));
        assert!(start.elapsed() >= limit);
    }

    #[test]
    fn who_would_not_wait_is_asked_once() {
        let mut asked = 0;
        let answer = retry_with_pauses::<()>(Wait::Never, || {
            asked += 1;
            Err(Errno::AGAIN)
        });
        assert_eq!((answer, asked), (Err(Errno::AGAIN), 1));
    }
}
