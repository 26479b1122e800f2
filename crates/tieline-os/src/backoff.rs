//! Waiting for what the kernel has no event for: trying again, less and less often.
//!
//! Those who need it: a timed file lock and a timed System V message (the kernel's waiting forms have no deadline), a
//! timed open of a FIFO for writing (a reader that is itself waiting in `open` shows nowhere), the mark of an
//! initialised semaphore set. The ways round that (an alarm signal, a helper thread) would change the process behind its
//! owner's back. Each attempt must be atomic and free of effects when it fails.
//!
//! The price is bounded in both directions: a pause is an eighth of the time waited so far, so a short wait stays short,
//! and never above [`LONGEST`], so that an answer comes late by no more, but is never wrong.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::nanosleep;

use crate::wait::{Wait, timespec};

/// The first pause: about the cost of two context switches.
const SHORTEST: Duration = Duration::from_micros(50);
/// The last pause: 250 attempts a second cost well under a thousandth of a processor.
const LONGEST: Duration = Duration::from_millis(4);

/// Runs `attempt` until it answers something else than `EAGAIN`, or the time is up.
///
/// For [`Wait::Forever`] the kernel's own waiting form is better; this one tries for ever all the same.
pub(crate) fn retry_with_pauses<T>(wait: Wait, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = wait.remaining().unwrap_or(LONGEST);
                if left.is_zero() {
                    return Err(wait.gave_up());
                }
                // Cut short by a signal handler, it only tries sooner.
                let _ = nanosleep(&timespec(pause_after(begun.elapsed()).min(left)));
            }
            answer => return answer,
        }
    }
}

fn pause_after(waited: Duration) -> Duration {
    (waited / 8).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_wait_and_stay_bounded() {
        assert_eq!(pause_after(Duration::ZERO), SHORTEST);
        assert_eq!(pause_after(Duration::from_millis(8)), Duration::from_millis(1));
        assert_eq!(pause_after(Duration::from_secs(3600)), LONGEST);
    }

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

    #[test]
    fn any_other_answer_ends_it() {
        let mut answers = [Err(Errno::AGAIN), Err(Errno::INTR), Ok("yes")].into_iter();
        let wait = Wait::timeout(Duration::from_secs(20));
        assert_eq!(retry_with_pauses(wait, || answers.next().unwrap()), Ok("yes"));
        assert_eq!(retry_with_pauses(Wait::Forever, || Err::<(), _>(Errno::IDRM)), Err(Errno::IDRM));
    }
}
