//! Timers that are waited for as descriptors: `timerfd`.
//!
//! A timer fires once or at an interval and counts its expirations until somebody reads them, so a reader that comes
//! late learns how many it missed. Choose the clock by what shall happen when the machine sleeps or its time is set:
//!
//! | [`Clock`] | while the machine is suspended | when somebody sets the time |
//! |---|---|---|
//! | `Monotonic` | stands still | is not affected |
//! | `Boottime` | goes on | is not affected |
//! | `Realtime` | goes on | jumps: a timer set for a moment follows; [`Schedule::or_clock_set`] tells of it |
//!
//! The invariant: a timer is stopped, or it has a next expiration; setting it forgets expirations not yet read.
//! The timer belongs to the open file: after a `fork` both processes share it, and one that dies takes nothing along.
//!
//! See [timerfd_create(2)](https://man7.org/linux/man-pages/man2/timerfd_create.2.html).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFlags, Timespec};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_gettime, timerfd_settime,
};

use crate::descriptor::{check_sort, set_nonblocking};
use crate::error::{During, Error, Result};
use crate::wait::{Wait, retry_when_ready, timespec};

/// What a timer counts by; see the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// Time since some moment at boot, without the time the machine was suspended.
    Monotonic,
    /// Time since boot, with the time it was suspended.
    Boottime,
    /// Time of day, which can be set.
    Realtime,
}

/// When a timer shall expire.
///
/// ```
/// use std::time::Duration;
/// use tieline_os::timerfd::Schedule;
/// let heartbeat = Schedule::after(Duration::ZERO).every(Duration::from_secs(1));
/// let deadline = Schedule::after(Duration::from_millis(250));
/// # let _ = (heartbeat, deadline);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a schedule does nothing until a timer is set to it"]
pub struct Schedule {
    first: Duration,
    interval: Option<Duration>,
    flags: TimerfdTimerFlags,
}

impl Schedule {
    /// Once, `delay` from now; with zero, at once.
    pub const fn after(delay: Duration) -> Self {
        Self { first: delay, interval: None, flags: TimerfdTimerFlags::empty() }
    }

    /// Once, when the timer's clock shows `moment`; at once if it is past.
    pub const fn at(moment: Duration) -> Self {
        Self { first: moment, interval: None, flags: TimerfdTimerFlags::ABSTIME }
    }

    /// Once, at this time of day; for a timer of [`Clock::Realtime`]. Moments before 1970 are past.
    pub fn at_time(moment: SystemTime) -> Self {
        Self::at(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// And from then on every `interval`, without drift.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Ends a wait with an error of kind `Cancelled` when somebody sets the clock.
    ///
    /// Only for a moment ([`at`](Self::at), [`at_time`](Self::at_time)) of [`Clock::Realtime`].
    #[doc(alias = "TFD_TIMER_CANCEL_ON_SET")]
    pub fn or_clock_set(mut self) -> Self {
        self.flags |= TimerfdTimerFlags::CANCEL_ON_SET;
        self
    }
}

/// A timer as a descriptor: readable once it has expired.
///
/// ```
/// use std::time::Duration;
/// use tieline_os::timerfd::{Clock, Schedule, TimerFd};
/// # fn main() -> Result<(), tieline_os::Error> {
/// let timer = TimerFd::new(Clock::Monotonic)?;
/// timer.set(Schedule::after(Duration::from_millis(1)))?;
/// assert_eq!(timer.read()?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TimerFd {
    fd: OwnedFd,
}

impl TimerFd {
    /// A stopped timer.
    ///
    /// # Errors
    /// `LimitReached` if the process or the machine has no descriptors left.
    #[doc(alias = "timerfd_create")]
    pub fn new(clock: Clock) -> Result<Self> {
        let clock = match clock {
            Clock::Monotonic => TimerfdClockId::Monotonic,
            Clock::Boottime => TimerfdClockId::Boottime,
            Clock::Realtime => TimerfdClockId::Realtime,
        };
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        timerfd_create(clock, flags).during("create a timer").map(|fd| Self { fd })
    }

