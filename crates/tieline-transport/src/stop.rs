//! Asking a waiting thread to stop, and waiting so that one can be asked.
//!
//! The invariant: whoever waits through [`Patience`] wakes within one system call of a request to stop, however long
//! it would have waited.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tieline_os::eventfd::EventFd;
use tieline_os::poll::{Interest, PollSet};
use tieline_shm::WaitSet;

use crate::error::{Error, ErrorKind, Result};

/// A request to stop that any number of waiting threads see. Clones are the same request.
///
/// ```
/// let stop = tieline_transport::Stop::new()?;
/// let elsewhere = stop.clone();
/// std::thread::spawn(move || elsewhere.request()).join().unwrap();
/// assert!(stop.is_requested());
/// # Ok::<(), tieline_transport::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requested: AtomicBool,
    /// Readable from the request on; nobody ever reads it empty.
    bell: EventFd,
}

impl Stop {
    /// A request that has not been made yet.
    ///
    /// # Errors
    /// `System(LimitReached)` if no descriptor is left.
    pub fn new() -> Result<Self> {
        Ok(Self(Arc::new(Inner { requested: AtomicBool::new(false), bell: EventFd::new(0)? })))
    }

    /// Makes the request. It cannot be taken back.
    ///
    /// Safe in a signal handler: one atomic store and one `write`.
    pub fn request(&self) {
        // Release: what the requester did before is seen by who sees the request (Acquire below).
        if !self.0.requested.swap(true, Ordering::AcqRel) {
            // It can fail only if the count is full, and then the bell rings already.
            let _ = self.0.bell.try_add(1);
        }
    }

    /// Whether it has been made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    /// Readable once the request is made, for a poll of one's own. Do not read from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

/// Makes the request also when its thread panics.
struct RequestOnDrop(Stop);

impl Drop for RequestOnDrop {
    fn drop(&mut self) {
        self.0.request();
    }
}

/// How long to wait, and who may end it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience<'a> {
    pub(crate) stop: Option<&'a Stop>,
    /// A second one, where two have a say.
    pub(crate) other: Option<&'a Stop>,
    pub(crate) deadline: Option<Instant>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The descriptor is ready, or has failed or hung up.
    Ready,
    /// The descriptor that was only watched shows an error or a hang-up.
    Watched,
    Stopped,
    TimedOut,
}

impl Woken {
    /// An error if the wait was in vain; `what` reads after "cannot".
    pub(crate) fn or_else_error(self, what: &str) -> Result<()> {
        match self {
            Self::Ready | Self::Watched => Ok(()),
            Self::Stopped => Err(stopped(what)),
            Self::TimedOut => Err(timed_out(what)),
        }
    }
}

