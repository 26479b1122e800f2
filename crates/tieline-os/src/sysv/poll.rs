//! Waiting by asking again, for what the kernel can only wait for without limit.
//!
//! There is no timed `msgsnd` or `msgrcv`, a queue is no descriptor that could be polled, and the two ways round that
//! (an alarm signal, a helper thread) would change the process behind its owner's back. The price of asking again is
//! bounded in both directions: a pause is at most an eighth of the time waited so far, and never above ten
//! milliseconds, so the answer comes late by no more than that, and a long wait costs a hundred system calls a second.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::wait::Wait;

const PAUSE_MIN: Duration = Duration::from_micros(50);
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// Makes `attempt`, which must not block, again until it answers something else than "not now" (`EAGAIN`, `ENOMSG`),
/// or the time is up. At least one attempt is made after the last pause.
pub(super) fn ask_again<T>(wait: Wait, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(Errno::AGAIN | Errno::NOMSG) => {}
            answer => return answer,
        }
        if wait.is_over() {
            return Err(wait.gave_up());
        }
        let pause = pause_after(begun.elapsed());
        std::thread::sleep(wait.remaining().map_or(pause, |left| left.min(pause)));
    }
}

fn pause_after(waited: Duration) -> Duration {
    (waited / 8).clamp(PAUSE_MIN, PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_wait_and_stay_bounded() {
        assert_eq!(pause_after(Duration::ZERO), PAUSE_MIN);
        assert_eq!(pause_after(Duration::from_millis(8)), Duration::from_millis(1));
        assert_eq!(pause_after(Duration::from_secs(3600)), PAUSE_MAX);
    }

    #[test]
    fn it_asks_until_answered_and_gives_up_in_time() {
        let mut left = 3;
        let answer = ask_again(Wait::timeout(Duration::from_secs(20)), || {
            left -= 1;
            if left == 0 { Ok("yes") } else { Err(Errno::NOMSG) }
        });
        assert_eq!((answer, left), (Ok("yes"), 0));

        let begun = Instant::now();
        let limit = Duration::from_millis(3);
        assert_eq!(ask_again(Wait::timeout(limit), || Err::<(), _>(Errno::AGAIN)), Err(Errno::TIMEDOUT));
        assert!(begun.elapsed() >= limit);
        assert_eq!(ask_again(Wait::Never, || Err::<(), _>(Errno::NOMSG)), Err(Errno::AGAIN));
        assert_eq!(ask_again(Wait::Forever, || Err::<(), _>(Errno::IDRM)), Err(Errno::IDRM));
    }
}