    /// Takes over a timer received from elsewhere (inherited, or passed over a socket).
    ///
    /// Makes it non-blocking, for all who share it.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptor is something else.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        const OPERATION: &str = "take over a timer";
        check_sort(&fd, OPERATION, &["anon_inode:[timerfd]"])?;
        set_nonblocking(&fd, OPERATION)?;
        Ok(Self { fd })
    }

    /// Sets the timer anew; expirations not yet read are forgotten.
    ///
    /// # Errors
    /// `InvalidInput` for an interval of zero, which would be a one-shot timer in disguise.
    #[doc(alias = "timerfd_settime")]
    pub fn set(&self, schedule: Schedule) -> Result<()> {
        if schedule.interval == Some(Duration::ZERO) {
            return Err(Error::invalid(
                "set a timer",
                "an interval must be longer than zero; leave it out for a single expiration",
            ));
        }
        // To the kernel, zero means "stop"; the nearest later moment means what the caller meant.
        let first = schedule.first.max(Duration::from_nanos(1));
        self.settime(first, schedule.interval.unwrap_or_default(), schedule.flags)
    }

    /// Stops the timer; expirations not yet read are forgotten.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn stop(&self) -> Result<()> {
        self.settime(Duration::ZERO, Duration::ZERO, TimerfdTimerFlags::empty())
    }

    /// How long until the next expiration; `None` if the timer is stopped, or was one-shot and has expired.
    ///
    /// # Errors
    /// None that a caller could cause.
    #[doc(alias = "timerfd_gettime")]
    pub fn remaining(&self) -> Result<Option<Duration>> {
        Ok(nonzero(timerfd_gettime(&self.fd).during("look at a timer")?.it_value))
    }

    /// The interval it was set to; `None` for a one-shot or stopped timer.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn interval(&self) -> Result<Option<Duration>> {
        Ok(nonzero(timerfd_gettime(&self.fd).during("look at a timer")?.it_interval))
    }

    /// Takes the number of expirations since the last read, if there were any.
    ///
    /// # Errors
    /// `WouldBlock` if there were none; `Cancelled` as [`read`](Self::read).
    pub fn try_read(&self) -> Result<u64> {
        self.read_until(Wait::Never)
    }

    /// Waits for an expiration and takes the number of them since the last read: more than one means that some were
    /// missed.
    ///
    /// A stopped timer is waited for until another thread or process sets it.
    ///
    /// # Errors
    /// `Cancelled` if the clock was set and [`Schedule::or_clock_set`] asked to be told; set the timer again then.
    pub fn read(&self) -> Result<u64> {
        self.read_until(Wait::Forever)
    }

    /// As [`read`](Self::read), for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`; `Cancelled` as [`read`](Self::read).
    pub fn read_timeout(&self, timeout: Duration) -> Result<u64> {
        self.read_until(Wait::timeout(timeout))
    }

    fn read_until(&self, wait: Wait) -> Result<u64> {
        let mut count = [0; 8];
        let answer = retry_when_ready(&self.fd, PollFlags::IN, wait, || rustix::io::read(&self.fd, &mut count));
        match answer {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(Errno::CANCELED) => {
                Err(Error::new("read a timer", Errno::CANCELED).hint("the clock was set; set the timer again"))
            }
            Err(errno) => Err(Error::new("read a timer", errno)),
        }
    }

    fn settime(&self, first: Duration, interval: Duration, flags: TimerfdTimerFlags) -> Result<()> {
        let setting = Itimerspec { it_interval: timespec(interval), it_value: timespec(first) };
        timerfd_settime(&self.fd, flags, &setting).map(drop).during("set a timer")
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<TimerFd> for OwnedFd {
    fn from(timer: TimerFd) -> Self {
        timer.fd
    }
}

fn nonzero(time: Timespec) -> Option<Duration> {
    let duration = Duration::try_from(time).ok()?;
    (!duration.is_zero()).then_some(duration)
}