impl<'a> Patience<'a> {
    pub(crate) fn new(stop: Option<&'a Stop>, timeout: Option<Duration>) -> Self {
        Self { stop, other: None, deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    /// What is left, `None` for ever.
    pub(crate) fn remaining(self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn is_stopped(self) -> bool {
        [self.stop, self.other].into_iter().flatten().any(Stop::is_requested)
    }

    /// Waits until `fd` is ready for `interest`, and meanwhile for `watched` to fail. Without `fd`, which stands for
    /// memory, it is ready at once.
    pub(crate) fn wait(
        self,
        fd: Option<BorrowedFd<'_>>,
        interest: Interest,
        watched: Option<BorrowedFd<'_>>,
    ) -> Result<Woken> {
        let Some(fd) = fd else { return Ok(if self.is_stopped() { Woken::Stopped } else { Woken::Ready }) };
        let stops = [self.stop, self.other];
        let mut set = PollSet::new();
        set.add(&fd, interest);
        for stop in stops.iter().flatten() {
            set.add(*stop, Interest::READABLE);
        }
        let last_stop = set.len() - 1;
        if let Some(watched) = &watched {
            set.add(watched, Interest::empty());
        }
        let answer = match self.remaining() {
            None => set.wait(),
            Some(left) => set.wait_timeout(left),
        };
        match answer {
            Err(error) if error.is_timeout() => return Ok(Woken::TimedOut),
            answer => drop(answer?),
        }
        // The order counts: a request to stop comes first, and what can be read is read before a death is seen.
        Ok(if (1..=last_stop).any(|stop| !set.readiness(stop).is_empty()) {
            Woken::Stopped
        } else if set.readiness(0).is_empty() {
            Woken::Watched
        } else {
            Woken::Ready
        })
    }

    /// Waits for `pause` and then says "ready", for what can only be asked again.
    pub(crate) fn nap(self, pause: Duration) -> Result<Woken> {
        let stops: Vec<&Stop> = [self.stop, self.other].into_iter().flatten().collect();
        let remaining = self.remaining();
        if remaining.is_some_and(|left| left.is_zero()) {
            return Ok(if self.is_stopped() { Woken::Stopped } else { Woken::TimedOut });
        }
        let pause = remaining.map_or(pause, |left| left.min(pause));
        if stops.is_empty() {
            std::thread::sleep(pause);
            return Ok(Woken::Ready);
        }
        let mut set = PollSet::new();
        for stop in &stops {
            set.add(*stop, Interest::READABLE);
        }
        match set.wait_timeout(pause) {
            Err(error) if error.is_timeout() => Ok(Woken::Ready),
            answer => answer.map(|_| Woken::Stopped).map_err(Error::from),
        }
    }

    /// As [`wait`](Self::wait), where anything but readiness is an error; `what` reads after "cannot".
    pub(crate) fn wait_ready(self, fd: BorrowedFd<'_>, interest: Interest, what: &str) -> Result<()> {
        self.wait(Some(fd), interest, None)?.or_else_error(what)
    }

    /// Makes `call`, which can neither be polled nor asked to stop, and waits for it.
    ///
    /// If there is a reason to stop waiting, the call goes on in a thread of its own until it ends by itself, and its
    /// answer is dropped.
    pub(crate) fn in_thread<T: Send + 'static>(
        self,
        what: &str,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.stop.is_none() && self.deadline.is_none() {
            return call();
        }
        let done = Stop::new()?;
        let (answer, answered) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("tieline-connect".to_owned());
        let ended = RequestOnDrop(done.clone());
        let started = thread.spawn(move || {
            let _ended = ended;
            // Nobody listens any more if the caller has stopped waiting.
            let _ = answer.send(call());
        });
        started.map_err(|error| Error::system(format_args!("{what}: no thread"), &error))?;
        self.wait_ready(done.as_fd(), Interest::READABLE, what)?;
        answered.recv().map_err(|_| Error::new(ErrorKind::Stopped, format!("cannot {what}: its thread panicked")))?
    }

    /// As [`wait`](Self::wait), for the one channel in shared memory that is in `set`, as [`CHANNEL`].
    pub(crate) fn wait_for_channel(self, set: &mut WaitSet, watched: Option<BorrowedFd<'_>>) -> Result<Woken> {
        const STOPS: [u64; 2] = [1, 2];
        const WATCHED: u64 = 3;
        if self.is_stopped() {
            return Ok(Woken::Stopped);
        }
        let stops = STOPS.into_iter().zip([self.stop, self.other]);
        let stops = stops.filter_map(|(token, stop)| Some((token, stop?.as_fd(), Interest::READABLE)));
        let mut attached = Vec::with_capacity(3);
        let mut answer = Ok(0);
        for (token, fd, interest) in stops.chain(watched.map(|fd| (WATCHED, fd, Interest::empty()))) {
            match set.attach_fd(fd, interest, token) {
                Ok(()) => attached.push(token),
                Err(error) => answer = Err(error),
            }
        }
        let mut ready = Vec::new();
        if answer.is_ok() {
            answer = match self.remaining() {
                None => set.wait(&mut ready),
                Some(left) => set.wait_timeout(&mut ready, left),
            };
        }
        for token in attached {
            set.detach(token)?;
        }
        match answer {
            Err(error) if error.is_timeout() => return Ok(Woken::TimedOut),
            answer => drop(answer?),
        }
        let is_ready = |token| ready.iter().any(|one| one.token == token);
        // In the same order as above.
        Ok(match STOPS.into_iter().any(is_ready) {
            true => Woken::Stopped,
            false if is_ready(CHANNEL) => Woken::Ready,
            false => Woken::Watched,
        })
    }

    /// Makes `attempt`, which waits no longer than the time it is given, until it answers something else than that
    /// the time is up: for what can wait by itself but cannot be polled.
    pub(crate) fn in_slices<T>(
        self,
        what: &str,
        mut attempt: impl FnMut(Duration) -> tieline_os::Result<T>,
    ) -> Result<T> {
        loop {
            if self.is_stopped() {
                return Err(stopped(what));
            }
            let remaining = self.remaining();
            let slice = remaining.map_or(SLICE, |left| left.min(SLICE));
            match attempt(slice) {
                Err(error) if error.is_timeout() || error.is_would_block() => {}
                answer => return Ok(answer?),
            }
            if remaining.is_some_and(|left| left <= slice) {
                return Err(timed_out(what));
            }
        }
    }
}

/// What the channel is attached as.
pub(crate) const CHANNEL: u64 = 0;

/// How long a request to stop may go unnoticed where only the kernel can wait: one blink.
const SLICE: Duration = Duration::from_millis(50);

pub(crate) fn stopped(what: &str) -> Error {
    Error::new(ErrorKind::Stopped, format!("cannot {what}: asked to stop"))
}

pub(crate) fn timed_out(what: &str) -> Error {
    Error::new(ErrorKind::TimedOut, format!("cannot {what}: the time is up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wakes_who_waits_and_stays() {
        let stop = Stop::new().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let patience = Patience::new(Some(&stop), None);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patience.wait(Some(reader.as_fd()), Interest::READABLE, None).unwrap());
            stop.request();
            assert_eq!(waiting.join().unwrap(), Woken::Stopped);
        });
        assert_eq!(patience.wait(None, Interest::READABLE, None).unwrap(), Woken::Stopped);
        assert_eq!(patience.nap(Duration::from_secs(1000)).unwrap(), Woken::Stopped);
        assert!(patience.in_slices("wait", |_| Ok(())).unwrap_err().is_stopped());
    }

