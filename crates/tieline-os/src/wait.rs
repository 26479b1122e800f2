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
pub(crate) fn retry_when_ready<T>(
    fd: impl AsFd,
    events: PollFlags,
    wait: Wait,
    mut attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if matches!(wait, Wait::Never) => return Err(Errno::AGAIN),
            Err(Errno::AGAIN) => drop(wait_for(&fd, events, wait)?),
            answer => return answer,
        }
    }
}

/// A duration as the kernel takes it, cut to what its seconds can hold.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
