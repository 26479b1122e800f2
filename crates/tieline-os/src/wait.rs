//! How long a call may wait, and the one place that waits for a descriptor.
//!
//! Every facility has the same three faces: `try_x` ([`Wait::Never`]), `x` ([`Wait::Forever`]) and `x_timeout`
//! ([`Wait::timeout`]). They differ only in the value of this type, so each facility is written once.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Answer at once.
    Never,
    /// Until it is done.
    Forever,
    /// Until this moment of the monotonic clock.
    Until(Instant),
}

impl Wait {
    /// Waits for `duration` from now; a duration beyond what the clock can hold is for ever.
    pub(crate) fn timeout(duration: Duration) -> Self {
        Instant::now().checked_add(duration).map_or(Self::Forever, Self::Until)
    }

    /// What is left of it; `None` is for ever.
    pub(crate) fn remaining(self) -> Option<Duration> {
        match self {
            Self::Never => Some(Duration::ZERO),
            Self::Forever => None,
            Self::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
        }
    }

    /// Whether the time is up.
    pub(crate) fn is_over(self) -> bool {
        self.remaining() == Some(Duration::ZERO)
    }

    /// The errno of giving up: "would block" to one who would not wait, "timed out" to one who did.
    pub(crate) fn gave_up(self) -> Errno {
        match self {
            Self::Never => Errno::AGAIN,
            Self::Forever | Self::Until(_) => Errno::TIMEDOUT,
        }
    }
}

/// Waits until `fd` shows one of `events`, an error or a hang-up, and returns what it shows.
///
/// A signal handler that runs meanwhile does not end the wait.
pub(crate) fn wait_for(fd: impl AsFd, events: PollFlags, wait: Wait) -> Result<PollFlags, Errno> {
    let fd = fd.as_fd();
    loop {
        let mut fds = [PollFd::from_borrowed_fd(fd, events)];
        let timeout = wait.remaining().map(timespec);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if wait.is_over() => return Err(wait.gave_up()),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(fds[0].revents()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Runs `attempt`, which must not block, again each time `fd` shows one of `events`, until it answers something
/// else than "would block" or the time is up.
///
/// The clock is asked after each attempt, because a descriptor may show ready again and again and yet have nothing for
/// us: others who are quicker, or a hang-up.
pub(crate) fn retry_when_ready<T>(
    fd: impl AsFd,
    events: PollFlags,
    wait: Wait,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if wait.is_over() => return Err(wait.gave_up()),
            Err(Errno::AGAIN) => drop(wait_for(&fd, events, wait)?),
            answer => return answer,
        }
    }
}

/// A duration as the kernel takes it, cut to what its seconds can hold.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Given a descriptor that always shows ready and an attempt that never succeeds, as among quicker rivals, when the
    /// time is up, then the answer is that it is, and not another attempt.
    #[test]
    fn a_descriptor_that_lies_does_not_stretch_the_deadline() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let begun = Instant::now();
        let limit = Duration::from_millis(20);
        let answer = retry_when_ready(&null, PollFlags::IN, Wait::timeout(limit), || {
            assert!(begun.elapsed() < 1000 * limit, "it goes on for ever");
            Err::<(), _>(Errno::AGAIN)
        });
        assert_eq!(answer, Err(Errno::TIMEDOUT));
        assert!(begun.elapsed() >= limit);
    }

    #[test]
    fn an_attempt_is_made_even_if_the_time_is_up() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(retry_when_ready(&null, PollFlags::IN, Wait::timeout(Duration::ZERO), || Ok(7)), Ok(7));
        let mut interrupted = 0;
        let after_two = || {
            interrupted += 1;
            if interrupted == 3 { Ok(()) } else { Err(Errno::INTR) }
        };
        assert_eq!(retry_when_ready(&null, PollFlags::IN, Wait::Never, after_two), Ok(()));
    }
}