    #[test]
    fn time_runs_out_and_readiness_comes_first() {
        let (reader, writer) = std::io::pipe().unwrap();
        let patience = Patience::new(None, Some(Duration::from_millis(5)));
        assert_eq!(patience.wait(Some(reader.as_fd()), Interest::READABLE, None).unwrap(), Woken::TimedOut);
        assert_eq!(patience.nap(Duration::from_secs(1000)).unwrap(), Woken::TimedOut);
        std::io::Write::write_all(&mut &writer, b"x").unwrap();
        let over = patience.wait(Some(reader.as_fd()), Interest::READABLE, None).unwrap();
        assert_eq!(over, Woken::Ready, "what is ready is told even if the time is up");
    }

    #[test]
    fn the_death_of_the_watched_is_seen() {
        let (quiet, _writer) = std::io::pipe().unwrap();
        let (reader, watched) = std::io::pipe().unwrap();
        drop(reader);
        let woken = Patience::default().wait(Some(quiet.as_fd()), Interest::READABLE, Some(watched.as_fd())).unwrap();
        assert_eq!(woken, Woken::Watched);
    }

    #[test]
    fn a_call_in_a_thread_answers_fails_or_is_left_behind() {
        let patient = Patience::new(None, Some(Duration::from_secs(20)));
        assert_eq!(patient.in_thread("call", || Ok(7)).unwrap(), 7);
        let soon = Patience::new(None, Some(Duration::from_millis(20)));
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let left = soon.in_thread("call", move || Ok(held.recv().is_ok())).unwrap_err();
        assert!(left.is_timeout(), "{left}");
        drop(hold);
        let broken = patient.in_thread::<()>("call", || panic!("a panic on purpose")).unwrap_err();
        assert!(broken.to_string().contains("panicked"), "{broken}");
    }
}
